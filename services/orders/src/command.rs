//! What callers can have done, as the verbs take it: well formed, not yet decided.

use domain::id::{LineNo, OrderId, PromiseToken};
use domain::money::Currency;
use domain::order::{Draft, Group, Payment};
use service::Call;

/// An order to place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) call: Call,
    pub(crate) draft: Draft,
    /// What is asked together. With a token it may be empty: then it is what the token was held for.
    pub(crate) groups: Vec<Group>,
    /// The promise that the caller has; without one, one is asked for.
    pub(crate) token: Option<PromiseToken>,
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
