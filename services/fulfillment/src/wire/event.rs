//! Events of fulfilment orders on the topic.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use contract::orders::v1::OrderCancelRequested;
use domain::fulfillment::event::Notice;
use domain::fulfillment::{Collector, Event, Pick, RejectReason, ShortReason, Units};
use domain::id::{FulfillmentId, OrderId, PromiseToken, derived, v7};
use jiff::Timestamp;
use prost::Message as _;

use super::timestamp;
use super::work::fulfillment_order;
use crate::store::work::Stored;

macro_rules! named {
    ($message:literal) => {
        concat!("entrepot.fulfillment.v1.", $message)
    };
}

/// An event with the fulfilment order as it was right after it.
pub(crate) fn event(stored: &Stored, event: &Event, actor: &str, now: Timestamp) -> bus::Event {
    let (event_type, body) = body(event);
    let mut message =
        pb::FulfillmentEvent { fulfillment_order: Some(fulfillment_order(stored)), body: Some(body) };
    if message.encoded_len() > bus::MAX_PAYLOAD {
        // Names are for the pick list; a very large order does without them on the topic.
        let order = message.fulfillment_order.iter_mut();
        order.flat_map(|order| &mut order.lines).for_each(|line| line.name.clear());
    }
    bus::Event {
        id: v7(),
        topic: bus::Topic::Fulfillment,
        aggregate_type: "fulfillment_order",
        aggregate: stored.order.id.uuid(),
        sequence: stored.order.version,
        event_type,
        payload: message.encode_to_vec(),
        occurred_at: now,
        actor: actor.to_owned(),
    }
}

/// The answer to a cancel request of an order that no node works on: all that it asks is cancelled. It is an aggregate
/// of its own, of one event: there is no fulfilment order that could count versions.
pub(crate) fn cancelled_without_work(
    order: OrderId,
    asked: &OrderCancelRequested,
    actor: &str,
    now: Timestamp,
) -> bus::Event {
    let units =
        asked.lines.iter().map(|line| pb::HandedOverLine { line: line.line, quantity: line.quantity });
    let lines = asked.lines.iter().map(|line| pb::FulfillmentLine {
        line: line.line,
        quantity: line.quantity,
        cancelled: line.quantity,
        ..Default::default()
    });
    let none = derived("fulfillment.none", &order.to_string());
    let cancelled = pb::FulfillmentCancelled {
        cancel_number: asked.cancel_number,
        lines: units.collect(),
        refused: Vec::new(),
        reason: asked.reason.clone(),
    };
    let message = pb::FulfillmentEvent {
        fulfillment_order: Some(pb::FulfillmentOrder {
            fulfillment_id: FulfillmentId::new(none).to_string(),
            order_id: order.to_string(),
            // Nothing was ever held under it.
            promise_token: PromiseToken::new(none).to_string(),
            state: pb::FulfillmentState::Cancelled.into(),
            lines: lines.collect(),
            version: 1,
            update_time: Some(timestamp(now)),
            end_reason: "NO_WORK".to_owned(),
            ..Default::default()
        }),
        body: Some(Body::Cancelled(cancelled)),
    };
    bus::Event {
        id: v7(),
        topic: bus::Topic::Fulfillment,
        aggregate_type: "fulfillment_order",
        aggregate: derived("fulfillment.none", &format!("{order}|{}", asked.cancel_number)),
        sequence: 1,
        event_type: named!("FulfillmentCancelled"),
        payload: message.encode_to_vec(),
        occurred_at: now,
        actor: actor.to_owned(),
    }
}

