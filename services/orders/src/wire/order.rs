//! Orders as answers.

use contract::orders::v1 as pb;
use contract::r#type::v1::Place;
use domain::order::{
    Acceptance, Block, Buckets, Charge, Group, Ledger, Leg, Line, Order, Refund, RefundPart, RefundState,
    ReturnRule, Status, Sums, Tender, TenderState, Terms,
};
use prost::Message as _;

use super::event::pieces;
use super::need::needs;
use super::origin::attribution;
use super::{method, money, time, window};
use crate::store::Step;

pub(crate) fn order(order: &Order) -> pb::Order {
    let amount = |minor| Some(money(minor, order.currency));
    let unpaid = order.blocks.contains(&Block::Payment) && !order.status().is_over();
    pb::Order {
        order_id: order.id.to_string(),
        channel: order.channel.clone(),
        channel_order_id: order.channel_order_id.clone(),
        customer_ref: order.customer_ref.clone(),
        status: status(order.status()).into(),
        blocks: blocks(order),
        lines: order.lines.iter().map(|l| line(l, order)).collect(),
        charges: order.charges.iter().map(|c| charge(c, order)).collect(),
        tenders: order
            .ledger
            .tenders
            .iter()
            .zip(order.ledger.sums())
            .map(|(t, s)| tender(t, &s, order))
            .collect(),
        payment_terms: terms(order.terms).into(),
        total: amount(order.total_minor),
        paid: amount(order.ledger.paid()),
        refund_requested: amount(order.ledger.claimed()),
        groups: order.groups.iter().map(|g| group(g, order)).collect(),
        place_time: Some(time(order.placed_at)),
        payment_due_time: order.payment_due_at.filter(|_| unpaid).map(time),
        payment_policy_version: if unpaid { order.payment_policy } else { 0 },
        refunds: order.ledger.refunds.iter().map(|r| refund(r, order)).collect(),
        etag: format!("\"{}\"", order.version),
        version: order.version,
        update_time: Some(time(order.updated_at)),
        tax_included: order.tax_included,
        needs: needs(order),
        member_ref: order.origin.member_ref.clone(),
        attribution: attribution(&order.origin.attribution),
        journey_id: order.origin.journey_id.clone(),
        acceptance: acceptance(&order.acceptance).into(),
        cancel_code: order.acceptance.cancel_code().unwrap_or_default().to_owned(),
    }
}

fn line(line: &Line, order: &Order) -> pb::OrderLine {
    let amount = |minor| Some(money(minor, order.currency));
    pb::OrderLine {
        line: line.no,
        sku: line.sku.to_string(),
        name: line.name.clone(),
        quantity: line.amounts.quantity,
        unit_price: amount(line.amounts.unit_price),
        discount: amount(line.amounts.discount),
        tax: amount(line.amounts.tax),
        total: amount(line.total_minor),
        buckets: Some(buckets(&line.buckets)),
        cancel_requested: line.cancel_requested,
        cancel_reason: line.cancel_reason.clone(),
        promotions: line
            .promotions
            .iter()
            .map(|(id, minor)| pb::Promotion { promotion_id: id.clone(), amount: amount(*minor) })
            .collect(),
    }
}

fn charge(charge: &Charge, order: &Order) -> pb::Charge {
    let rule = match charge.rule {
        ReturnRule::ProRata => pb::ReturnRule::ProRata,
        ReturnRule::WithLastPiece => pb::ReturnRule::WithLastPiece,
        ReturnRule::Kept => pb::ReturnRule::Kept,
    };
    pb::Charge {
        code: charge.code.clone(),
        description: charge.description.clone(),
        amount: Some(money(charge.amount_minor, order.currency)),
        return_rule: rule.into(),
    }
}

pub(super) fn tender(tender: &Tender, sums: &Sums, order: &Order) -> pb::Tender {
    let amount = |minor| Some(money(minor, order.currency));
    pb::Tender {
        tender_id: tender.id.clone(),
        kind: tender.kind.clone(),
        amount: amount(tender.amount_minor),
        state: tender_state(tender.state).into(),
        provider_ref: tender.provider_ref.clone(),
        amount_due: amount(Ledger::due(tender, sums)),
        authorized: amount(sums.authorized),
        captured: amount(sums.captured + sums.excess),
        voided: amount(sums.voided),
        // All that is too much is asked back when it comes.
        refund_requested: amount(sums.claimed + sums.excess),
        refunded: amount(sums.refunded),
    }
}

/// What a group was asked with besides its lines, as it was sent.
pub(super) fn wishes(group: Option<&Group>) -> pb::NewGroup {
    // Written by us: what cannot be read asks for nothing.
    group.and_then(|group| pb::NewGroup::decode(group.wishes.as_slice()).ok()).unwrap_or_default()
}

/// Where the customer of a group is, if it is to be delivered there.
pub(crate) fn place_of(group: &Group) -> Option<Place> {
    match wishes(Some(group)).r#where {
        Some(pb::new_group::Where::Address(address)) => address.place,
        Some(pb::new_group::Where::NodeId(_)) | None => None,
    }
}

