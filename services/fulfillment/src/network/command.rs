//! What is asked of the network, as the verbs take it.

use contract::fulfillment::v1 as pb;
use server::Violation;

/// One node of a request.
pub(crate) struct PutNode {
    /// As given.
    pub(crate) node: pb::Node,
    /// What is wrong with it; empty: nothing.
    pub(crate) faults: Vec<Violation>,
}
