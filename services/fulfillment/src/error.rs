//! What can go wrong here, and the one place where it meets gRPC codes.

use std::time::Duration;

use clock::Clock;
use domain::fulfillment;
use domain::fulfillment::method::Method;
use domain::id::{FulfillmentId, NodeId, PromiseToken};
use domain::money::Money;
use domain::promise::{Reason, Refused, quota, token};
use domain::words::plain;
use jiff::Timestamp;
use service::{Fault, Outage};
use tonic::{Code, Status};

use crate::policy::refusal::Refusal;

/// The domain of our errors in `ErrorInfo`.
pub const DOMAIN: &str = "fulfillment.entrepot";

/// The reasons that calls of fulfillment can be refused with, besides those of every service.
pub mod reason {
    server::reasons! {
        NODE_NOT_FOUND: NotFound, No, "the node does not exist",
            "create it with PutNodes";
        NODE_CHANGED: Aborted, Reread, "the node changed since the etag was read",
            "read the node and send its etag";
        NOT_YOUR_NODE: PermissionDenied, No, "a store named another node",
            "name your own node";
        NOT_YOUR_CHANNEL: PermissionDenied, No, "a channel named another one",
            "name your own channel, or none";
        POLICY_NOT_FOUND: NotFound, No, "the version of a policy does not exist",
            "check the id";
        POLICY_AMBIGUOUS: FailedPrecondition, No, "two versions of equal rank would fit one node: the facts `policy_id`, `version` and `node_group` name one that is there",
            "name another group or more of the thing in the scope, or change the groups";
        POLICIES_FULL: ResourceExhausted, No, "too many versions of the kind may still apply, or too many activations of the scope are not over",
            "withdraw what is not needed; put versions with until_time";
        POLICY_NOT_IN_FORCE: FailedPrecondition, No, "no version is in force for this kind and scope",
            "name the scope exactly as its version does";
        POLICY_IN_FORCE: FailedPrecondition, No, "the version is in force for all that time already",
            "roll it back or withdraw it to end it";
        POLICY_OVER: FailedPrecondition, No, "the time in which the version could be in force has ended",
            "put another version";
        GROUP_NOT_FOUND: NotFound, No, "the node group does not exist",
            "create it with PutNodeGroup";
        GROUP_CHANGED: Aborted, Reread, "the node group changed since the etag was read",
            "read the group and send its etag";
        GROUP_IN_USE: FailedPrecondition, No, "a version that may still apply names the node group",
            "withdraw the version of the fact `policy_id` first";
        GROUPS_FULL: ResourceExhausted, No, "there are as many node groups as there may be",
            "delete a group that no policy names";
        PROMISE_NOT_FOUND: NotFound, No, "the promise does not exist, or is not visible to the caller",
            "check the token and the actor";
        DECISION_NOT_FOUND: NotFound, No, "no sourcing decision has this id or order",
            "check the id";
        NO_STOCK: FailedPrecondition, No, "the node has fewer units available than the cart needs",
            "choose a node of the fact `alternatives`";
        NODE_CLOSED: FailedPrecondition, No, "the node does not open within the time that promises look ahead, or its last day is over",
            "choose another node";
        PAST_CUT_OFF: FailedPrecondition, No, "no cut-off of the node lies ahead within the horizon",
            "choose another node";
        NODE_SILENT: FailedPrecondition, No, "the node let offers run out one after another, and has not answered since",
            "choose another node";
        CAPACITY_FULL: FailedPrecondition, No, "no slot of the node within the horizon has room for the cart",
            "choose another node, or try again later";
        OUT_OF_RADIUS: FailedPrecondition, No, "the address lies outside the node's delivery radius, or no node with the goods lies within radius_m",
            "choose another node";
        METHOD_PAUSED: FailedPrecondition, No, "a scenario, the fact `scenario`, pauses the method there",
            "choose another method or node, or try again when it is over";
        METHOD_NOT_OFFERED: FailedPrecondition, No, "the node, or this version, does not offer the method",
            "choose another method or node";
        UNKNOWN_NODE: FailedPrecondition, No, "the promise names a node that does not exist",
            "check node_id";
        UNKNOWN_SKU: FailedPrecondition, No, "the cart holds a SKU that does not exist",
            "create it with PutSkus";
        PROMISE_TAKEN: FailedPrecondition, No, "an order has the promise, or is being placed on it",
            "hold a new promise";
        PROMISE_EXPIRED: FailedPrecondition, No, "the promise expired",
            "hold a new promise";
        PROMISE_PENDING: Aborted, Later, "the promise is still being made",
            "send it again";
        PROMISE_REFUSED: FailedPrecondition, No, "the state of the promise, the fact `state`, does not allow it",
            "read the promise; hold a new one if it has ended";
        PROMISE_NOT_DUE: FailedPrecondition, No, "the promise has not reached its end",
            "read the promise";
        PROMISE_TOO_LONG: FailedPrecondition, No, "the end asked for is later than this caller may have it",
            "ask for at most the fact `latest_time`";
        HOLD_QUOTA: ResourceExhausted, No, "the caller would hold more than it may: the facts `what`, `used`, `asked`, `limit` and `sku` say of what, `policy_version` which policy says so",
            "release a promise, place its order, or wait until one expires; or hold less";
        STOCK_VIEW_LOADING: Unavailable, Later, "the process has not read the stock yet",
            "wait for RetryInfo, then send it again";
        INVENTORY_UNAVAILABLE: Unavailable, Later, "inventory did not answer",
            "send it again with the same request_id";
        FULFILLMENT_NOT_FOUND: NotFound, No, "the fulfillment order does not exist, or is another node's",
            "check the id and the actor";
        FULFILLMENT_CHANGED: Aborted, Reread, "the fulfillment order changed while the call was worked on",
            "read it and decide again";
        WRONG_STATE: FailedPrecondition, No, "the state of the fulfillment order, the fact `state`, does not allow the step",
            "read the fulfillment order";
        UNKNOWN_LINE: FailedPrecondition, No, "the fulfillment order has no line of this number",
            "read its lines";
        LINE_TWICE: FailedPrecondition, No, "a line is named more than once",
            "name each line once";
        TOO_MANY_UNITS: FailedPrecondition, No, "the line has fewer units left than named",
            "name at most the fact `left`";
        NOTHING_TO_DO: FailedPrecondition, No, "the step would change nothing",
            "read the fulfillment order";
        STILL_TO_PICK: FailedPrecondition, No, "units are still to be picked",
            "pick them, or report them short";
        PAYMENT_DUE: FailedPrecondition, No, "more is due at the handover than was paid, or a payment of the order was lost",
            "pay exactly the fact `due_minor`; without that fact have the order paid again first";
        AMOUNT_DIFFERS: FailedPrecondition, No, "the amount paid differs from what is due at the handover",
            "pay exactly the fact `due_minor`, or nothing if that is 0";
        TOO_EARLY: FailedPrecondition, No, "the step is not due yet",
            "wait until it is due";
        PICKUP_CODE_NOT_FOUND: NotFound, No, "no work at the node has this pickup code",
            "check the code";
        NO_PICKUP_CODE: FailedPrecondition, No, "no pickup code was issued, or the last one was used",
            "have the channel issue one";
        PICKUP_CODE_VOID: FailedPrecondition, No, "the pickup code was used or replaced, or its work is over",
            "ask the customer for the newest code";
        PICKUP_CODE_LOCKED: FailedPrecondition, No, "the code was missed too often",
            "have the channel issue a new one";
        WRONG_PICKUP_CODE: FailedPrecondition, No, "the code is not the one of this order",
            "check the code; the fact `tries_left` says how often it may be missed";
        TOO_MANY_WRONG_CODES: ResourceExhausted, Later, "the store missed too many codes",
            "wait for RetryInfo, or hand over by order";
    }
}

