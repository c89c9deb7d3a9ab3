//! Payment: results of tenders, and what time does to an order that is not paid.

use super::{Block, Changed, Event, Order, Policy, Promise, Refusal, Status, TenderState};
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
    /// Stock is held by this promise.
    Held(Promise),
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
                Hold::Held(promise) => {
                    self.promise = promise;
                    self.lapsed_at = None;
                    self.lines.iter_mut().for_each(|line| line.buckets.reserve());
                }
                Hold::Refused { reason } => return self.give_up(&reason, now),
            }
        }
        let mut events: Vec<Event> = self.refund("OVERPAID", Vec::new(), now).into_iter().collect();
        self.blocks.remove(&Block::Payment);
        if self.blocks.is_empty() {
            events.push(Event::Unblocked);
        }
        Ok(events)
    }

    /// Paid too late for its stock: over, and the money goes back.
    fn give_up(&mut self, reason: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        if self.lapsed_at.is_some() {
            return Ok(self.expire_now(reason, now));
        }
        let all: Vec<_> = self.lines.iter().map(|line| (line.no, line.buckets.cancellable())).collect();
        let all: Vec<_> = all.into_iter().filter(|(_, pieces)| *pieces > 0).collect();
        self.cancel_now(&all, reason, now)
    }

    fn expire_now(&mut self, reason: &str, now: Timestamp) -> Vec<Event> {
        let mut pieces = Vec::new();
        for line in &mut self.lines {
            let left = line.buckets.cancellable();
            if left > 0 {
                line.buckets.cancel(left);
                reason.clone_into(&mut line.cancel_reason);
                pieces.push((line.no, left));
            }
        }
        self.expired_at = Some(now);
        let mut events = vec![Event::Expired { token: self.promise.token }];
        events.extend(self.refund(reason, pieces, now));
        events
    }

    /// Gives the stock back, if the order is not paid when it is due.
    pub fn lapse(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.lapse_at().is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        self.lines.iter_mut().for_each(|line| line.buckets.unreserve());
        self.lapsed_at = Some(now);
        let token = self.promise.token;
        Ok(self.changed(vec![Event::PaymentLapsed { token }], now))
    }

    /// Ends a lapsed order when its grace is over. What was paid in part goes back.
    pub fn expire(mut self, policy: &Policy, now: Timestamp) -> Result<Changed, Refusal> {
        if self.expire_at(policy).is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        let events = self.expire_now("PAYMENT_EXPIRED", now);
        Ok(self.changed(events, now))
    }

    /// The hold of an unpaid order was lost before its time: a payment must hold stock again.
    pub fn lose_hold(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.is_released() || self.status() != Status::Placed || self.buckets().reserved == 0 {
            return Err(Refusal::NotDue);
        }
        let lines = self.lines.iter().filter(|line| line.buckets.reserved > 0).map(|line| line.no).collect();
        self.lines.iter_mut().for_each(|line| line.buckets.unreserve());
        Ok(self.changed(vec![Event::Progressed { lines }], now))
    }

    /// The lost hold of an unpaid order was taken again, by another promise. Tells nobody: the new promise is named
    /// when the order is released.
    pub fn hold_replaced(&mut self, promise: Promise) {
        self.promise = promise;
        self.lines.iter_mut().for_each(|line| line.buckets.reserve());
    }
}
