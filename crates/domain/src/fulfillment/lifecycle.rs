//! What may happen to a fulfillment order, and when.
//!
//! Every transition checks first and changes then: a refusal leaves the FO as it was. A granted one raises the version
//! by one and returns its event, so that no event can be forgotten.

use jiff::Timestamp;

use super::event::{CancelRequest, Event, MovedLine, Report, Units};
use super::stage::{Name, Reporter, Stage, Step};
use super::{Bucket, Buckets, Collector, Ending, Line, Order, Payment, RejectReason, Running, State};
use crate::id::{LineNo, Sku};
use crate::money::Money;
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
    /// Another party reports this step.
    #[error("cannot {step}: only the {} reports this", words::plain(.reporter.name()))]
    Reporter {
        /// What was tried.
        step: &'static str,
        /// Who reports it.
        reporter: Reporter,
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
    /// Units are not that far, and the step takes all at once.
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
    /// A payment of the order was lost.
    #[error("cannot {step}: a payment of the order was lost, it must be paid again first")]
    PaymentLost {
        /// What was tried.
        step: &'static str,
    },
    /// More is due for these units than was paid.
    #[error("{due} is due at the handover of these units, {} paid", paid(*.given))]
    PaymentDue {
        /// What is due.
        due: Money,
        /// What was paid; none: no payment came.
        given: Option<Money>,
    },
    /// Another amount is due for these units than was paid.
    #[error("{} due at the handover of these units, {given} was paid", is_due(*.due))]
    PaymentDiffers {
        /// What is due; none: nothing is.
        due: Option<Money>,
        /// What was paid.
        given: Money,
    },
}

impl Refusal {
    /// It says what is due or that a payment was lost.
    pub fn is_about_payment(&self) -> bool {
        matches!(self, Self::PaymentLost { .. } | Self::PaymentDue { .. } | Self::PaymentDiffers { .. })
    }
}

fn paid(given: Option<Money>) -> String {
    given.map_or_else(|| "nothing was".to_owned(), |given| format!("{given} was"))
}

