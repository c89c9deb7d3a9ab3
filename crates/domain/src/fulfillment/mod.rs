//! The fulfillment order (FO): the work of one node, for one method and one promise.
//!
//! Quantities come first: every line keeps its units in [`Buckets`] whose sum is always what was asked. Units go along the
//! [`stage`]s of their method, and only the transitions in [`lifecycle`] move them; each returns its event. Where the FO
//! stands ([`State`]) is a view of buckets and marks, never set by hand; which clocks run ([`clock`]) follows from where
//! its units are.
//!
//! Units that the customer does not get but that left the shelf stay claimed until the node has put them back:
//! those given up or cancelled count in `put_back`, those of an expired pickup stay `ready` (a late customer may still
//! collect). Units that the node failed although the goods are there stay claimed as `kept`, until their order has them
//! elsewhere.

pub mod accept;
pub mod buckets;
pub mod clock;
pub mod code;
pub mod event;
pub mod lifecycle;
pub mod marks;
pub mod method;
pub mod opening;
pub mod payment;
pub mod stage;
pub mod state;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod walks;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use stage::{Name, Stage};

use crate::id::{FulfillmentId, LineNo, NodeId, OrderId, PromiseToken, Sku};
use crate::network::Node;
pub use buckets::{Bucket, Buckets, Claims};
pub use clock::Running;
pub use event::{Event, MovedLine, Notice, Report, Units};
pub use lifecycle::Refusal;
pub use marks::{Ending, Marks, RejectReason, ShortReason};
pub use method::{Clocks, Method};
pub use payment::{AtHandover, DueChange, Dues, Payment};
pub use stage::Step;
pub use state::State;

/// A fulfillment order.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its id.
    pub id: FulfillmentId,
    /// The order it is a part of.
    pub order: OrderId,
    /// The promise it keeps; the reservation has the same UUID.
    pub token: PromiseToken,
    /// The node that works.
    pub node: NodeId,
    /// What is known of the node: clocks heed its hours. None: every minute counts.
    pub site: Option<Arc<Node>>,
    /// How the goods reach the customer.
    pub method: Method,
    /// When the goods should be ready.
    pub promised: Timestamp,
    /// What to hand over, in the order of the lines.
    pub lines: Vec<Line>,
    /// How long its steps may take.
    pub clocks: Clocks,
    /// The clocks that run, at most one for each step.
    pub running: Vec<Running>,
    /// What happened when.
    pub marks: Marks,
    /// What it waits for in money.
    pub dues: Dues,
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
    /// What all its units cost, in minor units, where they are paid at the handover; else 0.
    pub due_minor: i64,
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

impl Order {
    /// The sum of one bucket over all lines.
    pub fn total(&self, bucket: impl Fn(&Buckets) -> i64) -> i64 {
        self.lines.iter().map(|line| bucket(&line.buckets)).sum()
    }

    /// The units in one place, over all lines.
    pub fn units_in(&self, bucket: Bucket) -> i64 {
        self.total(|b| b.get(bucket))
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        if self.total(Buckets::open) == 0 && !self.lines.is_empty() {
            return self.ended_as();
        }
        let Some(stage) = self.standing().next() else { return State::Planned };
        match stage.partly {
            Some(partly) if self.total(|b| b.done) > 0 => partly,
            Some(_) | None => stage.state,
        }
    }

    /// The stages in which its open units stand, the least advanced first; none before the offer.
    pub fn standing(&self) -> impl Iterator<Item = &'static Stage> {
        let rules = self.method.rules();
        let open = [Bucket::ToPick, Bucket::Picked, Bucket::Packed, Bucket::Ready, Bucket::InCustody];
        let reached = self.marks.reached;
        let filled = open.into_iter().filter(|bucket| self.units_in(*bucket) > 0);
        filled.filter_map(move |bucket| rules.stands_in(bucket, reached?))
    }

    /// Somebody has begun to work on it: the goods may be in somebody's hands.
    pub fn has_begun(&self) -> bool {
        self.marks.reached.is_some_and(|stage| stage >= Name::Picking)
    }

    fn ended_as(&self) -> State {
        if self.total(|b| b.done) > 0 {
            return State::Done;
        }
        if self.total(|b| b.lost) > 0 {
            return State::Lost;
        }
        if self.total(|b| b.returned) > 0 {
            return State::Restocked;
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
        match state {
            _ if !state.is_over() => "",
            State::Done => "",
            State::Lost => state.name(),
            _ if self.total(|b| b.returned) > 0 => "NOT_DELIVERED",
            _ => self.marks.ending.map_or(state.name(), Ending::name),
        }
    }

    /// The node still has something to do: units are open there, or goods wait to be put back.
    pub fn is_work(&self) -> bool {
        let held = |line: &Line| line.buckets.claims(self.method.rules()).held - line.buckets.kept;
        self.lines.iter().map(held).sum::<i64>() > 0
    }

    /// Units whose goods the node should put back now: those that left the path, and after the keep time all that is ready.
    pub fn to_put_back(&self) -> i64 {
        let expired = self.marks.expired.is_some();
        self.total(|b| b.put_back + if expired { b.ready } else { 0 })
    }
}

/// The instant that much later, at most the end of the calendar.
pub(crate) fn after(at: Timestamp, length: SignedDuration) -> Timestamp {
    at.saturating_add(length).unwrap_or(Timestamp::MAX)
}
