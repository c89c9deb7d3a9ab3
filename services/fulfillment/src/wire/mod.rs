//! Proto to domain and back, and nothing else. Every bad field of a request is reported at once.

pub(crate) mod event;
pub(crate) mod hold;
pub(crate) mod network;
pub(crate) mod payment;
pub(crate) mod policy;
pub(crate) mod promise;
pub(crate) mod token;
pub(crate) mod work;

use std::fmt::Display;

use domain::id::{NodeId, PromiseToken};
use domain::place::LatLng;
use jiff::SignedDuration;
use prost_types::Duration as WireDuration;
use service::Fields;
pub(crate) use service::wire::{
    fitting, instant, method as method_number, method_name, method_of as method, timestamp,
};

use crate::error::Error;
use contract::r#type::v1 as common;

/// A length of time in whole milliseconds.
pub(crate) fn duration(length: WireDuration) -> Result<SignedDuration, &'static str> {
    let odd = "must be a duration of less than 10000 years with nanos of the same sign";
    if length.seconds.unsigned_abs() > 315_576_000_000 || length.nanos.unsigned_abs() >= 1_000_000_000 {
        return Err(odd);
    }
    if length.seconds.signum() * i64::from(length.nanos.signum()) < 0 {
        return Err(odd);
    }
    Ok(SignedDuration::from_millis(length.seconds * 1_000 + i64::from(length.nanos / 1_000_000)))
}

/// A place.
pub(crate) fn place(place: common::Place) -> Result<LatLng, String> {
    let Some(point) = place.point else { return Err("point is required".to_owned()) };
    LatLng::new(point.latitude, point.longitude).map_err(|why| why.to_string())
}

/// A node code.
pub(crate) fn node_id(fields: &mut Fields, field: impl Display, text: &str) -> Option<NodeId> {
    fields.take(field, NodeId::new(text))
}

/// A node code that may be empty: no node is named.
pub(crate) fn optional_node(fields: &mut Fields, field: impl Display, text: &str) -> Option<NodeId> {
    if text.is_empty() { None } else { node_id(fields, field, text) }
}

/// A promise token.
pub(crate) fn promise_token(text: &str) -> Result<PromiseToken, Error> {
    text.parse().map_err(|why: domain::id::IdError| Error::field("promise_token", why.to_string()))
}
