//! What was bought: the lines and where their pieces are, the money to the cent, and what may happen next.
//!
//! Quantities come first: each line has [`Buckets`] that always sum to what was ordered, and the [`Status`] is computed
//! from them, from the blocks, the payment and the confirmation. Every transition consumes the order and returns it
//! changed, with the events that tell of it, or refuses and says why.

pub mod buckets;
pub mod ledger;
pub mod lifecycle;
pub mod shares;

mod cancel;
mod follow;
#[cfg(test)]
mod laws;
mod pay;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::fulfillment::method::Method;
use crate::id::{self, FulfillmentId, LineNo, NodeId, OrderId, PromiseToken, RefundId, Sku};
use crate::money::{Currency, Money};
use crate::time::{Timestamp, after_ms};
use crate::words;

pub use buckets::{Buckets, Snapshot};
pub use cancel::Outcome;
pub use follow::{Answer, WorkReport};
pub use ledger::{Ledger, Refund, Tender, TenderState};
pub use lifecycle::Status;
pub use pay::{Hold, Payment};
pub use place::{Draft, DraftLine, Flaw};
pub use shares::{Amounts, Share};

/// Why an order waits. Blocks are a set: fulfillment begins when the last one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// A prepaid order is not paid in full.
    Payment,
    /// Fraud check.
    Fraud,
    /// Address check.
    Address,
    /// Time to think again.
    Remorse,
    /// Stock was lost.
    Stock,
    /// Waits for consent to a delay.
    DelayConsent,
}

impl Block {
    /// Every reason to wait.
    pub const ALL: [Self; 6] =
        [Self::Payment, Self::Fraud, Self::Address, Self::Remorse, Self::Stock, Self::DelayConsent];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "PAYMENT",
            Self::Fraud => "FRAUD",
            Self::Address => "ADDRESS",
            Self::Remorse => "REMORSE",
            Self::Stock => "STOCK",
            Self::DelayConsent => "DELAY_CONSENT",
        }
    }

    /// The block of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.name() == name)
    }
}

/// When an order is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Terms {
    /// Before fulfillment; expires when it is not.
    Prepaid,
    /// When the goods are handed over.
    PayAtHandover,
    /// By invoice.
    OnAccount,
}

impl Terms {
    /// All terms.
    pub const ALL: [Self; 3] = [Self::Prepaid, Self::PayAtHandover, Self::OnAccount];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepaid => "PREPAID",
            Self::PayAtHandover => "PAY_AT_HANDOVER",
            Self::OnAccount => "ON_ACCOUNT",
        }
    }

    /// The terms of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|terms| terms.name() == name)
    }
}

/// The clocks of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a prepaid order may be unpaid before its stock is given back, in milliseconds.
    pub payment_ms: i64,
    /// How much longer a payment still takes the stock again, in milliseconds.
    pub grace_ms: i64,
    /// How long before its end a hold is extended, in milliseconds.
    pub hold_margin_ms: i64,
    /// How long an order may have no work before fulfillment is asked for it, in milliseconds.
    pub work_check_ms: i64,
    /// How long an order with work may hear nothing of it before fulfillment is asked, in milliseconds.
    pub progress_check_ms: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            payment_ms: 15 * 60_000,
            grace_ms: 5 * 60_000,
            hold_margin_ms: 2 * 60_000,
            work_check_ms: 5 * 60_000,
            progress_check_ms: 6 * 3_600_000,
        }
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub no: LineNo,
    /// The item.
    pub sku: Sku,
    /// Its name at the time of the order.
    pub name: String,
    /// What it costs.
    pub amounts: Amounts,
    /// What it costs in the end, without its part of the charges, in minor units.
    pub total_minor: i64,
    /// What all its pieces cost together with their part of the charges, in minor units; frozen.
    pub share_minor: i64,
    /// Where its pieces are.
    pub buckets: Buckets,
    /// Pieces that a cancel was asked for and that the node has not yet decided on.
    pub cancel_requested: i64,
    /// Why pieces were cancelled last; empty when none was.
    pub cancel_reason: String,
}

