//! What a cart can be promised, and why not.

use std::sync::Arc;

use domain::fulfillment::method::Method;
use domain::id::{NodeId, Sku};
use domain::network::Node;
use domain::promise::{Offer, Refused};
use domain::sourcing::Decision;

use crate::promise::command::Line;

/// A node that can serve the cart.
#[derive(Debug, Clone)]
pub(crate) struct Able {
    /// The method.
    pub(crate) method: Method,
    /// The node.
    pub(crate) node: Arc<Node>,
    /// What it can do.
    pub(crate) offer: Offer,
    /// Metres from the place asked for.
    pub(crate) distance_m: Option<f64>,
}

/// One leg as planned: what one node does for a group of a cart.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// The node, and what it can do.
    pub(crate) able: Able,
    /// How it was chosen.
    pub(crate) decision: Decision,
    /// The version of the node.
    pub(crate) version: i64,
    /// The pieces that it serves.
    pub(crate) lines: Vec<Line>,
}

/// A "no".
#[derive(Debug, Clone)]
pub(crate) struct Unable {
    /// The method.
    pub(crate) method: Method,
    /// The node asked for; `None`: no node can.
    pub(crate) node: Option<NodeId>,
    /// Why.
    pub(crate) refused: Refused,
    /// SKUs that ran out.
    pub(crate) lacking: Vec<Sku>,
    /// Others that can.
    pub(crate) alternatives: Vec<Able>,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Best first.
    pub(crate) options: Vec<Able>,
    /// What is not offered, with reasons.
    pub(crate) refusals: Vec<Unable>,
}
