//! What can go wrong with stock, and the one place where that becomes a gRPC status.

use std::time::Duration;

use domain::id::{NodeId, ReservationId, Sku, Uuid};
use domain::stock::Refusal;
use server::Violation;
use tonic::{Code, Status};

/// The domain in the `ErrorInfo` of every error of this service.
pub(crate) const DOMAIN: &str = "inventory.entrepot";

/// Named by what the caller can do about it. `Clone`, because a batch answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Fields that cannot be taken, all of them.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// A position cannot give what was asked; nothing of the basket was taken.
    #[error("no stock: {wanted} of {sku} wanted at {node}, {available} available")]
    NoStock {
        /// The first SKU that is short.
        sku: Sku,
        /// Where.
        node: NodeId,
        /// Units wanted by the whole basket.
        wanted: i64,
        /// Units that could be promised.
        available: i64,
    },
    /// A rule of stock said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No such SKU.
    #[error("sku {0} does not exist")]
    SkuNotFound(Sku),
    /// No such reservation.
    #[error("{0} does not exist")]
    ReservationNotFound(ReservationId),
    /// The id is taken by a reservation of other lines.
    #[error("{0} exists with other lines")]
    ReservationExists(ReservationId),
    /// The SKU was changed since the caller read it.
    #[error("sku {0} changed meanwhile, load it again")]
    SkuChanged(Sku),
    /// A store may not change the stock of another node.
    #[error("a store may not change the stock of {0}")]
    NotYourNode(NodeId),
    /// The same request id with another body.
    #[error("request id {0} was already used with another body")]
    RequestIdReused(Uuid),
    /// More requests wait than may.
    #[error("too many requests are waiting")]
    Full,
    /// More audits wait than may.
    #[error("too many audits are waiting")]
    TooManyAudits,
    /// More streams of all positions are open than may.
    #[error("too many streams of positions are open")]
    TooManyStreams,
    /// The service stops.
    #[error("the service is stopping")]
    Stopping,
    /// Somebody else wrote what this transaction took for unwritten: to be done again.
    #[error("somebody else was faster, do it again")]
    Raced,
    /// Stored data that cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] db::Error),
}

impl Error {
    /// A single field that cannot be taken.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, description)])
    }

    /// Whether the same transaction may succeed when it is done again.
    pub(crate) fn is_retry(&self) -> bool {
        match self {
            Self::Raced => true,
            Self::Db(error) => error.is_retry(),
            Self::Invalid(_)
            | Self::NoStock { .. }
            | Self::Refused(_)
            | Self::SkuNotFound(_)
            | Self::ReservationNotFound(_)
            | Self::ReservationExists(_)
            | Self::SkuChanged(_)
            | Self::NotYourNode(_)
            | Self::RequestIdReused(_)
            | Self::Full
            | Self::TooManyAudits
            | Self::TooManyStreams
            | Self::Stopping
            | Self::Unreadable(_) => false,
        }
    }
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        match error {
            bus::Error::RequestIdReused { request_id } => Self::RequestIdReused(request_id),
            bus::Error::Db(error) => Self::Db(error),
            bus::Error::Unsettled { .. } => Self::Raced,
            other => Self::Unreadable(other.to_string()),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (code, reason, facts) = match error {
            Error::Invalid(violations) => return server::invalid(DOMAIN, violations),
            Error::Full => return server::exhausted(DOMAIN, "QUEUE_FULL", Duration::from_millis(50), text),
            Error::TooManyAudits => {
                return server::exhausted(DOMAIN, "TOO_MANY_AUDITS", Duration::from_secs(1), text);
            }
            Error::TooManyStreams => {
                return server::exhausted(DOMAIN, "TOO_MANY_STREAMS", Duration::from_secs(5), text);
            }
            Error::Stopping => return server::retry_later(DOMAIN, "STOPPING", Duration::from_secs(1), text),
            Error::Raced | Error::Db(db::Error::Retry(_)) => {
                return server::retry_later(
                    DOMAIN,
                    "CONTENDED",
                    Duration::from_millis(50),
                    "storage is contended",
                );
            }
            Error::Db(db::Error::Unavailable(_)) => {
                tracing::warn!(error = text, "storage is unavailable");
                let delay = Duration::from_millis(500);
                return server::retry_later(DOMAIN, "STORAGE_UNAVAILABLE", delay, "storage is unavailable");
            }
            Error::NoStock { sku, node, wanted, available } => {
                let facts = vec![
                    fact("sku", &sku),
                    fact("node", &node),
                    fact("wanted", &wanted),
                    fact("available", &available),
                ];
                (Code::FailedPrecondition, "NO_STOCK", facts)
            }
            Error::Refused(refusal) => refused(&refusal),
            Error::SkuNotFound(sku) => (Code::NotFound, "SKU_NOT_FOUND", vec![fact("sku", &sku)]),
            Error::ReservationNotFound(id) => {
                (Code::NotFound, "RESERVATION_NOT_FOUND", vec![fact("reservation_id", &id)])
            }
            Error::ReservationExists(id) => {
                (Code::AlreadyExists, "RESERVATION_EXISTS", vec![fact("reservation_id", &id)])
            }
            Error::SkuChanged(sku) => (Code::Aborted, "SKU_CHANGED", vec![fact("sku", &sku)]),
            Error::NotYourNode(node) => {
                (Code::PermissionDenied, "NOT_YOUR_NODE", vec![fact("node_id", &node)])
            }
            Error::RequestIdReused(id) => {
                (Code::InvalidArgument, "REQUEST_ID_REUSED", vec![fact("request_id", &id)])
            }
            Error::Unreadable(_) | Error::Db(_) => (Code::Internal, "STORAGE", Vec::new()),
        };
        server::status(code, reason, DOMAIN, text, facts)
    }
}

