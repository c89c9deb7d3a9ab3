//! What fulfillment reports, as the order follows it.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use domain::id::{FulfillmentId, OrderId};
use domain::order::{Answer, Snapshot, WorkReport};
use domain::words::{counted, plain};
use service::Fault;

use crate::error::Error;

/// A report of a node, with its text for the timeline.
#[derive(Debug, Clone)]
pub(crate) struct NodeReport {
    pub(crate) order: OrderId,
    pub(crate) report: WorkReport,
    pub(crate) step: &'static str,
    pub(crate) text: String,
    pub(crate) node: String,
}

pub(crate) fn report(event: pb::FulfillmentEvent) -> Result<NodeReport, Error> {
    let unreadable = |what: &str| Error::from(Fault::Unreadable(format!("fulfillment event: {what}")));
    let Some(fo) = event.fulfillment_order else { return Err(unreadable("without a fulfillment order")) };
    let Some(body) = event.body else { return Err(unreadable("without a body")) };
    let order: OrderId = fo.order_id.parse().map_err(|_| unreadable("order_id"))?;
    let fulfillment: FulfillmentId = fo.fulfillment_id.parse().map_err(|_| unreadable("fulfillment_id"))?;
    let accepted = is_accepted(fo.state());
    let lines = fo.lines.iter().map(|line| Snapshot {
        line: line.line,
        accepted,
        quantity: line.quantity,
        to_pick: line.to_pick,
        picked: line.picked,
        ready: line.ready,
        done: line.done,
        short: line.short,
        cancelled: line.cancelled,
    });
    let (step, text) = words(&body);
    let answer = answer(&body);
    let report =
        WorkReport { fulfillment, lines: lines.collect(), reason: reason(&body, &fo.end_reason), answer };
    Ok(NodeReport { order, report, step, text, node: fo.node_id })
}

fn is_accepted(state: pb::FulfillmentState) -> bool {
    match state {
        pb::FulfillmentState::Unspecified | pb::FulfillmentState::Planned | pb::FulfillmentState::Offered => {
            false
        }
        pb::FulfillmentState::Accepted
        | pb::FulfillmentState::Picking
        | pb::FulfillmentState::Packed
        | pb::FulfillmentState::ReadyForPickup
        | pb::FulfillmentState::AwaitingCourier
        | pb::FulfillmentState::PartlyCollected
        | pb::FulfillmentState::InDelivery
        | pb::FulfillmentState::Done
        | pb::FulfillmentState::Rejected
        | pb::FulfillmentState::TimedOut
        | pb::FulfillmentState::Short
        | pb::FulfillmentState::Cancelled
        | pb::FulfillmentState::Restocked
        | pb::FulfillmentState::Lost => true,
    }
}

fn answer(body: &Body) -> Option<Answer> {
    let pieces = |lines: &[pb::HandedOverLine]| {
        lines.iter().map(|line| (line.line, line.quantity)).collect::<Vec<_>>()
    };
    match body {
        Body::Cancelled(granted) => {
            let mut lines = pieces(&granted.lines);
            lines.extend(pieces(&granted.refused));
            Some(Answer { lines })
        }
        Body::CancelRefused(refused) => Some(Answer { lines: pieces(&refused.lines) }),
        Body::Offered(_)
        | Body::Accepted(_)
        | Body::Rejected(_)
        | Body::TimedOut(_)
        | Body::PickingStarted(_)
        | Body::LinesPicked(_)
        | Body::Ready(_)
        | Body::PickupCodeIssued(_)
        | Body::HandedOver(_)
        | Body::PickupExpired(_)
        | Body::PutBackConfirmed(_)
        | Body::PutBackOverdue(_)
        | Body::CustomerNoticeDue(_)
        | Body::AtRisk(_)
        | Body::StockLost(_) => None,
    }
}

