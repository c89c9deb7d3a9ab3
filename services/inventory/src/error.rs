//! What can go wrong with stock, and the one place where that becomes a gRPC status.

use std::time::Duration;

use domain::id::{NodeId, ReservationId, Sku};
use domain::stock::Refusal;
use jiff::Timestamp;
use server::Reason;
use service::Fault;
use tonic::Status;

/// The domain in the `ErrorInfo` of every error of this service.
pub const DOMAIN: &str = "inventory.entrepot";

/// The reasons that calls of inventory can be refused with, besides those of every service.
pub mod reason {
    server::reasons! {
        NO_STOCK: FailedPrecondition, No, "fewer units are available than asked; nothing of the request was taken",
            "ask for at most the fact `available`, or at another node";
        SKU_NOT_FOUND: NotFound, No, "the SKU does not exist",
            "create it with PutSkus";
        SKU_CHANGED: Aborted, Reread, "the SKU changed since the etag was read",
            "read the SKU and send its etag";
        RESERVATION_NOT_FOUND: NotFound, No, "the reservation does not exist",
            "check the id";
        RESERVATION_EXISTS: AlreadyExists, No, "the reservation id is taken by a reservation of other lines or another channel",
            "choose another reservation_id";
        RESERVATION_RELEASED: FailedPrecondition, No, "the reservation was released",
            "reserve again under another id";
        RESERVATION_EXPIRED: FailedPrecondition, No, "the reservation expired",
            "reserve again under another id";
        RESERVATION_CONSUMED: FailedPrecondition, No, "the units of the reservation have left",
            "read the reservation";
        RESERVATION_CONFIRMED: FailedPrecondition, No, "an order has the reservation",
            "cancel the order instead";
        TOO_FEW_UNITS: FailedPrecondition, No, "the position has fewer units than are to be taken from it",
            "count the position";
        EMPTY: InvalidArgument, No, "nothing was asked for",
            "name at least one line";
        QUANTITY_OUT_OF_RANGE: InvalidArgument, No, "the quantity is outside its limits",
            "send a quantity within the limits";
        QUANTITY_OVERFLOW: OutOfRange, No, "the position would hold more units than can be counted",
            "check the figures";
        NOT_YOUR_NODE: PermissionDenied, No, "a store named the stock of another node",
            "name your own node";
        SNAPSHOT_NOT_FOUND: FailedPrecondition, No, "no row of a snapshot of this source time was applied at the node",
            "send the rows first, all with this source time";
        TOO_MUCH_VANISHES: FailedPrecondition, No, "a full snapshot would set more of a node's stock to 0 than the limit",
            "check that the snapshot is complete, then close it with force";
        TOO_MANY_AUDITS: ResourceExhausted, Later, "other audits run or wait",
            "wait for RetryInfo, then send it again";
    }
}

/// Named by what the caller can do about it. `Clone`, because a batch answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A position cannot give what was asked; nothing of the request was taken.
    #[error("no stock: {wanted} of {sku} wanted at {node}, {available} available")]
    NoStock {
        /// The first reservation that wants it.
        reservation: ReservationId,
        /// Its first line that does.
        line: u32,
        /// The first SKU that is short.
        sku: Sku,
        /// Where.
        node: NodeId,
        /// Units wanted by the whole request.
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
    /// The id is taken by a reservation of other lines or another channel.
    #[error("{0} exists with other lines or another channel")]
    ReservationExists(ReservationId),
    /// The SKU was changed since the caller read it.
    #[error("sku {0} changed meanwhile, load it again")]
    SkuChanged(Sku),
    /// A store may not change the stock of another node.
    #[error("a store may not change the stock of {0}")]
    NotYourNode(NodeId),
    /// No row of a snapshot of this time was applied at the node.
    #[error("no snapshot of {at} was applied at {node}: send its rows first, all with this source time")]
    NoSuchSnapshot {
        /// Where.
        node: NodeId,
        /// The source time.
        at: Timestamp,
    },
    /// More of a node's stock would vanish than is believed without force.
    #[error(
        "{percent} % of the stock of {node} would vanish ({positions} positions, {units} units), more than {limit} %: \
         check that the snapshot is complete, then close it with force"
    )]
    TooMuchVanishes {
        /// Where.
        node: NodeId,
        /// Positions that would be set to 0.
        positions: i64,
        /// Their units.
        units: i64,
        /// Their share of the node's stock.
        percent: i64,
        /// The share that needs no force.
        limit: i64,
    },
    /// More audits wait than may.
    #[error("too many audits are waiting")]
    TooManyAudits,
    /// What can go wrong in any service.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Error {
    /// A single field that cannot be taken.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Fault::field(field, description).into()
    }
}

