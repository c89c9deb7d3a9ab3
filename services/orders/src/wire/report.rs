//! What fulfillment reports, as the order follows it.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use domain::id::{FulfillmentId, OrderId};
use domain::money::{Currency, Money};
use domain::order::{Answer, Collected, LegUnits, WorkReport};
use domain::words::{counted, plain};
use service::Fault;

use crate::error::Error;

/// Why an answer comes from nobody: no node ever had the work.
const NO_WORK: &str = "NO_WORK";

/// A report of a node, with its text for the timeline.
#[derive(Debug, Clone)]
pub(crate) struct NodeReport {
    pub(crate) order: OrderId,
    pub(crate) report: WorkReport,
    /// Of what was paid at the handover.
    pub(crate) currency: Option<Currency>,
    /// Empty: nothing that the timeline shows.
    pub(crate) step: &'static str,
    pub(crate) text: String,
    pub(crate) node: String,
}

pub(crate) fn report(event: pb::FulfillmentEvent) -> Result<NodeReport, Error> {
    let unreadable = |what: &str| Error::from(Fault::Unreadable(format!("fulfillment event: {what}")));
    let Some(fo) = event.fulfillment_order else { return Err(unreadable("without a fulfillment order")) };
    let Some(body) = event.body else { return Err(unreadable("without a body")) };
    let order: OrderId = fo.order_id.parse().map_err(|_| unreadable("order_id"))?;
    let leg: FulfillmentId = fo.fulfillment_id.parse().map_err(|_| unreadable("fulfillment_id"))?;
    let is_without_work = fo.end_reason == NO_WORK;
    let units = |line: &pb::FulfillmentLine| LegUnits {
        quantity: line.quantity,
        to_pick: line.to_pick,
        picked: line.picked,
        packed: line.packed,
        ready: line.ready,
        in_custody: line.in_custody,
        done: line.done,
        short: line.short,
        given_up: line.given_up,
        cancelled: line.cancelled,
        returned: line.returned,
        lost: line.lost,
        ..LegUnits::default()
    };
    // Work that never came has no lines but those that it was asked for.
    let lines = fo.lines.iter().filter(|_| !is_without_work).map(|line| (line.line, units(line)));
    let Entry { step, text, reason, answer } = entry_of(&body);
    let ended =
        || if fo.end_reason.is_empty() { "FULFILLMENT_ENDED".to_owned() } else { fo.end_reason.clone() };
    let reason = reason.unwrap_or_else(ended);
    let payment = if let Body::Moved(moved) = &body { moved.payment.as_ref() } else { None };
    let paid = payment.map(|payment| collected(payment).ok_or_else(|| unreadable("payment"))).transpose()?;
    let (paid, currency) = paid.unzip();
    let report = WorkReport {
        leg,
        version: fo.version,
        is_accepted: is_accepted(fo.state()),
        actor: fo.update_actor,
        lines: lines.collect(),
        reason,
        answer,
        paid,
        is_without_work,
    };
    Ok(NodeReport { order, report, currency, step, text, node: fo.node_id })
}

