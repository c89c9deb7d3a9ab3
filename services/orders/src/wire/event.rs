//! Events as messages of the topic. No prices of lines, no people.

use bus::Topic;
use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use contract::r#type::v1::LineQuantity;
use domain::id::{FulfillmentId, LineNo};
use domain::order::spread::LegParts;
use domain::order::{Event, Leg, LegDue, Line, Move, Order};
use domain::time::Timestamp;
use prost::Message as _;

use super::order::{blocks, buckets, status, wishes};
use super::origin::attribution;
use super::{method, money, money_event, need_event, time, window};

/// The aggregate type of all our events.
pub(crate) const AGGREGATE: &str = "order";

/// The most bytes of an event, with the longest SKUs in any script but those whose characters have four bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The most bytes of the name of a line of work.
const MAX_NAME_BYTES: usize = 120;

/// An event of an order, as the bus takes it. `sequence` is its version; the order is as it is after the transaction.
pub(crate) fn event(order: &Order, what: &Event, sequence: i64, actor: &str, now: Timestamp) -> bus::Event {
    let (event_type, body) = body(order, what);
    let mut message = pb::OrderEvent {
        order_id: order.id.to_string(),
        version: sequence,
        status: status(order.status()).into(),
        member_ref: order.origin.member_ref.clone(),
        journey_id: order.origin.journey_id.clone(),
        attribution: attribution(&order.origin.attribution),
        body: Some(body),
    };
    if message.encoded_len() > MAX_BYTES {
        leave_names_out(&mut message);
    }
    bus::Event {
        topic: Topic::Orders,
        aggregate_type: AGGREGATE,
        aggregate: order.id.uuid(),
        sequence,
        event_type,
        payload: message.encode_to_vec(),
        occurred_at: now,
        actor: actor.to_owned(),
    }
}

/// The full name of an event's message, and the message.
fn body(order: &Order, what: &Event) -> (&'static str, Body) {
    match what {
        Event::Placed => ("entrepot.orders.v1.OrderPlaced", placed(order)),
        Event::Unblocked => {
            let unblocked = pb::OrderUnblocked { work: work(order, |_| true) };
            ("entrepot.orders.v1.OrderUnblocked", Body::Unblocked(unblocked))
        }
        Event::Confirmed => ("entrepot.orders.v1.OrderConfirmed", Body::Confirmed(pb::OrderConfirmed {})),
        Event::Paid { tender, state, amount_minor, in_full } => {
            let paid = money_event::paid(order, tender, *state, *amount_minor, *in_full);
            ("entrepot.orders.v1.OrderPaid", paid)
        }
        Event::DueChanged => {
            let changed = pb::OrderDueChanged { work: money_event::dues(order) };
            ("entrepot.orders.v1.OrderDueChanged", Body::DueChanged(changed))
        }
        Event::PaymentLapsed { legs } => {
            let lapsed = pb::OrderPaymentLapsed { fulfillment_ids: ids(legs) };
            ("entrepot.orders.v1.OrderPaymentLapsed", Body::PaymentLapsed(lapsed))
        }
        Event::Expired { legs, reason } => {
            let expired = pb::OrderExpired { fulfillment_ids: ids(legs), reason: reason.clone() };
            ("entrepot.orders.v1.OrderExpired", Body::Expired(expired))
        }
        Event::CancelRequested { number, legs, reason } => {
            ("entrepot.orders.v1.OrderCancelRequested", cancel_requested(*number, legs, reason))
        }
        Event::Cancelled { lines, reason, legs, let_go } => {
            ("entrepot.orders.v1.OrderCancelled", cancelled(lines, reason, legs, let_go))
        }
        Event::Progressed { lines } => {
            let changed = order.lines.iter().filter(|line| lines.contains(&line.no));
            let progressed = pb::OrderProgressed { lines: changed.map(progress).collect() };
            ("entrepot.orders.v1.OrderProgressed", Body::Progressed(progressed))
        }
        Event::Completed => ("entrepot.orders.v1.OrderCompleted", Body::Completed(pb::OrderCompleted {})),
        Event::RefundRequested { refund, parts } => {
            ("entrepot.orders.v1.RefundRequested", money_event::refund_requested(order, refund, parts))
        }
        Event::PromiseMoved { moves } => {
            let moves = moves.iter().map(promise_move).collect();
            let moved = pb::OrderPromiseMoved { moves };
            ("entrepot.orders.v1.OrderPromiseMoved", Body::PromiseMoved(moved))
        }
        Event::RefundReported { refund, part } => {
            ("entrepot.orders.v1.RefundReported", money_event::refund_reported(order, refund, part))
        }
        Event::VoidRequested { tender, amount_minor, left_minor, provider_ref, reason, lines } => {
            let amounts = [*amount_minor, *left_minor];
            let asked = money_event::void_requested(order, [tender, provider_ref], amounts, reason, lines);
            ("entrepot.orders.v1.OrderVoidRequested", asked)
        }
        Event::PaymentLost { tender, amount_minor, state, legs } => {
            let lost = money_event::payment_lost(order, tender, *amount_minor, *state, legs);
            ("entrepot.orders.v1.OrderPaymentLost", lost)
        }
        Event::ExcessPaid { tender, amount_minor, provider_ref, refund } => {
            let paid = money_event::excess_paid(order, tender, *amount_minor, provider_ref, *refund);
            ("entrepot.orders.v1.OrderExcessPaid", paid)
        }
        Event::NeedOpened { need } => need_event::opened(order, need),
        Event::Rerouted { need, legs, let_go } => need_event::rerouted(order, need, legs, let_go),
        Event::OptionsOffered { need, let_go } => need_event::offered(order, need, let_go),
        Event::NeedClosed { need, how, let_go } => need_event::closed(order, need, *how, let_go),
        Event::MoneyChanged { tenders } => {
            ("entrepot.orders.v1.OrderMoneyChanged", money_event::money_changed(order, tenders))
        }
        Event::TenderAdded { tender } => {
            ("entrepot.orders.v1.OrderTenderAdded", money_event::tender_added(order, tender))
        }
    }
}

