//! What happens to an order.

use super::spread::LegParts;
use super::{How, Need, Refund, RefundPart, Span, TenderState};
use crate::id::{FulfillmentId, LineNo, NodeId, RefundId};

/// A promise that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The group.
    pub group: u32,
    /// From when until when it was promised.
    pub from: Span,
    /// From when until when it is promised now.
    pub to: Span,
    /// The node that serves it now.
    pub node: NodeId,
}

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
        /// Authorized or captured.
        state: TenderState,
        /// How much, in minor units.
        amount_minor: i64,
        /// Nothing is due any more.
        in_full: bool,
    },
    /// Another amount is due at handovers.
    DueChanged,
    /// Not paid in time: the claims are given up.
    PaymentLapsed {
        /// The legs whose claims are given up.
        legs: Vec<FulfillmentId>,
    },
    /// Over for want of a payment in time.
    Expired {
        /// The legs that no node was asked for; most of their claims are given up already.
        legs: Vec<FulfillmentId>,
        /// Why, `UPPER_SNAKE`: not paid within the grace.
        reason: String,
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
        /// Claims that legs which failed keep no longer: pieces of needs were among the cancelled.
        let_go: LegParts,
    },
    /// A node could not do pieces: they are looked for elsewhere. Again when more pieces come to the same need.
    NeedOpened {
        /// The need.
        need: Need,
    },
    /// Pieces of a need have new legs.
    Rerouted {
        /// The need after it.
        need: Need,
        /// The new legs.
        legs: Vec<FulfillmentId>,
        /// Claims that the leg which failed keeps no longer; its node may keep fewer.
        let_go: LegParts,
    },
    /// Nothing was found that the consent allows: the customer is asked.
    OptionsOffered {
        /// The need, with what may be chosen.
        need: Need,
        /// Claims that the leg which failed keeps no longer.
        let_go: LegParts,
    },
    /// The last open pieces of a need were dropped.
    NeedClosed {
        /// The need after it.
        need: Need,
        /// How.
        how: How,
        /// Claims that the leg which failed keeps no longer.
        let_go: LegParts,
    },
    /// Work went on, or a hold was lost.
    Progressed {
        /// The lines whose buckets changed; at least one.
        lines: Vec<LineNo>,
    },
    /// Every piece is delivered or cancelled.
    Completed,
    /// Groups are promised for another time, or at another node, than before.
    PromiseMoved {
        /// Each group that moved.
        moves: Vec<Move>,
    },
    /// Money is to be paid back.
    RefundRequested {
        /// The refund.
        refund: Refund,
        /// Its parts that are to be paid back now.
        parts: Vec<RefundPart>,
    },
    /// A provider answered a refund, it failed for good without an answer, or it was redirected.
    RefundReported {
        /// The refund, after that.
        refund: Refund,
        /// The part that it is about.
        part: RefundPart,
    },
    /// Of what is authorized a part is not needed any more.
    VoidRequested {
        /// Which tender.
        tender: String,
        /// How much is not to be captured, in minor units.
        amount_minor: i64,
        /// Still authorized and to be captured, in minor units; 0: void it.
        left_minor: i64,
        /// The provider's reference of the authorization.
        provider_ref: String,
        /// Why.
        reason: String,
        /// The pieces it was for.
        lines: Vec<(LineNo, i64)>,
    },
    /// An authorization is gone that the order relied on.
    PaymentLost {
        /// Which tender.
        tender: String,
        /// How much, in minor units.
        amount_minor: i64,
        /// What the provider reported.
        state: TenderState,
        /// The legs that nothing is handed over of until the order is paid again.
        legs: Vec<FulfillmentId>,
    },
    /// More came in than was due, and goes back.
    ExcessPaid {
        /// By which tender.
        tender: String,
        /// How much, in minor units.
        amount_minor: i64,
        /// The provider's reference.
        provider_ref: String,
        /// The refund.
        refund: RefundId,
    },
    /// Amounts or states of tenders changed, and no other event says so.
    MoneyChanged {
        /// Which tenders; none: what no tender pays changed.
        tenders: Vec<String>,
    },
    /// Another tender pays what others did not.
    TenderAdded {
        /// Which.
        tender: String,
    },
}
