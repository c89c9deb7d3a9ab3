//! Placing: totals recomputed, shares frozen.

use std::collections::BTreeSet;

use super::money::MAX_MINOR;
use super::{
    Acceptance, Amounts, Block, Buckets, Cause, Changed, Charge, Component, Event, Group, Ledger, Leg, Line,
    Order, Origin, Own, Policy, Refusal, ReturnRule, Row, Tender, TenderState, Terms, group,
};
use crate::id::{LineNo, OrderId, PromiseToken, Sku};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// One line of an order to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftLine {
    /// Its number, the caller's, unique in the order.
    pub no: LineNo,
    /// The item.
    pub sku: Sku,
    /// Its name.
    pub name: String,
    /// What it costs.
    pub amounts: Amounts,
    /// Of the discount: by promotion, in minor units.
    pub promotions: Vec<(String, i64)>,
}

/// An order to place, each field well formed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The channel that takes it.
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
    /// On what terms it comes.
    pub acceptance: Acceptance,
    /// What is bought, in the order of the request.
    pub lines: Vec<DraftLine>,
    /// Charges on the whole order.
    pub charges: Vec<Charge>,
    /// How it is paid.
    pub tenders: Vec<Tender>,
    /// What the channel thinks that it costs, in minor units.
    pub total_minor: i64,
}

/// What is asked together, and what is held for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What is asked together.
    pub groups: Vec<Group>,
    /// What is held for it: all pieces but those that are missing.
    pub legs: Vec<Leg>,
    /// The promise that holds it.
    pub token: Option<PromiseToken>,
    /// What nothing could be held for, of an order that was sold elsewhere.
    pub missing: Vec<Missing>,
}

/// Pieces of a group that nothing could be held for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The group of the order.
    pub group: u32,
    /// Pieces per line.
    pub lines: Vec<(LineNo, i64)>,
    /// Why, `UPPER_SNAKE`.
    pub reason: String,
}

/// A field of a draft that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Which field, as the request names it.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Flaw {
    pub(super) fn new(field: impl Into<String>, description: &(impl ToString + ?Sized)) -> Self {
        Self { field: field.into(), description: description.to_string() }
    }
}

