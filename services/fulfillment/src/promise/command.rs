//! What callers ask of promises, as the verbs take it.

use domain::fulfillment::method::Method;
use domain::id::{FulfillmentId, NodeId, Sku};
use domain::place::LatLng;
use jiff::{SignedDuration, Timestamp};
use server::Principal;

/// One line of a cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number.
    pub(crate) number: u32,
    /// Item or kit.
    pub(crate) sku: Sku,
    /// Pieces.
    pub(crate) quantity: i64,
}

/// Which nodes may serve.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// None of these.
    pub(crate) without: Vec<NodeId>,
    /// Its place stands for the customer's where none is given.
    pub(crate) near: Option<NodeId>,
    /// The farthest that a node may be from it, in metres; `None`: any distance.
    pub(crate) radius_m: Option<f64>,
}

/// A question for promises.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The cart.
    pub(crate) lines: Vec<Line>,
    /// Methods asked for that are offered.
    pub(crate) methods: Vec<Method>,
    /// Where the customer is.
    pub(crate) place: Option<LatLng>,
    /// Only this node.
    pub(crate) node: Option<NodeId>,
    /// Which nodes may be named.
    pub(crate) limits: Limits,
    /// When it is wanted, from and until; `None`: as early as possible.
    pub(crate) wanted: Option<(Timestamp, Timestamp)>,
    /// How many options are wanted per method.
    pub(crate) most: usize,
    /// The channel that the cart is sold through.
    pub(crate) channel: Option<String>,
}

/// A part of a cart that is wanted together.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Its number.
    pub(crate) number: u32,
    /// How the goods reach the customer.
    pub(crate) method: Method,
    /// The node; `None`: the platform chooses.
    pub(crate) node: Option<NodeId>,
    /// Where the customer is.
    pub(crate) place: Option<LatLng>,
    /// When it is wanted, from and until; `None`: as early as possible.
    pub(crate) wanted: Option<(Timestamp, Timestamp)>,
    /// Which nodes may serve it, where the platform chooses.
    pub(crate) limits: Limits,
    /// How many nodes may serve it together, at least 1.
    pub(crate) parts: usize,
    /// Its pieces of the lines of the cart.
    pub(crate) lines: Vec<Line>,
}

/// What a caller asks to be held.
#[derive(Debug, Clone)]
pub(crate) struct HoldCommand {
    /// The cart.
    pub(crate) cart: Vec<Line>,
    /// 1 to 20, which have all pieces of the cart together.
    pub(crate) groups: Vec<Group>,
    /// For how long.
    pub(crate) ttl: Option<SignedDuration>,
    /// Legs that this takes the place of.
    pub(crate) instead_of: Vec<FulfillmentId>,
    /// Whose quota it counts for; none: the caller's.
    pub(crate) on_behalf_of: Option<Principal>,
    /// The channel that the cart is sold through.
    pub(crate) channel: Option<String>,
}

impl HoldCommand {
    /// Whose quota it counts for, when `who` asks for it.
    pub(crate) fn holder<'a>(&'a self, who: &'a Principal) -> &'a Principal {
        self.on_behalf_of.as_ref().unwrap_or(who)
    }
}

/// A question for stock near a place.
#[derive(Debug, Clone)]
pub(crate) struct Nearby {
    /// Where.
    pub(crate) place: LatLng,
    /// How far around.
    pub(crate) radius_m: f64,
    /// Of what.
    pub(crate) skus: Vec<Sku>,
    /// How many nodes.
    pub(crate) most: usize,
}
