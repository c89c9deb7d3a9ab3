//! When a node is open: weekly hours, exceptions by date, temporary closings, in the node's own time zone.
//!
//! Two conventions decide every doubtful case:
//! - An interval belongs to the day on which it *begins*. A bar that opens on Saturday at 22:00 and closes at 02:00 is
//!   open in the first hours of a Sunday that is a holiday.
//! - A local time that occurs twice (clocks go back) is its first occurrence; one that never occurs (clocks go
//!   forward) is moved on by the length of the gap. So elapsed time is what counts, and no interval turns around.
//!
//! Instants come out as half-open spans `[from, until)`: at the closing minute a node is closed. Which opening belongs
//! to which *business day* is said in [`super::business_day`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// The rules of all time zones, compiled in: the same promise on every machine, and no file is read.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The most intervals of one day.
pub const MAX_INTERVALS: usize = 8;
/// The most exceptions (dates) that a node may have.
pub const MAX_EXCEPTIONS: usize = 400;
/// The most temporary closings that a node may have ahead.
pub const MAX_CLOSURES: usize = 50;
/// How many days ahead a question about opening time may look.
pub const HORIZON_DAYS: i64 = 400;

pub(super) const DAY_MINUTES: u16 = 1_440;

static CLOSED: Day = Day::CLOSED;

/// The place of a weekday in lists that begin with Monday.
pub(super) fn from_monday(day: Weekday) -> usize {
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

/// Why hours are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// No such IANA name.
    #[error("must be an IANA time zone such as Europe/London")]
    UnknownZone,
    /// Not a minute of a day.
    #[error("must be a time from 00:00 to 24:00")]
    NoMinute,
    /// Two intervals of one day share a minute, or are not in order.
    #[error("intervals of one day must be in order and not overlap")]
    Overlap,
    /// More than [`MAX_INTERVALS`].
    #[error("at most {MAX_INTERVALS} intervals a day")]
    TooManyIntervals,
    /// More than [`MAX_EXCEPTIONS`].
    #[error("at most {MAX_EXCEPTIONS} dates with hours of their own")]
    TooManyExceptions,
    /// More than [`MAX_CLOSURES`].
    #[error("at most {MAX_CLOSURES} temporary closings")]
    TooManyClosures,
    /// A closing that ends before it begins.
    #[error("must end after it begins")]
    EmptyClosure,
    /// A last day before the first.
    #[error("must not be before first_day")]
    NoDays,
}

/// A time zone by its IANA name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    rules: TimeZone,
}

impl Zone {
    /// The zone of that name.
    pub fn named(name: &str) -> Result<Self, HoursError> {
        let rules = ZONES.get(name).map_err(|_| HoursError::UnknownZone)?;
        if rules.iana_name().is_some() { Ok(Self { rules }) } else { Err(HoursError::UnknownZone) }
    }

    /// Its canonical name.
    pub fn name(&self) -> &str {
        self.rules.iana_name().unwrap_or("UTC")
    }

    /// What the clocks there show at that instant.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(at)
    }

    /// The date there at that instant.
    pub fn date(&self, at: Timestamp) -> Date {
        self.local(at).date()
    }

    /// The instant at which the clocks there show this: the first of two, or moved on by the gap.
    pub fn instant(&self, local: DateTime) -> Timestamp {
        let at_end = if local.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.rules.to_ambiguous_timestamp(local).compatible().unwrap_or(at_end)
    }

    /// The instant of a minute of that date, or of the next date from 1,440 on.
    pub(super) fn instant_of(&self, date: Date, minute: u16) -> Timestamp {
        let (date, minute) = match minute.checked_sub(DAY_MINUTES) {
            Some(minute) => (date.tomorrow().unwrap_or(date), minute),
            None => (date, minute),
        };
        let hour = i8::try_from(minute / 60).unwrap_or(0);
        let rest = i8::try_from(minute % 60).unwrap_or(0);
        self.instant(date.at(hour, rest, 0, 0))
    }

    /// The instant at which that date begins there.
    pub fn midnight(&self, date: Date) -> Timestamp {
        self.instant(date.at(0, 0, 0, 0))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One opening of a day, in minutes since that day's midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    opens: u16,
    closes: u16,
}

