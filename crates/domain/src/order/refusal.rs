//! Why a step of an order is refused.

use super::{Block, NeedState, RefundState, Status, TenderState};
use crate::id::{FulfillmentId, LineNo, NeedId, RefundId};
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
    /// Less than its amount is left that another tender may pay.
    #[error(
        "tender {tender} has nothing to replace: its amount is more than what failed and voided tenders have due"
    )]
    NothingToReplace {
        /// The new tender.
        tender: String,
    },
    /// The order has such a tender, or the refund goes to it already.
    #[error("tender {tender} exists already")]
    TenderTaken {
        /// The tender.
        tender: String,
    },
    /// The line never had such a piece.
    #[error(
        "line {line} has {}, of which {left} are left; piece {piece} is not one of them",
        words::counted(*.pieces, "piece")
    )]
    UnknownPiece {
        /// The line.
        line: LineNo,
        /// The piece.
        piece: i64,
        /// How many it has.
        pieces: i64,
        /// How many of them the customer still gets or has: the first ones.
        left: i64,
    },
    /// Less is left of the price of a piece.
    #[error("only {left} is left of the price of piece {piece} of line {line}")]
    ClaimTooLarge {
        /// The line.
        line: LineNo,
        /// The piece.
        piece: i64,
        /// What is left.
        left: Money,
    },
    /// The refund has no part of this reference.
    #[error("the refund has no such part by tender {tender}; its parts are {}", quoted(.references))]
    UnknownPart {
        /// The tender.
        tender: String,
        /// The references of its parts.
        references: Vec<String>,
    },
    /// The refund has several parts by the tender, and none is named.
    #[error("is required: the refund has several parts by tender {tender}, {}", quoted(.references))]
    PartNotNamed {
        /// The tender.
        tender: String,
        /// The references of its parts.
        references: Vec<String>,
    },
    /// The refund was not asked for that often.
    #[error("must be at most {last}, the last attempt; {attempt} was given")]
    UnknownAttempt {
        /// The attempt that was reported.
        attempt: i64,
        /// The last one.
        last: i64,
    },
    /// The order has no such refund.
    #[error("the order has no refund {refund}")]
    UnknownRefund {
        /// The refund.
        refund: RefundId,
    },
    /// The refund can't go there from where it stands.
    #[error(
        "the refund by tender {tender} is {} and cannot become {}",
        words::plain(.from.name()),
        words::plain(.to.name())
    )]
    RefundState {
        /// The tender.
        tender: String,
        /// Where the refund stands.
        from: RefundState,
        /// What was asked.
        to: RefundState,
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
    /// The order has no such need.
    #[error("the order has no need {need}")]
    UnknownNeed {
        /// The need.
        need: NeedId,
    },
    /// No piece of the need is open any more.
    #[error("need {need} is {}: nothing of it is open", words::plain(.state.name()))]
    NeedOver {
        /// The need.
        need: NeedId,
        /// Where it stands.
        state: NeedState,
    },
    /// The legs are not for the pieces of the need that are open.
    #[error("the legs are not for the open pieces of need {need}")]
    OtherPieces {
        /// The need.
        need: NeedId,
    },
    /// The order waits for something else first.
    #[error("cannot {step}: the order is blocked by {}", words::plain(.block.name()))]
    Blocked {
        /// What was to be done.
        step: &'static str,
        /// What holds it back.
        block: Block,
    },
    /// A fulfillment order reported quantities that can't be.
    #[error("the quantities reported of line {line} do not add up")]
    BadSnapshot {
        /// The line.
        line: LineNo,
    },
}

/// References for people, at most five.
fn quoted(references: &[String]) -> String {
    let few: Vec<String> = references.iter().take(5).map(|reference| format!("\"{reference}\"")).collect();
    let more = references.len().saturating_sub(5);
    if more == 0 { few.join(", ") } else { format!("{} and {more} more", few.join(", ")) }
}
