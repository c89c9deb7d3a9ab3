//! The steps of the timeline that come from the order's own events.

use domain::id::LineNo;
use domain::money::Money;
use domain::order::{Event, Order};
use domain::time::Timestamp;
use domain::words;

use crate::store::Note;

/// One step per event that says something to people.
pub(crate) fn of(order: &Order, events: &[Event], actor: &str, now: Timestamp) -> Vec<Note> {
    let steps = events.iter().filter_map(|event| said(order, event));
    steps.map(|(step, text)| note(step, text, actor, now)).collect()
}

/// A step without a place.
pub(crate) fn note(step: &'static str, text: String, actor: &str, at: Timestamp) -> Note {
    Note { step, text, actor: actor.to_owned(), at, node: String::new() }
}

fn said(order: &Order, event: &Event) -> Option<(&'static str, String)> {
    let pieces = |lines| words::counted(pieces(lines), "piece");
    let amount = |minor| Money::new(minor, order.currency);
    let said = match event {
        Event::Placed => {
            let wait = if order.blocks.is_empty() { "" } else { ", waits for payment" };
            ("PLACED", format!("placed for {} at {}{wait}", amount(order.total_minor), nodes(order)))
        }
        Event::Unblocked => ("RELEASED", "released to fulfillment".to_owned()),
        Event::Confirmed => ("CONFIRMED", "the stock is the order's".to_owned()),
        Event::Paid { tender, amount_minor, in_full } => {
            let rest = if *in_full { ", nothing is due" } else { "" };
            ("PAID", format!("{} by {tender}{rest}", amount(*amount_minor)))
        }
        Event::PaymentLapsed { .. } => {
            ("PAYMENT_LAPSED", "not paid in time, the stock was released".to_owned())
        }
        Event::Expired { .. } => ("EXPIRED", "not paid within the grace".to_owned()),
        Event::CancelRequested { number, legs, reason } => {
            let all: Vec<_> = legs.iter().flat_map(|(_, lines)| lines.iter().copied()).collect();
            ("CANCEL_REQUESTED", format!("cancel {number}: {} asked for: {reason}", pieces(&all)))
        }
        Event::Cancelled { reason, .. } => {
            let all = words::counted(order.buckets().cancelled, "piece");
            ("CANCELLED", format!("{all} cancelled in all: {reason}"))
        }
        Event::Progressed { .. } => return None,
        Event::Completed => ("COMPLETED", "every piece is delivered or cancelled".to_owned()),
        Event::RefundRequested(refund) => {
            ("REFUND_REQUESTED", format!("{} asked back: {}", amount(refund.amount_minor), refund.reason))
        }
    };
    Some(said)
}

/// The nodes that serve the order: at most three by name.
fn nodes(order: &Order) -> String {
    let mut nodes: Vec<&str> = Vec::new();
    for leg in order.legs.iter().filter(|leg| leg.is_live()) {
        if !nodes.contains(&leg.node.as_str()) {
            nodes.push(leg.node.as_str());
        }
    }
    match nodes.as_slice() {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
        few => few.join(", "),
    }
}

fn pieces(lines: &[(LineNo, i64)]) -> i64 {
    lines.iter().map(|(_, pieces)| pieces).sum()
}
