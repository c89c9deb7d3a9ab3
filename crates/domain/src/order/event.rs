//! What happens to an order.

use super::Refund;
use crate::id::{LineNo, PromiseToken};

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It exists; its stock is held.
    Placed,
    /// The last block is gone.
    Unblocked,
    /// Its stock is confirmed.
    Confirmed,
    /// Money came in.
    Paid {
        /// By which tender.
        tender: String,
        /// How much, in minor units.
        amount_minor: i64,
        /// Nothing is due any more.
        in_full: bool,
    },
    /// Not paid in time: the claim is given up.
    PaymentLapsed {
        /// The claim.
        token: PromiseToken,
    },
    /// Not paid within the grace: over.
    Expired {
        /// The claim, already given up.
        token: PromiseToken,
    },
    /// The node is asked to give pieces up.
    CancelRequested {
        /// The number of the request in its order, from 1.
        number: i64,
        /// Pieces per line.
        lines: Vec<(LineNo, i64)>,
        /// Why.
        reason: String,
    },
    /// Pieces were cancelled.
    Cancelled {
        /// All cancelled pieces of each line that has any.
        lines: Vec<(LineNo, i64)>,
        /// Why the last ones were.
        reason: String,
        /// The claim to give up, when no node ever had the order.
        token: Option<PromiseToken>,
    },
    /// Work went on, or something else changed that has no event of its own.
    Progressed {
        /// The lines whose buckets changed.
        lines: Vec<LineNo>,
    },
    /// Every piece is delivered or cancelled.
    Completed,
    /// Money is to be paid back.
    RefundRequested(Refund),
}
