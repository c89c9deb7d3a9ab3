//! Proto to domain and back, and nothing else. Every bad field of a request is reported at once.

mod event;
pub(crate) mod feed;
mod reservation;
mod sku;
mod stock;

use std::fmt::Display;

use domain::id::{NodeId, Sku};
use domain::stock::Key;
use prost::Message;
use server::Principal;
pub(crate) use service::wire::timestamp;
use service::{Call, Fields};

use crate::error::Error;

pub(crate) use event::{GivenUp, ReservationEvent, position_changed, reservation_of};
pub(crate) use reservation::{extend, named, release, reservation, reservation_key, reserve};
pub(crate) use sku::{MAX_NAME, put_skus, sku};
pub(crate) use stock::{adjust_stock, movement, position, set_safety_stock};

/// The most lines of a reservation, and rows of a feed.
pub(crate) const MAX_LINES: usize = 1_000;

/// The call of a verb of inventory.
pub(crate) fn call(
    fields: &mut Fields,
    principal: &Principal,
    verb: &str,
    request_id: &str,
    message: &impl Message,
) -> Option<Call> {
    Call::read(fields, principal, &format!("inventory.{verb}"), request_id, message)
}

/// A position named by a row: `prefix` is `lines[3].` or empty.
pub(crate) fn key(fields: &mut Fields, prefix: impl Display, node: String, sku: String) -> Option<Key> {
    let node = fields.take(format_args!("{prefix}node_id"), NodeId::new(node));
    let sku = fields.take(format_args!("{prefix}sku"), Sku::new(sku));
    Some(Key { node: node?, sku: sku? })
}

/// What is read of a request that names one call and more, when all of it is there.
fn complete<T>(call: Option<Call>, rest: Option<T>) -> Result<(Call, T), Error> {
    call.zip(rest).ok_or_else(|| Error::field("request_id", "is required"))
}
