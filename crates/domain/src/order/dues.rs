//! What is due at handovers, where goods are paid there.
//!
//! Each leg takes the pieces of its lines one after the other, and what they cost is fixed when the leg comes. Where a
//! node fails pieces, they are the last ones of its leg: a leg that serves the need has those, and costs what they cost.
//! So what is paid for the pieces that are handed over adds up, whichever node hands them over.

use std::collections::HashMap;

use super::{Event, Leg, Need, Order, Parts, Share, Terms};
use crate::id::{FulfillmentId, LineNo};

/// What is due at the handovers of one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegDue {
    /// The leg.
    pub leg: FulfillmentId,
    /// What all its pieces of each line cost, in minor units; also those that its node failed since.
    pub lines: Vec<(LineNo, i64)>,
    /// What is due for all of it; what was paid elsewhere is taken off.
    pub due_minor: i64,
}

/// What the pieces of lines of legs cost.
struct Costs<'a> {
    order: &'a Order,
    parts: Parts,
    /// By number of the leg and line.
    known: HashMap<(i64, LineNo), Share>,
    /// Pieces of each line that legs have taken so far.
    taken: HashMap<LineNo, i64>,
}

impl Order {
    /// What is due at the handovers of each leg, where goods are paid there: together what is still owed. What was paid
    /// elsewhere, and what pieces cost less by now, counts for the first legs.
    pub fn dues(&self) -> Vec<LegDue> {
        let mut dues = Vec::new();
        if self.terms != Terms::PayAtHandover {
            return dues;
        }
        let (known, taken) = (HashMap::new(), HashMap::new());
        let mut costs = Costs { order: self, parts: self.parts(), known, taken };
        let mut open = Vec::new();
        for leg in self.legs.iter().filter(|leg| leg.is_live()) {
            let (mut lines, mut live) = (Vec::new(), 0);
            for part in leg.lines.iter().filter(|part| self.line(part.line).is_some()) {
                let cost = costs.add(leg, part.line, part.units.quantity);
                lines.push((part.line, cost.of(part.units.quantity)));
                live += cost.of(part.units.buckets(leg.is_accepted).live());
            }
            let due_minor = lines.iter().map(|(_, minor)| minor).sum();
            open.push((live - self.ledger.collected(leg.no)).max(0));
            dues.push(LegDue { leg: leg.id, lines, due_minor });
        }
        let owing = (self.owed_minor() - self.ledger.held()).max(0);
        // What is still looked for is owed too, and paid at a handover that is to come.
        let mut credit = (open.iter().sum::<i64>() + costs.sought() - owing).max(0);
        for (due, open) in dues.iter_mut().zip(open) {
            let covered = open.min(credit);
            credit -= covered;
            due.due_minor -= covered;
        }
        dues
    }

    /// Says that what is due at handovers is not what it was before, if no payment says so. What is due for new legs is said
    /// with them.
    pub(super) fn due_changed(&self, before: &[LegDue], events: &[Event]) -> Option<Event> {
        let is_said = events.iter().any(|event| matches!(event, Event::Paid { .. }));
        let is_open = self.terms == Terms::PayAtHandover && !self.status().is_over();
        let is_old = |due: &&LegDue| before.iter().any(|old| old.leg == due.leg);
        let is_same = || self.dues().iter().filter(is_old).eq(before);
        (is_open && !is_said && !is_same()).then_some(Event::DueChanged)
    }
}

impl Costs<'_> {
    /// What the pieces of the next leg cost. A leg of a need comes after the leg that failed.
    fn add(&mut self, leg: &Leg, no: LineNo, quantity: i64) -> Share {
        let need = leg.need.and_then(|no| self.order.need_no(no));
        let tail = need.and_then(|need| Some((need, self.failed(need, no)?)));
        let cost = if let Some((need, tail)) = tail {
            tail.last(self.before(need, leg, no), quantity)
        } else {
            let before = self.taken.entry(no).or_default();
            let first = *before + 1;
            *before += quantity;
            self.parts.price(no, first, quantity)
        };
        let cost = Share::new(cost, quantity);
        self.known.insert((leg.no, no), cost);
        cost
    }

    /// The pieces of the leg that a need comes from, without those of its older needs.
    fn failed(&self, need: &Need, no: LineNo) -> Option<Tail> {
        let leg = self.order.leg(need.leg?)?;
        let cost = self.known.get(&(leg.no, no))?;
        let older = self.order.needs.iter().filter(|other| other.leg == need.leg && other.no < need.no);
        let older = older.filter_map(|other| other.line(no)).map(|line| line.quantity);
        Some(Tail { cost: *cost, left: leg.line(no)?.units.quantity - older.sum::<i64>() })
    }

    /// Pieces of a need that legs before this one have.
    fn before(&self, need: &Need, leg: &Leg, no: LineNo) -> i64 {
        let legs = self.order.legs.iter().filter(|other| other.need == Some(need.no) && other.no < leg.no);
        legs.filter_map(|other| other.line(no)).map(|line| line.units.quantity).sum()
    }

    /// What all pieces cost that are looked for.
    fn sought(&self) -> i64 {
        let mut sum = 0;
        for need in &self.order.needs {
            for line in need.lines.iter().filter(|line| line.open() > 0) {
                let first = self.taken.get(&line.line).copied().unwrap_or_default() + 1;
                sum += match self.failed(need, line.line) {
                    Some(tail) => tail.last(line.sourced, line.open()),
                    None => self.parts.price(line.line, first, line.open()),
                };
            }
        }
        sum
    }
}

