//! A claim on stock: HELD for a while, CONFIRMED by an order, then CONSUMED, RELEASED or EXPIRED.
//!
//! Each line counts its units in three buckets, `held + consumed + released` = what was taken; the states are a view:
//! HELD and CONFIRMED hold at least one unit, the others hold none. The claims change together with the positions:
//! each step returns the [`Shift`]s to apply there.
//!
//! A release that comes before its reserve leaves a tombstone, and a reserve that comes after it is refused. Steps of
//! fulfillment come as absolute quantities ([`Reservation::settle`]), so that a repeat changes nothing.

mod settle;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::movement::Kind;
use super::{Key, Refusal};
use crate::id::{OrderId, ReservationId, Sku};

pub use settle::{Target, is_over};

/// The longest that a claim may be held from now without belonging to an order.
pub const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Claims stock for a while.
    Held {
        /// When the claim ends by itself.
        until: Timestamp,
    },
    /// Belongs to an order, without a time limit.
    Confirmed,
    /// Nothing is left, and at least one unit left its node.
    Consumed,
    /// Everything was released.
    Released,
    /// It ran out before it was confirmed.
    Expired,
}

impl State {
    /// Its name in SQL and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held { .. } => "HELD",
            Self::Confirmed => "CONFIRMED",
            Self::Consumed => "CONSUMED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The state with this name; `until` belongs to HELD alone.
    pub fn named(name: &str, until: Option<Timestamp>) -> Option<Self> {
        match (name, until) {
            ("HELD", Some(until)) => Some(Self::Held { until }),
            ("CONFIRMED", None) => Some(Self::Confirmed),
            ("CONSUMED", None) => Some(Self::Consumed),
            ("RELEASED", None) => Some(Self::Released),
            ("EXPIRED", None) => Some(Self::Expired),
            _ => None,
        }
    }

    /// When it ends by itself.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Held { until } => Some(until),
            Self::Confirmed | Self::Consumed | Self::Released | Self::Expired => None,
        }
    }
}

/// A claim on one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Line number of the cart or order, from 1. The parts of a kit share their line's number.
    pub line: u32,
    /// Where, and what: a part, when the line asked for a kit.
    pub position: Key,
    /// The kit that the line asked for.
    pub kit: Option<Sku>,
    /// Pieces that make one unit of the line: 1, or the pieces of this part in one kit.
    pub per_unit: i64,
    /// Pieces claimed now.
    pub held: i64,
    /// Pieces that left the node.
    pub consumed: i64,
    /// Pieces released.
    pub released: i64,
}

impl Line {
    /// A fresh claim on `units` of a plain item.
    pub fn plain(line: u32, position: Key, units: i64) -> Self {
        Self { line, position, kit: None, per_unit: 1, held: units, consumed: 0, released: 0 }
    }

    /// A fresh claim on one part of `units` kits; `None` when that is more than a position can hold.
    pub fn part(line: u32, position: Key, kit: Sku, per_unit: i64, units: i64) -> Option<Self> {
        let held = units.checked_mul(per_unit).filter(|pieces| *pieces <= super::MAX_UNITS)?;
        Some(Self { line, position, kit: Some(kit), per_unit, held, consumed: 0, released: 0 })
    }

    /// All pieces that were ever claimed: the sum of the buckets.
    pub fn taken(&self) -> i64 {
        self.held + self.consumed + self.released
    }
}

/// What a step does to the position of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Index of the line in the reservation.
    pub line: usize,
    /// Why.
    pub kind: Kind,
    /// Change of the position's `on_hand`.
    pub on_hand: i64,
    /// Change of the position's `reserved`.
    pub reserved: i64,
}

/// What became of a command that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It was so already: no new version, no event.
    Unchanged,
    /// A new version, and what it does to the positions.
    Changed(Vec<Shift>),
}

/// Units of one line that an order wants of its claim (whole kits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Line number.
    pub line: u32,
    /// Units, at least 1.
    pub units: i64,
}

/// A claim on one or more positions, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Chosen by the caller: the promise token's uuid.
    pub id: ReservationId,
    /// Where it stands.
    pub state: State,
    /// What it claims; empty for a tombstone.
    pub lines: Vec<Line>,
    /// The order it belongs to, once confirmed, or once the work of that order changed it.
    pub order: Option<OrderId>,
    /// The channel that it is sold through: it may claim what is kept for that channel. It never changes.
    pub channel: Option<Arc<str>>,
    /// When the goods are promised.
    pub promised: Option<Timestamp>,
    /// Tier of the customer; 0: none.
    pub tier: i32,
    /// Its work has begun: the goods may be in somebody's hands.
    pub is_started: bool,
    /// Dense, from 1: one more with each change.
    pub version: i64,
    /// When it was first taken.
    pub created_at: Timestamp,
}

impl Reservation {
    /// Takes claims for a while. The caller has seen that the positions can give them.
    pub fn hold(
        id: ReservationId,
        lines: Vec<Line>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if lines.is_empty()
            || lines.iter().any(|line| line.held <= 0 || line.consumed != 0 || line.released != 0)
        {
            return Err(Refusal::Empty);
        }
        Ok(Self { lines, state: State::Held { until }, ..Self::tombstone(id, now) })
    }