/// Named by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such node.
    #[error("node {0} does not exist")]
    NodeNotFound(String),
    /// A store may not change another node.
    #[error("a store may not change {0}")]
    NotYourNode(NodeId),
    /// A channel sells through itself alone.
    #[error("channel: must be {0}, the channel that calls")]
    NotYourChannel(String),
    /// No such promise.
    #[error("promise {0} does not exist")]
    PromiseNotFound(String),
    /// No such decision.
    #[error("there is no sourcing decision for {0}")]
    DecisionNotFound(String),
    /// The node was changed since the caller read it.
    #[error("node {0} changed meanwhile, read it again")]
    NodeChanged(String),
    /// A change of policies or groups of nodes that is refused.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// A method that nobody offers here.
    #[error("the method {0} is not offered")]
    MethodNotOffered(String),
    /// The cart can't be promised.
    #[error("{0}")]
    NotPromised(Box<NotPromised>),
    /// The promise does not allow it.
    #[error(transparent)]
    PromiseRefused(#[from] token::Refusal),
    /// A service builds an order upon it.
    #[error("an order is being placed with promise {0}; if that fails, the promise expires by itself")]
    PromiseTaken(PromiseToken),
    /// The caller would hold more than it may.
    #[error(transparent)]
    HoldQuota(Box<quota::Exceeded>),
    /// The view of the stock is not there yet.
    #[error("stock is still being read, try again")]
    ViewLoading,
    /// Inventory did not answer as it should.
    #[error("inventory: {0}")]
    Peer(Box<Status>),
    /// No such fulfillment order, or not one of the caller's.
    #[error("there is no fulfillment order for {0}")]
    FulfillmentNotFound(String),
    /// The fulfillment order was changed by somebody else.
    #[error("fulfillment order {0} changed meanwhile, load it again")]
    WorkChanged(FulfillmentId),
    /// The fulfillment order does not allow it.
    #[error(transparent)]
    WorkRefused(#[from] fulfillment::Refusal),
    /// The code opens nothing at this node.
    #[error("no work at this node has this pickup code")]
    CodeNotFound,
    /// The database was used with another key for pickup codes.
    #[error(
        "its database was used with another key for pickup codes; set `secrets.pickup_code_key_file` to that key (or \
         copy the file `pickup-code.key` of the data directory where it was made into this one), or, if it is lost, start \
         once with `fulfillment.work.replace_pickup_code_key = true`, which makes all codes issued so far void"
    )]
    OtherKey,
    /// No code was issued, or the last one was used.
    #[error("fulfillment order {0} has no pickup code, the channel must issue one")]
    NoCode(FulfillmentId),
    /// A code that opened something before.
    #[error("this pickup code is void: it was used, a newer one was issued, or its work is over")]
    CodeVoid,
    /// Too many wrong codes.
    #[error("the pickup code of {0} is locked, the channel must issue a new one")]
    CodeLocked(FulfillmentId),
    /// A wrong code.
    #[error("the pickup code is wrong, tries left: {tries_left}")]
    WrongCode {
        /// Before the code is locked.
        tries_left: i64,
    },
    /// Too many codes were missed.
    #[error("too many wrong pickup codes, try again later")]
    Throttled {
        /// When the next try may be.
        until: Timestamp,
        /// When this one was.
        now: Timestamp,
    },
    /// What can go wrong in any service.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A cart that a node can't be promised for.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{} cannot serve group {group} of this cart by {}: {}",
    node.as_ref().map_or("no node", NodeId::as_str), plain(&method.to_string()), list(.refused)
)]
pub struct NotPromised {
    /// The group of the cart.
    pub group: u32,
    /// The node asked for, or chosen; `None`: no node can serve it.
    pub node: Option<NodeId>,
    /// The method asked for.
    pub method: Method,
    /// Why not.
    pub refused: Refused,
    /// The SKU that ran out, when stock is the reason.
    pub shortage: Option<Shortage>,
    /// The nearest nodes that can, best first.
    pub alternatives: Vec<NodeId>,
}

