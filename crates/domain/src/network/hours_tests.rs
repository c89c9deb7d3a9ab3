//! What the hours of a node mean on ordinary days, at midnight, and when the clocks change.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn minutes(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}

fn interval(opens: u16, closes: u16) -> Interval {
    Interval::new(opens * 60, closes * 60).unwrap()
}

fn every_day(zone: &str, opens: u16, closes: u16) -> Hours {
    let day = Day::new(vec![interval(opens, closes)]).unwrap();
    Hours::weekly(Zone::named(zone).unwrap(), std::array::from_fn(|_| day.clone()))
}

#[test]
fn a_shop_is_closed_at_its_closing_minute() {
    let shop = every_day("Europe/London", 9, 18);
    assert!(!shop.is_open(at("2026-01-12T08:59:59Z")));
    assert!(shop.is_open(at("2026-01-12T09:00:00Z")));
    assert!(shop.is_open(at("2026-01-12T17:59:59Z")));
    assert!(!shop.is_open(at("2026-01-12T18:00:00Z")));
}

#[test]
fn hours_follow_the_clocks_of_the_place() {
    let shop = every_day("Asia/Shanghai", 10, 22);
    assert!(shop.is_open(at("2026-07-01T02:00:00Z")));
    assert!(!shop.is_open(at("2026-07-01T14:00:00Z")));
    let shop = every_day("Europe/London", 9, 18);
    assert!(shop.is_open(at("2026-07-01T08:00:00Z")));
}

#[test]
fn a_bar_that_closes_after_midnight_is_open_early_on_the_next_day() {
    let mut week: [Day; 7] = Default::default();
    week[5] = Day::new(vec![interval(22, 2)]).unwrap();
    let bar = Hours::weekly(Zone::named("Europe/Paris").unwrap(), week);
    // Saturday the 10th of January 2026.
    assert!(bar.is_open(at("2026-01-10T21:30:00Z")));
    assert!(bar.is_open(at("2026-01-11T00:59:00Z")));
    assert!(!bar.is_open(at("2026-01-11T01:00:00Z")));
    assert_eq!(bar.next_open(at("2026-01-11T01:00:00Z")), Some(at("2026-01-17T21:00:00Z")));
}

#[test]
fn a_holiday_replaces_only_what_begins_on_it() {
    let bar = every_day("Europe/Paris", 22, 2);
    let holiday = BTreeMap::from([(date(2026, 1, 11), Day::CLOSED)]);
    let bar = bar.with_exceptions(holiday).unwrap();
    assert!(bar.is_open(at("2026-01-11T00:30:00Z")), "the night of the day before goes on");
    assert!(!bar.is_open(at("2026-01-11T22:30:00Z")));
    assert_eq!(bar.next_open(at("2026-01-11T01:00:00Z")), Some(at("2026-01-12T21:00:00Z")));
}

#[test]
fn an_exception_may_open_a_day_that_is_closed() {
    let sunday = BTreeMap::from([(date(2026, 12, 20), Day::new(vec![interval(12, 17)]).unwrap())]);
    let hours = Hours::weekly(Zone::named("Europe/Berlin").unwrap(), Default::default());
    assert_eq!(hours.next_open(at("2026-12-01T00:00:00Z")), None);
    let hours = hours.with_exceptions(sunday).unwrap();
    assert_eq!(hours.next_open(at("2026-12-01T00:00:00Z")), Some(at("2026-12-20T11:00:00Z")));
}

#[test]
fn days_that_touch_leave_no_gap() {
    let hours = Hours::always(Zone::named("UTC").unwrap());
    let begin = at("2026-03-01T12:00:00Z");
    assert_eq!(hours.add_open_time(begin, SignedDuration::from_hours(100)), Some(at("2026-03-05T16:00:00Z")));
    assert_eq!(hours.open_time_between(begin, at("2026-03-11T12:00:00Z")), SignedDuration::from_hours(240));
}

