//! Cancelling: at once while no node has the order, else a request that the node's work decides.

use super::{Block, Changed, Event, Order, Refusal};
use crate::id::LineNo;
use crate::time::Timestamp;

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Cancelled,
    /// Asked of the node.
    Pending,
}

impl Order {
    /// Cancels pieces, or asks the node to give them up. No pieces named: all that can still be cancelled.
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
        if self.is_released() {
            for (no, quantity) in &lines {
                self.line_mut(*no)?.cancel_requested += quantity;
            }
            self.cancels += 1;
            let asked = Event::CancelRequested { number: self.cancels, lines, reason: reason.to_owned() };
            return Ok((self.changed(vec![asked], now), Outcome::Pending));
        }
        let events = self.cancel_now(&lines, reason, now)?;
        Ok((self.changed(events, now), Outcome::Cancelled))
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
            let line = self.lines.iter().find(|line| line.no == *no);
            let left = left(line.ok_or(Refusal::UnknownLine { line: *no })?);
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

    /// Cancels pieces that no node has, gives back what was paid for them, and lets the rest go on if it is paid.
    pub(super) fn cancel_now(
        &mut self,
        lines: &[(LineNo, i64)],
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        for (no, quantity) in lines {
            let line = self.line_mut(*no)?;
            line.buckets.cancel(*quantity);
            reason.clone_into(&mut line.cancel_reason);
        }
        let is_over = self.buckets().is_over();
        let token = is_over.then_some(self.promise.token);
        let cancelled = Event::Cancelled { lines: self.cancelled_lines(), reason: reason.to_owned(), token };
        let mut events = vec![cancelled];
        events.extend(self.refund(reason, lines.to_vec(), now));
        let holds = self.buckets().open == 0;
        if !is_over
            && holds
            && self.is_covered()
            && self.blocks.remove(&Block::Payment)
            && self.blocks.is_empty()
        {
            events.push(Event::Unblocked);
        }
        Ok(events)
    }
}
