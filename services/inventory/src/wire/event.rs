//! Events of reservations and positions.

use bus::{Event, Topic};
use contract::inventory::v1 as pb;
use contract::r#type::v1::LineQuantity;
use domain::id::{OrderId, Sku};
use jiff::Timestamp;
use pb::inventory_event::Body;
use prost::Message as _;

use super::{position, timestamp};
use crate::store::positions::Slot;

/// What happened to a reservation, with what its event says besides the reservation.
pub(crate) enum ReservationEvent<'a> {
    Held,
    Confirmed(OrderId),
    Refused { order: OrderId, reason: &'static str, sku: String },
    Extended,
    Settled { fulfillment: String },
    Released { reason: &'a str },
    Expired,
    GivenUp(GivenUp<'a>),
    Doubtful { order: OrderId, sku: &'a Sku, is_over: bool },
}

/// Units that a claim has lost.
pub(crate) struct GivenUp<'a> {
    pub(crate) order: Option<OrderId>,
    pub(crate) reason: &'static str,
    /// Units per line.
    pub(crate) lines: Vec<(u32, i64)>,
    pub(crate) sku: &'a Sku,
}

impl ReservationEvent<'_> {
    /// Its type, and its body around the reservation as it is after it.
    pub(crate) fn body(self, reservation: pb::Reservation) -> (&'static str, Body) {
        let reservation = Some(reservation);
        match self {
            Self::Held => (
                "entrepot.inventory.v1.ReservationHeld",
                Body::ReservationHeld(pb::ReservationHeld { reservation }),
            ),
            Self::Confirmed(order) => (
                "entrepot.inventory.v1.ReservationConfirmed",
                Body::ReservationConfirmed(pb::ReservationConfirmed {
                    reservation,
                    order_id: order.to_string(),
                }),
            ),
            Self::Refused { order, reason, sku } => (
                "entrepot.inventory.v1.ReservationRefused",
                Body::ReservationRefused(pb::ReservationRefused {
                    reservation,
                    order_id: order.to_string(),
                    reason: reason.to_owned(),
                    sku,
                }),
            ),
            Self::Extended => (
                "entrepot.inventory.v1.ReservationExtended",
                Body::ReservationExtended(pb::ReservationExtended { reservation }),
            ),
            Self::Settled { fulfillment } => (
                "entrepot.inventory.v1.ReservationSettled",
                Body::ReservationSettled(pb::ReservationSettled { reservation, fulfillment_id: fulfillment }),
            ),
            Self::Released { reason } => (
                "entrepot.inventory.v1.ReservationReleased",
                Body::ReservationReleased(pb::ReservationReleased { reservation, reason: reason.to_owned() }),
            ),
            Self::Expired => (
                "entrepot.inventory.v1.ReservationExpired",
                Body::ReservationExpired(pb::ReservationExpired { reservation }),
            ),
            Self::GivenUp(GivenUp { order, reason, lines, sku }) => (
                "entrepot.inventory.v1.ReservationGivenUp",
                Body::ReservationGivenUp(pb::ReservationGivenUp {
                    reservation,
                    order_id: order.map(|order| order.to_string()).unwrap_or_default(),
                    reason: reason.to_owned(),
                    lines: lines
                        .into_iter()
                        .map(|(line, quantity)| LineQuantity { line, quantity })
                        .collect(),
                    sku: sku.to_string(),
                }),
            ),
            Self::Doubtful { order, sku, is_over } => (
                "entrepot.inventory.v1.ReservationDoubtful",
                Body::ReservationDoubtful(pb::ReservationDoubtful {
                    reservation,
                    order_id: order.to_string(),
                    sku: sku.to_string(),
                    is_over,
                }),
            ),
        }
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
        Body::ReservationGivenUp(it) => it.reservation,
        Body::ReservationDoubtful(it) => it.reservation,
        Body::PositionChanged(_) => None,
    }
}

/// A position changed.
pub(crate) fn position_changed(slot: &Slot, actor: &str, now: Timestamp) -> Event {
    let changed = pb::PositionChanged { position: Some(position(slot)), occurred_time: Some(timestamp(now)) };
    let body = Body::PositionChanged(changed);
    Event {
        topic: Topic::Inventory,
        aggregate_type: "position",
        aggregate: slot.key.aggregate(),
        sequence: slot.version,
        event_type: "entrepot.inventory.v1.PositionChanged",
        payload: pb::InventoryEvent { body: Some(body) }.encode_to_vec(),
        occurred_at: now,
        actor: actor.to_owned(),
    }
}
