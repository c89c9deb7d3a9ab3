//! Which nodes let offers run out, as this process knows it. A node that is not there is lively.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use domain::id::NodeId;
use domain::network::silence::Silence;
use jiff::Timestamp;

/// The nodes that let offers run out, a whole that is replaced: a reader keeps the one it began with.
#[derive(Debug, Default)]
pub(crate) struct Silent(RwLock<Arc<HashMap<NodeId, Silence>>>);

impl Silent {
    /// All of them.
    pub(crate) fn all(&self) -> Arc<HashMap<NodeId, Silence>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// No offer of the node ran out since it last answered.
    pub(crate) fn is_lively(&self, node: &NodeId) -> bool {
        !self.all().contains_key(node)
    }

    /// Until when a node gets no promises; none: it gets some.
    pub(crate) fn until(&self, node: &str, now: Timestamp) -> Option<Timestamp> {
        self.all().get(node).filter(|silence| silence.is_silent(now)).and_then(|silence| silence.until)
    }

    /// How many nodes get no promises now.
    pub(crate) fn count(&self, now: Timestamp) -> usize {
        self.all().values().filter(|silence| silence.is_silent(now)).count()
    }

    /// Learns how silent nodes are. Most of it is known already.
    pub(crate) fn note(&self, news: impl IntoIterator<Item = (NodeId, Silence)>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (node, silence) in news {
            if all.get(&node).copied().unwrap_or_default() == silence {
                continue;
            }
            let all = Arc::make_mut(&mut all);
            if silence.run_out == 0 {
                all.remove(&node);
            } else {
                all.insert(node, silence);
            }
        }
    }
}
