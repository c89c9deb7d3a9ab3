//! The transport within one process: the relay hands events straight to the consumers.
//!
//! An event is acknowledged when every registered consumer has committed or parked it, and all subscriptions have
//! it. Consumers of one relay work side by side; each of them takes one batch at a time.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::join_all;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::Delivered;
use crate::runner::{BATCH, Runner};

/// Events that a slow subscription may be behind.
const FEED: usize = 16_384;

pub(crate) struct Hub {
    runners: RwLock<Vec<Arc<Runner>>>,
    feed: broadcast::Sender<Arc<Delivered>>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { runners: RwLock::new(Vec::new()), feed: broadcast::Sender::new(FEED) }
    }

    pub(crate) fn register(&self, runner: Arc<Runner>) {
        self.runners.write().unwrap_or_else(PoisonError::into_inner).push(runner);
    }

    pub(crate) fn feed(&self) -> broadcast::Receiver<Arc<Delivered>> {
        self.feed.subscribe()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.runners().iter().any(|runner| runner.is_busy())
    }

    /// Hands events over in order. Answers how many are acknowledged: all, unless asked to stop.
    pub(crate) async fn publish(&self, events: &[Arc<Delivered>], stop: &CancellationToken) -> usize {
        let runners = self.runners();
        let mut acknowledged = 0;
        for batch in events.chunks(BATCH) {
            if stop.is_cancelled() {
                break;
            }
            let outcomes = match runners.as_slice() {
                [] => Vec::new(),
                [only] => vec![only.process(batch, stop).await],
                [..] => join_all(runners.iter().map(|runner| runner.process(batch, stop))).await,
            };
            if outcomes.iter().any(Result::is_err) {
                break;
            }
            for event in batch {
                let _nobody_listens = self.feed.send(Arc::clone(event));
            }
            acknowledged += batch.len();
        }
        acknowledged
    }

    fn runners(&self) -> Vec<Arc<Runner>> {
        self.runners.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
