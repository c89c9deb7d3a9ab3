//! Money at the handover: what is due for the units that are handed over, and what was paid for them.
//!
//! A line says what all its units cost; the units that are handed over first cost a minor unit more where that can't be
//! divided ([`Share`]). What was paid elsewhere covers the units that are handed over first. So whatever is handed over in
//! parts, cancelled or short on the way: what is paid in all is what the units handed over cost, less what was covered.

use jiff::Timestamp;

use super::stage::{Name, Stage, StockEffect};
use super::{Event, Line, MovedLine, Order, Refusal};
use crate::money::{Currency, Money};
use crate::order::Share;

/// What a fulfillment order waits for in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dues {
    /// It is paid at its handovers; none: nothing is due there.
    pub at_handover: Option<AtHandover>,
    /// A payment of the order was lost: no goods leave the node until the order is paid again.
    pub is_payment_lost: bool,
}

/// What was paid for a fulfillment order that is paid at its handovers. What its units cost stands in its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtHandover {
    /// The currency of the order.
    pub currency: Currency,
    /// Paid elsewhere, or not to be paid any more, in minor units.
    pub covered_minor: i64,
    /// Paid at its own handovers, in minor units.
    pub collected_minor: i64,
}

/// A payment that comes with a handover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The kind of tender.
    pub kind: String,
    /// How much.
    pub amount: Money,
    /// The reference of the provider or the till.
    pub provider_ref: String,
}

/// Why what is due changed, or why the handover has to wait or need not wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DueChange {
    /// The order was paid elsewhere, costs less, or lost a payment: another amount is due.
    Paid,
    /// A payment was lost.
    PaymentLost,
    /// What was lost was paid again.
    PaidAgain,
}

impl DueChange {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paid => "PAID",
            Self::PaymentLost => "PAYMENT_LOST",
            Self::PaidAgain => "PAID_AGAIN",
        }
    }
}

impl Line {
    /// What the units cost that are handed over first.
    fn cost_of(&self, units: i64) -> i64 {
        Share::new(self.due_minor, self.quantity).of(units)
    }
}

impl Order {
    /// Due for what is still to be handed over; none: nothing is due.
    pub fn due(&self) -> Option<Money> {
        let cost = |line: &Line| line.cost_of(line.buckets.done + line.buckets.open());
        self.due_of(self.lines.iter().map(cost).sum())
    }

    /// Paid at its handovers so far; none: nothing was.
    pub fn collected(&self) -> Option<Money> {
        let at = self.dues.at_handover.filter(|at| at.collected_minor > 0)?;
        Some(Money::new(at.collected_minor, at.currency))
    }

    /// Due when these units are handed over too.
    fn due_with(&self, lines: &[MovedLine]) -> Option<Money> {
        let moved = |line: &Line| -> i64 {
            lines.iter().filter(|moved| moved.line == line.line).map(|moved| moved.quantity).sum()
        };
        let cost = |line: &Line| line.cost_of(line.buckets.done + moved(line));
        self.due_of(self.lines.iter().map(cost).sum())
    }

    /// What is due of this cost: what was not paid yet.
    fn due_of(&self, cost_minor: i64) -> Option<Money> {
        let at = self.dues.at_handover?;
        let paid = at.covered_minor.saturating_add(at.collected_minor);
        let due = cost_minor.saturating_sub(paid);
        (due > 0).then(|| Money::new(due, at.currency))
    }

    /// Goods leave the node only while no payment is lost, and reach the customer for exactly what is due.
    pub(super) fn check_payment(
        &self,
        from: &Stage,
        to: &Stage,
        lines: &[MovedLine],
        payment: Option<&Payment>,
    ) -> Result<(), Refusal> {
        let leaves = from.stock_effect == StockEffect::Held && to.stock_effect == StockEffect::Consumed;
        if leaves && self.dues.is_payment_lost {
            return Err(Refusal::PaymentLost { step: to.name.verb() });
        }
        let due = if to.name == Name::Done { self.due_with(lines) } else { None };
        match (due, payment.map(|payment| payment.amount)) {
            (due, given) if due == given => Ok(()),
            (Some(due), None) => Err(Refusal::PaymentDue { due, given: None }),
            (Some(due), Some(given)) if given.currency == due.currency && given.minor < due.minor => {
                Err(Refusal::PaymentDue { due, given: Some(given) })
            }
            (due, Some(given)) => Err(Refusal::PaymentDiffers { due, given }),
            (None, None) => Ok(()),
        }
    }

