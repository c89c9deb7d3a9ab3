//! Who watches which node, and how they are woken.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::id::NodeId;
use tokio::sync::watch;

use crate::Error;

/// Who watches which node, and how they are woken.
#[derive(Default)]
pub(crate) struct Hub {
    nodes: Mutex<HashMap<NodeId, watch::Sender<u64>>>,
    held: Mutex<BTreeSet<NodeId>>,
    watchers: AtomicUsize,
}

impl Hub {
    /// Something was committed for this node.
    pub(crate) fn wake(&self, node: &NodeId) {
        if let Some(sender) = lock(&self.nodes).get(node) {
            sender.send_modify(|wakes| *wakes = wakes.wrapping_add(1));
        }
    }

    /// Something will be committed for this node, by whoever holds the transaction.
    pub(crate) fn hold(&self, node: NodeId) {
        lock(&self.held).insert(node);
    }

    /// What was held is committed.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *lock(&self.held));
        for node in &held {
            self.wake(node);
        }
    }

    /// The number of open streams.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Takes a seat, if one is left.
    pub(crate) fn sit(self: &Arc<Self>, node: &NodeId, seats: usize) -> Result<Seat, Error> {
        let taken = self.watchers.fetch_add(1, Ordering::Relaxed);
        let wakes = lock(&self.nodes).entry(node.clone()).or_default().subscribe();
        let seat = Seat { hub: Arc::clone(self), node: node.clone(), wakes };
        metrics::gauge!("entrepot_fulfillment_watchers")
            .set(f64::from(u32::try_from(taken).unwrap_or(u32::MAX)) + 1.0);
        if taken < seats { Ok(seat) } else { Err(Error::TooManyWatchers) }
    }

    fn leave(&self, node: &NodeId) {
        let mut nodes = lock(&self.nodes);
        // The seat that leaves still counts as a receiver.
        if nodes.get(node).is_some_and(|sender| sender.receiver_count() <= 1) {
            nodes.remove(node);
        }
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watcher's place.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    pub(crate) node: NodeId,
    pub(crate) wakes: watch::Receiver<u64>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_when_its_watcher_leaves() {
        let hub = Arc::new(Hub::default());
        let node = NodeId::new("N1").unwrap();
        let seat = hub.sit(&node, 1).unwrap();
        assert!(hub.sit(&node, 1).is_err());
        assert_eq!(hub.watchers(), 1);
        hub.wake(&node);
        assert!(seat.wakes.has_changed().unwrap());
        drop(seat);
        assert_eq!(hub.watchers(), 0);
        assert!(lock(&hub.nodes).is_empty());
    }

    #[test]
    fn held_nodes_are_woken_when_the_batch_is_committed() {
        let hub = Arc::new(Hub::default());
        let node = NodeId::new("N1").unwrap();
        let seat = hub.sit(&node, 10).unwrap();
        hub.hold(node);
        assert!(!seat.wakes.has_changed().unwrap());
        hub.release();
        assert!(seat.wakes.has_changed().unwrap());
    }
}
