//! What may happen to a fulfillment order, and when.
//!
//! Every transition checks first and changes then: a refusal leaves the FO as it was. A granted one raises the version
//! by one and returns its event, so that no event can be forgotten.

use jiff::Timestamp;

use super::event::{CancelRequest, Event, Notice, Pick, Units};
use super::{Buckets, Collector, Due, Ending, Line, Order, RejectReason, State, after};
use crate::id::LineNo;
use crate::words;

/// Why a transition may not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in this state.
    #[error("cannot {step}: the fulfillment order is {}", words::plain(.state.name()))]
    State {
        /// What was tried.
        step: &'static str,
        /// Where it stands.
        state: State,
    },
    /// The fulfillment order does not have this line.
    #[error("there is no line {line}")]
    UnknownLine {
        /// The line asked for.
        line: LineNo,
    },
    /// A duplicate line in one report.
    #[error("duplicate line {line}")]
    LineTwice {
        /// The line.
        line: LineNo,
    },
    /// More units than there are.
    #[error("line {line} has {} left, not {asked}", words::counted(*.left, "unit"))]
    TooMany {
        /// The line.
        line: LineNo,
        /// Units asked for.
        asked: i64,
        /// Units there.
        left: i64,
    },
    /// Nothing would change.
    #[error("there is nothing to {step}")]
    Nothing {
        /// What was tried.
        step: &'static str,
    },
    /// Units are still on the shelf.
    #[error("{} neither picked nor reported short", words::counted(*.left, "unit"))]
    StillToPick {
        /// How many.
        left: i64,
    },
    /// Its time has not come.
    #[error("it is too early to {step}")]
    TooEarly {
        /// What was tried.
        step: &'static str,
    },
}

impl Order {
    /// Offers planned work to the node, which must accept before `accept_due` and is at risk from `at_risk` on.
    pub fn offer(
        &mut self,
        accept_due: Timestamp,
        at_risk: Timestamp,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        self.only("offer", &[State::Planned])?;
        if self.total(Buckets::open) == 0 {
            return Err(Refusal::Nothing { step: "offer" });
        }
        self.marks.offered = Some(now);
        self.marks.accept_due = Some(accept_due);
        self.runs(Some(at_risk));
        Ok(self.happened(Event::Offered { accept_due }, now))
    }

    /// The node takes the work.
    pub fn accept(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.only("accept", &[State::Offered])?;
        self.marks.accepted = Some(now);
        self.runs(Some(self.share_of(now, self.promised)));
        Ok(self.happened(Event::Accepted, now))
    }

    /// The node refuses the work: all units are cancelled.
    pub fn reject(&mut self, reason: RejectReason, now: Timestamp) -> Result<Event, Refusal> {
        self.only("reject", &[State::Offered])?;
        self.marks.ending = Some(Ending::Rejected(reason));
        self.give_up(now);
        Ok(self.happened(Event::Rejected { reason }, now))
    }

    /// The node was silent too long, or never finished: what is open is cancelled, picked goods must be put back.
    pub fn time_out(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.only("time out", &[State::Offered, State::Accepted, State::Picking])?;
        self.marks.ending = Some(Ending::TimedOut);
        self.give_up(now);
        Ok(self.happened(Event::TimedOut, now))
    }

    /// The claim on the stock was lost. Work that has begun goes on: the goods are in somebody's hands.
    pub fn stock_lost(&mut self, sku: &str, now: Timestamp) -> Result<Event, Refusal> {
        self.only("give up", &[State::Planned, State::Offered, State::Accepted])?;
        self.marks.ending = Some(Ending::StockLost);
        self.give_up(now);
        Ok(self.happened(Event::StockLost { sku: sku.to_owned() }, now))
    }

    /// Somebody begins to pick.
    pub fn start(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.only("start picking", &[State::Accepted])?;
        self.marks.started = Some(now);
        Ok(self.happened(Event::Started, now))
    }

    /// Units were picked, or found short. May be reported in any number of parts.
    pub fn pick(&mut self, picks: &[Pick], now: Timestamp) -> Result<Event, Refusal> {
        self.only("pick", &[State::Picking])?;
        self.named_once(picks.iter().map(|p| p.line))?;
        let mut changed = 0_i64;
        for pick in picks {
            let asked = pick.picked.saturating_add(pick.short_units());
            let left = self.line(pick.line)?.buckets.to_pick;
            if pick.picked < 0 || pick.short_units() < 0 || asked > left {
                return Err(Refusal::TooMany { line: pick.line, asked, left });
            }
            changed = changed.saturating_add(asked);
        }
        if changed == 0 {
            return Err(Refusal::Nothing { step: "pick" });
        }
        for pick in picks {
            self.change(pick.line, |b| {
                b.to_pick -= pick.picked + pick.short_units();
                b.picked += pick.picked;
                b.short += pick.short_units();
            });
        }
        Ok(self.happened(Event::Picked { lines: picks.to_vec() }, now))
    }

