//! Proto to domain and back, and nothing else. Every bad field of a request is reported at once.

pub(crate) mod event;
pub(crate) mod network;
pub(crate) mod promise;
pub(crate) mod token;
pub(crate) mod work;

use domain::fulfillment::method::{Method, MethodError};
use domain::id::{NodeId, PromiseToken};
use domain::place::LatLng;
use domain::time;
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use prost_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use server::Violation;

use crate::error::Error;
use contract::r#type::v1 as common;

/// What is wrong with a request, gathered field by field.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Violation>);

impl Faults {
    /// Notes that a field can't be taken.
    pub(crate) fn add(&mut self, field: impl Into<String>, why: impl std::fmt::Display) {
        // A hostile request may have a thousand bad lines; the first hundred say enough.
        if self.0.len() < 100 {
            self.0.push(Violation::new(field, why.to_string()));
        }
    }

    /// The value, or a note of what is wrong with the field.
    pub(crate) fn take<T, E: std::fmt::Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|why| self.add(field, why)).ok()
    }

    /// Nothing wrong, or the refusal that names all of it.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    /// The value if nothing is wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        self.check()?;
        value.ok_or_else(|| Error::field("request", "is incomplete"))
    }
}

/// The most bytes of one page.
const MOST_BYTES: usize = 1024 * 1024;

/// What fits into one page, and at least one: of large ones it has fewer.
pub(crate) fn fitting<M: Message>(messages: impl Iterator<Item = M>) -> Vec<M> {
    let mut page: Vec<M> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.encoded_len();
        if bytes > MOST_BYTES && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page
}

/// An instant as the wire has it.
pub(crate) fn timestamp(at: Timestamp) -> WireTimestamp {
    let (seconds, nanos) = time::to_parts(at);
    WireTimestamp { seconds, nanos }
}

/// An instant, if the wire has one that is one.
pub(crate) fn instant(at: WireTimestamp) -> Result<Timestamp, time::TimeError> {
    time::from_parts(at.seconds, at.nanos)
}

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

/// A method by its number on the wire.
pub(crate) fn method(number: i32) -> Result<Method, MethodError> {
    Method::named(method_name(number).unwrap_or_default())
}

/// The name of a method on the wire.
pub(crate) fn method_name(number: i32) -> Option<&'static str> {
    common::Method::try_from(number).ok()?.as_str_name().strip_prefix("METHOD_")
}

/// The number of a method on the wire.
pub(crate) fn method_number(method: Method) -> i32 {
    let name = format!("METHOD_{}", method.name());
    common::Method::from_str_name(&name).unwrap_or(common::Method::Unspecified).into()
}

/// A node code.
pub(crate) fn node_id(faults: &mut Faults, field: &str, text: &str) -> Option<NodeId> {
    faults.take(field, NodeId::new(text))
}

/// A promise token.
pub(crate) fn promise_token(text: &str) -> Result<PromiseToken, Error> {
    text.parse().map_err(|why: domain::id::IdError| Error::field("promise_token", why.to_string()))
}
