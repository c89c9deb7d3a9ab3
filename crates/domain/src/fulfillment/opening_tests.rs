//! Ends that would come while the node is shut.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::*;
use crate::network::hours::tests::any_hours;
use crate::network::hours::{Closure, Day, Hours, Interval, Zone};

const FOUR: SignedDuration = SignedDuration::from_hours(4);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Open at these times of each day, in London.
fn daily(spans: &[(u16, u16)]) -> Hours {
    let intervals = spans.iter().map(|(opens, closes)| Interval::new(opens * 60, closes * 60).unwrap());
    let day = Day::new(intervals.collect()).unwrap();
    Hours::weekly(Zone::named("Europe/London").unwrap(), std::array::from_fn(|_| day.clone()))
}

fn shut_on(hours: Hours, days: impl IntoIterator<Item = Date>) -> Hours {
    let closed: BTreeMap<Date, Day> = days.into_iter().map(|day| (day, Day::CLOSED)).collect();
    hours.with_exceptions(closed).unwrap()
}

fn end(hours: &Hours, end: &str) -> String {
    into_opening(at(end), FOUR, Openings::from(hours)).to_string()
}

#[test]
fn goods_ready_before_the_holidays_are_kept_until_four_hours_after_them() {
    let hours = shut_on(daily(&[(9, 18)]), (24..=27).map(|day| date(2026, 12, day)));
    let keep = SignedDuration::from_hours(72);
    let kept = |method| keep_until(method, at("2026-12-23T15:00:00Z"), keep, FOUR, Openings::from(&hours));
    assert_eq!(kept(Method::Pickup), at("2026-12-28T13:00:00Z"));
    assert_eq!(kept(Method::Parcel), at("2026-12-28T13:00:00Z"), "no carrier comes to a locked door");
    assert_eq!(
        kept(Method::Express),
        at("2026-12-26T15:00:00Z"),
        "nobody waits for a courier over the holidays"
    );
}

#[test]
fn an_end_in_opening_time_stays() {
    let hours = daily(&[(9, 18)]);
    for open in ["2026-01-12T09:00:00.000001Z", "2026-01-12T09:05:00Z", "2026-01-12T17:59:59Z"] {
        assert_eq!(at(&end(&hours, open)), at(open));
    }
}

#[test]
fn the_door_is_open_until_the_minute_of_closing_and_shut_until_that_of_opening() {
    let hours = daily(&[(9, 18)]);
    assert_eq!(end(&hours, "2026-01-12T18:00:00Z"), "2026-01-12T18:00:00Z");
    assert_eq!(end(&hours, "2026-01-12T18:00:00.000001Z"), "2026-01-13T13:00:00Z");
    assert_eq!(end(&hours, "2026-01-12T09:00:00Z"), "2026-01-12T13:00:00Z");
    assert_eq!(end(&hours, "2026-01-12T03:00:00Z"), "2026-01-12T13:00:00Z");
}

#[test]
fn short_openings_add_up() {
    let hours = daily(&[(9, 12), (14, 15)]);
    assert_eq!(end(&hours, "2026-01-12T20:00:00Z"), "2026-01-13T15:00:00Z", "three hours and one");
    assert_eq!(end(&hours, "2026-01-12T13:00:00Z"), "2026-01-13T12:00:00Z", "one hour and three");
}

#[test]
fn the_clocks_change_and_four_hours_are_four_hours() {
    // London goes forward at 01:00 of 29 March and back at 02:00 of 25 October.
    let night = daily(&[(0, 6)]);
    assert_eq!(end(&night, "2026-03-28T12:00:00Z"), "2026-03-29T04:00:00Z");
    assert_eq!(end(&night, "2026-10-24T12:00:00Z"), "2026-10-25T03:00:00Z");
    let day = daily(&[(9, 18)]);
    assert_eq!(end(&day, "2026-03-28T20:00:00Z"), "2026-03-29T12:00:00Z", "09:00 is an hour earlier now");
    assert_eq!(end(&day, "2026-10-24T20:00:00Z"), "2026-10-25T13:00:00Z");
}

