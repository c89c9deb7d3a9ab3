//! Who may call what, and which nodes, work and promises a caller may touch.

use domain::id::NodeId;
use domain::promise::token::Refusal;
use server::auth::kind::{ALL, CHANNEL, CUSTOMER, OPS, SERVICE, STORE};
use server::{Access, Principal};
use service::{Call, speaks_for};

use crate::error::Error;
use crate::store::promise::Stored;
use crate::store::promise_leg::Leg;
use crate::store::work::Stored as Work;

const WORKERS: &[&str] = &[SERVICE, OPS];
const CLOSERS: &[&str] = &[SERVICE, OPS, STORE];
const STORES: &[&str] = &[STORE, OPS];
const STAFF: &[&str] = &[CHANNEL, STORE, OPS, SERVICE];
const HOLDERS: &[&str] = &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE];

/// The kinds of callers of each method.
pub const ACCESS: &[Access] = &[
    Access::to("/entrepot.fulfillment.v1.NetworkService/PutNodes", WORKERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/GetNode", ALL),
    Access::to("/entrepot.fulfillment.v1.NetworkService/ListNodes", ALL),
    Access::to("/entrepot.fulfillment.v1.NetworkService/CloseNode", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/ReopenNode", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/PutNodeGroup", WORKERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/GetNodeGroup", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/ListNodeGroups", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.NetworkService/DeleteNodeGroup", WORKERS),
    Access::named("/entrepot.fulfillment.v1.PolicyService/PutPolicy", WORKERS),
    Access::named("/entrepot.fulfillment.v1.PolicyService/ActivatePolicy", WORKERS),
    Access::named("/entrepot.fulfillment.v1.PolicyService/RollBackPolicy", WORKERS),
    Access::named("/entrepot.fulfillment.v1.PolicyService/WithdrawPolicy", WORKERS),
    Access::to("/entrepot.fulfillment.v1.PolicyService/ListPolicies", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.PolicyService/ExplainPolicy", CLOSERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/GetPromise", ALL),
    Access::to("/entrepot.fulfillment.v1.PromiseService/HoldPromise", HOLDERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/ConfirmPromise", WORKERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/ReleasePromise", HOLDERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/ExtendPromise", HOLDERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/GetPromiseToken", HOLDERS),
    Access::to("/entrepot.fulfillment.v1.PromiseService/GetSourcingDecision", STAFF),
    Access::to("/entrepot.fulfillment.v1.PromiseService/ListSourcingDecisions", STAFF),
    Access::to("/entrepot.fulfillment.v1.PromiseService/ListNearbyAvailability", ALL),
    Access::to("/entrepot.fulfillment.v1.WorkService/WatchWork", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/ListWork", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/GetFulfillmentOrder", STAFF),
    Access::to("/entrepot.fulfillment.v1.WorkService/ListFulfillmentOrders", STAFF),
    Access::to("/entrepot.fulfillment.v1.WorkService/AcceptWork", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/RejectWork", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/StartPicking", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/PickLines", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/MarkReady", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/IssuePickupCode", &[CHANNEL, OPS]),
    Access::to("/entrepot.fulfillment.v1.WorkService/FindByPickupCode", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/HandOver", STORES),
    Access::to("/entrepot.fulfillment.v1.WorkService/ConfirmPutBack", STORES),
    Access::to("/entrepot.fulfillment.v1.FulfillmentEventsService/ReplayEvents", WORKERS),
    Access::to("/entrepot.fulfillment.v1.FulfillmentEventsService/ListHeads", WORKERS),
];

/// A store changes its own node alone.
pub(crate) fn own_node(who: &Principal, node: &NodeId) -> Result<(), Error> {
    if speaks_for(who, node) { Ok(()) } else { Err(Error::NotYourNode(node.clone())) }
}

/// A store sees the work of its own node alone, a channel that of its own orders. For others it does not exist.
pub(crate) fn sees_work(who: &Principal, work: &Work) -> bool {
    speaks_for(who, &work.order.node) && (who.kind != CHANNEL || who.id == work.channel)
}

/// How a node was chosen is visible to the node itself, to the channel of the order (`channel`, once it is known) and to who
/// holds the promise.
pub(crate) fn sees_decision(who: &Principal, promise: &Stored, leg: &Leg, channel: Option<&str>) -> bool {
    match who.kind.as_str() {
        STORE => speaks_for(who, &leg.node),
        CHANNEL => who.as_str() == promise.holder || channel == Some(who.id.as_str()),
        _ => true,
    }
}

/// A promise is visible to its creator, to services and to operators. To others it does not exist.
pub(crate) fn must_know(who: &Principal, promise: &Stored) -> Result<(), Error> {
    if is_ours(who) || who.as_str() == promise.owner {
        Ok(())
    } else {
        Err(Error::PromiseNotFound(promise.token.to_string()))
    }
}

/// The channel that a cart is sold through, where its caller says this one or none: a channel sells through itself alone.
pub(crate) fn sold_through(who: &Principal, said: Option<String>) -> Result<Option<String>, Error> {
    match said {
        Some(other) if who.kind == CHANNEL && other != who.id => Err(Error::NotYourChannel(who.id.clone())),
        None if who.kind == CHANNEL => Ok(Some(who.id.clone())),
        said => Ok(said),
    }
}

/// One who sees all promises, and whose they are.
pub(crate) fn is_ours(who: &Principal) -> bool {
    who.kind == SERVICE || who.kind == OPS
}

/// A promise that lasts is changed by its holder, by services and by operators. Its creator holds it until an order
/// takes it.
pub(crate) fn must_hold(call: &Call, promise: &Stored) -> Result<(), Error> {
    must_know(&call.who, promise)?;
    if is_ours(&call.who) || !promise.state.holds() {
        return Ok(());
    }
    match (promise.order(), &promise.taken_by) {
        (Some(order), _) => Err(Refusal::OtherOrder(order).into()),
        (None, Some(_)) => Err(Error::PromiseTaken(promise.token)),
        (None, None) => Ok(()),
    }
}
