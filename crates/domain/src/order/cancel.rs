//! Cancelling: at once what no node was asked for, else a request that the node's work decides.

use std::collections::BTreeSet;

use super::leg::{Leg, LegLine};
use super::spread::{LegParts, spread};
use super::{Block, Changed, Event, How, NeedLine, Order, Refusal};
use crate::id::{FulfillmentId, LineNo};
use crate::time::Timestamp;

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Cancelled,
    /// Asked of nodes.
    Pending,
}

/// Pieces to cancel that no node was asked for, or that a node failed: those that no leg has, those of needs, and those
/// of legs.
pub(super) struct AtOnce {
    own: Vec<(LineNo, i64)>,
    /// By place of the need in the list.
    needs: Vec<(usize, Vec<(LineNo, i64)>)>,
    legs: LegParts,
}

impl AtOnce {
    const fn is_empty(&self) -> bool {
        self.own.is_empty() && self.needs.is_empty() && self.legs.is_empty()
    }
}

/// What was taken off.
pub(super) struct TakenOff {
    /// The lines that pieces were taken off.
    pub(super) lines: BTreeSet<LineNo>,
    /// The legs that were dropped.
    pub(super) gone: Vec<FulfillmentId>,
    /// The needs that pieces were dropped of, by place in the list, and the claims that their legs keep no longer.
    pub(super) needs: Vec<(usize, LegParts)>,
}

impl Order {
    /// Cancels pieces, or asks nodes to give them up. No pieces named: all that can still be cancelled.
    pub fn cancel(
        mut self,
        wanted: &[(LineNo, i64)],
        reason: &str,
        now: Timestamp,
    ) -> Result<(Changed, Outcome), Refusal> {
        let status = self.status();
        if status.is_over() {
            return Err(Refusal::Over { step: "cancel", status });
        }
        let lines = self.wanted(wanted)?;
        let (at_once, asked) = self.divided(lines);
        let mut events = Vec::new();
        if !at_once.is_empty() {
            events = self.cancel_now(&at_once, reason, now)?;
        }
        if asked.is_empty() {
            return Ok((self.changed(events, now), Outcome::Cancelled));
        }
        for (id, lines) in &asked {
            let leg = self.leg_mut(*id)?;
            for (no, quantity) in lines {
                leg.line_mut(*no)?.cancel_requested += quantity;
            }
        }
        self.sum_up();
        self.cancels += 1;
        events.push(Event::CancelRequested { number: self.cancels, legs: asked, reason: reason.to_owned() });
        Ok((self.changed(events, now), Outcome::Pending))
    }

    /// What is asked, per line; every piece named must still be there to be cancelled.
    fn wanted(&self, wanted: &[(LineNo, i64)]) -> Result<Vec<(LineNo, i64)>, Refusal> {
        let left = |line: &super::Line| line.buckets.cancellable() - line.cancel_requested;
        if wanted.is_empty() {
            let all = self.lines.iter().map(|line| (line.no, left(line)));
            let all: Vec<_> = all.filter(|(_, left)| *left > 0).collect();
            return if all.is_empty() { Err(Refusal::NothingToCancel) } else { Ok(all) };
        }
        let mut seen: Vec<(LineNo, i64)> = Vec::new();
        for (no, quantity) in wanted {
            let left = left(self.line(*no).ok_or(Refusal::UnknownLine { line: *no })?);
            let before = seen.iter().position(|(other, _)| other == no);
            let asked = before.map_or(0, |at| seen[at].1).saturating_add(*quantity);
            if *quantity < 1 || asked > left {
                return Err(Refusal::NotCancellable { line: *no, asked, left });
            }
            match before {
                Some(at) => seen[at].1 = asked,
                None => seen.push((*no, asked)),
            }
        }
        Ok(seen)
    }

    /// Divides a cancel into what no node was asked for, and what is to be asked of legs that a node may have.
    /// What a node failed is looked for, newest first, before another node is asked.
    fn divided(&self, lines: Vec<(LineNo, i64)>) -> (AtOnce, LegParts) {
        let (mut own, mut rest) = (Vec::new(), Vec::new());
        for (no, quantity) in lines {
            let waiting = self.line(no).map_or(0, |line| line.own.waiting()).min(quantity);
            own.extend((waiting > 0).then_some((no, waiting)));
            rest.push((no, quantity - waiting));
        }
        let mut needs = Vec::new();
        for (at, need) in self.needs.iter().enumerate().rev().filter(|(_, need)| need.is_open()) {
            let mut lines = Vec::new();
            for (no, rest) in &mut rest {
                let part = need.line(*no).map_or(0, NeedLine::open).min(*rest);
                *rest -= part;
                lines.extend((part > 0).then_some((*no, part)));
            }
            needs.extend((!lines.is_empty()).then_some((at, lines)));
        }
        rest.retain(|(_, rest)| *rest > 0);
        let legs: Vec<&Leg> = self.legs.iter().collect();
        let is_asked = |(id, _): &(FulfillmentId, _)| self.leg(*id).is_some_and(Leg::is_released);
        let (asked, legs) = spread(&rest, &legs).into_iter().partition(is_asked);
        (AtOnce { own, needs, legs }, asked)
    }

