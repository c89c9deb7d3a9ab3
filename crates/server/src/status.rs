//! The one place where a `tonic::Status` is built, and where the details of a peer's are read.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::reason::{self, Reason};

/// The domain of errors that the listener itself answers with, before or around a service.
pub const DOMAIN: &str = "entrepot";

/// One field of a request that cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `lines[2].quantity`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Builds a status that carries `ErrorInfo`. The text of an INTERNAL error is logged here, once, and hidden from
/// the caller.
pub fn status(
    reason: Reason,
    domain: &str,
    message: String,
    facts: impl IntoIterator<Item = (String, String)>,
) -> Status {
    let Reason { code, name, .. } = reason;
    let message = if code == Code::Internal {
        tracing::error!(reason = name, domain, error = message, "internal error");
        "internal error".to_owned()
    } else {
        message
    };
    let facts: HashMap<String, String> = facts.into_iter().collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(name, domain, facts))
}

/// The most bytes of bad fields in one answer. Details travel in the headers, of which gRPC for C++, Python and Java
/// takes no more than 8 KiB in all.
const MOST_NAMED: usize = 4 * 1024;

/// `INVALID_ARGUMENT` that names every bad field at once (reason `INVALID_REQUEST`). Of very many it names the first,
/// and says in the field `..` how many more there are.
pub fn invalid(domain: &str, mut violations: Vec<Violation>) -> Status {
    let message = match violations.as_slice() {
        [] => "the request is not valid".to_owned(),
        [only] => format!("{}: {}", only.field, only.description),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.description, rest.len()),
    };
    let mut bytes = 0;
    let fits = |v: &&Violation| {
        bytes += v.field.len() + v.description.len() + 8;
        bytes <= MOST_NAMED
    };
    let named = violations.iter().take_while(fits).count();
    if named < violations.len() {
        let more = violations.len() - named;
        violations.truncate(named);
        violations.push(Violation::new("..", format!("and {more} more fields")));
    }
    let mut details = ErrorDetails::with_error_info(reason::INVALID_REQUEST.name, domain, HashMap::new());
    let fields: Vec<FieldViolation> =
        violations.into_iter().map(|v| FieldViolation::new(v.field, v.description)).collect();
    details.set_bad_request(fields);
    Status::with_error_details(reason::INVALID_REQUEST.code, message, details)
}

/// The same call may succeed after `delay`.
pub fn retry_later(reason: Reason, domain: &str, delay: Duration, message: impl Into<String>) -> Status {
    with_delay(reason, domain, HashMap::new(), delay, message.into())
}

/// UNAVAILABLE: the peer of this name does not answer; the same call may succeed after `delay`.
pub(crate) fn unreachable_peer(peer: &str, delay: Duration, why: &str) -> Status {
    let facts = HashMap::from([("peer".to_owned(), peer.to_owned())]);
    with_delay(reason::PEER_UNREACHABLE, DOMAIN, facts, delay, format!("{peer} does not answer: {why}"))
}

/// The answer to a call that the shutdown cut off.
pub(crate) fn stopping() -> Status {
    retry_later(reason::SHUTTING_DOWN, DOMAIN, Duration::from_secs(1), "this server is shutting down")
}

/// The request message is larger than a service reads.
pub(crate) fn too_large() -> Status {
    let text = format!("the message is larger than {} bytes", crate::MESSAGE_LIMIT);
    status(reason::MESSAGE_TOO_LARGE, DOMAIN, text, [])
}

fn with_delay(
    reason: Reason,
    domain: &str,
    facts: HashMap<String, String>,
    delay: Duration,
    message: String,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.name, domain, facts);
    details.set_retry_info(Some(delay));
    Status::with_error_details(reason.code, message, details)
}

/// The reason in the `ErrorInfo` of a status that a peer answered with.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The facts in the `ErrorInfo` of a status that a peer answered with.
pub fn facts(status: &Status) -> HashMap<String, String> {
    status.get_details_error_info().map(|info| info.metadata).unwrap_or_default()
}

