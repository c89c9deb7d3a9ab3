//! Business days: to which day of trade an instant belongs.
//!
//! A business day carries the date on which its openings begin. It starts at midnight, or when the last opening of
//! the day before ends, whichever is later; it ends where the next one starts. So a node that closes by midnight has
//! calendar days, and for one that is open from 18:00 to 02:00 the day changes at 02:00, when nobody works.
//!
//! A cut-off is a time of the business day. From it on, orders are prepared on a later business day:
//!
//! | hours | cut-off | ordered | ready, with 30 minutes of preparation |
//! | --- | --- | --- | --- |
//! | 18:00 to 02:00 | 21:00 | 20:59 | 21:29 |
//! | 18:00 to 02:00 | 21:00 | 22:00, or 01:00 in the same night | 18:30 of the next evening |
//! | 18:00 to 02:00 | 01:00 | 22:00 | 22:30: the cut-off is three hours away |
//! | 18:00 to 02:00 | 01:00 | 01:00 | 18:30 of the next evening |
//! | 09:00 to 18:00 | 08:00 | 08:30 | 09:30 of the next day |
//! | 18:00 to 24:00 | 21:00 | 22:00 | 18:30 of the next evening |
//! | 18:00 to 24:00 | 21:00 | 00:30 | 18:30 of the same date: a new day has begun |
//!
//! A time up to the latest closing past midnight is meant past midnight on every day: 01:00 at a bar that closes at
//! 02:00 on Saturdays is 25:00, which on a Monday that ends at midnight never comes. The weekly hours say how late that
//! is, so that one long night of the year does not change what a cut-off means.
//!
//! Capacity is counted per business day too: its slots are cut from its start, and a slot of 24 hours is the business
//! day, also when the clocks change or one night is longer than the other.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::hours::{DAY_MINUTES, Hours};

/// A business day `[start, end)` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusinessDay {
    /// The date on which its openings begin.
    pub date: Date,
    /// First instant.
    pub start: Timestamp,
    /// First instant of the next business day.
    pub end: Timestamp,
    midnight: Timestamp,
    /// The clocks change neither on its date nor on the next.
    is_steady: bool,
}

impl BusinessDay {
    /// Whether the instant belongs to it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Hours {
    /// The business day of that date.
    pub fn business_day(&self, date: Date) -> BusinessDay {
        let midnight_after =
            |date: Date| date.tomorrow().map_or(Timestamp::MAX, |next| self.zone().midnight(next));
        let midnight = self.zone().midnight(date);
        let after = midnight_after(date);
        let in_two = date.tomorrow().map_or(Timestamp::MAX, midnight_after);
        let start = date.yesterday().map_or(midnight, |before| self.closing_time(before, midnight));
        let end = self.closing_time(date, after).max(start);
        let day = SignedDuration::from_hours(24);
        let is_steady = after.duration_since(midnight) == day && in_two.duration_since(after) == day;
        BusinessDay { date, start, end, midnight, is_steady }
    }

    /// When the openings that begin on that date are over, at the earliest at `midnight`, which follows it.
    fn closing_time(&self, date: Date, midnight: Timestamp) -> Timestamp {
        match self.day(date).overrun() {
            0 => midnight,
            overrun => self.zone().instant_of(date, DAY_MINUTES + overrun).max(midnight),
        }
    }

    /// The business day to which an instant belongs.
    pub fn business_day_at(&self, at: Timestamp) -> BusinessDay {
        let mut day = self.business_day(self.zone().date(at));
        // A night may reach into the date, and clocks that go back at midnight show a date twice.
        for _ in 0..2 {
            let other = if at < day.start {
                day.date.yesterday()
            } else if at >= day.end {
                day.date.tomorrow()
            } else {
                return day;
            };
            let Ok(other) = other else { return day };
            day = self.business_day(other);
        }
        day
    }

    /// The instant from which orders of that business day are prepared on a later one; it may lie outside of the day.
    pub fn cut_off(&self, day: &BusinessDay, minute: u16) -> Timestamp {
        let is_past_midnight = self.overrun() > 0 && minute <= self.overrun();
        let minute = if is_past_midnight { minute + DAY_MINUTES } else { minute };
        if day.is_steady {
            let later = SignedDuration::from_mins(i64::from(minute));
            return day.midnight.checked_add(later).unwrap_or(Timestamp::MAX);
        }
        self.zone().instant_of(day.date, minute)
    }
}

#[cfg(test)]
#[path = "business_day_tests.rs"]
mod tests;
