//! Promises, carts and decisions on the wire.

use std::fmt::Display;

use contract::fulfillment::v1 as pb;
use contract::r#type::v1 as common;
use domain::fulfillment::method::{Method, MethodError};
use domain::id::{DecisionId, FulfillmentId, NodeId, OrderId, PromiseToken, Sku};
use domain::promise::plan::ResourceKind;
use domain::promise::token::State;
use domain::promise::{Offer, Reason};
use domain::quantity::Quantity;
use domain::sourcing::Decision;
use domain::time::from_micros;
use jiff::Timestamp;

use server::Principal;
use service::Fields;

use super::{instant, method, method_name, method_number, optional_node, place, timestamp};
use crate::error::Error;
use crate::promise::answer::{Able, Answer, Unable};
use crate::promise::command::{Limits, Line, Nearby, Question};
use crate::rights;
use crate::store::promise::Stored;
use crate::store::promise_leg::{HeldPlace, Leg};

/// The most lines of a cart.
const MOST_LINES: usize = 1_000;

/// The most characters of a channel.
const MOST_CHANNEL_CHARS: usize = 64;

/// The most nodes that must not serve.
const MOST_WITHOUT: usize = 50;

/// Checks the lines of a cart.
pub(crate) fn lines(lines: &[pb::CartLine], fields: &mut Fields) -> Vec<Line> {
    if lines.is_empty() {
        fields.refuse("lines", "must name at least one");
    }
    if lines.len() > MOST_LINES {
        fields.refuse("lines", format!("must be at most {MOST_LINES}"));
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::with_capacity(lines.len());
    let mut cart = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        if line.line == 0 {
            fields.refuse(format_args!("lines[{i}].line"), "must be at least 1");
        } else if !seen.insert(line.line) {
            fields.refuse(format_args!("lines[{i}].line"), "duplicate");
        }
        let sku = fields.take(format_args!("lines[{i}].sku"), Sku::new(line.sku.as_str()));
        let quantity = fields.take(format_args!("lines[{i}].quantity"), Quantity::new(line.quantity));
        if let (Some(sku), Some(quantity)) = (sku, quantity) {
            cart.push(Line { number: line.line, sku, quantity: quantity.get() });
        }
    }
    cart
}

/// A question for promises, with the methods asked for that nobody offers.
pub(crate) fn question(request: &pb::GetPromiseRequest) -> Result<(Question, Vec<i32>), Error> {
    let mut fields = Fields::default();
    let lines = lines(&request.lines, &mut fields);
    let (mut methods, mut odd) = (Vec::new(), Vec::new());
    for (i, number) in request.methods.iter().enumerate() {
        match method(*number) {
            Ok(method) if methods.contains(&method) => {}
            Ok(method) => methods.push(method),
            Err(MethodError::NotOffered(_)) if odd.contains(number) => {}
            Err(MethodError::NotOffered(_)) => odd.push(*number),
            Err(why @ (MethodError::Absent | MethodError::Unknown)) => {
                fields.refuse(format_args!("methods[{i}]"), why);
            }
        }
    }
    if request.methods.is_empty() {
        methods.extend(Method::ALL);
    }
    let place = request.place.and_then(|given| fields.take("place", place(given)));
    let node = optional_node(&mut fields, "node_id", &request.node_id);
    let limits = Limits {
        without: without(&mut fields, "without_node_ids", &request.without_node_ids, node.as_ref()),
        near: optional_node(&mut fields, "near_node_id", &request.near_node_id),
        radius_m: None,
    };
    let wanted = request.wanted_window.and_then(|window| fields.take("wanted_window", wanted(window, true)));
    let most = match request.max_options {
        0 => 5,
        wanted @ 1..=50 => usize::try_from(wanted).unwrap_or(5),
        _ => {
            fields.refuse("max_options", "must be from 0 to 50");
            0
        }
    };
    let channel = channel(&mut fields, &request.channel);
    fields.done()?;
    Ok((Question { lines, methods, place, node, limits, wanted, most, channel }, odd))
}

/// The channel that a cart is sold through, as its caller says it.
pub(crate) fn channel(fields: &mut Fields, said: &str) -> Option<String> {
    (!said.is_empty()).then(|| fields.text("channel", said, MOST_CHANNEL_CHARS))
}

