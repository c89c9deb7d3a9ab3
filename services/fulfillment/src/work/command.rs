//! What is asked of the nodes' work, as the verbs take it.

use domain::fulfillment::code::Code;
use domain::fulfillment::method::Method;
use domain::fulfillment::{AtHandover, Collector, MovedLine, Payment, RejectReason, State, Units};
use domain::id::{self, DecisionId, FulfillmentId, NodeId, OrderId, PromiseToken, Sku};
use domain::money::Money;
use jiff::Timestamp;
use service::Call;
use work_feed::{Cursor, Position};

use super::named::Named;
use super::wishes::{Origin, Wishes};
use crate::store::claim::Loss;

/// A verb that needs no more than the fulfillment order.
pub(crate) struct OnWork {
    pub(crate) call: Call,
    pub(crate) id: FulfillmentId,
}

/// A refusal of work.
pub(crate) struct Reject {
    pub(crate) call: Call,
    pub(crate) id: FulfillmentId,
    pub(crate) reason: RejectReason,
    pub(crate) note: String,
    /// What the reason is about; empty: all lines.
    pub(crate) named: Vec<Named>,
}

/// A report of picked and short units.
pub(crate) struct PickLines {
    pub(crate) call: Call,
    pub(crate) id: FulfillmentId,
    pub(crate) lines: Vec<MovedLine>,
    /// Parts of kits that are short.
    pub(crate) named: Vec<Named>,
}

/// A handover.
pub(crate) struct HandOver {
    pub(crate) call: Call,
    pub(crate) id: FulfillmentId,
    pub(crate) code: Code,
    pub(crate) lines: Option<Vec<Units>>,
    pub(crate) collector: Collector,
    pub(crate) collector_ref: String,
    /// What is paid with it.
    pub(crate) payment: Option<Payment>,
}

/// Asks for a new code.
pub(crate) struct IssueCode {
    pub(crate) id: FulfillmentId,
}

/// Asks what a code opens.
pub(crate) struct FindByCode {
    pub(crate) node: NodeId,
    pub(crate) code: Code,
}

/// A page of the fulfillment orders of an order, newest first.
pub(crate) struct ListOfOrder {
    pub(crate) order: OrderId,
    pub(crate) size: usize,
    /// What the page begins after.
    pub(crate) after: Option<Position>,
}

/// A page of a node's work.
pub(crate) struct ListWork {
    pub(crate) node: NodeId,
    /// Any of these; empty: all that the node still has to do.
    pub(crate) states: Vec<State>,
    pub(crate) size: usize,
    pub(crate) after: Position,
}

/// Asks for a node's stream.
pub(crate) struct WatchWork {
    pub(crate) node: NodeId,
    pub(crate) cursor: Option<Cursor>,
}

/// An order that was released to fulfillment: all that its node needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Released {
    /// Its leg, whose id the work has.
    pub(crate) id: FulfillmentId,
    /// The order.
    pub(crate) order: OrderId,
    /// Its version.
    pub(crate) order_version: i64,
    /// The promise that it was placed on.
    pub(crate) token: PromiseToken,
    /// How the goods reach the customer.
    pub(crate) method: Method,
    /// The node that serves it.
    pub(crate) node: NodeId,
    /// What to hand over.
    pub(crate) lines: Vec<ReleasedLine>,
    /// When it should be ready.
    pub(crate) promised: Timestamp,
    /// The channel.
    pub(crate) channel: String,
    /// The channel's number of the order.
    pub(crate) channel_order_id: String,
    /// Who buys, and in which journey.
    pub(crate) origin: Origin,
    /// Who may receive the goods, and how they are packed.
    pub(crate) wishes: Wishes,
    /// How the node was chosen.
    pub(crate) decision: DecisionId,
    /// It came with the promise of another order, so it has neither stock nor capacity.
    pub(crate) is_another_orders: bool,
    /// What it is to bring in at its handovers; none: nothing.
    pub(crate) at_handover: Option<AtHandover>,
    /// The order is not paid before its goods are handed over.
    pub(crate) is_unpaid: bool,
    /// Among whose unpaid orders it counts, `kind/id`; none: nobody's.
    pub(crate) holder: Option<String>,
    /// The order was blocked before: its work may be there already, and be waiting for a payment that was lost.
    pub(crate) is_unblocked: bool,
}

impl Released {
    /// The promise it came with is another order's, and no event of this order may touch that: it gets an id and a token
    /// of its own, under which nothing was ever held.
    pub(crate) fn without_promise(self) -> Self {
        let id = self.id.without_claim(self.order);
        let token = PromiseToken::new(id::derived("promise.none", &format!("{}|{}", self.token, self.order)));
        Self { id, token, decision: DecisionId::new(id.uuid()), is_another_orders: true, ..self }
    }
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleasedLine {
    /// Line of the order.
    pub(crate) line: u32,
    /// The item.
    pub(crate) sku: Sku,
    /// Its name for the pick list.
    pub(crate) name: String,
    /// Pieces.
    pub(crate) quantity: i64,
    /// What they cost at the handover, in minor units.
    pub(crate) due_minor: i64,
}

/// What a cancel of an order asks of one of its legs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cancelling {
    pub(crate) order: OrderId,
    pub(crate) leg: FulfillmentId,
    /// The number of the cancel in its order.
    pub(crate) number: i64,
    pub(crate) lines: Vec<Units>,
    pub(crate) reason: String,
    /// Of the order.
    pub(crate) origin: Origin,
}

/// An order has units of a leg elsewhere, or does not want them any more: their claim is let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LetGo {
    pub(crate) order: OrderId,
    pub(crate) leg: FulfillmentId,
    pub(crate) lines: Vec<Units>,
}

/// Another amount is due for a leg, or its handover waits for a payment, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paying {
    pub(crate) order: OrderId,
    pub(crate) leg: FulfillmentId,
    pub(crate) what: NewDue,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewDue {
    /// This is due for all pieces of the leg; what was paid at its own handovers is not taken off.
    Amount(Money),
    /// A payment was lost.
    Lost,
    /// What was lost was paid again.
    PaidAgain,
}

/// The claim on the stock of a leg was lost, or a part of it, or is doubtful.
pub(crate) struct Lost<'a> {
    pub(crate) leg: FulfillmentId,
    pub(crate) order: OrderId,
    pub(crate) loss: Loss,
    pub(crate) actor: &'a str,
}