    /// Counts a payment that was checked.
    pub(super) fn collect(&mut self, payment: Option<&Payment>) {
        if let (Some(at), Some(payment)) = (&mut self.dues.at_handover, payment) {
            at.collected_minor = at.collected_minor.saturating_add(payment.amount.minor);
        }
    }

    /// Another amount is due for all units of this work; what was paid at its own handovers is not taken off. None: that
    /// changes nothing.
    pub fn paid_elsewhere(&mut self, due_minor: i64, now: Timestamp) -> Option<Event> {
        let is_over = self.state().is_over();
        let all: i64 = self.lines.iter().map(|line| line.due_minor).sum();
        let at = self.dues.at_handover.as_mut()?;
        let covered = all.saturating_sub(due_minor.max(0));
        if is_over || covered == at.covered_minor || covered < 0 {
            return None;
        }
        at.covered_minor = covered;
        Some(self.happened(Event::DueChanged { why: DueChange::Paid }, now))
    }

    /// A payment of the order was lost. None: it is known, or nothing can be handed over any more.
    pub fn payment_lost(&mut self, now: Timestamp) -> Option<Event> {
        if self.dues.is_payment_lost || self.state().is_over() {
            return None;
        }
        self.dues.is_payment_lost = true;
        Some(self.happened(Event::DueChanged { why: DueChange::PaymentLost }, now))
    }

