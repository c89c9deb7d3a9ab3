//! Legs: what fulfillment makes of an order's groups. A leg is one node, one method and one window under one id, which
//! its fulfillment order and its reservation share. Each new try is a new leg.
//!
//! The order keeps the last absolute snapshot of each leg and line, so a report changes the units of its own leg and of
//! no other. This is the table from there to the published buckets:
//!
//! | leg | line bucket |
//! | --- | --- |
//! | `waiting_transfer`, `to_pick`, not yet accepted | reserved |
//! | `waiting_transfer`, `to_pick`, accepted | allocated |
//! | `picked`, `packed`, `ready`, `in_custody` | the same |
//! | `done` | delivered |
//! | `cancelled`, `returned` | cancelled |
//! | `lost` | lost |
//! | `short`, `given_up` | none: the node failed them, and the needs of the leg have them |

use super::{Buckets, Refusal};
use crate::fulfillment::method::Method;
use crate::id::{FulfillmentId, LineNo, NodeId, PromiseToken};
use crate::time::Timestamp;

/// From when until when, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// Pieces of one line on one leg by where they are, absolute. The parts sum to the quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegUnits {
    /// Asked of the leg.
    pub quantity: i64,
    /// Waiting for goods from another node.
    pub waiting_transfer: i64,
    /// Still on the shelf.
    pub to_pick: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// In a package.
    pub packed: i64,
    /// Waiting for the customer or the courier.
    pub ready: i64,
    /// With a courier.
    pub in_custody: i64,
    /// With the customer.
    pub done: i64,
    /// Not found or not fit to be sold.
    pub short: i64,
    /// The node failed them.
    pub given_up: i64,
    /// Cancelled.
    pub cancelled: i64,
    /// Came back from a courier.
    pub returned: i64,
    /// Lost.
    pub lost: i64,
}

impl LegUnits {
    /// All pieces still on the shelf: how a leg begins.
    pub fn fresh(quantity: i64) -> Self {
        Self { quantity, to_pick: quantity, ..Self::default() }
    }

    /// No part is negative, and together they are the quantity.
    pub fn is_whole(&self) -> bool {
        let parts = [
            self.waiting_transfer,
            self.to_pick,
            self.picked,
            self.packed,
            self.ready,
            self.in_custody,
            self.done,
            self.short,
            self.given_up,
            self.cancelled,
            self.returned,
            self.lost,
        ];
        let sum = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part));
        parts.iter().all(|part| *part >= 0) && sum == Some(self.quantity)
    }

    /// Pieces that the node failed: the needs of the leg have them.
    pub const fn failed(&self) -> i64 {
        self.short + self.given_up
    }

    /// The line buckets that these pieces are in. Those that the node failed are in none.
    pub fn buckets(&self, is_accepted: bool) -> Buckets {
        let waiting = self.waiting_transfer + self.to_pick;
        Buckets {
            reserved: if is_accepted { 0 } else { waiting },
            allocated: if is_accepted { waiting } else { 0 },
            picked: self.picked,
            packed: self.packed,
            ready: self.ready,
            in_custody: self.in_custody,
            delivered: self.done,
            cancelled: self.cancelled + self.returned,
            lost: self.lost,
            ..Buckets::default()
        }
    }

    /// Pieces that a cancel may still ask for: everything before a courier or the customer has it.
    pub const fn cancellable(&self) -> i64 {
        self.waiting_transfer + self.to_pick + self.picked + self.packed + self.ready
    }

    /// How far the furthest piece is that can still be cancelled.
    const fn progress(&self) -> u8 {
        if self.ready > 0 {
            4
        } else if self.packed > 0 {
            3
        } else if self.picked > 0 {
            2
        } else {
            0
        }
    }
}

/// Pieces of one line on one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegLine {
    /// The line of the order.
    pub line: LineNo,
    /// Where its pieces are.
    pub units: LegUnits,
    /// Pieces that a cancel was asked for and that the node has not yet decided on.
    pub cancel_requested: i64,
}

