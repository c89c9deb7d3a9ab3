//! The work of the nodes: requests in, fulfillment orders and events out, and the tokens that callers hand back.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::code::Code;
use domain::fulfillment::{Collector, Line, MovedLine, Order, RejectReason, ShortReason, State, Step, Units};
use domain::id::{FulfillmentId, NodeId, OrderId, Sku, check_text};
use domain::money::Money;
use domain::name::check_name;
use prost::Message;
use server::Principal;

use service::{Call, Fields};
use work_feed::{Cursor, Position};

use super::payment::{amount, payment};
use super::token::{order_context, page_context, page_position};
use super::{method_number, timestamp};
use crate::error::Error;
use crate::store::work::Stored;
use crate::work::command::{
    FindByCode, HandOver, IssueCode, ListOfOrder, ListWork, OnWork, PickLines, Reject, WatchWork,
};
use crate::work::key::Key;
use crate::work::named::Named;
use crate::work::wishes::Wishes;

/// The most lines of one report.
const MAX_LINES: usize = 1_000;

/// Reads a verb on one fulfillment order.
pub(crate) fn on_work(
    who: &Principal,
    verb: &str,
    request: &impl Message,
    request_id: &str,
    fulfillment_id: &str,
) -> Result<OnWork, Error> {
    let mut fields = Fields::default();
    let id = fields.take("fulfillment_id", fulfillment_id.parse());
    let call = Call::read(&mut fields, who, verb, request_id, request);
    let (id, call) = fields.finish(id.zip(call))?;
    Ok(OnWork { call, id })
}

pub(crate) fn reject(who: &Principal, request: pb::RejectWorkRequest) -> Result<Reject, Error> {
    let mut fields = Fields::default();
    let id: Option<FulfillmentId> = fields.take("fulfillment_id", request.fulfillment_id.parse());
    let reason = match fields.take("reason", contract::enums::known(request.reason)) {
        Some(pb::RejectReason::NotFound) => Some(RejectReason::NotFound),
        Some(pb::RejectReason::Damaged) => Some(RejectReason::Damaged),
        Some(pb::RejectReason::TooBusy) => Some(RejectReason::TooBusy),
        Some(pb::RejectReason::NodeClosed) => Some(RejectReason::NodeClosed),
        Some(pb::RejectReason::Other) => Some(RejectReason::Other),
        Some(pb::RejectReason::DisplayWorn) => Some(RejectReason::DisplayWorn),
        Some(pb::RejectReason::Mismatch) => Some(RejectReason::Mismatch),
        None => None,
        Some(pb::RejectReason::Unspecified) => {
            fields.refuse("reason", "is required");
            None
        }
    };
    if !request.note.is_empty() {
        fields.take("note", check_name(&request.note, 500));
    }
    count(&mut fields, request.lines.len(), 0);
    duplicates(&mut fields, request.lines.iter().map(|line| line.line));
    let lines = request.lines.iter().take(MAX_LINES).enumerate();
    let named = lines.map(|(i, line)| named(&mut fields, i, line.line, &line.sku)).collect();
    let call = Call::read(&mut fields, who, "work.reject", &request.request_id, &request);
    let (id, (reason, call)) = fields.finish(id.zip(reason.zip(call)))?;
    Ok(Reject { call, id, reason, note: request.note, named })
}

pub(crate) fn pick_lines(who: &Principal, request: &pb::PickLinesRequest) -> Result<PickLines, Error> {
    let mut fields = Fields::default();
    let id: Option<FulfillmentId> = fields.take("fulfillment_id", request.fulfillment_id.parse());
    count(&mut fields, request.lines.len(), 1);
    duplicates(&mut fields, request.lines.iter().map(|line| line.line));
    let lines = request.lines.iter().take(MAX_LINES).enumerate();
    let lines = lines.map(|(i, line)| pick_line(&mut fields, i, line)).collect();
    let short = request.lines.iter().take(MAX_LINES).enumerate().filter(|(_, line)| !line.sku.is_empty());
    let named = short.map(|(i, line)| named(&mut fields, i, line.line, &line.sku)).collect();
    let call = Call::read(&mut fields, who, "work.pick", &request.request_id, request);
    let (id, call) = fields.finish(id.zip(call))?;
    Ok(PickLines { call, id, lines, named })
}

