//! The clocks of a fulfillment order: which run follows from where its units are, what their end does from its method.
//!
//! Every stage has a clock, so whatever waits has one. A clock keeps the times that it was started with, those of its
//! warnings and reminders too, however the settings and the policies change later; only a closing of the node moves its end.

use std::sync::Arc;

use jiff::Timestamp;

use super::event::{Event, MovedLine, Notice};
use super::lifecycle::Refusal;
use super::stage::{self, Clock, Counts, Name, OnExpiry, Reporter, Span, Stage, Step};
use super::{Bucket, Clocks, Ending, Order, after, opening};
use crate::network::Node;
use crate::network::timetable::Openings;

/// A clock that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The step whose time it counts.
    pub step: Step,
    /// When it started.
    pub started: Timestamp,
    /// When the time of the step is over.
    pub due: Timestamp,
    /// When its end acts; none: it has ended, and the goods still wait to be put back.
    pub ends: Option<Timestamp>,
    /// From when the step is at risk; none: nobody is warned.
    pub warn: Option<Timestamp>,
    /// The step is at risk.
    pub is_at_risk: bool,
    /// When the customer is reminded, in order of time.
    pub reminders: [Option<Timestamp>; Clocks::MAX_REMINDERS],
    /// Reminders sent.
    pub reminded: usize,
    /// Version of the policy that made its end; 0: the settings.
    pub policy: i64,
}

/// What a clock does when its time has come. Of two at the same moment the lesser comes first: a warning precedes the end
/// that it warns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Due {
    /// Marks the step as at risk.
    AtRisk(Step),
    /// Reminds the customer.
    Reminder(Step),
    /// Gives up waiting for goods to be put back.
    PutBackOverdue,
    /// Ends the step.
    End(Step),
}

impl Order {
    /// The clock of a step, if it runs.
    pub fn clock(&self, step: Step) -> Option<&Running> {
        self.running.iter().find(|clock| clock.step == step)
    }

    /// A step that somebody waits for has used most of its time.
    pub fn is_at_risk(&self) -> bool {
        self.running.iter().any(|clock| clock.is_at_risk)
    }

    /// Version of the policy that made the end which comes first; 0: the settings, or nothing runs.
    pub fn policy_version(&self) -> i64 {
        let ending = self.running.iter().filter_map(|clock| Some((clock.ends?, clock.policy)));
        ending.min().map_or(0, |(_, policy)| policy)
    }

    /// Who has to act before the clock of a step ends.
    pub fn owner(&self, step: Step) -> Option<Reporter> {
        if step == Step::PutBack {
            return Some(Reporter::Node);
        }
        let stages = self.method.rules().stages;
        let at = self.standing().find(|stage| stage.clock.is_some_and(|clock| clock.step == step))?;
        let next = stages.iter().skip_while(|stage| stage.name <= at.name);
        next.map(|stage| stage.reporter).next()
    }

    /// What a running clock does next, and when; none once it has ended.
    pub fn next_of(&self, clock: &Running) -> Option<(Timestamp, Due)> {
        let ends = clock.ends?;
        let end = match clock.step {
            Step::PutBack => (ends, Due::PutBackOverdue),
            step => (ends, Due::End(step)),
        };
        let at_risk = clock.warn.filter(|_| !clock.is_at_risk).map(|at| (at, Due::AtRisk(clock.step)));
        let reminder = clock.reminders.get(clock.reminded).copied().flatten();
        let reminder = reminder.map(|at| (at, Due::Reminder(clock.step)));
        [Some(end), at_risk, reminder].into_iter().flatten().min()
    }

    /// What is due next, and when. Every state in which somebody waits has an answer here.
    pub fn next_due(&self) -> Option<(Timestamp, Due)> {
        self.running.iter().filter_map(|clock| self.next_of(clock)).min()
    }

    /// What the clocks do to it at `now`: the one thing that is due first, if any.
    pub fn tick(&mut self, now: Timestamp) -> Result<Option<Event>, Refusal> {
        let Some((_, due)) = self.next_due().filter(|(at, _)| *at <= now) else { return Ok(None) };
        let event = match due {
            Due::AtRisk(step) => self.mark_at_risk(step, now),
            Due::Reminder(step) => self.remind(step, now),
            Due::PutBackOverdue => self.put_back_overdue(now),
            Due::End(step) => self.expire(step, now),
        }?;
        Ok(Some(event))
    }

