//! Promises: what one node can offer for a cart, and the reason of each "no".
//!
//! [`offer`] answers for one node, from its own data, the capacity already taken there, and the instant given. Stock
//! is asked before: a node without it is refused with [`Reason::NoStock`] by the service that knows the positions.
//!
//! Always true: a window begins when the node is open; work begins in a slot with room, in opening time, and not
//! before the cut-off allows it; a refusal has at least one reason.

pub mod plan;
pub mod quota;
pub mod split;
pub mod token;

use jiff::{SignedDuration, Timestamp};

use crate::fulfillment::method::Method;
use crate::fulfillment::opening;
use crate::network::capacity::{Rule, Slot};
use crate::network::timetable::Openings;
use crate::network::{Node, Service};

/// Why a node or a method is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not enough stock for the cart.
    NoStock,
    /// Shut for longer than promises look ahead.
    NodeClosed,
    /// Too late for today, and later days do not help.
    PastCutOff,
    /// No slot with room.
    CapacityFull,
    /// Too far from the customer.
    OutOfRadius,
    /// The node (or nobody) offers this method.
    MethodNotOffered,
    /// No such node.
    UnknownNode,
    /// No such SKU.
    UnknownSku,
    /// The node let offers run out, and has not answered since.
    NodeSilent,
    /// A scenario pauses the method there.
    MethodPaused,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::NoStock,
        Self::NodeClosed,
        Self::PastCutOff,
        Self::CapacityFull,
        Self::OutOfRadius,
        Self::MethodNotOffered,
        Self::UnknownNode,
        Self::UnknownSku,
        Self::NodeSilent,
        Self::MethodPaused,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoStock => "NO_STOCK",
            Self::NodeClosed => "NODE_CLOSED",
            Self::PastCutOff => "PAST_CUT_OFF",
            Self::CapacityFull => "CAPACITY_FULL",
            Self::OutOfRadius => "OUT_OF_RADIUS",
            Self::MethodNotOffered => "METHOD_NOT_OFFERED",
            Self::UnknownNode => "UNKNOWN_NODE",
            Self::UnknownSku => "UNKNOWN_SKU",
            Self::NodeSilent => "NODE_SILENT",
            Self::MethodPaused => "METHOD_PAUSED",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One or more reasons for a "no", the most telling first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    reasons: Vec<Reason>,
    scenario: Option<String>,
}

impl Refused {
    /// Refused for this reason.
    pub fn because(reason: Reason) -> Self {
        Self { reasons: vec![reason], scenario: None }
    }

    /// Refused since a scenario of this name pauses the method.
    pub fn paused_by(scenario: impl Into<String>) -> Self {
        Self { reasons: vec![Reason::MethodPaused], scenario: Some(scenario.into()) }
    }

    /// And for this one too.
    #[must_use]
    pub fn and(mut self, reason: Reason) -> Self {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
        self
    }

    /// And for the reasons of another refusal.
    #[must_use]
    pub fn and_all(self, other: Self) -> Self {
        let mut all = other.reasons.into_iter().fold(self, Self::and);
        all.scenario = all.scenario.or(other.scenario);
        all
    }

    /// The scenario that pauses the method, where one does.
    pub fn scenario(&self) -> Option<&str> {
        self.scenario.as_deref()
    }

    /// The reasons; at least one.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The most telling reason.
    pub fn first(&self) -> Reason {
        self.reasons[0]
    }
}

/// What a node can do for a cart that it has the stock for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// When work begins at the earliest.
    pub begin: Timestamp,
    /// The slot whose capacity it takes; `None`: the node limits no capacity for this activity.
    pub slot: Option<Slot>,
    /// How much of the slot it takes: 1, or its units where the node counts those.
    pub amount: i64,
    /// When the goods are ready: an instant at which the node is open.
    pub ready: Timestamp,
    /// Until when they are kept.
    pub keep_until: Timestamp,
}

/// The numbers that promises go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How far ahead work may begin, in hours.
    pub horizon_hours: i64,
    /// How long goods that are ready are kept.
    pub keep: SignedDuration,
    /// A keep time that would end while the node is shut leaves this much opening time after it.
    pub min_open: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        let clocks = Method::Pickup.rules().clocks;
        Self { horizon_hours: 7 * 24, keep: clocks.keep, min_open: clocks.min_open }
    }
}

