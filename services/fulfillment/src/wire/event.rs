//! Events of fulfillment orders on the topic.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use domain::fulfillment::stage::Name;
use domain::fulfillment::{Collector, Event, MovedLine, RejectReason, ShortReason, Units};
use domain::id::{PromiseToken, derived};
use jiff::Timestamp;
use prost::Message as _;

use super::payment::hand_over_payment;
use super::timestamp;
use super::work::fulfillment_order;
use crate::store::work::Stored;
use crate::work::command::Cancelling;
use crate::work::named::Named;

macro_rules! named {
    ($message:literal) => {
        concat!("entrepot.fulfillment.v1.", $message)
    };
}

/// An event with the fulfillment order as it was right after it.
pub(crate) fn event(
    stored: &Stored,
    event: &Event,
    named: &[Named],
    actor: &str,
    now: Timestamp,
) -> bus::Event {
    let body = body(event, named);
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

/// The answer to what a cancel asks of a leg that no node works on: all of it is cancelled. It is an aggregate of its
/// own, of one event: there is no fulfillment order that could count versions.
pub(crate) fn cancelled_without_work(asked: &Cancelling, actor: &str, now: Timestamp) -> bus::Event {
    let lines = asked.lines.iter().map(|line| pb::FulfillmentLine {
        line: line.line,
        quantity: line.quantity,
        cancelled: line.quantity,
        released: line.quantity,
        ..Default::default()
    });
    let none = derived("fulfillment.none", &format!("{}|{}", asked.leg, asked.number));
    let cancelled = pb::FulfillmentCancelled {
        cancel_number: asked.number,
        lines: units(&asked.lines),
        refused: Vec::new(),
        reason: asked.reason.clone(),
    };
    let message = pb::FulfillmentEvent {
        fulfillment_order: Some(pb::FulfillmentOrder {
            fulfillment_id: asked.leg.to_string(),
            order_id: asked.order.to_string(),
            // Nothing was ever held under it.
            promise_token: PromiseToken::new(none).to_string(),
            state: pb::FulfillmentState::Cancelled.into(),
            lines: lines.collect(),
            update_time: Some(timestamp(now)),
            end_reason: "NO_WORK".to_owned(),
            member_ref: asked.origin.member_ref.clone(),
            journey_id: asked.origin.journey_id.clone(),
            update_actor: actor.to_owned(),
            ..Default::default()
        }),
        body: Some(Body::Cancelled(cancelled)),
    };
    bus::Event {
        topic: bus::Topic::Fulfillment,
        aggregate_type: "fulfillment_order",
        aggregate: none,
        sequence: 1,
        event_type: named!("FulfillmentCancelled"),
        payload: message.encode_to_vec(),
        occurred_at: now,
        actor: actor.to_owned(),
    }
}

/// Units of a claim that were lost before its order came, as they are stored.
pub(crate) fn packed_loss(lost: &[Units]) -> Vec<u8> {
    pb::StockLost { sku: String::new(), lines: units(lost) }.encode_to_vec()
}

/// Units that were stored; none: the bytes are not what [`packed_loss`] makes.
pub(crate) fn unpacked_loss(bytes: &[u8]) -> Option<Vec<Units>> {
    let packed = pb::StockLost::decode(bytes).ok()?;
    Some(packed.lines.iter().map(|line| Units { line: line.line, quantity: line.quantity }).collect())
}

/// What happened, as the wire has it; `named`: which lines, and which parts of kits, a reason is about. Each event has its
/// own arm: one that is new does not compile before it has.
fn body(event: &Event, named: &[Named]) -> Body {
    match event {
        Event::Offered { accept_due } => {
            Body::Offered(pb::FulfillmentOffered { accept_due_time: Some(timestamp(*accept_due)) })
        }
        Event::AtRisk { step, due } => Body::AtRisk(pb::FulfillmentAtRisk {
            step: step.name().to_owned(),
            due_time: Some(timestamp(*due)),
        }),
        Event::Accepted => Body::Accepted(pb::FulfillmentAccepted {}),
        Event::Rejected { reason } => Body::Rejected(pb::FulfillmentRejected {
            reason: reject_reason(*reason).into(),
            lines: named
                .iter()
                .map(|named| pb::RejectedLine { line: named.line, sku: part(named) })
                .collect(),
        }),
        Event::TimedOut => Body::TimedOut(pb::FulfillmentTimedOut {}),
        Event::Moved { from, to, lines, reason, collector: by, payment } => {
            Body::Moved(pb::FulfillmentMoved {
                from: stage(*from),
                to: stage(*to),
                lines: lines.iter().map(|line| moved_line(line, named)).collect(),
                reason: (*reason).to_owned(),
                collector: by.map_or(pb::CollectorKind::Unspecified, collector).into(),
                payment: payment.as_ref().map(hand_over_payment),
            })
        }
        Event::CodeIssued => Body::PickupCodeIssued(pb::PickupCodeIssued {}),
        Event::Expired => Body::PickupExpired(pb::PickupExpired {}),
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
            Body::CustomerNoticeDue(pb::CustomerNoticeDue { template: notice.to_string() })
        }
        Event::DueChanged { why } => {
            Body::DueChanged(pb::FulfillmentDueChanged { reason: why.name().to_owned() })
        }
        Event::StockLost { sku, lines } => {
            Body::StockLost(pb::StockLost { sku: sku.clone(), lines: units(lines) })
        }
        Event::LetGo { lines } => Body::ClaimLetGo(pb::ClaimLetGo { lines: units(lines) }),
        Event::Doubtful { sku, is_over } => {
            Body::StockDoubtful(pb::StockDoubtful { sku: sku.to_string(), is_over: *is_over })
        }
    }
}

