//! What is asked of a fulfillment order, and what happened to it.

use jiff::Timestamp;

use super::stage::{Name, Reporter, Step};
use super::{Collector, DueChange, Payment, RejectReason, ShortReason, State};
use crate::id::{LineNo, Sku};

/// Units of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units {
    /// The line of the order.
    pub line: LineNo,
    /// How many.
    pub quantity: i64,
}

/// What moved of one line, and what was not there to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedLine {
    /// The line of the order.
    pub line: LineNo,
    /// Units moved now.
    pub quantity: i64,
    /// Units found short now, and why. Only units on the shelf can be short.
    pub short: Option<(i64, ShortReason)>,
}

impl MovedLine {
    /// Units of one line, none of them short.
    pub const fn of(line: LineNo, quantity: i64) -> Self {
        Self { line, quantity, short: None }
    }

    pub(super) fn short_units(&self) -> i64 {
        self.short.map_or(0, |(units, _)| units)
    }
}

/// What somebody reports: units have come to a stage.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Who.
    pub by: Reporter,
    /// Which units; `None`: all of the stage before.
    pub lines: Option<&'a [MovedLine]>,
    /// To whom they were handed over, where that matters.
    pub collector: Option<Collector>,
    /// What was paid for them.
    pub payment: Option<&'a Payment>,
}

impl<'a> Report<'a> {
    /// All units of the stage before.
    pub const fn all(by: Reporter) -> Self {
        Self { by, lines: None, collector: None, payment: None }
    }

    /// Some units.
    pub const fn some(by: Reporter, lines: &'a [MovedLine]) -> Self {
        Self { by, lines: Some(lines), collector: None, payment: None }
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

/// What to tell the customer: a template of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The template.
    pub template: &'static str,
    /// Counts the reminders from 1; 0: it is not a reminder.
    pub number: usize,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            0 => f.write_str(self.template),
            number => write!(f, "{}_{number}", self.template),
        }
    }
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
    /// Units, or the order as a whole, went from one stage to another.
    Moved {
        /// Where they were.
        from: Name,
        /// Where they are.
        to: Name,
        /// What moved; empty: the order as a whole.
        lines: Vec<MovedLine>,
        /// Why they left the path of the method; empty on the path.
        reason: &'static str,
        /// To whom they were handed over.
        collector: Option<Collector>,
        /// What was paid for them.
        payment: Option<Payment>,
    },
    /// A new pickup code was issued.
    CodeIssued,
    /// Not collected in time.
    Expired,
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
    /// Another amount is due at the handover, or the handover waits for a payment, or does not any more.
    DueChanged {
        /// Why.
        why: DueChange,
    },
    /// The claim was lost before work began, or a part of it.
    StockLost {
        /// The SKU that ran out, if known.
        sku: String,
        /// Units per line; empty: all that was at the node.
        lines: Vec<Units>,
    },
    /// The order has the units elsewhere, or does not want them any more: their claim ends.
    LetGo {
        /// Units per line.
        lines: Vec<Units>,
    },
    /// Another order missed a SKU of this work, or more of it is claimed than is there; the work goes on.
    Doubtful {
        /// Which.
        sku: Sku,
        /// It was counted, and is no longer doubtful.
        is_over: bool,
    },
}
