//! `HoldPromise`: stock and capacity under one token, or nothing.
//!
//! Two databases can't commit together, so: token and capacity are written PENDING, inventory reserves under the
//! token's id for a little longer than the token will live, then the token is LIVE. A refusal takes the token back;
//! whatever else goes wrong in between is undone when the short time of a PENDING token is over.

use std::time::Duration;

use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use domain::id::{self, PromiseToken, ReservationId};
use domain::promise::token::{Refusal, State};
use domain::promise::{Offer, Reason, Refused};
use jiff::{SignedDuration, Timestamp};
use server::Violation;
use tonic::{Code, Status};

use super::batch::{Done, Job};
use crate::Fulfillment;
use crate::error::{Error, NotPromised, Shortage};
use crate::promise::command::{HoldCommand, Line};
use crate::store::promise::{Record, Stored};
use crate::store::{self};
use crate::wire::promise as wire;
use service::{Call, Fault};

/// How often a plan is made when slots turn out to be full.
const PLANS: usize = 5;

/// When inventory is busy, or a duplicate of the call is under way there, it is asked again: the call has the token's id.
const RESERVE_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(50)];

/// How long capacity is kept for a promise whose stock is being asked for: longer than any call, far shorter than a
/// promise, so that calls with an unknown outcome do not fill the slots.
const PENDING: SignedDuration = SignedDuration::from_secs(30);

/// A promise that is written and may still need its stock.
struct Begun {
    promise: Stored,
    /// This very call wrote it, so nobody has asked for its stock before.
    is_new: bool,
}

impl Fulfillment {
    /// Holds stock and capacity.
    pub(crate) async fn hold(&self, call: &Call, hold: HoldCommand) -> Result<Stored, Error> {
        let now = self.clock.business();
        let life = self.config.life();
        let ttl = hold.ttl.unwrap_or(life.default);
        let cap = life.cap(call.is_service(), now, now);
        let expires = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
        if expires > cap {
            let most = cap.duration_since(now).as_secs();
            return Err(Error::field("ttl", format!("must be at most {most} s for this caller")));
        }
        let begun = self.take(call, &hold, now, expires).await?;
        match begun.promise.state {
            State::Pending { .. } => self.ask_for_stock(begun, &hold, ttl).await,
            State::Live { .. } | State::Confirmed { .. } => Ok(begun.promise),
            State::Released | State::Expired => Err(gone(&begun.promise)),
        }
    }