impl Line {
    /// What its pieces cost.
    pub const fn share(&self) -> Share {
        Share { total_minor: self.share_minor, pieces: self.amounts.quantity }
    }
}

/// A charge on the whole order, such as postage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Code.
    pub code: String,
    /// For people.
    pub description: String,
    /// Amount, in minor units, tax included.
    pub amount_minor: i64,
}

/// The promise that holds the stock of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The token; the reservation has the same UUID.
    pub token: PromiseToken,
    /// How the goods reach the customer.
    pub method: Method,
    /// Which node serves.
    pub node: NodeId,
    /// When the goods should be ready.
    pub promised_at: Timestamp,
    /// When the hold ends by itself.
    pub held_until: Timestamp,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// How many events it has had; the sequence of the last one.
    pub version: i64,
    /// The channel that took it.
    pub channel: String,
    /// The channel's own number.
    pub channel_order_id: String,
    /// The channel's handle of the customer; empty for a guest.
    pub customer_ref: String,
    /// The one currency of all its amounts.
    pub currency: Currency,
    /// The prices include tax.
    pub tax_included: bool,
    /// When it is paid.
    pub terms: Terms,
    /// What was bought.
    pub lines: Vec<Line>,
    /// Charges on the whole order.
    pub charges: Vec<Charge>,
    /// What it costs in all, in minor units.
    pub total_minor: i64,
    /// The money.
    pub ledger: Ledger,
    /// Why it waits.
    pub blocks: BTreeSet<Block>,
    /// What holds its stock.
    pub promise: Promise,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When a prepaid order is due to be paid.
    pub payment_due_at: Option<Timestamp>,
    /// When its stock was given back for want of payment.
    pub lapsed_at: Option<Timestamp>,
    /// When it was over for want of payment.
    pub expired_at: Option<Timestamp>,
    /// When its stock was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// The work at the node, once it exists.
    pub fulfillment: Option<FulfillmentId>,
    /// How many cancels were asked of the node.
    pub cancels: i64,
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

/// An order after a transition, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The order now.
    pub order: Order,
    /// What happened, in order. The last one has the order's version as its sequence.
    pub events: Vec<Event>,
}

/// Why something can't be done to an order now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing happens to its goods any more.
    #[error("can't {step}: the order is {}", words::plain(.status.name()))]
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
        "tender {tender} is {} and can't become {}",
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

impl Order {
    /// Where it stands.
    pub fn status(&self) -> Status {
        lifecycle::status(&lifecycle::Facts {
            buckets: self.buckets(),
            is_blocked: !self.blocks.is_empty(),
            lapsed_at: self.lapsed_at,
            confirmed_at: self.confirmed_at,
            expired_at: self.expired_at,
        })
    }

    /// The buckets of all lines, added up.
    pub fn buckets(&self) -> Buckets {
        let mut sum = Buckets::default();
        for Line { buckets: b, .. } in &self.lines {
            sum.open += b.open;
            sum.reserved += b.reserved;
            sum.backordered += b.backordered;
            sum.allocated += b.allocated;
            sum.picked += b.picked;
            sum.packed += b.packed;
            sum.ready += b.ready;
            sum.in_custody += b.in_custody;
            sum.delivered += b.delivered;
            sum.cancelled += b.cancelled;
            sum.lost += b.lost;
        }
        sum
    }

    /// What the pieces cost that the customer still gets or has, in minor units.
    pub fn live_minor(&self) -> i64 {
        self.lines.iter().map(|line| line.share().of(line.buckets.live())).sum()
    }

    /// Fulfillment has it: no block is left and it did not expire.
    pub fn is_released(&self) -> bool {
        self.blocks.is_empty() && self.expired_at.is_none()
    }

