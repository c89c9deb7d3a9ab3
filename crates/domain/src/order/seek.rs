//! Where pieces of a need may be looked for without asking: what the consent allows, in which order.
//!
//! Everything here depends on stored times alone, so that a round of seeking that is repeated after a crash asks for the
//! same again.

use jiff::SignedDuration;

use super::need::MAX_OFFERS;
use super::{Group, Leg, Need, Order};
use crate::fulfillment::method::Method;
use crate::id::NodeId;
use crate::time::{Timestamp, after_ms};

/// The most rungs of a ladder.
pub const MAX_RUNGS: usize = 12;
/// The most nodes that are left out.
pub const MAX_EXCLUDED: usize = 50;
/// How many legs pieces may be divided into, where the customer allows more parts than were asked.
pub const MAX_PARTS: u32 = 3;

/// What may be done without asking when a node can't do what was promised. Nothing is allowed by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consent {
    /// Another node within this many meters of the first; 0: no.
    pub radius_m: i64,
    /// Later, until then.
    pub delay_until: Option<Timestamp>,
    /// In more parts than asked.
    pub split: bool,
    /// Other goods. Opens no rung yet.
    pub substitute: bool,
    /// Another method; the first is tried first.
    pub methods: Vec<Method>,
}

/// Which nodes a rung is for. Nodes that are left out are so on every rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// Any that serves the group.
    Any,
    /// Those near a node, itself too.
    Near {
        /// The node.
        node: NodeId,
        /// How far, in meters.
        radius_m: i64,
    },
}

/// One way in which pieces of a need are looked for. Tried one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// How the goods reach the customer.
    pub method: Method,
    /// At which nodes.
    pub nodes: Nodes,
    /// Ready from then on.
    pub from: Timestamp,
    /// Ready before then, later than `from`.
    pub latest: Timestamp,
    /// In at most how many legs, 1 to [`MAX_PARTS`].
    pub parts: u32,
}

/// The ladder of a need: at most [`MAX_RUNGS`], each once, best first. Empty: the customer is asked at once.
pub fn rungs(order: &Order, need: &Need, consent: &Consent, now: Timestamp) -> Vec<Rung> {
    let Some(group) = order.group(need.group) else { return Vec::new() };
    let is_apart = !is_whole(order, need);
    if need.offers >= MAX_OFFERS || is_apart && !consent.split {
        return Vec::new();
    }
    let method = order.method_of(need).unwrap_or(group.method);
    let from = group.wanted.map_or(need.opened, |wanted| wanted.start.max(need.opened));
    let cap = |at: Timestamp| group.not_later_than.map_or(at, |limit| at.min(limit));
    let same = in_time(order, need, group, consent);
    let late = consent.delay_until.map_or(same, |until| until.max(same));
    let (same, late) = (cap(same), cap(late));
    let mut ladder: Vec<Rung> = Vec::new();
    let mut add = |method: Method, nodes: Nodes, latest: Timestamp, parts: u32| {
        let rung = Rung { method, nodes, from, latest, parts };
        let is_possible = method.rules().is_offered && latest > now && latest > from;
        if is_possible && ladder.len() < MAX_RUNGS && !ladder.contains(&rung) {
            ladder.push(rung);
        }
    };
    let nodes = nodes(order, need, method, consent);
    let most = if consent.split { MAX_PARTS } else { 1 };
    for parts in [1, most] {
        for latest in [same, late] {
            if let Some(nodes) = &nodes {
                add(method, nodes.clone(), latest, parts);
            }
        }
    }
    for other in consent.methods.iter().filter(|other| **other != method) {
        add(*other, Nodes::Any, late, 1);
    }
    ladder
}

/// The nodes of the legs behind all needs of the group, each with its newest reason: at most the newest
/// [`MAX_EXCLUDED`], by node. They are not asked again.
pub fn excluded(order: &Order, need: &Need) -> Vec<(NodeId, String)> {
    let mut nodes: Vec<(NodeId, String)> = Vec::new();
    for other in order.needs.iter().rev().filter(|other| other.group == need.group) {
        let Some(leg) = other.leg.and_then(|leg| order.leg(leg)) else { continue };
        if nodes.len() < MAX_EXCLUDED && !nodes.iter().any(|(node, _)| *node == leg.node) {
            nodes.push((leg.node.clone(), other.reason.clone()));
        }
    }
    nodes.sort_unstable();
    nodes
}

/// Which nodes may serve the need by the method that it has; none: no other than the one that the customer named.
fn nodes(order: &Order, need: &Need, method: Method, consent: &Consent) -> Option<Nodes> {
    let group = order.group(need.group)?;
    // The customer named a node for the method that was asked.
    let is_named = group.node.is_some() && group.method == method;
    if !(is_named && method.rules().is_collected) {
        return Some(Nodes::Any);
    }
    let node = order.first_node(need.group)?.clone();
    (consent.radius_m > 0).then_some(Nodes::Near { node, radius_m: consent.radius_m })
}

/// No other piece of the group stands anywhere or was handed over: what is looked for is all that stays together.
fn is_whole(order: &Order, need: &Need) -> bool {
    let mut legs = order.legs.iter().filter(|leg| leg.group == need.group && leg.is_live());
    !legs.any(|leg| leg.lines.iter().any(|line| line.units.buckets(leg.is_accepted).live() > 0))
}

/// Until when goods count as being ready when they were promised. A leg that is later than this, and later than the
/// customer allowed, was chosen by the customer: then its own promise counts.
fn in_time(order: &Order, need: &Need, group: &Group, consent: &Consent) -> Timestamp {
    let mut tries = order.tries_before(need);
    tries.reverse();
    let slack = |leg: &Leg| later(leg.window.start, leg.method.rules().slack);
    let asked = group.wanted.map(|wanted| wanted.end);
    let first = tries.first().map(|leg| slack(leg));
    let mut limit = asked.or(first).unwrap_or_else(|| later(need.opened, group.method.rules().slack));
    for leg in tries {
        let allowed = consent.delay_until.map_or(limit, |until| until.max(limit));
        if leg.window.start > allowed {
            limit = slack(leg);
        }
    }
    limit
}

impl Order {
    /// The node that a group was asked of, or else the first that it was promised at: what radii are measured from.
    pub fn first_node(&self, group: u32) -> Option<&NodeId> {
        let named = self.group(group).and_then(|group| group.node.as_ref());
        named.or_else(|| self.legs.iter().find(|leg| leg.group == group).map(|leg| &leg.node))
    }

    /// How the pieces of a need were to reach the customer; none: the order has no such group.
    pub fn method_of(&self, need: &Need) -> Option<Method> {
        let leg = need.leg.and_then(|leg| self.leg(leg)).map(|leg| leg.method);
        leg.or_else(|| self.group(need.group).map(|group| group.method))
    }

    /// The need of this number.
    pub(super) fn need_no(&self, no: i64) -> Option<&Need> {
        self.needs.iter().find(|need| need.no == no)
    }

    /// The legs that failed the pieces of a need: the last one first.
    fn tries_before(&self, need: &Need) -> Vec<&Leg> {
        let mut legs: Vec<&Leg> = Vec::new();
        let mut next = need.leg;
        while let Some(leg) = next.and_then(|leg| self.leg(leg)) {
            legs.push(leg);
            // A need is opened after the leg that it comes from, so its number falls.
            let before = leg.need.and_then(|no| self.need_no(no)).filter(|_| legs.len() <= self.legs.len());
            next = before.and_then(|need| need.leg);
        }
        legs
    }
}

/// The instant a length of time later, at most the end of the calendar.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    after_ms(at, i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
