//! proto <-> domain, both ways, and nothing else. Every bad field of a request is named at once.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

use contract::inventory::v1 as pb;
use domain::id::{self, NodeId, OrderId, ReservationId, Sku, Uuid};
use domain::quantity::Quantity;
use domain::stock::Key;
use domain::stock::kit::Kit;
use domain::stock::movement::Kind;
use domain::stock::reservation::{LONGEST_HOLD, Line, Reservation, State};
use domain::time;
use jiff::Timestamp;
use pb::inventory_event::Body;
use prost::Message;
use server::Principal;
pub(crate) use service::wire::timestamp;
use service::{Call, Fields};

use crate::command::{Act, Cause, Command, Confirm, Wanted};
use crate::error::Error;
use crate::ledger::Slot;
use crate::store;

/// The most lines of a reservation, and rows of a feed.
pub(crate) const MAX_LINES: usize = 1_000;
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = LONGEST_HOLD.unsigned_abs();

/// The call of a verb of inventory.
pub(crate) fn request(
    fields: &mut Fields,
    principal: &Principal,
    verb: &str,
    request_id: &str,
    message: &impl Message,
) -> Option<Call> {
    Call::read(fields, principal, &format!("inventory.{verb}"), request_id, message)
}

fn reservation_id(fields: &mut Fields, text: &str) -> ReservationId {
    let id = fields.take("reservation_id", text.parse::<ReservationId>());
    id.unwrap_or(ReservationId::new(Uuid::nil()))
}

/// A position named by a row: `prefix` is `lines[3].` or empty.
pub(crate) fn key(fields: &mut Fields, prefix: impl Display, node: String, sku: String) -> Option<Key> {
    let node = fields.take(format_args!("{prefix}node_id"), NodeId::new(node));
    let sku = fields.take(format_args!("{prefix}sku"), Sku::new(sku));
    Some(Key { node: node?, sku: sku? })
}

fn command(principal: &Principal, request: Option<Call>, act: Act) -> Command {
    Command { request, cause: Cause::now(principal.as_str()), act }
}

pub(crate) fn reserve(principal: &Principal, message: pb::ReserveRequest) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let request = request(&mut fields, principal, "reserve", &message.request_id, &message);
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
    Ok(command(principal, request, Act::Reserve { id, lines, ttl }))
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

