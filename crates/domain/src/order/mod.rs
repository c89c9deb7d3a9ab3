//! What was bought: the lines and where their pieces are, the money to the cent, and what may happen next.
//!
//! Quantities come first: each line has [`Buckets`] that always sum to what was ordered, and the [`Status`] is computed
//! from them, from the blocks, the payment and the confirmation. Every transition consumes the order and returns it
//! changed, with its events, or refuses and says why.

pub mod buckets;
pub mod ledger;
pub mod lifecycle;
pub mod shares;

mod cancel;
mod clocks;
mod event;
mod follow;
#[cfg(test)]
mod laws;
mod pay;
mod place;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::fulfillment::method::Method;
use crate::id::{self, FulfillmentId, LineNo, NodeId, OrderId, PromiseToken, RefundId, Sku};
use crate::money::Currency;
use crate::time::Timestamp;

pub use buckets::{Buckets, Snapshot};
pub use cancel::Outcome;
pub use clocks::Policy;
pub use event::Event;
pub use follow::{Answer, WorkReport};
pub use ledger::{Ledger, Refund, Tender, TenderState};
pub use lifecycle::Status;
pub use pay::{Hold, Payment};
pub use place::{Draft, DraftLine, Flaw};
pub use refusal::Refusal;
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
}

impl Block {
    /// Every reason to wait.
    pub const ALL: [Self; 5] = [Self::Payment, Self::Fraud, Self::Address, Self::Remorse, Self::Stock];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "PAYMENT",
            Self::Fraud => "FRAUD",
            Self::Address => "ADDRESS",
            Self::Remorse => "REMORSE",
            Self::Stock => "STOCK",
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
    /// When its stock was released for want of payment.
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

/// An order after a transition, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The order now.
    pub order: Order,
    /// What happened, in order. The last one has the order's version as its sequence.
    pub events: Vec<Event>,
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