#[test]
fn a_node_that_is_always_open_moves_nothing() {
    let hours = Hours::always(Zone::named("Europe/London").unwrap());
    for midnight in
        ["2026-01-12T00:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T23:30:00Z"]
    {
        assert_eq!(at(&end(&hours, midnight)), at(midnight));
    }
}

#[test]
fn a_node_that_does_not_open_again_moves_nothing_and_one_that_opens_shortly_ends_with_it() {
    let closed = |hours: Hours, from: &str, until: Option<&str>| {
        let closure = Closure { from: at(from), until: until.map(at), reason: "flood".into() };
        hours.with_closures(vec![closure]).unwrap()
    };
    let flood = closed(daily(&[(9, 18)]), "2026-01-12T10:00:00Z", None);
    assert_eq!(end(&flood, "2026-01-12T12:00:00Z"), "2026-01-12T12:00:00Z");
    let last_hours = closed(daily(&[(9, 18)]), "2026-01-13T11:00:00Z", None);
    assert_eq!(end(&last_hours, "2026-01-12T20:00:00Z"), "2026-01-13T11:00:00Z");
    let storm = closed(daily(&[(9, 18)]), "2026-01-12T10:00:00Z", Some("2026-01-12T16:00:00Z"));
    assert_eq!(
        end(&storm, "2026-01-12T12:00:00Z"),
        "2026-01-13T11:00:00Z",
        "two hours after the storm, two the next day"
    );
    assert_eq!(end(&daily(&[]), "2026-01-12T12:00:00Z"), "2026-01-12T12:00:00Z");
}

#[test]
fn without_opening_time_to_leave_no_end_moves() {
    let hours = daily(&[(9, 18)]);
    let shut = at("2026-01-12T20:00:00Z");
    assert_eq!(into_opening(shut, SignedDuration::ZERO, Openings::from(&hours)), shut);
    for end in [Timestamp::MIN, Timestamp::MAX] {
        assert!(into_opening(end, FOUR, Openings::from(&hours)) >= end);
    }
}

#[test]
fn a_node_that_closes_for_good_keeps_nothing_longer_whatever_the_method() {
    let hours = daily(&[(9, 18)]).with_days(None, Some(date(2026, 1, 13))).unwrap();
    let last = at("2026-01-13T18:00:00Z");
    let kept = |method, ready: &str, keep| {
        keep_until(method, at(ready), SignedDuration::from_hours(keep), FOUR, Openings::from(&hours))
    };
    for method in Method::ALL {
        assert_eq!(kept(*method, "2026-01-12T15:00:00Z", 72), last, "{method:?}");
        assert_eq!(kept(*method, "2026-01-12T15:00:00Z", 1), at("2026-01-12T16:00:00Z"), "{method:?}");
        let late = at("2026-01-13T19:00:00Z");
        assert_eq!(kept(*method, "2026-01-13T19:00:00Z", 72), late, "an end never comes before its start");
    }
    assert_eq!(kept(Method::Pickup, "2026-01-12T16:00:00Z", 6), at("2026-01-13T13:00:00Z"));
    assert_eq!(kept(Method::Pickup, "2026-01-12T19:00:00Z", 24), last);
}

proptest! {
    #[test]
    fn an_end_never_comes_sooner_and_leaves_the_opening_time(
        hours in any_hours(), second in 1_767_225_600i64..1_830_000_000, least in 1i64..100_000,
    ) {
        let before = Timestamp::from_second(second).unwrap();
        let least = SignedDuration::from_secs(least);
        let after = into_opening(before, least, Openings::from(&hours));
        prop_assert!(after >= before);
        let opens = hours.next_open(before).is_some();
        if after == before {
            prop_assert!(!opens || hours.is_open(before - SignedDuration::from_nanos(1)));
        } else {
            prop_assert_eq!(hours.open_time_between(before, after), least);
            prop_assert_eq!(into_opening(after, least, Openings::from(&hours)), after, "it moves once");
        }
    }
}
