//! What the nodes' work keeps in memory.

use domain::fulfillment::Clocks;
use domain::id::NodeId;
use service::Hub;

use super::key::Key;
use super::misses::Book;
use crate::config::{Config, WorkConfig};

/// What the nodes' work keeps in memory.
pub(crate) struct WorkState {
    pub(crate) config: WorkConfig,
    pub(crate) clocks: Clocks,
    pub(crate) key: Key,
    pub(crate) hub: Hub<NodeId>,
    pub(crate) misses: Book,
}

impl WorkState {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: config.work.clone(),
            clocks: config.clocks.clocks(),
            key: Key::new(config.work.pickup_code_secret.reveal()),
            hub: Hub::new(config.work.max_watchers).measured(|count| {
                metrics::gauge!("entrepot_fulfillment_watchers")
                    .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            }),
            misses: Book::new(&config.work),
        }
    }

    /// A batch of events was committed: those who watch may look.
    pub(crate) fn committed(&self) {
        self.hub.committed();
    }
}
