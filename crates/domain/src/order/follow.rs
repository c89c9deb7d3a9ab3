//! Following what others report: the stock that was confirmed, and the work at the nodes.

use super::leg::Leg;
use super::{
    Buckets, Changed, Collected, Event, LegUnits, Line, Order, Payment, Refusal, Status, TenderState, Terms,
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

    /// Takes over what a leg's fulfillment order reports. A report that changes nothing has no events.
    pub fn follow(mut self, report: &WorkReport, now: Timestamp) -> Result<Changed, Refusal> {
        let unknown = Refusal::OtherFulfillment { given: report.leg };
        let id = self.id;
        // Where the leg's claim was another order's, its work has another id and ends at once.
        let is_its = |leg: &&mut Leg| {
            leg.is_live() && (leg.id == report.leg || leg.id.without_claim(id) == report.leg)
        };
        let leg = self.legs.iter_mut().find(is_its).ok_or(unknown)?;
        if report.version < leg.version {
            return Ok(Changed { order: self, events: Vec::new() });
        }
        let asked_before: Vec<i64> = leg.lines.iter().map(|line| line.cancel_requested).collect();
        let had_stock = leg.needs_hold();
        leg.take(report, now)?;
        let answered = leg.lines.iter().zip(asked_before);
        let answered: Vec<LineNo> = answered
            .filter(|(line, asked)| line.cancel_requested != *asked)
            .map(|(line, _)| line.line)
            .collect();
        let (has_stock, leg_no) = (leg.needs_hold(), leg.no);
        let was_over = self.status().is_over();
        let dues = self.dues();
        let before: Vec<Buckets> = self.lines.iter().map(|line| line.buckets).collect();
        let live = self.live();
        self.sum_up();
        let (mut moved, mut ended) = (Vec::new(), Vec::new());
        for (line, before) in self.lines.iter_mut().zip(before) {
            let newly = line.buckets.cancelled - before.cancelled;
            if newly > 0 {
                ended.push((line.no, newly));
                report.reason.clone_into(&mut line.cancel_reason);
            }
            let is_answered = newly == 0 && answered.binary_search(&line.no).is_ok();
            if has_moved(&before, line) || is_answered {
                moved.push(line.no);
            }
        }
        let mut events = Vec::new();
        if !moved.is_empty() {
            events.push(Event::Progressed { lines: moved });
        }
        if !ended.is_empty() {
            let lines = self.cancelled_of(ended.iter().map(|(no, _)| *no));
            events.push(Event::Cancelled {
                lines,
                reason: report.reason.clone(),
                legs: Vec::new(),
                let_go: Vec::new(),
            });
        }
        events.extend(report.paid.iter().flat_map(|paid| self.collect(paid, leg_no, now)));
        events.extend(self.give_back(&live, &report.reason, now));
        events.extend(self.due_changed(&dues, &events));
        if !was_over && self.status() == Status::Completed {
            self.write_off(now);
            events.push(Event::Completed);
        }
        if had_stock && !has_stock && self.legs.iter().any(|leg| leg.confirmed.is_some()) {
            // The last leg that the confirmation waited for needs no stock any more.
            events.extend(self.all_confirmed(now));
        }
        Ok(self.changed(events, now))
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
    /// Takes over a report: its own units, and no others.
    fn take(&mut self, report: &WorkReport, now: Timestamp) -> Result<(), Refusal> {
        // A node has it, whatever we thought.
        self.released.get_or_insert(now);
        (self.version, self.is_accepted) = (report.version, report.is_accepted);
        if report.is_without_work {
            self.is_accepted = false;
            for (no, pieces) in report.answer.iter().flat_map(|answer| &answer.granted) {
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
        let answer = report.answer.as_ref();
        let answered = answer.into_iter().flat_map(|answer| answer.granted.iter().chain(&answer.refused));
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
