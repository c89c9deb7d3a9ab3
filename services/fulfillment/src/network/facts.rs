//! What policies ask about nodes: their kind and tags. Nodes that are new or have others are an event, by which the other
//! services know them.

use std::collections::{BTreeSet, HashMap};

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::NodeId;
use domain::policy::NodeFacts;
use domain::time::Timestamp;
use policy::nodes::{self, Stored};
use policy::{event, wire};
use service::Call;

use crate::error::Error;
use crate::policy::ambiguity::Named;
use crate::policy::refusal::{Ambiguous, Refusal};
use crate::store::policy as store;

/// Keeps what policies ask about nodes that are to be stored, whose rows are locked, and appends the events. A node whose
/// tags would put it into two groups that versions of equal rank name is taken out of `good`, and answered with the
/// versions; when none is left, the call is refused.
pub(super) async fn keep(
    tx: &mut Tx,
    call: &Call,
    good: &mut Vec<pb::Node>,
    now: Timestamp,
) -> Result<HashMap<String, Ambiguous>, Error> {
    let mut refused: HashMap<String, Ambiguous> = HashMap::new();
    if changed(tx, good).await?.is_empty() {
        return Ok(refused);
    }
    store::lock(tx).await?;
    // Once more: a node that is new here may have been new elsewhere a moment ago.
    let mut changed = changed(tx, good).await?;
    let named = Named::read(tx, None, now).await?;
    if named.may_meet() {
        changed.retain(|stored| match named.meet_at(&stored.node, &stored.facts, now) {
            Some(met) => {
                refused.insert(stored.node.to_string(), met);
                false
            }
            None => true,
        });
        good.retain(|node| !refused.contains_key(&node.node_id));
        if let Some(met) = refused.values().next().filter(|_| good.is_empty()) {
            return Err(Refusal::Ambiguous(Box::new(met.clone())).into());
        }
    }
    nodes::put(tx, &changed).await?;
    let events: Vec<bus::Event> =
        changed.iter().map(|stored| event::node_changed(stored, call.who.actor(), now)).collect();
    bus::outbox::append(tx, &events).await?;
    Ok(refused)
}

/// Those of the nodes that policies know otherwise or not at all, as they are to be kept.
async fn changed(tx: &mut Tx, nodes: &[pb::Node]) -> Result<Vec<Stored>, Error> {
    let known = nodes::many(tx, nodes.iter().map(|node| node.node_id.as_str())).await?;
    let known: HashMap<&NodeId, &Stored> = known.iter().map(|stored| (&stored.node, stored)).collect();
    let mut changed = Vec::new();
    for node in nodes {
        let (node, facts) = facts(node)?;
        let before = known.get(&node);
        if before.is_none_or(|before| before.facts != facts) {
            let sequence = before.map_or(0, |before| before.sequence) + 1;
            changed.push(Stored { node, facts, sequence });
        }
    }
    Ok(changed)
}

fn facts(node: &pb::Node) -> Result<(NodeId, NodeFacts), Error> {
    let unreadable = |why: String| Error::corrupt(format!("node {}: {why}", node.node_id));
    let id = NodeId::new(node.node_id.as_str()).map_err(|why| unreadable(why.to_string()))?;
    let kind = wire::node_kind_of(node.kind).map_err(|why| unreadable(why.to_string()))?;
    let kind = kind.ok_or_else(|| unreadable("it has no kind".to_owned()))?;
    let tags: BTreeSet<String> = node.tags.iter().cloned().collect();
    Ok((id, NodeFacts { kind, tags }))
}
