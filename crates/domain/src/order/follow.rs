//! Following what others report: the stock that was confirmed, and the work at the nodes.

use super::leg::{Leg, LegLine};
use super::reroute::Failed;
use super::spread::LegParts;
use super::{
    Buckets, Changed, Collected, Event, How, LegUnits, Line, Order, Payment, Refusal, TenderState, Terms,
};
use crate::id::{FulfillmentId, LineNo};
use crate::time::Timestamp;

/// The node's answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Pieces that are cancelled, per line.
    pub granted: Vec<(LineNo, i64)>,
    /// Pieces that are not, per line.
    pub refused: Vec<(LineNo, i64)>,
}

/// What a leg's fulfillment order reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkReport {
    /// Which leg.
    pub leg: FulfillmentId,
    /// Its version. An older one than was heard of changes nothing.
    pub version: i64,
    /// Who made it this version.
    pub actor: String,
    /// The node has accepted the work.
    pub is_accepted: bool,
    /// Lines, absolute; those that did not change may be left out.
    pub lines: Vec<(LineNo, LegUnits)>,
    /// Why pieces that are newly short or cancelled are so.
    pub reason: String,
    /// The answer to a cancel, if it is one.
    pub answer: Option<Answer>,
    /// What was paid for what it handed over, if anything was.
    pub paid: Option<Collected>,
    /// No node ever had the leg: its lines are not known there, and what the answer grants is cancelled.
    pub is_without_work: bool,
}

impl Order {
    /// The stock behind a leg is its own now.
    pub fn confirm(mut self, leg: FulfillmentId, now: Timestamp) -> Result<Changed, Refusal> {
        let status = self.status();
        if status.is_over() {
            return Err(Refusal::Over { step: "confirm", status });
        }
        let Some(leg) = self.legs.iter_mut().find(|other| other.id == leg && other.is_live()) else {
            return Err(Refusal::OtherReservation);
        };
        if leg.confirmed.is_some() {
            return Err(Refusal::AlreadyConfirmed);
        }
        leg.confirmed = Some(now);
        let events = self.all_confirmed(now).into_iter().collect();
        Ok(self.changed(events, now))
    }

    /// All stock is confirmed, for the first time.
    pub(super) fn all_confirmed(&mut self, now: Timestamp) -> Option<Event> {
        let mut legs = self.legs.iter().filter(|leg| leg.is_live()).peekable();
        let is_done = legs.peek().is_some() && legs.all(|leg| leg.confirmed.is_some() || leg.is_over());
        if !is_done || self.confirmed_at.is_some() || self.buckets().open > 0 || self.status().is_over() {
            return None;
        }
        self.confirmed_at = Some(now);
        Some(Event::Confirmed)
    }

    /// Takes over what a leg's fulfillment order reports. Pieces that its node failed become a need: they are open again,
    /// and nothing is paid back for them. A report that changes nothing has no events.
    pub fn follow(mut self, report: &WorkReport, now: Timestamp) -> Result<Changed, Refusal> {
        let id = self.id;
        // Where the leg's claim was another order's, its work has another id and ends at once.
        let is_its =
            |leg: &Leg| leg.is_live() && (leg.id == report.leg || leg.id.without_claim(id) == report.leg);
        let at = self.legs.iter().position(is_its).ok_or(Refusal::OtherFulfillment { given: report.leg })?;
        if report.version < self.legs[at].version {
            return Ok(self.late_answer(at, report, now));
        }
        let (was_over, dues, live) = (self.status().is_over(), self.dues(), self.live());
        let before: Vec<Buckets> = self.lines.iter().map(|line| line.buckets).collect();
        let answered = self.legs[at].take(report, now)?;
        let (opened, let_go) = self.fail(at, &answered, report, now)?;
        self.sum_up();
        let (mut moved, mut ended) = (Vec::new(), Vec::new());
        for (line, before) in self.lines.iter_mut().zip(before) {
            let newly = line.buckets.cancelled - before.cancelled;
            if newly > 0 {
                ended.push(line.no);
                report.reason.clone_into(&mut line.cancel_reason);
            }
            let is_answered = newly == 0 && answered.binary_search_by_key(&line.no, |(no, _)| *no).is_ok();
            if has_moved(&before, line) || is_answered {
                moved.push(line.no);
            }
        }
        let mut events = Vec::new();
        if !moved.is_empty() {
            events.push(Event::Progressed { lines: moved });
        }
        events.extend(opened.map(|at| Event::NeedOpened { need: self.needs[at].clone() }));
        if !ended.is_empty() {
            let (lines, reason) = (self.cancelled_of(ended.into_iter()), report.reason.clone());
            events.push(Event::Cancelled { lines, reason, legs: Vec::new(), let_go });
        }
        let how = if self.expired_at.is_some() { How::Expired } else { How::Cancelled };
        events.extend(opened.and_then(|at| self.closed(at, how, LegParts::new())));
        let leg_no = self.legs[at].no;
        events.extend(report.paid.iter().flat_map(|paid| self.collect(paid, leg_no, now)));
        events.extend(self.give_back(&live, &report.reason, now));
        events.extend(self.unblock_if_covered(now));
        events.extend(self.due_changed(&dues, &events));
        events.extend(self.ends(was_over, now));
        Ok(self.changed(events, now))
    }

    /// An answer to a cancel that comes after newer news of the leg: what was asked is answered, the rest is known.
    fn late_answer(mut self, at: usize, report: &WorkReport, now: Timestamp) -> Changed {
        let asked = self.legs[at].asked();
        // Lines that the leg does not have were not asked of it.
        let is_known = self.legs[at].answer(report).is_ok();
        let lines: Vec<LineNo> =
            self.legs[at].changed_since(&asked).filter(|_| is_known).map(|(line, _)| line.line).collect();
        if lines.is_empty() {
            return Changed { order: self, events: Vec::new() };
        }
        self.sum_up();
        self.changed(vec![Event::Progressed { lines }], now)
    }

