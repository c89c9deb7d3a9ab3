//! Events about money that a provider has, or is asked for.

use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use domain::id::{FulfillmentId, LineNo, RefundId};
use domain::order::{Block, LegDue, Order, Refund, RefundPart, TenderState};

use super::event::{ids, pieces};
use super::order::{refund, refund_part, tender, tender_state};
use super::{money, time};

/// What is due at handovers, leg by leg.
pub(super) fn dues(order: &Order) -> Vec<pb::LegDue> {
    let due = |due: &LegDue| pb::LegDue {
        fulfillment_id: due.leg.to_string(),
        due: Some(money(due.due_minor, order.currency)),
    };
    order.dues().iter().map(due).collect()
}

pub(super) fn paid(
    order: &Order,
    tender: &str,
    state: TenderState,
    amount_minor: i64,
    in_full: bool,
) -> Body {
    Body::Paid(pb::OrderPaid {
        tender_id: tender.to_owned(),
        amount: Some(money(amount_minor, order.currency)),
        in_full,
        work: dues(order),
        state: tender_state(state).into(),
    })
}

pub(super) fn payment_lost(
    order: &Order,
    tender: &str,
    amount_minor: i64,
    state: TenderState,
    legs: &[FulfillmentId],
) -> Body {
    let is_waiting = order.blocks.contains(&Block::Payment);
    Body::PaymentLost(pb::OrderPaymentLost {
        tender_id: tender.to_owned(),
        amount: Some(money(amount_minor, order.currency)),
        state: tender_state(state).into(),
        fulfillment_ids: ids(legs),
        payment_due_time: order.payment_due_at.filter(|_| is_waiting).map(time),
    })
}

pub(super) fn void_requested(
    order: &Order,
    [tender, provider_ref]: [&String; 2],
    [amount_minor, left_minor]: [i64; 2],
    reason: &str,
    lines: &[(LineNo, i64)],
) -> Body {
    Body::VoidRequested(pb::OrderVoidRequested {
        tender_id: tender.clone(),
        amount: Some(money(amount_minor, order.currency)),
        left: Some(money(left_minor, order.currency)),
        reason: reason.to_owned(),
        lines: pieces(lines),
        provider_ref: provider_ref.clone(),
    })
}

pub(super) fn excess_paid(
    order: &Order,
    tender: &str,
    amount_minor: i64,
    provider_ref: &str,
    refund: RefundId,
) -> Body {
    Body::ExcessPaid(pb::OrderExcessPaid {
        tender_id: tender.to_owned(),
        amount: Some(money(amount_minor, order.currency)),
        provider_ref: provider_ref.to_owned(),
        refund_id: refund.to_string(),
    })
}

pub(super) fn money_changed(order: &Order, changed: &[String]) -> Body {
    let all = order.ledger.tenders.iter().zip(order.ledger.sums());
    let changed = all.filter(|(known, _)| changed.contains(&known.id));
    Body::MoneyChanged(pb::OrderMoneyChanged {
        tenders: changed.map(|(known, sums)| tender(known, &sums, order)).collect(),
        owed: Some(money(order.owed_minor(), order.currency)),
    })
}

pub(super) fn tender_added(order: &Order, added: &str) -> Body {
    let mut all = order.ledger.tenders.iter().zip(order.ledger.sums());
    let known = all.find(|(known, _)| known.id == added);
    Body::TenderAdded(pb::OrderTenderAdded { tender: known.map(|(known, sums)| tender(known, &sums, order)) })
}

pub(super) fn refund_requested(order: &Order, asked: &Refund, parts: &[RefundPart]) -> Body {
    Body::RefundRequested(pb::RefundRequested {
        refund: Some(refund(asked, order)),
        lines: pieces(&asked.lines),
        parts: parts.iter().map(|part| refund_part(part, order)).collect(),
    })
}

pub(super) fn refund_reported(order: &Order, reported: &Refund, part: &RefundPart) -> Body {
    Body::RefundReported(pb::RefundReported {
        refund: Some(refund(reported, order)),
        part: Some(refund_part(part, order)),
    })
}