/// What a promise is asked for, apart from the goods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// How the goods shall reach the customer.
    pub method: Method,
    /// Pieces of the cart.
    pub units: i64,
    /// The instant of the question.
    pub now: Timestamp,
    /// How far the customer is from the node, in metres, if that is known.
    pub distance_m: Option<f64>,
    /// When the goods are wanted, from and until; `None`: as early as possible.
    pub wanted: Option<(Timestamp, Timestamp)>,
    /// Opening time that the node needs beyond its own preparation time.
    pub extra_preparation: SignedDuration,
    /// The farthest that the customer may be from the node, in metres, whatever the node says; `None`: the node says it.
    pub max_radius_m: Option<i64>,
}

/// What the node can do, if it has the goods. `openings` are the node's hours, and `used` is how much a slot (by its start)
/// has taken already, counted as the node's rule counts.
pub fn offer(
    node: &Node,
    openings: Openings<'_>,
    ask: Ask,
    policy: Policy,
    used: impl Fn(Timestamp) -> i64,
) -> Result<Offer, Refused> {
    let Some(service) = node.service(ask.method) else {
        return Err(Refused::because(Reason::MethodNotOffered));
    };
    if !is_near(service, ask) {
        return Err(Refused::because(Reason::OutOfRadius));
    }
    let horizon = ask.now.checked_add(SignedDuration::from_hours(policy.horizon_hours));
    let until = horizon.unwrap_or(Timestamp::MAX);
    let preparation = service.preparation().saturating_add(ask.extra_preparation);
    let wanted_from = ask.wanted.and_then(|(from, _)| from.checked_sub(preparation).ok());
    let earliest = earliest_begin(openings, service, wanted_from.map_or(ask.now, |from| from.max(ask.now)));
    let rule = node.rule(ask.method.rules().activity);
    let amount = rule.map_or(1, |rule| rule.most().taken_by(ask.units));
    let first_begin = |from| first_begin(rule, openings, amount, from, until, &used);
    let work = first_begin(earliest);
    let (slot, begin) = work.map_err(|reason| {
        let refused = Refused::because(reason);
        let in_time = earliest > ask.now && first_begin(ask.now).is_ok();
        if in_time { refused.and(Reason::PastCutOff) } else { refused }
    })?;
    let ready = openings
        .add_open_time(begin, preparation)
        .and_then(|done| openings.next_open(done))
        .ok_or_else(|| Refused::because(Reason::NodeClosed))?;
    if ask.wanted.is_some_and(|(_, until)| ready > until) {
        return Err(Refused::because(Reason::PastCutOff));
    }
    let keep_until = opening::keep_until(ask.method, ready, policy.keep, policy.min_open, openings);
    Ok(Offer { begin, slot, amount, ready, keep_until })
}

/// Near enough for the node, and for what limits it.
#[expect(clippy::cast_precision_loss, reason = "nothing on earth is farther than 20,100 km")]
fn is_near(service: &Service, ask: Ask) -> bool {
    let Some(distance_m) = ask.distance_m else { return true };
    let is_within = |radius: Option<f64>| radius.is_none_or(|radius| distance_m <= radius);
    is_within(service.radius_m.map(f64::from)) && is_within(ask.max_radius_m.map(|metres| metres as f64))
}

/// When work may begin: now, or on the next business day once the cut-off of this one has passed.
fn earliest_begin(openings: Openings<'_>, service: &Service, now: Timestamp) -> Timestamp {
    if service.cut_offs == [None; 7] {
        return now;
    }
    let day = openings.business_day_at(now);
    let Some(cut_off) = service.cut_off(day.date.weekday()) else { return now };
    if now < openings.hours().cut_off(&day, cut_off) { now } else { day.end.max(now) }
}

/// The first instant with opening time and room.
fn first_begin(
    rule: Option<&Rule>,
    openings: Openings<'_>,
    amount: i64,
    from: Timestamp,
    until: Timestamp,
    used: impl Fn(Timestamp) -> i64,
) -> Result<(Option<Slot>, Timestamp), Reason> {
    let open = openings.next_open(from).filter(|open| *open <= until).ok_or(Reason::NodeClosed)?;
    match rule {
        None => Ok((None, open)),
        Some(rule) => rule
            .first_free(openings, amount, open, until, used)
            .map(|(slot, begin)| (Some(slot), begin))
            .ok_or(Reason::CapacityFull),
    }
}

#[cfg(test)]
#[path = "promise_tests.rs"]
mod tests;
