//! Asking fulfillment to hold stock and capacity. Every call can be repeated: its request id is derived from what it
//! is for, so a repeated call finds what the first one did.

use std::collections::BTreeMap;

use contract::fulfillment::v1 as pb;
use contract::r#type::v1::LineQuantity;
use domain::fulfillment::method::Method;
use domain::id::{self, FulfillmentId, LineNo, NodeId, OrderId, PromiseToken, Sku};
use domain::order::group::Parts;
use domain::order::{Group, Leg, LegLine, LegUnits, Order};
use domain::time::{Timestamp, from_parts, micros};
use prost::Message as _;
use service::Fault;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use crate::error::Error;
use crate::error::reason::LATER_THAN_WANTED;
use crate::{Orders, wire};

/// What is to be held together.
#[derive(Debug, Clone)]
pub(crate) struct WantedGroup {
    pub(crate) group: Group,
    /// Its pieces that are to be held.
    pub(crate) lines: Vec<(LineNo, i64)>,
    /// Which nodes may have them.
    pub(crate) limits: NodeLimits,
}

/// Which nodes may serve a group, where none is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeLimits {
    /// Not these.
    pub(crate) without: Vec<NodeId>,
    /// Those near this node: the farthest that one may be, in metres; 0: at any distance.
    pub(crate) near: Option<(NodeId, i64)>,
    /// In how many legs it may be split.
    pub(crate) parts: u32,
}

/// What is to be held: the lines of all groups together, and each group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) cart: Vec<(LineNo, Sku, i64)>,
    pub(crate) groups: Vec<WantedGroup>,
    /// Legs of the order that this takes the place of: what they still hold goes over to it.
    pub(crate) instead_of: Vec<FulfillmentId>,
    /// Whose quota it counts for, `kind/id`; empty: nobody's.
    pub(crate) on_behalf_of: String,
    /// The channel that it is sold through.
    pub(crate) channel: String,
}

/// The most legs that a hold takes the place of.
const MOST_LEGS: usize = 50;

impl Wanted {
    /// What a payment now must hold of an order: what is open, and what was promised for a time that has passed, at the node
    /// that it was promised at. The claims that were given up for want of payment may not be released yet.
    pub(crate) fn again(order: &Order, now: Timestamp) -> Self {
        let dropped = order.legs.iter().rev().filter(|leg| !leg.is_live());
        let gone = order.late_legs(now).chain(dropped);
        let instead_of = gone.map(|leg| leg.id).take(MOST_LEGS).collect();
        let mut wanted = Self { instead_of, ..Self::of(order, order.parts_to_hold(now)) };
        for WantedGroup { group, .. } in &mut wanted.groups {
            let mut late = order.late_legs(now).filter(|leg| leg.group == group.no);
            if let Some(leg) = late.next().filter(|_| group.node.is_none())
                && late.all(|other| other.node == leg.node)
            {
                group.node = Some(leg.node.clone());
            }
        }
        wanted
    }

    /// These parts of an order's groups.
    pub(crate) fn of(order: &Order, parts: Parts) -> Self {
        let group = |(no, lines): (u32, Vec<(LineNo, i64)>)| {
            Some(WantedGroup { group: order.group(no)?.clone(), lines, limits: NodeLimits::default() })
        };
        Self::of_groups(order, parts.into_iter().filter_map(group).collect())
    }

    /// These pieces of an order, group by group.
    pub(crate) fn of_groups(order: &Order, groups: Vec<WantedGroup>) -> Self {
        let mut pieces: BTreeMap<LineNo, i64> = BTreeMap::new();
        for (no, quantity) in groups.iter().flat_map(|group| &group.lines) {
            *pieces.entry(*no).or_insert(0) += quantity;
        }
        let line = |(no, pieces)| order.line(no).map(|line| (no, line.sku.clone(), pieces));
        let (cart, channel) = (pieces.into_iter().filter_map(line).collect(), order.channel.clone());
        Self { cart, groups, channel, ..Self::default() }
    }
}

/// What a promise holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) token: PromiseToken,
    pub(crate) legs: Vec<Leg>,
}

/// The legs of a group that were given up before a node had them, newest first, at most [`MOST_LEGS`].
pub(crate) fn given_up(order: &Order, group: u32) -> Vec<FulfillmentId> {
    let gone = order.legs.iter().rev().filter(|leg| leg.group == group && !leg.is_live());
    gone.map(|leg| leg.id).take(MOST_LEGS).collect()
}