    /// When time alone changes something: payment lapses, the order expires, a hold must be extended, nothing was heard
    /// for long. Every order that is not over has such a time.
    pub fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        let payment = self.lapse_at().or(self.expire_at(policy));
        let hold = self.extend_at(policy);
        [payment, hold, self.check_at(policy)].into_iter().flatten().min()
    }

    /// When fulfillment is asked what became of the order, if nothing was heard until then.
    pub fn check_at(&self, policy: &Policy) -> Option<Timestamp> {
        (!self.status().is_over()).then(|| after_ms(self.updated_at, self.check_interval_ms(policy)))
    }

    /// How long the order waits for news before it asks, and before it asks again.
    pub fn check_interval_ms(&self, policy: &Policy) -> i64 {
        if self.fulfillment.is_none() { policy.work_check_ms } else { policy.progress_check_ms }
    }

    /// When its stock is given back for want of payment.
    pub fn lapse_at(&self) -> Option<Timestamp> {
        let waits = self.blocks.contains(&Block::Payment) && self.lapsed_at.is_none();
        self.payment_due_at.filter(|_| waits && !self.status().is_over())
    }

    /// When it is over for want of payment.
    pub fn expire_at(&self, policy: &Policy) -> Option<Timestamp> {
        let due = self.payment_due_at.filter(|_| self.status() == Status::PaymentLapsed)?;
        Some(after_ms(due, policy.grace_ms))
    }

    /// When its hold must be extended: as long as its stock is held and not confirmed, also when a node works on it.
    pub fn extend_at(&self, policy: &Policy) -> Option<Timestamp> {
        let buckets = self.buckets();
        let holds = self.confirmed_at.is_none()
            && matches!(self.status(), Status::Placed | Status::InFulfillment)
            && buckets.reserved + buckets.in_work() > 0;
        let at = after_ms(self.promise.held_until, -policy.hold_margin_ms);
        holds.then_some(at).filter(|at| self.lapse_at().is_none_or(|lapse| *at < lapse))
    }

    /// The hold was extended. Tells nobody: nothing changed for anyone else.
    pub fn hold_extended(&mut self, until: Timestamp) {
        self.promise.held_until = self.promise.held_until.max(until);
    }

    fn line_mut(&mut self, no: LineNo) -> Result<&mut Line, Refusal> {
        // Lines are numbered densely from 1.
        let at = usize::try_from(no).unwrap_or_default().wrapping_sub(1);
        self.lines.get_mut(at).filter(|line| line.no == no).ok_or(Refusal::UnknownLine { line: no })
    }

    /// All cancelled pieces, per line that has any.
    fn cancelled_lines(&self) -> Vec<(LineNo, i64)> {
        let cancelled = self.lines.iter().map(|line| (line.no, line.buckets.cancelled));
        cancelled.filter(|(_, pieces)| *pieces > 0).collect()
    }

    /// Claims what was paid and is not owed any more. The reason and the pieces go into the event.
    fn refund(&mut self, reason: &str, lines: Vec<(LineNo, i64)>, now: Timestamp) -> Option<Event> {
        let due = (self.ledger.net() - self.live_minor()).max(0);
        let amount_minor = self.ledger.claim(due);
        if amount_minor == 0 {
            return None;
        }
        let name = format!("{}/{}", self.id, self.ledger.refunds.len() + 1);
        let id = RefundId::new(id::derived("refund", &name));
        let refund = Refund { id, amount_minor, reason: reason.to_owned(), at: now, lines };
        self.ledger.refunds.push(refund.clone());
        Some(Event::RefundRequested(refund))
    }

    /// Nothing of what is still to be delivered is unpaid.
    fn is_covered(&self) -> bool {
        self.ledger.net() >= self.live_minor()
    }

    fn changed(mut self, events: Vec<Event>, now: Timestamp) -> Changed {
        self.version += i64::try_from(events.len()).unwrap_or_default();
        self.updated_at = now;
        Changed { order: self, events }
    }
}
