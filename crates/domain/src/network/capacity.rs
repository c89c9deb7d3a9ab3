//! How much work a node takes on: a number of orders per slot and kind of work.
//!
//! A day is cut into slots of equal length from its first instant on, so on the days when the clocks change the slots
//! still follow each other without gap or overlap; the last one of a day may be shorter.

use jiff::{SignedDuration, Timestamp};

use super::hours::{Hours, Zone};
pub use crate::fulfillment::method::Work;

/// Why a capacity rule is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// Too short or too long a slot.
    #[error("a slot must last from 5 to 1440 minutes")]
    SlotLength,
}

/// So many orders in each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    work: Work,
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
    pub fn new(work: Work, slot_minutes: u16, max_orders: u32) -> Result<Self, CapacityError> {
        if (5..=1_440).contains(&slot_minutes) {
            Ok(Self { work, slot_minutes, max_orders })
        } else {
            Err(CapacityError::SlotLength)
        }
    }

    /// The kind of work it limits.
    pub const fn work(&self) -> Work {
        self.work
    }

    /// Length of a slot.
    pub const fn slot_minutes(&self) -> u16 {
        self.slot_minutes
    }

    /// The most orders in one slot.
    pub const fn max_orders(&self) -> u32 {
        self.max_orders
    }

    /// The slot in which that instant lies.
    pub fn slot_at(&self, zone: &Zone, at: Timestamp) -> Slot {
        let date = zone.date(at);
        let midnight = zone.midnight(date);
        let next_day = date.tomorrow().map_or(Timestamp::MAX, |date| zone.midnight(date));
        let length = i64::from(self.slot_minutes) * 60;
        let gone = at.duration_since(midnight).as_secs().max(0) / length * length;
        let start = midnight + SignedDuration::from_secs(gone);
        Slot { start, end: (start + SignedDuration::from_secs(length)).min(next_day) }
    }

    /// The first slot with room in which the node is open, from that instant on and not after `until`, with the
    /// instant in it at which work can begin.
    pub fn first_free(
        &self,
        hours: &Hours,
        from: Timestamp,
        until: Timestamp,
        used: impl Fn(Timestamp) -> u32,
    ) -> Option<(Slot, Timestamp)> {
        for span in hours.spans(from, until) {
            let mut begin = span.from.max(from);
            while begin < span.until && begin <= until {
                let slot = self.slot_at(hours.zone(), begin);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn slots_are_cut_from_the_local_midnight() {
        let zone = Zone::named("Asia/Kolkata").unwrap();
        let rule = Rule::new(Work::Pick, 60, 4).unwrap();
        let slot = rule.slot_at(&zone, at("2026-01-12T05:10:00Z"));
        assert_eq!(slot, Slot { start: at("2026-01-12T04:30:00Z"), end: at("2026-01-12T05:30:00Z") });
    }

    #[test]
    fn a_full_slot_sends_the_work_to_the_next_one() {
        let hours = Hours::always(Zone::named("UTC").unwrap());
        let rule = Rule::new(Work::Pick, 30, 2).unwrap();
        let now = at("2026-01-12T10:10:00Z");
        let full = at("2026-01-12T10:00:00Z");
        let (slot, begin) = rule
            .first_free(&hours, now, at("2026-01-13T00:00:00Z"), |start| if start == full { 2 } else { 0 })
            .unwrap();
        assert_eq!((slot.start, begin), (at("2026-01-12T10:30:00Z"), at("2026-01-12T10:30:00Z")));
        let (slot, begin) = rule.first_free(&hours, now, now, |_| 1).unwrap();
        assert_eq!((slot.start, begin), (full, now));
        assert_eq!(rule.first_free(&hours, now, at("2026-01-12T12:00:00Z"), |_| 2), None);
    }

    #[test]
    fn no_capacity_means_no_slot() {
        let hours = Hours::always(Zone::named("UTC").unwrap());
        let rule = Rule::new(Work::Pick, 60, 0).unwrap();
        let now = at("2026-01-12T10:10:00Z");
        assert_eq!(rule.first_free(&hours, now, at("2026-01-14T00:00:00Z"), |_| 0), None);
        assert!(Rule::new(Work::Pick, 4, 1).is_err());
    }

    proptest! {
        #[test]
        fn slots_follow_each_other_also_when_the_clocks_change(
            minutes in 5u16..=1_440, start in 1_767_225_600i64..1_830_000_000,
        ) {
            for zone in ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut"] {
                let zone = Zone::named(zone).unwrap();
                let rule = Rule::new(Work::Pick, minutes, 1).unwrap();
                let from = Timestamp::from_second(start).unwrap();
                let slot = rule.slot_at(&zone, from);
                prop_assert!(slot.start <= from && from < slot.end);
                prop_assert_eq!(rule.slot_at(&zone, slot.start), slot);
                let next = rule.slot_at(&zone, slot.end);
                prop_assert_eq!(next.start, slot.end);
            }
        }
    }
}