impl LegLine {
    /// Pieces that nobody has asked to cancel yet and that can be.
    pub const fn left(&self) -> i64 {
        self.units.cancellable() - self.cancel_requested
    }
}

/// One leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Its id; its fulfillment order and its reservation have the same UUID.
    pub id: FulfillmentId,
    /// Its number in the order, from 1, in the order of the tries.
    pub no: i64,
    /// The group that it serves.
    pub group: u32,
    /// The number of the need that it serves; none: it is a first try.
    pub need: Option<i64>,
    /// The promise that it was held under.
    pub token: Option<PromiseToken>,
    /// How the goods reach the customer.
    pub method: Method,
    /// The node that serves it.
    pub node: NodeId,
    /// When the goods are ready until when they are kept, as promised.
    pub window: Span,
    /// When the hold ends by itself.
    pub held_until: Timestamp,
    /// When the node was asked for it.
    pub released: Option<Timestamp>,
    /// When its stock was confirmed.
    pub confirmed: Option<Timestamp>,
    /// When its claim was given up before a node had it: it counts for nothing since.
    pub dropped: Option<Timestamp>,
    /// The node took it.
    pub is_accepted: bool,
    /// The version of its fulfillment order last heard of; 0: nothing yet.
    pub version: i64,
    /// Who changed its work last, as that version says; empty: nobody yet.
    pub actor: String,
    /// Its lines by number.
    pub lines: Vec<LegLine>,
}

impl Leg {
    /// It counts: it was not dropped.
    pub const fn is_live(&self) -> bool {
        self.dropped.is_none()
    }

    /// No piece of it waits for anything any more.
    pub fn is_over(&self) -> bool {
        self.lines.iter().all(|line| line.units.cancellable() + line.units.in_custody == 0)
    }

    /// A node was asked for it.
    pub const fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// Pieces were asked of it, and not all were taken off before a node had them.
    pub fn has_pieces(&self) -> bool {
        self.lines.iter().any(|line| line.units.quantity > 0)
    }

    /// No node was asked for it, and the time that it was promised for has passed.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.is_live() && !self.is_released() && self.window.start <= now && self.has_pieces()
    }

    /// Its stock is still to be confirmed, and its hold must last until then.
    pub fn needs_hold(&self) -> bool {
        self.is_live() && self.confirmed.is_none() && self.lines.iter().any(|l| l.units.cancellable() > 0)
    }

    /// How far it is: 0 = not accepted, 1 = accepted, then by its furthest piece that can still be cancelled.
    pub fn progress(&self) -> u8 {
        let furthest = self.lines.iter().map(|line| line.units.progress()).max().unwrap_or_default();
        furthest.max(u8::from(self.is_accepted))
    }

    /// One of its lines.
    pub fn line(&self, no: LineNo) -> Option<&LegLine> {
        self.lines.binary_search_by_key(&no, |line| line.line).ok().map(|at| &self.lines[at])
    }

    pub(super) fn line_mut(&mut self, no: LineNo) -> Result<&mut LegLine, Refusal> {
        let at = self.lines.binary_search_by_key(&no, |line| line.line);
        at.map(|at| &mut self.lines[at]).map_err(|_| Refusal::UnknownLine { line: no })
    }

    /// Takes pieces off that no node was asked for.
    pub(super) fn shrink(&mut self, no: LineNo, pieces: i64) -> Result<(), Refusal> {
        let is_released = self.is_released();
        let units = &mut self.line_mut(no)?.units;
        if is_released || pieces > units.to_pick {
            return Err(Refusal::NotCancellable { line: no, asked: pieces, left: 0 });
        }
        units.to_pick -= pieces;
        units.quantity -= pieces;
        Ok(())
    }

    /// Its claim is given up before a node had it. Answers the pieces that it had, which are nowhere now.
    pub(super) fn drop(&mut self, now: Timestamp) -> Vec<(LineNo, i64)> {
        self.dropped = Some(now);
        let lines = self.lines.iter().map(|line| (line.line, line.units.quantity));
        lines.filter(|(_, pieces)| *pieces > 0).collect()
    }
}