pub(crate) fn confirm(
    principal: &Principal,
    message: &pb::ConfirmReservationRequest,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let request = request(&mut fields, principal, "confirm", &message.request_id, message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    let order = fields.take("order_id", message.order_id.parse::<OrderId>());
    fields.done()?;
    let order = order.unwrap_or(OrderId::new(Uuid::nil()));
    let confirm = Confirm { id, order, wants: Vec::new(), lines: Vec::new(), is_fact: false };
    Ok(command(principal, request, Act::Confirm(confirm)))
}

pub(crate) fn release(
    principal: &Principal,
    message: pb::ReleaseReservationRequest,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let request = request(&mut fields, principal, "release", &message.request_id, &message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    fields.check(is_reason(&message.reason), "reason", "must be 1 to 63 of A-Z 0-9 _");
    fields.done()?;
    Ok(command(principal, request, Act::Release { id, reason: message.reason, unless_confirmed: true }))
}

fn is_reason(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

pub(crate) fn consume(
    principal: &Principal,
    message: &pb::ConsumeReservationRequest,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let request = request(&mut fields, principal, "consume", &message.request_id, message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    fields.count("lines", message.lines.len(), MAX_LINES);
    let mut units = Vec::with_capacity(message.lines.len().min(MAX_LINES));
    for (index, line) in message.lines.iter().take(MAX_LINES).enumerate() {
        fields.check(line.line > 0, format_args!("lines[{index}].line"), "must be at least 1");
        let quantity = fields.take(format_args!("lines[{index}].quantity"), Quantity::new(line.quantity));
        units.extend(quantity.map(|quantity| (line.line, quantity.get())));
    }
    fields.done()?;
    Ok(command(principal, request, Act::Consume { id, units }))
}

pub(crate) fn extend(
    principal: &Principal,
    message: &pb::ExtendReservationRequest,
    now: Timestamp,
) -> Result<Command, Error> {
    let mut fields = Fields::default();
    let request = request(&mut fields, principal, "extend", &message.request_id, message);
    let id = reservation_id(&mut fields, &message.reservation_id);
    let until = fields.required_time("expire_time", message.expire_time);
    let latest = time::after_ms(now, i64::try_from(MAX_TTL.as_millis()).unwrap_or(i64::MAX));
    let is_near = until.is_none_or(|until| until <= latest);
    fields.check(is_near, "expire_time", "must be at most 7 days from now");
    fields.done()?;
    Ok(command(principal, request, Act::Extend { id, until: until.unwrap_or(now) }))
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

/// The reservation that an event was built around.
pub(crate) fn reservation_of(body: Body) -> Option<pb::Reservation> {
    match body {
        Body::ReservationHeld(it) => it.reservation,
        Body::ReservationConfirmed(it) => it.reservation,
        Body::ReservationRefused(it) => it.reservation,
        Body::ReservationExtended(it) => it.reservation,
        Body::ReservationSettled(it) => it.reservation,
        Body::ReservationReleased(it) => it.reservation,
        Body::ReservationExpired(it) => it.reservation,
        Body::PositionChanged(_) => None,
    }
}

pub(crate) fn position(slot: &Slot) -> pb::Position {
    let position = &slot.position;
    pb::Position {
        node_id: slot.key.node.as_str().to_owned(),
        sku: slot.key.sku.as_str().to_owned(),
        on_hand: position.on_hand,
        reserved: position.reserved,
        safety_stock: position.safety_stock,
        in_transit: position.in_transit,
        quarantine: position.quarantine,
        atp: position.atp(),
        count_blocked: position.count_blocked,
        version: slot.version,
        update_time: Some(timestamp(slot.updated_at)),
    }
}

/// Each kind of movement with its word on the wire.
pub(crate) const KINDS: [(Kind, pb::MovementKind); 14] = [
    (Kind::Receipt, pb::MovementKind::Receipt),
    (Kind::Sale, pb::MovementKind::Sale),
    (Kind::Adjustment, pb::MovementKind::Adjustment),
    (Kind::Count, pb::MovementKind::Count),
    (Kind::Snapshot, pb::MovementKind::Snapshot),
    (Kind::Reserve, pb::MovementKind::Reserve),
    (Kind::Release, pb::MovementKind::Release),
    (Kind::Expire, pb::MovementKind::Expire),
    (Kind::Consume, pb::MovementKind::Consume),
    (Kind::Quarantine, pb::MovementKind::Quarantine),
    (Kind::ReleaseQuarantine, pb::MovementKind::ReleaseQuarantine),
    (Kind::WriteOff, pb::MovementKind::WriteOff),
    (Kind::CountBlock, pb::MovementKind::CountBlock),
    (Kind::SafetyStock, pb::MovementKind::SafetyStock),
];

pub(crate) fn movement(key: &Key, row: store::movements::Movement) -> pb::Movement {
    let kind = KINDS.iter().find(|(kind, _)| *kind == row.entry.kind);
    let name = format!("{}\n{}\n{}", key.node, key.sku, row.number);
    pb::Movement {
        movement_id: id::MovementId::new(id::derived("movement", &name)).to_string(),
        node_id: key.node.as_str().to_owned(),
        sku: key.sku.as_str().to_owned(),
        kind: kind.map_or(pb::MovementKind::Unspecified, |(_, word)| *word).into(),
        delta_on_hand: row.entry.delta_on_hand,
        delta_reserved: row.entry.delta_reserved,
        on_hand_after: row.entry.on_hand_after,
        reserved_after: row.entry.reserved_after,
        reason: row.reason,
        actor: row.actor,
        reference: row.reference,
        occurred_time: Some(timestamp(row.occurred_at)),
        position_version: row.position_version,
    }
}

pub(crate) fn sku(item: store::skus::Item) -> pb::Sku {
    let unit = if item.unit == store::skus::UNITS[1] { pb::Unit::WeighedPiece } else { pb::Unit::Piece };
    let parts = item.kit.iter().flat_map(Kit::parts);
    pb::Sku {
        kit_parts: parts.map(|p| pb::KitPart { sku: p.sku.to_string(), quantity: p.per_kit }).collect(),
        sku: item.sku.into_string(),
        name: item.name,
        unit: unit.into(),
        handling_class: item.handling_class,
        weight_g: item.weight_g,
        etag: item.version.to_string(),
        update_time: Some(timestamp(item.updated_at)),
    }
}
