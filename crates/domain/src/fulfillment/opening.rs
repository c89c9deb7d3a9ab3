//! Steps that would end while the node is shut: nobody can collect goods, fetch them or put them back at a locked door.

use jiff::{SignedDuration, Timestamp};

use super::method::Method;
use super::stage::{Counts, Step};
use crate::network::hours::Hours;
use crate::network::timetable::Openings;

/// The end of a step: `end`, or, if the node is shut right before it, as much later as it takes for `least` of opening time
/// to pass. Short openings add up. A node that opens for less than that ends the step with its last known opening; one that
/// does not open again, within [`crate::network::hours::HORIZON_DAYS`], moves nothing.
///
/// An end at the minute of closing stays: the door was open until then.
pub fn into_opening(end: Timestamp, least: SignedDuration, openings: Openings<'_>) -> Timestamp {
    let before = end.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(end);
    if openings.is_open(before) {
        return end;
    }
    let whole = openings.add_open_time(end, least);
    whole.or_else(|| openings.last_open(end)).unwrap_or(end)
}

/// The end of a wait for goods that starts at an instant: at a node that closes for good at the latest its last closing, since
/// nobody could collect them afterwards.
pub fn while_it_opens(end: Timestamp, start: Timestamp, hours: &Hours) -> Timestamp {
    hours.closes_for_good().map_or(end, |last| end.min(last).max(start))
}

/// Until when goods of a method that are ready are kept.
pub fn keep_until(
    method: Method,
    ready: Timestamp,
    keep: SignedDuration,
    least: SignedDuration,
    openings: Openings<'_>,
) -> Timestamp {
    let end = super::after(ready, keep);
    let end = match method.rules().clock_of(Step::Collect).map(|(_, clock)| clock.counts) {
        Some(Counts::IntoOpening) => into_opening(end, least, openings),
        Some(Counts::AllTime | Counts::OpeningTime) | None => end,
    };
    while_it_opens(end, ready, openings.hours())
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