fn is_due(due: Option<Money>) -> String {
    due.map_or_else(|| "nothing is".to_owned(), |due| format!("{due} is"))
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
        self.marks.reached = Some(Name::Offered);
        // The hours of the node are not known here, so the first clock comes with the offer.
        let policy = self.clocks.versions.accept;
        let clock = Running::until(Step::Accept, now, accept_due, Some(at_risk));
        self.running.push(Running { policy, ..clock });
        Ok(self.happened(Event::Offered { accept_due }, now))
    }

    /// Units come to a stage from the one before it; stages in one bucket are steps of the whole order.
    pub fn advance(&mut self, to: Name, report: Report<'_>, now: Timestamp) -> Result<Event, Refusal> {
        let step = to.verb();
        let refused = Refusal::State { step, state: self.state() };
        let Some((from, stage)) = self.method.rules().step_to(to) else { return Err(refused) };
        if stage.reporter != report.by {
            return Err(Refusal::Reporter { step, reporter: stage.reporter });
        }
        if !self.may_leave(from, stage) {
            return Err(refused);
        }
        let mut lines = Vec::new();
        if from.bucket != stage.bucket {
            lines = report.lines.map_or_else(|| self.lines_in(from.bucket), <[MovedLine]>::to_vec);
            self.check(&lines, from, step)?;
            if stage.is_whole {
                self.nothing_left_before(stage, &lines)?;
            }
            if lines.iter().all(|line| line.quantity + line.short_units() == 0) {
                return Err(Refusal::Nothing { step });
            }
            self.check_payment(from, stage, &lines, report.payment)?;
            self.collect(report.payment);
            self.shift_all(from.bucket, stage.bucket, &lines);
        }
        self.marks.reached = self.marks.reached.max(Some(to));
        let event = if to == Name::Accepted {
            Event::Accepted
        } else {
            let (collector, payment) = (report.collector, report.payment.cloned());
            Event::Moved { from: from.name, to, lines, reason: "", collector, payment }
        };
        Ok(self.happened(event, now))
    }

    /// The node takes the work.
    pub fn accept(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.advance(Name::Accepted, Report::all(Reporter::Node), now)
    }

    /// Somebody begins to pick.
    pub fn start(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.advance(Name::Picking, Report::all(Reporter::Node), now)
    }

    /// Units were picked, or found short. May be reported in any number of parts.
    pub fn pick(&mut self, lines: &[MovedLine], now: Timestamp) -> Result<Event, Refusal> {
        self.advance(Name::Picked, Report::some(Reporter::Node, lines), now)
    }

    /// All that could be picked waits for the customer or the courier.
    pub fn ready(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        self.advance(Name::Ready, Report::all(Reporter::Node), now)
    }

    /// Hands goods over at the node, for what is due: the units named, or all that is ready. Also after the keep time, until
    /// they are put back.
    pub fn hand_over(
        &mut self,
        units: Option<&[Units]>,
        collector: Collector,
        payment: Option<&Payment>,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        let lines =
            units.map(|units| units.iter().map(|u| MovedLine::of(u.line, u.quantity)).collect::<Vec<_>>());
        let report =
            Report { by: Reporter::Node, lines: lines.as_deref(), collector: Some(collector), payment };
        self.advance(Name::Done, report, now)
    }

    /// Goods that were on their way are at the node again, undelivered.
    pub fn bring_back(&mut self, report: Report<'_>, now: Timestamp) -> Result<Event, Refusal> {
        let step = Name::Returned.verb();
        let refused = Refusal::State { step, state: self.state() };
        let from = self.method.rules().stage(Name::InCustody);
        let Some(from) = from.filter(|from| self.units_in(from.bucket) > 0) else { return Err(refused) };
        if from.reporter != report.by {
            return Err(Refusal::Reporter { step, reporter: from.reporter });
        }
        let lines = report.lines.map_or_else(|| self.lines_in(from.bucket), <[MovedLine]>::to_vec);
        self.check(&lines, from, step)?;
        if lines.iter().all(|line| line.quantity == 0) {
            return Err(Refusal::Nothing { step });
        }
        self.shift_all(from.bucket, Bucket::Returned, &lines);
        let event = Event::Moved {
            from: from.name,
            to: Name::Returned,
            lines,
            reason: "NOT_DELIVERED",
            collector: None,
            payment: None,
        };
        Ok(self.happened(event, now))
    }

    /// The node refuses the work: it gives all units up.
    pub fn reject(&mut self, reason: RejectReason, now: Timestamp) -> Result<Event, Refusal> {
        self.only("reject", &[State::Offered])?;
        self.give_up(Ending::Rejected(reason), now);
        Ok(self.happened(Event::Rejected { reason }, now))
    }

    /// The claim on the stock was lost: all of it, or only these units, and the rest goes on. Work that has begun goes on
    /// whole: the goods are in somebody's hands.
    pub fn stock_lost(
        &mut self,
        sku: &str,
        lines: Option<&[Units]>,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        self.only("give up", &[State::Planned, State::Offered, State::Accepted])?;
        let sku = sku.to_owned();
        let Some(lines) = lines else {
            self.give_up(Ending::StockLost, now);
            return Ok(self.happened(Event::StockLost { sku, lines: Vec::new() }, now));
        };
        let rules = self.method.rules();
        let leave =
            |line: &mut Line, asked: i64| line.buckets.leave(rules, Bucket::GivenUp, asked.max(0), false);
        let lost = self.take_units(lines, leave);
        if lost.is_empty() {
            return Err(Refusal::Nothing { step: "give up" });
        }
        if self.total(Buckets::open) == 0 {
            self.marks.ending = Some(Ending::StockLost);
        }
        Ok(self.happened(Event::StockLost { sku, lines: lost }, now))
    }

    /// The order has units elsewhere that the node failed, or does not want them any more: their claim is not kept.
    pub fn let_go(&mut self, units: &[Units], now: Timestamp) -> Result<Event, Refusal> {
        let let_go = |line: &mut Line, asked: i64| {
            let units = asked.clamp(0, line.buckets.kept);
            line.buckets.kept -= units;
            units
        };
        let lines = self.take_units(units, let_go);
        if lines.is_empty() {
            return Err(Refusal::Nothing { step: "let go" });
        }
        Ok(self.happened(Event::LetGo { lines }, now))
    }

    /// Goods of a SKU may not be there: another order missed them, or the claim on them was lost. The work has begun and goes
    /// on, if any of it is still to be picked; a SKU that no line names is a part of a kit.
    pub fn doubt(&mut self, sku: &Sku, now: Timestamp) -> Result<Event, Refusal> {
        let nothing = Refusal::Nothing { step: "doubt" };
        let is_named = self.lines.iter().any(|line| line.sku == *sku);
        let to_pick = self.lines.iter().filter(|line| !is_named || line.sku == *sku);
        let is_open = to_pick.map(|line| line.buckets.to_pick).sum::<i64>() > 0;
        if !self.has_begun() || !is_open || self.marks.doubtful.contains(sku) {
            return Err(nothing);
        }
        self.marks.doubtful.push(sku.clone());
        Ok(self.happened(Event::Doubtful { sku: sku.clone(), is_over: false }, now))
    }

    /// Goods that were doubtful were counted, and are there.
    pub fn trust(&mut self, sku: &Sku, now: Timestamp) -> Result<Event, Refusal> {
        let known = self.marks.doubtful.iter().position(|known| known == sku);
        let Some(known) = known.filter(|_| !self.state().is_over()) else {
            return Err(Refusal::Nothing { step: "trust" });
        };
        self.marks.doubtful.remove(known);
        Ok(self.happened(Event::Doubtful { sku: sku.clone(), is_over: true }, now))
    }

    /// A code was issued that proves a later step: from the acceptance on, until nothing is left to collect.
    pub fn code_issued(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        let state = self.state();
        let is_asked = self.method.rules().stages.iter().any(|stage| stage.proof.is_some());
        let is_accepted = self.marks.reached >= Some(Name::Accepted);
        if !is_asked || !is_accepted || state.is_over() {
            return Err(Refusal::State { step: "issue a pickup code", state });
        }
        Ok(self.happened(Event::CodeIssued, now))
    }

    /// The order asks to cancel units. Units on the shelf are given up first, then those further on; the
    /// goods that left the shelf must be put back. What has left the node, is short, given up or cancelled already is refused.
    pub fn cancel(&mut self, request: CancelRequest<'_>, now: Timestamp) -> Event {
        let mut granted: Vec<Units> = Vec::new();
        let mut refused: Vec<Units> = Vec::new();
        let (rules, state) = (self.method.rules(), self.state());
        for unit in request.lines {
            let asked = unit.quantity.max(0);
            let cancelled = self
                .line_mut(unit.line)
                .map_or(0, |line| line.buckets.leave(rules, Bucket::Cancelled, asked, false));
            add(&mut granted, unit.line, cancelled);
            add(&mut refused, unit.line, asked - cancelled);
        }
        let number = request.number;
        if granted.is_empty() {
            return self.happened(Event::CancelRefused { number, lines: refused, state }, now);
        }
        let reason = request.reason.to_owned();
        self.happened(Event::Cancelled { number, lines: granted, refused, reason }, now)
    }

    /// The node has put back what the customer does not get.
    pub fn confirm_put_back(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        let expired = self.marks.expired.is_some() && self.total(|b| b.ready) > 0;
        let units = self.shelve(Name::Shelf.verb(), true)?;
        let lines = units.iter().map(|u| MovedLine::of(u.line, u.quantity)).collect();
        let (from, reason) = if expired { (Name::Ready, "EXPIRED") } else { (Name::PutBack, "CANCELLED") };
        Ok(self.happened(
            Event::Moved { from, to: Name::Shelf, lines, reason, collector: None, payment: None },
            now,
        ))
    }

    /// The node did not put the goods back in time: nobody waits any longer, a count must tell where they are.
    pub fn put_back_overdue(&mut self, now: Timestamp) -> Result<Event, Refusal> {
        if self.clock(Step::PutBack).and_then(|clock| clock.ends).is_some_and(|ends| now < ends) {
            return Err(Refusal::TooEarly { step: "give up the put-back" });
        }
        let lines = self.shelve("give up the put-back", false)?;
        Ok(self.happened(Event::PutBackOverdue { lines }, now))
    }

    /// The node failed all that is open there: units on the shelf are free or kept, goods that left it must be put back.
    pub(super) fn give_up(&mut self, ending: Ending, now: Timestamp) {
        self.marks.ending = Some(ending);
        let rules = self.method.rules();
        for line in &mut self.lines {
            line.buckets.leave(rules, Bucket::GivenUp, i64::MAX, ending.keeps());
        }
        self.restart_put_back(now);
    }

    /// Whether units may go from a stage to the next: the order stands there, or some of its units do.
    fn may_leave(&self, from: &Stage, to: &Stage) -> bool {
        let state = self.state();
        let stands_there = state == from.state || from.partly == Some(state);
        let some_are = from.bucket != Bucket::ToPick && !to.is_whole && self.units_in(from.bucket) > 0;
        stands_there || some_are
    }

    /// Units can be moved when they are there, each line is named once, and only what is on the shelf is short.
    fn check(&self, lines: &[MovedLine], from: &Stage, step: &'static str) -> Result<(), Refusal> {
        self.named_once(lines.iter().map(|line| line.line))?;
        for line in lines {
            let short = line.short_units();
            let asked = line.quantity.saturating_add(short);
            let left = self.line(line.line)?.buckets.get(from.bucket);
            if line.quantity < 0 || short < 0 || asked > left {
                return Err(Refusal::TooMany { line: line.line, asked, left });
            }
            if short > 0 && from.bucket != Bucket::ToPick {
                return Err(Refusal::State { step, state: self.state() });
            }
        }
        Ok(())
    }

    /// A step of all units at once leaves none behind.
    fn nothing_left_before(&self, stage: &Stage, lines: &[MovedLine]) -> Result<(), Refusal> {
        let before = [Bucket::ToPick, Bucket::Picked, Bucket::Packed, Bucket::Ready];
        let before = before.into_iter().filter(|bucket| *bucket < stage.bucket);
        let units: i64 = before.map(|bucket| self.units_in(bucket)).sum();
        let left = units - lines.iter().map(|line| line.quantity).sum::<i64>();
        if left > 0 { Err(Refusal::StillToPick { left }) } else { Ok(()) }
    }

    pub(super) fn shift_all(&mut self, from: Bucket, to: Bucket, lines: &[MovedLine]) {
        for moved in lines {
            if let Some(line) = self.line_mut(moved.line) {
                line.buckets.shift(from, to, moved.quantity);
                line.buckets.shift(from, Bucket::Short, moved.short_units());
            }
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

    /// Takes units off lines, as many as `take` answers. Answers those that were; a line that is not there has none.
    fn take_units(&mut self, asked: &[Units], take: impl Fn(&mut Line, i64) -> i64) -> Vec<Units> {
        let mut taken = Vec::new();
        for unit in asked {
            let units = self.line_mut(unit.line).map_or(0, |line| take(line, unit.quantity));
            add(&mut taken, unit.line, units);
        }
        taken
    }

    fn line_mut(&mut self, line: LineNo) -> Option<&mut Line> {
        self.lines.iter_mut().find(|l| l.line == line)
    }

    fn units(&self, bucket: impl Fn(&Buckets) -> i64) -> Vec<Units> {
        let units = self.lines.iter().map(|l| Units { line: l.line, quantity: bucket(&l.buckets) });
        units.filter(|u| u.quantity > 0).collect()
    }

    /// Counts the event, and lets the clocks follow.
    pub(super) fn happened(&mut self, event: Event, now: Timestamp) -> Event {
        self.version += 1;
        if self.marks.ended.is_none() && self.state().is_over() {
            self.marks.ended = Some(now);
        }
        self.run_clocks(now);
        event
    }
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