    /// All pieces that no node has.
    pub(super) fn unasked(&self) -> AtOnce {
        let own = self.lines.iter().map(|line| (line.no, line.own.waiting()));
        let idle = self.legs.iter().filter(|leg| leg.is_live() && !leg.is_released());
        let left = |line: &LegLine| (line.left() > 0).then_some((line.line, line.left()));
        let legs = idle.map(|leg| (leg.id, leg.lines.iter().filter_map(left).collect()));
        let needs = self.needs.iter().enumerate().filter(|(_, need)| need.is_open());
        let needs = needs.map(|(at, need)| (at, need.open())).collect();
        AtOnce { own: own.filter(|(_, pieces)| *pieces > 0).collect(), needs, legs: legs.collect() }
    }

    /// Takes off pieces that no node has. Legs that have nothing left are dropped.
    pub(super) fn take_off(
        &mut self,
        at_once: &AtOnce,
        reason: &str,
        now: Timestamp,
    ) -> Result<TakenOff, Refusal> {
        let mut taken = BTreeSet::new();
        for (no, quantity) in &at_once.own {
            self.line_mut(*no)?.own.cancel(*quantity);
            taken.insert(*no);
        }
        let mut needs = Vec::new();
        for (at, lines) in &at_once.needs {
            let (let_go, dropped) = self.drop_parts(*at, lines, reason);
            taken.extend(dropped.iter().map(|(no, _)| *no));
            needs.push((*at, let_go));
        }
        for (id, lines) in &at_once.legs {
            for (no, quantity) in lines {
                self.leg_mut(*id)?.shrink(*no, *quantity)?;
                self.line_mut(*no)?.own.cancelled += quantity;
                taken.insert(*no);
            }
        }
        for no in &taken {
            reason.clone_into(&mut self.line_mut(*no)?.cancel_reason);
        }
        let gone = self.drop_legs(Leg::is_over, now);
        Ok(TakenOff { lines: taken, gone, needs })
    }

    /// Cancels pieces that no node has, gives back what was paid for them, and lets the rest go on if it is
    /// paid.
    pub(super) fn cancel_now(
        &mut self,
        at_once: &AtOnce,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let (live, dues, was_over) = (self.live(), self.dues(), self.status().is_over());
        let TakenOff { lines, gone: legs, needs } = self.take_off(at_once, reason, now)?;
        let lines = self.cancelled_of(lines.into_iter());
        let let_go = needs.iter().flat_map(|(_, let_go)| let_go).cloned().collect();
        let mut events = vec![Event::Cancelled { lines, reason: reason.to_owned(), legs, let_go }];
        let closed = |(at, _): &(usize, LegParts)| self.closed(*at, How::Cancelled, LegParts::new());
        events.extend(needs.iter().filter_map(closed));
        events.extend(self.give_back(&live, reason, now));
        events.extend(self.unblock_if_covered(now));
        events.extend(self.due_changed(&dues, &events));
        events.extend(self.ends(was_over, now));
        Ok(events)
    }

    /// Says that a need, by place in the list, is over, and which claims its leg keeps no longer; none: pieces are open.
    pub(super) fn closed(&self, at: usize, how: How, let_go: LegParts) -> Option<Event> {
        let need = self.needs.get(at).filter(|need| !need.is_open())?.clone();
        Some(Event::NeedClosed { need, how, let_go })
    }

    /// Lets the order go on, if what is left of it is paid. Pieces whose hold is lost are looked for.
    pub(super) fn unblock_if_covered(&mut self, now: Timestamp) -> Vec<Event> {
        if self.buckets().is_over() || !self.is_covered() || !self.blocks.remove(&Block::Payment) {
            return Vec::new();
        }
        let mut events = self.need_open_pieces("HOLD_LOST", now);
        events.extend(self.unblocked(now));
        events
    }

    /// No block is left: nodes are asked for all legs. Without any there is nothing to ask: needs are looked for.
    pub(super) fn unblocked(&mut self, now: Timestamp) -> Option<Event> {
        if !self.is_released() {
            return None;
        }
        self.release_legs(now);
        self.work().next().is_some().then_some(Event::Unblocked)
    }
}