    /// Remembers a release that came before its reserve.
    pub fn tombstone(id: ReservationId, now: Timestamp) -> Self {
        Self {
            id,
            state: State::Released,
            lines: Vec::new(),
            order: None,
            channel: None,
            promised: None,
            tier: 0,
            is_started: false,
            version: 1,
            created_at: now,
        }
    }

    /// The claims that a fresh hold takes.
    pub fn taking(&self) -> Vec<Shift> {
        self.shifts(self.lines.iter().map(|line| line.held), Kind::Reserve, 1)
    }

    /// Gives the claim to an order: no time limit from now on. What was claimed beyond `wants` is released; no wants
    /// at all mean everything. An expired reservation answers [`Refusal::Lost`]: its claims have to be taken again
    /// first ([`Reservation::lost`], [`Reservation::rehold`]).
    pub fn confirm(&mut self, order: OrderId, wants: &[Want]) -> Result<Step, Refusal> {
        match self.state {
            State::Held { .. } => {
                // an event of the work that arrived before that of its order has cut the line to what is wanted
                let wanted = self.wanted(wants, Line::taken)?;
                let left = |(line, wanted): (&Line, i64)| {
                    if line.consumed + line.released > 0 { line.held } else { wanted }
                };
                let keep: Vec<i64> = self.lines.iter().zip(wanted).map(left).collect();
                let surplus = |(line, keep): (&Line, &i64)| line.held - keep;
                let shifts = self.shifts(self.lines.iter().zip(&keep).map(surplus), Kind::Release, -1);
                for (line, keep) in self.lines.iter_mut().zip(keep) {
                    line.released += line.held - keep;
                    line.held = keep;
                }
                self.state = State::Confirmed;
                self.order = Some(order);
                Ok(self.settled(shifts))
            }
            State::Confirmed if self.order == Some(order) => Ok(Step::Unchanged),
            State::Confirmed => Err(Refusal::OtherOrder { id: self.id }),
            State::Expired => Err(Refusal::Lost { id: self.id }),
            // the goods left before the word of the order arrived
            State::Consumed if self.order.is_none() => {
                self.order = Some(order);
                Ok(self.changed(Vec::new()))
            }
            // its own work gave everything back before the word of the order arrived: nothing is lost
            State::Consumed | State::Released if self.order == Some(order) => Ok(Step::Unchanged),
            State::Consumed | State::Released => Err(self.ended("be confirmed")),
        }
    }

    /// The claims that an expired reservation has to take again before an order that wants this can have it.
    pub fn lost(&self, wants: &[Want]) -> Result<Vec<Shift>, Refusal> {
        match self.state {
            State::Expired => {
                let keep = self.wanted(wants, |line| line.released)?;
                Ok(self.shifts(keep.into_iter(), Kind::Reserve, 1))
            }
            State::Held { .. } | State::Confirmed | State::Consumed | State::Released => {
                Err(self.ended("be held again"))
            }
        }
    }

    /// Takes the lost claims again, for an order. The caller has seen that the positions can give them.
    pub fn rehold(&mut self, order: OrderId, wants: &[Want]) -> Result<Step, Refusal> {
        let shifts = self.lost(wants)?;
        for shift in &shifts {
            let line = &mut self.lines[shift.line];
            line.released -= shift.reserved;
            line.held += shift.reserved;
        }
        self.state = State::Confirmed;
        self.order = Some(order);
        Ok(self.changed(shifts))
    }

    /// Notes that an order asked for the lost claims in vain: a new version, so that the refusal is an event.
    pub fn refuse(&mut self) -> Step {
        self.changed(Vec::new())
    }

    /// Moves the end of a held claim; an earlier end than the present one changes nothing.
    pub fn extend(&mut self, to: Timestamp) -> Result<Step, Refusal> {
        match self.state {
            State::Held { .. } if self.is_broken() => Err(Refusal::Lost { id: self.id }),
            State::Held { until } if to > until => {
                self.state = State::Held { until: to };
                Ok(self.changed(Vec::new()))
            }
            State::Held { .. } | State::Confirmed => Ok(Step::Unchanged),
            State::Expired => Err(Refusal::Lost { id: self.id }),
            State::Consumed | State::Released => Err(self.ended("be extended")),
        }
    }

    /// Gives back all that is still held. An expired one becomes RELEASED, so that nobody takes its claims again.
    pub fn release(&mut self) -> Step {
        match self.state {
            State::Held { .. } | State::Confirmed => {
                let shifts = self.give_back(Kind::Release);
                self.state = if self.has_consumed() { State::Consumed } else { State::Released };
                self.changed(shifts)
            }
            State::Expired => {
                self.state = State::Released;
                self.changed(Vec::new())
            }
            State::Consumed | State::Released => Step::Unchanged,
        }
    }

