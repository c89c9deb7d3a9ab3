//! What happens to an order.

use super::Refund;
use super::spread::LegParts;
use crate::id::{FulfillmentId, LineNo};

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
    /// Not paid in time: the claims are given up.
    PaymentLapsed {
        /// The legs whose claims are given up.
        legs: Vec<FulfillmentId>,
    },
    /// Not paid within the grace: over.
    Expired {
        /// The legs that no node was asked for; most of their claims are given up already.
        legs: Vec<FulfillmentId>,
    },
    /// Nodes are asked to give pieces up.
    CancelRequested {
        /// The number of the request in its order, from 1.
        number: i64,
        /// Pieces per leg and line.
        legs: LegParts,
        /// Why.
        reason: String,
    },
    /// Pieces were cancelled.
    Cancelled {
        /// All cancelled pieces of each line that this changed.
        lines: Vec<(LineNo, i64)>,
        /// Why the last ones were.
        reason: String,
        /// The legs to give up, which no node ever had.
        legs: Vec<FulfillmentId>,
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
