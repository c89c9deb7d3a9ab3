//! Lines of the log about a neighbour that is away: one a second, however many calls are refused meanwhile.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

/// Microseconds between two lines.
const EVERY: i64 = 1_000_000;

/// One neighbour.
pub(crate) struct Outage {
    /// When the last line was written, in microseconds.
    said: AtomicI64,
    /// Calls refused since.
    unsaid: AtomicU64,
}

impl Outage {
    /// Nothing was refused yet.
    pub(crate) const fn new() -> Self {
        Self { said: AtomicI64::new(i64::MIN), unsaid: AtomicU64::new(0) }
    }

    /// A call was refused. `Some`: a line is due, and tells of so many calls.
    pub(crate) fn refused(&self, now: Timestamp) -> Option<u64> {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let (now, said) = (now.as_microsecond(), self.said.load(Ordering::Relaxed));
        // A clock that was set back does not silence it.
        let is_due = now.saturating_sub(said) >= EVERY || now < said;
        if !is_due || self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        Some(self.unsaid.swap(0, Ordering::Relaxed))
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
