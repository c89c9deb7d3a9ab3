//! Why a step of an order is refused.

use super::{Status, TenderState};
use crate::id::{FulfillmentId, LineNo};
use crate::money::Money;
use crate::words;

/// Why something can't be done to an order now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing happens to its goods any more.
    #[error("cannot {step}: the order is {}", words::plain(.status.name()))]
    Over {
        /// What was to be done.
        step: &'static str,
        /// Where the order stands.
        status: Status,
    },
    /// The order has no such line.
    #[error("the order has no line {line}")]
    UnknownLine {
        /// The line.
        line: LineNo,
    },
    /// More pieces were named than can still be cancelled.
    #[error("only {} of line {line} can still be cancelled", words::counted(*.left, "piece"))]
    NotCancellable {
        /// The line.
        line: LineNo,
        /// What was asked.
        asked: i64,
        /// What is left.
        left: i64,
    },
    /// Nothing is left to cancel, or all of it was asked for already.
    #[error("nothing is left to cancel")]
    NothingToCancel,
    /// The order has no such tender.
    #[error("the order has no tender {tender}")]
    UnknownTender {
        /// The tender.
        tender: String,
    },
    /// The tender's amount is another.
    #[error("tender {tender} is {due}, not {given}")]
    AmountDiffers {
        /// The tender.
        tender: String,
        /// Its amount.
        due: Money,
        /// What was given.
        given: Money,
    },
    /// The tender can't go there from where it stands.
    #[error(
        "tender {tender} is {} and cannot become {}",
        words::plain(.from.name()),
        words::plain(.to.name())
    )]
    TenderState {
        /// The tender.
        tender: String,
        /// Where it stands.
        from: TenderState,
        /// What was reported.
        to: TenderState,
    },
    /// The tender pays for goods that are on their way.
    #[error("tender {tender} pays for goods that are not cancelled")]
    TenderInUse {
        /// The tender.
        tender: String,
    },
    /// Stock must be held again before this payment releases the order.
    #[error("the stock must be held again")]
    NeedsHold,
    /// Not the reservation of this order (any more).
    #[error("the reservation is not the order's")]
    OtherReservation,
    /// Already confirmed.
    #[error("the order is confirmed already")]
    AlreadyConfirmed,
    /// It is not time for that.
    #[error("nothing is due")]
    NotDue,
    /// Another fulfillment order serves this order.
    #[error("fulfillment order {given} does not serve the order")]
    OtherFulfillment {
        /// The one that reported.
        given: FulfillmentId,
    },
    /// A fulfillment order reported quantities that can't be.
    #[error("the quantities reported of line {line} do not add up")]
    BadSnapshot {
        /// The line.
        line: LineNo,
    },
}