/// A SKU that ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The SKU.
    pub sku: String,
    /// Units asked for.
    pub wanted: String,
    /// Units available.
    pub available: String,
}

fn list(refused: &Refused) -> String {
    let in_words = |reason: &Reason| match (reason, refused.scenario()) {
        (Reason::MethodPaused, Some(scenario)) => format!("{} ({scenario})", plain(reason.name())),
        _ => plain(reason.name()),
    };
    refused.reasons().iter().map(in_words).collect::<Vec<_>>().join(", ")
}

fn codes(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(",")
}

impl NotPromised {
    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![
            ("group".to_owned(), self.group.to_string()),
            ("method".to_owned(), self.method.to_string()),
            ("reasons".to_owned(), codes(self.refused.reasons())),
        ];
        facts.extend(self.node.iter().map(|node| ("node_id".to_owned(), node.to_string())));
        facts.extend(self.refused.scenario().map(|name| ("scenario".to_owned(), name.to_owned())));
        if let Some(shortage) = &self.shortage {
            facts.push(("sku".to_owned(), shortage.sku.clone()));
            facts.push(("wanted".to_owned(), shortage.wanted.clone()));
            facts.push(("available".to_owned(), shortage.available.clone()));
        }
        let alternatives: Vec<&str> = self.alternatives.iter().map(NodeId::as_str).collect();
        facts.push(("alternatives".to_owned(), alternatives.join(",")));
        facts
    }
}