    /// Makes a need of what a report says that the node failed: answers where it is in the list, and the claims that the leg
    /// keeps no longer. Pieces among them that a cancel was asked for and that the node did not grant are dropped at once:
    /// nobody wants them. So is everything of an order that has expired.
    fn fail(
        &mut self,
        at: usize,
        answered: &[(LineNo, i64)],
        report: &WorkReport,
        now: Timestamp,
    ) -> Result<(Option<usize>, LegParts), Refusal> {
        let Some(Failed { need, new }) = self.open_need(self.legs[at].id, &report.reason, now)? else {
            return Ok((None, LegParts::new()));
        };
        let is_over = self.expired_at.is_some();
        let unwanted = |(no, pieces): (LineNo, i64)| {
            let asked = answered.binary_search_by_key(&no, |(line, _)| *line).map_or(0, |at| answered[at].1);
            (no, if is_over { pieces } else { asked.min(pieces) })
        };
        let unwanted: Vec<(LineNo, i64)> = new.into_iter().map(unwanted).collect();
        let (let_go, _) = self.drop_parts(need, &unwanted, &report.reason);
        Ok((Some(need), let_go))
    }
}

impl Order {
    /// The order is complete: what is left to pay of a division at its handovers is written off.
    pub(super) fn write_off(&mut self, now: Timestamp) {
        if self.terms == Terms::PayAtHandover {
            let pieces = self.lines.iter().map(|line| line.amounts.quantity).sum();
            self.ledger.write_off(self.total_minor, pieces, now);
        }
    }

    /// Books what was paid at a handover of a leg. What is too much goes back.
    fn collect(&mut self, paid: &Collected, leg: i64, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        for (tender, received) in self.ledger.collect(paid, leg, self.total_minor, now) {
            let amount_minor = received.new + received.settled;
            if amount_minor > 0 {
                let in_full = self.is_covered();
                let state = TenderState::Captured;
                events.push(Event::Paid { tender: tender.clone(), state, amount_minor, in_full });
            }
            if received.excess > 0 {
                let payment = Payment {
                    tender,
                    state: TenderState::Captured,
                    amount_minor: received.excess,
                    provider_ref: paid.provider_ref.clone(),
                };
                events.extend(self.excess(&payment, received.excess, "OVERPAID", now));
            }
        }
        events
    }
}

impl Leg {
    /// Takes over a report: its own units, and no others. Answers the lines of which a cancel was answered, and how many
    /// of the pieces asked for were neither granted nor can be cancelled any more.
    fn take(&mut self, report: &WorkReport, now: Timestamp) -> Result<Vec<(LineNo, i64)>, Refusal> {
        // A node has it, whatever we thought.
        self.released.get_or_insert(now);
        (self.version, self.is_accepted) = (report.version, report.is_accepted);
        report.actor.clone_into(&mut self.actor);
        let granted: &[(LineNo, i64)] = report.answer.as_ref().map_or(&[], |answer| &answer.granted);
        if report.is_without_work {
            self.is_accepted = false;
            for (no, pieces) in granted {
                let units = &mut self.line_mut(*no)?.units;
                let pieces = (*pieces).min(units.to_pick);
                units.to_pick -= pieces;
                units.cancelled += pieces;
            }
        }
        for (no, units) in &report.lines {
            let line = self.line_mut(*no)?;
            if !units.is_whole() || units.quantity != line.units.quantity {
                return Err(Refusal::BadSnapshot { line: *no });
            }
            line.units = *units;
        }
        let asked = self.asked();
        self.answer(report)?;
        let unwanted = |(line, asked): (&LegLine, i64)| {
            let granted = granted.iter().filter(|(no, _)| *no == line.line).map(|(_, pieces)| pieces);
            (line.line, (asked - granted.sum::<i64>() - line.cancel_requested).max(0))
        };
        Ok(self.changed_since(&asked).map(unwanted).collect())
    }

    /// Pieces that a cancel was asked for, line by line.
    fn asked(&self) -> Vec<i64> {
        self.lines.iter().map(|line| line.cancel_requested).collect()
    }

    /// The lines of which a cancel was answered since then, each with what was asked for.
    fn changed_since<'a>(&'a self, asked: &'a [i64]) -> impl Iterator<Item = (&'a LegLine, i64)> {
        let lines = self.lines.iter().zip(asked.iter().copied());
        lines.filter(|(line, asked)| line.cancel_requested != *asked)
    }

    /// Takes the answer to a cancel off what was asked for.
    fn answer(&mut self, report: &WorkReport) -> Result<(), Refusal> {
        let answer = report.answer.iter();
        let answered = answer.flat_map(|answer| answer.granted.iter().chain(&answer.refused));
        for (no, pieces) in answered {
            let line = self.line_mut(*no)?;
            line.cancel_requested = (line.cancel_requested - pieces).max(0);
        }
        for line in &mut self.lines {
            // What can't be cancelled any more is answered by that.
            line.cancel_requested = line.cancel_requested.min(line.units.cancellable());
        }
        Ok(())
    }
}

/// Whether pieces of a line went anywhere else than to `cancelled`.
fn has_moved(before: &Buckets, line: &Line) -> bool {
    let after = &line.buckets;
    let grew = |f: fn(&Buckets) -> i64| f(after) > f(before);
    grew(|b| b.reserved)
        || grew(|b| b.allocated)
        || grew(|b| b.picked)
        || grew(|b| b.packed)
        || grew(|b| b.ready)
        || grew(|b| b.in_custody)
        || grew(|b| b.delivered)
        || grew(|b| b.lost)
}