    /// Gives back a claim that no order has taken: the end of a promise, which may cross with the word of an order.
    pub fn let_go(&mut self) -> Result<Step, Refusal> {
        match self.state {
            State::Confirmed => Err(Refusal::Confirmed { id: self.id }),
            State::Held { .. } | State::Consumed | State::Released | State::Expired => Ok(self.release()),
        }
    }

    /// Time has passed: ends a held claim that is due. Anything else stays as it is.
    pub fn expire(&mut self, now: Timestamp) -> Step {
        match self.state {
            State::Held { until } if until <= now => {
                let shifts = self.give_back(Kind::Expire);
                self.state = if self.has_consumed() { State::Consumed } else { State::Expired };
                self.changed(shifts)
            }
            State::Held { .. } | State::Confirmed | State::Consumed | State::Released | State::Expired => {
                Step::Unchanged
            }
        }
    }

    /// Fewer goods are there than were claimed: gives up pieces that are held of these lines, in whole units of each. The rest
    /// of the claim stays until its owner has decided what to do.
    pub fn lose(&mut self, lost: &[(usize, i64)]) -> Step {
        let mut shifts = Vec::with_capacity(lost.len());
        for &(line, pieces) in lost {
            self.lines[line].held -= pieces;
            self.lines[line].released += pieces;
            shifts.push(Shift { line, kind: Kind::Release, on_hand: 0, reserved: -pieces });
        }
        self.settled(shifts)
    }

    /// Notes that the goods may not be there: a new version, so that it is an event.
    pub fn doubt(&mut self) -> Step {
        self.changed(Vec::new())
    }

    /// It lost units before an order had it: no order can have it any more, and it cannot be held for longer.
    pub fn is_broken(&self) -> bool {
        let is_held = matches!(self.state, State::Held { .. });
        is_held && self.order.is_none() && self.lines.iter().any(|line| line.released > 0)
    }

    /// Pieces that are claimed now, over all lines.
    pub fn held(&self) -> i64 {
        self.lines.iter().map(|line| line.held).sum()
    }

    /// What must always hold; the text says what does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.lines.iter().any(|line| line.held < 0 || line.consumed < 0 || line.released < 0) {
            return Err("a bucket is negative");
        }
        let holds = self.held() > 0;
        match self.state {
            State::Held { .. } | State::Confirmed if !holds => Err("an open reservation holds nothing"),
            State::Consumed | State::Released | State::Expired if holds => {
                Err("an ended reservation holds units")
            }
            State::Consumed if !self.has_consumed() => Err("a consumed reservation consumed nothing"),
            State::Held { .. } | State::Confirmed | State::Consumed | State::Released | State::Expired => {
                Ok(())
            }
        }
    }

    fn has_consumed(&self) -> bool {
        self.lines.iter().any(|line| line.consumed > 0)
    }

    fn ended(&self, step: &'static str) -> Refusal {
        Refusal::Ended { id: self.id, step, state: self.state.name() }
    }

    fn changed(&mut self, shifts: Vec<Shift>) -> Step {
        self.version += 1;
        Step::Changed(shifts)
    }

    fn settled(&mut self, shifts: Vec<Shift>) -> Step {
        if self.held() == 0 {
            self.state = if self.has_consumed() { State::Consumed } else { State::Released };
        }
        self.changed(shifts)
    }

    /// Pieces of each line that the wants ask for, out of those that `there` counts.
    fn wanted(&self, wants: &[Want], there: impl Fn(&Line) -> i64) -> Result<Vec<i64>, Refusal> {
        if wants.is_empty() {
            return Ok(self.lines.iter().map(there).collect());
        }
        let mut keep = vec![0; self.lines.len()];
        for &Want { line: number, units } in wants {
            let mut known = false;
            for (line, keep) in self.lines.iter().zip(&mut keep).filter(|(line, _)| line.line == number) {
                known = true;
                let left = there(line) / line.per_unit;
                if units <= 0 || units > left {
                    return Err(Refusal::TooMany { id: self.id, line: number, wanted: units, left });
                }
                *keep = units * line.per_unit;
            }
            if !known {
                return Err(Refusal::UnknownLine { id: self.id, line: number });
            }
        }
        Ok(keep)
    }

    /// Shifts that claim (`sign` 1) or give back (`sign` -1) pieces of each line.
    fn shifts(&self, pieces: impl Iterator<Item = i64>, kind: Kind, sign: i64) -> Vec<Shift> {
        debug_assert!(
            !self.lines.is_empty() || self.state == State::Released,
            "only a tombstone has no lines"
        );
        let moved = pieces.enumerate().filter(|(_, pieces)| *pieces > 0);
        moved.map(|(line, pieces)| Shift { line, kind, on_hand: 0, reserved: sign * pieces }).collect()
    }

    fn give_back(&mut self, kind: Kind) -> Vec<Shift> {
        let shifts = self.shifts(self.lines.iter().map(|line| line.held), kind, -1);
        for line in &mut self.lines {
            line.released += std::mem::take(&mut line.held);
        }
        shifts
    }
}