fn placed(order: &Order) -> Body {
    Body::Placed(pb::OrderPlaced {
        work: work(order, |_| true),
        blocks: blocks(order),
        total: Some(money(order.total_minor, order.currency)),
        payment_due_time: order.payment_due_at.map(time),
    })
}

fn cancel_requested(number: i64, legs: &LegParts, reason: &str) -> Body {
    let (legs, reason) = (parts(legs), reason.to_owned());
    Body::CancelRequested(pb::OrderCancelRequested { cancel_number: number, legs, reason })
}

fn cancelled(lines: &[(LineNo, i64)], reason: &str, legs: &[FulfillmentId], let_go: &LegParts) -> Body {
    Body::Cancelled(pb::OrderCancelled {
        lines: pieces(lines),
        reason: reason.to_owned(),
        fulfillment_ids: ids(legs),
        let_go: parts(let_go),
    })
}

/// Pieces leg by leg.
pub(super) fn parts(legs: &LegParts) -> Vec<pb::LegCancel> {
    let leg = |(id, lines): &(FulfillmentId, Vec<(LineNo, i64)>)| pb::LegCancel {
        fulfillment_id: id.to_string(),
        lines: pieces(lines),
    };
    legs.iter().map(leg).collect()
}

/// What nodes are asked to do, for the wanted legs.
pub(super) fn work(order: &Order, wanted: impl Fn(&Leg) -> bool) -> Vec<pb::WorkRequest> {
    let dues = order.dues();
    let legs = order.work().filter(|leg| wanted(leg));
    legs.map(|leg| work_of(order, leg, dues.iter().find(|due| due.leg == leg.id))).collect()
}

/// `due` is what is due at the handovers of the leg; none: nothing is paid there.
fn work_of(order: &Order, leg: &Leg, due: Option<&LegDue>) -> pb::WorkRequest {
    let amount = |minor| money(minor, order.currency);
    let due_of = |no: LineNo| {
        let line = due?.lines.iter().find(|(line, _)| *line == no);
        line.map(|(_, minor)| amount(*minor))
    };
    let lines = leg.lines.iter().filter(|part| part.units.quantity > 0);
    let line = |(line, quantity): (&Line, i64)| pb::WorkLine {
        line: line.no,
        sku: line.sku.to_string(),
        name: cut(&line.name).to_owned(),
        quantity,
        due: due_of(line.no),
    };
    let lines = lines.filter_map(|part| order.line(part.line).zip(Some(part.units.quantity))).map(line);
    let wishes = wishes(order.group(leg.group));
    let recipient = wishes.recipient.unwrap_or_default();
    pb::WorkRequest {
        fulfillment_id: leg.id.to_string(),
        promise_token: leg.token.map(|token| token.to_string()).unwrap_or_default(),
        group: leg.group,
        method: method(leg.method),
        node_id: leg.node.to_string(),
        lines: lines.collect(),
        window: Some(window(leg.window)),
        due: due.filter(|due| due.due_minor > 0).map(|due| amount(due.due_minor)),
        packaging: wishes.packaging,
        recipient: recipient.kind,
        recipient_refs: recipient.recipient_refs,
        channel: order.channel.clone(),
        channel_order_id: order.channel_order_id.clone(),
        // members have no tiers yet
        tier: 0,
        offer_number: i32::try_from(order.offer_number(leg)).unwrap_or(i32::MAX),
        payment_terms: super::order::terms(order.terms).into(),
    }
}

/// The beginning of a name, cut between two characters.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// Names are for the pick list; a very large order does without them on the topic.
fn leave_names_out(message: &mut pb::OrderEvent) {
    let work = match &mut message.body {
        Some(Body::Placed(placed)) => &mut placed.work,
        Some(Body::Unblocked(unblocked)) => &mut unblocked.work,
        Some(Body::Rerouted(rerouted)) => &mut rerouted.work,
        _ => return,
    };
    work.iter_mut().flat_map(|work| &mut work.lines).for_each(|line| line.name.clear());
}

fn promise_move(to: &Move) -> pb::PromiseMove {
    pb::PromiseMove {
        group: to.group,
        from: Some(window(to.from)),
        to: Some(window(to.to)),
        node_id: to.node.to_string(),
    }
}

pub(super) fn ids(legs: &[FulfillmentId]) -> Vec<String> {
    legs.iter().map(ToString::to_string).collect()
}

fn progress(line: &Line) -> pb::ProgressLine {
    pb::ProgressLine { line: line.no, buckets: Some(buckets(&line.buckets)) }
}

pub(super) fn pieces(lines: &[(LineNo, i64)]) -> Vec<LineQuantity> {
    lines.iter().map(|(line, quantity)| LineQuantity { line: *line, quantity: *quantity }).collect()
}
