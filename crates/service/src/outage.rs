//! Lines of the log about a neighbour that is away: one a second, however many calls are refused meanwhile.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use domain::time::Timestamp;

/// Microseconds between two lines.
const EVERY: i64 = 1_000_000;

/// One neighbour.
#[derive(Debug)]
pub struct Outage {
    /// When the last line was written, in microseconds.
    logged: AtomicI64,
    /// Calls refused since.
    unlogged: AtomicU64,
}

impl Default for Outage {
    fn default() -> Self {
        Self::new()
    }
}

impl Outage {
    /// Nothing was refused yet.
    pub const fn new() -> Self {
        Self { logged: AtomicI64::new(i64::MIN), unlogged: AtomicU64::new(0) }
    }

    /// A call was refused. `Some`: a line is due, about this many calls.
    pub fn refused(&self, now: Timestamp) -> Option<u64> {
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        let (now, logged) = (now.as_microsecond(), self.logged.load(Ordering::Relaxed));
        // A clock that was set back does not silence it.
        let is_due = now.saturating_sub(logged) >= EVERY || now < logged;
        if !is_due || self.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return None;
        }
        Some(self.unlogged.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_are_one_line_a_second_and_each_is_counted() {
        let outage = Outage::new();
        let at = |ms: i64| Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap();
        let lines: Vec<u64> = (0..=2_000).filter_map(|ms| outage.refused(at(ms))).collect();
        assert_eq!(lines, [1, 1_000, 1_000]);
        assert_eq!(outage.refused(at(1_000)), Some(1), "the clock was set back");
        assert_eq!(outage.refused(at(1_500)), None);
        assert_eq!(outage.refused(at(9_000)), Some(2));
    }
}
