//! What nodes offer, and why they refuse.

use std::collections::BTreeMap;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::id::NodeId;
use crate::network::Kind;
use crate::network::capacity::{Activity, Most, Rule};
use crate::network::hours::{Closure, Day, Hours, Interval, Zone};
use crate::network::timetable::Timetable;
use crate::place::LatLng;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Open from 9 to 18 in London, half an hour to prepare, cut-off at 17:00, four orders an hour.
fn shop() -> Node {
    let day = Day::new(vec![Interval::new(540, 1_080).unwrap()]).unwrap();
    Node {
        id: NodeId::new("lon-1").unwrap(),
        name: "London 1".into(),
        kind: Kind::Store,
        position: LatLng::new(51.5, -0.1).unwrap(),
        hours: Hours::weekly(Zone::named("Europe/London").unwrap(), std::array::from_fn(|_| day.clone())),
        services: vec![Service {
            method: Method::Pickup,
            preparation_minutes: 30,
            cut_offs: [Some(1_020); 7],
            radius_m: Some(50_000),
        }],
        capacity: vec![Rule::new(Activity::Pick, 60, Most::Orders(4)).unwrap()],
        tags: Vec::new(),
    }
}

fn ask(now: &str) -> Ask {
    let (method, now, extra_preparation) = (Method::Pickup, at(now), SignedDuration::ZERO);
    Ask { method, units: 1, now, distance_m: None, wanted: None, extra_preparation, max_radius_m: None }
}

fn free(_: Timestamp) -> i64 {
    0
}

fn offer_by_hours(
    node: &Node,
    ask: Ask,
    policy: Policy,
    used: impl Fn(Timestamp) -> i64,
) -> Result<Offer, Refused> {
    let by_hours = super::offer(node, Openings::from(&node.hours), ask, policy, &used);
    let table = Timetable::new(&node.hours, ask.now);
    assert_eq!(super::offer(node, Openings::new(&node.hours, &table), ask, policy, &used), by_hours);
    by_hours
}

fn offered(node: &Node, now: &str) -> Offer {
    offer_by_hours(node, ask(now), Policy::default(), free).unwrap()
}

fn reasons(node: &Node, now: &str) -> Vec<Reason> {
    offer_by_hours(node, ask(now), Policy::default(), free).unwrap_err().reasons().to_vec()
}

#[test]
fn an_order_in_opening_time_is_ready_after_the_preparation() {
    let offer = offered(&shop(), "2026-01-12T10:10:00Z");
    assert_eq!(offer.begin, at("2026-01-12T10:10:00Z"));
    assert_eq!(offer.slot.unwrap().start, at("2026-01-12T10:00:00Z"));
    assert_eq!(offer.ready, at("2026-01-12T10:40:00Z"));
    assert_eq!(offer.keep_until, at("2026-01-15T10:40:00Z"));
}

#[test]
fn an_order_before_opening_waits_for_it() {
    let offer = offered(&shop(), "2026-01-12T05:00:00Z");
    assert_eq!((offer.begin, offer.ready), (at("2026-01-12T09:00:00Z"), at("2026-01-12T09:30:00Z")));
}

#[test]
fn an_order_at_the_cut_off_is_for_the_next_day() {
    assert_eq!(offered(&shop(), "2026-01-12T16:59:00Z").ready, at("2026-01-12T17:29:00Z"));
    assert_eq!(offered(&shop(), "2026-01-12T17:00:00Z").ready, at("2026-01-13T09:30:00Z"));
}

/// Open from 18:00 to 02:00 in London.
fn bar(cut_off: u16) -> Node {
    let night = Day::new(vec![Interval::new(1_080, 120).unwrap()]).unwrap();
    let mut node = shop();
    node.hours = Hours::weekly(Zone::named("Europe/London").unwrap(), std::array::from_fn(|_| night.clone()));
    node.services[0].cut_offs = [Some(cut_off); 7];
    node
}

