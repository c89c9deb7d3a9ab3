//! Slots on ordinary days, after midnight, and when the clocks change.

use proptest::prelude::*;

use super::*;
use crate::network::hours::tests::any_hours;
use crate::network::hours::{Day, Hours, Interval, Zone};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn slot_at(rule: Rule, hours: &Hours, at: Timestamp) -> Slot {
    rule.slot_at(&hours.business_day_at(at), at)
}

#[test]
fn slots_are_cut_from_the_local_midnight() {
    let hours = Hours::always(Zone::named("Asia/Kolkata").unwrap());
    let rule = Rule::new(Activity::Pick, 60, Most::Orders(4)).unwrap();
    let slot = slot_at(rule, &hours, at("2026-01-12T05:10:00Z"));
    assert_eq!(slot, Slot { start: at("2026-01-12T04:30:00Z"), end: at("2026-01-12T05:30:00Z") });
}

#[test]
fn a_full_slot_sends_the_work_to_the_next_one() {
    let hours = Hours::always(Zone::named("UTC").unwrap());
    let rule = Rule::new(Activity::Pick, 30, Most::Orders(2)).unwrap();
    let now = at("2026-01-12T10:10:00Z");
    let full = at("2026-01-12T10:00:00Z");
    let (slot, begin) = rule
        .first_free(Openings::from(&hours), 1, now, at("2026-01-13T00:00:00Z"), |start| {
            if start == full { 2 } else { 0 }
        })
        .unwrap();
    assert_eq!((slot.start, begin), (at("2026-01-12T10:30:00Z"), at("2026-01-12T10:30:00Z")));
    let (slot, begin) = rule.first_free(Openings::from(&hours), 1, now, now, |_| 1).unwrap();
    assert_eq!((slot.start, begin), (full, now));
    assert_eq!(rule.first_free(Openings::from(&hours), 1, now, at("2026-01-12T12:00:00Z"), |_| 2), None);
}

#[test]
fn no_capacity_means_no_slot() {
    let hours = Hours::always(Zone::named("UTC").unwrap());
    let rule = Rule::new(Activity::Pick, 60, Most::Orders(0)).unwrap();
    let now = at("2026-01-12T10:10:00Z");
    assert_eq!(rule.first_free(Openings::from(&hours), 1, now, at("2026-01-14T00:00:00Z"), |_| 0), None);
    assert!(Rule::new(Activity::Pick, 4, Most::Orders(1)).is_err());
    assert_eq!(Rule::new(Activity::Pick, 60, Most::Units(-1)), Err(CapacityError::Negative));
}

#[test]
fn units_move_to_the_slot_that_holds_them_all() {
    let hours = Hours::always(Zone::named("UTC").unwrap());
    let rule = Rule::new(Activity::Pick, 60, Most::Units(5)).unwrap();
    let now = at("2026-01-12T10:10:00Z");
    let first = |units, used: i64| {
        let used = |start| if start == at("2026-01-12T10:00:00Z") { used } else { 0 };
        let amount = rule.most().taken_by(units);
        let free = rule.first_free(Openings::from(&hours), amount, now, at("2026-01-12T12:00:00Z"), used);
        free.map(|(slot, _)| slot.start)
    };
    let (this, next) = (Some(at("2026-01-12T10:00:00Z")), Some(at("2026-01-12T11:00:00Z")));
    assert_eq!([first(3, 0), first(5, 0), first(2, 3)], [this; 3], "the last units of a slot are taken");
    assert_eq!([first(3, 3), first(1, 5), first(5, 1)], [next; 3]);
    assert_eq!(Most::Orders(5).taken_by(9), 1);
    assert_eq!(rule.most().limit(), 5);
}