impl Draft {
    /// Everything that is wrong with its amounts. Nothing: it can be placed.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let mut sum = Some(0_i64);
        for (i, line) in self.lines.iter().enumerate() {
            match line.amounts.total() {
                Ok(total) => sum = sum.and_then(|s| s.checked_add(total)),
                Err(found) => {
                    sum = None;
                    flaws.extend(
                        found.into_iter().map(|f| Flaw::new(format!("lines[{i}].{}", f.field()), &f)),
                    );
                }
            }
        }
        self.promotion_flaws(&mut flaws);
        for (i, charge) in self.charges.iter().enumerate() {
            if self.terms == Terms::PayAtHandover && charge.rule != ReturnRule::ProRata {
                let text = "must be PRO_RATA, or absent, where goods are paid piece by piece at the handover";
                flaws.push(Flaw::new(format!("charges[{i}].return_rule"), text));
            }
            if (0..=MAX_MINOR).contains(&charge.amount_minor) {
                sum = sum.and_then(|s| s.checked_add(charge.amount_minor));
            } else {
                sum = None;
                flaws.push(Flaw::new(format!("charges[{i}].amount"), &self.range(0)));
            }
        }
        if let Some(sum) = sum {
            if sum > MAX_MINOR {
                let text = format!("cost more than {}, the most that an order may", self.amount(MAX_MINOR));
                flaws.push(Flaw::new("lines", &text));
            } else if sum != self.total_minor {
                let [total, sum] = [self.total_minor, sum].map(|minor| self.amount(minor));
                let text = format!("is {total}, but lines and charges add up to {sum}");
                flaws.push(Flaw::new("total", &text));
            }
        }
        self.tender_flaws(&mut flaws);
        self.sale_flaws(&mut flaws);
        flaws
    }

    /// What was sold elsewhere was paid there.
    fn sale_flaws(&self, flaws: &mut Vec<Flaw>) {
        if !self.acceptance.is_sold_elsewhere() || self.is_payable_later() {
            return;
        }
        for (i, _) in self.tenders.iter().enumerate().filter(|(_, tender)| !tender.state.counts()) {
            let text =
                "must be AUTHORIZED or CAPTURED: an order that was sold elsewhere waits for no payment";
            flaws.push(Flaw::new(format!("tenders[{i}].state"), text));
        }
    }

    fn promotion_flaws(&self, flaws: &mut Vec<Flaw>) {
        for (i, line) in self.lines.iter().enumerate() {
            let mut names = BTreeSet::new();
            let mut sum = 0_i64;
            for (j, (promotion, minor)) in line.promotions.iter().enumerate() {
                let field = format!("lines[{i}].promotions[{j}]");
                if !names.insert(promotion.as_str()) {
                    flaws.push(Flaw::new(format!("{field}.promotion_id"), "must be unique in the line"));
                }
                if *minor < 1 {
                    flaws.push(Flaw::new(format!("{field}.amount"), "must be more than 0"));
                }
                sum = sum.saturating_add(*minor);
            }
            // A discount that is bad by itself is named already.
            if sum > line.amounts.discount.max(0) {
                let [sum, discount] = [sum, line.amounts.discount].map(|minor| self.amount(minor));
                let text = format!("add up to {sum}, but the discount of the line is {discount}");
                flaws.push(Flaw::new(format!("lines[{i}].promotions"), &text));
            }
        }
    }

    fn tender_flaws(&self, flaws: &mut Vec<Flaw>) {
        let mut names = BTreeSet::new();
        let mut sum = Some(0_i64);
        for (i, tender) in self.tenders.iter().enumerate() {
            if !names.insert(tender.id.as_str()) {
                flaws.push(Flaw::new(format!("tenders[{i}].tender_id"), "must be unique in the order"));
            }
            let least = i64::from(self.total_minor > 0);
            if tender.amount_minor < least || tender.amount_minor > MAX_MINOR {
                sum = None;
                flaws.push(Flaw::new(format!("tenders[{i}].amount"), &self.range(least)));
            } else {
                sum = sum.and_then(|s| s.checked_add(tender.amount_minor));
            }
        }
        let may_be_empty = self.total_minor == 0 || self.terms != Terms::Prepaid;
        if self.tenders.is_empty() && may_be_empty {
            return;
        }
        if let Some(sum) = sum.filter(|sum| *sum != self.total_minor) {
            let [total, sum] = [self.total_minor, sum].map(|minor| self.amount(minor));
            let text = format!("add up to {sum}, but the total is {total}");
            flaws.push(Flaw::new("tenders", &text));
        }
    }

    /// What an amount may be, in words.
    fn range(&self, least: i64) -> String {
        format!("must be from {} to {}", self.amount(least), self.amount(MAX_MINOR))
    }

    const fn amount(&self, minor: i64) -> Money {
        Money::new(minor, self.currency)
    }

    /// Whether nothing has to be paid before fulfillment.
    pub fn is_payable_later(&self) -> bool {
        let paid: i64 = self.tenders.iter().filter(|t| t.state.counts()).map(|t| t.amount_minor).sum();
        self.terms != Terms::Prepaid || paid >= self.total_minor
    }
}

