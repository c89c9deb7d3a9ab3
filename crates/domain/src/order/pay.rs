//! Payment: results of tenders, and what time does to an order that is not paid.

use super::group::Parts;
use super::{Block, Changed, Event, Leg, Order, Policy, Refusal, Status, Tender, TenderState, Terms};
use crate::id::{FulfillmentId, PromiseToken};
use crate::money::Money;
use crate::time::Timestamp;

/// What a payment provider reported of one tender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The tender.
    pub tender: String,
    /// Where it stands now.
    pub state: TenderState,
    /// Its amount, in minor units.
    pub amount_minor: i64,
    /// The provider's reference.
    pub provider_ref: String,
}

/// The result of holding stock again for a late payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It was not needed, so inventory was not asked.
    NotAsked,
    /// Stock is held for these legs.
    Held(Vec<Leg>),
    /// The stock is no longer available.
    Refused {
        /// Why, `UPPER_SNAKE`.
        reason: String,
    },
}

impl Order {
    /// Whether this payment would release the order if stock were held for it again.
    pub fn needs_hold(&self, payment: &Payment) -> bool {
        let mut after = self.clone();
        // A payment that will be refused must not hold anything first.
        after.record(payment).is_ok()
            && self.blocks.contains(&Block::Payment)
            && !self.status().is_over()
            && self.buckets().open > 0
            && after.is_covered()
    }

    /// Records what a provider reported. Money that completes the payment releases the order; money that comes when
    /// the order is over goes back.
    pub fn pay(mut self, payment: &Payment, hold: Hold, now: Timestamp) -> Result<Changed, Refusal> {
        if self.has_heard(payment) {
            return Ok(Changed { order: self, events: Vec::new() });
        }
        let had = self.record(payment)?;
        if !payment.state.counts() {
            return Ok(self.changed(vec![Event::Progressed { lines: Vec::new() }], now));
        }
        let in_full = self.is_covered();
        let Payment { tender, amount_minor, .. } = payment;
        let mut events = vec![Event::Paid { tender: tender.clone(), amount_minor: *amount_minor, in_full }];
        if had {
            return Ok(self.changed(events, now));
        }
        if self.status().is_over() {
            // The customer may have what the rest of the money is for.
            let reason = if self.live_minor() > 0 { "OVERPAID" } else { "PAID_TOO_LATE" };
            events.extend(self.refund(reason, Vec::new(), now));
        } else if in_full && self.blocks.contains(&Block::Payment) {
            events.extend(self.release(hold, now)?);
        } else {
            events.extend(self.refund("OVERPAID", Vec::new(), now));
        }
        Ok(self.changed(events, now))
    }

    /// The provider said exactly this before: it calls again when it did not get our answer.
    fn has_heard(&self, payment: &Payment) -> bool {
        let is_it = |tender: &Tender| {
            tender.id == payment.tender
                && tender.state == payment.state
                && tender.amount_minor == payment.amount_minor
                && tender.provider_ref == payment.provider_ref
        };
        !payment.provider_ref.is_empty() && self.ledger.tenders.iter().any(is_it)
    }

    /// Writes the report into the ledger. Answers whether the tender's money was there already.
    fn record(&mut self, payment: &Payment) -> Result<bool, Refusal> {
        let is_released = self.is_released();
        let live = self.live_minor();
        let net = self.ledger.net();
        let currency = self.currency;
        let Some(tender) = self.ledger.tenders.iter_mut().find(|t| t.id == payment.tender) else {
            return Err(Refusal::UnknownTender { tender: payment.tender.clone() });
        };
        let name = || payment.tender.clone();
        if tender.amount_minor != payment.amount_minor {
            let [due, given] = [tender.amount_minor, payment.amount_minor].map(|m| Money::new(m, currency));
            return Err(Refusal::AmountDiffers { tender: name(), due, given });
        }
        let retries_claimed = tender.state == TenderState::Failed && tender.claimed_minor > 0;
        if !tender.state.may_become(payment.state) || retries_claimed {
            return Err(Refusal::TenderState { tender: name(), from: tender.state, to: payment.state });
        }
        let had = tender.state.counts();
        let left = tender.amount_minor - tender.claimed_minor;
        if payment.state == TenderState::Voided && had && is_released && net - left < live {
            return Err(Refusal::TenderInUse { tender: name() });
        }
        tender.state = payment.state;
        if !payment.provider_ref.is_empty() {
            payment.provider_ref.clone_into(&mut tender.provider_ref);
        }
        Ok(had)
    }