impl Error {
    /// One bad field.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Fault::field(field, description).into()
    }

    /// A stored row or an event that can't be read.
    pub(crate) fn corrupt(what: String) -> Self {
        Fault::Unreadable(what).into()
    }

    /// A pickup code that the node has given to somebody else was drawn.
    pub(crate) fn is_duplicate_code(&self) -> bool {
        matches!(self, Self::Fault(Fault::Db(error)) if error.is_duplicate_in("pickup_codes"))
    }

    fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        match self {
            Self::NodeNotFound(node) | Self::NodeChanged(node) => fact("node_id", node),
            Self::NotYourNode(node) => fact("node_id", node.as_str()),
            Self::NotYourChannel(channel) => fact("channel", channel),
            Self::PromiseNotFound(token) => fact("promise_token", token),
            Self::PromiseTaken(token) => fact("promise_token", &token.to_string()),
            Self::Policy(refusal) => refusal.facts(),
            Self::NotPromised(refused) => refused.facts(),
            Self::MethodNotOffered(method) => fact("method", method),
            Self::HoldQuota(exceeded) => quota_facts(exceeded),
            Self::FulfillmentNotFound(id) => fact("id", id),
            Self::WorkChanged(id) | Self::NoCode(id) | Self::CodeLocked(id) => {
                fact("fulfillment_id", &id.to_string())
            }
            Self::WorkRefused(refusal) => work_facts(refusal),
            Self::WrongCode { tries_left } => fact("tries_left", &tries_left.to_string()),
            Self::PromiseRefused(token::Refusal::State { state, .. }) => fact("state", state),
            Self::PromiseRefused(token::Refusal::OtherOrder(order)) => fact("order_id", &order.to_string()),
            Self::PromiseRefused(token::Refusal::TooLong(at)) => fact("latest_time", &at.to_string()),
            _ => Vec::new(),
        }
    }
}

service::faults!(Error);

