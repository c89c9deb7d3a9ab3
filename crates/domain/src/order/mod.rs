//! What was bought: the lines and where their pieces are, the money to the cent, and what may happen next.
//!
//! Quantities come first: each line has [`Buckets`] that always sum to what was ordered, its own pieces and those of its
//! legs, and the [`Status`] is computed from them, from the blocks, the payment and the confirmation. Every transition consumes the order and returns it
//! changed, with its events, or refuses and says why.

pub mod acceptance;
pub mod buckets;
pub mod group;
pub mod leg;
pub mod lifecycle;
pub mod money;
pub mod need;
pub mod seek;
pub mod spread;

mod cancel;
mod clocks;
mod dues;
#[cfg(test)]
mod elsewhere_tests;
mod event;
mod follow;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod money_tests;
#[cfg(test)]
mod need_tests;
mod origin;
mod pay;
mod place;
#[cfg(test)]
mod receipt_tests;
#[cfg(test)]
mod refund_tests;
mod refunds;
mod refusal;
mod reroute;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;

use std::collections::BTreeSet;

use crate::id::{FulfillmentId, LineNo, OrderId, PromiseToken, Sku};
use crate::money::Currency;
use crate::time::Timestamp;

pub use acceptance::Acceptance;
pub use buckets::{Buckets, Own};
pub use cancel::Outcome;
pub use clocks::Policy;
pub use dues::LegDue;
pub use event::{Event, Move};
pub use follow::{Answer, WorkReport};
pub use group::Group;
pub use leg::{Leg, LegLine, LegUnits, Span};
pub use lifecycle::Status;
pub use money::{
    Amounts, Capture, Cause, Collected, Component, HANDOVER_PREFIX, Ledger, PartId, Parts, Pieces, Redirect,
    Refund, RefundAnswer, RefundPart, RefundState, ReturnRule, Row, Share, Sums, Tender, TenderState,
};
pub use need::{Choice, How, Need, NeedLine, NeedState, OptionKind, Question, Quote};
pub use origin::{Attribution, Origin};
pub use pay::{Hold, Payment};
pub use place::{Asked, Draft, DraftLine, Flaw, Missing};
pub use refusal::Refusal;
pub use seek::{Bounds, Consent, Nodes, Rung};
pub use spread::spread;

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
    /// Nothing was found for pieces that a node failed, and the customer is asked. Other pieces go on.
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

    /// Nothing is released to fulfillment while it stands.
    pub const fn holds_back(self) -> bool {
        match self {
            Self::Payment | Self::Fraud | Self::Address | Self::Remorse => true,
            Self::Stock => false,
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
    /// Its number, the caller's.
    pub no: LineNo,
    /// The item.
    pub sku: Sku,
    /// Its name at the time of the order.
    pub name: String,
    /// What it costs.
    pub amounts: Amounts,
    /// What it costs in the end, without its part of the charges, in minor units.
    pub total_minor: i64,
    /// Of the discount: by promotion, in minor units.
    pub promotions: Vec<(String, i64)>,
    /// Pieces that no leg has.
    pub own: Own,
    /// Where its pieces are: its own, and the sums over its live legs and its needs. Computed, never set.
    pub buckets: Buckets,
    /// Pieces that a cancel was asked for and that the nodes have not yet decided on. Computed from the legs.
    pub cancel_requested: i64,
    /// Why pieces were cancelled last; empty when none was.
    pub cancel_reason: String,
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
    /// When it goes back.
    pub rule: ReturnRule,
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
    /// Who buys, and what brought it about.
    pub origin: Origin,
    /// The one currency of all its amounts.
    pub currency: Currency,
    /// The prices include tax.
    pub tax_included: bool,
    /// When it is paid.
    pub terms: Terms,
    /// On what terms it came.
    pub acceptance: Acceptance,
    /// What was bought, by number of the line.
    pub lines: Vec<Line>,
    /// What was asked together.
    pub groups: Vec<Group>,
    /// What fulfillment makes of the groups: every try, oldest first.
    pub legs: Vec<Leg>,
    /// What nodes could not do: every need, oldest first.
    pub needs: Vec<Need>,
    /// Charges on the whole order.
    pub charges: Vec<Charge>,
    /// What it costs in all, in minor units.
    pub total_minor: i64,
    /// The money.
    pub ledger: Ledger,
    /// Why it waits.
    pub blocks: BTreeSet<Block>,
    /// The promise that it was placed on.
    pub token: Option<PromiseToken>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When a prepaid order is due to be paid.
    pub payment_due_at: Option<Timestamp>,
    /// Until when a payment that comes after that still takes the stock again.
    pub payment_ends_at: Option<Timestamp>,
    /// Version of the policy that says when it is due to be paid; 0: the settings.
    pub payment_policy: i64,
    /// When its stock was released for want of payment.
    pub lapsed_at: Option<Timestamp>,
    /// When it was over for want of payment.
    pub expired_at: Option<Timestamp>,
    /// When all its stock was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// How many cancels were asked of nodes.
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
        self.lines.iter().for_each(|line| sum.add(&line.buckets));
        sum
    }

    /// What the customer owes in all, paid or not: what the pieces cost that the customer still gets or has, and what is
    /// kept of the others, in minor units.
    pub fn owed_minor(&self) -> i64 {
        self.ledger.owed(self.total_minor)
    }

    /// What its lines cost, component by component.
    pub fn parts(&self) -> Parts {
        money::parts(&self.lines, &self.charges)
    }

    /// Fulfillment has it: no block holds it back and it did not expire.
    pub fn is_released(&self) -> bool {
        self.blocks.iter().all(|block| !block.holds_back()) && self.expired_at.is_none()
    }

    /// One of its lines.
    pub fn line(&self, no: LineNo) -> Option<&Line> {
        self.lines.binary_search_by_key(&no, |line| line.no).ok().map(|at| &self.lines[at])
    }

    fn line_mut(&mut self, no: LineNo) -> Result<&mut Line, Refusal> {
        let at = self.lines.binary_search_by_key(&no, |line| line.no);
        at.map(|at| &mut self.lines[at]).map_err(|_| Refusal::UnknownLine { line: no })
    }

    /// One of its legs.
    pub fn leg(&self, id: FulfillmentId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    fn leg_mut(&mut self, id: FulfillmentId) -> Result<&mut Leg, Refusal> {
        let leg = self.legs.iter_mut().find(|leg| leg.id == id);
        leg.ok_or(Refusal::OtherFulfillment { given: id })
    }

    /// The legs that a node works on, or will once no block is left.
    pub fn work(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.is_live() && leg.has_pieces())
    }

    /// Computes where the pieces of each line are, and how many a cancel was asked for, after legs changed or were read.
    pub fn sum_up(&mut self) {
        for line in &mut self.lines {
            (line.buckets, line.cancel_requested) = (line.own.buckets(), 0);
        }
        for leg in self.legs.iter().filter(|leg| leg.is_live()) {
            for part in &leg.lines {
                let Ok(at) = self.lines.binary_search_by_key(&part.line, |line| line.no) else { continue };
                let line = &mut self.lines[at];
                line.buckets.add(&part.units.buckets(leg.is_accepted));
                line.cancel_requested += part.cancel_requested;
            }
        }
        for part in self.needs.iter().flat_map(|need| &need.lines) {
            let Ok(at) = self.lines.binary_search_by_key(&part.line, |line| line.no) else { continue };
            let buckets = &mut self.lines[at].buckets;
            buckets.open += part.open();
            buckets.cancelled += part.dropped;
        }
    }

    /// Pieces that have no leg and no need, and wait for a hold.
    pub(super) fn own_open(&self) -> i64 {
        self.lines.iter().map(|line| line.own.open).sum()
    }

    /// Pieces wait for a hold while their payment is still awaited: the one that they had is lost.
    pub(super) fn has_lost_hold(&self) -> bool {
        self.lapsed_at.is_none() && self.own_open() > 0
    }

    /// All cancelled pieces of these lines.
    fn cancelled_of(&self, lines: impl Iterator<Item = LineNo>) -> Vec<(LineNo, i64)> {
        lines.filter_map(|no| self.line(no)).map(|line| (line.no, line.buckets.cancelled)).collect()
    }

    /// No block is left: nodes are asked for all legs.
    fn release_legs(&mut self, now: Timestamp) {
        for leg in self.legs.iter_mut().filter(|leg| leg.is_live()) {
            leg.released.get_or_insert(now);
        }
    }

    /// Gives up the claims of legs, as far as no node was asked for them or has begun; their pieces are open again.
    /// Answers which were given up.
    fn drop_legs(&mut self, wanted: impl Fn(&Leg) -> bool, now: Timestamp) -> Vec<FulfillmentId> {
        let mut gone = Vec::new();
        for at in 0..self.legs.len() {
            let leg = &mut self.legs[at];
            if !leg.is_live() || leg.is_released() || !wanted(leg) {
                continue;
            }
            gone.push(leg.id);
            for (no, pieces) in leg.drop(now) {
                if let Ok(line) = self.line_mut(no) {
                    line.own.open += pieces;
                }
            }
        }
        self.sum_up();
        gone
    }

    /// Takes new legs for all pieces that are open.
    fn add_legs(&mut self, legs: Vec<Leg>) -> Result<(), Refusal> {
        let mut open: Vec<i64> = self.lines.iter().map(|line| line.own.open).collect();
        for part in legs.iter().flat_map(|leg| &leg.lines) {
            match self.lines.binary_search_by_key(&part.line, |line| line.no) {
                Ok(at) if part.units.quantity <= open[at] => open[at] -= part.units.quantity,
                Ok(_) | Err(_) => return Err(Refusal::NeedsHold),
            }
        }
        if open.iter().any(|rest| *rest > 0) {
            return Err(Refusal::NeedsHold);
        }
        self.lines.iter_mut().for_each(|line| line.own.open = 0);
        self.push_legs(legs.into_iter());
        Ok(())
    }

    /// Adds new legs with the next numbers.
    fn push_legs(&mut self, legs: impl Iterator<Item = Leg>) {
        let first = self.legs.iter().map(|leg| leg.no).max().unwrap_or_default() + 1;
        self.legs.extend((first..).zip(legs).map(|(no, leg)| Leg { no, ..leg }));
        self.sum_up();
    }

    /// Nothing of what is still to be delivered is unpaid.
    fn is_covered(&self) -> bool {
        self.ledger.held() >= self.owed_minor()
    }

    fn changed(mut self, events: Vec<Event>, now: Timestamp) -> Changed {
        if self.status().is_over() {
            // What is over waits for nothing.
            self.blocks.clear();
        } else {
            self.heed_stock();
        }
        self.version += i64::try_from(events.len()).unwrap_or_default();
        self.updated_at = now;
        Changed { order: self, events }
    }
}