/// How often a hold is asked for when what came back had run out: the answer to an old request.
const ATTEMPTS: u32 = 3;

impl Orders {
    /// Holds stock and capacity. `key` says what for.
    pub(crate) async fn hold(
        &self,
        key: &str,
        wanted: &Wanted,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Held, Error> {
        self.hold_as(key, &request_of(wanted, until, now), wanted, now).await
    }

    /// The same where pieces, nodes or times may differ from one try to the next under one key: the request ids are made of
    /// the body too, so that the same try finds what it held before, and another one holds for itself.
    pub(crate) async fn hold_by_body(
        &self,
        key: &str,
        wanted: &Wanted,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Held, Error> {
        let body = request_of(wanted, until, now);
        let hash = Sha256::digest(body.encode_to_vec());
        self.hold_as(&format!("{key}/{hash:x}"), &body, wanted, now).await
    }

    async fn hold_as(
        &self,
        key: &str,
        body: &pb::HoldPromiseRequest,
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<Held, Error> {
        for attempt in 0..ATTEMPTS {
            let request_id = id::derived("orders.hold", &format!("{key}/{attempt}")).to_string();
            let request = pb::HoldPromiseRequest { request_id, ..body.clone() };
            let held = match self.promises.clone().hold_promise(request).await {
                Ok(answer) => answer.into_inner().promise.ok_or_else(no_promise)?,
                Err(answer) if is_gone(&answer) => continue,
                Err(answer) => return Err(Error::peer(answer)),
            };
            if is_live(&held, now) {
                let held = held_of(&held)?;
                if let Err(late) = in_time(&held, wanted.groups.iter().map(|wanted| &wanted.group)) {
                    self.release(held.token).await;
                    return Err(late);
                }
                return Ok(held);
            }
            // A duplicate of the call was faster, and what it held is an order's by now: holding again would take stock twice.
            if held.state() == pb::PromiseState::Confirmed {
                return Err(Error::PromiseTaken);
            }
        }
        Err(Error::NotHeld)
    }

    /// A hold goes back, unless an answer that we did not get to see says that the order has it.
    pub(crate) async fn release_unless_used(&self, token: PromiseToken, order: OrderId) {
        match self.find(order).await {
            Ok(order) if order.legs.iter().all(|leg| leg.token != Some(token)) => self.release(token).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(promise_token = %token, %error, "an unneeded hold will run out"),
        }
    }

    /// A promise as it stands.
    pub(crate) async fn promise(&self, token: PromiseToken) -> Result<pb::Promise, Error> {
        let request = pb::GetPromiseTokenRequest { promise_token: token.to_string() };
        let answer = self.promises.clone().get_promise_token(request).await.map_err(Error::peer)?;
        answer.into_inner().promise.ok_or_else(no_promise)
    }

    /// Gives a hold a later end, and answers what it holds.
    pub(crate) async fn extend(&self, token: PromiseToken, until: Timestamp) -> Result<pb::Promise, Error> {
        let request = pb::ExtendPromiseRequest {
            request_id: id::derived("orders.extend", &format!("{token}/{}", micros(until))).to_string(),
            promise_token: token.to_string(),
            expire_time: Some(wire::time(until)),
        };
        let answer = self.promises.clone().extend_promise(request).await.map_err(Error::peer)?;
        answer.into_inner().promise.ok_or_else(no_promise)
    }

    /// Gives back a hold that turned out not to be needed. When that fails, its time to live does it.
    pub(crate) async fn release(&self, token: PromiseToken) {
        let request = pb::ReleasePromiseRequest {
            request_id: id::derived("orders.release", &token.to_string()).to_string(),
            promise_token: token.to_string(),
        };
        if let Err(error) = self.promises.clone().release_promise(request).await {
            tracing::warn!(promise_token = %token, %error, "an unneeded hold was not released, it will run out");
        }
    }
}

/// The request for a hold, without its id.
fn request_of(wanted: &Wanted, until: Timestamp, now: Timestamp) -> pb::HoldPromiseRequest {
    let ttl_us = micros(until).saturating_sub(micros(now)).max(1_000_000);
    let ttl = prost_types::Duration {
        seconds: ttl_us / 1_000_000,
        nanos: i32::try_from(ttl_us % 1_000_000 * 1_000).unwrap_or_default(),
    };
    pb::HoldPromiseRequest {
        request_id: String::new(),
        lines: wanted.cart.iter().map(cart_line).collect(),
        groups: wanted.groups.iter().map(|group| cart_group(group, now)).collect(),
        ttl: Some(ttl),
        instead_of: wanted.instead_of.iter().map(ToString::to_string).collect(),
        on_behalf_of: wanted.on_behalf_of.clone(),
        channel: wanted.channel.clone(),
    }
}

fn cart_line((line, sku, quantity): &(LineNo, Sku, i64)) -> pb::CartLine {
    pb::CartLine { line: *line, sku: sku.to_string(), quantity: *quantity }
}

/// A group as fulfillment knows it. A window that is over cannot be met any more: then it is as early as possible.
fn cart_group(wanted: &WantedGroup, now: Timestamp) -> pb::CartGroup {
    let WantedGroup { group, lines, limits } = wanted;
    let near = limits.near.as_ref();
    let window = group.wanted.filter(|window| window.end > now);
    pb::CartGroup {
        group: group.no,
        method: wire::method(group.method),
        node_id: group.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        place: wire::place_of(group),
        wanted_window: window.map(wire::window),
        lines: lines
            .iter()
            .map(|(line, quantity)| LineQuantity { line: *line, quantity: *quantity })
            .collect(),
        without_node_ids: limits.without.iter().map(ToString::to_string).collect(),
        near_node_id: near.map(|(node, _)| node.to_string()).unwrap_or_default(),
        radius_m: near.map_or(0, |(_, metres)| *metres),
        max_parts: i32::try_from(limits.parts).unwrap_or(1),
    }
}

fn no_promise() -> Error {
    Fault::unreadable("an answer without its promise").into()
}

/// Whether the answer is that what the same request held before is gone.
fn is_gone(answer: &Status) -> bool {
    let reason = server::status::reason(answer);
    matches!(reason.as_deref(), Some("PROMISE_EXPIRED" | "PROMISE_REFUSED" | "PROMISE_PENDING"))
}

/// Why nothing can be placed on a promise: it is an order's, or holds nothing (any more).
pub(crate) fn ended(token: PromiseToken, state: pb::PromiseState) -> Error {
    match state {
        pb::PromiseState::Confirmed => Error::PromiseTaken,
        // Not released by anybody: its time ran out.
        pb::PromiseState::Live | pb::PromiseState::Expired => {
            Error::PromiseNotLive { token, state: pb::PromiseState::Expired }
        }
        pb::PromiseState::Unspecified | pb::PromiseState::Pending | pb::PromiseState::Released => {
            Error::PromiseNotLive { token, state }
        }
    }
}

/// No such promise, for this caller.
pub(crate) fn not_known() -> Error {
    Error::field("promise_token", "is not known")
}

/// No group is promised for later than it may be.
pub(crate) fn in_time<'a>(held: &Held, mut groups: impl Iterator<Item = &'a Group>) -> Result<(), Error> {
    let late = |group: &Group| {
        let limit = group.not_later_than?;
        let leg = held.legs.iter().find(|leg| leg.group == group.no && leg.window.start > limit)?;
        Some(Error::LaterThanWanted { group: group.no, ready: leg.window.start, limit })
    };
    groups.find_map(late).map_or(Ok(()), Err)
}

/// What a refused read or extension of a promise means for an order that is to be placed on it.
pub(crate) fn for_shopper(token: PromiseToken, error: Error) -> Error {
    let Error::Peer(answer) = error else { return error };
    if answer.code() == Code::NotFound {
        return not_known();
    }
    if !is_gone(&answer) {
        return Error::Peer(answer);
    }
    let state = server::status::facts(&answer).remove("state").unwrap_or_default();
    let state = pb::PromiseState::from_str_name(&format!("PROMISE_STATE_{state}"));
    ended(token, state.unwrap_or(pb::PromiseState::Expired))
}

/// Whether a promise holds something after now, for nobody's order yet.
pub(crate) fn is_live(held: &pb::Promise, now: Timestamp) -> bool {
    let holds = match held.state() {
        pb::PromiseState::Live => true,
        pb::PromiseState::Unspecified
        | pb::PromiseState::Pending
        | pb::PromiseState::Confirmed
        | pb::PromiseState::Released
        | pb::PromiseState::Expired => false,
    };
    holds && expiry(held).is_none_or(|at| at > now)
}

/// When a promise ends by itself.
pub(crate) fn expiry(held: &pb::Promise) -> Option<Timestamp> {
    held.expire_time.and_then(|at| from_parts(at.seconds, at.nanos).ok())
}

/// What a promise holds, as the order keeps it.
pub(crate) fn held_of(held: &pb::Promise) -> Result<Held, Error> {
    let token: PromiseToken = held.promise_token.parse().map_err(|_| unreadable("token"))?;
    let held_until = expiry(held).ok_or_else(|| unreadable("expiry"))?;
    let leg = |(no, leg): (i64, &pb::PromiseLeg)| leg_of(leg, no, token, held_until);
    let legs = (1..).zip(&held.legs).map(leg).collect::<Result<Vec<Leg>, Error>>()?;
    if legs.is_empty() { Err(unreadable("legs")) } else { Ok(Held { token, legs }) }
}

/// The same for groups that the order numbers from 1, in the order of the promise.
pub(crate) fn held_from_1(held: &pb::Promise) -> Result<Held, Error> {
    let mut of_order = held_of(held)?;
    let numbers = numbers(&of_order.legs);
    for leg in &mut of_order.legs {
        leg.group = numbers.iter().zip(1..).find(|(no, _)| **no == leg.group).map_or(leg.group, |(_, no)| no);
    }
    Ok(of_order)
}

/// The numbers of the groups of legs, each once.
fn numbers(legs: &[Leg]) -> Vec<u32> {
    let mut numbers: Vec<u32> = Vec::with_capacity(legs.len());
    for leg in legs {
        if !numbers.contains(&leg.group) {
            numbers.push(leg.group);
        }
    }
    numbers
}

fn unreadable(what: &str) -> Error {
    Fault::Unreadable(format!("{what} of a promise")).into()
}

fn leg_of(leg: &pb::PromiseLeg, no: i64, token: PromiseToken, held_until: Timestamp) -> Result<Leg, Error> {
    let option = leg.option.as_ref().ok_or_else(|| unreadable("option"))?;
    let window = option.window.as_ref().and_then(wire::span).ok_or_else(|| unreadable("window"))?;
    let line = |line: &LineQuantity| LegLine {
        line: line.line,
        units: LegUnits::fresh(line.quantity),
        cancel_requested: 0,
    };
    let mut lines: Vec<LegLine> = leg.lines.iter().map(line).collect();
    lines.sort_unstable_by_key(|line| line.line);
    Ok(Leg {
        id: leg.fulfillment_id.parse().map_err(|_| unreadable("leg"))?,
        no,
        group: leg.group,
        need: None,
        token: Some(token),
        method: method(option)?,
        node: NodeId::new(option.node_id.as_str()).map_err(|_| unreadable("node"))?,
        window,
        held_until,
        released: None,
        confirmed: None,
        dropped: None,
        is_accepted: false,
        version: 0,
        actor: String::new(),
        lines,
    })
}

fn method(option: &pb::PromiseOption) -> Result<Method, Error> {
    let known = wire::method_name(option.method).and_then(Method::parse);
    known.ok_or_else(|| unreadable("method"))
}

/// The groups that a promise was held for, numbered from 1, where its caller names none.
pub(crate) fn groups_of(held: &pb::Promise) -> Result<Vec<Group>, Error> {
    let Held { legs, .. } = held_from_1(held)?;
    let mut groups: Vec<Group> = Vec::with_capacity(legs.len());
    for leg in legs {
        let lines = leg.lines.iter().map(|line| (line.line, line.units.quantity));
        match groups.iter_mut().find(|group| group.no == leg.group) {
            Some(group) => {
                group.node = group.node.take().filter(|node| *node == leg.node);
                for (no, quantity) in lines {
                    match group.lines.iter_mut().find(|(known, _)| *known == no) {
                        Some((_, known)) => *known += quantity,
                        None => group.lines.push((no, quantity)),
                    }
                }
                group.lines.sort_unstable();
            }
            None => groups.push(Group {
                no: leg.group,
                method: leg.method,
                node: Some(leg.node),
                wanted: None,
                not_later_than: None,
                lines: lines.collect(),
                wishes: Vec::new(),
            }),
        }
    }
    Ok(groups)
}

/// Whether an answer is a definite no, which asking again does not change.
pub(crate) fn is_definite(answer: &Status) -> bool {
    matches!(answer.code(), Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound)
}

/// Why a hold was refused, `UPPER_SNAKE`; none: asking again may help.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Peer(answer) if is_definite(answer) => {
            Some(server::status::reason(answer).unwrap_or_else(|| "NO_STOCK".to_owned()))
        }
        Error::LaterThanWanted { .. } => Some(LATER_THAN_WANTED.name.to_owned()),
        _ => None,
    }
}