/// What a reason is about.
fn named(fields: &mut Fields, index: usize, line: u32, sku: &str) -> Named {
    let field = format_args!("lines[{index}].sku");
    let part = (!sku.is_empty()).then(|| fields.take(field, Sku::new(sku))).flatten();
    Named { index, line, part }
}

fn pick_line(fields: &mut Fields, i: usize, line: &pb::PickLine) -> MovedLine {
    let field = |name: &str| format!("lines[{i}].{name}");
    for (name, units) in [("picked", line.picked), ("short", line.short)] {
        if units < 0 {
            fields.refuse(field(name), "must not be negative");
        }
    }
    if line.picked <= 0 && line.short <= 0 {
        fields.refuse(field("picked"), "nothing is picked and nothing is short");
    }
    let given = fields.take(field("short_reason"), contract::enums::known(line.short_reason));
    let reason = match given {
        Some(pb::ShortReason::NotFound) => Some(ShortReason::NotFound),
        Some(pb::ShortReason::Damaged) => Some(ShortReason::Damaged),
        Some(pb::ShortReason::Other) => Some(ShortReason::Other),
        Some(pb::ShortReason::DisplayWorn) => Some(ShortReason::DisplayWorn),
        Some(pb::ShortReason::Mismatch) => Some(ShortReason::Mismatch),
        Some(pb::ShortReason::Unspecified) | None => None,
    };
    if line.short > 0 && given == Some(pb::ShortReason::Unspecified) {
        fields.refuse(field("short_reason"), "is required when units are short");
    }
    if line.short <= 0 && !line.sku.is_empty() {
        fields.refuse(field("sku"), "must be empty: nothing is short");
    }
    MovedLine {
        line: line.line,
        quantity: line.picked,
        short: reason.filter(|_| line.short > 0).map(|r| (line.short, r)),
    }
}

pub(crate) fn hand_over(
    who: &Principal,
    key: &Key,
    mut request: pb::HandOverRequest,
) -> Result<HandOver, Error> {
    let mut fields = Fields::default();
    let id: Option<FulfillmentId> = fields.take("fulfillment_id", request.fulfillment_id.parse());
    let code = fields.take("code", Code::parse(&request.code));
    let collector = match fields.take("collector", contract::enums::known(request.collector)) {
        Some(pb::CollectorKind::Buyer) => Some(Collector::Buyer),
        Some(pb::CollectorKind::Delegate) => Some(Collector::Delegate),
        None => None,
        Some(pb::CollectorKind::Unspecified) => {
            fields.refuse("collector", "is required");
            None
        }
    };
    if !request.collector_ref.is_empty() {
        fields.take("collector_ref", check_text(&request.collector_ref, 64));
    }
    count(&mut fields, request.lines.len(), 0);
    duplicates(&mut fields, request.lines.iter().map(|line| line.line));
    for (i, line) in request.lines.iter().enumerate() {
        if line.quantity < 1 {
            fields.refuse(format_args!("lines[{i}].quantity"), "must be at least 1");
        }
    }
    let paid = request.payment.as_ref().map(|given| payment(&mut fields, given));
    // No plain hash of a code is kept: not even in that of the request.
    request.code = key.blind(code.as_ref().map_or("", Code::as_str));
    let call = Call::read(&mut fields, who, "work.hand_over", &request.request_id, &request);
    let (id, (code, (collector, call))) = fields.finish(id.zip(code.zip(collector.zip(call))))?;
    let lines =
        request.lines.iter().map(|l| Units { line: l.line, quantity: l.quantity }).collect::<Vec<_>>();
    let lines = (!lines.is_empty()).then_some(lines);
    let (collector_ref, payment) = (request.collector_ref, paid.flatten());
    Ok(HandOver { call, id, code, lines, collector, collector_ref, payment })
}

pub(crate) fn issue_code(request: &pb::IssuePickupCodeRequest) -> Result<IssueCode, Error> {
    let mut fields = Fields::default();
    fields.take("request_id", domain::id::request_id(&request.request_id).map_err(|_| "must be a UUID"));
    let id = fields.take("fulfillment_id", request.fulfillment_id.parse());
    Ok(IssueCode { id: fields.finish(id)? })
}

pub(crate) fn find_by_code(request: &pb::FindByPickupCodeRequest) -> Result<FindByCode, Error> {
    let mut fields = Fields::default();
    let node = fields.take("node_id", NodeId::new(request.node_id.as_str()));
    let code = fields.take("code", Code::parse(&request.code));
    let (node, code) = fields.finish(node.zip(code))?;
    Ok(FindByCode { node, code })
}

