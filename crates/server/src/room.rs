//! Room for connections: how many there may be, and who makes room when there are as many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// File handles that are left for files, databases and brokers.
const OTHERS: usize = 256;

/// The connections that are open.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    most: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_age: BTreeMap<u64, Chair>,
}

#[derive(Debug, Clone, Default)]
struct Chair {
    has_called: Arc<AtomicBool>,
    leave: CancellationToken,
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    number: u64,
    chair: Chair,
}

impl Room {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// A place; if there is none, that of the oldest connection that never made a call.
    pub(crate) fn enter(&self) -> Option<Place> {
        let mut open = self.open();
        if open.by_age.len() >= self.most {
            let silent = |chair: &Chair| !chair.has_called.load(Ordering::Relaxed);
            let (&oldest, _) = open.by_age.iter().find(|(_, chair)| silent(chair))?;
            open.by_age.remove(&oldest)?.leave.cancel();
        }
        let number = open.next;
        open.next += 1;
        let chair = Chair::default();
        open.by_age.insert(number, chair.clone());
        drop(open);
        Some(Place { room: self.clone(), number, chair })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// No two places of a room have the same number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the connection is used.
    pub(crate) fn called(&self) {
        self.chair.has_called.store(true, Ordering::Relaxed);
    }

    /// Comes back when the place is needed for another.
    pub(crate) async fn needed(&self) {
        self.chair.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.open().by_age.remove(&self.number);
    }
}

/// `wanted` connections, or as many as the process may have file handles for.
pub(crate) fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(handles) = handles(&limits) else { return wanted };
    let most = handles.saturating_sub(OTHERS).max(handles / 2);
    if wanted > most {
        tracing::warn!(
            wanted,
            most,
            "the limit of open files (ulimit -n) leaves room for fewer connections than server.max_connections"
        );
    }
    wanted.min(most)
}

/// The soft limit of open files; none where it is unlimited or unknown.
fn handles(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_is_full_the_oldest_that_never_called_makes_room() {
        let room = Room::new(3);
        let places: Vec<Place> = (0..3).filter_map(|_| room.enter()).collect();
        assert_eq!(places.len(), 3);
        places[0].called();
        let fourth = room.enter().unwrap();
        let asked_to_leave: Vec<bool> = places.iter().map(|place| place.chair.leave.is_cancelled()).collect();
        assert_eq!(asked_to_leave, [false, true, false]);
        places[2].called();
        fourth.called();
        assert!(room.enter().is_none(), "connections that are used stay");
        drop(places);
        assert!(room.enter().is_some());
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = "Limit    Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(handles(limits), Some(1024));
        assert_eq!(
            handles("Max open files            unlimited            unlimited            files\n"),
            None
        );
        assert_eq!(handles(""), None);
    }
}
