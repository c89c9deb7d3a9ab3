//! Events as messages of the topic. No prices of lines, no people.

use bus::Topic;
use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use domain::id::LineNo;
use domain::order::{Event, Line, Order};
use domain::time::Timestamp;
use prost::Message as _;

use super::order::{blocks, buckets, refund, status};
use super::{method, money, time};

/// The aggregate type of all our events.
pub(crate) const AGGREGATE: &str = "order";

/// An event of an order, as the bus takes it. `sequence` is its version; the order is as it is after the transaction.
pub(crate) fn event(order: &Order, what: &Event, sequence: i64, actor: &str, now: Timestamp) -> bus::Event {
    let (event_type, body) = body(order, what);
    let message = pb::OrderEvent {
        order_id: order.id.to_string(),
        version: sequence,
        status: status(order.status()).into(),
        body: Some(body),
    };
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

fn body(order: &Order, what: &Event) -> (&'static str, Body) {
    match what {
        Event::Placed => {
            let placed = pb::OrderPlaced {
                work: Some(work(order)),
                blocks: blocks(order),
                total: Some(money(order.total_minor, order.currency)),
                payment_due_time: order.payment_due_at.map(time),
            };
            ("entrepot.orders.v1.OrderPlaced", Body::Placed(placed))
        }
        Event::Unblocked => {
            let unblocked = pb::OrderUnblocked { work: Some(work(order)) };
            ("entrepot.orders.v1.OrderUnblocked", Body::Unblocked(unblocked))
        }
        Event::Confirmed => ("entrepot.orders.v1.OrderConfirmed", Body::Confirmed(pb::OrderConfirmed {})),
        Event::Paid { tender, amount_minor, in_full } => {
            let amount = Some(money(*amount_minor, order.currency));
            let paid = pb::OrderPaid { tender_id: tender.clone(), amount, in_full: *in_full };
            ("entrepot.orders.v1.OrderPaid", Body::Paid(paid))
        }
        Event::PaymentLapsed { token } => {
            let lapsed = pb::OrderPaymentLapsed { promise_token: token.to_string() };
            ("entrepot.orders.v1.OrderPaymentLapsed", Body::PaymentLapsed(lapsed))
        }
        Event::Expired { token } => {
            let expired = pb::OrderExpired { promise_token: token.to_string() };
            ("entrepot.orders.v1.OrderExpired", Body::Expired(expired))
        }
        Event::CancelRequested { number, lines, reason } => {
            let lines = pieces(lines);
            let asked = pb::OrderCancelRequested { cancel_number: *number, lines, reason: reason.clone() };
            ("entrepot.orders.v1.OrderCancelRequested", Body::CancelRequested(asked))
        }
        Event::Cancelled { lines, reason, token } => {
            let promise_token = token.map(|t| t.to_string()).unwrap_or_default();
            let cancelled =
                pb::OrderCancelled { lines: pieces(lines), reason: reason.clone(), promise_token };
            ("entrepot.orders.v1.OrderCancelled", Body::Cancelled(cancelled))
        }
        Event::Progressed { lines } => {
            let changed = order.lines.iter().filter(|line| lines.contains(&line.no));
            let progressed = pb::OrderProgressed { lines: changed.map(progress).collect() };
            ("entrepot.orders.v1.OrderProgressed", Body::Progressed(progressed))
        }
        Event::Completed => ("entrepot.orders.v1.OrderCompleted", Body::Completed(pb::OrderCompleted {})),
        Event::RefundRequested(asked) => {
            let lines = pieces(&asked.lines);
            let requested = pb::RefundRequested { refund: Some(refund(asked, order)), lines };
            ("entrepot.orders.v1.RefundRequested", Body::RefundRequested(requested))
        }
    }
}

/// What a node is asked to do: what is left of the lines.
fn work(order: &Order) -> pb::WorkRequest {
    let left = order.lines.iter().filter(|line| line.buckets.cancellable() > 0);
    let lines = left.map(|line| pb::WorkLine {
        line: line.no,
        sku: line.sku.to_string(),
        name: line.name.clone(),
        quantity: line.buckets.cancellable(),
    });
    pb::WorkRequest {
        promise_token: order.promise.token.to_string(),
        method: method(order.promise.method),
        node_id: order.promise.node.to_string(),
        lines: lines.collect(),
        promised_time: Some(time(order.promise.promised_at)),
        channel: order.channel.clone(),
        channel_order_id: order.channel_order_id.clone(),
    }
}

fn progress(line: &Line) -> pb::ProgressLine {
    pb::ProgressLine { line: line.no, buckets: Some(buckets(&line.buckets)) }
}

fn pieces(lines: &[(LineNo, i64)]) -> Vec<pb::CancelLine> {
    lines.iter().map(|(line, quantity)| pb::CancelLine { line: *line, quantity: *quantity }).collect()
}
