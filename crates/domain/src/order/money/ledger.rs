//! What came in by each tender, and what each still has to pay.

use super::refund::Refund;
use super::row::{Cause, Component, Row};
use super::tender::{HANDOVER_PREFIX, Tender, TenderState};
use crate::money::Currency;
use crate::order::{Payment, Refusal};
use crate::time::Timestamp;

/// All money of one order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The tenders, in the order in which they were named.
    pub tenders: Vec<Tender>,
    /// The refunds that were asked for, oldest first.
    pub refunds: Vec<Refund>,
    /// Everything that happened to amounts, oldest first.
    pub rows: Vec<Row>,
}

/// The rows of one tender, added up, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Authorized, and neither captured, voided nor failed since.
    pub authorized: i64,
    /// Captured as payment of the order. What was claimed back is not taken off.
    pub captured: i64,
    /// Captured beyond what was due.
    pub excess: i64,
    /// Asked back of what was captured as payment.
    pub claimed: i64,
    /// Of what was authorized: not to be captured any more.
    pub voided: i64,
    /// Of what was voided: the provider has let go of it.
    pub released: i64,
    /// Of what was voided: authorized a second time, and the provider has not let go of it.
    pub second: i64,
    /// Paid back.
    pub refunded: i64,
    /// What pieces cost that the customer does not get, as far as this tender would pay them.
    given_up: i64,
}

impl Sums {
    /// What the tender holds as payment.
    pub const fn held(&self) -> i64 {
        self.authorized + self.captured - self.claimed
    }

    fn add(&mut self, row: &Row) {
        let amount = row.amount_minor;
        match (row.cause, &row.component) {
            (Cause::Failed, _) => self.authorized -= amount,
            (Cause::Captured, Component::Excess) => self.excess += amount,
            (Cause::Captured, component) => {
                self.captured += amount;
                if *component == Component::Authorization {
                    self.authorized -= amount;
                }
            }
            (Cause::Voided, component) => {
                self.voided += amount;
                if *component == Component::Excess {
                    self.second += amount;
                } else {
                    self.authorized -= amount;
                }
            }
            (Cause::Claimed | Cause::Authorized, Component::Excess)
            | (Cause::Waived | Cause::Retained, _) => {}
            (Cause::Authorized, _) => self.authorized += amount,
            (Cause::Claimed, _) => self.claimed += amount,
            (Cause::Released, component) => {
                self.released += amount;
                self.second -= if *component == Component::Excess { amount } else { 0 };
            }
            (Cause::Refunded, _) => self.refunded += amount,
        }
        if row.gives_up() {
            self.given_up += amount;
        }
    }
}

impl Row {
    /// It takes something off what the order costs.
    const fn gives_up(&self) -> bool {
        match self.cause {
            Cause::Voided | Cause::Claimed => self.line > 0,
            Cause::Waived => true,
            Cause::Authorized
            | Cause::Captured
            | Cause::Failed
            | Cause::Released
            | Cause::Retained
            | Cause::Refunded => false,
        }
    }
}

/// What a provider's report meant, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// New payment: newly authorized, or captured without an authorization.
    pub new: i64,
    /// Captured of what was authorized.
    pub settled: i64,
    /// Captured beyond what was due.
    pub excess: i64,
    /// Authorized beyond what is due.
    pub unneeded: i64,
    /// An authorization that the order relied on, and that is gone.
    pub lost: i64,
    /// It is a second payment of the tender, beside the one that the order relies on.
    pub is_second: bool,
}

