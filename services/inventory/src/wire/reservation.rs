//! Requests on reservations, and reservations in answers.

use std::collections::HashSet;
use std::fmt::Arguments;
use std::sync::Arc;
use std::time::Duration;

use contract::inventory::v1 as pb;
use domain::id::{self, NodeId, ReservationId, Sku, check_text};
use domain::quantity::Quantity;
use domain::stock::Key;
use domain::stock::reservation::{LONGEST_HOLD, Line, Reservation, State};
use domain::time;
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields};

use super::{MAX_LINES, call, timestamp};
use crate::command::{Act, Cause, Command, NewClaim, Wanted};
use crate::error::Error;

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = LONGEST_HOLD.unsigned_abs();

/// The longest name of a channel.
const MAX_CHANNEL: usize = 64;

/// The most reservations of a request.
const MAX_RESERVATIONS: usize = 50;

/// The most lines of all reservations of a request.
const MAX_LINES_TOGETHER: usize = 2_000;

/// The reservations that a request names.
fn reservation_ids(fields: &mut Fields, texts: &[String]) -> Vec<ReservationId> {
    fields.count("reservation_ids", texts.len(), MAX_RESERVATIONS);
    fields.distinct("reservation_ids", texts, MAX_RESERVATIONS)
}

fn command(principal: &Principal, call: Option<Call>, act: Act) -> Command {
    Command { request: call, cause: Cause::now(principal.actor()), act }
}

pub(crate) fn reserve(principal: &Principal, message: pb::ReserveRequest) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "reserve", &message.request_id, &message);
    let ttl = ttl(&mut fields, message.ttl.as_ref());
    fields.count("reservations", message.reservations.len(), MAX_RESERVATIONS);
    let lines: usize = message.reservations.iter().map(|reservation| reservation.lines.len()).sum();
    let is_too_much = message.reservations.len() > 1 && lines > MAX_LINES_TOGETHER;
    let why = format_args!("must have at most {MAX_LINES_TOGETHER} lines together, has {lines}");
    fields.check(!is_too_much, "reservations", why);
    let most = if is_too_much { 0 } else { MAX_RESERVATIONS };
    let mut claims: Vec<NewClaim> = Vec::with_capacity(message.reservations.len().min(MAX_RESERVATIONS));
    for (index, reservation) in message.reservations.into_iter().take(most).enumerate() {
        let prefix = format_args!("reservations[{index}].");
        if let Some(claim) = new_claim(&mut fields, prefix, reservation) {
            let is_new = claims.iter().all(|other| other.id != claim.id);
            fields.check(is_new, format_args!("{prefix}reservation_id"), "duplicate");
            claims.push(claim);
        }
    }
    fields.at_most("instead_of", message.instead_of.len(), MAX_RESERVATIONS);
    let instead_of = fields.distinct("instead_of", &message.instead_of, MAX_RESERVATIONS);
    for (index, text) in message.instead_of.iter().enumerate() {
        let is_taken = claims.iter().any(|claim| claim.id.to_string() == *text);
        fields.check(!is_taken, format_args!("instead_of[{index}]"), "is one of reservations");
    }
    fields.done()?;
    Ok(command(principal, call, Act::Reserve { claims, ttl, instead_of }))
}

fn new_claim(fields: &mut Fields, prefix: Arguments<'_>, message: pb::NewReservation) -> Option<NewClaim> {
    let id =
        fields.take(format_args!("{prefix}reservation_id"), message.reservation_id.parse::<ReservationId>());
    let node = fields.take(format_args!("{prefix}node_id"), NodeId::new(message.node_id));
    fields.count(format_args!("{prefix}lines"), message.lines.len(), MAX_LINES);
    let mut lines: Vec<Wanted> = Vec::with_capacity(message.lines.len().min(MAX_LINES));
    let is_basket = message.lines.len() > 1;
    let mut seen = HashSet::new();
    for (index, line) in message.lines.into_iter().take(MAX_LINES).enumerate() {
        let prefix = format_args!("{prefix}lines[{index}].");
        fields.check(line.line > 0, format_args!("{prefix}line"), "must be at least 1");
        fields.check(!is_basket || seen.insert(line.line), format_args!("{prefix}line"), "duplicate");
        let sku = fields.take(format_args!("{prefix}sku"), Sku::new(line.sku));
        let units = fields.take(format_args!("{prefix}quantity"), Quantity::new(line.quantity));
        if let (Some(node), Some(sku), Some(units)) = (&node, sku, units) {
            let position = Key { node: node.clone(), sku };
            lines.push(Wanted { line: line.line, position, units: units.get() });
        }
    }
    let promised = fields.time(format_args!("{prefix}promised_time"), message.promised_time);
    let channel = message.channel;
    if !channel.is_empty() {
        fields.take(format_args!("{prefix}channel"), check_text(&channel, MAX_CHANNEL));
    }
    let channel = named(channel);
    Some(NewClaim { id: id?, lines, channel, promised })
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
    let ids = reservation_ids(&mut fields, &message.reservation_ids);
    fields.check(is_reason(&message.reason), "reason", "must be 1 to 63 of A-Z 0-9 _");
    fields.done()?;
    Ok(command(principal, call, Act::Release { ids, reason: message.reason, unless_confirmed: true }))
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
    let ids = reservation_ids(&mut fields, &message.reservation_ids);
    let until = fields.required_time("expire_time", message.expire_time);
    let latest = time::after_ms(now, i64::try_from(MAX_TTL.as_millis()).unwrap_or(i64::MAX));
    let is_near = until.is_none_or(|until| until <= latest);
    fields.check(is_near, "expire_time", "must be at most 7 days from now");
    fields.done()?;
    Ok(command(principal, call, Act::Extend { ids, until: until.unwrap_or(now) }))
}

pub(crate) fn reservation_key(text: &str) -> Result<ReservationId, Error> {
    text.parse().map_err(|error: id::IdError| Error::field("reservation_id", error.to_string()))
}

pub(crate) fn reservation(reservation: &Reservation) -> pb::Reservation {
    let node = reservation.lines.first().map(|line| &line.position.node);
    pb::Reservation {
        reservation_id: reservation.id.to_string(),
        state: state(reservation.state).into(),
        lines: reservation.lines.iter().map(line).collect(),
        expire_time: reservation.state.until().map(timestamp),
        version: reservation.version,
        create_time: Some(timestamp(reservation.created_at)),
        node_id: node.map(|node| node.as_str().to_owned()).unwrap_or_default(),
        channel: reservation.channel.as_deref().map(str::to_owned).unwrap_or_default(),
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
        sku: line.position.sku.as_str().to_owned(),
        held: line.held,
        consumed: line.consumed,
        released: line.released,
        kit_sku: line.kit.as_ref().map(|kit| kit.as_str().to_owned()).unwrap_or_default(),
    }
}

/// A channel that is named; an empty text names none.
pub(crate) fn named(channel: String) -> Option<Arc<str>> {
    Some(channel).filter(|channel| !channel.is_empty()).map(Arc::from)
}
