//! How much a node takes on: a number of orders, or of their units, per slot and activity.
//!
//! A business day is cut into slots of equal length from its start on, so after long nights and on the days when the
//! clocks change the slots still follow each other without gap or overlap; the last one of a day may be shorter. A slot
//! of 24 hours is the business day itself, however long that is.

use jiff::{SignedDuration, Timestamp};

use super::business_day::BusinessDay;
use super::timetable::Openings;
pub use crate::fulfillment::method::Activity;

/// Minutes of a slot that is the whole business day.
const WHOLE_DAY: u16 = 1_440;

/// No slot lasts longer: a business day may reach to the end of a second date, on which the clocks go back.
pub const LONGEST_SLOT: SignedDuration = SignedDuration::from_hours(50);

/// Why a capacity rule is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// Too short or too long a slot.
    #[error("a slot must last from 5 to 1440 minutes")]
    SlotLength,
    /// Less than nothing.
    #[error("must not be negative")]
    Negative,
}

/// The most that a slot takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Most {
    /// Orders, whatever is in them.
    Orders(i64),
    /// Units of orders.
    Units(i64),
}

impl Most {
    /// How many orders or units.
    pub const fn limit(self) -> i64 {
        match self {
            Self::Orders(limit) | Self::Units(limit) => limit,
        }
    }

    /// How many units an order may have.
    pub const fn units(self) -> i64 {
        match self {
            Self::Orders(_) => i64::MAX,
            Self::Units(most) => most,
        }
    }

    /// What an order of that many units takes, at least 1.
    pub fn taken_by(self, units: i64) -> i64 {
        match self {
            Self::Orders(_) => 1,
            Self::Units(_) => units.max(1),
        }
    }
}

/// A limit of work per slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    activity: Activity,
    slot_minutes: u16,
    most: Most,
}

/// A slot of a day: `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// First instant.
    pub start: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

impl Rule {
    /// At most that much begins in each slot; nothing with 0.
    pub fn new(activity: Activity, slot_minutes: u16, most: Most) -> Result<Self, CapacityError> {
        if most.limit() < 0 {
            return Err(CapacityError::Negative);
        }
        if (5..=WHOLE_DAY).contains(&slot_minutes) {
            Ok(Self { activity, slot_minutes, most })
        } else {
            Err(CapacityError::SlotLength)
        }
    }

    /// The activity that it limits.
    pub const fn activity(&self) -> Activity {
        self.activity
    }

    /// Length of a slot.
    pub const fn slot_minutes(&self) -> u16 {
        self.slot_minutes
    }

    /// The most in one slot.
    pub const fn most(&self) -> Most {
        self.most
    }

    /// The slot of that business day in which that instant lies.
    pub fn slot_at(&self, day: &BusinessDay, at: Timestamp) -> Slot {
        if self.slot_minutes == WHOLE_DAY {
            return Slot { start: day.start, end: day.end };
        }
        let length = i64::from(self.slot_minutes) * 60;
        let gone = at.duration_since(day.start).as_secs().max(0) / length * length;
        let start = day.start + SignedDuration::from_secs(gone);
        let end = start.checked_add(SignedDuration::from_secs(length)).unwrap_or(Timestamp::MAX);
        Slot { start, end: end.min(day.end) }
    }

    /// The first slot with room for that amount in which the node is open, from that instant on and not after `until`, with
    /// the instant in it at which work can begin. An amount that no slot can hold is not searched for.
    pub fn first_free(
        &self,
        openings: Openings<'_>,
        amount: i64,
        from: Timestamp,
        until: Timestamp,
        used: impl Fn(Timestamp) -> i64,
    ) -> Option<(Slot, Timestamp)> {
        let spare = self.most.limit().checked_sub(amount).filter(|room| *room >= 0)?;
        for span in openings.spans(from, until) {
            let mut begin = span.from.max(from);
            while begin < span.until && begin <= until {
                let slot = self.slot_at(&openings.business_day_at(begin), begin);
                if used(slot.start) <= spare {
                    return Some((slot, begin));
                }
                begin = slot.end;
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod tests;