impl Ledger {
    /// The sums of each tender, in the order of the tenders.
    pub fn sums(&self) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.tenders.len()];
        for row in &self.rows {
            if let Some(at) = self.tenders.iter().position(|tender| tender.id == row.tender) {
                sums[at].add(row);
            }
        }
        sums
    }

    /// The sums of one tender; all are 0 when there is none of this id.
    pub(in crate::order) fn sums_of(&self, tender: &str) -> Sums {
        let mut all = self.tenders.iter().zip(self.sums());
        all.find(|(known, _)| known.id == tender).map(|(_, sums)| sums).unwrap_or_default()
    }

    /// The kind of a tender; empty when there is none of this id.
    pub(in crate::order) fn kind_of(&self, tender: &str) -> &str {
        self.tenders.iter().find(|known| known.id == tender).map_or("", |known| known.kind.as_str())
    }

    /// What a tender still has to pay, in minor units.
    pub const fn due(tender: &Tender, sums: &Sums) -> i64 {
        let due = tender.amount_minor - tender.replaced_minor - sums.given_up - sums.held();
        if due > 0 { due } else { 0 }
    }

    /// What each tender still has to pay, in minor units.
    pub fn dues(&self) -> Vec<(String, i64)> {
        let due = |(tender, sums): (&Tender, &Sums)| (tender.id.clone(), Self::due(tender, sums));
        self.tenders.iter().zip(&self.sums()).map(due).collect()
    }

    /// Captured so far, or authorized and neither voided nor failed; with what was too much. Refunds are not taken off.
    pub fn paid(&self) -> i64 {
        self.sums().iter().map(|sums| sums.authorized + sums.captured + sums.excess).sum()
    }

    /// Asked back so far.
    pub fn claimed(&self) -> i64 {
        self.refunds.iter().map(|r| r.amount_minor).sum()
    }

    /// Held as payment: authorized or captured, and not asked back.
    pub fn held(&self) -> i64 {
        self.sums().iter().map(Sums::held).sum()
    }

    /// What the customer owes in all of a total, paid or not: the total, less what was given up with pieces.
    pub fn owed(&self, total_minor: i64) -> i64 {
        total_minor - self.rows.iter().filter(|row| row.gives_up()).map(|row| row.amount_minor).sum::<i64>()
    }

    /// What no tender has to pay of a total.
    pub fn unassigned(&self, total_minor: i64) -> i64 {
        let assigned: i64 = self.tenders.iter().map(|t| t.amount_minor - t.replaced_minor).sum();
        let orphaned = self.rows.iter().filter(|row| row.tender.is_empty() && row.gives_up());
        (total_minor - assigned - orphaned.map(|row| row.amount_minor).sum::<i64>()).max(0)
    }

    /// Writes down what a provider reported. `takes_parts`: a tender may be captured bit by bit without an authorization.
    pub fn receive(
        &mut self,
        payment: &Payment,
        takes_parts: bool,
        currency: Currency,
        at: Timestamp,
    ) -> Result<Received, Refusal> {
        let Some(index) = self.tenders.iter().position(|tender| tender.id == payment.tender) else {
            return Err(Refusal::UnknownTender { tender: payment.tender.clone() });
        };
        let sums = self.sums()[index];
        let tender = &self.tenders[index];
        let let_go = self.let_go(&sums, payment);
        self.check(tender, &sums, payment, let_go.is_some(), takes_parts, currency)?;
        let (due, state) = (Self::due(tender, &sums), tender.state);
        if let Some((component, amount)) = let_go {
            // It lets go of what it was asked to let go of. What is left stays as it is.
            let is_left = component == Component::Excess || sums.authorized > 0 || sums.captured > 0;
            self.book(payment, component, Cause::Released, amount, 0, at);
            self.now(index, if is_left { state } else { TenderState::Voided }, "");
            return Ok(Received::default());
        }
        Ok(match payment.state {
            TenderState::Captured => self.capture(index, payment, 0, at),
            TenderState::Authorized if state.is_settled() => {
                self.book(payment, Component::Excess, Cause::Authorized, payment.amount_minor, 0, at);
                self.book(payment, Component::Excess, Cause::Voided, payment.amount_minor, 0, at);
                Received { unneeded: payment.amount_minor, is_second: true, ..Received::default() }
            }
            TenderState::Authorized => {
                let new = payment.amount_minor.min(due);
                let unneeded = payment.amount_minor - new;
                self.book(payment, Component::Tender, Cause::Authorized, payment.amount_minor, 0, at);
                self.book(payment, Component::Tender, Cause::Voided, unneeded, 0, at);
                self.now(index, TenderState::Authorized, &payment.provider_ref);
                Received { new, unneeded, ..Received::default() }
            }
            TenderState::Failed | TenderState::Voided | TenderState::Due => {
                let cause = if payment.state == TenderState::Voided { Cause::Voided } else { Cause::Failed };
                self.book(payment, Component::Tender, cause, sums.authorized, 0, at);
                // With it goes what it was asked to let go of.
                let voided = sums.voided - sums.released - sums.second;
                let gone = voided + if cause == Cause::Voided { sums.authorized } else { 0 };
                self.book(payment, Component::Tender, Cause::Released, gone, 0, at);
                // What was captured is paid back under the reference of its capture.
                let reference = if sums.captured > 0 { "" } else { payment.provider_ref.as_str() };
                self.now(index, payment.state, reference);
                Received { lost: sums.authorized, ..Received::default() }
            }
        })
    }

    /// Takes what was paid at the handover of a leg: by tenders of that kind first, then by any that has something to pay,
    /// then by a new one. Answers by which, and how much; what is too much is the last one's excess.
    pub fn collect(
        &mut self,
        paid: &Collected,
        leg: i64,
        total_minor: i64,
        at: Timestamp,
    ) -> Vec<(String, Received)> {
        if self.has_captured(paid) {
            // The provider reported this payment before the node did.
            return Vec::new();
        }
        let (sums, mut rest, mut by) = (self.sums(), paid.amount_minor, Vec::new());
        let mut order: Vec<usize> = (0..self.tenders.len()).collect();
        order.sort_by_key(|index| self.tenders[*index].kind != paid.kind);
        let mut found: Vec<(usize, i64)> = order
            .into_iter()
            .map(|index| (index, Self::due(&self.tenders[index], &sums[index])))
            .filter(|(index, due)| *due > 0 && sums[*index].authorized == 0)
            .collect();
        let owing: i64 = found.iter().map(|(_, due)| due).sum();
        let unassigned = self.unassigned(total_minor).min(rest - owing);
        if unassigned > 0 || found.is_empty() {
            let amount_minor = unassigned.max(0);
            self.tenders.push(Tender {
                id: format!("{HANDOVER_PREFIX}{leg}-{}", self.tenders.len() + 1),
                kind: paid.kind.clone(),
                amount_minor,
                replaced_minor: 0,
                state: TenderState::Due,
                provider_ref: String::new(),
            });
            found.push((self.tenders.len() - 1, amount_minor));
        }
        let last = found.len() - 1;
        for (at_, (index, due)) in found.into_iter().enumerate() {
            let amount_minor = if at_ == last { rest } else { rest.min(due) };
            rest -= amount_minor;
            if amount_minor > 0 {
                let payment = Payment {
                    tender: self.tenders[index].id.clone(),
                    state: TenderState::Captured,
                    amount_minor,
                    provider_ref: paid.provider_ref.clone(),
                };
                let received = self.capture(index, &payment, leg, at);
                by.push((payment.tender, received));
            }
        }
        by
    }

    /// A payment of this reference and amount came in already, elsewhere.
    fn has_captured(&self, paid: &Collected) -> bool {
        let is_it =
            |row: &&Row| row.cause == Cause::Captured && row.leg == 0 && row.reference == paid.provider_ref;
        let captured: i64 = self.rows.iter().filter(is_it).map(|row| row.amount_minor).sum();
        !paid.provider_ref.is_empty() && captured == paid.amount_minor
    }

    /// What came in at handovers of a leg as payment of the order, in minor units.
    pub fn collected(&self, leg: i64) -> i64 {
        let is_its =
            |row: &&Row| row.leg == leg && row.cause == Cause::Captured && row.component != Component::Excess;
        self.rows.iter().filter(is_its).map(|row| row.amount_minor).sum()
    }

    fn capture(&mut self, index: usize, payment: &Payment, leg: i64, at: Timestamp) -> Received {
        let sums = self.sums()[index];
        let names_second = self.is_second(payment);
        let is_second = names_second || self.tenders[index].state == TenderState::Captured;
        // What was authorized a second time is not the payment that the order relies on.
        let (payable, due) =
            if names_second { (0, 0) } else { (sums.authorized, Self::due(&self.tenders[index], &sums)) };
        let settled = payment.amount_minor.min(payable);
        let new = (payment.amount_minor - settled).min(due);
        let excess = payment.amount_minor - settled - new;
        self.book(payment, Component::Authorization, Cause::Captured, settled, leg, at);
        self.book(payment, Component::Tender, Cause::Captured, new, leg, at);
        self.book(payment, Component::Excess, Cause::Captured, excess, leg, at);
        let sums = self.sums()[index];
        let state = if sums.authorized > 0 {
            TenderState::Authorized
        } else if Self::due(&self.tenders[index], &sums) > 0 {
            TenderState::Due
        } else {
            TenderState::Captured
        };
        // A second payment is not the tender's.
        let reference = if settled + new > 0 { payment.provider_ref.as_str() } else { "" };
        self.now(index, state, reference);
        Received { new, settled, excess, is_second, ..Received::default() }
    }

    fn now(&mut self, index: usize, state: TenderState, reference: &str) {
        let tender = &mut self.tenders[index];
        tender.state = state;
        if !reference.is_empty() {
            reference.clone_into(&mut tender.provider_ref);
        }
    }

    fn book(
        &mut self,
        payment: &Payment,
        component: Component,
        cause: Cause,
        amount_minor: i64,
        leg: i64,
        at: Timestamp,
    ) {
        if amount_minor > 0 {
            let row = Row::of_tender(&payment.tender, component, cause, amount_minor, at);
            self.rows.push(Row { reference: payment.provider_ref.clone(), leg, ..row });
        }
    }

    /// Another tender takes over what failed and voided ones have to pay, or what no tender pays. Refused when that is less
    /// than its amount.
    pub fn add(&mut self, tender: Tender, total_minor: i64) -> Result<(), Refusal> {
        // A refund that was redirected may go by a tender of this name.
        let mut parts = self.refunds.iter().flat_map(|refund| &refund.parts);
        let is_taken =
            self.tenders.iter().any(|old| old.id == tender.id) || parts.any(|part| part.tender == tender.id);
        if is_taken {
            return Err(Refusal::TenderTaken { tender: tender.id });
        }
        let mut rest = tender.amount_minor;
        let mut replaced = Vec::new();
        for (old, sums) in self.tenders.iter().zip(self.sums()) {
            let part = Self::due(old, &sums).min(rest) * i64::from(old.state.is_replaceable());
            replaced.push(part);
            rest -= part;
        }
        if rest > self.unassigned(total_minor) {
            return Err(Refusal::NothingToReplace { tender: tender.id });
        }
        self.tenders.iter_mut().zip(replaced).for_each(|(old, part)| old.replaced_minor += part);
        self.tenders.push(tender);
        Ok(())
    }
}

/// What was paid at a handover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Kind of tender.
    pub kind: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// The reference of the provider or the till.
    pub provider_ref: String,
}