/// What was paid at a handover, and in which currency.
fn collected(payment: &pb::HandOverPayment) -> Option<(Collected, Currency)> {
    let amount = payment.amount.as_ref()?;
    let currency = Currency::new(&amount.currency_code).ok()?;
    let amount_minor = Money::from_units(amount.units, amount.nanos, currency).ok()?.minor;
    let paid =
        Collected { kind: payment.kind.clone(), amount_minor, provider_ref: payment.provider_ref.clone() };
    (amount_minor > 0).then_some((paid, currency))
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

/// The name of a number on the wire, in words and without what all names of its kind begin with.
fn spoken(name: &str, prefix: &str) -> String {
    plain(name.strip_prefix(prefix).unwrap_or(name))
}

/// What an event says besides the quantities, which are in its snapshot.
struct Entry {
    /// The step and the words for the timeline.
    step: &'static str,
    text: String,
    /// Why pieces that ended are not delivered; none: as the fulfillment order says.
    reason: Option<String>,
    /// The answer to a cancel.
    answer: Option<Answer>,
}

impl Entry {
    fn step(step: &'static str, text: impl Into<String>) -> Self {
        Self { step, text: text.into(), reason: None, answer: None }
    }

    fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    fn answers(self, granted: &[pb::HandedOverLine], refused: &[pb::HandedOverLine]) -> Self {
        let [granted, refused] =
            [granted, refused].map(|lines| lines.iter().map(|line| (line.line, line.quantity)).collect());
        Self { answer: Some(Answer { granted, refused }), ..self }
    }
}

fn entry_of(body: &Body) -> Entry {
    match body {
        Body::Offered(_) => Entry::step("OFFERED", "offered to the node"),
        Body::Accepted(_) => Entry::step("ACCEPTED", "the node accepted the work"),
        Body::Rejected(r) => {
            let name = r.reason().as_str_name();
            Entry::step("REJECTED", format!("the node refused: {}", spoken(name, "REJECT_REASON_")))
                .because(format!("REJECTED_{}", name.strip_prefix("REJECT_REASON_").unwrap_or(name)))
        }
        Body::TimedOut(_) => {
            Entry::step("TIMED_OUT", "the node did not answer in time").because("STORE_TIMED_OUT")
        }
        Body::Moved(moved) => entry_of_move(moved),
        Body::PickupCodeIssued(_) => Entry::step("CODE_ISSUED", "a pickup code was issued"),
        Body::PickupExpired(_) => {
            Entry::step("NOT_COLLECTED", "not collected in time").because("NOT_COLLECTED")
        }
        Body::PutBackOverdue(_) => {
            Entry::step("PUT_BACK_OVERDUE", "not put back in time, to be counted").because("NOT_COLLECTED")
        }
        Body::Cancelled(c) => {
            let granted: i64 = c.lines.iter().map(|line| line.quantity).sum();
            let refused: i64 = c.refused.iter().map(|line| line.quantity).sum();
            let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
            let granted = counted(granted, "piece");
            Entry::step("CANCEL_GRANTED", format!("cancel {}: {granted} cancelled{refused}", c.cancel_number))
                .because(c.reason.as_str())
                .answers(&c.lines, &c.refused)
        }
        Body::CancelRefused(c) => {
            Entry::step("CANCEL_REFUSED", format!("cancel {} refused: {}", c.cancel_number, plain(&c.reason)))
                .answers(&[], &c.lines)
        }
        Body::CustomerNoticeDue(n) => {
            Entry::step("NOTICE_DUE", format!("the customer is to be notified: {}", plain(&n.template)))
        }
        Body::AtRisk(r) => Entry::step("AT_RISK", format!("most of the time to {} is used", plain(&r.step))),
        Body::DueChanged(d) => {
            let text = match d.reason.as_str() {
                "PAYMENT_LOST" => "the node hands nothing over until the order is paid again".to_owned(),
                reason => format!("the node knows what is due at the handover: {}", plain(reason)),
            };
            Entry::step("DUE_CHANGED", text)
        }
        // For the store's screen and inventory alone, or about no order at all.
        Body::StockDoubtful(_)
        | Body::ClaimLetGo(_)
        | Body::PolicyChanged(_)
        | Body::NodeGroupChanged(_)
        | Body::NodeChanged(_) => Entry::step("", ""),
        Body::StockLost(s) => {
            Entry::step("STOCK_LOST", format!("the stock of {} was lost", s.sku)).because("STOCK_LOST")
        }
    }
}

/// Units went from one stage to another.
fn entry_of_move(moved: &pb::FulfillmentMoved) -> Entry {
    use pb::FulfillmentStage as Stage;
    let units = counted(moved.lines.iter().map(|line| line.quantity).sum(), "piece");
    match moved.to() {
        Stage::Picking => Entry::step("PICKING", "picking began"),
        Stage::Picked => {
            let short: i64 = moved.lines.iter().map(|line| line.short).sum();
            let named = moved.lines.iter().find(|line| line.short > 0);
            let name = named.map_or("", |line| line.short_reason().as_str_name());
            let text =
                if short > 0 { format!("{units} picked, {short} short") } else { format!("{units} picked") };
            Entry::step("PICKED", text)
                .because(format!("SHORT_{}", name.strip_prefix("SHORT_REASON_").unwrap_or("OTHER")))
        }
        Stage::Packed => Entry::step("PACKED", format!("{units} packed")),
        Stage::Ready => Entry::step("READY", "ready for the customer"),
        Stage::InCustody => Entry::step("DISPATCHED", format!("{units} on the way")),
        Stage::Done => {
            let to = match moved.collector() {
                pb::CollectorKind::Unspecified => String::new(),
                kind => format!(" to the {}", spoken(kind.as_str_name(), "COLLECTOR_KIND_")),
            };
            Entry::step("HANDED_OVER", format!("{units} handed over{to}"))
        }
        Stage::Shelf => Entry::step("PUT_BACK", format!("back on the shelf: {}", plain(&moved.reason)))
            .because("NOT_COLLECTED"),
        Stage::Returned => Entry::step("RETURNED", format!("{units} brought back")).because("NOT_DELIVERED"),
        Stage::Lost => Entry::step("LOST", format!("{units} lost on the way")).because("LOST"),
        Stage::Unspecified | Stage::Offered | Stage::Accepted | Stage::PutBack | Stage::GivenUp => {
            Entry::step("MOVED", format!("{units} moved"))
        }
    }
}
