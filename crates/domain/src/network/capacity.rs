//! How much a node takes on: a number of orders per slot and activity.
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
}

/// A limit of orders per slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    activity: Activity,
    slot_minutes: u16,
    max_orders: u32,
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
    /// At most `max_orders` begin in each slot; none with 0.
    pub fn new(activity: Activity, slot_minutes: u16, max_orders: u32) -> Result<Self, CapacityError> {
        if (5..=WHOLE_DAY).contains(&slot_minutes) {
            Ok(Self { activity, slot_minutes, max_orders })
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

    /// The most orders in one slot.
    pub const fn max_orders(&self) -> u32 {
        self.max_orders
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

    /// The first slot with room in which the node is open, from that instant on and not after `until`, with the
    /// instant in it at which work can begin.
    pub fn first_free(
        &self,
        openings: Openings<'_>,
        from: Timestamp,
        until: Timestamp,
        used: impl Fn(Timestamp) -> u32,
    ) -> Option<(Slot, Timestamp)> {
        for span in openings.spans(from, until) {
            let mut begin = span.from.max(from);
            while begin < span.until && begin <= until {
                let slot = self.slot_at(&openings.business_day_at(begin), begin);
                if used(slot.start) < self.max_orders {
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
