//! The fulfillment order (FO): the work of one node, for one method and one promise.
//!
//! Quantities come first: every line keeps its units in [`Buckets`] whose sum is always what was asked. Where the FO
//! stands ([`State`]) is a view of buckets and marks, never set by hand. It changes only through the transitions in
//! [`lifecycle`], each of which returns its event; what its method prescribes is data ([`method::Rules`]).
//!
//! Units that the customer does not get but that left the shelf stay claimed until the node has put them back:
//! cancelled ones count in `put_back`, those of an expired pickup stay `ready` (a late customer may still collect).

pub mod accept;
pub mod code;
pub mod event;
pub mod lifecycle;
pub mod marks;
pub mod method;

#[cfg(test)]
mod properties;

use jiff::{SignedDuration, Timestamp};

use crate::id::{FulfillmentId, LineNo, NodeId, OrderId, PromiseToken, Sku};
pub use event::{Event, Pick, Units};
pub use lifecycle::Refusal;
pub use marks::{Ending, Marks, RejectReason, ShortReason};
pub use method::{Clocks, Method};

/// A fulfillment order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: FulfillmentId,
    /// The order it is a part of.
    pub order: OrderId,
    /// The promise it keeps; the reservation has the same UUID.
    pub token: PromiseToken,
    /// The node that works.
    pub node: NodeId,
    /// How the goods reach the customer.
    pub method: Method,
    /// When the goods should be ready.
    pub promised: Timestamp,
    /// What to hand over, in the order of the lines.
    pub lines: Vec<Line>,
    /// How long its steps may take.
    pub clocks: Clocks,
    /// What happened when.
    pub marks: Marks,
    /// The number of events so far; 0 before the first.
    pub version: i64,
}

/// One line of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line of the order.
    pub line: LineNo,
    /// What is asked.
    pub sku: Sku,
    /// Its name on the pick list.
    pub name: String,
    /// Units asked.
    pub quantity: i64,
    /// Where the units are.
    pub buckets: Buckets,
}

/// Where the units of one line are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// Still on the shelf.
    pub to_pick: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// Waiting for the customer.
    pub ready: i64,
    /// Handed over.
    pub done: i64,
    /// Could not be picked.
    pub short: i64,
    /// Not wanted any more.
    pub cancelled: i64,
    /// Of `cancelled`: goods that the node still has to put back.
    pub put_back: i64,
    /// Of `cancelled`: goods that the node has put back.
    pub restocked: i64,
}

impl Buckets {
    /// All units still to be picked.
    pub const fn all_to_pick(quantity: i64) -> Self {
        Self {
            to_pick: quantity,
            picked: 0,
            ready: 0,
            done: 0,
            short: 0,
            cancelled: 0,
            put_back: 0,
            restocked: 0,
        }
    }

    /// All units, wherever they are.
    pub const fn sum(&self) -> i64 {
        self.to_pick + self.picked + self.ready + self.done + self.short + self.cancelled
    }

    /// Units that may still reach the customer.
    pub const fn open(&self) -> i64 {
        self.to_pick + self.picked + self.ready
    }

    /// Units whose claim on the stock has ended without a handover.
    pub const fn released(&self) -> i64 {
        self.short + self.cancelled - self.put_back
    }

    /// The law of every line: no bucket below zero, the sum is what was asked, sub-counts fit in `cancelled`.
    pub const fn hold(&self, quantity: i64) -> bool {
        self.to_pick >= 0
            && self.picked >= 0
            && self.ready >= 0
            && self.done >= 0
            && self.short >= 0
            && self.cancelled >= 0
            && self.put_back >= 0
            && self.restocked >= 0
            && self.sum() == quantity
            && self.put_back + self.restocked <= self.cancelled
    }
}

/// Who collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collector {
    /// The buyer.
    Buyer,
    /// Somebody whom the buyer named.
    Delegate,
}

impl Collector {
    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buyer => "BUYER",
            Self::Delegate => "DELEGATE",
        }
    }
}

/// Where a fulfillment order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not offered yet.
    Planned,
    /// Waits for the node's answer.
    Offered,
    /// The node took it.
    Accepted,
    /// Being picked.
    Picking,
    /// Waits for the customer.
    ReadyForPickup,
    /// Partly with the customer, the rest waits.
    PartlyCollected,
    /// Nothing is left, and something was handed over.
    Done,
    /// The node refused it.
    Rejected,
    /// The node was silent too long.
    TimedOut,
    /// Nothing could be picked.
    Short,
    /// Nothing is left, the customer gets nothing.
    Cancelled,
    /// Not collected; the goods are the node's again.
    Restocked,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Offered,
        Self::Accepted,
        Self::Picking,
        Self::ReadyForPickup,
        Self::PartlyCollected,
        Self::Done,
        Self::Rejected,
        Self::TimedOut,
        Self::Short,
        Self::Cancelled,
        Self::Restocked,
    ];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Offered => "OFFERED",
            Self::Accepted => "ACCEPTED",
            Self::Picking => "PICKING",
            Self::ReadyForPickup => "READY_FOR_PICKUP",
            Self::PartlyCollected => "PARTLY_COLLECTED",
            Self::Done => "DONE",
            Self::Rejected => "REJECTED",
            Self::TimedOut => "TIMED_OUT",
            Self::Short => "SHORT",
            Self::Cancelled => "CANCELLED",
            Self::Restocked => "RESTOCKED",
        }
    }

    /// Nothing reaches the customer any more.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Planned
            | Self::Offered
            | Self::Accepted
            | Self::Picking
            | Self::ReadyForPickup
            | Self::PartlyCollected => false,
            Self::Done
            | Self::Rejected
            | Self::TimedOut
            | Self::Short
            | Self::Cancelled
            | Self::Restocked => true,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a clock does to a fulfillment order when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Due {
    /// Mark the running step as at risk.
    AtRisk,
    /// End an offer that nobody answered.
    AcceptTimeOut,
    /// End work that nobody finished.
    WorkTimeOut,
    /// Remind the customer.
    Reminder,
    /// End the keep time.
    Expiry,
    /// Give up waiting for goods to be put back.
    PutBackOverdue,
}

