//! What time alone changes in an order, and when.

use jiff::SignedDuration;

use super::leg::Leg;
use super::{Block, Order, Status};
use crate::id::PromiseToken;
use crate::policy::{self, Field};
use crate::time::{Timestamp, after_ms, micros};

/// The clocks of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a prepaid order may be unpaid before its stock is released, in milliseconds.
    pub payment_ms: i64,
    /// Version of the policy that says so; 0: the settings.
    pub payment_version: i64,
    /// How much longer a payment still takes the stock again, in milliseconds.
    pub grace_ms: i64,
    /// How long before its end a hold is extended, in milliseconds.
    pub hold_margin_ms: i64,
    /// How long an order may have no work before fulfillment is asked for it, in milliseconds.
    pub work_check_ms: i64,
    /// How long an order with work may hear nothing of it before fulfillment is asked, in milliseconds.
    pub progress_check_ms: i64,
    /// How long after a round that found nothing pieces of a need are looked for again, in milliseconds. A fifth of it
    /// after the first round, three and twelve times as long after later ones.
    pub need_retry_ms: i64,
    /// How long the customer may take to answer the options of a need, in milliseconds; none: as the method says.
    pub need_answer_ms: Option<i64>,
    /// Version of the policy that says so; 0: the settings.
    pub need_answer_version: i64,
}

impl Policy {
    /// The same where no policy says anything, and what policies say elsewhere.
    #[must_use]
    pub fn with(self, policy: &policy::Clocks) -> Self {
        let ms = |field: Field<SignedDuration>| i64::try_from(field.value.as_millis()).unwrap_or(i64::MAX);
        Self {
            payment_ms: policy.payment.map_or(self.payment_ms, ms),
            payment_version: policy.payment.map_or(self.payment_version, |field| field.version),
            grace_ms: policy.payment_grace.map_or(self.grace_ms, ms),
            need_answer_ms: policy.need_answer.map(ms).or(self.need_answer_ms),
            need_answer_version: policy.need_answer.map_or(self.need_answer_version, |field| field.version),
            ..self
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            payment_ms: 15 * 60_000,
            payment_version: 0,
            grace_ms: 5 * 60_000,
            hold_margin_ms: 2 * 60_000,
            work_check_ms: 5 * 60_000,
            progress_check_ms: 6 * 3_600_000,
            need_retry_ms: 5 * 60_000,
            need_answer_ms: None,
            need_answer_version: 0,
        }
    }
}

impl Order {
    /// When time alone changes something: payment lapses, the order expires, a hold must be extended, no news came
    /// for long, a refund is asked for again, pieces of a need are looked for or dropped for want of an answer. Every order that is not over has such a time.
    pub fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        [self.due_but_check(policy), self.check_at(policy)].into_iter().flatten().min()
    }

    /// The same without the question for news.
    pub fn due_but_check(&self, policy: &Policy) -> Option<Timestamp> {
        let payment = self.lapse_at().or(self.expire_at());
        let need = [self.seek_at(), self.silent_at()];
        let other = [payment, self.extend_at(policy), self.retry_at()];
        other.into_iter().chain(need).flatten().min()
    }

    /// When fulfillment is asked what became of the order, if no news came until then.
    pub fn check_at(&self, policy: &Policy) -> Option<Timestamp> {
        (!self.status().is_over()).then(|| after_ms(self.updated_at, self.check_interval_ms(policy)))
    }

    /// How long the order waits for news before it asks, and before it asks again.
    pub fn check_interval_ms(&self, policy: &Policy) -> i64 {
        let mut legs = self.legs.iter().filter(|leg| leg.is_live()).peekable();
        let has_work = legs.peek().is_some() && legs.all(|leg| leg.version > 0 || leg.is_over());
        if has_work { policy.progress_check_ms } else { policy.work_check_ms }
    }

    /// How long the order waits for news after its events were sent again: as long as it has waited by then, so that a
    /// reader that is far behind is not given ever more to read. At most as long as an order whose work is known.
    pub fn patience_ms(&self, policy: &Policy, now: Timestamp) -> i64 {
        let waited = micros(now).saturating_sub(micros(self.updated_at)) / 1_000;
        waited.min(policy.progress_check_ms).max(self.check_interval_ms(policy))
    }

    /// When its stock is released for want of payment.
    pub fn lapse_at(&self) -> Option<Timestamp> {
        let waits = self.blocks.contains(&Block::Payment) && self.lapsed_at.is_none();
        self.payment_due_at.filter(|_| waits && !self.status().is_over())
    }

    /// When it is over for want of payment.
    pub fn expire_at(&self) -> Option<Timestamp> {
        self.payment_ends_at.filter(|_| self.status() == Status::PaymentLapsed)
    }

    /// It must be paid in time from now on. A later version of a policy moves nothing.
    pub(super) fn expect_payment(&mut self, policy: &Policy, now: Timestamp) {
        let due = after_ms(now, policy.payment_ms);
        self.payment_due_at = Some(due);
        self.payment_ends_at = Some(after_ms(due, policy.grace_ms));
        self.payment_policy = policy.payment_version;
    }

    /// When a hold must be extended: as long as stock is held and not confirmed, also when a node works on it.
    pub fn extend_at(&self, policy: &Policy) -> Option<Timestamp> {
        let at = self.holds().into_iter().map(|(_, until)| after_ms(until, -policy.hold_margin_ms)).min();
        at.filter(|at| self.lapse_at().is_none_or(|lapse| *at < lapse))
    }

    /// The promises that still hold stock which is not confirmed, each with its end.
    pub fn holds(&self) -> Vec<(PromiseToken, Timestamp)> {
        let mut holds: Vec<(PromiseToken, Timestamp)> = Vec::new();
        // Also of a confirmed order: pieces that a node failed may have a new leg.
        let status = self.status();
        if status.is_over() || status == Status::PaymentLapsed {
            return holds;
        }
        for leg in self.legs.iter().filter(|leg| leg.needs_hold()) {
            let Some(token) = leg.token else { continue };
            match holds.iter_mut().find(|(other, _)| *other == token) {
                Some((_, until)) => *until = (*until).min(leg.held_until),
                None => holds.push((token, leg.held_until)),
            }
        }
        holds
    }

    /// A hold was extended. No event: nothing changed for anyone else.
    pub fn hold_extended(&mut self, token: PromiseToken, until: Timestamp) {
        for leg in self.legs.iter_mut().filter(|leg| leg.token == Some(token)) {
            leg.held_until = leg.held_until.max(until);
        }
    }

    /// The legs that this promise still holds stock for.
    pub fn held_by(&self, token: PromiseToken) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(move |leg| leg.needs_hold() && leg.token == Some(token))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, order};
    use super::*;
    use crate::order::TenderState;

    #[test]
    fn an_order_whose_events_are_sent_again_waits_twice_as_long_each_time() {
        let policy = Policy { work_check_ms: 300_000, progress_check_ms: 3_600_000, ..Policy::default() };
        let order = order(&[(1, 100)], 0, &[TenderState::Captured]);
        let (mut checks, mut second) = (Vec::new(), 300);
        for _ in 0..6 {
            checks.push(second / 60);
            second += order.patience_ms(&policy, at(second)) / 1_000;
        }
        assert_eq!(checks, [5, 10, 20, 40, 80, 140]);
    }
}
