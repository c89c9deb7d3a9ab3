//! What callers can have done, as the verbs take it: well formed, not yet decided.

use domain::fulfillment::method::Method;
use domain::id::{LineNo, NodeId, OrderId, PromiseToken};
use domain::money::Currency;
use domain::order::{Draft, Payment};
use service::Call;

/// How the stock of a new order is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// By a token that the caller has.
    Token(PromiseToken),
    /// By one that we ask for.
    Node { method: Method, node: NodeId },
}

/// An order to place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) call: Call,
    pub(crate) draft: Draft,
    pub(crate) source: Source,
}

/// A payment result to record.
#[derive(Debug, Clone)]
pub(crate) struct Pay {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) payment: Payment,
    pub(crate) currency: Currency,
}

/// Pieces to cancel.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) lines: Vec<(LineNo, i64)>,
    pub(crate) reason: String,
}

/// A channel's number.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) channel: String,
    pub(crate) channel_order_id: String,
}