service::faults!(Error);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (reason, facts) = match error {
            Error::Fault(fault) => return fault.status(DOMAIN),
            Error::TooManyAudits => {
                return server::retry_later(reason::TOO_MANY_AUDITS, DOMAIN, Duration::from_secs(1), text);
            }
            Error::NoStock { reservation, line, sku, node, wanted, available } => {
                let facts = vec![
                    fact("reservation_id", &reservation),
                    fact("line", &line),
                    fact("sku", &sku),
                    fact("node", &node),
                    fact("wanted", &wanted),
                    fact("available", &available),
                ];
                (reason::NO_STOCK, facts)
            }
            Error::Refused(refusal) => match refused(&refusal) {
                Some(known) => known,
                None => return Fault::unreadable(refusal).status(DOMAIN),
            },
            Error::SkuNotFound(sku) => (reason::SKU_NOT_FOUND, vec![fact("sku", &sku)]),
            Error::ReservationNotFound(id) => {
                (reason::RESERVATION_NOT_FOUND, vec![fact("reservation_id", &id)])
            }
            Error::ReservationExists(id) => (reason::RESERVATION_EXISTS, vec![fact("reservation_id", &id)]),
            Error::SkuChanged(sku) => (reason::SKU_CHANGED, vec![fact("sku", &sku)]),
            Error::NotYourNode(node) => (reason::NOT_YOUR_NODE, vec![fact("node_id", &node)]),
            Error::NoSuchSnapshot { node, at } => {
                (reason::SNAPSHOT_NOT_FOUND, vec![fact("node_id", &node), fact("source_time", &at)])
            }
            Error::TooMuchVanishes { node, positions, units, percent, limit } => {
                let facts = vec![
                    fact("node_id", &node),
                    fact("positions", &positions),
                    fact("units", &units),
                    fact("percent", &percent),
                    fact("limit", &limit),
                ];
                (reason::TOO_MUCH_VANISHES, facts)
            }
        };
        server::status(reason, DOMAIN, text, facts)
    }
}

type Facts = Vec<(String, String)>;

fn fact(name: &str, value: &dyn std::fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// The reason and the facts. `None` for what only events can ask: no caller waits for an answer to it.
fn refused(refusal: &Refusal) -> Option<(Reason, Facts)> {
    Some(match refusal {
        Refusal::Ended { id, state, .. } => {
            (ended(state), vec![fact("reservation_id", id), fact("state", state)])
        }
        Refusal::Lost { id } => (reason::RESERVATION_EXPIRED, vec![fact("reservation_id", id)]),
        Refusal::Confirmed { id } => (reason::RESERVATION_CONFIRMED, vec![fact("reservation_id", id)]),
        Refusal::OtherOrder { .. }
        | Refusal::UnknownLine { .. }
        | Refusal::TooMany { .. }
        | Refusal::Backwards { .. } => return None,
        Refusal::TooFew { wanted, available, .. } => {
            (reason::TOO_FEW_UNITS, vec![fact("wanted", wanted), fact("available", available)])
        }
        Refusal::Empty => (reason::EMPTY, Vec::new()),
        Refusal::Quantity { quantity, .. } => {
            (reason::QUANTITY_OUT_OF_RANGE, vec![fact("quantity", quantity)])
        }
        Refusal::Overflow => (reason::QUANTITY_OVERFLOW, Vec::new()),
    })
}

/// The reason why a reservation in this state takes no more commands.
pub(crate) fn ended(state: &str) -> Reason {
    match state {
        "CONSUMED" => reason::RESERVATION_CONSUMED,
        "EXPIRED" => reason::RESERVATION_EXPIRED,
        _ => reason::RESERVATION_RELEASED,
    }
}
