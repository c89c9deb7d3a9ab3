//! What callers can have done, as the verbs take it: well formed, not yet decided.

use domain::id::{LineNo, OptionId, OrderId, PromiseToken, RefundId};
use domain::money::Currency;
use domain::order::{Draft, Group, PartId, Payment, Redirect, RefundAnswer, Tender};
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

/// A tender to add.
#[derive(Debug, Clone)]
pub(crate) struct AddTender {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) tender: Tender,
    pub(crate) currency: Currency,
}

/// Money to give back without goods.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRefund {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    /// Line, number of the piece, minor units.
    pub(crate) claims: Vec<(LineNo, i64, i64)>,
    pub(crate) reason: String,
    pub(crate) currency: Currency,
}

/// A provider's answer to a refund.
#[derive(Debug, Clone)]
pub(crate) struct ReportRefund {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) refund: RefundId,
    pub(crate) part: PartId,
    pub(crate) answer: RefundAnswer,
}

/// A refund that failed for good, and where it goes instead.
#[derive(Debug, Clone)]
pub(crate) struct RedirectRefund {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) refund: RefundId,
    pub(crate) from: PartId,
    pub(crate) to: Redirect,
    /// Handle of the customer's consent.
    pub(crate) consent: String,
}

/// Pieces to cancel.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) lines: Vec<(LineNo, i64)>,
    pub(crate) reason: String,
}

/// An option to take.
#[derive(Debug, Clone)]
pub(crate) struct Choose {
    pub(crate) call: Call,
    pub(crate) order: OrderId,
    pub(crate) option: OptionId,
}

/// A channel's number.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) channel: String,
    pub(crate) channel_order_id: String,
}
