//! What is asked of the nodes' work, as the verbs take it.

use domain::fulfillment::method::Method;
use domain::id::{self, DecisionId, NodeId, OrderId, PromiseToken, Sku};
use jiff::Timestamp;

/// An order that was released to fulfilment: all that its node needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Released {
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
    /// How the node was chosen.
    pub(crate) decision: DecisionId,
    /// It came with the promise of another order, so it has neither stock nor capacity.
    pub(crate) is_another_orders: bool,
}

impl Released {
    /// The promise it came with is another order's, and nothing that is told of this order may touch that: it gets a
    /// token of its own, under which nothing was ever held.
    pub(crate) fn without_promise(self) -> Self {
        let token = PromiseToken::new(id::derived("promise.none", &format!("{}|{}", self.token, self.order)));
        Self { token, decision: DecisionId::new(token.uuid()), is_another_orders: true, ..self }
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
}