    /// What was lost was paid again. None: nothing was lost, or nothing can be handed over any more.
    pub fn paid_again(&mut self, now: Timestamp) -> Option<Event> {
        if !self.dues.is_payment_lost || self.state().is_over() {
            return None;
        }
        self.dues.is_payment_lost = false;
        Some(self.happened(Event::DueChanged { why: DueChange::PaidAgain }, now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::event::CancelRequest;
    use super::super::testing::{at, bring, keeps_the_laws, offer, planned};
    use super::super::{Collector, Method, ShortReason, Step, Units};
    use super::*;

    fn pounds(minor: i64) -> Money {
        Money::new(minor, Currency::GBP)
    }

    fn payment(minor: i64) -> Payment {
        Payment { kind: "cash".to_owned(), amount: pounds(minor), provider_ref: "till-1".to_owned() }
    }

    /// Work that is accepted and picked at: lines of these units, with these costs.
    fn picking(lines: &[(i64, i64)], covered_minor: i64) -> Order {
        let quantities: Vec<i64> = lines.iter().map(|(units, _)| *units).collect();
        let mut order = planned(Method::Pickup, &quantities);
        for (line, (_, due)) in order.lines.iter_mut().zip(lines) {
            line.due_minor = *due;
        }
        let at_handover = AtHandover { currency: Currency::GBP, covered_minor, collected_minor: 0 };
        order.dues.at_handover = Some(at_handover);
        offer(&mut order, at(0)).unwrap();
        order.accept(at(1)).unwrap();
        order.start(at(2)).unwrap();
        order
    }

    fn ready(lines: &[(i64, i64)], covered_minor: i64) -> Order {
        let mut order = picking(lines, covered_minor);
        let all = order.lines.iter().map(|line| MovedLine::of(line.line, line.quantity)).collect::<Vec<_>>();
        order.pick(&all, at(3)).unwrap();
        order.ready(at(4)).unwrap();
        order
    }

    fn hand_over(order: &mut Order, units: &[(u32, i64)], paid: Option<i64>) -> Result<Event, Refusal> {
        let units: Vec<Units> = units.iter().map(|(line, n)| Units { line: *line, quantity: *n }).collect();
        let units = (!units.is_empty()).then_some(units);
        let payment = paid.map(payment);
        order.hand_over(units.as_deref(), Collector::Buyer, payment.as_ref(), at(5))
    }

    #[test]
    fn a_handover_costs_exactly_what_is_due_for_its_units() {
        let mut order = ready(&[(3, 1_000)], 0);
        assert_eq!(order.due(), Some(pounds(1_000)));
        let due = |minor, given: Option<i64>| {
            Err(Refusal::PaymentDue { due: pounds(minor), given: given.map(pounds) })
        };
        let before = order.clone();
        assert_eq!(hand_over(&mut order, &[(1, 1)], None), due(334, None));
        assert_eq!(hand_over(&mut order, &[(1, 1)], Some(333)), due(334, Some(333)));
        let differs = Refusal::PaymentDiffers { due: Some(pounds(334)), given: pounds(335) };
        assert_eq!(hand_over(&mut order, &[(1, 1)], Some(335)), Err(differs));
        let euros = Payment { amount: Money::new(334, Currency::EUR), ..payment(0) };
        let refused = order.hand_over(None, Collector::Buyer, Some(&euros), at(5));
        assert!(matches!(refused, Err(Refusal::PaymentDiffers { .. })), "{refused:?}");
        assert_eq!(order, before, "a refusal changes nothing");
        let event = hand_over(&mut order, &[(1, 1)], Some(334)).unwrap();
        assert!(matches!(event, Event::Moved { payment: Some(ref paid), .. } if *paid == payment(334)));
        assert_eq!((order.due(), order.collected()), (Some(pounds(666)), Some(pounds(334))));
        hand_over(&mut order, &[], Some(666)).unwrap();
        assert_eq!((order.due(), order.collected()), (None, Some(pounds(1_000))));
    }

    #[test]
    fn what_is_cancelled_or_short_is_not_due() {
        let mut order = picking(&[(4, 4_000)], 0);
        let short = MovedLine { line: 1, quantity: 2, short: Some((1, ShortReason::NotFound)) };
        order.pick(&[short], at(3)).unwrap();
        assert_eq!(order.due(), Some(pounds(3_000)));
        let one = [Units { line: 1, quantity: 1 }];
        order.cancel(CancelRequest { number: 1, lines: &one, reason: "CUSTOMER" }, at(3));
        assert_eq!(order.due(), Some(pounds(2_000)));
        order.ready(at(4)).unwrap();
        assert!(hand_over(&mut order, &[], Some(4_000)).is_err());
        hand_over(&mut order, &[], Some(2_000)).unwrap();
    }

    #[test]
    fn what_was_paid_elsewhere_covers_the_first_units_and_may_be_lost_again() {
        let mut order = ready(&[(2, 1_000), (1, 500)], 0);
        assert!(order.paid_elsewhere(900, at(5)).is_some());
        assert!(order.paid_elsewhere(1_200, at(5)).is_some(), "a payment was lost");
        assert_eq!(order.due(), Some(pounds(1_200)));
        assert!(order.paid_elsewhere(900, at(5)).is_some());
        assert!(order.paid_elsewhere(900, at(5)).is_none(), "the same report changes nothing");
        hand_over(&mut order, &[(1, 1)], None).unwrap();
        assert!(hand_over(&mut order, &[(1, 1)], None).is_err());
        hand_over(&mut order, &[(1, 1)], Some(400)).unwrap();
        assert!(order.paid_elsewhere(0, at(5)).is_some());
        assert_eq!(order.due(), None);
        let nothing = Refusal::PaymentDiffers { due: None, given: pounds(1) };
        assert_eq!(hand_over(&mut order, &[], Some(1)), Err(nothing));
        hand_over(&mut order, &[], None).unwrap();
        assert!(order.paid_elsewhere(-5, at(6)).is_none(), "it is over");
    }

    #[test]
    fn nothing_leaves_the_node_while_a_payment_is_lost() {
        let mut order = ready(&[(2, 0)], 0);
        order.dues.at_handover = None;
        assert!(order.paid_again(at(5)).is_none());
        assert!(order.payment_lost(at(5)).is_some());
        assert!(order.payment_lost(at(5)).is_none());
        let refused = hand_over(&mut order, &[], None);
        assert_eq!(refused, Err(Refusal::PaymentLost { step: "hand over" }));
        assert!(order.paid_again(at(5)).is_some());
        hand_over(&mut order, &[], None).unwrap();
        assert!(order.payment_lost(at(6)).is_none(), "the customer has all of it");
    }

    #[test]
    fn a_lost_payment_stops_the_dispatch_and_no_step_before_or_behind_it() {
        let mut order = planned(Method::Parcel, &[1]);
        offer(&mut order, at(0)).unwrap();
        assert!(order.payment_lost(at(0)).is_some());
        for to in [Name::Accepted, Name::Picking, Name::Picked, Name::Packed] {
            bring(&mut order, to, None, at(1)).unwrap();
        }
        let refused = bring(&mut order, Name::InCustody, None, at(2));
        assert_eq!(refused, Err(Refusal::PaymentLost { step: "dispatch" }));
        order.paid_again(at(3)).unwrap();
        bring(&mut order, Name::InCustody, None, at(3)).unwrap();
        order.payment_lost(at(4)).unwrap();
        bring(&mut order, Name::Done, None, at(5)).unwrap();
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Pick { line: u32, picked: i64, short: i64 },
        Ready,
        HandOver { line: u32, units: i64 },
        HandOverAll,
        Cancel { line: u32, units: i64 },
        Paid { due_minor: i64 },
        Expire,
        PutBack,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let (line, units) = (1..4_u32, 1..4_i64);
        prop_oneof![
            6 => (line.clone(), 0..4_i64, 0..2_i64)
                .prop_map(|(line, picked, short)| Deed::Pick { line, picked, short }),
            3 => Just(Deed::Ready),
            6 => (line.clone(), units.clone()).prop_map(|(line, units)| Deed::HandOver { line, units }),
            1 => Just(Deed::HandOverAll),
            3 => (line, units).prop_map(|(line, units)| Deed::Cancel { line, units }),
            1 => (0..3_000_i64).prop_map(|due_minor| Deed::Paid { due_minor }),
            1 => Just(Deed::Expire),
            1 => Just(Deed::PutBack),
        ]
    }

    /// Hands units over for what the refusal says is due, and answers what was paid. None: they can't be handed over.
    fn sell(order: &mut Order, units: &[(u32, i64)]) -> Option<i64> {
        let due = match hand_over(order, units, None) {
            Ok(_) => return Some(0),
            Err(Refusal::PaymentDue { due, .. }) => due.minor,
            Err(_) => return None,
        };
        assert!(due > 0);
        for wrong in [due - 1, due + 1] {
            let before = order.clone();
            assert!(hand_over(order, units, Some(wrong)).is_err());
            assert_eq!(*order, before);
        }
        hand_over(order, units, Some(due)).unwrap();
        Some(due)
    }

    /// What the units cost that were handed over.
    fn cost(order: &Order) -> i64 {
        order.lines.iter().map(|line| line.cost_of(line.buckets.done)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn what_is_collected_is_the_cost_of_what_was_handed_over_less_what_was_covered(
            lines in prop::collection::vec((1..5_i64, 0..1_000_i64), 1..4),
            covered_at_first in 0..1_500_i64,
            steps in prop::collection::vec(deed(), 0..40),
        ) {
            let all: i64 = lines.iter().map(|(_, due)| due).sum();
            let mut order = picking(&lines, covered_at_first.min(all));
            // Only a handover collects, so this is the most that the cost was ahead of what was covered when one ended.
            let (mut collected, mut model) = (0, 0);
            for step in steps {
                let done = cost(&order);
                match step {
                    Deed::Pick { line, picked, short } => {
                        let short = (short > 0).then_some((short, ShortReason::NotFound));
                        let _ = order.pick(&[MovedLine { line, quantity: picked, short }], at(3));
                    }
                    Deed::Ready => drop(order.ready(at(4))),
                    Deed::HandOver { line, units } => {
                        collected += sell(&mut order, &[(line, units)]).unwrap_or_default();
                    }
                    Deed::HandOverAll => collected += sell(&mut order, &[]).unwrap_or_default(),
                    Deed::Cancel { line, units } => {
                        let lines = [Units { line, quantity: units }];
                        order.cancel(CancelRequest { number: 1, lines: &lines, reason: "CUSTOMER" }, at(5));
                    }
                    Deed::Paid { due_minor } => drop(order.paid_elsewhere(due_minor, at(5))),
                    Deed::Expire => drop(order.expire(Step::Collect, at(80 * 3_600))),
                    Deed::PutBack => drop(order.confirm_put_back(at(81 * 3_600))),
                }
                keeps_the_laws(&order);
                let dues = order.dues.at_handover.unwrap();
                if cost(&order) > done {
                    model = model.max(cost(&order) - dues.covered_minor);
                }
                prop_assert_eq!(collected, model);
                prop_assert_eq!(dues.collected_minor, collected);
                prop_assert!((0..=cost(&order)).contains(&collected), "never negative, never more than the cost");
                let due = order.due().map_or(0, |due| due.minor);
                prop_assert!(due <= all - collected, "what is due and what was collected fit into the price");
                prop_assert!(!order.state().is_over() || due == 0, "nothing is due for what is over");
            }
            // Whatever is left is handed over at once, for what the order says is due.
            let open = order.units_in(super::super::Bucket::ToPick);
            let due = order.due().map_or(0, |due| due.minor);
            if open == 0 && order.ready(at(6)).is_ok() {
                prop_assert_eq!(sell(&mut order, &[]), Some(due));
                prop_assert_eq!(order.due(), None);
            }
        }
    }
}