/// The pieces of a leg that a need takes the last ones of.
struct Tail {
    cost: Share,
    left: i64,
}

impl Tail {
    /// What pieces cost, counted from the last one: `pieces` of them after those that were taken.
    fn last(&self, taken: i64, pieces: i64) -> i64 {
        let end = (self.left - taken).max(0);
        self.cost.of(end) - self.cost.of((end - pieces).max(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::super::{Collected, Status};
    use super::*;

    /// One line of these pieces for this much in all, paid at the handovers.
    fn at_handover(pieces: i64, total: i64) -> Order {
        let mut draft = draft(&[(pieces, total)], 0, Vec::new());
        draft.charges.clear();
        (draft.terms, draft.total_minor) = (Terms::PayAtHandover, total);
        draft.lines[0].amounts.discount = (pieces - 1) * total;
        place(draft).order
    }

    #[test]
    fn dues_add_up_before_and_after_a_piece_goes_to_another_node() {
        let order = at_handover(3, 100);
        assert_eq!((order.dues()[0].due_minor, to_collect(&order)), (100, 100));
        let failed = fail(&order, serving(&order), 1);
        assert!(!failed.events.contains(&Event::DueChanged));
        assert_eq!(to_collect(&failed.order), 67);
        let moved = reroute(&failed.order, "second");
        assert_eq!(names(&moved), ["Rerouted"], "what is due at the first node stays");
        let dues: Vec<i64> = moved.order.dues().iter().map(|due| due.due_minor).collect();
        assert_eq!((dues, to_collect(&moved.order)), (vec![100, 33], 100));
        let dropped = dropped(failed.order, at(12));
        assert_laws(&dropped);
        assert_eq!((to_collect(&dropped), dropped.owed_minor()), (67, 67));
    }

    proptest! {
        /// Pieces fail and move on, and each is handed over in the end: the customer has paid the total, to the cent.
        #[test]
        fn what_handovers_collect_is_the_total_however_often_pieces_move(
            pieces in 1_i64..7,
            total in 1_i64..200,
            fails in prop::collection::vec((0_usize..4, 1_i64..4, 1_usize..3), 0..6),
        ) {
            let mut order = at_handover(pieces, total);
            for (at_, failing, legs) in fails {
                let Some(of) = order.legs.get(at_).or(order.legs.last()) else { continue };
                let failing = of.lines[0].units.to_pick.min(failing);
                if failing == 0 {
                    continue;
                }
                order = fail(&order, of.id, failing).order;
                prop_assert!(to_collect(&order) <= total);
                let need = order.needs.last().unwrap();
                let parts = crate::money::split(failing, &vec![1; legs]).into_iter().filter(|part| *part > 0);
                let name = |no| format!("{} {no}", order.legs.len());
                let new = (0..).zip(parts).map(|(no, part)| leg(&name(no), 1, &[(1, part)])).collect();
                order = order.clone().reroute(need.id, new, at(20)).unwrap().order;
                assert_laws(&order);
                prop_assert_eq!(to_collect(&order), total);
            }
            for at_ in 0..order.legs.len() {
                let id = order.legs[at_].id;
                let mut done = reports(&order, id, |u| (u.to_pick, u.done) = (0, u.to_pick));
                let cost: i64 = {
                    let due = &order.dues()[at_];
                    Share::new(due.lines[0].1, order.legs[at_].units()).of(done.lines[0].1.done)
                };
                done.paid = Some(Collected { kind: "cash".to_owned(), amount_minor: cost, provider_ref: String::new() });
                order = followed(&order, &done).order;
            }
            prop_assert_eq!((order.status(), order.ledger.paid(), order.ledger.claimed()), (Status::Completed, total, 0));
        }
    }
}