/// Why pieces that this event ended are not delivered.
fn reason(body: &Body, end_reason: &str) -> String {
    let otherwise = if end_reason.is_empty() { "FULFILLMENT_ENDED" } else { end_reason };
    match body {
        Body::Rejected(rejected) => {
            let name = rejected.reason().as_str_name();
            format!("REJECTED_{}", name.strip_prefix("REJECT_REASON_").unwrap_or(name))
        }
        Body::TimedOut(_) => "STORE_TIMED_OUT".to_owned(),
        Body::LinesPicked(picked) => {
            let short = picked.lines.iter().find(|line| line.short > 0);
            let name = short.map_or("", |line| line.short_reason().as_str_name());
            format!("SHORT_{}", name.strip_prefix("SHORT_REASON_").unwrap_or("OTHER"))
        }
        Body::Cancelled(cancelled) => cancelled.reason.clone(),
        Body::PutBackConfirmed(_) | Body::PutBackOverdue(_) | Body::PickupExpired(_) => {
            "NOT_COLLECTED".to_owned()
        }
        Body::StockLost(_) => "STOCK_LOST".to_owned(),
        Body::Offered(_)
        | Body::Accepted(_)
        | Body::PickingStarted(_)
        | Body::Ready(_)
        | Body::PickupCodeIssued(_)
        | Body::HandedOver(_)
        | Body::CancelRefused(_)
        | Body::CustomerNoticeDue(_)
        | Body::AtRisk(_) => otherwise.to_owned(),
    }
}

/// The name of a number on the wire, in words and without what all names of its kind begin with.
fn spoken(name: &str, prefix: &str) -> String {
    plain(name.strip_prefix(prefix).unwrap_or(name))
}

/// The step and the words for the timeline.
fn words(body: &Body) -> (&'static str, String) {
    match body {
        Body::Offered(_) => ("OFFERED", "offered to the node".to_owned()),
        Body::Accepted(_) => ("ACCEPTED", "the node accepted the work".to_owned()),
        Body::Rejected(r) => {
            ("REJECTED", format!("the node refused: {}", spoken(r.reason().as_str_name(), "REJECT_REASON_")))
        }
        Body::TimedOut(_) => ("TIMED_OUT", "the node did not answer in time".to_owned()),
        Body::PickingStarted(_) => ("PICKING", "picking began".to_owned()),
        Body::LinesPicked(p) => {
            let picked: i64 = p.lines.iter().map(|line| line.picked).sum();
            let short: i64 = p.lines.iter().map(|line| line.short).sum();
            let short = if short > 0 { format!(", {short} short") } else { String::new() };
            ("PICKED", format!("{} picked{short}", counted(picked, "piece")))
        }
        Body::Ready(_) => ("READY", "ready for the customer".to_owned()),
        Body::PickupCodeIssued(_) => ("CODE_ISSUED", "a pickup code was issued".to_owned()),
        Body::HandedOver(h) => {
            let pieces: i64 = h.lines.iter().map(|line| line.quantity).sum();
            let to = match h.collector() {
                pb::CollectorKind::Unspecified => String::new(),
                kind => format!(" to the {}", spoken(kind.as_str_name(), "COLLECTOR_KIND_")),
            };
            ("HANDED_OVER", format!("{} handed over{to}", counted(pieces, "piece")))
        }
        Body::PickupExpired(_) => ("NOT_COLLECTED", "not collected in time".to_owned()),
        Body::PutBackConfirmed(p) => ("PUT_BACK", format!("back on the shelf: {}", plain(&p.reason))),
        Body::PutBackOverdue(_) => ("PUT_BACK_OVERDUE", "not put back in time, to be counted".to_owned()),
        Body::Cancelled(c) => {
            let granted: i64 = c.lines.iter().map(|line| line.quantity).sum();
            let refused: i64 = c.refused.iter().map(|line| line.quantity).sum();
            let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
            let granted = counted(granted, "piece");
            ("CANCEL_GRANTED", format!("cancel {}: {granted} cancelled{refused}", c.cancel_number))
        }
        Body::CancelRefused(c) => {
            ("CANCEL_REFUSED", format!("cancel {} refused: {}", c.cancel_number, plain(&c.reason)))
        }
        Body::CustomerNoticeDue(n) => {
            ("NOTICE_DUE", format!("the customer is to be notified: {}", plain(&n.template)))
        }
        Body::AtRisk(r) => ("AT_RISK", format!("80 % of the time to {} is gone", plain(&r.step))),
        Body::StockLost(s) => ("STOCK_LOST", format!("the stock of {} was lost", s.sku)),
    }
}