    /// Moves the ends of clocks into the next opening of the node where a closing that was set meanwhile has overtaken them.
    /// Answers whether one moved.
    pub fn heed_closings(&mut self, now: Timestamp) -> bool {
        let heeds =
            |clock: &Running| clock.step == Step::PutBack || self.counts(clock.step) == Counts::IntoOpening;
        let ending = |clock: &&Running| clock.ends.is_some_and(|ends| ends <= now) && heeds(clock);
        let ends = self
            .running
            .iter()
            .filter(ending)
            .filter_map(|clock| Some((clock.step, self.moved_into_opening(clock.ends?))));
        let later: Vec<_> = ends.filter(|(_, end)| *end > now).collect();
        let policy = self.clocks.versions.min_open;
        for (step, end) in &later {
            let moved = self.running.iter_mut().filter(|clock| clock.step == *step);
            moved.for_each(|clock| (clock.due, clock.ends, clock.policy) = (*end, Some(*end), policy));
        }
        !later.is_empty()
    }

    /// A step has used most of its time.
    pub fn mark_at_risk(&mut self, step: Step, now: Timestamp) -> Result<Event, Refusal> {
        let state = self.state();
        let warned = self.running.iter_mut().find(|clock| clock.step == step);
        let clock = warned.filter(|clock| clock.warn.is_some() && clock.ends.is_some() && !clock.is_at_risk);
        let clock = clock.ok_or(Refusal::State { step: "mark as at risk", state })?;
        clock.is_at_risk = true;
        let due = clock.due;
        Ok(self.happened(Event::AtRisk { step, due }, now))
    }

    /// The customer is reminded of goods that wait.
    pub fn remind(&mut self, step: Step, now: Timestamp) -> Result<Event, Refusal> {
        let state = self.state();
        let template = self.template(step, |notice| notice.reminder);
        let clock = self.running.iter_mut().find(|clock| clock.step == step);
        let (Some(clock), Some(template)) = (clock, template) else {
            return Err(Refusal::State { step: "remind", state });
        };
        clock.reminded += 1;
        let notice = Notice { template, number: clock.reminded };
        Ok(self.happened(Event::NoticeDue { notice }, now))
    }

    /// The time of a step has run out: what that does is up to its stage.
    pub fn expire(&mut self, step: Step, now: Timestamp) -> Result<Event, Refusal> {
        let refused = Refusal::State { step: "expire", state: self.state() };
        let (Some(ends), Some((stage, clock))) =
            (self.clock(step).and_then(|clock| clock.ends), self.method.rules().clock_of(step))
        else {
            return Err(refused);
        };
        if now < ends {
            return Err(Refusal::TooEarly { step: "expire" });
        }
        let event = match clock.on_expiry {
            OnExpiry::GiveUp => {
                self.give_up(Ending::TimedOut, now);
                Event::TimedOut
            }
            OnExpiry::PutBack => {
                self.marks.expired = Some(now);
                let waits = self.running.iter_mut().filter(|clock| clock.step == step);
                waits.for_each(|clock| (clock.ends, clock.is_at_risk) = (None, false));
                self.restart_put_back(now);
                Event::Expired
            }
            OnExpiry::Lose => {
                let lines = self.lines_in(stage.bucket);
                self.shift_all(stage.bucket, Bucket::Lost, &lines);
                Event::Moved {
                    from: stage.name,
                    to: Name::Lost,
                    lines,
                    reason: "OVERDUE",
                    collector: None,
                    payment: None,
                }
            }
        };
        Ok(self.happened(event, now))
    }

    /// What the customer hears after an event, by the stage that it concerns.
    pub fn notice_after(&self, event: &Event) -> Option<Notice> {
        let rules = self.method.rules();
        let template = match event {
            Event::Moved { to: Name::Lost, from, .. } => rules.stage(*from)?.notice.expired,
            Event::Moved { to, .. } => rules.stage(*to)?.notice.entered,
            Event::Expired => self.template(Step::Collect, |notice| notice.expired),
            Event::Offered { .. }
            | Event::AtRisk { .. }
            | Event::Accepted
            | Event::Rejected { .. }
            | Event::TimedOut
            | Event::CodeIssued
            | Event::PutBackOverdue { .. }
            | Event::Cancelled { .. }
            | Event::CancelRefused { .. }
            | Event::NoticeDue { .. }
            | Event::DueChanged { .. }
            | Event::StockLost { .. }
            | Event::LetGo { .. }
            | Event::Doubtful { .. } => None,
        };
        template.map(|template| Notice { template, number: 0 })
    }

    /// Tells that the customer should hear something.
    pub fn notify(&mut self, notice: Notice, now: Timestamp) -> Event {
        self.happened(Event::NoticeDue { notice }, now)
    }

