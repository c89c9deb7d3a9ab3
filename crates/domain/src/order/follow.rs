//! Following what others report: the stock that was confirmed, and the work at the node.

use super::{Buckets, Changed, Event, Order, Refusal, Snapshot, Status};
use crate::id::{FulfillmentId, LineNo, ReservationId};
use crate::time::Timestamp;

/// The node's answer to a cancel: pieces granted and refused together, per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Pieces that were decided on, per line.
    pub lines: Vec<(LineNo, i64)>,
}

/// What a fulfillment order reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkReport {
    /// Which one.
    pub fulfillment: FulfillmentId,
    /// All its lines, absolute.
    pub lines: Vec<Snapshot>,
    /// Why pieces that are newly short or cancelled are so.
    pub reason: String,
    /// The answer to a cancel, if it is one.
    pub answer: Option<Answer>,
}

impl Order {
    /// The stock behind the order is its own now.
    pub fn confirm(mut self, reservation: ReservationId, now: Timestamp) -> Result<Changed, Refusal> {
        let status = self.status();
        if status.is_over() {
            return Err(Refusal::Over { step: "confirm", status });
        }
        if self.promise.token.uuid() != reservation.uuid() {
            return Err(Refusal::OtherReservation);
        }
        if self.confirmed_at.is_some() {
            return Err(Refusal::AlreadyConfirmed);
        }
        self.confirmed_at = Some(now);
        Ok(self.changed(vec![Event::Confirmed], now))
    }

    /// Takes over what a fulfillment order reports. A report that changes nothing has no events.
    pub fn follow(mut self, report: &WorkReport, now: Timestamp) -> Result<Changed, Refusal> {
        if *self.fulfillment.get_or_insert(report.fulfillment) != report.fulfillment {
            return Err(Refusal::OtherFulfillment { given: report.fulfillment });
        }
        let was_over = self.status().is_over();
        let mut moved = Vec::new();
        let mut ended = Vec::new();
        for snapshot in &report.lines {
            let line = self.line_mut(snapshot.line)?;
            let before = line.buckets;
            let after = before.after(snapshot)?;
            line.buckets = after;
            let newly = after.cancelled - before.cancelled;
            if newly > 0 {
                ended.push((line.no, newly));
                report.reason.clone_into(&mut line.cancel_reason);
            }
            if has_moved(&before, &after) {
                moved.push(line.no);
            }
        }
        let answered = self.answered(report.answer.as_ref());
        moved.extend(answered.into_iter().filter(|no| ended.iter().all(|(other, _)| other != no)));
        moved.sort_unstable();
        moved.dedup();
        let mut events = Vec::new();
        if !moved.is_empty() {
            events.push(Event::Progressed { lines: moved });
        }
        if !ended.is_empty() {
            let lines = self.cancelled_lines();
            events.push(Event::Cancelled { lines, reason: report.reason.clone(), token: None });
        }
        events.extend(self.refund(&report.reason, ended, now));
        if !was_over && self.status() == Status::Completed {
            events.push(Event::Completed);
        }
        Ok(self.changed(events, now))
    }

    /// Takes answered pieces off what was asked, and whatever can't be cancelled any more. Names the lines changed.
    fn answered(&mut self, answer: Option<&Answer>) -> Vec<LineNo> {
        let mut changed = Vec::new();
        for line in self.lines.iter_mut().filter(|line| line.cancel_requested > 0) {
            let decided =
                answer.map_or(0, |a| a.lines.iter().filter(|(no, _)| *no == line.no).map(|(_, q)| q).sum());
            let left = (line.cancel_requested - decided).max(0).min(line.buckets.cancellable());
            if left != line.cancel_requested {
                line.cancel_requested = left;
                changed.push(line.no);
            }
        }
        changed
    }
}

/// Whether pieces went anywhere else than to `cancelled`.
fn has_moved(before: &Buckets, after: &Buckets) -> bool {
    let grew = |f: fn(&Buckets) -> i64| f(after) > f(before);
    grew(|b| b.reserved)
        || grew(|b| b.allocated)
        || grew(|b| b.picked)
        || grew(|b| b.packed)
        || grew(|b| b.ready)
        || grew(|b| b.in_custody)
        || grew(|b| b.delivered)
}
