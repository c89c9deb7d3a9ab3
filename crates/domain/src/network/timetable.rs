//! A timetable: the openings and business days of a node for the days to come, worked out once.
//!
//! Hours are asked for every node of every promise, and each answer of [`Hours`] asks the rules of a time zone several
//! times. A [`Timetable`] holds the answers as instants. It is made for an instant, lasts for a business day or two from
//! there, and reaches far enough ahead for the usual promise; [`Openings`] goes on with the hours themselves where it
//! ends, so that no answer depends on whether there is one.

use jiff::{SignedDuration, Timestamp};

use super::business_day::BusinessDay;
use super::hours::{Hours, Span};

/// Business days of a timetable.
const DAYS: usize = 10;
/// For how many of them it is asked, so that the others are always ahead.
const LASTS: usize = 2;

/// Openings and business days, from the business day for which it was made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// In order, each beginning where the one before it ends; at least one.
    days: Box<[BusinessDay]>,
    /// Every opening that ends after the start of the first day and begins before the end of the last.
    spans: Box<[Span]>,
}

impl Timetable {
    /// The timetable of these hours for that instant.
    pub fn new(hours: &Hours, at: Timestamp) -> Self {
        let mut days = vec![hours.business_day_at(at)];
        while let Some(next) =
            days.last().filter(|_| days.len() < DAYS).and_then(|day| day.date.tomorrow().ok())
        {
            days.push(hours.business_day(next));
        }
        let (from, until) = (days[0].start, days[days.len() - 1].end);
        let spans = hours.spans(from, until).filter(|span| span.from < until).collect();
        Self { days: days.into(), spans }
    }

    /// Whether it is still the one to ask at that instant.
    pub fn is_for(&self, at: Timestamp) -> bool {
        self.days[0].start <= at && at < self.days[LASTS.min(self.days.len()) - 1].end
    }

    /// First instant after it.
    fn until(&self) -> Timestamp {
        self.days[self.days.len() - 1].end
    }

    fn knows(&self, at: Timestamp) -> bool {
        self.days[0].start <= at && at < self.until()
    }

    /// The spans that end after `from`.
    fn spans(&self, from: Timestamp) -> &[Span] {
        &self.spans[self.spans.partition_point(|span| span.until <= from)..]
    }

    fn day(&self, at: Timestamp) -> Option<BusinessDay> {
        let day = self.days.get(self.days.partition_point(|day| day.end <= at));
        day.filter(|day| day.contains(at)).copied()
    }
}

/// The hours of a node with what is worked out of them.
#[derive(Debug, Clone, Copy)]
pub struct Openings<'a> {
    hours: &'a Hours,
    known: Option<&'a Timetable>,
}

impl<'a> From<&'a Hours> for Openings<'a> {
    fn from(hours: &'a Hours) -> Self {
        Self { hours, known: None }
    }
}

impl<'a> Openings<'a> {
    /// The hours, with a timetable made of them.
    pub const fn new(hours: &'a Hours, known: &'a Timetable) -> Self {
        Self { hours, known: Some(known) }
    }