/// When goods are wanted, from and until. A window that may be open and has no end lasts from its start on.
pub(crate) fn wanted(
    window: common::Window,
    may_be_open: bool,
) -> Result<(Timestamp, Timestamp), &'static str> {
    let bad = if may_be_open {
        "start_time is required, and both must be instants"
    } else {
        "start_time and end_time are required and must be instants"
    };
    let time = |time: Option<prost_types::Timestamp>| time.and_then(|time| instant(time).ok()).ok_or(bad);
    let from = time(window.start_time)?;
    let until = match window.end_time {
        None if may_be_open => Timestamp::MAX,
        end => time(end)?,
    };
    if from < until { Ok((from, until)) } else { Err("must end after it starts") }
}

/// Nodes that must not serve. The node that is asked for is none of them.
pub(crate) fn without(
    fields: &mut Fields,
    field: impl Display,
    given: &[String],
    node: Option<&NodeId>,
) -> Vec<NodeId> {
    fields.at_most(&field, given.len(), MOST_WITHOUT);
    let without = fields.distinct::<NodeId>(&field, given, MOST_WITHOUT);
    let named = node.is_some_and(|node| without.contains(node));
    fields.check(!named, field, "must not have the node that node_id asks for");
    without
}

/// The field of the first line of a cart with this SKU.
pub(crate) fn sku_field(cart: &[Line], sku: &Sku) -> String {
    let index = cart.iter().position(|line| line.sku == *sku).unwrap_or(0);
    format!("lines[{index}].sku")
}

/// A question for stock near a place.
pub(crate) fn nearby(request: pb::ListNearbyAvailabilityRequest) -> Result<Nearby, Error> {
    let mut fields = Fields::default();
    let at = request.place.map_or_else(|| Err("is required".to_owned()), place);
    let place = fields.take("place", at);
    let radius_m = match request.radius_m {
        0 => 20_000,
        metres @ 1..=500_000 => u32::try_from(metres).unwrap_or(500_000),
        _ => {
            fields.refuse("radius_m", "must be from 0 to 500000");
            0
        }
    };
    if !(1..=50).contains(&request.skus.len()) {
        fields.refuse("skus", "must be from 1 to 50");
    }
    let mut skus = Vec::new();
    for (i, sku) in request.skus.into_iter().take(50).enumerate() {
        skus.extend(fields.take(format_args!("skus[{i}]"), Sku::new(sku)));
    }
    let most = match request.max_nodes {
        0 => 20,
        wanted @ 1..=100 => usize::try_from(wanted).unwrap_or(20),
        _ => {
            fields.refuse("max_nodes", "must be from 0 to 100");
            0
        }
    };
    let radius_m = f64::from(radius_m);
    Ok(fields.finish(place.map(|place| Nearby { place, radius_m, skus, most }))?)
}

/// Metres as the wire has them.
#[expect(clippy::cast_possible_truncation, reason = "nothing on earth is farther than 20,100 km")]
pub(crate) fn metres(distance: Option<f64>) -> i64 {
    distance.map_or(0, |metres| metres.round() as i64)
}

/// A reason on the wire.
pub(crate) fn reason(reason: Reason) -> i32 {
    let name = format!("REASON_CODE_{}", reason.name());
    pb::ReasonCode::from_str_name(&name).unwrap_or(pb::ReasonCode::Unspecified).into()
}

/// An offer as the wire has it.
pub(crate) fn option(
    method: Method,
    node_id: &NodeId,
    node_name: &str,
    offer: &Offer,
    distance_m: Option<f64>,
) -> pb::PromiseOption {
    pb::PromiseOption {
        method: method_number(method),
        node_id: node_id.to_string(),
        node_name: node_name.to_owned(),
        window: Some(window(offer.ready, offer.keep_until)),
        distance_m: metres(distance_m),
    }
}

fn window(start: Timestamp, end: Timestamp) -> common::Window {
    common::Window { start_time: Some(timestamp(start)), end_time: Some(timestamp(end)) }
}

fn able(able: &Able) -> pb::PromiseOption {
    option(able.method, &able.node.id, &able.node.name, &able.offer, able.distance_m)
}

fn unable(unable: &Unable) -> pb::PromiseRefusal {
    pb::PromiseRefusal {
        method: method_number(unable.method),
        node_id: unable.node.as_ref().map(NodeId::to_string).unwrap_or_default(),
        reasons: unable.refused.reasons().iter().map(|r| reason(*r)).collect(),
        skus: unable.lacking.iter().map(Sku::to_string).collect(),
        alternatives: unable.alternatives.iter().map(able).collect(),
        scenario: unable.refused.scenario().unwrap_or_default().to_owned(),
    }
}