#[test]
fn an_order_past_the_cut_off_waits_for_the_next_evening_not_for_midnight() {
    let bar = bar(1_260);
    assert_eq!(offered(&bar, "2026-01-12T20:59:00Z").ready, at("2026-01-12T21:29:00Z"));
    for asked in
        ["2026-01-12T21:00:00Z", "2026-01-12T22:00:00Z", "2026-01-13T00:00:00Z", "2026-01-13T01:00:00Z"]
    {
        assert_eq!(offered(&bar, asked).ready, at("2026-01-13T18:30:00Z"), "{asked}");
    }
    assert_eq!(offered(&bar, "2026-01-13T02:00:00Z").ready, at("2026-01-13T18:30:00Z"));
    assert_eq!(offered(&bar, "2026-01-13T20:00:00Z").ready, at("2026-01-13T20:30:00Z"));
}

#[test]
fn a_cut_off_after_midnight_is_that_of_the_evening_before() {
    let bar = bar(60);
    assert_eq!(offered(&bar, "2026-01-12T22:00:00Z").ready, at("2026-01-12T22:30:00Z"));
    assert_eq!(offered(&bar, "2026-01-13T00:59:00Z").ready, at("2026-01-13T01:29:00Z"));
    assert_eq!(offered(&bar, "2026-01-13T01:00:00Z").ready, at("2026-01-13T18:30:00Z"));
    assert_eq!(offered(&bar, "2026-01-13T10:00:00Z").ready, at("2026-01-13T18:30:00Z"));
}

#[test]
fn goods_that_are_ready_after_midnight_are_kept_for_their_hours() {
    let offer = offered(&bar(120), "2026-01-13T00:10:00Z");
    assert_eq!((offer.ready, offer.keep_until), (at("2026-01-13T00:40:00Z"), at("2026-01-16T00:40:00Z")));
}

#[test]
fn a_cut_off_at_a_node_that_closes_at_midnight_is_for_its_evening() {
    let mut node = bar(1_260);
    let evening = Day::new(vec![Interval::new(1_080, 1_440).unwrap()]).unwrap();
    node.hours = Hours::weekly(node.hours.zone().clone(), std::array::from_fn(|_| evening.clone()));
    assert_eq!(offered(&node, "2026-01-12T22:00:00Z").ready, at("2026-01-13T18:30:00Z"));
    assert_eq!(offered(&node, "2026-01-13T00:30:00Z").ready, at("2026-01-13T18:30:00Z"));
}

#[test]
fn a_cut_off_before_opening_moves_the_morning_too() {
    let mut node = shop();
    node.services[0].cut_offs = [Some(480); 7];
    assert_eq!(offered(&node, "2026-01-12T07:59:00Z").ready, at("2026-01-12T09:30:00Z"));
    assert_eq!(offered(&node, "2026-01-12T08:30:00Z").ready, at("2026-01-13T09:30:00Z"));
}

#[test]
fn a_night_before_a_holiday_is_cut_off_until_the_day_after() {
    let mut node = bar(1_260);
    node.hours = node.hours.with_exceptions(BTreeMap::from([(date(2026, 12, 25), Day::CLOSED)])).unwrap();
    for asked in ["2026-12-24T22:00:00Z", "2026-12-25T01:00:00Z", "2026-12-25T20:00:00Z"] {
        assert_eq!(offered(&node, asked).ready, at("2026-12-26T18:30:00Z"), "{asked}");
    }
}

#[test]
fn work_cut_short_by_closing_time_goes_on_in_the_next_evening() {
    let bar = bar(120);
    assert_eq!(offered(&bar, "2026-01-13T01:50:00Z").ready, at("2026-01-13T18:20:00Z"));
    let slot = offered(&bar, "2026-01-13T01:50:00Z").slot.unwrap();
    assert_eq!((slot.start, slot.end), (at("2026-01-13T01:00:00Z"), at("2026-01-13T02:00:00Z")));
}

#[test]
fn the_cut_off_is_local_time() {
    // 16:30 UTC in July is 17:30 in London.
    assert_eq!(offered(&shop(), "2026-07-13T16:30:00Z").ready, at("2026-07-14T08:30:00Z"));
}

#[test]
fn preparation_that_does_not_fit_goes_on_the_next_day() {
    let mut node = shop();
    node.services[0].cut_offs = [None; 7];
    assert_eq!(offered(&node, "2026-01-12T17:50:00Z").ready, at("2026-01-13T09:20:00Z"));
    assert_eq!(
        offered(&node, "2026-01-12T17:30:00Z").ready,
        at("2026-01-13T09:00:00Z"),
        "ready at the closing minute can be collected when the shop opens again"
    );
}

