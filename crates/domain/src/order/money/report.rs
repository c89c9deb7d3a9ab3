//! Reports of providers: whether one repeats, which authorization it is about, and whether it may be.

use super::ledger::{Ledger, Sums};
use super::row::{Cause, Component, Row};
use super::share::MAX_MINOR;
use super::tender::{Tender, TenderState};
use crate::money::{Currency, Money};
use crate::order::{Payment, Refusal};

impl Ledger {
    /// The provider said exactly this before: it calls again when it did not get our answer. A report without a reference
    /// repeats any of its state and amount since the tender failed last, so parts of one amount need references of their own.
    pub fn has_heard(&self, payment: &Payment) -> bool {
        let Payment { tender, state, amount_minor, provider_ref } = payment;
        let Some(tender) = self.tenders.iter().find(|known| known.id == *tender) else { return false };
        let is_now = tender.state == *state;
        let has_reference = !provider_ref.is_empty();
        match state {
            TenderState::Authorized => self.has_booked(Cause::Authorized, payment),
            TenderState::Captured => self.has_booked(Cause::Captured, payment),
            TenderState::Voided | TenderState::Failed if has_reference => {
                // What takes nothing away leaves no row: then the tender itself tells. After a capture it keeps the
                // reference of that, and the row tells.
                let took = |row: &Row| {
                    let is_loss = matches!(row.cause, Cause::Failed | Cause::Voided);
                    is_loss && row.tender == tender.id && row.reference == *provider_ref
                };
                is_now && (tender.provider_ref == *provider_ref || self.rows.iter().any(took))
                    || self.has_booked(Cause::Released, payment)
            }
            TenderState::Voided => {
                let is_asked = (1..=self.unreleased(&tender.id)).contains(amount_minor);
                !is_asked && (is_now || self.has_booked(Cause::Released, payment))
            }
            TenderState::Failed => is_now,
            TenderState::Due => false,
        }
    }

    /// One report of this cause, and of the tender, amount and reference, was booked. It may have been more than one row, all
    /// of one moment.
    fn has_booked(&self, cause: Cause, payment: &Payment) -> bool {
        let Payment { tender, amount_minor, provider_ref, .. } = payment;
        let mut its: Vec<&Row> = self.rows.iter().filter(|row| row.tender == *tender).collect();
        if provider_ref.is_empty() {
            let failed = its.iter().rposition(|row| row.cause == Cause::Failed);
            its.drain(..failed.map_or(0, |at| at + 1));
            // What was paid at a handover is never reported by the provider without a reference.
            its.retain(|row| row.leg == 0);
        } else {
            its.retain(|row| row.reference == *provider_ref);
        }
        its.retain(|row| row.cause == cause);
        let mut reports = its.chunk_by(|a, b| (a.at, &a.reference) == (b.at, &b.reference));
        reports.any(|rows| rows.iter().map(|row| row.amount_minor).sum::<i64>() == *amount_minor)
    }

    /// What the provider was asked to let go of and has not, in minor units.
    fn unreleased(&self, tender: &str) -> i64 {
        let sums = self.sums_of(tender);
        sums.voided - sums.released
    }

    /// The reference of the authorization that the order relies on; empty: none, or it has none.
    pub fn authorization(&self, tender: &str) -> &str {
        let is_its = |row: &&Row| {
            row.tender == tender && row.cause == Cause::Authorized && row.component != Component::Excess
        };
        self.rows.iter().rev().find(is_its).map_or("", |row| row.reference.as_str())
    }

    /// The report names an authorization that came second.
    pub(super) fn is_second(&self, payment: &Payment) -> bool {
        let is_it = |row: &Row| {
            let is_second = row.cause == Cause::Authorized && row.component == Component::Excess;
            is_second && row.tender == payment.tender && row.reference == payment.provider_ref
        };
        self.rows.iter().any(is_it)
    }

    /// The report with its reference. A capture that names none is one of what was authorized, and has that reference.
    pub fn named(&self, payment: &Payment) -> Payment {
        let mut named = payment.clone();
        let is_authorized = || self.sums_of(&payment.tender).authorized > 0;
        if named.provider_ref.is_empty() && named.state == TenderState::Captured && is_authorized() {
            self.authorization(&named.tender).clone_into(&mut named.provider_ref);
        }
        named
    }

    /// How much the provider lets go of with this report of what it was asked to let go of, and of which authorization:
    /// [`Component::Excess`] is one that came second.
    pub(super) fn let_go(&self, sums: &Sums, payment: &Payment) -> Option<(Component, i64)> {
        let Payment { tender, state, amount_minor, provider_ref } = payment;
        let is_gone = matches!(state, TenderState::Voided | TenderState::Failed);
        if is_gone && sums.second > 0 && self.is_second(payment) {
            return Some((Component::Excess, (*amount_minor).min(sums.second)));
        }
        if *state != TenderState::Voided || *amount_minor < 1 {
            return None;
        }
        if *amount_minor <= sums.voided - sums.released - sums.second {
            return Some((Component::Tender, *amount_minor));
        }
        let is_first =
            sums.authorized > 0 && !provider_ref.is_empty() && self.authorization(tender) == provider_ref;
        (!is_first && *amount_minor <= sums.second).then_some((Component::Excess, *amount_minor))
    }

    /// Whether a tender may be reported so. Money that came in is never refused for being too much.
    pub(super) fn check(
        &self,
        tender: &Tender,
        sums: &Sums,
        payment: &Payment,
        is_let_go: bool,
        takes_parts: bool,
        currency: Currency,
    ) -> Result<(), Refusal> {
        let (given, whole, due) = (payment.amount_minor, tender.amount_minor, Self::due(tender, sums));
        let is_second = payment.state == TenderState::Authorized && tender.state.is_settled();
        // The provider is asked to void a second authorization: without a reference it might void the first one.
        let is_unnamed = is_second && (payment.provider_ref.is_empty() || self.has_authorized(payment));
        if !is_let_go && (is_unnamed || !tender.state.may_become(payment.state)) {
            let (from, to) = (tender.state, payment.state);
            return Err(Refusal::TenderState { tender: tender.id.clone(), from, to });
        }
        let least = match payment.state {
            TenderState::Authorized if is_second => 1,
            TenderState::Captured if sums.authorized > 0 || takes_parts => 1.min(whole),
            TenderState::Captured | TenderState::Authorized => due.max(1.min(whole)),
            TenderState::Due | TenderState::Failed | TenderState::Voided => whole,
        };
        let is_loss = matches!(payment.state, TenderState::Failed | TenderState::Voided);
        let voided = sums.voided - sums.released;
        let is_known = given == due || given == sums.authorized || given == sums.authorized + voided;
        let most = if is_loss { whole } else { MAX_MINOR };
        if is_let_go || (least..=most).contains(&given) || is_loss && is_known {
            return Ok(());
        }
        let expected = if sums.authorized > 0 {
            sums.authorized
        } else if due > 0 {
            due
        } else {
            whole
        };
        let [due, given] = [expected, given].map(|minor| Money::new(minor, currency));
        Err(Refusal::AmountDiffers { tender: tender.id.clone(), due, given })
    }

    /// The tender was authorized under this reference, first or second.
    fn has_authorized(&self, payment: &Payment) -> bool {
        let is_it = |row: &Row| row.tender == payment.tender && row.reference == payment.provider_ref;
        self.rows.iter().any(|row| row.cause == Cause::Authorized && is_it(row))
    }
}
