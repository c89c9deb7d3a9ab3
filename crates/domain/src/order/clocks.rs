//! What time alone changes in an order, and when.

use super::{Block, Order, Status};
use crate::time::{Timestamp, after_ms};

/// The clocks of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a prepaid order may be unpaid before its stock is released, in milliseconds.
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

impl Order {
    /// When time alone changes something: payment lapses, the order expires, a hold must be extended, no news came
    /// for long. Every order that is not over has such a time.
    pub fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        let payment = self.lapse_at().or(self.expire_at(policy));
        let hold = self.extend_at(policy);
        [payment, hold, self.check_at(policy)].into_iter().flatten().min()
    }

    /// When fulfillment is asked what became of the order, if no news came until then.
    pub fn check_at(&self, policy: &Policy) -> Option<Timestamp> {
        (!self.status().is_over()).then(|| after_ms(self.updated_at, self.check_interval_ms(policy)))
    }

    /// How long the order waits for news before it asks, and before it asks again.
    pub fn check_interval_ms(&self, policy: &Policy) -> i64 {
        if self.fulfillment.is_none() { policy.work_check_ms } else { policy.progress_check_ms }
    }

    /// When its stock is released for want of payment.
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
}
