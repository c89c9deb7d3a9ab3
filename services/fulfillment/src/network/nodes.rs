//! The verbs of the network: nodes are put, read, shut and reopened.

use std::collections::HashMap;

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::NodeId;
use domain::network::Node;
use server::Violation;

use super::command::PutNode;
use super::facts;
use crate::Fulfillment;
use crate::error::{Error, reason};
use crate::policy::refusal::Ambiguous;
use crate::store::network::{self as store, StoredNode};
use crate::wire::fitting;
use crate::wire::network as wire;
use service::{Call, Fault, Turn};

impl Fulfillment {
    /// Creates or replaces nodes, each by itself. When none can be stored, the call is refused.
    pub(crate) async fn put_nodes(
        &self,
        call: &Call,
        asked: Vec<PutNode>,
    ) -> Result<pb::PutNodesResponse, Error> {
        let (reply, stored) = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok((reply, Vec::new())),
            };
            let (mut good, mut results) = judge(&mut tx, &asked).await?;
            if good.is_empty() {
                return Err(refusal(&asked));
            }
            refuse(&mut results, &facts::keep(&mut tx, call, &mut good, now).await?);
            let mut stored = store::put(&mut tx, &good, now).await?;
            let place = |stored: &StoredNode| good.iter().position(|n| n.node_id == stored.node.node_id);
            stored.sort_by_key(place);
            let nodes = stored.iter().cloned().map(|stored| self.shown(stored)).collect();
            let reply = pb::PutNodesResponse { nodes, results };
            call.finish(tx, &reply).await?;
            Ok((reply, stored))
        })
        .await?;
        self.learn_nodes(&stored)?;
        self.learn_facts().await;
        Ok(reply)
    }

    /// Shuts a node for a time, or ends that: one that opens again has answered.
    pub(crate) async fn set_closing(
        &self,
        call: &Call,
        node: &NodeId,
        closing: Option<pb::TemporaryClosing>,
    ) -> Result<pb::Node, Error> {
        let (reply, stored) = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok((reply, Vec::new())),
            };
            let Some(stored) = store::lock(&mut tx, node.as_str()).await? else {
                return Err(Error::NodeNotFound(node.to_string()));
            };
            if closing.is_none() {
                self.answered(&mut tx, node, now).await?;
            }
            let changed = pb::Node { closing: closing.clone(), ..stored.node };
            let stored = store::put(&mut tx, &[changed], now).await?;
            let Some(reply) = stored.first().cloned().map(|stored| self.shown(stored)) else {
                return Err(Error::NodeNotFound(node.to_string()));
            };
            call.finish(tx, &reply).await?;
            Ok((reply, stored))
        })
        .await?;
        self.learn_nodes(&stored)?;
        if closing.is_none() {
            self.note_answer(node);
        }
        Ok(reply)
    }

    /// One node.
    pub(crate) async fn get_node(&self, node: &str) -> Result<pb::Node, Error> {
        let mut tx = self.db.read().await?;
        let stored = store::get(&mut tx, node).await?;
        tx.commit().await?;
        stored.map(|stored| self.shown(stored)).ok_or_else(|| Error::NodeNotFound(node.to_owned()))
    }

    /// Nodes after a code, and the code to go on from.
    pub(crate) async fn list_nodes(&self, after: &str, size: i64) -> Result<(Vec<pb::Node>, String), Error> {
        let mut tx = self.db.read().await?;
        let found = store::page(&mut tx, after, size + 1).await?;
        tx.commit().await?;
        let (there, most) = (found.len(), usize::try_from(size).unwrap_or(1));
        let page = fitting(found.into_iter().take(most).map(|stored| self.shown(stored)));
        let next = page.last().filter(|_| page.len() < there).map(|last| last.node_id.clone());
        let next = next.unwrap_or_default();
        Ok((page, next))
    }

    /// A node as callers have it.
    fn shown(&self, stored: StoredNode) -> pb::Node {
        let silent = self.network.silence.until(&stored.node.node_id, self.clock.business());
        wire::answer(stored, silent)
    }

    /// Takes stored nodes into the index.
    pub(crate) fn learn_nodes(&self, stored: &[StoredNode]) -> Result<(), Error> {
        let read = |stored: &StoredNode| Ok((wire::stored(stored)?, stored.version));
        let nodes = stored.iter().map(read).collect::<Result<Vec<(Node, i64)>, Error>>()?;
        self.network.put(nodes);
        Ok(())
    }
}

/// Those of the nodes that can be stored, and a verdict on each.
async fn judge(tx: &mut Tx, asked: &[PutNode]) -> Result<(Vec<pb::Node>, Vec<pb::NodeResult>), Error> {
    let sound: Vec<pb::Node> =
        asked.iter().filter(|asked| asked.faults.is_empty()).map(|asked| asked.node.clone()).collect();
    let versions = store::lock_versions(tx, &sound).await?;
    let (mut good, mut results) = (Vec::with_capacity(sound.len()), Vec::with_capacity(asked.len()));
    for PutNode { node, faults } in asked {
        let version = versions.get(&node.node_id).copied();
        let has_changed = !node.etag.is_empty() && version.map(wire::etag).as_deref() != Some(&node.etag);
        results.push(if !faults.is_empty() {
            let faults: Vec<String> =
                faults.iter().map(|fault| format!("{} {}", fault.field, fault.description)).collect();
            result(node, pb::NodeVerdict::Refused, "INVALID_NODE", faults.join("; "))
        } else if has_changed {
            let message = Error::NodeChanged(node.node_id.clone()).to_string();
            result(node, pb::NodeVerdict::Refused, "NODE_CHANGED", message)
        } else {
            good.push(wire::bare(node.clone()));
            let is_new = version.is_none();
            let verdict = if is_new { pb::NodeVerdict::Created } else { pb::NodeVerdict::Replaced };
            result(node, verdict, "", String::new())
        });
    }
    Ok((good, results))
}

/// Refuses nodes that would make policies ambiguous.
fn refuse(results: &mut [pb::NodeResult], ambiguous: &HashMap<String, Ambiguous>) {
    for result in results {
        if let Some(with) = ambiguous.get(&result.node_id) {
            result.verdict = pb::NodeVerdict::Refused.into();
            result.reason = reason::POLICY_AMBIGUOUS.name.to_owned();
            result.message = with.to_string();
        }
    }
}

fn result(node: &pb::Node, verdict: pb::NodeVerdict, reason: &str, message: String) -> pb::NodeResult {
    let node_id = node.node_id.clone();
    pb::NodeResult { node_id, verdict: verdict.into(), reason: reason.to_owned(), message }
}

/// Why none of the nodes can be stored.
fn refusal(asked: &[PutNode]) -> Error {
    let faults: Vec<Violation> = asked.iter().flat_map(|asked| asked.faults.clone()).take(100).collect();
    match asked.iter().find(|asked| asked.faults.is_empty()) {
        Some(changed) if faults.is_empty() => Error::NodeChanged(changed.node.node_id.clone()),
        Some(_) | None => Fault::Invalid(faults).into(),
    }
}
