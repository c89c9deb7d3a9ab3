//! The steps of the timeline that come from the order's own events.

use domain::id::LineNo;
use domain::money::Money;
use domain::order::{Event, Move, Order, Refund, RefundPart, RefundState, TenderState};
use domain::time::Timestamp;
use domain::words;

use crate::need_steps;
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
            let wait = if order.is_released() { "" } else { ", waits for payment" };
            let at = if order.legs.is_empty() { String::new() } else { format!(" at {}", nodes(order)) };
            ("PLACED", format!("placed for {}{at}{wait}", amount(order.total_minor)))
        }
        Event::Unblocked => ("RELEASED", "released to fulfillment".to_owned()),
        Event::Confirmed => ("CONFIRMED", "the stock is the order's".to_owned()),
        Event::Paid { tender, state, amount_minor, in_full } => {
            let rest = if *in_full { ", nothing is due" } else { "" };
            let step = if *state == TenderState::Authorized { "AUTHORIZED" } else { "PAID" };
            (step, format!("{} by {tender}{rest}", amount(*amount_minor)))
        }
        Event::DueChanged => {
            let due = (order.owed_minor() - order.ledger.held()).max(0);
            ("DUE_CHANGED", format!("{} in all is due at handovers", amount(due)))
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
        Event::Progressed { .. } | Event::MoneyChanged { .. } => return None,
        Event::Completed => ("COMPLETED", "every piece is delivered or cancelled".to_owned()),
        Event::RefundRequested { refund, parts } => ("REFUND_REQUESTED", asked_back(order, refund, parts)),
        Event::PromiseMoved { moves } => ("PROMISE_MOVED", words_of(moves)),
        Event::RefundReported { part, .. } => return reported(order, part),
        Event::VoidRequested { tender, amount_minor, left_minor, provider_ref, reason, .. } => {
            let rest = if *left_minor > 0 {
                format!("{} may be captured", amount(*left_minor))
            } else {
                "void it".to_owned()
            };
            let by = by(tender, provider_ref);
            ("VOID_REQUESTED", format!("{} by {by} not needed, {rest}: {reason}", amount(*amount_minor)))
        }
        Event::PaymentLost { tender, amount_minor, legs, .. } => {
            let stop = if legs.is_empty() { "" } else { "; nothing is handed over until it is paid again" };
            ("PAYMENT_LOST", format!("{} by {tender} is gone{stop}", amount(*amount_minor)))
        }
        Event::ExcessPaid { tender, amount_minor, provider_ref, .. } => {
            let by = by(tender, provider_ref);
            ("EXCESS_PAID", format!("{} by {by} too much, goes back", amount(*amount_minor)))
        }
        Event::TenderAdded { tender } => ("TENDER_ADDED", added(order, tender)),
        Event::NeedOpened { need } => ("NEED_OPENED", need_steps::opened(need)),
        Event::Rerouted { legs, .. } => ("REROUTED", need_steps::rerouted(order, legs)),
        Event::OptionsOffered { need, .. } => ("OPTIONS_OFFERED", need_steps::offered(need)),
        Event::NeedClosed { need, how, .. } => ("NEED_DROPPED", need_steps::closed(need, *how)),
    };
    Some(said)
}

/// A tender, with the provider's reference if there is one.
fn by(tender: &str, provider_ref: &str) -> String {
    if provider_ref.is_empty() { tender.to_owned() } else { format!("{tender} ({provider_ref})") }
}

/// What is asked back by which tenders, and how often it was asked for before.
fn asked_back(order: &Order, refund: &Refund, parts: &[RefundPart]) -> String {
    let sum = parts.iter().map(|part| part.amount_minor).sum();
    let mut by: Vec<&str> = parts.iter().map(|part| part.tender.as_str()).collect();
    by.dedup();
    let again = match parts.iter().map(|part| part.attempt).max() {
        Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
        Some(_) | None => String::new(),
    };
    format!("{} asked back by {}{again}: {}", Money::new(sum, order.currency), by.join(", "), refund.reason)
}

/// What became of a part of a refund. That it goes elsewhere is a step of who decided it.
fn reported(order: &Order, part: &RefundPart) -> Option<(&'static str, String)> {
    let (amount, tender) = (Money::new(part.amount_minor, order.currency), &part.tender);
    let said = if part.report_ref.is_empty() { String::new() } else { format!(" ({})", part.report_ref) };
    match part.state {
        RefundState::Done => Some(("REFUND_DONE", format!("{amount} paid back by {tender}{said}"))),
        RefundState::Failed => Some((
            "REFUND_FAILED",
            format!("{amount} by {tender} not paid back{said}, attempt {}", part.attempt),
        )),
        RefundState::FailedPermanent => {
            let text = format!("{amount} by {tender} not paid back after {} attempts{said}", part.attempt);
            Some(("REFUND_FAILED_PERMANENT", text))
        }
        RefundState::Pending | RefundState::Redirected => None,
    }
}

/// A tender that was added.
fn added(order: &Order, id: &str) -> String {
    let tender = order.ledger.tenders.iter().find(|tender| tender.id == id);
    let amount = Money::new(tender.map_or(0, |tender| tender.amount_minor), order.currency);
    format!("{amount} by {id} ({})", tender.map_or("", |tender| tender.kind.as_str()))
}

/// Where promises moved to: at most three by name.
fn words_of(moves: &[Move]) -> String {
    let one = |to: &Move| {
        format!("group {}: ready at {} instead of {}, at {}", to.group, to.to.start, to.from.start, to.node)
    };
    few(moves, one)
}

/// At most three in words, and how many more there are.
pub(crate) fn few<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    let few: Vec<String> = all.iter().take(3).map(one).collect();
    let more = all.len().saturating_sub(3);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", few.join("; "))
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