    /// The payment is complete: fulfillment may begin, if the stock is (again) held.
    fn release(&mut self, hold: Hold, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        if self.buckets().open > 0 {
            match hold {
                Hold::NotAsked => return Err(Refusal::NeedsHold),
                Hold::Held(legs) => {
                    self.add_legs(legs)?;
                    self.lapsed_at = None;
                }
                Hold::Refused { reason } => return self.give_up(&reason, now),
            }
        }
        let mut events: Vec<Event> = self.refund("OVERPAID", Vec::new(), now).into_iter().collect();
        self.blocks.remove(&Block::Payment);
        if self.blocks.is_empty() {
            self.release_legs(now);
            events.push(Event::Unblocked);
        }
        Ok(events)
    }

    /// Paid too late for its stock: over, and the money goes back.
    fn give_up(&mut self, reason: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        if self.lapsed_at.is_some() {
            return self.expire_now(reason, now);
        }
        let all = self.unasked();
        self.cancel_now(&all, reason, now)
    }

    fn expire_now(&mut self, reason: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let all = self.unasked();
        let pieces = self.take_off(&all, reason, now)?.pieces;
        self.expired_at = Some(now);
        let legs = self.legs.iter().filter(|leg| !leg.is_released()).map(|leg| leg.id).collect();
        let mut events = vec![Event::Expired { legs }];
        events.extend(self.refund(reason, pieces, now));
        Ok(events)
    }

    /// Gives the stock back, if the order is not paid when it is due.
    pub fn lapse(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.lapse_at().is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        let legs = self.drop_legs(|_| true, now);
        self.lapsed_at = Some(now);
        Ok(self.changed(vec![Event::PaymentLapsed { legs }], now))
    }

    /// Ends a lapsed order when its grace is over. What was paid in part goes back.
    pub fn expire(mut self, policy: &Policy, now: Timestamp) -> Result<Changed, Refusal> {
        if self.expire_at(policy).is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        let events = self.expire_now("PAYMENT_EXPIRED", now)?;
        Ok(self.changed(events, now))
    }

    /// The holds of legs of an unpaid order were lost before their time: a payment must hold stock again.
    pub fn lose_hold(mut self, legs: &[FulfillmentId], now: Timestamp) -> Result<Changed, Refusal> {
        if self.is_released() || self.status() != Status::Placed {
            return Err(Refusal::NotDue);
        }
        let gone = self.drop_legs(|leg| legs.contains(&leg.id), now);
        let gone = self.legs.iter().filter(|leg| gone.contains(&leg.id));
        let gone = gone.flat_map(|leg| &leg.lines).filter(|line| line.units.quantity > 0);
        let mut lines: Vec<_> = gone.map(|line| line.line).collect();
        lines.sort_unstable();
        lines.dedup();
        if lines.is_empty() {
            return Err(Refusal::NotDue);
        }
        Ok(self.changed(vec![Event::Progressed { lines }], now))
    }

    /// A lost hold of an unpaid order was taken again: its legs go and new ones come. No event: the new legs are named
    /// when the order is released. Refused when they are not for the same pieces.
    pub fn replace_legs(&mut self, gone: PromiseToken, new: Vec<Leg>, now: Timestamp) -> Result<(), Refusal> {
        self.drop_legs(|leg| leg.token == Some(gone), now);
        self.add_legs(new)
    }

    /// The parts of groups that are open when this promise holds nothing any more.
    pub fn parts_without(&self, token: PromiseToken, now: Timestamp) -> Parts {
        let mut after = self.clone();
        after.drop_legs(|leg| leg.token == Some(token), now);
        after.open_parts()
    }

    /// What is due when the goods of a leg are handed over, in minor units. What was paid counts for the first legs.
    pub fn due_of(&self, leg: &Leg) -> i64 {
        if self.terms != Terms::PayAtHandover {
            return 0;
        }
        let mut paid = self.ledger.net();
        let mut before = vec![0_i64; self.lines.len()];
        for other in self.legs.iter().filter(|leg| leg.is_live()) {
            let mut cost = 0;
            for part in &other.lines {
                let Ok(at) = self.lines.binary_search_by_key(&part.line, |line| line.no) else { continue };
                let share = self.lines[at].share();
                let pieces = part.units.buckets(other.is_accepted).live();
                cost += share.of(before[at] + pieces) - share.of(before[at]);
                before[at] += pieces;
            }
            let covered = cost.min(paid);
            if other.id == leg.id {
                return cost - covered;
            }
            paid -= covered;
        }
        0
    }
}