impl Interval {
    /// From one time of day to another (minutes since midnight, 0 to 1,440); a closing time that is not later than the
    /// opening time is on the next day, so equal times are 24 hours.
    pub fn new(opens: u16, closes: u16) -> Result<Self, HoursError> {
        if opens >= DAY_MINUTES || closes > DAY_MINUTES {
            return Err(HoursError::NoMinute);
        }
        Ok(Self { opens, closes: if closes <= opens { closes + DAY_MINUTES } else { closes } })
    }

    /// The minute of the day at which it opens.
    pub const fn opens(self) -> u16 {
        self.opens
    }

    /// The minute of the day at which it closes, 1,440 for midnight; not later than [`Self::opens`] when that is on
    /// the next day.
    pub const fn closes(self) -> u16 {
        if self.closes > DAY_MINUTES { self.closes - DAY_MINUTES } else { self.closes }
    }
}

/// The openings of one day, in order; none = closed that day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Day(Vec<Interval>);

impl Day {
    /// A day on which the node does not open.
    pub const CLOSED: Self = Self(Vec::new());

    /// A day with these openings.
    pub fn new(intervals: Vec<Interval>) -> Result<Self, HoursError> {
        if intervals.len() > MAX_INTERVALS {
            return Err(HoursError::TooManyIntervals);
        }
        let in_order = intervals.windows(2).all(|pair| pair[0].closes <= pair[1].opens);
        if in_order { Ok(Self(intervals)) } else { Err(HoursError::Overlap) }
    }

    /// The openings.
    pub fn intervals(&self) -> &[Interval] {
        &self.0
    }

    /// How many minutes its last opening reaches into the next day.
    pub(super) fn overrun(&self) -> u16 {
        self.0.last().map_or(0, |last| last.closes.saturating_sub(DAY_MINUTES))
    }
}

/// A closing that is not in the hours: a flood, a stock-taking, a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// First instant closed.
    pub from: Timestamp,
    /// First instant open again; `None`: until someone reopens it.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
}

/// A span of time `[from, until)` in which a node is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First instant.
    pub from: Timestamp,
    /// First instant after it.
    pub until: Timestamp,
}

impl Span {
    /// How long it lasts.
    pub fn length(self) -> SignedDuration {
        self.until.duration_since(self.from)
    }
}

/// When a node is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    zone: Zone,
    weekly: [Day; 7],
    exceptions: BTreeMap<Date, Day>,
    closures: Vec<Closure>,
    /// No opening begins on an earlier date.
    first_day: Option<Date>,
    /// No opening begins on a later date.
    last_day: Option<Date>,
    /// How far the longest opening reaches past midnight, in minutes.
    overrun: u16,
}

impl Hours {
    /// Hours that repeat each week, Monday first.
    pub fn weekly(zone: Zone, weekly: [Day; 7]) -> Self {
        let overrun = weekly.iter().map(Day::overrun).max().unwrap_or(0);
        let (exceptions, closures) = (BTreeMap::new(), Vec::new());
        Self { zone, weekly, exceptions, closures, first_day: None, last_day: None, overrun }
    }

    /// Open at every hour of every day.
    pub fn always(zone: Zone) -> Self {
        let day = Day(vec![Interval { opens: 0, closes: DAY_MINUTES }]);
        Self::weekly(zone, std::array::from_fn(|_| day.clone()))
    }

    /// The same with other hours (or none) on these dates, in place of all exceptions before.
    pub fn with_exceptions(mut self, exceptions: BTreeMap<Date, Day>) -> Result<Self, HoursError> {
        if exceptions.len() > MAX_EXCEPTIONS {
            return Err(HoursError::TooManyExceptions);
        }
        self.exceptions = exceptions;
        // A node that opens on single dates only has no other hours to go by.
        if self.weekly.iter().all(|day| day.0.is_empty()) {
            self.overrun = self.exceptions.values().map(Day::overrun).max().unwrap_or(0);
        }
        Ok(self)
    }