/// The part of its kit that a line is named for; empty: the line as a whole.
fn part(named: &Named) -> String {
    named.part.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The name of a message on the topic.
fn type_name(body: &Body) -> &'static str {
    match body {
        Body::Offered(_) => named!("FulfillmentOffered"),
        Body::AtRisk(_) => named!("FulfillmentAtRisk"),
        Body::Accepted(_) => named!("FulfillmentAccepted"),
        Body::Rejected(_) => named!("FulfillmentRejected"),
        Body::TimedOut(_) => named!("FulfillmentTimedOut"),
        Body::Moved(_) => named!("FulfillmentMoved"),
        Body::PickupCodeIssued(_) => named!("PickupCodeIssued"),
        Body::PickupExpired(_) => named!("PickupExpired"),
        Body::PutBackOverdue(_) => named!("PutBackOverdue"),
        Body::Cancelled(_) => named!("FulfillmentCancelled"),
        Body::CancelRefused(_) => named!("CancelRefused"),
        Body::CustomerNoticeDue(_) => named!("CustomerNoticeDue"),
        Body::DueChanged(_) => named!("FulfillmentDueChanged"),
        Body::StockLost(_) => named!("StockLost"),
        Body::StockDoubtful(_) => named!("StockDoubtful"),
        Body::ClaimLetGo(_) => named!("ClaimLetGo"),
        Body::PolicyChanged(_) => named!("PolicyChanged"),
        Body::NodeGroupChanged(_) => named!("NodeGroupChanged"),
        Body::NodeChanged(_) => named!("NodeChanged"),
    }
}

fn collector(collector: Collector) -> pb::CollectorKind {
    match collector {
        Collector::Buyer => pb::CollectorKind::Buyer,
        Collector::Delegate => pb::CollectorKind::Delegate,
    }
}

/// The number of a stage on the wire.
fn stage(stage: Name) -> i32 {
    let name = format!("FULFILLMENT_STAGE_{}", stage.name());
    pb::FulfillmentStage::from_str_name(&name).unwrap_or(pb::FulfillmentStage::Unspecified).into()
}

fn reject_reason(reason: RejectReason) -> pb::RejectReason {
    match reason {
        RejectReason::NotFound => pb::RejectReason::NotFound,
        RejectReason::Damaged => pb::RejectReason::Damaged,
        RejectReason::TooBusy => pb::RejectReason::TooBusy,
        RejectReason::NodeClosed => pb::RejectReason::NodeClosed,
        RejectReason::Other => pb::RejectReason::Other,
        RejectReason::DisplayWorn => pb::RejectReason::DisplayWorn,
        RejectReason::Mismatch => pb::RejectReason::Mismatch,
    }
}

fn moved_line(moved: &MovedLine, named: &[Named]) -> pb::MovedLine {
    let reason = match moved.short {
        None => pb::ShortReason::Unspecified,
        Some((_, ShortReason::NotFound)) => pb::ShortReason::NotFound,
        Some((_, ShortReason::Damaged)) => pb::ShortReason::Damaged,
        Some((_, ShortReason::Other)) => pb::ShortReason::Other,
        Some((_, ShortReason::DisplayWorn)) => pb::ShortReason::DisplayWorn,
        Some((_, ShortReason::Mismatch)) => pb::ShortReason::Mismatch,
    };
    let short = moved.short.map_or(0, |(units, _)| units);
    let (line, quantity) = (moved.line, moved.quantity);
    let named = named.iter().find(|named| short > 0 && named.line == line);
    let sku = named.map(part).unwrap_or_default();
    pb::MovedLine { line, quantity, short, short_reason: reason.into(), sku }
}

fn units(units: &[Units]) -> Vec<pb::HandedOverLine> {
    units.iter().map(|u| pb::HandedOverLine { line: u.line, quantity: u.quantity }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::fulfillment::{DueChange, Notice, State, Step};

    #[test]
    fn every_event_has_a_message_of_its_own() {
        let (due, lines) = (Timestamp::UNIX_EPOCH, vec![Units { line: 1, quantity: 1 }]);
        let events = [
            Event::Offered { accept_due: due },
            Event::AtRisk { step: Step::Accept, due },
            Event::Accepted,
            Event::Rejected { reason: RejectReason::Other },
            Event::TimedOut,
            Event::Moved {
                from: Name::Picking,
                to: Name::Picked,
                lines: vec![MovedLine::of(1, 1)],
                reason: "",
                collector: None,
                payment: None,
            },
            Event::CodeIssued,
            Event::Expired,
            Event::PutBackOverdue { lines: lines.clone() },
            Event::Cancelled { number: 1, lines: lines.clone(), refused: Vec::new(), reason: String::new() },
            Event::CancelRefused { number: 1, lines, state: State::Done },
            Event::NoticeDue { notice: Notice { template: "PICKUP_READY", number: 0 } },
            Event::DueChanged { why: DueChange::Paid },
            Event::StockLost { sku: String::new(), lines: Vec::new() },
            Event::LetGo { lines: Vec::new() },
            Event::Doubtful { sku: domain::id::Sku::new("A").unwrap(), is_over: false },
        ];
        let names: std::collections::BTreeSet<_> =
            events.iter().map(|event| type_name(&body(event, &[]))).collect();
        assert_eq!(names.len(), events.len());
    }

    #[test]
    fn every_stage_has_its_number_on_the_wire() {
        let numbers: std::collections::BTreeSet<i32> = Name::ALL.into_iter().map(stage).collect();
        assert_eq!(numbers.len(), Name::ALL.len());
        assert!(!numbers.contains(&0));
    }
}