fn body(event: &Event) -> (&'static str, Body) {
    match event {
        Event::Offered { accept_due } => (
            named!("FulfillmentOffered"),
            Body::Offered(pb::FulfillmentOffered { accept_due_time: Some(timestamp(*accept_due)) }),
        ),
        Event::AtRisk { step, due } => (
            named!("FulfillmentAtRisk"),
            Body::AtRisk(pb::FulfillmentAtRisk {
                step: step.name().to_owned(),
                due_time: Some(timestamp(*due)),
            }),
        ),
        Event::Accepted => (named!("FulfillmentAccepted"), Body::Accepted(pb::FulfillmentAccepted {})),
        Event::Rejected { reason } => {
            let rejected = pb::FulfillmentRejected { reason: reject_reason(*reason).into() };
            (named!("FulfillmentRejected"), Body::Rejected(rejected))
        }
        Event::TimedOut => (named!("FulfillmentTimedOut"), Body::TimedOut(pb::FulfillmentTimedOut {})),
        Event::Started => (named!("PickingStarted"), Body::PickingStarted(pb::PickingStarted {})),
        Event::Picked { lines } => {
            let lines = lines.iter().map(picked_line).collect();
            (named!("LinesPicked"), Body::LinesPicked(pb::LinesPicked { lines }))
        }
        Event::Ready { keep_until } => (
            named!("FulfillmentReady"),
            Body::Ready(pb::FulfillmentReady { keep_until_time: Some(timestamp(*keep_until)) }),
        ),
        Event::CodeIssued => (named!("PickupCodeIssued"), Body::PickupCodeIssued(pb::PickupCodeIssued {})),
        Event::HandedOver { lines, collector } => {
            let collector = match collector {
                Collector::Buyer => pb::CollectorKind::Buyer,
                Collector::Delegate => pb::CollectorKind::Delegate,
            };
            let handed = pb::FulfillmentHandedOver { lines: units(lines), collector: collector.into() };
            (named!("FulfillmentHandedOver"), Body::HandedOver(handed))
        }
        Event::Expired
        | Event::PutBack { .. }
        | Event::PutBackOverdue { .. }
        | Event::Cancelled { .. }
        | Event::CancelRefused { .. }
        | Event::NoticeDue { .. }
        | Event::StockLost { .. } => ending(event),
    }
}

/// What happens when the customer does not get the goods.
fn ending(event: &Event) -> (&'static str, Body) {
    match event {
        Event::PutBack { lines, expired } => {
            let reason = if *expired { "EXPIRED" } else { "CANCELLED" }.to_owned();
            let confirmed = pb::PutBackConfirmed { lines: units(lines), reason };
            (named!("PutBackConfirmed"), Body::PutBackConfirmed(confirmed))
        }
        Event::PutBackOverdue { lines } => {
            let overdue = pb::PutBackOverdue { lines: units(lines) };
            (named!("PutBackOverdue"), Body::PutBackOverdue(overdue))
        }
        Event::Cancelled { number, lines, refused, reason } => {
            let cancelled = pb::FulfillmentCancelled {
                cancel_number: *number,
                lines: units(lines),
                refused: units(refused),
                reason: reason.clone(),
            };
            (named!("FulfillmentCancelled"), Body::Cancelled(cancelled))
        }
        Event::CancelRefused { number, lines, state } => {
            let reason = state.name().to_owned();
            let refused = pb::CancelRefused { cancel_number: *number, lines: units(lines), reason };
            (named!("CancelRefused"), Body::CancelRefused(refused))
        }
        Event::NoticeDue { notice } => {
            let template = match notice {
                Notice::PickupReady => "PICKUP_READY".to_owned(),
                Notice::PickupReminder(number) => format!("PICKUP_REMINDER_{number}"),
                Notice::PickupExpired => "PICKUP_EXPIRED".to_owned(),
            };
            (named!("CustomerNoticeDue"), Body::CustomerNoticeDue(pb::CustomerNoticeDue { template }))
        }
        Event::StockLost { sku } => {
            (named!("StockLost"), Body::StockLost(pb::StockLost { sku: sku.clone() }))
        }
        Event::Expired
        | Event::Offered { .. }
        | Event::AtRisk { .. }
        | Event::Accepted
        | Event::Rejected { .. }
        | Event::TimedOut
        | Event::Started
        | Event::Picked { .. }
        | Event::Ready { .. }
        | Event::CodeIssued
        | Event::HandedOver { .. } => (named!("PickupExpired"), Body::PickupExpired(pb::PickupExpired {})),
    }
}

fn reject_reason(reason: RejectReason) -> pb::RejectReason {
    match reason {
        RejectReason::NotFound => pb::RejectReason::NotFound,
        RejectReason::Damaged => pb::RejectReason::Damaged,
        RejectReason::TooBusy => pb::RejectReason::TooBusy,
        RejectReason::NodeClosed => pb::RejectReason::NodeClosed,
        RejectReason::Other => pb::RejectReason::Other,
    }
}

fn picked_line(pick: &Pick) -> pb::PickedLine {
    let reason = match pick.short {
        None => pb::ShortReason::Unspecified,
        Some((_, ShortReason::NotFound)) => pb::ShortReason::NotFound,
        Some((_, ShortReason::Damaged)) => pb::ShortReason::Damaged,
        Some((_, ShortReason::Other)) => pb::ShortReason::Other,
    };
    let short = pick.short.map_or(0, |(units, _)| units);
    pb::PickedLine { line: pick.line, picked: pick.picked, short, short_reason: reason.into() }
}

fn units(units: &[Units]) -> Vec<pb::HandedOverLine> {
    units.iter().map(|u| pb::HandedOverLine { line: u.line, quantity: u.quantity }).collect()
}
