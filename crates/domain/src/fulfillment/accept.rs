//! When an offer must be accepted.

use jiff::{SignedDuration, Timestamp};

use super::method::{Clocks, Method};
use super::stage::{Counts, Step};
use crate::network::timetable::Openings;

/// The clock of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptClock {
    /// When the offer must be accepted.
    pub due: Timestamp,
    /// From when it is at risk.
    pub at_risk: Timestamp,
}

/// The clock of an offer made now. A method whose clock counts opening time needs the openings of the node; of a node that is
/// not known, or does not open long enough, every minute counts.
pub fn clock(method: Method, clocks: &Clocks, openings: Option<Openings<'_>>, now: Timestamp) -> AcceptClock {
    let openings = match method.rules().clock_of(Step::Accept).map(|(_, clock)| clock.counts) {
        Some(Counts::OpeningTime) => openings,
        Some(Counts::AllTime | Counts::IntoOpening) | None => None,
    };
    let after = |span: SignedDuration| {
        let open = openings.and_then(|openings| openings.add_open_time(now, span));
        open.unwrap_or_else(|| now.saturating_add(span).unwrap_or(Timestamp::MAX))
    };
    AcceptClock {
        due: after(clocks.accept),
        at_risk: after(SignedDuration::from_millis(clocks.accept.as_secs() * 10 * clocks.at_risk_percent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::hours::{Day, Hours, Interval, Zone};

    fn quarter() -> Clocks {
        Clocks { accept: SignedDuration::from_mins(15), ..Method::Pickup.rules().clocks }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_offer_made_before_closing_time_goes_on_when_the_node_opens_again() {
        let day = Day::new(vec![Interval::new(9 * 60, 18 * 60).unwrap()]).unwrap();
        let hours = Hours::weekly(Zone::named("UTC").unwrap(), std::array::from_fn(|_| day.clone()));
        let clock =
            clock(Method::Pickup, &quarter(), Some(Openings::from(&hours)), at("2026-01-12T17:50:00Z"));
        assert_eq!(clock.due, at("2026-01-13T09:05:00Z"));
        assert_eq!(clock.at_risk, at("2026-01-13T09:02:00Z"));
    }

    #[test]
    fn midnight_does_not_stop_the_clock_of_a_node_that_is_open() {
        let night = Day::new(vec![Interval::new(18 * 60, 2 * 60).unwrap()]).unwrap();
        let hours = Hours::weekly(Zone::named("UTC").unwrap(), std::array::from_fn(|_| night.clone()));
        let clock = |now| clock(Method::Pickup, &quarter(), Some(Openings::from(&hours)), at(now));
        assert_eq!(clock("2026-01-12T23:50:00Z").due, at("2026-01-13T00:05:00Z"));
        assert_eq!(
            clock("2026-01-13T01:50:00Z").due,
            at("2026-01-13T18:05:00Z"),
            "the rest of it is in the evening"
        );
    }

    #[test]
    fn at_a_node_that_is_not_known_every_minute_counts() {
        let clock = clock(Method::Pickup, &quarter(), None, at("2026-01-12T17:50:00Z"));
        assert_eq!(clock.due, at("2026-01-12T18:05:00Z"));
        assert_eq!(clock.at_risk, at("2026-01-12T18:02:00Z"));
    }
}