#[test]
fn more_units_than_a_slot_may_take_are_not_searched_for() {
    let hours = Hours::always(Zone::named("UTC").unwrap());
    let rule = Rule::new(Activity::Pick, 15, Most::Units(5)).unwrap();
    let now = at("2026-01-12T10:10:00Z");
    for amount in [6, i64::MAX] {
        let asked = |_| panic!("a slot was looked at");
        assert_eq!(rule.first_free(Openings::from(&hours), amount, now, Timestamp::MAX, asked), None);
    }
    let boundless = Rule::new(Activity::Pick, 60, Most::Units(i64::MAX)).unwrap();
    assert!(boundless.first_free(Openings::from(&hours), i64::MAX, now, now, |_| 0).is_some());
}

/// Open every night from 18:00 to 02:00, on Saturdays to 04:00.
fn bar(zone: &str) -> Hours {
    let night = |closes: u16| Day::new(vec![Interval::new(1_080, closes * 60).unwrap()]).unwrap();
    let week = std::array::from_fn(|day| night(if day == 5 { 4 } else { 2 }));
    Hours::weekly(Zone::named(zone).unwrap(), week)
}

#[test]
fn a_slot_after_midnight_belongs_to_the_evening_before() {
    let hours = bar("Europe/Paris");
    let rule = Rule::new(Activity::Pick, 1_440, Most::Orders(10)).unwrap();
    // Monday the 12th of January 2026, 02:00 to 02:00 local time.
    let night = Slot { start: at("2026-01-12T01:00:00Z"), end: at("2026-01-13T01:00:00Z") };
    for asked in ["2026-01-12T01:00:00Z", "2026-01-12T21:00:00Z", "2026-01-13T00:59:59Z"] {
        assert_eq!(slot_at(rule, &hours, at(asked)), night, "{asked}");
    }
    assert_eq!(slot_at(rule, &hours, at("2026-01-13T01:00:00Z")).start, night.end);
}

#[test]
fn the_orders_of_one_night_fill_one_slot_of_a_day() {
    let hours = bar("Europe/Paris");
    let rule = Rule::new(Activity::Pick, 1_440, Most::Orders(1)).unwrap();
    let evening = at("2026-01-12T17:00:00Z");
    let (slot, _) = rule.first_free(Openings::from(&hours), 1, evening, evening, |_| 0).unwrap();
    let used = |start| i64::from(start == slot.start);
    let tomorrow = at("2026-01-14T00:00:00Z");
    let (next, begin) = rule.first_free(Openings::from(&hours), 1, evening, tomorrow, used).unwrap();
    assert_eq!(
        (next.start, begin),
        (slot.end, at("2026-01-13T17:00:00Z")),
        "not at midnight of the same night"
    );
}

#[test]
fn a_longer_night_and_a_longer_day_are_still_one_slot() {
    let hours = bar("Europe/London");
    let rule = Rule::new(Activity::Pick, 1_440, Most::Orders(1)).unwrap();
    // Saturday the 24th of October 2026: 26 hours of business day, and the clocks go back in its night.
    let slot = slot_at(rule, &hours, at("2026-10-24T20:00:00Z"));
    assert_eq!(slot, Slot { start: at("2026-10-24T01:00:00Z"), end: at("2026-10-25T04:00:00Z") });
    let always = Hours::always(Zone::named("Europe/London").unwrap());
    let slot = slot_at(rule, &always, at("2026-10-25T23:30:00Z"));
    assert_eq!(slot, Slot { start: at("2026-10-24T23:00:00Z"), end: at("2026-10-26T00:00:00Z") });
}

proptest! {
    #[test]
    fn slots_follow_each_other_also_when_the_clocks_change(
        hours in any_hours(), minutes in 5u16..=1_440, start in 1_767_225_600i64..1_830_000_000,
    ) {
        let rule = Rule::new(Activity::Pick, minutes, Most::Orders(1)).unwrap();
        let from = Timestamp::from_second(start).unwrap();
        let slot = slot_at(rule, &hours, from);
        prop_assert!(slot.start <= from && from < slot.end);
        prop_assert_eq!(slot_at(rule, &hours, slot.start), slot);
        let next = slot_at(rule, &hours, slot.end);
        prop_assert_eq!(next.start, slot.end);
    }
}