type Facts = Vec<(String, String)>;

fn fact(name: &str, value: &dyn std::fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn refused(refusal: &Refusal) -> (Code, &'static str, Facts) {
    let code = Code::FailedPrecondition;
    match refusal {
        Refusal::Ended { id, state, .. } => {
            (code, ended(state), vec![fact("reservation_id", id), fact("state", state)])
        }
        Refusal::Lost { id } => (code, "RESERVATION_EXPIRED", vec![fact("reservation_id", id)]),
        Refusal::Confirmed { id } => (code, "RESERVATION_CONFIRMED", vec![fact("reservation_id", id)]),
        Refusal::OtherOrder { id } => (code, "RESERVATION_TAKEN", vec![fact("reservation_id", id)]),
        Refusal::UnknownLine { id, line } => {
            (code, "LINE_NOT_FOUND", vec![fact("reservation_id", id), fact("line", line)])
        }
        Refusal::TooMany { id, line, wanted, left } => {
            let facts = vec![
                fact("reservation_id", id),
                fact("line", line),
                fact("wanted", wanted),
                fact("available", left),
            ];
            (code, "TOO_MANY_UNITS", facts)
        }
        Refusal::Backwards { id, line, .. } => {
            (code, "ALREADY_CONSUMED", vec![fact("reservation_id", id), fact("line", line)])
        }
        Refusal::TooFew { wanted, available, .. } => {
            (code, "TOO_FEW_UNITS", vec![fact("wanted", wanted), fact("available", available)])
        }
        Refusal::Empty => (Code::InvalidArgument, "EMPTY", Vec::new()),
        Refusal::Quantity { quantity, .. } => {
            (Code::InvalidArgument, "QUANTITY_OUT_OF_RANGE", vec![fact("quantity", quantity)])
        }
        Refusal::Overflow => (Code::OutOfRange, "QUANTITY_OUT_OF_RANGE", Vec::new()),
    }
}

/// The reason why a reservation in this state takes no more commands.
pub(crate) fn ended(state: &str) -> &'static str {
    match state {
        "CONSUMED" => "RESERVATION_CONSUMED",
        "EXPIRED" => "RESERVATION_EXPIRED",
        _ => "RESERVATION_RELEASED",
    }
}
