//! What a running clock keeps of the settings and policies that it was started with.

use jiff::SignedDuration;

use super::super::method::Versions;
use super::super::testing::{at, bring, offer, planned, shop};
use super::super::{Method, Order};
use super::*;

/// An order of two units whose goods are ready a minute after it was offered.
fn ready(clocks: impl FnOnce(&mut Clocks)) -> Order {
    let mut order = planned(Method::Pickup, &[2]);
    clocks(&mut order.clocks);
    offer(&mut order, at(0)).unwrap();
    order.accept(at(10)).unwrap();
    for stage in [Name::Picking, Name::Picked, Name::Ready] {
        bring(&mut order, stage, None, at(60)).unwrap();
    }
    order
}

#[test]
fn a_clock_that_runs_keeps_its_end_its_warning_and_its_reminders() {
    let mut order = ready(|_| ());
    let before = order.running.clone();
    let next = order.next_due();
    let hour = SignedDuration::from_hours(1);
    order.clocks = Clocks {
        keep: hour,
        reminders: [None, None],
        at_risk_percent: 10,
        min_open: hour,
        versions: Versions { keep: 9, ..Versions::SETTINGS },
        ..order.clocks
    };
    assert_eq!((order.next_due(), &order.running), (next, &before));
    order.tick(next.unwrap().0).unwrap().unwrap();
    let (clock, old) = (order.clock(Step::Collect).unwrap(), before[0]);
    assert_eq!((clock.ends, clock.warn, clock.policy), (old.ends, old.warn, 0));
}

#[test]
fn each_clock_names_the_policy_that_made_its_end() {
    let versions = Versions { accept: 1, keep: 2, transit: 3, put_back: 4, min_open: 5, resolve: 6 };
    let mut order = planned(Method::Pickup, &[2]);
    order.clocks.versions = versions;
    let policy = |order: &Order, step| order.clock(step).map(|clock| clock.policy);
    offer(&mut order, at(0)).unwrap();
    assert_eq!(policy(&order, Step::Accept), Some(1));
    order.accept(at(10)).unwrap();
    assert_eq!(policy(&order, Step::Prepare), Some(6));
    let order = ready(|clocks| clocks.versions = versions);
    assert_eq!(policy(&order, Step::Collect), Some(2));
    let ends = order.clock(Step::Collect).and_then(|clock| clock.ends).unwrap();
    let mut order = order;
    order.expire(Step::Collect, ends).unwrap();
    assert_eq!(policy(&order, Step::PutBack), Some(4));
}

#[test]
fn an_end_that_moves_into_an_opening_names_the_policy_that_says_how_far() {
    let mut order = planned(Method::Pickup, &[2]);
    order.site = Some(shop());
    order.clocks.versions = Versions { keep: 2, min_open: 5, ..Versions::SETTINGS };
    offer(&mut order, at(0)).unwrap();
    order.accept(at(10)).unwrap();
    for stage in [Name::Picking, Name::Picked, Name::Ready] {
        bring(&mut order, stage, None, at(60)).unwrap();
    }
    // It is late in the evening, and so it is three days later.
    let clock = order.clock(Step::Collect).unwrap();
    assert_eq!(clock.policy, 5);
    assert!(clock.due > after(at(60), order.clocks.keep));
}

#[test]
fn nobody_is_reminded_of_goods_that_are_not_kept_any_more() {
    let hours = SignedDuration::from_hours;
    let times = |keep, reminders: [Option<i64>; 2]| {
        let order = ready(|clocks| {
            (clocks.keep, clocks.reminders) = (hours(keep), reminders.map(|wait| wait.map(hours)));
        });
        let reminders = order.clock(Step::Collect).unwrap().reminders;
        reminders.map(|at| at.map(|then| then.duration_since(at_ready()).as_hours()))
    };
    assert_eq!(times(72, [Some(24), Some(60)]), [Some(24), Some(60)]);
    assert_eq!(times(48, [Some(24), Some(60)]), [Some(24), None], "keep comes from a policy");
    assert_eq!(times(24, [Some(24), Some(60)]), [None, None]);
    assert_eq!(times(72, [None, Some(60)]), [Some(60), None], "the first one is never");
    assert_eq!(times(72, [Some(60), Some(24)]), [Some(24), Some(60)], "they come from two policies");
}

fn at_ready() -> Timestamp {
    at(60)
}
