//! To which day an instant belongs, at nodes that close at midnight, after it, or never.

use std::collections::BTreeMap;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::network::hours::tests::any_hours;
use crate::network::hours::{Day, Interval, Zone};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Hours of a day, each opening as minutes since midnight.
fn day(openings: &[(u16, u16)]) -> Day {
    Day::new(openings.iter().map(|(opens, closes)| Interval::new(*opens, *closes).unwrap()).collect())
        .unwrap()
}

fn daily(zone: &str, openings: &[(u16, u16)]) -> Hours {
    Hours::weekly(Zone::named(zone).unwrap(), std::array::from_fn(|_| day(openings)))
}

fn date_of(hours: &Hours, asked: &str) -> Date {
    hours.business_day_at(at(asked)).date
}

#[test]
fn the_day_of_a_bar_changes_when_it_closes() {
    let bar = daily("UTC", &[(1_080, 120)]);
    assert_eq!(date_of(&bar, "2026-01-13T01:59:59Z"), date(2026, 1, 12));
    assert_eq!(date_of(&bar, "2026-01-13T02:00:00Z"), date(2026, 1, 13));
    assert_eq!(date_of(&bar, "2026-01-13T17:00:00Z"), date(2026, 1, 13));
}

#[test]
fn the_day_of_a_node_that_closes_by_midnight_is_the_calendar_day() {
    for openings in [&[(540, 1_080)][..], &[(540, 780), (1_080, 1_440)], &[(0, 1_440)], &[]] {
        let node = daily("Europe/London", openings);
        let day = node.business_day(date(2026, 7, 13));
        assert_eq!((day.start, day.end), (at("2026-07-12T23:00:00Z"), at("2026-07-13T23:00:00Z")));
    }
}

#[test]
fn only_the_last_of_several_openings_moves_the_day() {
    let node = daily("UTC", &[(600, 840), (1_080, 120)]);
    assert_eq!(date_of(&node, "2026-01-13T01:00:00Z"), date(2026, 1, 12));
    assert_eq!(date_of(&node, "2026-01-13T10:00:00Z"), date(2026, 1, 13));
}

#[test]
fn a_holiday_neither_shortens_the_night_before_nor_keeps_one_of_its_own() {
    let holiday = BTreeMap::from([(date(2026, 1, 13), Day::CLOSED)]);
    let bar = daily("UTC", &[(1_080, 120)]).with_exceptions(holiday).unwrap();
    assert_eq!(date_of(&bar, "2026-01-13T01:00:00Z"), date(2026, 1, 12));
    assert_eq!(date_of(&bar, "2026-01-14T00:00:00Z"), date(2026, 1, 14));
}

#[test]
fn a_node_that_never_closes_may_change_its_day_at_any_hour() {
    let node = daily("UTC", &[(600, 600)]);
    assert_eq!(date_of(&node, "2026-01-13T09:59:00Z"), date(2026, 1, 12));
    assert_eq!(date_of(&node, "2026-01-13T10:00:00Z"), date(2026, 1, 13));
}

#[test]
fn days_end_with_the_clocks_when_the_clocks_change() {
    // London, 2026-03-29: 01:00 GMT becomes 02:00 BST. A bar that closes at 01:30 closes at 02:30.
    let bar = daily("Europe/London", &[(1_080, 90)]);
    assert_eq!(bar.business_day(date(2026, 3, 28)).end, at("2026-03-29T01:30:00Z"));
    // Beirut, 2026-03-29: 00:00 becomes 01:00, so the date begins at 01:00.
    let shop = daily("Asia/Beirut", &[(540, 1_080)]);
    assert_eq!(shop.business_day(date(2026, 3, 29)).start, at("2026-03-28T22:00:00Z"));
    // Apia never had the 30th of December 2011.
    let shop = daily("Pacific/Apia", &[(540, 1_080)]);
    let gone = shop.business_day(date(2011, 12, 30));
    assert_eq!(gone.start, gone.end);
}

/// When the cut-off of the business day of an instant passes.
fn cut_off(hours: &Hours, asked: &str, minute: u16) -> Timestamp {
    hours.cut_off(&hours.business_day_at(at(asked)), minute)
}

