//! What the work on a claim reports, as absolute quantities: the claim follows, and a repeat changes nothing.

use super::{Line, Reservation, Shift, State, Step};
use crate::id::{OrderId, ReservationId};
use crate::stock::Refusal;
use crate::stock::movement::Kind;

/// The quantities of one line as its fulfillment order reports them, in units of the line (whole kits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Line number.
    pub line: u32,
    /// Units that the fulfillment order is for; units claimed beyond them are not part of it.
    pub quantity: i64,
    /// Units that left the node so far.
    pub consumed: i64,
    /// Units that are no longer wanted so far.
    pub released: i64,
}

impl Target {
    /// All its units have left the node or are no longer wanted.
    fn is_over(&self) -> bool {
        self.consumed.saturating_add(self.released) >= self.quantity
    }
}

impl Reservation {
    /// Brings the lines to what fulfillment reports for its order, absolute. Goods that left are a fact, whatever the
    /// state: they leave `on_hand` even when the claim was gone. Released units never become claims again, and what
    /// was never claimed cannot be released.
    ///
    /// An expired claim whose work is over becomes RELEASED by its order: the word of the order may still be on its way,
    /// and nobody would give back what it took again.
    pub fn settle(&mut self, order: OrderId, targets: &[Target]) -> Result<Step, Refusal> {
        let mut next = self.lines.clone();
        let mut shifts = Vec::new();
        for target in targets {
            let mut known = false;
            for (index, line) in next.iter_mut().enumerate().filter(|(_, line)| line.line == target.line) {
                known = true;
                settle_line(self.id, line, target, index, &mut shifts)?;
            }
            // a claim that was refused has no lines, and its fulfillment order ends without touching goods
            if !known && target.consumed != 0 {
                return Err(Refusal::UnknownLine { id: self.id, line: target.line });
            }
        }
        let ends = self.state == State::Expired && is_over(targets);
        if shifts.is_empty() && !ends {
            return Ok(Step::Unchanged);
        }
        self.lines = next;
        let step = self.settled(shifts);
        if self.state != State::Consumed {
            self.order.get_or_insert(order);
        }
        Ok(step)
    }
}

/// The work has ended: nothing of it is wanted any more.
pub fn is_over(targets: &[Target]) -> bool {
    !targets.is_empty() && targets.iter().all(Target::is_over)
}

/// One line of [`Reservation::settle`].
fn settle_line(
    id: ReservationId,
    line: &mut Line,
    target: &Target,
    index: usize,
    shifts: &mut Vec<Shift>,
) -> Result<(), Refusal> {
    let taken = line.taken();
    let left = taken / line.per_unit;
    if target.consumed < 0 || target.released < 0 || target.consumed > left {
        return Err(Refusal::TooMany { id, line: target.line, wanted: target.consumed, left });
    }
    let consumed = target.consumed * line.per_unit;
    if consumed < line.consumed {
        let done = line.consumed / line.per_unit;
        return Err(Refusal::Backwards { id, line: target.line, wanted: target.consumed, consumed: done });
    }
    let left_now = consumed - line.consumed;
    let wanted = target.quantity.min(left).saturating_sub(target.consumed).saturating_sub(target.released);
    let held = line.held.min(wanted.max(0) * line.per_unit);
    let given_up = line.held - held;
    let from_claim = left_now.min(given_up);
    if left_now > 0 {
        shifts.push(Shift { line: index, kind: Kind::Consume, on_hand: -left_now, reserved: -from_claim });
    }
    if given_up > from_claim {
        shifts.push(Shift { line: index, kind: Kind::Release, on_hand: 0, reserved: from_claim - given_up });
    }
    line.held = held;
    line.consumed = consumed;
    line.released = taken - consumed - held;
    Ok(())
}
