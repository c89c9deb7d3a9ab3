//! Events for a view in memory: no transaction, no high-water mark, no memory of what was seen before.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Delivered, Error, Topic};

/// Events passed over because the reader was too slow or the broker was away: rebuild the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events were missed, read the state again")]
pub struct Missed;

/// A stream of the events that are published from now on.
///
/// Each process gets all of them. On the local bus an event comes after all consumers of this process committed it.
/// To build a view: wait for [`Subscription::ready`], read a snapshot, then apply what comes, newest version wins.
pub struct Subscription {
    topics: Vec<Topic>,
    source: Source,
}

pub(crate) enum Source {
    Local(broadcast::Receiver<Arc<Delivered>>),
    #[cfg(feature = "kafka")]
    Kafka(Box<crate::kafka::Follower>),
}

impl Subscription {
    pub(crate) fn new(topics: &[Topic], source: Source) -> Self {
        Self { topics: topics.to_vec(), source }
    }

    /// Comes back when every event published from now on will be seen.
    pub async fn ready(&mut self) -> Result<(), Error> {
        match &mut self.source {
            Source::Local(_) => std::future::ready(Ok(())).await,
            #[cfg(feature = "kafka")]
            Source::Kafka(follower) => follower.ready().await,
        }
    }

    /// The next event. [`Missed`]: some were lost, those that come next are again complete.
    pub async fn next(&mut self) -> Result<Arc<Delivered>, Missed> {
        loop {
            let event = match &mut self.source {
                Source::Local(feed) => match feed.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(_)) => return Err(Missed),
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                #[cfg(feature = "kafka")]
                Source::Kafka(follower) => follower.next().await?,
            };
            if self.topics.contains(&event.topic) {
                return Ok(event);
            }
        }
    }
}
