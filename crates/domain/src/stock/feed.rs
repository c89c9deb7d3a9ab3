//! Feeds of outside systems: what is new and what is too old to matter.
//!
//! A snapshot says "this many units at that moment", a delta "this many more or fewer at that moment". A snapshot is
//! stale when a newer one was applied, or when a delta that happened after it was (it would undo it). A delta is
//! stale when a snapshot of the same moment or later was applied: that one had counted it already.

use jiff::Timestamp;

/// The newest source times that a position has taken from its feeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Source time of the newest snapshot.
    pub snapshot: Option<Timestamp>,
    /// Source time of the newest delta.
    pub delta: Option<Timestamp>,
}

/// Something newer was applied before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source time {source_time} is not newer than {applied}, which was applied before")]
pub struct Stale {
    /// The source time that was refused.
    pub source_time: Timestamp,
    /// The newer one.
    pub applied: Timestamp,
}

impl Marks {
    /// Takes a snapshot, or says what made it stale.
    pub fn snapshot(&mut self, source_time: Timestamp) -> Result<(), Stale> {
        if let Some(applied) = self.snapshot.filter(|applied| *applied >= source_time) {
            return Err(Stale { source_time, applied });
        }
        if let Some(applied) = self.delta.filter(|applied| *applied > source_time) {
            return Err(Stale { source_time, applied });
        }
        self.snapshot = Some(source_time);
        Ok(())
    }

    /// Takes a delta, or says which snapshot had it already. Deltas may come in any order among themselves.
    pub fn delta(&mut self, source_time: Timestamp) -> Result<(), Stale> {
        if let Some(applied) = self.snapshot.filter(|applied| *applied >= source_time) {
            return Err(Stale { source_time, applied });
        }
        self.delta = Some(self.delta.map_or(source_time, |applied| applied.max(source_time)));
        Ok(())
    }
}