    /// The hours themselves.
    pub const fn hours(&self) -> &'a Hours {
        self.hours
    }

    /// As [`Hours::is_open`].
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.spans(at, at).next().is_some_and(|span| span.from <= at)
    }

    /// As [`Hours::next_open`].
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, Hours::horizon(at)).next().map(|span| span.from.max(at))
    }

    /// As [`Hours::add_open_time`].
    pub fn add_open_time(&self, at: Timestamp, length: SignedDuration) -> Option<Timestamp> {
        Hours::pass(self.spans(at, Hours::horizon(at)), at, length)
    }

    /// When the last opening after `at` ends, as far ahead as questions may look.
    pub fn last_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, Hours::horizon(at)).last().map(|span| span.until)
    }

    /// As [`Hours::business_day_at`].
    pub fn business_day_at(&self, at: Timestamp) -> BusinessDay {
        self.known.and_then(|known| known.day(at)).unwrap_or_else(|| self.hours.business_day_at(at))
    }

    /// As [`Hours::spans`].
    pub fn spans(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = Span> + 'a {
        let (hours, known) = (self.hours, self.known.filter(|known| known.knows(from)));
        let (spans, reached) = known.map_or((&[][..], from), |known| (known.spans(from), known.until()));
        let rest = (known.is_none() || reached <= until).then_some(()).into_iter();
        // Asked only when it comes to that: it costs as much as all of the timetable saves.
        let rest = rest.flat_map(move |()| hours.spans(reached, until.min(Hours::horizon(from))));
        let rest = rest.filter(move |span| known.is_none() || span.from >= reached);
        spans.iter().copied().take_while(move |span| span.from <= until).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::network::hours::tests::any_hours;
    use crate::network::hours::{Closure, Day, Interval};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_timetable_lasts_a_day_and_reaches_a_week_ahead() {
        let zone = crate::network::hours::Zone::named("Europe/London").unwrap();
        let hours = Hours::always(zone);
        let now: Timestamp = "2026-01-12T10:00:00Z".parse().unwrap();
        let table = Timetable::new(&hours, now);
        let after = |days: i64| now + SignedDuration::from_hours(24 * days);
        assert!(table.is_for(now) && table.is_for(after(1)) && !table.is_for(after(2)));
        assert!(!table.is_for(after(-1)), "a clock that went back asks for another");
        assert!(table.knows(after(8)), "the last instant for which it is asked has a week ahead of it");
    }

    #[test]
    fn the_ends_of_the_calendar_have_timetables() {
        let hours = Hours::always(crate::network::hours::Zone::named("Pacific/Apia").unwrap());
        for now in [Timestamp::MIN, Timestamp::MAX] {
            let table = Timetable::new(&hours, now);
            assert!(Openings::new(&hours, &table).business_day_at(now).start <= now);
        }
    }

    /// Weekly hours with a short closing, a holiday and a longer night somewhere in the range.
    fn with_surprises(hours: Hours, start: i64, shut: i64, opens: u16) -> Hours {
        let closure =
            Closure { from: at(start + shut), until: Some(at(start + shut + 40_000)), reason: "x".into() };
        let first = hours.zone().date(at(start + 3 * 86_400));
        let night = Day::new(vec![Interval::new(opens, opens / 3).unwrap()]).unwrap();
        let exceptions =
            [(first, night), (first.tomorrow().unwrap(), Day::CLOSED), (date(2026, 1, 1), Day::CLOSED)];
        hours.with_exceptions(exceptions.into()).unwrap().with_closures(vec![closure]).unwrap()
    }

    proptest! {
        #[test]
        fn a_timetable_answers_as_the_hours_do(
            hours in any_hours(), start in 1_767_225_600i64..1_830_000_000, shut in 0i64..1_500_000,
            opens in 1u16..1_440, asked in proptest::collection::vec(-200_000i64..2_000_000, 8),
            length in 0i64..20_000, days in proptest::option::of((0i64..8, 0i64..12)),
        ) {
            let hours = with_surprises(hours, start, shut, opens);
            let day = |days: i64| hours.zone().date(at(start + days * 86_400));
            let (first, last) = days.map(|(first, more)| (day(first), day(first + more))).unzip();
            let hours = hours.with_days(first, last).unwrap();
            let table = Timetable::new(&hours, at(start));
            let openings = Openings::new(&hours, &table);
            for later in asked {
                let asked = at(start + later);
                prop_assert_eq!(openings.is_open(asked), hours.is_open(asked));
                prop_assert_eq!(openings.next_open(asked), hours.next_open(asked));
                prop_assert_eq!(openings.business_day_at(asked), hours.business_day_at(asked));
                let length = SignedDuration::from_mins(length);
                prop_assert_eq!(openings.add_open_time(asked, length), hours.add_open_time(asked, length));
                let until = asked + SignedDuration::from_hours(200);
                let ahead = |span: Span| (span.from.max(asked), span.until);
                let known: Vec<_> = openings.spans(asked, until).map(ahead).collect();
                prop_assert_eq!(known, hours.spans(asked, until).map(ahead).collect::<Vec<_>>());
            }
        }
    }
}