    /// Writes token and capacity, or finds what the same request wrote before.
    async fn take(
        &self,
        call: &Call,
        hold: &HoldCommand,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Begun, Error> {
        let expires = now.checked_add(PENDING).map_or(expires, |soon| soon.min(expires));
        let known = |promise| Begun { promise, is_new: false };
        let key = id::derived("promise.hold", &format!("{}|{}", call.scope, call.id));
        let token = PromiseToken::new(self.clock.new_id());
        for _ in 0..PLANS {
            // Read before the plan is made: a node that changes in between is planned again.
            let node_version = self.network.version(&hold.node);
            let (offer, decision) = match self.plan(&hold.node, hold.method, &hold.lines, now) {
                Ok(plan) => plan,
                Err(refused) => return self.known_or(call, key, hold, refused, now).await.map(known),
            };
            let node = self.node(&hold.node);
            let rule = node.as_ref().and_then(|node| node.rule(hold.method.rules().activity));
            let most = rule.map_or(i64::MAX, |rule| i64::from(rule.max_orders()));
            let name = node.as_ref().map(|node| node.name.clone()).unwrap_or_default();
            let promise = Stored {
                token,
                request_key: key,
                body_hash: call.hash.to_vec(),
                owner: call.who.to_string(),
                taken_by: None,
                state: State::Pending { expires },
                version: 1,
                method: hold.method,
                node: hold.node.clone(),
                slot_start: offer.slot.map(|slot| slot.start.as_microsecond()),
                capacity_held: offer.slot.is_some(),
                ready: offer.ready,
                keep_until: offer.keep_until,
                record: Record {
                    promise: promised(hold, &name, &offer),
                    decision: wire::decision(&decision, token),
                },
                created: now,
                expires,
            };
            if let Some(slot) = promise.slot().and_then(|slot| self.slot_number(&slot)) {
                self.load.plan(slot);
            }
            match self.write(Job::Take { promise: Box::new(promise.clone()), most, node_version }).await? {
                Done::Taken => return Ok(Begun { promise, is_new: true }),
                Done::Known(promise) => return same_body(*promise, call).map(known),
                // Fuller than the view knew: read it and plan again.
                Done::Full => self.refresh_node(&hold.node).await?,
                // Another process changed or shut the node: learn of it, and plan with that.
                Done::NodeChanged => self.relearn_node(&hold.node).await?,
                Done::Granted | Done::NotPending | Done::Forgotten => {
                    return Err(Error::corrupt("a hold was answered as something else".into()));
                }
            }
        }
        let refused = Refused::because(Reason::CapacityFull);
        Err(self.not_promised(hold, refused, None, now))
    }

    /// The promise of an earlier call of the same request, or the refusal.
    async fn known_or(
        &self,
        call: &Call,
        key: uuid::Uuid,
        hold: &HoldCommand,
        refused: Refused,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let mut tx = self.db.read().await?;
        let known = store::promise::by_request(&mut tx, &[key]).await?.pop();
        tx.commit().await?;
        match known.filter(|known| known.state.holds()) {
            Some(known) => same_body(known, call),
            None => Err(self.not_promised(hold, refused, None, now)),
        }
    }

    /// Asks inventory for the stock of a promise that is PENDING.
    async fn ask_for_stock(
        &self,
        begun: Begun,
        hold: &HoldCommand,
        ttl: SignedDuration,
    ) -> Result<Stored, Error> {
        let Begun { promise, is_new } = begun;
        match self.reserve(&promise, hold, ttl, is_new).await {
            Ok(()) => self.grant(promise, ttl).await,
            Err(Unreserved::Refused(status)) => {
                self.write(Job::Forget(promise.token)).await?;
                Err(self.refused_by_inventory(hold, status))
            }
            Err(Unreserved::Untouched(status)) => {
                self.write(Job::Forget(promise.token)).await?;
                Err(Error::Peer(Box::new(status)))
            }
            // Asked again with the same request_id it goes on from here, and otherwise the token's time undoes it.
            Err(Unreserved::Unknown(status)) => Err(Error::Peer(Box::new(status))),
        }
    }

    async fn reserve(
        &self,
        promise: &Stored,
        hold: &HoldCommand,
        ttl: SignedDuration,
        mut is_first: bool,
    ) -> Result<(), Unreserved> {
        let ttl = ttl + self.config.stock_margin();
        let line = |line: &Line| stock::ReserveLine {
            line: line.number,
            sku: line.sku.to_string(),
            quantity: line.quantity,
        };
        let reservation = stock::NewReservation {
            reservation_id: ReservationId::new(promise.token.uuid()).to_string(),
            node_id: promise.node.to_string(),
            lines: hold.lines.iter().map(line).collect(),
        };
        let request = stock::ReserveRequest {
            request_id: id::derived("promise.reserve", &promise.token.to_string()).to_string(),
            reservations: vec![reservation],
            ttl: Some(wire_duration(ttl)),
        };
        let mut pauses = RESERVE_AGAIN_AFTER.into_iter();
        let answer = loop {
            let status = match self.inventory.clone().reserve(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => status,
            };
            match (status.code(), pauses.next()) {
                (Code::Unavailable, Some(pause)) => self.clock.pause(pause).await,
                _ => return Err(Unreserved::by(status, is_first)),
            }
            is_first = false;
        };
        let is_held = |reservation: &stock::Reservation| {
            matches!(reservation.state(), stock::ReservationState::Held | stock::ReservationState::Confirmed)
        };
        if !answer.reservations.is_empty() && answer.reservations.iter().all(is_held) {
            return Ok(());
        }
        // The answer to an earlier call, whose stock was released since.
        Err(Unreserved::Unknown(Status::aborted("the stock was reserved and released")))
    }

    async fn grant(&self, promise: Stored, ttl: SignedDuration) -> Result<Stored, Error> {
        let expires = promise.created.checked_add(ttl).unwrap_or(Timestamp::MAX);
        if matches!(self.write(Job::Grant(promise.token, expires)).await?, Done::Granted) {
            let state = promise.state.grant(expires)?;
            return Ok(Stored { state, expires, version: promise.version + 1, ..promise });
        }
        let now = self.stored(promise.token).await?;
        if now.state.holds() { Ok(now) } else { Err(gone(&now)) }
    }

    fn refused_by_inventory(&self, hold: &HoldCommand, status: Status) -> Error {
        let violations = server::status::violations(&status);
        if !violations.is_empty() {
            return Fault::Invalid(of_cart(violations)).into();
        }
        if status.code() != Code::FailedPrecondition {
            return Error::field("lines", status.message());
        }
        if server::status::reason(&status).as_deref() != Some(Reason::NoStock.name()) {
            // The stock of an earlier try expired. That try is deleted now: a repeated call starts over.
            return Error::Peer(Box::new(status));
        }
        let mut facts = server::status::facts(&status);
        let mut fact = |name: &str| facts.remove(name).unwrap_or_default();
        let shortage = Shortage { sku: fact("sku"), wanted: fact("wanted"), available: fact("available") };
        let refused = Refused::because(Reason::NoStock);
        self.not_promised(hold, refused, Some(shortage), self.clock.business())
    }

    fn not_promised(
        &self,
        hold: &HoldCommand,
        refused: Refused,
        shortage: Option<Shortage>,
        now: Timestamp,
    ) -> Error {
        let alternatives = self.alternatives(&hold.node, hold.method, &hold.lines, now);
        let (node, method) = (hold.node.clone(), hold.method);
        metrics::counter!("entrepot_holds_refused_total", "reason" => refused.first().name()).increment(1);
        Error::NotPromised(Box::new(NotPromised { node, method, refused, shortage, alternatives }))
    }
}

/// The fields of the cart that inventory's fields stand for.
fn of_cart(violations: Vec<Violation>) -> Vec<Violation> {
    let ours = |violation: Violation| {
        let field = violation.field.strip_prefix("reservations[0].").unwrap_or(&violation.field);
        Violation::new(field, violation.description)
    };
    violations.into_iter().map(ours).collect()
}

/// Why there is no stock for a promise.
enum Unreserved {
    /// Inventory will not.
    Refused(Status),
    /// Inventory has not: it turned the one call away at its door.
    Untouched(Status),
    /// What became of the stock is unknown.
    Unknown(Status),
}

impl Unreserved {
    /// What inventory's answer means; `is_first`: the stock was not asked for before. A call that its peer sent twice is not
    /// the first one.
    fn by(status: Status, is_first: bool) -> Self {
        let is_first = is_first && !server::peer::was_resent(&status);
        match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound => Self::Refused(status),
            Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
                if is_first =>
            {
                Self::Untouched(status)
            }
            _ => Self::Unknown(status),
        }
    }
}

fn promised(hold: &HoldCommand, name: &str, offer: &Offer) -> pb::Promise {
    pb::Promise {
        option: Some(wire::option(hold.method, &hold.node, name, offer, None)),
        lines: wire::cart(&hold.lines),
        ..Default::default()
    }
}

fn same_body(known: Stored, call: &Call) -> Result<Stored, Error> {
    if known.body_hash == call.hash { Ok(known) } else { Err(Fault::RequestIdReused(call.id).into()) }
}

fn gone(promise: &Stored) -> Error {
    Error::PromiseRefused(Refusal::State { state: promise.state.name(), command: "held" })
}

/// A length of time on the wire.
pub(crate) fn wire_duration(length: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: length.as_secs(), nanos: length.subsec_nanos() }
}
