//! Proto to domain and back, and nothing else.

mod event;
mod fields;
mod order;
mod report;
mod request;

pub(crate) use event::event;
pub(crate) use order::{order, step};
pub(crate) use report::{Told, report};
pub(crate) use request::{
    Cancel, Lookup, Pay, Place, Source, cancel_order, get_order, list_orders, list_timeline, lookup,
    pay_order, place_order, replay, watch_order,
};

use contract::google::r#type::Money as PbMoney;
use contract::r#type::v1 as pb_type;
use domain::fulfillment::method::Method;
use domain::money::{Currency, Money};
use domain::time::{Timestamp, to_parts};
use prost_types::Timestamp as PbTimestamp;

/// What precedes the name of a method on the wire.
pub(crate) const METHOD_PREFIX: &str = "METHOD_";

pub(crate) fn method(method: Method) -> i32 {
    let name = format!("{METHOD_PREFIX}{}", method.name());
    pb_type::Method::from_str_name(&name).unwrap_or(pb_type::Method::Unspecified).into()
}

pub(crate) fn money(minor: i64, currency: Currency) -> PbMoney {
    let (units, nanos) = Money::new(minor, currency).to_units();
    PbMoney { currency_code: currency.code().to_owned(), units, nanos }
}

pub(crate) fn time(at: Timestamp) -> PbTimestamp {
    let (seconds, nanos) = to_parts(at);
    PbTimestamp { seconds, nanos }
}