/// The steps whose time is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The node must answer.
    Accept,
    /// The goods must be ready.
    Prepare,
    /// The customer must come.
    Collect,
}

impl Step {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Prepare => "PREPARE",
            Self::Collect => "COLLECT",
        }
    }
}

impl Order {
    /// The sum of one bucket over all lines.
    pub fn total(&self, bucket: impl Fn(&Buckets) -> i64) -> i64 {
        self.lines.iter().map(|line| bucket(&line.buckets)).sum()
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        if self.total(Buckets::open) == 0 && !self.lines.is_empty() {
            self.ended_as()
        } else {
            self.open_as()
        }
    }

    fn open_as(&self) -> State {
        let marks = &self.marks;
        match (marks.offered, marks.accepted, marks.started, marks.ready) {
            (None, ..) => State::Planned,
            (_, None, ..) => State::Offered,
            (_, _, _, Some(_)) if self.total(|b| b.done) > 0 => State::PartlyCollected,
            (_, _, _, Some(_)) => State::ReadyForPickup,
            (_, _, None, None) => State::Accepted,
            (_, _, Some(_), None) => State::Picking,
        }
    }

    fn ended_as(&self) -> State {
        if self.total(|b| b.done) > 0 {
            return State::Done;
        }
        match self.marks.ending {
            Some(Ending::Rejected(_)) => State::Rejected,
            Some(Ending::TimedOut) => State::TimedOut,
            Some(Ending::Expired) => State::Restocked,
            None if self.total(|b| b.cancelled) == 0 => State::Short,
            Some(Ending::StockLost) | None => State::Cancelled,
        }
    }

    /// Why it ended, for people and programs; empty while it is open or when the goods were handed over.
    pub fn end_reason(&self) -> &'static str {
        let state = self.state();
        if !state.is_over() || state == State::Done {
            return "";
        }
        self.marks.ending.map_or(state.name(), Ending::name)
    }

    /// The node still has something to do: units are open, or goods wait to be put back.
    pub fn is_work(&self) -> bool {
        self.total(Buckets::open) + self.total(|b| b.put_back) > 0
    }

    /// Units whose goods the node should put back now: cancelled ones, and after the keep time all that is ready.
    pub fn to_put_back(&self) -> i64 {
        let expired = self.marks.expired.is_some();
        self.total(|b| b.put_back + if expired { b.ready } else { 0 })
    }

    /// The step whose time runs, and when it is over.
    pub fn step(&self) -> Option<(Step, Timestamp)> {
        match self.state() {
            State::Offered => self.marks.accept_due.map(|due| (Step::Accept, due)),
            State::Accepted | State::Picking => Some((Step::Prepare, self.promised)),
            State::ReadyForPickup | State::PartlyCollected if self.marks.expired.is_none() => {
                self.marks.keep_until.map(|due| (Step::Collect, due))
            }
            State::ReadyForPickup
            | State::PartlyCollected
            | State::Planned
            | State::Done
            | State::Rejected
            | State::TimedOut
            | State::Short
            | State::Cancelled
            | State::Restocked => None,
        }
    }

    /// What is due next, and when. Every state in which somebody waits has an answer here.
    pub fn next_due(&self) -> Option<(Timestamp, Due)> {
        let marks = &self.marks;
        let step = self.step();
        let at_risk =
            marks.at_risk_due.filter(|_| !marks.at_risk && step.is_some()).map(|at| (at, Due::AtRisk));
        let end = match step {
            Some((Step::Accept, due)) => Some((due, Due::AcceptTimeOut)),
            Some((Step::Prepare, due)) => {
                let from = marks.accepted.map_or(due, |accepted| accepted.max(due));
                Some((after(from, self.clocks.resolve), Due::WorkTimeOut))
            }
            Some((Step::Collect, due)) => Some((due, Due::Expiry)),
            None => None,
        };
        let reminder = marks
            .ready
            .filter(|_| matches!(step, Some((Step::Collect, _))))
            .zip(self.clocks.reminders.get(marks.reminded).copied().flatten())
            .map(|(ready, wait)| (after(ready, wait), Due::Reminder));
        let put_back =
            marks.put_back_due.filter(|_| self.to_put_back() > 0).map(|at| (at, Due::PutBackOverdue));
        // At the same moment the earlier entry comes first: a warning precedes the end it warns of.
        [at_risk, reminder, put_back, end].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// The instant that much later, at most the end of the calendar.
pub(crate) fn after(at: Timestamp, length: SignedDuration) -> Timestamp {
    at.saturating_add(length).unwrap_or(Timestamp::MAX)
}