#[test]
fn a_full_slot_moves_the_work() {
    let now = ask("2026-01-12T10:10:00Z");
    let full = at("2026-01-12T10:00:00Z");
    let offer =
        offer_by_hours(&shop(), now, Policy::default(), |start| if start == full { 4 } else { 3 }).unwrap();
    assert_eq!((offer.begin, offer.ready), (at("2026-01-12T11:00:00Z"), at("2026-01-12T11:30:00Z")));
    let refused = offer_by_hours(&shop(), now, Policy::default(), |_| 4).unwrap_err();
    assert_eq!(refused.reasons(), [Reason::CapacityFull]);
}

#[test]
fn a_holiday_is_skipped() {
    let mut node = shop();
    let holiday = BTreeMap::from([(date(2026, 12, 25), Day::CLOSED)]);
    node.hours = node.hours.with_exceptions(holiday).unwrap();
    assert_eq!(offered(&node, "2026-12-24T17:30:00Z").ready, at("2026-12-26T09:30:00Z"));
}

#[test]
fn a_node_shut_for_long_says_so() {
    let mut node = shop();
    let flood = Closure { from: at("2026-01-10T00:00:00Z"), until: None, reason: "flood".into() };
    node.hours = node.hours.with_closures(vec![flood]).unwrap();
    assert_eq!(reasons(&node, "2026-01-12T10:00:00Z"), [Reason::NodeClosed]);
    let until = at("2026-01-14T12:00:00Z");
    let flood = Closure { from: at("2026-01-10T00:00:00Z"), until: Some(until), reason: "flood".into() };
    node.hours = node.hours.with_closures(vec![flood]).unwrap();
    assert_eq!(offered(&node, "2026-01-12T10:00:00Z").begin, until);
}

#[test]
fn a_cut_off_that_costs_the_last_chance_is_named() {
    let mut node = shop();
    let closing = Closure { from: at("2026-01-12T18:00:00Z"), until: None, reason: "the end".into() };
    node.hours = node.hours.with_closures(vec![closing]).unwrap();
    assert_eq!(reasons(&node, "2026-01-12T17:10:00Z"), [Reason::NodeClosed, Reason::PastCutOff]);
}

#[test]
fn a_cut_off_is_that_of_the_weekday_on_which_the_business_day_begins() {
    let mut shop = shop();
    // Friday as every day at 17:00, Saturday at noon, Sunday none.
    (shop.services[0].cut_offs[5], shop.services[0].cut_offs[6]) = (Some(720), None);
    for (asked, ready) in [
        ("2026-01-16T16:59:00Z", "2026-01-16T17:29:00Z"),
        ("2026-01-16T17:00:00Z", "2026-01-17T09:30:00Z"),
        ("2026-01-17T11:59:00Z", "2026-01-17T12:29:00Z"),
        ("2026-01-17T12:00:00Z", "2026-01-18T09:30:00Z"),
        ("2026-01-18T17:15:00Z", "2026-01-18T17:45:00Z"),
    ] {
        assert_eq!(offered(&shop, asked).ready, at(ready), "{asked}");
    }
    let mut bar = bar(1_260);
    bar.services[0].cut_offs[5] = Some(60);
    for (asked, ready) in [
        ("2026-01-17T00:30:00Z", "2026-01-17T18:30:00Z"),
        ("2026-01-17T22:00:00Z", "2026-01-17T22:30:00Z"),
        ("2026-01-18T00:30:00Z", "2026-01-18T01:00:00Z"),
        ("2026-01-18T01:00:00Z", "2026-01-18T18:30:00Z"),
        ("2026-01-18T22:00:00Z", "2026-01-19T18:30:00Z"),
    ] {
        assert_eq!(
            offered(&bar, asked).ready,
            at(ready),
            "the night from Saturday is cut off at 01:00: {asked}"
        );
    }
}

