//! Beside the calls: wakes the watchers for what other processes committed, and joins missed codes with theirs.

use std::collections::HashMap;
use std::time::Duration;

use bus::Subscription;
use contract::fulfillment::v1 as pb;
use domain::id::NodeId;
use jiff::SignedDuration;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use crate::store::feed;
use crate::{Error, Fulfillment};

/// How often the feeds are read for commits of other processes.
const POLL: Duration = Duration::from_secs(1);

/// How often what is old is taken out of the feeds.
const PRUNE: SignedDuration = SignedDuration::from_mins(10);

/// How often missed pickup codes are joined with those of other processes.
const JOIN: SignedDuration = SignedDuration::from_secs(1);

impl Fulfillment {
    /// Wakes watchers for what other processes committed, and keeps the feeds short, until `stop`.
    pub async fn follow_work(&self, stop: CancellationToken, mut subscription: Subscription) {
        let mut seen: HashMap<NodeId, i64> = HashMap::new();
        let mut pruned = self.clock.wall();
        let mut joined = pruned;
        loop {
            if self.clock.wall().duration_since(joined) >= JOIN {
                joined = self.clock.wall();
                if let Err(error) = self.join_misses(self.clock.business()).await {
                    tracing::warn!(%error, "missed pickup codes cannot be saved, trying again");
                }
            }
            if self.clock.wall().duration_since(pruned) > PRUNE {
                pruned = self.clock.wall();
                if let Err(error) = self.prune_feed(self.clock.business()).await {
                    tracing::warn!(%error, "the feeds cannot be pruned, trying again later");
                }
            }
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = subscription.next() => Some(event),
                () = self.clock.pause(POLL) => None,
            };
            match event {
                Some(Ok(event)) => self.wake_by(&event),
                missed => {
                    if missed.is_some() {
                        self.clock.pause(POLL).await;
                    }
                    if self.work.hub.count() > 0
                        && let Err(error) = self.poll_feeds(&mut seen).await
                    {
                        tracing::warn!(%error, "the feeds cannot be read, trying again");
                    }
                }
            }
        }
    }

    fn wake_by(&self, event: &bus::Delivered) {
        let node = pb::FulfillmentEvent::decode(event.payload.clone())
            .ok()
            .and_then(|event| event.fulfillment_order)
            .and_then(|order| NodeId::new(order.node_id).ok());
        if let Some(node) = node {
            self.work.hub.wake(&node);
        }
    }

    async fn poll_feeds(&self, seen: &mut HashMap<NodeId, i64>) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        for (node, seq) in feed::last_of_all(&mut tx).await? {
            if seen.get(&node) != Some(&seq) {
                self.work.hub.wake(&node);
                seen.insert(node, seq);
            }
        }
        Ok(())
    }
}