#[test]
fn a_cut_off_is_a_time_of_the_business_day() {
    let bar = daily("UTC", &[(1_080, 120)]);
    for asked in ["2026-01-12T17:00:00Z", "2026-01-12T22:00:00Z", "2026-01-13T01:00:00Z"] {
        assert_eq!(cut_off(&bar, asked, 1_260), at("2026-01-12T21:00:00Z"), "{asked}");
        assert_eq!(cut_off(&bar, asked, 60), at("2026-01-13T01:00:00Z"), "{asked}");
        assert_eq!(cut_off(&bar, asked, 0), at("2026-01-13T00:00:00Z"), "{asked}");
        assert_eq!(cut_off(&bar, asked, 1_440), at("2026-01-13T00:00:00Z"), "{asked}");
        assert_eq!(cut_off(&bar, asked, 120), at("2026-01-13T02:00:00Z"), "closing time cuts nothing off");
    }
    let shop = daily("UTC", &[(540, 1_440)]);
    assert_eq!(cut_off(&shop, "2026-01-12T22:00:00Z", 480), at("2026-01-12T08:00:00Z"));
    assert_eq!(cut_off(&shop, "2026-01-12T22:00:00Z", 0), at("2026-01-12T00:00:00Z"));
    assert_eq!(cut_off(&shop, "2026-01-12T22:00:00Z", 1_440), at("2026-01-13T00:00:00Z"));
}

#[test]
fn a_cut_off_means_the_same_on_every_day_of_the_week() {
    let mut week: [Day; 7] = std::array::from_fn(|_| day(&[(720, 1_380)]));
    week[5] = day(&[(720, 120)]);
    let bar = Hours::weekly(Zone::named("UTC").unwrap(), week);
    let monday = bar.business_day(date(2026, 1, 12));
    assert!(bar.cut_off(&monday, 60) > monday.end, "25:00 never comes on a day that ends at midnight");
    let long = BTreeMap::from([(date(2026, 12, 31), day(&[(540, 180)]))]);
    let shop = daily("UTC", &[(540, 1_080)]).with_exceptions(long.clone()).unwrap();
    assert_eq!(cut_off(&shop, "2026-12-31T20:00:00Z", 120), at("2026-12-31T02:00:00Z"));
    let dates_only =
        Hours::weekly(Zone::named("UTC").unwrap(), Default::default()).with_exceptions(long).unwrap();
    assert_eq!(cut_off(&dates_only, "2026-12-31T20:00:00Z", 120), at("2027-01-01T02:00:00Z"));
}

#[test]
fn a_cut_off_follows_the_clocks_when_they_change() {
    let bar = daily("Europe/London", &[(1_080, 180)]);
    // 00:30 on Sunday is GMT, 02:30 is BST: the night has one hour less.
    assert_eq!(cut_off(&bar, "2026-03-28T20:00:00Z", 30), at("2026-03-29T00:30:00Z"));
    assert_eq!(cut_off(&bar, "2026-03-28T20:00:00Z", 150), at("2026-03-29T01:30:00Z"));
    assert_eq!(cut_off(&bar, "2026-03-29T20:00:00Z", 1_260), at("2026-03-29T20:00:00Z"));
}

proptest! {
    #[test]
    fn each_instant_is_in_one_business_day_and_the_days_leave_no_gap(
        hours in any_hours(), start in 1_767_225_600i64..1_830_000_000,
    ) {
        let at = Timestamp::from_second(start).unwrap();
        let day = hours.business_day_at(at);
        prop_assert!(day.contains(at));
        let next = hours.business_day(day.date.tomorrow().unwrap());
        prop_assert_eq!(day.end, next.start);
        prop_assert_eq!(hours.business_day_at(day.end).date, next.date);
    }

    #[test]
    fn no_night_is_cut_in_two(hours in any_hours(), start in 1_767_225_600i64..1_830_000_000) {
        // The day changes in opening time only where the next opening begins before the night is over.
        let day = hours.business_day_at(Timestamp::from_second(start).unwrap());
        let before = day.end - SignedDuration::from_secs(1);
        let next = hours.day(day.date.tomorrow().unwrap()).intervals().first().map_or(1_440, |first| first.opens());
        if hours.is_open(before) && hours.is_open(day.end) {
            let opens = hours.zone().instant_of(day.date.tomorrow().unwrap(), next);
            prop_assert!(opens <= day.end);
        }
    }

    #[test]
    fn a_cut_off_computed_on_a_steady_day_is_what_the_zone_says(
        hours in any_hours(), start in 1_767_225_600i64..1_830_000_000, minute in 0u16..=1_440,
    ) {
        let day = hours.business_day_at(Timestamp::from_second(start).unwrap());
        let asked = hours.cut_off(&day, minute);
        let unsteady = BusinessDay { is_steady: false, ..day };
        prop_assert_eq!(asked, hours.cut_off(&unsteady, minute));
    }
}