impl Order {
    /// Places an order whose stock is held for all its legs. Shares are frozen here; an unpaid prepaid order waits for its
    /// payment. What is missing of one that was sold elsewhere becomes needs, to be looked for at once.
    pub fn place(
        id: OrderId,
        mut draft: Draft,
        asked: Asked,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Changed, Vec<Flaw>> {
        let Asked { groups, legs, token, missing } = asked;
        let mut flaws = draft.flaws();
        flaws.extend(group::flaws(&draft.lines, &groups));
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let is_open = draft.is_payable_later();
        draft.lines.sort_by_key(|line| line.no);
        let totals: Vec<i64> =
            draft.lines.iter().map(|line| line.amounts.total().unwrap_or_default()).collect();
        let lines = draft.lines.into_iter().zip(&totals).map(|(line, total)| Line {
            no: line.no,
            sku: line.sku,
            name: line.name,
            amounts: line.amounts,
            total_minor: *total,
            promotions: line.promotions,
            own: Own { open: line.amounts.quantity, ..Own::default() },
            buckets: Buckets::default(),
            cancel_requested: 0,
            cancel_reason: String::new(),
        });
        let mut order = Self {
            id,
            version: 0,
            channel: draft.channel,
            channel_order_id: draft.channel_order_id,
            customer_ref: draft.customer_ref,
            origin: draft.origin,
            currency: draft.currency,
            tax_included: draft.tax_included,
            terms: draft.terms,
            acceptance: draft.acceptance,
            lines: lines.collect(),
            groups,
            legs: Vec::new(),
            needs: Vec::new(),
            charges: draft.charges,
            total_minor: draft.total_minor,
            ledger: Ledger {
                rows: draft.tenders.iter().filter_map(|tender| received(tender, now)).collect(),
                tenders: draft.tenders,
                refunds: Vec::new(),
            },
            blocks: if is_open { BTreeSet::new() } else { BTreeSet::from([Block::Payment]) },
            token,
            placed_at: now,
            updated_at: now,
            payment_due_at: None,
            payment_ends_at: None,
            payment_policy: 0,
            lapsed_at: None,
            expired_at: None,
            confirmed_at: None,
            cancels: 0,
        };
        if !is_open {
            order.expect_payment(policy, now);
        }
        let may_miss = missing.is_empty() || order.acceptance.is_sold_elsewhere();
        let opened =
            order.need_missing(missing, now).and_then(|opened| order.add_legs(legs).map(|()| opened));
        let Some(opened) = opened.ok().filter(|_| may_miss) else {
            return Err(vec![Flaw::new("groups", "are not what is held")]);
        };
        if order.is_released() {
            order.release_legs(now);
        }
        Ok(order.changed([Event::Placed].into_iter().chain(opened).collect(), now))
    }
}

/// What came in by a tender before the order was placed.
fn received(tender: &Tender, now: Timestamp) -> Option<Row> {
    let cause = match tender.state {
        TenderState::Authorized => Cause::Authorized,
        TenderState::Captured => Cause::Captured,
        TenderState::Due | TenderState::Voided | TenderState::Failed => return None,
    };
    let row = Row::of_tender(&tender.id, Component::Tender, cause, tender.amount_minor, now);
    (tender.amount_minor > 0).then(|| Row { reference: tender.provider_ref.clone(), ..row })
}

impl Refusal {
    /// The line it is about, if it is about one.
    pub const fn line(&self) -> Option<u32> {
        match self {
            Self::UnknownLine { line }
            | Self::NotCancellable { line, .. }
            | Self::BadSnapshot { line }
            | Self::UnknownPiece { line, .. }
            | Self::ClaimTooLarge { line, .. } => Some(*line),
            Self::Over { .. }
            | Self::NothingToCancel
            | Self::UnknownTender { .. }
            | Self::AmountDiffers { .. }
            | Self::TenderState { .. }
            | Self::NothingToReplace { .. }
            | Self::TenderTaken { .. }
            | Self::UnknownRefund { .. }
            | Self::UnknownPart { .. }
            | Self::PartNotNamed { .. }
            | Self::UnknownAttempt { .. }
            | Self::RefundState { .. }
            | Self::NeedsHold
            | Self::OtherReservation
            | Self::AlreadyConfirmed
            | Self::NotDue
            | Self::UnknownNeed { .. }
            | Self::NeedOver { .. }
            | Self::OtherPieces { .. }
            | Self::Blocked { .. }
            | Self::OtherFulfillment { .. } => None,
        }
    }
}
