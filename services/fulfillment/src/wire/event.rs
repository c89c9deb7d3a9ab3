//! Events of fulfillment orders on the topic.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use contract::orders::v1::OrderCancelRequested;
use domain::fulfillment::event::Notice;
use domain::fulfillment::{Collector, Event, Pick, RejectReason, ShortReason, Units};
use domain::id::{FulfillmentId, OrderId, PromiseToken, derived};
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

/// An event with the fulfillment order as it was right after it.
pub(crate) fn event(stored: &Stored, event: &Event, actor: &str, now: Timestamp) -> bus::Event {
    let body = body(event);
    let event_type = type_name(&body);
    let mut message =
        pb::FulfillmentEvent { fulfillment_order: Some(fulfillment_order(stored)), body: Some(body) };
    if message.encoded_len() > bus::MAX_PAYLOAD {
        // Names are for the pick list; a very large order does without them on the topic.
        let order = message.fulfillment_order.iter_mut();
        order.flat_map(|order| &mut order.lines).for_each(|line| line.name.clear());
    }
    bus::Event {
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
/// of its own, of one event: there is no fulfillment order that could count versions.
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

/// What happened, as the wire has it. Each event has its own arm: one that is new does not compile before it has.
fn body(event: &Event) -> Body {
    match event {
        Event::Offered { accept_due } => {
            Body::Offered(pb::FulfillmentOffered { accept_due_time: Some(timestamp(*accept_due)) })
        }
        Event::AtRisk { step, due } => Body::AtRisk(pb::FulfillmentAtRisk {
            step: step.name().to_owned(),
            due_time: Some(timestamp(*due)),
        }),
        Event::Accepted => Body::Accepted(pb::FulfillmentAccepted {}),
        Event::Rejected { reason } => {
            Body::Rejected(pb::FulfillmentRejected { reason: reject_reason(*reason).into() })
        }
        Event::TimedOut => Body::TimedOut(pb::FulfillmentTimedOut {}),
        Event::Started => Body::PickingStarted(pb::PickingStarted {}),
        Event::Picked { lines } => {
            Body::LinesPicked(pb::LinesPicked { lines: lines.iter().map(picked_line).collect() })
        }
        Event::Ready { keep_until } => {
            Body::Ready(pb::FulfillmentReady { keep_until_time: Some(timestamp(*keep_until)) })
        }
        Event::CodeIssued => Body::PickupCodeIssued(pb::PickupCodeIssued {}),
        Event::HandedOver { lines, collector: by } => Body::HandedOver(pb::FulfillmentHandedOver {
            lines: units(lines),
            collector: collector(*by).into(),
        }),
        Event::Expired => Body::PickupExpired(pb::PickupExpired {}),
        Event::PutBack { lines, expired } => {
            let reason = if *expired { "EXPIRED" } else { "CANCELLED" }.to_owned();
            Body::PutBackConfirmed(pb::PutBackConfirmed { lines: units(lines), reason })
        }
        Event::PutBackOverdue { lines } => Body::PutBackOverdue(pb::PutBackOverdue { lines: units(lines) }),
        Event::Cancelled { number, lines, refused, reason } => Body::Cancelled(pb::FulfillmentCancelled {
            cancel_number: *number,
            lines: units(lines),
            refused: units(refused),
            reason: reason.clone(),
        }),
        Event::CancelRefused { number, lines, state } => Body::CancelRefused(pb::CancelRefused {
            cancel_number: *number,
            lines: units(lines),
            reason: state.name().to_owned(),
        }),
        Event::NoticeDue { notice } => {
            Body::CustomerNoticeDue(pb::CustomerNoticeDue { template: template(*notice) })
        }
        Event::StockLost { sku } => Body::StockLost(pb::StockLost { sku: sku.clone() }),
    }
}

/// The name of a message on the topic.
fn type_name(body: &Body) -> &'static str {
    match body {
        Body::Offered(_) => named!("FulfillmentOffered"),
        Body::AtRisk(_) => named!("FulfillmentAtRisk"),
        Body::Accepted(_) => named!("FulfillmentAccepted"),
        Body::Rejected(_) => named!("FulfillmentRejected"),
        Body::TimedOut(_) => named!("FulfillmentTimedOut"),
        Body::PickingStarted(_) => named!("PickingStarted"),
        Body::LinesPicked(_) => named!("LinesPicked"),
        Body::Ready(_) => named!("FulfillmentReady"),
        Body::PickupCodeIssued(_) => named!("PickupCodeIssued"),
        Body::HandedOver(_) => named!("FulfillmentHandedOver"),
        Body::PickupExpired(_) => named!("PickupExpired"),
        Body::PutBackConfirmed(_) => named!("PutBackConfirmed"),
        Body::PutBackOverdue(_) => named!("PutBackOverdue"),
        Body::Cancelled(_) => named!("FulfillmentCancelled"),
        Body::CancelRefused(_) => named!("CancelRefused"),
        Body::CustomerNoticeDue(_) => named!("CustomerNoticeDue"),
        Body::StockLost(_) => named!("StockLost"),
    }
}

fn collector(collector: Collector) -> pb::CollectorKind {
    match collector {
        Collector::Buyer => pb::CollectorKind::Buyer,
        Collector::Delegate => pb::CollectorKind::Delegate,
    }
}

fn template(notice: Notice) -> String {
    match notice {
        Notice::PickupReady => "PICKUP_READY".to_owned(),
        Notice::PickupReminder(number) => format!("PICKUP_REMINDER_{number}"),
        Notice::PickupExpired => "PICKUP_EXPIRED".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::fulfillment::{State, Step};

    #[test]
    fn every_event_has_a_message_of_its_own() {
        let (due, lines) = (Timestamp::UNIX_EPOCH, vec![Units { line: 1, quantity: 1 }]);
        let events = [
            Event::Offered { accept_due: due },
            Event::AtRisk { step: Step::Accept, due },
            Event::Accepted,
            Event::Rejected { reason: RejectReason::Other },
            Event::TimedOut,
            Event::Started,
            Event::Picked { lines: Vec::new() },
            Event::Ready { keep_until: due },
            Event::CodeIssued,
            Event::HandedOver { lines: lines.clone(), collector: Collector::Buyer },
            Event::Expired,
            Event::PutBack { lines: lines.clone(), expired: true },
            Event::PutBackOverdue { lines: lines.clone() },
            Event::Cancelled { number: 1, lines: lines.clone(), refused: Vec::new(), reason: String::new() },
            Event::CancelRefused { number: 1, lines, state: State::Done },
            Event::NoticeDue { notice: Notice::PickupReady },
            Event::StockLost { sku: String::new() },
        ];
        let names: std::collections::BTreeSet<_> =
            events.iter().map(|event| type_name(&body(event))).collect();
        assert_eq!(names.len(), events.len());
    }
}