#[test]
fn units_are_taken_where_they_all_fit_and_refused_where_they_never_do() {
    let mut node = shop();
    node.capacity = vec![Rule::new(Activity::Pick, 60, Most::Units(5)).unwrap()];
    let of = |units| Ask { units, ..ask("2026-01-12T10:10:00Z") };
    let used = |start| if start == at("2026-01-12T10:00:00Z") { 3 } else { 0 };
    let offer = |units| offer_by_hours(&node, of(units), Policy::default(), used);
    let two = offer(2).unwrap();
    assert_eq!((two.begin, two.amount), (at("2026-01-12T10:10:00Z"), 2));
    let three = offer(3).unwrap();
    assert_eq!((three.begin, three.amount), (at("2026-01-12T11:00:00Z"), 3));
    assert_eq!(offer(6).unwrap_err().reasons(), [Reason::CapacityFull]);
    assert_eq!(offered(&shop(), "2026-01-12T10:10:00Z").amount, 1);
}

/// The shop, open from Tuesday the 13th to Thursday the 15th of January only.
fn pop_up() -> Node {
    let mut node = shop();
    node.hours = node.hours.with_days(Some(date(2026, 1, 13)), Some(date(2026, 1, 15))).unwrap();
    node.services[0].cut_offs = [None; 7];
    node
}

#[test]
fn a_pop_up_node_is_shut_before_its_first_day_and_after_its_last() {
    let node = pop_up();
    assert_eq!(offered(&node, "2026-01-12T10:00:00Z").ready, at("2026-01-13T09:30:00Z"));
    assert_eq!(reasons(&node, "2026-01-05T10:00:00Z"), [Reason::NodeClosed], "more than a week before");
    assert_eq!(offered(&node, "2026-01-15T17:29:00Z").ready, at("2026-01-15T17:59:00Z"));
    for late in
        ["2026-01-15T17:30:00Z", "2026-01-15T18:00:00Z", "2026-01-16T10:00:00Z", "2027-01-13T10:00:00Z"]
    {
        assert_eq!(reasons(&node, late), [Reason::NodeClosed], "{late}");
    }
}

#[test]
fn a_pop_up_node_keeps_goods_until_its_last_closing_at_the_latest() {
    let mut node = pop_up();
    let kept = |node: &Node, now: &str| offered(node, now).keep_until;
    let last = at("2026-01-15T18:00:00Z");
    assert_eq!(kept(&node, "2026-01-13T10:00:00Z"), last, "72 hours would be the 16th");
    assert_eq!(kept(&node, "2026-01-15T17:29:00Z"), last);
    // A storm takes the last day away, a flood until someone reopens does not say when it ends.
    let closed = |until| vec![Closure { from: at("2026-01-15T07:00:00Z"), until, reason: "x".into() }];
    node.hours = node.hours.with_closures(closed(Some(at("2026-01-20T00:00:00Z")))).unwrap();
    assert_eq!(kept(&node, "2026-01-13T10:00:00Z"), at("2026-01-14T18:00:00Z"));
    node.hours = node.hours.with_closures(closed(None)).unwrap();
    assert_eq!(kept(&node, "2026-01-13T10:00:00Z"), last);
}

#[test]
fn distance_and_method_are_checked_first() {
    let far = Ask { distance_m: Some(50_001.0), ..ask("2026-01-12T10:00:00Z") };
    assert_eq!(
        offer_by_hours(&shop(), far, Policy::default(), free).unwrap_err().first(),
        Reason::OutOfRadius
    );
    let near = Ask { distance_m: Some(50_000.0), ..far };
    assert!(offer_by_hours(&shop(), near, Policy::default(), free).is_ok());
    let node = Node { services: Vec::new(), ..shop() };
    assert_eq!(reasons(&node, "2026-01-12T10:00:00Z"), [Reason::MethodNotOffered]);
}

#[test]
fn the_shorter_of_the_two_distances_counts() {
    let from = |metres: f64, most: i64| {
        let ask = Ask { distance_m: Some(metres), max_radius_m: Some(most), ..ask("2026-01-12T10:00:00Z") };
        offer_by_hours(&shop(), ask, Policy::default(), free).map_err(|refused| refused.first()).map(drop)
    };
    assert_eq!((from(3_000.0, 3_000), from(3_000.1, 3_000)), (Ok(()), Err(Reason::OutOfRadius)));
    assert_eq!(
        from(50_001.0, 60_000),
        Err(Reason::OutOfRadius),
        "the node itself serves nobody that far away"
    );
    let unknown = Ask { max_radius_m: Some(1), ..ask("2026-01-12T10:00:00Z") };
    assert!(offer_by_hours(&shop(), unknown, Policy::default(), free).is_ok());
}