    /// All that could be picked waits for the customer.
    pub fn ready(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.only("mark as ready", &[State::Picking])?;
        let left = self.total(|b| b.to_pick);
        if left > 0 {
            return Err(Refusal::StillToPick { left });
        }
        for line in &mut self.lines {
            let b = &mut line.buckets;
            b.ready += std::mem::take(&mut b.picked);
        }
        let keep_until = after(now, self.clocks.keep);
        self.marks.ready = Some(now);
        self.marks.keep_until = Some(keep_until);
        self.runs(Some(self.share_of(now, keep_until)));
        Ok(self.happened(Event::Ready { keep_until }, now))
    }

    /// A pickup code was issued: from the acceptance on, until nothing is left to collect.
    pub fn code_issued(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        let collectable = [State::Accepted, State::Picking, State::ReadyForPickup, State::PartlyCollected];
        self.only("issue a pickup code", &collectable)?;
        Ok(self.happened(Event::CodeIssued, now))
    }

    /// Hands goods over: the units named, or all that is ready. Also after the keep time, until they are put back.
    pub fn hand_over(
        &mut self,
        units: Option<&[Units]>,
        collector: Collector,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        self.only("hand over", &[State::ReadyForPickup, State::PartlyCollected])?;
        let all;
        let units = if let Some(units) = units {
            self.named_once(units.iter().map(|u| u.line))?;
            units
        } else {
            all = self.units(|b| b.ready);
            &all
        };
        for unit in units {
            let left = self.line(unit.line)?.buckets.ready;
            if unit.quantity < 1 || unit.quantity > left {
                return Err(Refusal::TooMany { line: unit.line, asked: unit.quantity, left });
            }
        }
        if units.is_empty() {
            return Err(Refusal::Nothing { step: "hand over" });
        }
        for unit in units {
            self.change(unit.line, |b| {
                b.ready -= unit.quantity;
                b.done += unit.quantity;
            });
        }
        Ok(self.happened(Event::HandedOver { lines: units.to_vec(), collector }, now))
    }

    /// The keep time ran out: the goods should be put back, a late customer may still collect until they are.
    pub fn expire(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.only("expire", &[State::ReadyForPickup, State::PartlyCollected])?;
        if self.marks.expired.is_some() {
            return Err(Refusal::State { step: "expire", state: self.state() });
        }
        if self.marks.keep_until.is_some_and(|until| now < until) {
            return Err(Refusal::TooEarly { step: "expire" });
        }
        self.marks.expired = Some(now);
        self.marks.put_back_due = Some(after(now, self.clocks.put_back));
        self.runs(None);
        Ok(self.happened(Event::Expired, now))
    }

    /// Tells that the customer should hear something.
    pub fn notice(&mut self, notice: Notice, now: Timestamp) -> Result<Event, Refusal> {
        self.only("notify", &[State::ReadyForPickup, State::PartlyCollected])?;
        if let Notice::PickupReminder(number) = notice {
            self.marks.reminded = number;
        }
        Ok(self.happened(Event::NoticeDue { notice }, now))
    }

    /// The running step has used most of its time.
    pub fn mark_at_risk(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        let Some((step, due)) = self.step().filter(|_| !self.marks.at_risk) else {
            return Err(Refusal::State { step: "mark as at risk", state: self.state() });
        };
        self.marks.at_risk = true;
        Ok(self.happened(Event::AtRisk { step, due }, now))
    }

    /// The order asks to cancel units. Units on the shelf are given up first, then picked ones, then ready ones; the
    /// goods of the latter two must be put back. What is handed over, short or cancelled already is refused.
    pub fn cancel(&mut self, request: CancelRequest<'_>, now: Timestamp) -> Event {
        let mut granted: Vec<Units> = Vec::new();
        let mut refused: Vec<Units> = Vec::new();
        let state = self.state();
        for unit in request.lines {
            let asked = unit.quantity.max(0);
            let cancelled = self.line_mut(unit.line).map_or(0, |line| give_back(&mut line.buckets, asked));
            add(&mut granted, unit.line, cancelled);
            add(&mut refused, unit.line, asked - cancelled);
        }
        let number = request.number;
        if granted.is_empty() {
            return self.happened(Event::CancelRefused { number, lines: refused, state }, now);
        }
        if self.total(|b| b.put_back) > 0 && self.marks.put_back_due.is_none() {
            self.marks.put_back_due = Some(after(now, self.clocks.put_back));
        }
        let reason = request.reason.to_owned();
        self.happened(Event::Cancelled { number, lines: granted, refused, reason }, now)
    }

    /// The node has put back what the customer does not get.
    pub fn confirm_put_back(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        let expired = self.marks.expired.is_some() && self.total(|b| b.ready) > 0;
        let lines = self.shelve("put back", true)?;
        Ok(self.happened(Event::PutBack { lines, expired }, now))
    }

    /// The node did not put the goods back in time: nobody waits any longer, a count must tell where they are.
    pub fn put_back_overdue(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        if self.marks.put_back_due.is_some_and(|due| now < due) {
            return Err(Refusal::TooEarly { step: "give up the put-back" });
        }
        let lines = self.shelve("give up the put-back", false)?;
        Ok(self.happened(Event::PutBackOverdue { lines }, now))
    }