/// The fields that a peer refused.
pub fn violations(status: &Status) -> Vec<Violation> {
    status
        .get_details_bad_request()
        .map(|bad| bad.field_violations.into_iter().map(|v| Violation::new(v.field, v.description)).collect())
        .unwrap_or_default()
}

/// Gives a status that the transport made (a message that cannot be read, an unknown method) its `ErrorInfo`.
/// A body that is no valid message is the caller's mistake, not ours.
pub(crate) fn explained(bare: &Status) -> Status {
    let unreadable = bare.message().starts_with("failed to decode Protobuf message");
    let reason = match bare.code() {
        Code::Internal if unreadable => reason::REQUEST_UNREADABLE,
        Code::OutOfRange | Code::ResourceExhausted => reason::MESSAGE_TOO_LARGE,
        Code::Unimplemented => reason::NOT_IMPLEMENTED,
        // a request that broke off in the middle is nothing unknown: nobody reads this answer
        Code::Cancelled | Code::Unknown => reason::CALLER_GONE,
        Code::Internal => reason::REQUEST_UNREADABLE,
        code => Reason { code, ..reason::TRANSPORT },
    };
    let details = ErrorDetails::with_error_info(reason.name, DOMAIN, HashMap::new());
    Status::with_error_details(reason.code, bare.message().to_owned(), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_STOCK: Reason =
        Reason { name: "NO_STOCK", code: Code::FailedPrecondition, ..reason::CALLER_NOT_ALLOWED };

    #[test]
    fn a_status_carries_reason_domain_and_facts() {
        let status = status(
            NO_STOCK,
            "inventory.entrepot",
            "no stock for A".to_owned(),
            [("sku".to_owned(), "A".to_owned())],
        );
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "no stock for A");
        assert_eq!(reason(&status).as_deref(), Some("NO_STOCK"));
        assert_eq!(facts(&status)["sku"], "A");
        assert_eq!(status.get_details_error_info().unwrap().domain, "inventory.entrepot");
    }

    #[test]
    fn the_text_of_an_internal_error_stays_inside() {
        let text = "table orders is gone".to_owned();
        let status = status(reason::HANDLER_PANICKED, "orders.entrepot", text, []);
        assert_eq!(status.message(), "internal error");
        assert_eq!(reason(&status).as_deref(), Some("HANDLER_PANICKED"));
    }

    #[test]
    fn an_invalid_request_names_every_field() {
        let status = invalid(
            "orders.entrepot",
            vec![Violation::new("lines[0].sku", "is empty"), Violation::new("lines[1].quantity", "is 0")],
        );
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "lines[0].sku: is empty (and 1 more)");
        assert_eq!(violations(&status).len(), 2);
        assert_eq!(violations(&status)[1].field, "lines[1].quantity");
    }

    #[test]
    fn very_many_bad_fields_still_fit_into_the_headers() {
        let bad = |i| Violation::new(format!("lines[{i}].sku"), "must not be empty");
        let status = invalid("orders.entrepot", (0..10_000).map(bad).collect());
        assert!(status.details().len() < 5 * 1024, "{}", status.details().len());
        let named = violations(&status);
        assert_eq!(named[0].field, "lines[0].sku");
        let last = named.last().unwrap();
        assert_eq!(last.field, "..");
        assert_eq!(last.description, format!("and {} more fields", 10_001 - named.len()));
    }

    #[test]
    fn a_retry_names_its_delay() {
        let status =
            retry_later(reason::SHUTTING_DOWN, "orders.entrepot", Duration::from_millis(250), "busy");
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(250)));
        let status = retry_later(reason::OVERLOADED, "orders.entrepot", Duration::from_millis(100), "full");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.get_details_retry_info().is_some());
    }

    #[test]
    fn a_request_that_broke_off_is_its_callers_doing() {
        let status = explained(&Status::unknown("error reading a body from connection"));
        assert_eq!(status.code(), Code::Cancelled);
        assert_eq!(reason(&status).as_deref(), Some("CALLER_GONE"));
    }

    #[test]
    fn a_body_that_is_no_message_is_the_callers_mistake() {
        let status = explained(&Status::internal("failed to decode Protobuf message: invalid tag"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(&status).as_deref(), Some("REQUEST_UNREADABLE"));
    }
}