#[test]
fn more_preparation_moves_the_promise_by_opening_time() {
    let extra = |now: &str, minutes: i64| {
        let ask = Ask { extra_preparation: SignedDuration::from_mins(minutes), ..ask(now) };
        offer_by_hours(&shop(), ask, Policy::default(), free).unwrap().ready
    };
    assert_eq!(extra("2026-01-12T10:00:00Z", 0), at("2026-01-12T10:30:00Z"));
    assert_eq!(extra("2026-01-12T10:00:00Z", 90), at("2026-01-12T12:00:00Z"));
    assert_eq!(extra("2026-01-12T16:30:00Z", 90), at("2026-01-13T09:30:00Z"));
    // Wanted from noon on: work begins so much earlier.
    let from = at("2026-01-12T12:00:00Z");
    let wanted = Some((from, at("2026-01-12T13:00:00Z")));
    let extra_preparation = SignedDuration::from_mins(60);
    let ask = Ask { wanted, extra_preparation, ..ask("2026-01-12T10:00:00Z") };
    let offer = offer_by_hours(&shop(), ask, Policy::default(), free).unwrap();
    assert_eq!((offer.begin, offer.ready), (at("2026-01-12T10:30:00Z"), from));
}

#[test]
fn a_refusal_keeps_the_name_of_the_scenario_and_each_reason_once() {
    let refused = Refused::because(Reason::NoStock).and_all(Refused::paused_by("STORM"));
    let refused = refused.and_all(Refused::paused_by("FLOOD").and(Reason::NoStock));
    assert_eq!(refused.reasons(), [Reason::NoStock, Reason::MethodPaused]);
    assert_eq!(refused.scenario(), Some("STORM"));
    assert_eq!(Refused::because(Reason::NoStock).scenario(), None);
}

#[test]
fn on_the_day_the_clocks_change_preparation_is_elapsed_time() {
    let mut node = shop();
    node.hours = Hours::always(Zone::named("Europe/London").unwrap());
    node.services[0].preparation_minutes = 120;
    // 00:30 GMT plus two hours is 02:30 GMT, which is 03:30 BST.
    assert_eq!(offered(&node, "2026-03-29T00:30:00Z").ready, at("2026-03-29T02:30:00Z"));
}

proptest! {
    #[test]
    fn what_is_offered_can_be_kept(
        start in 1_767_225_600i64..1_830_000_000,
        opens in 0u16..1_440,
        closes in 0u16..=1_440,
        preparation in 0u32..600,
        cut_off in proptest::option::of(0u16..=1_440),
        max in 0i64..3,
        seed in any::<u64>(),
    ) {
        let day = Day::new(vec![Interval::new(opens, closes).unwrap()]).unwrap();
        let mut node = shop();
        node.hours = Hours::weekly(Zone::named("Europe/London").unwrap(), std::array::from_fn(|i| {
            if seed >> i & 1 == 1 { day.clone() } else { Day::CLOSED }
        }));
        node.services[0].preparation_minutes = preparation;
        node.services[0].cut_offs = [cut_off; 7];
        node.capacity = vec![Rule::new(Activity::Pick, 60, Most::Orders(max)).unwrap()];
        let now = Timestamp::from_second(start).unwrap();
        let used = |slot: Timestamp| {
            let hour = slot.as_second().unsigned_abs() / 3_600;
            i64::try_from((hour ^ seed) % 3).unwrap()
        };
        let ask = Ask { now, distance_m: Some(10.0), ..ask("2026-01-12T10:00:00Z") };
        match offer_by_hours(&node, ask, Policy::default(), used) {
            Ok(offer) => {
                let slot = offer.slot.unwrap();
                prop_assert!(used(slot.start) < max);
                prop_assert!(slot.start <= offer.begin && offer.begin < slot.end);
                prop_assert!(offer.begin >= now && offer.ready >= offer.begin);
                prop_assert!(node.hours.is_open(offer.begin) && node.hours.is_open(offer.ready));
                let worked = node.hours.open_time_between(offer.begin, offer.ready);
                prop_assert_eq!(worked, SignedDuration::from_mins(i64::from(preparation)));
            }
            Err(refused) => prop_assert!(!refused.reasons().is_empty()),
        }
    }
}