    fn template(
        &self,
        step: Step,
        of: impl Fn(&stage::Notices) -> Option<&'static str>,
    ) -> Option<&'static str> {
        self.method.rules().clock_of(step).and_then(|(stage, _)| of(&stage.notice))
    }

    /// Starts and stops clocks, so that those run whose stages hold units.
    pub(super) fn run_clocks(&mut self, now: Timestamp) {
        let wanted: Vec<Clock> = self.standing().filter_map(|stage: &Stage| stage.clock).collect();
        let puts_back = self.to_put_back() > 0;
        self.running.retain(|clock| match clock.step {
            Step::PutBack => puts_back,
            step => wanted.iter().any(|wanted| wanted.step == step),
        });
        for clock in wanted {
            if self.clock(clock.step).is_none() {
                let running = self.started(clock, now);
                self.running.push(running);
            }
        }
        if puts_back && self.clock(Step::PutBack).is_none() {
            let (due, policy) = self.end_of(Span::PutBack, Counts::IntoOpening, now);
            self.running.push(Running { policy, ..Running::until(Step::PutBack, now, due, None) });
        }
    }

    /// Goods that are to be put back from now on have the whole time for it.
    pub(super) fn restart_put_back(&mut self, now: Timestamp) {
        self.running.retain(|clock| clock.step != Step::PutBack);
        self.run_clocks(now);
    }

    fn started(&self, clock: Clock, now: Timestamp) -> Running {
        let (due, ends, policy) = match clock.due {
            stage::Due::After(span) => {
                let (due, policy) = self.end_of(span, clock.counts, now);
                (due, due, policy)
            }
            stage::Due::Promised => {
                let resolve = self.clocks.length(Span::Resolve);
                (self.promised, after(now.max(self.promised), resolve.value), resolve.version)
            }
        };
        let running = Running::until(clock.step, now, due, Some(self.share_of(now, due)));
        let reminders = self.reminders(clock.step, now, due);
        Running { ends: Some(ends), reminders, policy, ..running }
    }

    /// When a step that takes a span ends, and the version of the policy that makes this end: what says how long the span is,
    /// or, where the end moves into an opening, what says how far. Goods are kept no longer than the node opens.
    fn end_of(&self, span: Span, counts: Counts, now: Timestamp) -> (Timestamp, i64) {
        let length = self.clocks.length(span);
        let end = after(now, length.value);
        let moved = if counts == Counts::IntoOpening { self.moved_into_opening(end) } else { end };
        let version = if moved == end { length.version } else { self.clocks.versions.min_open };
        let site = self.site.as_ref().filter(|_| span == Span::Keep);
        (site.map_or(moved, |node| opening::while_it_opens(moved, now, &node.hours)), version)
    }

    /// When the customer is reminded of goods that wait until `due`: after that there is nothing to be reminded of, also when
    /// the length of the wait and the reminders come from different policies.
    fn reminders(
        &self,
        step: Step,
        now: Timestamp,
        due: Timestamp,
    ) -> [Option<Timestamp>; Clocks::MAX_REMINDERS] {
        let reminds = self.template(step, |notice| notice.reminder).is_some();
        let waits = self.clocks.reminders.into_iter().flatten().filter(|_| reminds);
        let mut times: Vec<Timestamp> = waits.map(|wait| after(now, wait)).filter(|at| *at < due).collect();
        times.sort_unstable();
        times.dedup();
        std::array::from_fn(|i| times.get(i).copied())
    }

    /// The end of a step at the node, which is open then if its hours are known.
    fn moved_into_opening(&self, end: Timestamp) -> Timestamp {
        let moved =
            |node: &Arc<Node>| opening::into_opening(end, self.clocks.min_open, Openings::from(&node.hours));
        self.site.as_ref().map_or(end, moved)
    }

    fn counts(&self, step: Step) -> Counts {
        self.method.rules().clock_of(step).map_or(Counts::AllTime, |(_, clock)| clock.counts)
    }

    /// The instant at which the share of the time that makes a step risky is used.
    fn share_of(&self, from: Timestamp, due: Timestamp) -> Timestamp {
        let micros = due.as_microsecond().saturating_sub(from.as_microsecond()).max(0);
        let share = i128::from(micros) * i128::from(self.clocks.at_risk_percent) / 100;
        crate::time::from_micros(from.as_microsecond() + i64::try_from(share).unwrap_or(0))
    }

    /// What is in a bucket, per line.
    pub(super) fn lines_in(&self, bucket: Bucket) -> Vec<MovedLine> {
        let lines = self.lines.iter().map(|line| MovedLine::of(line.line, line.buckets.get(bucket)));
        lines.filter(|line| line.quantity > 0).collect()
    }
}

impl Running {
    pub(super) const fn until(
        step: Step,
        started: Timestamp,
        due: Timestamp,
        warn: Option<Timestamp>,
    ) -> Self {
        let reminders = [None; Clocks::MAX_REMINDERS];
        Self {
            step,
            started,
            due,
            ends: Some(due),
            warn,
            is_at_risk: false,
            reminders,
            reminded: 0,
            policy: 0,
        }
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