pub(crate) fn get_work(request: &pb::GetFulfillmentOrderRequest) -> Result<FulfillmentId, Error> {
    let mut fields = Fields::default();
    let id = fields.take("fulfillment_id", request.fulfillment_id.parse());
    Ok(fields.finish(id)?)
}

pub(crate) fn list_of_order(request: &pb::ListFulfillmentOrdersRequest) -> Result<ListOfOrder, Error> {
    let mut fields = Fields::default();
    let order: Option<OrderId> = fields.take("order_id", request.order_id.parse());
    let size = fields.page_size(request.page_size, 50, 200);
    let order = fields.finish(order)?;
    let after = page_after(&order_context(order), &request.page_token)?;
    Ok(ListOfOrder { order, size: usize::try_from(size).unwrap_or(50), after })
}

pub(crate) fn list_work(request: &pb::ListWorkRequest) -> Result<ListWork, Error> {
    let mut fields = Fields::default();
    let node = fields.take("node_id", NodeId::new(request.node_id.as_str()));
    let size = fields.page_size(request.page_size, 50, 200);
    let mut states = Vec::new();
    if request.states.len() > 32 {
        fields.refuse("states", "must be at most 32");
    }
    for (i, number) in request.states.iter().take(32).enumerate() {
        let field = format!("states[{i}]");
        let Some(asked) = fields.take(&field, contract::enums::known::<pb::FulfillmentState>(*number)) else {
            continue;
        };
        match state_named(asked) {
            Some(state) if !states.contains(&state) => states.push(state),
            Some(_) => {}
            None => {
                let name = asked.as_str_name();
                fields.refuse(field, format!("{name} is not a state of a node's fulfillment order"));
            }
        }
    }
    states.sort_unstable();
    let node = fields.finish(node)?;
    let after = page_after(&page_context(&node, &states), &request.page_token)?.unwrap_or(Position::START);
    Ok(ListWork { node, states, size: usize::try_from(size).unwrap_or(50), after })
}

/// What a page begins after; none: it is the first one.
fn page_after(context: &str, token: &str) -> Result<Option<Position>, Error> {
    let strange = || Error::field("page_token", "is not one of this list");
    (!token.is_empty()).then(|| page_position(context, token).ok_or_else(strange)).transpose()
}

pub(crate) fn watch_work(request: &pb::WatchWorkRequest) -> Result<WatchWork, Error> {
    let mut fields = Fields::default();
    let node = fields.take("node_id", NodeId::new(request.node_id.as_str()));
    let node = fields.finish(node)?;
    let cursor = match request.resume_token.as_str() {
        "" => None,
        token => Some(
            Cursor::of_token(&node, token)
                .ok_or_else(|| Error::field("resume_token", "is not one of this node's stream"))?,
        ),
    };
    Ok(WatchWork { node, cursor })
}

fn count(fields: &mut Fields, lines: usize, least: usize) {
    if !(least..=MAX_LINES).contains(&lines) {
        fields.refuse("lines", format!("must be {least} to {MAX_LINES}"));
    }
}

fn duplicates(fields: &mut Fields, lines: impl Iterator<Item = u32>) {
    let mut seen = std::collections::HashSet::new();
    for (i, line) in lines.enumerate().take(MAX_LINES) {
        if !seen.insert(line) {
            fields.refuse(format_args!("lines[{i}].line"), "duplicate");
        }
    }
}

fn state_named(asked: pb::FulfillmentState) -> Option<State> {
    let name = asked.as_str_name().strip_prefix("FULFILLMENT_STATE_")?;
    State::ALL.into_iter().find(|state| state.name() == name)
}

fn state_number(state: State) -> i32 {
    let name = format!("FULFILLMENT_STATE_{}", state.name());
    pb::FulfillmentState::from_str_name(&name).unwrap_or(pb::FulfillmentState::Unspecified).into()
}