#[test]
fn a_temporary_closing_interrupts_the_hours_and_may_have_no_end() {
    let close = |from: &str, until: Option<&str>| Closure {
        from: at(from),
        until: until.map(at),
        reason: "stock-taking".into(),
    };
    let shop = every_day("UTC", 9, 18)
        .with_closures(vec![close("2026-01-12T10:00:00Z", Some("2026-01-12T12:00:00Z"))])
        .unwrap();
    assert!(shop.is_open(at("2026-01-12T09:59:00Z")));
    assert!(!shop.is_open(at("2026-01-12T10:00:00Z")));
    assert_eq!(shop.next_open(at("2026-01-12T10:00:00Z")), Some(at("2026-01-12T12:00:00Z")));
    assert_eq!(shop.add_open_time(at("2026-01-12T09:30:00Z"), minutes(60)), Some(at("2026-01-12T12:30:00Z")));
    let shop = shop.with_closures(vec![close("2026-01-12T10:00:00Z", None)]).unwrap();
    assert_eq!(shop.next_open(at("2026-01-12T10:00:00Z")), None);
}

#[test]
fn when_the_clocks_go_forward_a_time_that_never_comes_is_moved_on() {
    // London, 2026-03-29: 01:00 GMT becomes 02:00 BST.
    let shop = Hours::weekly(
        Zone::named("Europe/London").unwrap(),
        std::array::from_fn(|_| Day::new(vec![Interval::new(90, 240).unwrap()]).unwrap()),
    );
    // 01:30 does not exist: 02:30 BST; closes at 04:00 BST.
    assert_eq!(shop.next_open(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
    assert_eq!(
        shop.open_time_between(at("2026-03-29T00:00:00Z"), at("2026-03-29T12:00:00Z")),
        minutes(90),
        "one of the two and a half hours is gone, and the one moved on is an hour later"
    );
}

#[test]
fn when_the_clocks_go_back_the_first_of_two_times_is_meant() {
    // London, 2026-10-25: 02:00 BST becomes 01:00 GMT.
    let shop = Hours::weekly(
        Zone::named("Europe/London").unwrap(),
        std::array::from_fn(|_| Day::new(vec![Interval::new(90, 240).unwrap()]).unwrap()),
    );
    assert_eq!(shop.next_open(at("2026-10-25T00:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
    assert!(shop.is_open(at("2026-10-25T01:15:00Z")), "and stays open through the second 01:15");
    assert_eq!(shop.open_time_between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z")), minutes(210));
}

#[test]
fn an_opening_wholly_inside_a_gap_keeps_its_length() {
    let shop = Hours::weekly(
        Zone::named("America/New_York").unwrap(),
        std::array::from_fn(|_| {
            Day::new(vec![Interval::new(135, 165).unwrap(), Interval::new(180, 240).unwrap()]).unwrap()
        }),
    );
    // 2026-03-08: 02:00 EST becomes 03:00 EDT; 02:15 to 02:45 becomes 03:15 to 03:45, inside 03:00 to 04:00.
    let day = (at("2026-03-08T05:00:00Z"), at("2026-03-09T04:00:00Z"));
    assert_eq!(shop.open_time_between(day.0, day.1), minutes(60));
    assert_eq!(shop.spans(day.0, day.1).count(), 1);
}

#[test]
fn a_day_without_midnight_begins_at_its_first_instant() {
    // Beirut, 2026-03-29: 00:00 becomes 01:00.
    let hours = Hours::always(Zone::named("Asia/Beirut").unwrap());
    assert_eq!(
        hours.open_time_between(at("2026-03-28T00:00:00Z"), at("2026-03-30T00:00:00Z")),
        minutes(2_880)
    );
}

#[test]
fn hours_that_make_no_sense_are_refused() {
    assert_eq!(Zone::named("Mars/Olympus"), Err(HoursError::UnknownZone));
    assert_eq!(Zone::named(""), Err(HoursError::UnknownZone));
    assert_eq!(Interval::new(1_440, 100), Err(HoursError::NoMinute));
    assert_eq!(Interval::new(0, 1_441), Err(HoursError::NoMinute));
    assert_eq!(Day::new(vec![interval(9, 13), interval(12, 18)]), Err(HoursError::Overlap));
    assert_eq!(Day::new(vec![interval(13, 18), interval(9, 12)]), Err(HoursError::Overlap));
    let now = at("2026-01-01T00:00:00Z");
    let backwards = Closure { from: now, until: Some(now), reason: String::new() };
    assert_eq!(every_day("UTC", 9, 18).with_closures(vec![backwards]), Err(HoursError::EmptyClosure));
}

#[test]
fn equal_times_are_24_hours() {
    let all_day = Interval::new(600, 600).unwrap();
    let hours =
        Hours::weekly(Zone::named("UTC").unwrap(), std::array::from_fn(|_| Day::new(vec![all_day]).unwrap()));
    assert_eq!((all_day.opens(), all_day.closes()), (600, 600));
    assert_eq!(hours, hours.clone());
    let from = at("2026-01-05T00:00:00Z");
    assert_eq!(hours.open_time_between(from, at("2026-01-06T00:00:00Z")), minutes(1_440));
}

#[test]
fn a_night_that_covers_the_next_opening_hides_it() {
    let mut week: [Day; 7] = Default::default();
    week[6] = Day::new(vec![Interval::new(617, 403).unwrap()]).unwrap();
    week[0] = Day::new(vec![Interval::new(0, 1).unwrap()]).unwrap();
    let hours = Hours::weekly(Zone::named("UTC").unwrap(), week);
    // Sunday the 11th of January 2026, until the next midnight.
    let spans: Vec<Span> = hours.spans(at("2026-01-11T00:00:00Z"), at("2026-01-12T00:00:00Z")).collect();
    assert_eq!(spans, [Span { from: at("2026-01-11T10:17:00Z"), until: at("2026-01-12T06:43:00Z") }]);
}

#[test]
fn a_shop_that_never_opens_has_no_next_opening() {
    let never = Hours::weekly(Zone::named("UTC").unwrap(), Default::default());
    assert_eq!(never.next_open(at("2026-01-01T00:00:00Z")), None);
    assert_eq!(never.add_open_time(at("2026-01-01T00:00:00Z"), minutes(1)), None);
    assert_eq!(never.next_open(Timestamp::MAX), None);
    assert_eq!(never.next_open(Timestamp::MIN), None);
}

pub(crate) fn any_hours() -> impl Strategy<Value = Hours> {
    let zone = prop_oneof![
        Just("UTC"),
        Just("Europe/London"),
        Just("America/New_York"),
        Just("Asia/Kolkata"),
        Just("Australia/Lord_Howe"),
        Just("Asia/Beirut"),
    ];
    let day = prop_oneof![
        1 => Just(Day::CLOSED),
        4 => (0u16..1_440, 1u16..=1_440).prop_filter_map("an empty interval", |(opens, closes)| {
            (opens != closes).then(|| Day::new(vec![Interval::new(opens, closes).unwrap()]).unwrap())
        }),
        2 => (0u16..600, 601u16..1_000, 1_000u16..1_200, 1_201u16..=1_440).prop_map(|(a, b, c, d)| {
            Day::new(vec![Interval::new(a, b).unwrap(), Interval::new(c, d).unwrap()]).unwrap()
        }),
    ];
    (zone, proptest::collection::vec(day, 7))
        .prop_map(|(zone, days)| Hours::weekly(Zone::named(zone).unwrap(), days.try_into().unwrap()))
}

proptest! {
    #[test]
    fn spans_are_in_order_and_apart(hours in any_hours(), start in 1_767_225_600i64..1_830_000_000) {
        let from = Timestamp::from_second(start).unwrap();
        let until = from + SignedDuration::from_hours(24 * 20);
        let spans: Vec<Span> = hours.spans(from, until).collect();
        for span in &spans {
            prop_assert!(span.from < span.until && span.until > from && span.from <= until);
        }
        for pair in spans.windows(2) {
            prop_assert!(pair[0].until <= pair[1].from);
        }
    }

    #[test]
    fn adding_open_time_passes_exactly_that_much(
        hours in any_hours(), start in 1_767_225_600i64..1_830_000_000, length in 1i64..5_000,
    ) {
        let from = Timestamp::from_second(start).unwrap();
        if let Some(then) = hours.add_open_time(from, minutes(length)) {
            prop_assert_eq!(hours.open_time_between(from, then), minutes(length));
            prop_assert!(then > from);
        } else {
            prop_assert_eq!(hours.next_open(from), None);
        }
    }

    #[test]
    fn the_next_opening_is_open_and_nothing_is_before_it(
        hours in any_hours(), start in 1_767_225_600i64..1_830_000_000,
    ) {
        let from = Timestamp::from_second(start).unwrap();
        if let Some(open) = hours.next_open(from) {
            prop_assert!(hours.is_open(open));
            prop_assert_eq!(hours.open_time_between(from, open), SignedDuration::ZERO);
            prop_assert_eq!(open == from, hours.is_open(from));
        }
    }
}

#[test]
fn days_before_the_first_and_after_the_last_are_shut() {
    let night = Day::new(vec![Interval::new(1_080, 120).unwrap()]).unwrap();
    let bar = Hours::weekly(Zone::named("Europe/London").unwrap(), std::array::from_fn(|_| night.clone()));
    let (first, last) = (date(2026, 1, 13), date(2026, 1, 15));
    let pop_up = bar.clone().with_days(Some(first), Some(last)).unwrap();
    assert!(bar.is_open(at("2026-01-13T01:00:00Z")));
    for shut in ["2026-01-13T01:00:00Z", "2026-01-16T02:00:00Z", "2026-01-16T19:00:00Z"] {
        assert!(!pop_up.is_open(at(shut)), "{shut}");
    }
    assert!(pop_up.is_open(at("2026-01-16T01:59:00Z")), "the last night began on the last day");
    assert_eq!(pop_up.next_open(at("2025-06-01T00:00:00Z")), Some(at("2026-01-13T18:00:00Z")));
    assert_eq!(pop_up.next_open(at("2026-01-16T02:00:00Z")), None);
    assert_eq!(pop_up.closes_for_good(), Some(at("2026-01-16T02:00:00Z")));
    let spans = pop_up.spans(at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
    assert_eq!(spans.count(), 3);
    assert_eq!(bar.clone().with_days(Some(last), Some(first)), Err(HoursError::NoDays));
    assert!(bar.clone().with_days(Some(first), Some(first)).is_ok(), "a single day");
    assert_eq!(bar.closes_for_good(), None);
    let from = bar.clone().with_days(Some(first), None).unwrap();
    assert!(from.is_open(at("2030-01-01T19:00:00Z")) && from.closes_for_good().is_none());
}

#[test]
fn a_node_that_is_shut_on_its_last_days_closes_for_good_before_them() {
    let mut week: [Day; 7] =
        std::array::from_fn(|_| Day::new(vec![Interval::new(540, 1_080).unwrap()]).unwrap());
    week[6] = Day::CLOSED;
    let shop = |first, last| {
        Hours::weekly(Zone::named("UTC").unwrap(), week.clone()).with_days(first, Some(last)).unwrap()
    };
    // The 18th is a Sunday.
    let sunday = date(2026, 1, 18);
    assert_eq!(shop(None, sunday).closes_for_good(), Some(at("2026-01-17T18:00:00Z")));
    assert_eq!(shop(Some(sunday), sunday).closes_for_good(), None, "it never opens");
    let never = Hours::weekly(Zone::named("UTC").unwrap(), Default::default());
    assert_eq!(never.with_days(None, Some(sunday)).unwrap().closes_for_good(), None);
}
