//! Where the pieces of a line are. The buckets of a line always sum to what was ordered.
//!
//! Fulfillment reports absolute quantities per fulfillment order and line; this is the table from there to here:
//!
//! | fulfillment order | line bucket |
//! | --- | --- |
//! | `to_pick`, not yet accepted | reserved |
//! | `to_pick`, accepted | allocated |
//! | `picked` | picked |
//! | `packed` | packed |
//! | `ready` | ready |
//! | `in_custody` | in custody |
//! | `done` | delivered |
//! | `lost` | lost |
//! | `short` + `cancelled` + `returned` | cancelled, on top of what was cancelled before fulfillment had the line |

use super::Refusal;
use crate::id::LineNo;

/// Pieces of one line by where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// Not yet reserved, or not any more.
    pub open: i64,
    /// Claimed at a node.
    pub reserved: i64,
    /// Waiting for supply.
    pub backordered: i64,
    /// A node works on them.
    pub allocated: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// In a package.
    pub packed: i64,
    /// Waiting for the customer.
    pub ready: i64,
    /// With a courier.
    pub in_custody: i64,
    /// Handed over.
    pub delivered: i64,
    /// Cancelled.
    pub cancelled: i64,
    /// Lost.
    pub lost: i64,
}

/// What a fulfillment order says of one line: absolute quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The line of the order.
    pub line: LineNo,
    /// The node has accepted the work.
    pub accepted: bool,
    /// Pieces asked of this fulfillment order.
    pub quantity: i64,
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
    /// Cancelled.
    pub cancelled: i64,
    /// Brought back undelivered.
    pub returned: i64,
    /// Lost on the way.
    pub lost: i64,
}

impl Buckets {
    /// All pieces claimed at a node: how a line begins.
    pub const fn all_reserved(quantity: i64) -> Self {
        Self {
            open: 0,
            reserved: quantity,
            backordered: 0,
            allocated: 0,
            picked: 0,
            packed: 0,
            ready: 0,
            in_custody: 0,
            delivered: 0,
            cancelled: 0,
            lost: 0,
        }
    }

    /// All buckets together: what was ordered.
    pub const fn sum(&self) -> i64 {
        self.cancellable() + self.in_custody + self.delivered + self.cancelled + self.lost
    }

    /// Pieces that the customer still gets or has.
    pub const fn live(&self) -> i64 {
        self.cancellable() + self.in_custody + self.delivered
    }

    /// Pieces that a cancel may still ask for: everything before the handover.
    pub const fn cancellable(&self) -> i64 {
        self.open + self.reserved + self.backordered + self.in_work()
    }

    /// Pieces that a node works on or has made ready.
    pub const fn in_work(&self) -> i64 {
        self.allocated + self.picked + self.packed + self.ready
    }

    /// No piece waits for anything any more.
    pub const fn is_over(&self) -> bool {
        self.cancellable() + self.in_custody == 0
    }

    /// Cancels pieces that no node has: those not reserved first.
    pub(super) fn cancel(&mut self, quantity: i64) {
        let from_open = quantity.min(self.open);
        let rest = quantity - from_open;
        let from_backorder = rest.min(self.backordered);
        self.open -= from_open;
        self.backordered -= from_backorder;
        self.reserved -= rest - from_backorder;
        self.cancelled += quantity;
    }

    /// The claim at the node is gone.
    pub(super) fn unreserve(&mut self) {
        self.open += self.reserved;
        self.reserved = 0;
    }

    /// A claim at a node was taken (again).
    pub(super) fn reserve(&mut self) {
        self.reserved += self.open;
        self.open = 0;
    }

    /// The buckets as the fulfillment order has them. What was cancelled before it had the line stays cancelled.
    pub(super) fn after(&self, snapshot: &Snapshot) -> Result<Self, Refusal> {
        let ordered = self.sum();
        let s = *snapshot;
        let parts = [
            s.to_pick,
            s.picked,
            s.packed,
            s.ready,
            s.in_custody,
            s.done,
            s.short,
            s.cancelled,
            s.returned,
            s.lost,
        ];
        let total = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part));
        let sane = parts.iter().all(|part| *part >= 0) && total == Some(s.quantity) && s.quantity <= ordered;
        if !sane {
            return Err(Refusal::BadSnapshot { line: s.line });
        }
        let before = ordered - s.quantity;
        Ok(Self {
            reserved: if s.accepted { 0 } else { s.to_pick },
            allocated: if s.accepted { s.to_pick } else { 0 },
            picked: s.picked,
            packed: s.packed,
            ready: s.ready,
            in_custody: s.in_custody,
            delivered: s.done,
            cancelled: before + s.short + s.cancelled + s.returned,
            lost: s.lost,
            ..Self::default()
        })
    }
}
