//! Fulfillment orders for the tests of this room.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::stage::{Name, Reporter};
use super::{Buckets, Dues, Event, Line, Marks, Method, MovedLine, Order, Refusal, Report};
use crate::id::{FulfillmentId, NodeId, OrderId, PromiseToken, Sku, derived};
use crate::network::hours::{Day, Hours, Interval, Zone};
use crate::network::{Kind, Node};
use crate::place::LatLng;

const START: i64 = 1_700_000_000;

/// Seconds after the start of the test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// An order promised for two hours after the start, not offered yet.
pub(crate) fn planned(method: Method, quantities: &[i64]) -> Order {
    let line = |(i, quantity): (usize, &i64)| Line {
        line: u32::try_from(i + 1).unwrap(),
        sku: Sku::new(format!("SKU-{i}")).unwrap(),
        name: String::new(),
        quantity: *quantity,
        buckets: Buckets::all_to_pick(*quantity),
        due_minor: 0,
    };
    Order {
        id: FulfillmentId::new(derived("test", "ful")),
        order: OrderId::new(derived("test", "ord")),
        token: PromiseToken::new(derived("test", "prm")),
        node: NodeId::new("N1").unwrap(),
        site: None,
        method,
        promised: at(7_200),
        lines: quantities.iter().enumerate().map(line).collect(),
        clocks: method.rules().clocks,
        running: Vec::new(),
        marks: Marks::default(),
        dues: Dues::default(),
        version: 0,
    }
}

/// A node that is open from 09:00 to 18:00.
pub(crate) fn shop() -> Arc<Node> {
    let day = Day::new(vec![Interval::new(9 * 60, 18 * 60).unwrap()]).unwrap();
    Arc::new(Node {
        id: NodeId::new("N1").unwrap(),
        name: "N1".to_owned(),
        kind: Kind::Store,
        position: LatLng::new(51.5, -0.1).unwrap(),
        hours: Hours::weekly(Zone::named("UTC").unwrap(), std::array::from_fn(|_| day.clone())),
        services: Vec::new(),
        capacity: Vec::new(),
        tags: Vec::new(),
    })
}

/// Offers it, to be accepted within the time of its method.
pub(crate) fn offer(order: &mut Order, now: Timestamp) -> Result<Event, Refusal> {
    let accept = order.clocks.accept;
    order.offer(now + accept, now + SignedDuration::from_millis(accept.as_secs() * 800), now)
}

/// Brings some units, or all that stand before it, to a stage, in the name of the party that reports it.
pub(crate) fn bring(
    order: &mut Order,
    to: Name,
    lines: Option<&[MovedLine]>,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let by = order.method.rules().stage(to).map_or(Reporter::Node, |stage| stage.reporter);
    order.advance(to, Report { by, lines, collector: None, payment: None }, now)
}

/// The laws that hold after every step: no bucket is negative, units sum to what was asked, and so do the claims; whatever
/// waits has a clock with an owner and a way out.
pub(crate) fn keeps_the_laws(order: &Order) {
    for line in &order.lines {
        assert!(line.buckets.hold(line.quantity), "{line:?}");
        let claims = line.buckets.claims(order.method.rules());
        assert!(claims.held >= 0 && claims.consumed >= 0 && claims.released >= 0, "{claims:?} of {line:?}");
        assert_eq!(claims.held + claims.consumed + claims.released, line.quantity, "{claims:?} of {line:?}");
    }
    let state = order.state();
    let waits = order.marks.reached.is_some() && (!state.is_over() || order.to_put_back() > 0);
    assert_eq!(order.next_due().is_some(), waits, "{state} has a way out: {:?}", order.running);
    for stage in order.standing() {
        let step = stage.clock.expect("a stage that units wait in has a clock").step;
        assert!(order.clock(step).is_some(), "{step:?} runs in {state}: {:?}", order.running);
        assert!(order.owner(step).is_some(), "{step:?} has an owner in {state}");
    }
    assert_eq!(order.marks.ended.is_some(), state.is_over());
}

/// Units are kept when they are given up, and never later; what was given up stays so.
pub(crate) fn never_kept_again(before: &Order, after: &Order) {
    for (old, new) in before.lines.iter().zip(&after.lines) {
        let (old, new) = (old.buckets, new.buckets);
        assert!(new.given_up >= old.given_up, "{old:?} {new:?}");
        assert!(new.kept - old.kept <= new.given_up - old.given_up, "{old:?} {new:?}");
    }
}
