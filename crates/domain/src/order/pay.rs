//! Payment: results of tenders, and what time does to an order that is not paid.

use super::group::Parts;
use super::{
    Block, Changed, Event, How, Leg, Move, Need, Order, Policy, Refusal, Status, Tender, TenderState, Terms,
};
use crate::id::{FulfillmentId, PromiseToken};
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
    /// The stock can't be held any more, or not in time.
    Refused {
        /// Why, `UPPER_SNAKE`.
        reason: String,
    },
}

impl Order {
    /// Whether this payment would release the order if stock were held for it again: pieces are open, or a promise is late.
    pub fn needs_hold(&self, payment: &Payment, now: Timestamp) -> bool {
        if !self.blocks.contains(&Block::Payment) || self.status().is_over() || !self.has_to_hold(now) {
            return false;
        }
        let mut after = self.clone();
        // A payment that will be refused must not hold anything first.
        after.ledger.receive(payment, self.takes_parts(), self.currency, self.updated_at).is_ok()
            && after.is_covered()
    }

    /// A release now would leave pieces without a promise that can be kept.
    fn has_to_hold(&self, now: Timestamp) -> bool {
        self.own_open() > 0 || self.legs.iter().any(|leg| leg.is_late(now))
    }

    /// The legs whose promise is late: a payment now holds their pieces again, for a time that can be kept.
    pub fn late_legs(&self, now: Timestamp) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(move |leg| leg.is_late(now))
    }

    /// The parts of groups that a payment now must hold: those that are open, and those whose promise is late.
    pub fn parts_to_hold(&self, now: Timestamp) -> Parts {
        self.parts_after(|leg| leg.is_late(now), now)
    }

    /// Goods are paid when they are handed over, bit by bit, or by invoice.
    fn takes_parts(&self) -> bool {
        self.terms != Terms::Prepaid
    }

    /// Records what a provider reported. Money that completes the payment releases the order; what is more than is due goes
    /// back; what the order relied on and is gone stops what is not handed over yet.
    pub fn pay(
        mut self,
        payment: &Payment,
        hold: Hold,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        if self.ledger.has_heard(payment) {
            return Ok(Changed { order: self, events: Vec::new() });
        }
        let payment = &self.ledger.named(payment);
        let had = self.ledger.tenders.iter().find(|t| t.id == payment.tender).map(|t| t.state);
        let dues = self.dues();
        let received = self.ledger.receive(payment, self.takes_parts(), self.currency, now)?;
        let (tender, in_full) = (payment.tender.clone(), self.is_covered());
        let mut events = Vec::new();
        let amount_minor = received.new + received.settled;
        if amount_minor > 0 {
            events.push(Event::Paid { tender: tender.clone(), state: payment.state, amount_minor, in_full });
        }
        if received.lost > 0 {
            events.push(self.payment_lost(payment, received.lost, policy, now));
        }
        let is_over = self.status().is_over();
        let reason = if had == Some(TenderState::Captured) {
            "EXCESS_PAYMENT"
        } else if is_over && self.buckets().live() == 0 {
            // With pieces left, the customer may have what the rest of the money is for.
            "PAID_TOO_LATE"
        } else if received.is_second {
            "EXCESS_PAYMENT"
        } else {
            "OVERPAID"
        };
        if received.unneeded > 0 {
            events.push(if received.is_second {
                // Of a second authorization nothing is captured; the first one stays as it is.
                Event::VoidRequested {
                    tender,
                    amount_minor: received.unneeded,
                    left_minor: 0,
                    provider_ref: payment.provider_ref.clone(),
                    reason: reason.to_owned(),
                    lines: Vec::new(),
                }
            } else {
                self.void(tender, received.unneeded, reason, Vec::new())
            });
        }
        if received.excess > 0 {
            events.extend(self.excess(payment, received.excess, reason, now));
        }
        if received.new > 0 && in_full && !is_over && self.blocks.contains(&Block::Payment) {
            events.extend(self.release(hold, now)?);
        }
        events.extend(self.due_changed(&dues, &events));
        if events.is_empty() {
            events.push(Event::MoneyChanged { tenders: vec![payment.tender.clone()] });
        }
        Ok(self.changed(events, now))
    }

    /// An authorization is gone. A prepaid order that is not covered without it waits, and whatever no customer has yet is
    /// not handed over: it must be paid again in time, or it is cancelled.
    fn payment_lost(
        &mut self,
        payment: &Payment,
        amount_minor: i64,
        policy: &Policy,
        now: Timestamp,
    ) -> Event {
        let mut legs = Vec::new();
        let stops = !self.takes_parts() && !self.is_covered() && !self.status().is_over();
        if stops && self.blocks.insert(Block::Payment) {
            self.expect_payment(policy, now);
            legs = self.released_work().map(|leg| leg.id).collect();
        }
        Event::PaymentLost { tender: payment.tender.clone(), amount_minor, state: payment.state, legs }
    }

    /// The legs that a node was asked for, and that something may still be handed over of.
    fn released_work(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.is_live() && leg.is_released() && !leg.is_over())
    }

    /// Whether this tender would release the order if stock were held for it again.
    pub fn needs_hold_for(&self, tender: &Tender, now: Timestamp) -> bool {
        let mut after = self.clone();
        let due = Tender { state: TenderState::Due, ..tender.clone() };
        after.ledger.add(due, self.total_minor).is_ok()
            && tender.state.counts()
            && after.needs_hold(&Payment::of(tender), now)
    }

    /// Another tender takes over what failed and voided ones did not pay, or what no tender pays. It may be paid already.
    pub fn add_tender(
        mut self,
        tender: &Tender,
        hold: Hold,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        let status = self.status();
        if status.is_over() {
            return Err(Refusal::Over { step: "add a tender", status });
        }
        self.ledger.add(Tender { state: TenderState::Due, ..tender.clone() }, self.total_minor)?;
        let added = self.changed(vec![Event::TenderAdded { tender: tender.id.clone() }], now);
        if !tender.state.counts() {
            return Ok(added);
        }
        let Changed { order, mut events } = added;
        let paid = order.pay(&Payment::of(tender), hold, policy, now)?;
        events.extend(paid.events);
        Ok(Changed { order: paid.order, events })
    }

    /// The payment is complete: fulfillment may begin with all that is (again) held for a time that can be kept. The rest is
    /// paid for, so it is looked for as what a node could not do is.
    fn release(&mut self, hold: Hold, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        if self.has_to_hold(now) {
            match hold {
                Hold::NotAsked => return Err(Refusal::NeedsHold),
                Hold::Held(legs) => {
                    self.drop_legs(|leg| leg.is_late(now), now);
                    events.extend(self.moved(&legs));
                    self.add_legs(legs)?;
                    self.lapsed_at = None;
                }
                Hold::Refused { reason } => {
                    self.drop_legs(|leg| leg.is_late(now), now);
                    events.extend(self.need_open_pieces(&reason, now));
                }
            }
        }
        self.blocks.remove(&Block::Payment);
        events.extend(self.unblocked(now));
        Ok(events)
    }

    /// Gives the stock back, if the order is not paid when it is due. What nodes work on is cancelled.
    pub fn lapse(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.lapse_at().is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        // Also when all that was released has failed, or was never held: its pieces are in needs, and no payment could hold
        // them again.
        let is_worked = self.legs.iter().any(|leg| leg.is_live() && leg.is_released());
        if is_worked || self.needs.iter().any(Need::is_open) {
            (self.payment_due_at, self.payment_ends_at) = (None, None);
            return match self.clone().cancel(&[], "PAYMENT_FAILED", now) {
                Ok((changed, _)) => Ok(changed),
                // All of it is asked for already, or beyond a cancel: nobody else sees a change.
                Err(Refusal::NothingToCancel) => Ok(Changed { order: self, events: Vec::new() }),
                Err(refusal) => Err(refusal),
            };
        }
        let legs = self.drop_legs(|_| true, now);
        self.lapsed_at = Some(now);
        Ok(self.changed(vec![Event::PaymentLapsed { legs }], now))
    }

    /// Ends a lapsed order when its grace is over. What was paid in part goes back.
    pub fn expire(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.expire_at().is_none_or(|due| now < due) {
            return Err(Refusal::NotDue);
        }
        let (all, live, reason) = (self.unasked(), self.live(), "PAYMENT_EXPIRED");
        let off = self.take_off(&all, reason, now)?;
        self.expired_at = Some(now);
        let legs = self.legs.iter().filter(|leg| !leg.is_released()).map(|leg| leg.id).collect();
        let mut events = vec![Event::Expired { legs, reason: reason.to_owned() }];
        let needs = off.needs.into_iter();
        events.extend(needs.filter_map(|(at, let_go)| self.closed(at, How::Expired, let_go)));
        events.extend(self.give_back(&live, reason, now));
        Ok(self.changed(events, now))
    }

    /// The holds of legs of an unpaid order were lost before their time: it is blocked for want of stock, and a payment must
    /// hold it again.
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

    /// A lost hold of an unpaid order was taken again: its legs go and new ones come. They are named when the order is
    /// released; before, there is an event only if a promise moved. Refused when they are not for the same pieces.
    pub fn replace_legs(
        mut self,
        gone: PromiseToken,
        new: Vec<Leg>,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        self.drop_legs(|leg| leg.token == Some(gone), now);
        let moved = self.moved(&new);
        self.add_legs(new)?;
        let Some(event) = moved else {
            self.heed_stock();
            return Ok(Changed { order: self, events: Vec::new() });
        };
        Ok(self.changed(vec![event], now))
    }

    /// What new legs change of what was promised: the last leg of each group that was dropped says what that was.
    fn moved(&self, new: &[Leg]) -> Option<Event> {
        let moved = |leg: &Leg| {
            let last = |old: &&Leg| old.group == leg.group && !old.is_live();
            let old = self.legs.iter().rev().find(last)?;
            let is_same = (old.window, &old.node) == (leg.window, &leg.node);
            (!is_same).then(|| Move {
                group: leg.group,
                from: old.window,
                to: leg.window,
                node: leg.node.clone(),
            })
        };
        let moves: Vec<Move> = new.iter().filter_map(moved).collect();
        (!moves.is_empty()).then_some(Event::PromiseMoved { moves })
    }

    /// The parts of groups that are open when this promise holds nothing any more.
    pub fn parts_without(&self, token: PromiseToken, now: Timestamp) -> Parts {
        self.parts_after(|leg| leg.token == Some(token), now)
    }

    /// The parts of groups that are open when these legs are gone.
    fn parts_after(&self, gone: impl Fn(&Leg) -> bool, now: Timestamp) -> Parts {
        let mut after = self.clone();
        after.drop_legs(gone, now);
        after.open_parts()
    }
}

impl Payment {
    /// What a tender that came paid says.
    fn of(tender: &Tender) -> Self {
        Self {
            tender: tender.id.clone(),
            state: tender.state,
            amount_minor: tender.amount_minor,
            provider_ref: tender.provider_ref.clone(),
        }
    }
}