fn inventory_is_away(status: &Status) -> Status {
    static OUTAGE: Outage = Outage::new();
    if let Some(calls) = OUTAGE.refused(Clock::system().wall()) {
        tracing::warn!(code = ?status.code(), message = status.message(), calls, "inventory did not answer");
    }
    let soon = Duration::from_millis(100);
    server::retry_later(reason::INVENTORY_UNAVAILABLE, DOMAIN, soon, "inventory did not answer")
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let soon = Duration::from_millis(100);
        let reason = match error {
            Error::ViewLoading => {
                return server::retry_later(reason::STOCK_VIEW_LOADING, DOMAIN, soon, error.to_string());
            }
            // The caller's own time is over; inventory only noticed first.
            Error::Peer(ref status) if status.code() == Code::DeadlineExceeded => {
                server::reason::DEADLINE_EXCEEDED
            }
            Error::Peer(status) => return inventory_is_away(&status),
            Error::Fault(fault) => return fault.status(DOMAIN),
            Error::Throttled { until, now } => {
                let wait = Duration::try_from(until.duration_since(now)).unwrap_or(soon);
                return server::retry_later(reason::TOO_MANY_WRONG_CODES, DOMAIN, wait, error.to_string());
            }
            Error::FulfillmentNotFound(_) => reason::FULFILLMENT_NOT_FOUND,
            Error::CodeNotFound => reason::PICKUP_CODE_NOT_FOUND,
            Error::WorkChanged(_) => reason::FULFILLMENT_CHANGED,
            Error::WorkRefused(ref refusal) => work_reason(refusal),
            // Found at the start: it answers no call.
            Error::OtherKey => return Fault::Unreadable(error.to_string()).status(DOMAIN),
            Error::NoCode(_) => reason::NO_PICKUP_CODE,
            Error::CodeLocked(_) => reason::PICKUP_CODE_LOCKED,
            Error::CodeVoid => reason::PICKUP_CODE_VOID,
            Error::WrongCode { .. } => reason::WRONG_PICKUP_CODE,
            Error::NodeNotFound(_) => reason::NODE_NOT_FOUND,
            Error::NotYourNode(_) => reason::NOT_YOUR_NODE,
            Error::NotYourChannel(_) => reason::NOT_YOUR_CHANNEL,
            Error::PromiseNotFound(_) => reason::PROMISE_NOT_FOUND,
            Error::DecisionNotFound(_) => reason::DECISION_NOT_FOUND,
            Error::NodeChanged(_) => reason::NODE_CHANGED,
            Error::Policy(ref refusal) => refusal.reason(),
            Error::MethodNotOffered(_) => reason::METHOD_NOT_OFFERED,
            Error::NotPromised(ref refused) => not_promised(refused.refused.first()),
            Error::PromiseTaken(_) => reason::PROMISE_TAKEN,
            Error::HoldQuota(_) => reason::HOLD_QUOTA,
            Error::PromiseRefused(ref refusal) => promise_reason(refusal),
        };
        let facts = error.facts();
        server::status(reason, DOMAIN, error.to_string(), facts)
    }
}

fn not_promised(why: Reason) -> server::Reason {
    match why {
        Reason::NoStock => reason::NO_STOCK,
        Reason::NodeClosed => reason::NODE_CLOSED,
        Reason::PastCutOff => reason::PAST_CUT_OFF,
        Reason::CapacityFull => reason::CAPACITY_FULL,
        Reason::OutOfRadius => reason::OUT_OF_RADIUS,
        Reason::MethodNotOffered => reason::METHOD_NOT_OFFERED,
        Reason::UnknownNode => reason::UNKNOWN_NODE,
        Reason::UnknownSku => reason::UNKNOWN_SKU,
        Reason::NodeSilent => reason::NODE_SILENT,
        Reason::MethodPaused => reason::METHOD_PAUSED,
    }
}

