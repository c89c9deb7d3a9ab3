//! What the timeline says of pieces that a node could not do.

use domain::id::FulfillmentId;
use domain::order::{How, Leg, Need, Order};
use domain::words;

use crate::steps::few;

/// They are looked for.
pub(crate) fn opened(need: &Need) -> String {
    let open = need.open().iter().map(|(_, pieces)| pieces).sum();
    format!("{} looked for elsewhere: {}", are(open), why(&need.reason))
}

/// They are not looked for any more.
pub(crate) fn closed(need: &Need, how: How) -> String {
    let dropped: i64 = need.lines.iter().map(|line| line.dropped).sum();
    let how = match how {
        How::Chosen => "the customer chose so",
        How::NoAnswer => "no answer in time",
        How::Cancelled if dropped == 1 => "it was cancelled",
        How::Cancelled => "they were cancelled",
        How::Expired => "the order expired",
    };
    format!("{} not looked for any more: {how}", are(dropped))
}

/// Pieces with their verb.
fn are(count: i64) -> String {
    format!("{} {}", words::counted(count, "piece"), if count == 1 { "is" } else { "are" })
}

/// Why a node could not do pieces.
fn why(reason: &str) -> String {
    if reason == "STORE_TIMED_OUT" {
        return "the node did not answer in time".to_owned();
    }
    if reason == "HOLD_LOST" {
        return "the hold was lost before the payment".to_owned();
    }
    if reason == "STOCK_LOST" {
        return "the stock was lost".to_owned();
    }
    let named = reason.strip_prefix("REJECTED_").map(|rest| ("the node refused", rest));
    match named.or_else(|| reason.strip_prefix("SHORT_").map(|rest| ("not all was there", rest))) {
        Some((what, rest)) => format!("{what}: {}", words::plain(rest)),
        None => words::plain(reason),
    }
}

/// The nodes that have pieces now: at most three by name.
pub(crate) fn rerouted(order: &Order, legs: &[FulfillmentId]) -> String {
    let legs: Vec<_> = order.legs.iter().filter(|leg| legs.contains(&leg.id)).collect();
    let one = |leg: &&Leg| {
        let count = leg.lines.iter().map(|line| line.units.quantity).sum();
        format!("{} to {}, ready at {}", words::counted(count, "piece"), leg.node, leg.window.start)
    };
    few(&legs, one)
}

/// What the customer is asked.
pub(crate) fn offered(need: &Need) -> String {
    let ways = words::counted(i64::try_from(need.options.len()).unwrap_or(i64::MAX), "way");
    let until = need.asked.map(|asked| format!(", an answer is awaited until {}", asked.resolve_by));
    format!("{ways} out{}", until.unwrap_or_default())
}
