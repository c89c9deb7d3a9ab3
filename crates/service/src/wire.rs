//! Messages that all packages use, to domain and back.

use contract::google::r#type::Money as PbMoney;
use contract::r#type::v1::Method as PbMethod;
use domain::fulfillment::method::{Method, MethodError};
use domain::money::{Currency, Money};
use domain::time::{self, Timestamp};
use prost::Message;
use prost_types::Timestamp as PbTimestamp;

/// What precedes the name of a method on the wire.
const METHOD_PREFIX: &str = "METHOD_";

/// An instant.
pub fn timestamp(at: Timestamp) -> PbTimestamp {
    let (seconds, nanos) = time::to_parts(at);
    PbTimestamp { seconds, nanos }
}

/// An instant of the wire.
pub fn instant(at: PbTimestamp) -> Result<Timestamp, time::TimeError> {
    time::from_parts(at.seconds, at.nanos)
}

/// An amount of minor units.
pub fn money(minor: i64, currency: Currency) -> PbMoney {
    let (units, nanos) = Money::new(minor, currency).to_units();
    PbMoney { currency_code: currency.code().to_owned(), units, nanos }
}

/// The number of a method.
pub fn method(method: Method) -> i32 {
    let name = format!("{METHOD_PREFIX}{}", method.name());
    PbMethod::from_str_name(&name).unwrap_or(PbMethod::Unspecified).into()
}

/// The method of a number.
pub fn method_of(number: i32) -> Result<Method, MethodError> {
    Method::named(method_name(number).unwrap_or_default())
}

/// The name of a method's number.
pub fn method_name(number: i32) -> Option<&'static str> {
    PbMethod::try_from(number).ok()?.as_str_name().strip_prefix(METHOD_PREFIX)
}

/// The most bytes of one page.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// As many messages as fit into one page, at least one.
pub fn fitting<M: Message>(messages: impl Iterator<Item = M>) -> Vec<M> {
    let mut page: Vec<M> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.encoded_len();
        if bytes > MAX_PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page
}
