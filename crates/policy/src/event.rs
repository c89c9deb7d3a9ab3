//! The events that tell others about a change, and the aggregates that they are about.

use bus::{Event, Topic};
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use domain::id::{Uuid, derived};
use domain::time::Timestamp;
use prost::Message as _;
use service::Fault;

use crate::{groups, nodes, policies, wire};

/// The aggregate type of versions.
pub const POLICY: &str = "policy";
/// The aggregate type of groups of nodes.
pub const NODE_GROUP: &str = "node_group";
/// The aggregate type of nodes.
pub const NODE: &str = "node";

/// What a follower follows on the topic of fulfillment.
pub const AGGREGATES: &[&str] = &[POLICY, NODE_GROUP, NODE];

/// A version was put, or its time in force changed.
pub fn policy_changed(stored: &policies::Stored, actor: &str, at: Timestamp) -> Result<Event, Fault> {
    let aggregate = wire::policy_id(&stored.policy.policy_id).map_err(Fault::unreadable)?;
    let changed = pb::PolicyChanged { policy: Some(stored.policy.clone()) };
    let of = Of { kind: POLICY, aggregate, sequence: stored.sequence };
    Ok(of.event("entrepot.fulfillment.v1.PolicyChanged", Body::PolicyChanged(changed), actor, at))
}

/// A group was put or deleted.
pub fn group_changed(stored: &groups::Stored, actor: &str, at: Timestamp) -> Event {
    let code = stored.code.as_str();
    let is_deleted = stored.group.is_none();
    let deleted = || pb::NodeGroup { node_group: code.to_owned(), ..pb::NodeGroup::default() };
    let group = Some(stored.group.clone().unwrap_or_else(deleted));
    let changed = pb::NodeGroupChanged { group, is_deleted };
    let of = Of { kind: NODE_GROUP, aggregate: derived(NODE_GROUP, code), sequence: stored.sequence };
    of.event("entrepot.fulfillment.v1.NodeGroupChanged", Body::NodeGroupChanged(changed), actor, at)
}

/// A node is new, or what policies ask about it changed.
pub fn node_changed(stored: &nodes::Stored, actor: &str, at: Timestamp) -> Event {
    let changed = pb::NodeChanged {
        node_id: stored.node.to_string(),
        kind: wire::node_kind(stored.facts.kind),
        tags: stored.facts.tags.iter().cloned().collect(),
    };
    let of = Of { kind: NODE, aggregate: derived(NODE, stored.node.as_str()), sequence: stored.sequence };
    of.event("entrepot.fulfillment.v1.NodeChanged", Body::NodeChanged(changed), actor, at)
}

/// The aggregate that an event is about.
struct Of {
    kind: &'static str,
    aggregate: Uuid,
    sequence: i64,
}

impl Of {
    fn event(self, event_type: &'static str, body: Body, actor: &str, at: Timestamp) -> Event {
        let message = pb::FulfillmentEvent { fulfillment_order: None, body: Some(body) };
        Event {
            topic: Topic::Fulfillment,
            aggregate_type: self.kind,
            aggregate: self.aggregate,
            sequence: self.sequence,
            event_type,
            payload: message.encode_to_vec(),
            occurred_at: at,
            actor: actor.to_owned(),
        }
    }
}