    /// What the clock does to it at `now`: the one thing that is due first, if any.
    pub fn tick(&mut self, now: Timestamp) -> Result<Option<Event>, Refusal> {
        let Some((_, due)) = self.next_due().filter(|(at, _)| *at <= now) else { return Ok(None) };
        let event = match due {
            Due::AtRisk => self.mark_at_risk(now),
            Due::AcceptTimeOut | Due::WorkTimeOut => self.time_out(now),
            Due::Reminder => self.notice(Notice::PickupReminder(self.marks.reminded + 1), now),
            Due::Expiry => self.expire(now),
            Due::PutBackOverdue => self.put_back_overdue(now),
        }?;
        Ok(Some(event))
    }

    /// Ends all that is open: units on the shelf are free, goods that left it must be put back.
    fn give_up(&mut self, now: Timestamp) {
        for line in &mut self.lines {
            give_back(&mut line.buckets, i64::MAX);
        }
        if self.total(|b| b.put_back) > 0 {
            self.marks.put_back_due = Some(after(now, self.clocks.put_back));
        }
    }

    /// Ends the claim of all goods that wait to be put back; `seen` when somebody did put them back.
    fn shelve(&mut self, step: &'static str, seen: bool) -> Result<Vec<Units>, Refusal> {
        let expired = self.marks.expired.is_some();
        let lines = self.units(|b| b.put_back + if expired { b.ready } else { 0 });
        if lines.is_empty() {
            return Err(Refusal::State { step, state: self.state() });
        }
        for line in &mut self.lines {
            let b = &mut line.buckets;
            let waiting = if expired { std::mem::take(&mut b.ready) } else { 0 };
            if waiting > 0 {
                self.marks.ending = Some(Ending::Expired);
            }
            b.cancelled += waiting;
            let units = waiting + std::mem::take(&mut b.put_back);
            if seen {
                b.restocked += units;
            }
        }
        self.marks.put_back_due = None;
        Ok(lines)
    }

    fn only(&self, step: &'static str, states: &[State]) -> Result<(), Refusal> {
        let state = self.state();
        if states.contains(&state) { Ok(()) } else { Err(Refusal::State { step, state }) }
    }

    fn named_once(&self, lines: impl Iterator<Item = LineNo>) -> Result<(), Refusal> {
        let mut seen = std::collections::BTreeSet::new();
        for line in lines {
            self.line(line)?;
            if !seen.insert(line) {
                return Err(Refusal::LineTwice { line });
            }
        }
        Ok(())
    }

    fn line(&self, line: LineNo) -> Result<&Line, Refusal> {
        self.lines.iter().find(|l| l.line == line).ok_or(Refusal::UnknownLine { line })
    }

    fn line_mut(&mut self, line: LineNo) -> Option<&mut Line> {
        self.lines.iter_mut().find(|l| l.line == line)
    }

    fn change(&mut self, line: LineNo, change: impl FnOnce(&mut Buckets)) {
        if let Some(line) = self.line_mut(line) {
            change(&mut line.buckets);
        }
    }

    fn units(&self, bucket: impl Fn(&Buckets) -> i64) -> Vec<Units> {
        let units = self.lines.iter().map(|l| Units { line: l.line, quantity: bucket(&l.buckets) });
        units.filter(|u| u.quantity > 0).collect()
    }

    /// A new step runs: its warning is due then.
    fn runs(&mut self, at_risk: Option<Timestamp>) {
        self.marks.at_risk = false;
        self.marks.at_risk_due = at_risk;
    }

    /// The instant at which the share of the time that makes a step risky is used.
    fn share_of(&self, from: Timestamp, due: Timestamp) -> Timestamp {
        let micros = due.as_microsecond().saturating_sub(from.as_microsecond()).max(0);
        let share = i128::from(micros) * i128::from(self.method.rules().at_risk_percent) / 100;
        crate::time::from_micros(from.as_microsecond() + i64::try_from(share).unwrap_or(0))
    }

    fn happened(&mut self, event: Event, now: Timestamp) -> Event {
        self.version += 1;
        if self.marks.ended.is_none() && self.state().is_over() {
            self.marks.ended = Some(now);
            self.runs(None);
        }
        event
    }
}

/// Cancels up to `asked` units, those first that cost the least: on the shelf, picked, ready.
fn give_back(b: &mut Buckets, asked: i64) -> i64 {
    let from_shelf = asked.min(b.to_pick);
    let from_picked = (asked - from_shelf).min(b.picked);
    let from_ready = (asked - from_shelf - from_picked).min(b.ready);
    b.to_pick -= from_shelf;
    b.picked -= from_picked;
    b.ready -= from_ready;
    b.put_back += from_picked + from_ready;
    b.cancelled += from_shelf + from_picked + from_ready;
    from_shelf + from_picked + from_ready
}

fn add(units: &mut Vec<Units>, line: LineNo, quantity: i64) {
    if quantity == 0 {
        return;
    }
    match units.iter_mut().find(|u| u.line == line) {
        Some(unit) => unit.quantity = unit.quantity.saturating_add(quantity),
        None => units.push(Units { line, quantity }),
    }
}