    /// The same with these temporary closings, in place of all before.
    pub fn with_closures(mut self, mut closures: Vec<Closure>) -> Result<Self, HoursError> {
        if closures.len() > MAX_CLOSURES {
            return Err(HoursError::TooManyClosures);
        }
        if closures.iter().any(|c| c.until.is_some_and(|until| until <= c.from)) {
            return Err(HoursError::EmptyClosure);
        }
        closures.sort_by_key(|c| c.from);
        self.closures = closures;
        Ok(self)
    }

    /// The same for a node that opens for some days only, from the first to the last, both included.
    pub fn with_days(mut self, first: Option<Date>, last: Option<Date>) -> Result<Self, HoursError> {
        if first.zip(last).is_some_and(|(first, last)| last < first) {
            return Err(HoursError::NoDays);
        }
        (self.first_day, self.last_day) = (first, last);
        Ok(self)
    }

    /// The node's time zone.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The hours of each weekday, Monday first.
    pub const fn days(&self) -> &[Day; 7] {
        &self.weekly
    }

    /// The dates with hours of their own.
    pub const fn exceptions(&self) -> &BTreeMap<Date, Day> {
        &self.exceptions
    }

    /// The temporary closings, by their begin.
    pub fn closures(&self) -> &[Closure] {
        &self.closures
    }

    /// When the last opening of a node that has a last day ends, as far as temporary closings with an end allow; `None`: it has
    /// no last day, or does not open in the [`HORIZON_DAYS`] before it.
    pub fn closes_for_good(&self) -> Option<Timestamp> {
        let last = self.last_day?;
        let mut date = last;
        for _ in 0..HORIZON_DAYS {
            let mut open = VecDeque::new();
            for span in self.openings(date) {
                self.without_closures(span, |closure| closure.until.is_some(), &mut open);
            }
            let closing = open.iter().map(|span| span.until).max();
            if closing.is_some() {
                return closing;
            }
            date = date.yesterday().ok().filter(|date| self.first_day.is_none_or(|first| first <= *date))?;
        }
        None
    }