fn group(group: &Group, order: &Order) -> pb::OrderGroup {
    let wishes = wishes(Some(group));
    let address = match wishes.r#where {
        Some(pb::new_group::Where::Address(address)) => address,
        Some(pb::new_group::Where::NodeId(_)) | None => pb::Address::default(),
    };
    let legs = order.legs.iter().filter(|leg| leg.group == group.no);
    pb::OrderGroup {
        group: group.no,
        method: method(group.method),
        node_id: group.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        address_ref: address.address_ref,
        place: address.place,
        wanted_window: group.wanted.map(window),
        not_later_than_time: group.not_later_than.map(time),
        lines: pieces(&group.lines),
        consent: wishes.consent,
        recipient: wishes.recipient,
        packaging: wishes.packaging,
        legs: legs.map(|one| leg(one, order)).collect(),
    }
}

fn leg(leg: &Leg, order: &Order) -> pb::Leg {
    let line = |line: &domain::order::LegLine| pb::LegLine {
        line: line.line,
        quantity: line.units.quantity,
        buckets: Some(buckets(&line.units.buckets(leg.is_accepted))),
        cancel_requested: line.cancel_requested,
    };
    let need = leg.need.and_then(|no| order.need_no(no));
    pb::Leg {
        fulfillment_id: leg.id.to_string(),
        promise_token: leg.token.map(|token| token.to_string()).unwrap_or_default(),
        node_id: leg.node.to_string(),
        method: method(leg.method),
        window: Some(window(leg.window)),
        lines: leg.lines.iter().map(line).collect(),
        work_version: leg.version,
        work_actor: leg.actor.clone(),
        is_accepted: leg.is_accepted,
        is_dropped: !leg.is_live(),
        need_id: need.map(|need| need.id.to_string()).unwrap_or_default(),
    }
}

pub(super) fn buckets(b: &Buckets) -> pb::Buckets {
    pb::Buckets {
        open: b.open,
        reserved: b.reserved,
        backordered: b.backordered,
        allocated: b.allocated,
        picked: b.picked,
        packed: b.packed,
        ready: b.ready,
        in_custody: b.in_custody,
        delivered: b.delivered,
        cancelled: b.cancelled,
        lost: b.lost,
    }
}

pub(super) fn refund(refund: &Refund, order: &Order) -> pb::Refund {
    pb::Refund {
        refund_id: refund.id.to_string(),
        amount: Some(money(refund.amount_minor, order.currency)),
        reason: refund.reason.clone(),
        request_time: Some(time(refund.at)),
        parts: refund.parts.iter().map(|part| refund_part(part, order)).collect(),
    }
}

pub(super) fn refund_part(part: &RefundPart, order: &Order) -> pb::RefundPart {
    let state = match part.state {
        RefundState::Pending => pb::RefundState::Pending,
        RefundState::Done => pb::RefundState::Done,
        RefundState::Failed => pb::RefundState::Failed,
        RefundState::FailedPermanent => pb::RefundState::FailedPermanent,
        RefundState::Redirected => pb::RefundState::Redirected,
    };
    pb::RefundPart {
        tender_id: part.tender.clone(),
        amount: Some(money(part.amount_minor, order.currency)),
        state: state.into(),
        attempt: part.attempt,
        next_attempt_time: part.next_attempt.map(time),
        provider_ref: part.provider_ref.clone(),
        report_ref: part.report_ref.clone(),
        kind: part.kind.clone(),
    }
}

pub(super) fn blocks(order: &Order) -> Vec<i32> {
    order.blocks.iter().map(|b| block(*b).into()).collect()
}

fn block(block: Block) -> pb::Block {
    match block {
        Block::Payment => pb::Block::Payment,
        Block::Fraud => pb::Block::Fraud,
        Block::Address => pb::Block::Address,
        Block::Remorse => pb::Block::Remorse,
        Block::Stock => pb::Block::Stock,
    }
}

pub(super) fn status(status: Status) -> pb::OrderStatus {
    match status {
        Status::Placed => pb::OrderStatus::Placed,
        Status::Confirmed => pb::OrderStatus::Confirmed,
        Status::InFulfillment => pb::OrderStatus::InFulfillment,
        Status::Completed => pb::OrderStatus::Completed,
        Status::Cancelled => pb::OrderStatus::Cancelled,
        Status::PaymentLapsed => pb::OrderStatus::PaymentLapsed,
        Status::Expired => pb::OrderStatus::Expired,
    }
}

fn acceptance(acceptance: &Acceptance) -> pb::Acceptance {
    match acceptance {
        Acceptance::Checked => pb::Acceptance::Checked,
        Acceptance::SoldElsewhere { .. } => pb::Acceptance::SoldElsewhere,
    }
}

pub(super) fn terms(terms: Terms) -> pb::PaymentTerms {
    match terms {
        Terms::Prepaid => pb::PaymentTerms::Prepaid,
        Terms::PayAtHandover => pb::PaymentTerms::PayAtHandover,
        Terms::OnAccount => pb::PaymentTerms::OnAccount,
    }
}

pub(super) fn tender_state(state: TenderState) -> pb::TenderState {
    match state {
        TenderState::Due => pb::TenderState::Due,
        TenderState::Authorized => pb::TenderState::Authorized,
        TenderState::Captured => pb::TenderState::Captured,
        TenderState::Voided => pb::TenderState::Voided,
        TenderState::Failed => pb::TenderState::Failed,
    }
}

pub(crate) fn step(step: Step) -> pb::TimelineEntry {
    pb::TimelineEntry {
        number: step.number,
        step: step.name,
        text: step.text,
        actor: step.actor,
        occurred_time: Some(time(step.at)),
        node_id: step.node,
    }
}
