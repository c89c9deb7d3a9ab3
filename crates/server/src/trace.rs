//! The trace of a call: W3C `traceparent`, from the caller to the handler, on to peers, and by a carrier that the
//! binary sets into whatever else the handler touches.

use std::sync::OnceLock;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response};
use tonic::body::Body;
use uuid::Uuid;

/// The header and metadata key.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: String;
}

/// The work of one handler.
pub type Work = BoxFuture<'static, Response<Body>>;

/// Runs a handler's work with its trace known to another room, such as the one that writes events.
pub type Carrier = fn(String, Work) -> Work;

static CARRIER: OnceLock<Carrier> = OnceLock::new();

/// Sets the carrier of this process; only the first call counts.
pub fn carry_with(carrier: Carrier) {
    let _ = CARRIER.set(carrier);
}

/// The trace of the call at hand.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The trace that a caller names, or a new one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let named = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    named.filter(|text| is_valid(text)).map_or_else(new, ToOwned::to_owned)
}

/// Names the trace of the call at hand to a peer, unless the request names one.
pub(crate) fn pass_on(headers: &mut HeaderMap) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    if let Some(value) = current().and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(TRACEPARENT, value);
    }
}

/// Runs a handler's work as part of `trace`.
pub(crate) fn scope(trace: String, work: Work) -> Work {
    let work: Work = match CARRIER.get() {
        Some(carrier) => carrier(trace.clone(), work),
        None => work,
    };
    Box::pin(CURRENT.scope(trace, work))
}

/// A trace that begins here.
fn new() -> String {
    let trace = Uuid::new_v4().simple();
    let (span, _) = Uuid::new_v4().as_u64_pair();
    format!("00-{trace}-{:016x}-01", span.max(1))
}

/// Version 00: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero.
fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let [version, trace, span, flags] = parts.as_slice() else {
        return false;
    };
    *version == "00"
        && is_hex(trace, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_trace_is_valid_and_its_own() {
        assert!(is_valid(&new()));
        assert_ne!(new(), new());
    }

    #[test]
    fn only_a_well_formed_trace_is_taken_over() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(good));
        assert_eq!(of(&headers), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
