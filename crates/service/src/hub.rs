//! Watchers of rows, woken after each commit that changes theirs.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::fault::Fault;

/// Those who wait for changes, by what they watch.
#[derive(Debug)]
pub struct Hub<K: Eq + Hash> {
    inner: Arc<Mutex<Inner<K>>>,
    max: usize,
}

#[derive(Debug)]
struct Inner<K> {
    by_key: HashMap<K, watch::Sender<()>>,
    /// Changed in a transaction that is not committed yet.
    /// Each key once, however often its transaction is tried.
    pending: HashSet<K>,
    count: usize,
    /// Hears how many watchers there are.
    gauge: fn(usize),
}

impl<K> Inner<K> {
    fn counts(&mut self, count: usize) {
        self.count = count;
        (self.gauge)(count);
    }
}

/// One watcher; dropped, it makes room for another.
#[derive(Debug)]
pub struct Watcher<K: Eq + Hash> {
    key: K,
    changes: watch::Receiver<()>,
    inner: Arc<Mutex<Inner<K>>>,
}

impl<K: Eq + Hash + Clone> Hub<K> {
    /// Room for `max` watchers.
    pub fn new(max: usize) -> Self {
        let inner = Inner { by_key: HashMap::new(), pending: HashSet::new(), count: 0, gauge: drop };
        Self { inner: Arc::new(Mutex::new(inner)), max }
    }

    /// The same, with a gauge that hears how many watchers there are whenever one comes or leaves.
    #[must_use]
    pub fn measured(self, gauge: fn(usize)) -> Self {
        lock(&self.inner).gauge = gauge;
        self
    }

    /// `key` changed, and the change is committed.
    pub fn wake(&self, key: &K) {
        if let Some(sender) = lock(&self.inner).by_key.get(key) {
            sender.send_replace(());
        }
    }

    /// Any key may have changed.
    pub fn wake_all(&self) {
        lock(&self.inner).by_key.values().for_each(|sender| {
            sender.send_replace(());
        });
    }

    /// These change in a transaction that others commit: see [`Hub::committed`].
    pub fn pending(&self, keys: impl IntoIterator<Item = K>) {
        lock(&self.inner).pending.extend(keys);
    }

    /// What was pending is committed.
    pub fn committed(&self) {
        let pending = std::mem::take(&mut lock(&self.inner).pending);
        for key in pending {
            self.wake(&key);
        }
    }

    /// The number of watchers.
    pub fn count(&self) -> usize {
        lock(&self.inner).count
    }

    /// A watcher of `key`, if there is room.
    pub fn join(&self, key: K) -> Result<Watcher<K>, Fault> {
        let mut inner = lock(&self.inner);
        if inner.count >= self.max {
            return Err(Fault::TooManyStreams);
        }
        let count = inner.count + 1;
        inner.counts(count);
        let changes = inner.by_key.entry(key.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Ok(Watcher { key, changes, inner: Arc::clone(&self.inner) })
    }
}

impl<K: Eq + Hash> Watcher<K> {
    /// Waits for the next change since [`Watcher::mark_seen`].
    pub async fn changed(&mut self) {
        // The sender lives as long as its watchers.
        let _ = self.changes.changed().await;
    }

    /// All changes so far are seen; call it before reading, so that a change during the reading is read again.
    pub fn mark_seen(&mut self) {
        self.changes.mark_unchanged();
    }
}

impl<K: Eq + Hash> Drop for Watcher<K> {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        let count = inner.count.saturating_sub(1);
        inner.counts(count);
        // Our own receiver still counts.
        if inner.by_key.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            inner.by_key.remove(&self.key);
        }
    }
}

fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_watcher_wakes_for_its_own_key_after_the_commit() {
        let hub = Hub::new(2);
        let mut one = hub.join("a").unwrap();
        let two = hub.join("b").unwrap();
        assert!(matches!(hub.join("c"), Err(Fault::TooManyStreams)));
        hub.wake(&"b");
        assert!(one.changed().now_or_never().is_none());
        hub.pending(["a"]);
        assert!(one.changed().now_or_never().is_none(), "not committed yet");
        hub.committed();
        assert!(one.changed().now_or_never().is_some());
        hub.wake_all();
        one.mark_seen();
        assert!(one.changed().now_or_never().is_none());
        drop(two);
        assert_eq!(hub.count(), 1);
        assert!(hub.join("c").is_ok(), "there is room again");
    }

    #[test]
    fn a_gauge_hears_of_those_who_come_and_of_those_who_leave() {
        static WATCHERS: AtomicUsize = AtomicUsize::new(0);
        let hub = Hub::new(2).measured(|count| WATCHERS.store(count, Ordering::SeqCst));
        let (one, two) = (hub.join("a").unwrap(), hub.join("a").unwrap());
        assert_eq!(WATCHERS.load(Ordering::SeqCst), 2);
        drop((one, two));
        assert_eq!(WATCHERS.load(Ordering::SeqCst), 0);
    }
}
