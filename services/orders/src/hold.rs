//! Asking fulfillment to hold stock and capacity. Every call can be repeated: its request id is derived from what it
//! is for, so a repeated call finds what the first one did.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::method::Method;
use domain::id::{self, NodeId, PromiseToken};
use domain::order::{Order, Promise};
use domain::time::{Timestamp, from_parts, micros};
use service::Fault;
use tonic::{Code, Status};

use crate::error::Error;
use crate::{Orders, wire};

/// What is to be held, where.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) method: Method,
    pub(crate) node: NodeId,
    pub(crate) lines: Vec<pb::CartLine>,
}

impl Wanted {
    /// What is left of an order.
    pub(crate) fn left_of(order: &Order) -> Self {
        let left = order.lines.iter().filter(|line| line.buckets.cancellable() > 0);
        let lines = left.map(|line| pb::CartLine {
            line: line.no,
            sku: line.sku.to_string(),
            quantity: line.buckets.cancellable(),
        });
        Self { method: order.promise.method, node: order.promise.node.clone(), lines: lines.collect() }
    }
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
    ) -> Result<Promise, Error> {
        let ttl_us = micros(until).saturating_sub(micros(now)).max(1_000_000);
        let ttl = prost_types::Duration {
            seconds: ttl_us / 1_000_000,
            nanos: i32::try_from(ttl_us % 1_000_000 * 1_000).unwrap_or_default(),
        };
        for attempt in 0..ATTEMPTS {
            let request = pb::HoldPromiseRequest {
                request_id: id::derived("orders.hold", &format!("{key}/{attempt}")).to_string(),
                lines: wanted.lines.clone(),
                groups: vec![pb::CartGroup {
                    group: 1,
                    method: wire::method(wanted.method),
                    node_id: wanted.node.to_string(),
                    ..Default::default()
                }],
                ttl: Some(ttl),
            };
            let held = match self.promises.clone().hold_promise(request).await {
                Ok(answer) => answer.into_inner().promise.ok_or_else(no_promise)?,
                Err(answer) if is_gone(&answer) => continue,
                Err(answer) => return Err(Error::peer(answer)),
            };
            if is_live(&held, now) {
                return promise(&held);
            }
            // A duplicate of the call was faster, and what it held is an order's by now: holding again would take stock twice.
            if held.state() == pb::PromiseState::Confirmed {
                return Err(Error::PromiseTaken);
            }
        }
        Err(Error::NotHeld)
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

/// What a refused read or extension of a promise means for an order that is to be placed on it.
pub(crate) fn for_shopper(token: PromiseToken, error: Error) -> Error {
    let Error::Peer(answer) = error else { return error };
    if answer.code() == Code::NotFound {
        return Error::field("promise_token", "is not known");
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

/// A promise as the order keeps it.
pub(crate) fn promise(held: &pb::Promise) -> Result<Promise, Error> {
    let unreadable = |what: &str| Fault::Unreadable(format!("{what} of a promise"));
    let option = held.legs.first().and_then(|leg| leg.option.as_ref()).ok_or_else(|| unreadable("option"))?;
    let start = option.window.as_ref().and_then(|w| w.start_time).ok_or_else(|| unreadable("window"))?;
    let method = wire::method_name(option.method).and_then(Method::parse);
    Ok(Promise {
        token: held.promise_token.parse().map_err(|_| unreadable("token"))?,
        method: method.ok_or_else(|| unreadable("method"))?,
        node: NodeId::new(option.node_id.as_str()).map_err(|_| unreadable("node"))?,
        promised_at: from_parts(start.seconds, start.nanos).map_err(|_| unreadable("window"))?,
        held_until: expiry(held).ok_or_else(|| unreadable("expiry"))?,
    })
}

/// Whether an answer is a definite no, which asking again does not change.
pub(crate) fn is_definite(answer: &Status) -> bool {
    matches!(answer.code(), Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound)
}

/// Why the answer is no, `UPPER_SNAKE`.
pub(crate) fn reason(answer: &Status) -> String {
    server::status::reason(answer).unwrap_or_else(|| "NO_STOCK".to_owned())
}