/// The answer to a question for promises; `odd` are methods that nobody offers.
pub(crate) fn answer(answer: &Answer, odd: &[i32], now: Timestamp) -> pb::GetPromiseResponse {
    let mut refusals: Vec<pb::PromiseRefusal> = answer.refusals.iter().map(unable).collect();
    refusals.extend(odd.iter().filter(|number| method_name(**number).is_some()).map(|number| {
        pb::PromiseRefusal {
            method: *number,
            reasons: vec![reason(Reason::MethodNotOffered)],
            ..Default::default()
        }
    }));
    pb::GetPromiseResponse {
        options: answer.options.iter().map(able).collect(),
        refusals,
        read_time: Some(timestamp(now)),
    }
}

/// The lines of a cart as the wire has them.
pub(crate) fn cart(lines: &[Line]) -> Vec<pb::CartLine> {
    lines
        .iter()
        .map(|line| pb::CartLine { line: line.number, sku: line.sku.to_string(), quantity: line.quantity })
        .collect()
}

/// Pieces of lines as the wire has them.
pub(crate) fn pieces(lines: &[Line]) -> Vec<common::LineQuantity> {
    lines.iter().map(|line| common::LineQuantity { line: line.number, quantity: line.quantity }).collect()
}

/// A decision as it is kept.
#[expect(clippy::cast_precision_loss, reason = "points are far below 2^52")]
pub(crate) fn decision(decision: &Decision, token: PromiseToken, leg: FulfillmentId) -> pb::SourcingDecision {
    let candidates = decision.candidates.iter().map(|candidate| match &candidate.verdict {
        Ok((cost, ready)) => pb::SourcingCandidate {
            node_id: candidate.node.to_string(),
            score: cost.total() as f64,
            parts: cost.parts().into_iter().map(|(name, points)| (name.to_owned(), points as f64)).collect(),
            exclusions: Vec::new(),
            ready_time: Some(timestamp(*ready)),
        },
        Err(reasons) => pb::SourcingCandidate {
            node_id: candidate.node.to_string(),
            exclusions: reasons.iter().map(|r| reason(*r)).collect(),
            ..Default::default()
        },
    });
    pb::SourcingDecision {
        decision_id: DecisionId::new(leg.uuid()).to_string(),
        fulfillment_id: leg.to_string(),
        promise_token: token.to_string(),
        order_id: String::new(),
        rule_version: decision.rule_version.clone(),
        decide_time: Some(timestamp(decision.at)),
        candidates: candidates.collect(),
        chosen_node_id: decision.chosen.as_ref().map(NodeId::to_string).unwrap_or_default(),
    }
}

fn state(state: &State) -> i32 {
    let name = format!("PROMISE_STATE_{}", state.name());
    pb::PromiseState::from_str_name(&name).unwrap_or(pb::PromiseState::Unspecified).into()
}

/// A stored promise as the wire has it.
pub(crate) fn stored(stored: &Stored, reader: &Principal) -> pb::Promise {
    pb::Promise {
        promise_token: stored.token.to_string(),
        state: state(&stored.state),
        legs: stored.legs.iter().map(leg).collect(),
        expire_time: stored.state.expires().map(timestamp),
        create_time: Some(timestamp(stored.created)),
        owner: if rights::is_ours(reader) { stored.owner.clone() } else { String::new() },
        channel: stored.channel.clone().unwrap_or_default(),
        ..stored.body.clone()
    }
}

fn leg(leg: &Leg) -> pb::PromiseLeg {
    let held = leg.places.iter().filter(|place| place.is_held);
    let place = |place: &HeldPlace| pb::CapacityPlace {
        kind: kind(place.slot.kind),
        resource: place.slot.resource.clone(),
        work: place.slot.work.clone(),
        slot_start_time: Some(timestamp(from_micros(place.slot.start))),
        amount: place.amount,
    };
    pb::PromiseLeg {
        fulfillment_id: leg.id.to_string(),
        group: leg.group,
        places: held.map(place).collect(),
        ..leg.body.clone()
    }
}

fn kind(kind: ResourceKind) -> i32 {
    let kind = match kind {
        ResourceKind::Node => pb::ResourceKind::Node,
        ResourceKind::Zone => pb::ResourceKind::Zone,
        ResourceKind::Couriers => pb::ResourceKind::Couriers,
        ResourceKind::Skill => pb::ResourceKind::Skill,
    };
    kind.into()
}

/// A stored decision as the wire has it.
pub(crate) fn stored_decision(stored: &Stored, leg: &Leg) -> pb::SourcingDecision {
    pb::SourcingDecision {
        order_id: stored.order().map(|order: OrderId| order.to_string()).unwrap_or_default(),
        ..leg.decision.clone()
    }
}
