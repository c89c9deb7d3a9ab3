//! The stock of a promise that is PENDING: asked of inventory for all legs at once, then granted or given up.

use std::collections::HashMap;
use std::time::Duration;

use contract::inventory::v1 as stock;
use contract::r#type::v1 as common;
use domain::id::{self, ReservationId, Sku};
use domain::promise::{Reason, Refused};
use jiff::{SignedDuration, Timestamp};
use server::Violation;
use service::Fault;
use tonic::{Code, Status};

use super::batch::{Done, Job};
use super::hold::{Begun, gone};
use crate::Fulfillment;
use crate::error::{Error, Shortage};
use crate::promise::command::HoldCommand;
use crate::store::promise::Stored;
use crate::store::promise_leg::Leg;

/// When inventory is busy, or a duplicate of the call is under way there, it is asked again: the call has the token's id.
const RESERVE_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(50)];

impl Fulfillment {
    /// Asks inventory for the stock of a promise that is PENDING.
    pub(super) async fn ask_for_stock(
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
                Err(self.refused_by_inventory(&promise, hold, status))
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
        let skus: HashMap<u32, &Sku> = hold.cart.iter().map(|line| (line.number, &line.sku)).collect();
        let request = stock::ReserveRequest {
            request_id: id::derived("promise.reserve", &promise.token.to_string()).to_string(),
            reservations: promise
                .legs
                .iter()
                .map(|leg| claim(leg, &skus, promise.channel.as_deref()))
                .collect(),
            ttl: Some(wire_duration(ttl)),
            instead_of: hold
                .instead_of
                .iter()
                .map(|leg| ReservationId::new(leg.uuid()).to_string())
                .collect(),
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
        if answer.reservations.len() == promise.legs.len() && answer.reservations.iter().all(is_held) {
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

    fn refused_by_inventory(&self, promise: &Stored, hold: &HoldCommand, status: Status) -> Error {
        let violations = server::status::violations(&status);
        if !violations.is_empty() {
            return Fault::Invalid(of_cart(violations, promise, hold)).into();
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
        let reservation = fact("reservation_id");
        let shortage = Shortage { sku: fact("sku"), wanted: fact("wanted"), available: fact("available") };
        let is_short = |leg: &&Leg| ReservationId::new(leg.id.uuid()).to_string() == reservation;
        let leg = promise.legs.iter().find(is_short).unwrap_or(&promise.legs[0]);
        let group = hold.groups.iter().find(|group| group.number == leg.group).unwrap_or(&hold.groups[0]);
        let refused = Refused::because(Reason::NoStock);
        self.not_promised((hold, group), Some(&leg.node), refused, Some(shortage), self.clock.business())
    }
}

/// What a leg claims of its node; `skus`: those of the lines of the cart.
fn claim(leg: &Leg, skus: &HashMap<u32, &Sku>, channel: Option<&str>) -> stock::NewReservation {
    let line = |pieces: &common::LineQuantity| stock::ReserveLine {
        line: pieces.line,
        sku: skus.get(&pieces.line).map(ToString::to_string).unwrap_or_default(),
        quantity: pieces.quantity,
    };
    stock::NewReservation {
        reservation_id: ReservationId::new(leg.id.uuid()).to_string(),
        node_id: leg.node.to_string(),
        lines: leg.body.lines.iter().map(line).collect(),
        promised_time: Some(crate::wire::timestamp(leg.ready)),
        channel: channel.unwrap_or_default().to_owned(),
    }
}

/// The fields of the cart that inventory's fields `reservations[r].lines[l].x` stand for.
fn of_cart(violations: Vec<Violation>, promise: &Stored, hold: &HoldCommand) -> Vec<Violation> {
    let of_line = |field: &str| {
        let (leg, rest) = field.strip_prefix("reservations[")?.split_once("].lines[")?;
        let (line, name) = rest.split_once("].")?;
        let leg = promise.legs.get(leg.parse::<usize>().ok()?)?;
        let number = leg.body.lines.get(line.parse::<usize>().ok()?)?.line;
        let index = hold.cart.iter().position(|line| line.number == number)?;
        Some(format!("lines[{index}].{name}"))
    };
    let ours = |violation: Violation| {
        let field = of_line(&violation.field);
        Violation::new(field.unwrap_or(violation.field), violation.description)
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

/// A length of time on the wire.
pub(crate) fn wire_duration(length: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: length.as_secs(), nanos: length.subsec_nanos() }
}
