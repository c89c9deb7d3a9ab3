//! Requests on reservations, and reservations in answers.

use std::collections::HashSet;
use std::time::Duration;

use contract::inventory::v1 as pb;
use domain::id::{self, ReservationId, Uuid};
use domain::quantity::Quantity;
use domain::stock::reservation::{LONGEST_HOLD, Line, Reservation, State};
use domain::time;
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields};

use super::{MAX_LINES, call, key, timestamp};
use crate::command::{Act, Cause, Command, Wanted};
use crate::error::Error;

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = LONGEST_HOLD.unsigned_abs();

fn reservation_id(fields: &mut Fields, text: &str) -> ReservationId {
    let id = fields.take("reservation_id", text.parse::<ReservationId>());
    id.unwrap_or(ReservationId::new(Uuid::nil()))
}

fn command(principal: &Principal, call: Option<Call>, act: Act) -> Command {
    Command { request: call, cause: Cause::now(principal.as_str()), act }
}

pub(crate) fn reserve(principal: &Principal, message: pb::ReserveRequest) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "reserve", &message.request_id, &message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    let ttl = ttl(&mut fields, message.ttl.as_ref());
    fields.count("lines", message.lines.len(), MAX_LINES);
    let mut lines: Vec<Wanted> = Vec::with_capacity(message.lines.len().min(MAX_LINES));
    let is_basket = message.lines.len() > 1;
    let mut seen = HashSet::new();
    for (index, line) in message.lines.into_iter().take(MAX_LINES).enumerate() {
        let prefix = format_args!("lines[{index}].");
        fields.check(line.line > 0, format_args!("{prefix}line"), "must be at least 1");
        fields.check(!is_basket || seen.insert(line.line), format_args!("{prefix}line"), "duplicate");
        let position = key(&mut fields, prefix, line.node_id, line.sku);
        let units = fields.take(format_args!("{prefix}quantity"), Quantity::new(line.quantity));
        if let (Some(position), Some(units)) = (position, units) {
            lines.push(Wanted { line: line.line, position, units: units.get() });
        }
    }
    fields.done()?;
    Ok(command(principal, call, Act::Reserve { id, lines, ttl }))
}

fn ttl(fields: &mut Fields, value: Option<&prost_types::Duration>) -> Duration {
    let Some(value) = fields.required("ttl", value) else { return MIN_TTL };
    // read by hand: what prost-types makes of a duration normalizes odd nanos, and overflows at the least seconds
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let ttl = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let ttl = ttl.filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl));
    fields.check(ttl.is_some(), "ttl", "must be between 1 second and 7 days");
    ttl.unwrap_or(MIN_TTL)
}

pub(crate) fn release(
    principal: &Principal,
    message: pb::ReleaseReservationRequest,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "release", &message.request_id, &message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    fields.check(is_reason(&message.reason), "reason", "must be 1 to 63 of A-Z 0-9 _");
    fields.done()?;
    Ok(command(principal, call, Act::Release { id, reason: message.reason, unless_confirmed: true }))
}

fn is_reason(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

pub(crate) fn extend(
    principal: &Principal,
    message: &pb::ExtendReservationRequest,
    now: Timestamp,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "extend", &message.request_id, message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    let until = fields.required_time("expire_time", message.expire_time);
    let latest = time::after_ms(now, i64::try_from(MAX_TTL.as_millis()).unwrap_or(i64::MAX));
    let is_near = until.is_none_or(|until| until <= latest);
    fields.check(is_near, "expire_time", "must be at most 7 days from now");
    fields.done()?;
    Ok(command(principal, call, Act::Extend { id, until: until.unwrap_or(now) }))
}

pub(crate) fn reservation_key(text: &str) -> Result<ReservationId, Error> {
    text.parse().map_err(|error: id::IdError| Error::field("reservation_id", error.to_string()))
}

pub(crate) fn reservation(reservation: &Reservation) -> pb::Reservation {
    pb::Reservation {
        reservation_id: reservation.id.to_string(),
        state: state(reservation.state).into(),
        lines: reservation.lines.iter().map(line).collect(),
        expire_time: reservation.state.until().map(timestamp),
        version: reservation.version,
        create_time: Some(timestamp(reservation.created_at)),
    }
}

fn state(state: State) -> pb::ReservationState {
    match state {
        State::Held { .. } => pb::ReservationState::Held,
        State::Confirmed => pb::ReservationState::Confirmed,
        State::Consumed => pb::ReservationState::Consumed,
        State::Released => pb::ReservationState::Released,
        State::Expired => pb::ReservationState::Expired,
    }
}

fn line(line: &Line) -> pb::ReservationLine {
    pb::ReservationLine {
        line: line.line,
        node_id: line.position.node.as_str().to_owned(),
        sku: line.position.sku.as_str().to_owned(),
        held: line.held,
        consumed: line.consumed,
        released: line.released,
        kit_sku: line.kit.as_ref().map(|kit| kit.as_str().to_owned()).unwrap_or_default(),
    }
}
