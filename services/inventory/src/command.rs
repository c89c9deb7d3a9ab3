//! What can be asked of the stock, as the verbs take it: well formed, not yet decided. Callers, events and timers ask alike.

use std::sync::Arc;
use std::time::Duration;

use domain::damage::Damage;
use domain::id::{FulfillmentId, NodeId, OrderId, ReservationId, Sku};
use domain::stock::feed::Stale;
use domain::stock::movement::Kind;
use domain::stock::reservation::{Line, Reservation, Target, Want};
use domain::stock::{Key, Refusal};
use jiff::Timestamp;
use service::Call;

use crate::store::feeds::FeedRow;
use crate::store::skus::Item;

/// Who makes something happen, as the ledger and the events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `kind/id`.
    pub(crate) actor: Arc<str>,
    /// The W3C `traceparent` of the call or event behind it.
    pub(crate) trace: Option<String>,
}

impl Cause {
    /// This actor, in the trace that is in force.
    pub(crate) fn now(actor: &str) -> Self {
        Self { actor: actor.into(), trace: bus::trace::current() }
    }
}

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// There for callers; events and timers are made once by other means.
    pub(crate) request: Option<Call>,
    /// Who, and in which trace.
    pub(crate) cause: Cause,
    /// What.
    pub(crate) act: Act,
}

/// What to do.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Take claims for a while, all of them or none.
    Reserve {
        claims: Vec<NewClaim>,
        ttl: Duration,
        /// Given back in the same step.
        instead_of: Vec<ReservationId>,
    },
    /// Give the claims to an order.
    Confirm(Confirm),
    /// Give back what is held, of all of them or of none.
    Release {
        ids: Vec<ReservationId>,
        reason: String,
        /// An order may have it by now: then it stays.
        unless_confirmed: bool,
    },
    /// A later end, for all of them or for none.
    Extend { ids: Vec<ReservationId>, until: Timestamp },
    /// Time has passed.
    Expire { id: ReservationId },
    /// A fulfillment order reports its quantities.
    Settle(Settle),
}

impl Act {
    /// The reservations that are meant, each with the lines that may have to be claimed for it.
    pub(crate) fn reservations(&self) -> impl Iterator<Item = (ReservationId, &[Wanted])> {
        let (claims, ids, single): (&[NewClaim], &[ReservationId], _) = match self {
            Self::Reserve { claims, instead_of, .. } => (claims, instead_of, None),
            Self::Release { ids, .. } | Self::Extend { ids, .. } => (&[], ids, None),
            Self::Confirm(Confirm { id, lines, .. }) => (&[], &[], Some((*id, lines.as_slice()))),
            Self::Expire { id } | Self::Settle(Settle { id, .. }) => (&[], &[], Some((*id, [].as_slice()))),
        };
        let claims = claims.iter().map(|claim| (claim.id, claim.lines.as_slice()));
        claims.chain(ids.iter().map(|id| (*id, [].as_slice()))).chain(single)
    }
}

/// A claim to be taken at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewClaim {
    pub(crate) id: ReservationId,
    pub(crate) lines: Vec<Wanted>,
    /// The channel that they are sold through.
    pub(crate) channel: Option<Arc<str>>,
    /// When the goods are promised.
    pub(crate) promised: Option<Timestamp>,
}

/// Units that are wanted from one position, or from those of a kit's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Line number, from 1.
    pub(crate) line: u32,
    /// Node, and SKU or kit.
    pub(crate) position: Key,
    /// Units, at least 1.
    pub(crate) units: i64,
}

/// An order takes its claims.
#[derive(Debug, Clone)]
pub(crate) struct Confirm {
    pub(crate) id: ReservationId,
    pub(crate) order: OrderId,
    /// What the order wants of each line; empty: everything.
    pub(crate) wants: Vec<Want>,
    /// What to claim when the reservation does not exist (any more); empty: that is an error.
    pub(crate) lines: Vec<Wanted>,
    /// The channel of the order, for claims that it takes itself.
    pub(crate) channel: Option<Arc<str>>,
    /// When the order has promised the goods; none: as the claim says.
    pub(crate) promised: Option<Timestamp>,
    /// Tier of its customer.
    pub(crate) tier: i32,
}

/// A fulfillment order reports.
#[derive(Debug, Clone)]
pub(crate) struct Settle {
    pub(crate) id: ReservationId,
    pub(crate) order: OrderId,
    pub(crate) fulfillment: FulfillmentId,
    pub(crate) targets: Vec<Target>,
    pub(crate) findings: Vec<Finding>,
    /// Somebody has begun to pick: the goods may be in somebody's hands.
    pub(crate) is_started: bool,
}

/// What a store found out about the stock of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) line: u32,
    /// The part of its kit; none: which one was not said.
    pub(crate) part: Option<Sku>,
    pub(crate) what: Found,
}

impl Finding {
    /// The claims that it is about, each with its index, and whether they were named. A part that the reservation has no claim
    /// on names nothing: all parts of the line are meant.
    pub(crate) fn claims<'a>(
        &'a self,
        reservation: &'a Reservation,
    ) -> impl Iterator<Item = (usize, &'a Line, bool)> {
        let of_line = move |line: &Line| line.line == self.line;
        let named = move |line: &Line| self.part.as_ref() == Some(&line.position.sku);
        let is_named = reservation.lines.iter().any(|line| of_line(line) && named(line));
        let lines = reservation.lines.iter().enumerate();
        let meant = lines.filter(move |(_, line)| of_line(line) && (!is_named || named(line)));
        meant.map(move |(index, line)| (index, line, is_named || line.kit.is_none()))
    }
}

/// What was found at the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or not enough: the position waits for a count, and nobody else relies on it.
    Missing,
    /// Nobody knows what is there, for this reason: the position waits for a count.
    Unsure(&'static str),
    /// This number of units (of a kit: as many times the pieces of the part) cannot be sold, for this reason; `None`: all that the report releases.
    Unfit(Option<i64>, &'static str),
}

/// A change of stock itself.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    /// As [`domain::stock::Position::post`] takes it; of a snapshot: the units counted.
    pub(crate) quantity: i64,
    pub(crate) reason: String,
    pub(crate) reference: String,
    /// When it happened (at the source).
    pub(crate) at: Timestamp,
    /// Present when a feed reported it.
    pub(crate) feed: Option<FeedRow>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The position is as the change says.
    Applied,
    /// It was applied before.
    Duplicate,
    /// Its key was used before for something else.
    Reused {
        /// What that was, for people.
        before: String,
    },
    /// Something newer was applied before.
    Stale(Stale),
    /// No such SKU.
    UnknownSku,
    /// No such SKU, and the code looks like a broken one.
    Damaged(Damage),
    /// A kit has no stock of its own.
    IsKit,
    /// A rule said no.
    Refused(Refusal),
}

/// A snapshot to be closed.
pub(crate) struct Close {
    pub(crate) node: NodeId,
    pub(crate) at: Timestamp,
    pub(crate) reference: String,
    pub(crate) force: bool,
}

/// An item as it is to be, with the version that the caller has seen.
pub(crate) struct Draft {
    pub(crate) item: Item,
    pub(crate) etag: Option<i64>,
}