    /// Whether the node is open at that instant.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.spans(at, at).next().is_some_and(|span| span.from <= at)
    }

    /// That instant if the node is open then, else the next opening; `None`: not within [`HORIZON_DAYS`].
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, Self::horizon(at)).next().map(|span| span.from.max(at))
    }

    /// The instant at which that much opening time has passed; `None`: not within [`HORIZON_DAYS`].
    ///
    /// With zero it is `at` itself, open or not.
    pub fn add_open_time(&self, at: Timestamp, length: SignedDuration) -> Option<Timestamp> {
        Self::pass(self.spans(at, Self::horizon(at)), at, length)
    }

    /// The instant at which that much time has passed in these spans.
    pub(super) fn pass(
        spans: impl Iterator<Item = Span>,
        at: Timestamp,
        length: SignedDuration,
    ) -> Option<Timestamp> {
        let mut left = length;
        if left <= SignedDuration::ZERO {
            return Some(at);
        }
        for span in spans {
            let begin = span.from.max(at);
            let here = span.until.duration_since(begin);
            if here >= left {
                return begin.checked_add(left).ok();
            }
            left -= here;
        }
        None
    }

    /// How much opening time lies between two instants; zero if they are the wrong way round.
    pub fn open_time_between(&self, from: Timestamp, until: Timestamp) -> SignedDuration {
        self.spans(from, until)
            .map(|span| span.until.min(until).duration_since(span.from.max(from)))
            .filter(|length| !length.is_negative())
            .sum()
    }

    /// The spans in which the node is open that end after `from` and begin not after `until`, in order. None shares an
    /// instant with another, but one may begin where the one before it ends.
    pub fn spans(&self, from: Timestamp, until: Timestamp) -> Spans<'_> {
        let until = until.min(Self::horizon(from));
        let asked = self.zone.date(from);
        // An opening of the day before may reach into this one.
        let first = asked.yesterday().unwrap_or(asked);
        let last = self.zone.date(until);
        Spans {
            hours: self,
            from,
            until,
            date: Some(self.first_day.map_or(first, |day| day.max(first))),
            last: self.last_day.map_or(last, |day| day.min(last)),
            reached: Timestamp::MIN,
            raw: VecDeque::new(),
            open: VecDeque::new(),
        }
    }

    /// How far ahead a question at that instant may look.
    pub(super) fn horizon(at: Timestamp) -> Timestamp {
        at.checked_add(SignedDuration::from_hours(24 * HORIZON_DAYS)).unwrap_or(Timestamp::MAX)
    }

    /// How far the longest opening reaches past midnight, in minutes.
    pub(super) const fn overrun(&self) -> u16 {
        self.overrun
    }

    /// The hours of that date.
    pub(super) fn day(&self, date: Date) -> &Day {
        let is_early = self.first_day.is_some_and(|first| date < first);
        if is_early || self.last_day.is_some_and(|last| last < date) {
            return &CLOSED;
        }
        self.exceptions
            .get(&date)
            .unwrap_or_else(|| self.weekly.get(from_monday(date.weekday())).unwrap_or(&self.weekly[0]))
    }

    fn openings(&self, date: Date) -> impl Iterator<Item = Span> + '_ {
        let at = move |minute| self.zone.instant_of(date, minute);
        self.day(date)
            .0
            .iter()
            .map(move |interval| Span { from: at(interval.opens), until: at(interval.closes) })
            .filter(|span| span.from < span.until)
    }

    /// What is left of a span when those temporary closings are taken out.
    fn without_closures(&self, span: Span, counts: impl Fn(&Closure) -> bool, out: &mut VecDeque<Span>) {
        let mut from = span.from;
        for closure in self.closures.iter().filter(|closure| counts(closure)) {
            let until = closure.until.unwrap_or(Timestamp::MAX);
            if until <= from || closure.from >= span.until {
                continue;
            }
            if closure.from > from {
                out.push_back(Span { from, until: closure.from });
            }
            from = until;
            if from >= span.until {
                return;
            }
        }
        out.push_back(Span { from, until: span.until });
    }
}

/// The open spans of a node, one after the other: see [`Hours::spans`].
#[derive(Debug)]
pub struct Spans<'a> {
    hours: &'a Hours,
    from: Timestamp,
    until: Timestamp,
    date: Option<Date>,
    /// The date of `until`: no later day begins in time.
    last: Date,
    /// Where the openings read so far end.
    reached: Timestamp,
    raw: VecDeque<Span>,
    open: VecDeque<Span>,
}

impl Spans<'_> {
    /// Reads one more day; false when there is none.
    fn read_day(&mut self) -> bool {
        let Some(date) = self.date.filter(|date| *date <= self.last) else { return false };
        self.date = date.tomorrow().ok();
        self.raw.extend(self.hours.openings(date));
        // A gap may move the first opening behind the second.
        self.raw.make_contiguous().sort_by_key(|span| span.from);
        true
    }

    /// The next opening, without what an earlier one covers.
    fn opening(&mut self) -> Option<Span> {
        loop {
            let Some(span) = self.raw.pop_front() else {
                if self.read_day() {
                    continue;
                }
                return None;
            };
            let span = Span { from: span.from.max(self.reached), until: span.until };
            if span.from < span.until {
                self.reached = span.until;
                return Some(span);
            }
        }
    }
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        loop {
            if let Some(span) = self.open.pop_front() {
                if span.until <= self.from {
                    continue;
                }
                return (span.from <= self.until).then_some(span);
            }
            let span = self.opening()?;
            if span.until > self.from {
                self.hours.without_closures(span, |_| true, &mut self.open);
            }
        }
    }
}

#[cfg(test)]
#[path = "hours_tests.rs"]
pub(crate) mod tests;