/// A fulfillment order as callers and events have it.
pub(crate) fn fulfillment_order(stored: &Stored) -> pb::FulfillmentOrder {
    let order = &stored.order;
    let due = |step| order.clock(step).map(|clock| timestamp(clock.due));
    pb::FulfillmentOrder {
        fulfillment_id: order.id.to_string(),
        order_id: order.order.to_string(),
        promise_token: order.token.to_string(),
        node_id: order.node.to_string(),
        method: method_number(order.method),
        state: state_number(order.state()),
        lines: order.lines.iter().map(|one| line(one, order)).collect(),
        promised_time: Some(timestamp(order.promised)),
        accept_due_time: due(Step::Accept),
        keep_until_time: due(Step::Collect),
        version: order.version,
        offer_time: order.marks.offered.map(timestamp),
        update_time: Some(timestamp(stored.updated)),
        channel: stored.channel.clone(),
        channel_order_id: stored.channel_order_id.clone(),
        is_expired: order.marks.expired.is_some(),
        decision_id: stored.decision.to_string(),
        is_at_risk: order.is_at_risk(),
        end_reason: order.end_reason().to_owned(),
        due: order.due().map(amount),
        collected: order.collected().map(amount),
        is_payment_lost: order.dues.is_payment_lost,
        doubtful_skus: order.marks.doubtful.iter().map(Sku::to_string).collect(),
        policy_version: order.policy_version(),
        recipient: stored.wishes.recipient.clone(),
        packaging: stored.wishes.packaging.clone(),
        member_ref: stored.origin.member_ref.clone(),
        journey_id: stored.origin.journey_id.clone(),
        update_actor: stored.updated_by.clone(),
    }
}

fn line(line: &Line, order: &Order) -> pb::FulfillmentLine {
    let (b, claims) = (&line.buckets, line.buckets.claims(order.method.rules()));
    let due = order.dues.at_handover.map(|at| Money::new(line.due_minor, at.currency));
    pb::FulfillmentLine {
        line: line.line,
        sku: line.sku.to_string(),
        name: line.name.clone(),
        quantity: line.quantity,
        to_pick: b.to_pick,
        picked: b.picked,
        ready: b.ready,
        done: b.done,
        short: b.short,
        cancelled: b.cancelled,
        put_back: b.put_back,
        restocked: b.restocked,
        packed: b.packed,
        in_custody: b.in_custody,
        returned: b.returned,
        lost: b.lost,
        held: claims.held,
        consumed: claims.consumed,
        released: claims.released,
        due: due.map(amount),
        given_up: b.given_up,
        kept: b.kept,
    }
}

/// SKUs as they are stored: a fulfillment order of nothing else, since codes may hold any separator. None: no bytes.
pub(crate) fn packed_skus(skus: &[Sku]) -> Vec<u8> {
    let doubtful_skus = skus.iter().map(Sku::to_string).collect();
    pb::FulfillmentOrder { doubtful_skus, ..Default::default() }.encode_to_vec()
}

/// SKUs that were stored; none: the bytes are not what [`packed_skus`] makes.
pub(crate) fn unpacked_skus(bytes: &[u8]) -> Option<Vec<Sku>> {
    let packed = pb::FulfillmentOrder::decode(bytes).ok()?;
    packed.doubtful_skus.into_iter().map(|sku| Sku::new(sku).ok()).collect()
}

/// What an order says beside the goods, as it is stored. Nothing: no bytes.
pub(crate) fn packed_wishes(wishes: &Wishes) -> Vec<u8> {
    let Wishes { recipient, packaging } = wishes.clone();
    pb::FulfillmentOrder { recipient, packaging, ..Default::default() }.encode_to_vec()
}

/// What was stored; none: the bytes are not what [`packed_wishes`] makes.
pub(crate) fn unpacked_wishes(bytes: &[u8]) -> Option<Wishes> {
    let pb::FulfillmentOrder { recipient, packaging, .. } = pb::FulfillmentOrder::decode(bytes).ok()?;
    Some(Wishes { recipient, packaging })
}

/// What a watcher gets.
pub(crate) fn watched(message: work_feed::Message<Stored>) -> pb::WatchWorkResponse {
    let item = message.item.map(|item| pb::WorkItem {
        feed_sequence: item.seq,
        fulfillment_order: Some(fulfillment_order(&item.work)),
        feed_time: Some(timestamp(item.time)),
    });
    pb::WatchWorkResponse { item, resume_token: message.resume_token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_number_on_the_wire() {
        for state in State::ALL {
            let number = contract::enums::known(state_number(state)).unwrap();
            assert_eq!(state_named(number), Some(state));
        }
        assert_eq!(state_named(pb::FulfillmentState::Unspecified), None);
        assert!(contract::enums::known::<pb::FulfillmentState>(999).is_err());
    }
}
