//! What the nodes' work keeps in memory.

use std::sync::Arc;

use super::hub::Hub;
use super::key::Key;
use crate::config::WorkConfig;

/// What the nodes' work keeps in memory.
pub(crate) struct Work {
    pub(crate) config: WorkConfig,
    pub(crate) key: Key,
    pub(crate) hub: Arc<Hub>,
}

impl Work {
    pub(crate) fn new(config: &WorkConfig) -> Self {
        Self {
            config: config.clone(),
            key: Key::new(config.pickup_code_secret.reveal()),
            hub: Arc::default(),
        }
    }

    /// A batch of events was committed: those who watch may look.
    pub(crate) fn committed(&self) {
        self.hub.release();
    }
}
