//! What a follower does with the events.

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use db::Tx;
use prost::Message as _;
use service::Fault;

use crate::event::AGGREGATES;
use crate::{groups, nodes, policies, wire};

/// Whether an event is about a policy, a group of nodes or a node.
pub fn is_of(event: &Delivered) -> bool {
    event.topic == Topic::Fulfillment && AGGREGATES.contains(&event.aggregate_type.as_str())
}

/// Keeps what an event says, unless the row has heard a newer one. Answers whether anything changed. Events of others
/// ([`is_of`]) change nothing.
pub async fn apply(tx: &mut Tx, event: &Delivered) -> Result<bool, Fault> {
    if !is_of(event) {
        return Ok(false);
    }
    let unreadable = |why: &dyn std::fmt::Display| Fault::unreadable(format!("event {}: {why}", event.id));
    let message = pb::FulfillmentEvent::decode(event.payload.clone()).map_err(|error| unreadable(&error))?;
    let sequence = event.sequence;
    match message.body {
        Some(Body::PolicyChanged(pb::PolicyChanged { policy: Some(policy) })) => {
            policies::put(tx, &policies::Stored { policy, sequence }).await
        }
        Some(Body::NodeGroupChanged(pb::NodeGroupChanged { group: Some(group), is_deleted })) => {
            let code = group.node_group.clone();
            let group = (!is_deleted).then_some(group);
            groups::put(tx, &groups::Stored { code, group, sequence }).await
        }
        Some(Body::NodeChanged(changed)) => {
            let (node, facts) = wire::node(&changed).map_err(|why| unreadable(&why))?;
            Ok(nodes::put(tx, &[nodes::Stored { node, facts, sequence }]).await? > 0)
        }
        _ => Err(unreadable(&format_args!("it says nothing about a {}", event.aggregate_type))),
    }
}