fn quota_facts(exceeded: &quota::Exceeded) -> Vec<(String, String)> {
    let quota::Exceeded { what, sku, used, asked, limit, policy } = exceeded;
    let numbers = [("used", used), ("asked", asked), ("limit", limit)];
    let mut facts = vec![("what".to_owned(), what.name().to_owned())];
    facts.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
    facts.extend(sku.iter().map(|sku| ("sku".to_owned(), sku.to_string())));
    facts.extend((*policy > 0).then(|| ("policy_version".to_owned(), policy.to_string())));
    facts
}

fn promise_reason(refusal: &token::Refusal) -> server::Reason {
    match refusal {
        token::Refusal::State { state: "EXPIRED", .. } => reason::PROMISE_EXPIRED,
        token::Refusal::State { state: "PENDING", .. } => reason::PROMISE_PENDING,
        token::Refusal::State { .. } => reason::PROMISE_REFUSED,
        token::Refusal::OtherOrder(_) => reason::PROMISE_TAKEN,
        token::Refusal::NotDue(_) => reason::PROMISE_NOT_DUE,
        token::Refusal::TooLong(_) => reason::PROMISE_TOO_LONG,
    }
}

fn work_reason(refusal: &fulfillment::Refusal) -> server::Reason {
    match refusal {
        fulfillment::Refusal::State { .. } | fulfillment::Refusal::Reporter { .. } => reason::WRONG_STATE,
        fulfillment::Refusal::UnknownLine { .. } => reason::UNKNOWN_LINE,
        fulfillment::Refusal::LineTwice { .. } => reason::LINE_TWICE,
        fulfillment::Refusal::TooMany { .. } => reason::TOO_MANY_UNITS,
        fulfillment::Refusal::Nothing { .. } => reason::NOTHING_TO_DO,
        fulfillment::Refusal::StillToPick { .. } => reason::STILL_TO_PICK,
        fulfillment::Refusal::PaymentLost { .. } | fulfillment::Refusal::PaymentDue { .. } => {
            reason::PAYMENT_DUE
        }
        fulfillment::Refusal::PaymentDiffers { .. } => reason::AMOUNT_DIFFERS,
        fulfillment::Refusal::TooEarly { .. } => reason::TOO_EARLY,
    }
}

fn work_facts(refusal: &fulfillment::Refusal) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    match refusal {
        fulfillment::Refusal::State { step, state } => {
            vec![fact("step", (*step).to_owned()), fact("state", state.name().to_owned())]
        }
        fulfillment::Refusal::Reporter { step, reporter } => {
            vec![fact("step", (*step).to_owned()), fact("reporter", reporter.name().to_owned())]
        }
        fulfillment::Refusal::UnknownLine { line } | fulfillment::Refusal::LineTwice { line } => {
            vec![fact("line", line.to_string())]
        }
        fulfillment::Refusal::TooMany { line, asked, left } => {
            vec![
                fact("line", line.to_string()),
                fact("asked", asked.to_string()),
                fact("left", left.to_string()),
            ]
        }
        fulfillment::Refusal::StillToPick { left } => vec![fact("left", left.to_string())],
        fulfillment::Refusal::PaymentDue { due, given } => paid_facts(Some(*due), *given),
        fulfillment::Refusal::PaymentDiffers { due, given } => paid_facts(*due, Some(*given)),
        fulfillment::Refusal::PaymentLost { .. }
        | fulfillment::Refusal::Nothing { .. }
        | fulfillment::Refusal::TooEarly { .. } => Vec::new(),
    }
}

/// What is due and what was paid; the currency is that of what is due, where anything is.
fn paid_facts(due: Option<Money>, given: Option<Money>) -> Vec<(String, String)> {
    let minor = |money: Option<Money>| money.map_or(0, |money| money.minor).to_string();
    let mut facts = vec![("due_minor".to_owned(), minor(due)), ("given_minor".to_owned(), minor(given))];
    facts.extend(due.or(given).map(|money| ("currency".to_owned(), money.currency.to_string())));
    facts.extend(given.map(|money| ("given_currency".to_owned(), money.currency.to_string())));
    facts
}
