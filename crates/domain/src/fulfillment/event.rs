//! What is asked of a fulfillment order, and what happened to it.

use jiff::Timestamp;

use super::{Collector, RejectReason, ShortReason, State, Step};
use crate::id::LineNo;

/// Units of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units {
    /// The line of the order.
    pub line: LineNo,
    /// How many.
    pub quantity: i64,
}

/// What was picked of one line, and what was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The line of the order.
    pub line: LineNo,
    /// Units picked now.
    pub picked: i64,
    /// Units found short now, and why.
    pub short: Option<(i64, ShortReason)>,
}

impl Pick {
    pub(super) fn short_units(&self) -> i64 {
        self.short.map_or(0, |(units, _)| units)
    }
}

/// A request of the order to cancel units.
#[derive(Debug, Clone, Copy)]
pub struct CancelRequest<'a> {
    /// The number that the order gave it.
    pub number: i64,
    /// What is asked.
    pub lines: &'a [Units],
    /// Why, for the event.
    pub reason: &'a str,
}

/// What to tell the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The goods are ready.
    PickupReady,
    /// The goods are still waiting; the number counts the reminders from 1.
    PickupReminder(usize),
    /// The keep time ran out.
    PickupExpired,
}

/// What happened to a fulfillment order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was offered to its node.
    Offered {
        /// Must be accepted before.
        accept_due: Timestamp,
    },
    /// A step has used most of its time.
    AtRisk {
        /// Which.
        step: Step,
        /// When its time is over.
        due: Timestamp,
    },
    /// The node took it.
    Accepted,
    /// The node refused it.
    Rejected {
        /// Why.
        reason: RejectReason,
    },
    /// Nobody answered, or nobody finished, in time.
    TimedOut,
    /// Somebody began to pick.
    Started,
    /// Units were picked or found short.
    Picked {
        /// What this report changed.
        lines: Vec<Pick>,
    },
    /// All that could be picked waits for the customer.
    Ready {
        /// Kept until.
        keep_until: Timestamp,
    },
    /// A new pickup code was issued.
    CodeIssued,
    /// Units were handed over.
    HandedOver {
        /// What this call handed over.
        lines: Vec<Units>,
        /// To whom.
        collector: Collector,
    },
    /// Not collected in time.
    Expired,
    /// Goods are back on the shelf.
    PutBack {
        /// Units per line.
        lines: Vec<Units>,
        /// Because the pickup expired; else because units were cancelled.
        expired: bool,
    },
    /// Goods were not put back in time.
    PutBackOverdue {
        /// Units per line.
        lines: Vec<Units>,
    },
    /// A cancel was granted, wholly or in part.
    Cancelled {
        /// The number of the request.
        number: i64,
        /// Units granted per line.
        lines: Vec<Units>,
        /// Units refused per line.
        refused: Vec<Units>,
        /// Why it was asked.
        reason: String,
    },
    /// A cancel was refused, all of it.
    CancelRefused {
        /// The number of the request.
        number: i64,
        /// Units refused per line.
        lines: Vec<Units>,
        /// Where the fulfillment order stood.
        state: State,
    },
    /// The customer is to be notified.
    NoticeDue {
        /// What.
        notice: Notice,
    },
    /// The claim was lost before work began.
    StockLost {
        /// The SKU that ran out, if known.
        sku: String,
    },
}
