//! The verbs of the network: nodes are put, read, shut and reopened.

use contract::fulfillment::v1 as pb;
use domain::network::Node;

use crate::Fulfillment;
use crate::error::Error;
use crate::store::network::{self as store, StoredNode};
use crate::verb::{Call, Turn};
use crate::wire::fitting;
use crate::wire::network as wire;

impl Fulfillment {
    /// Creates or replaces nodes, all or none.
    pub(crate) async fn put_nodes(
        &self,
        call: &Call,
        nodes: Vec<pb::Node>,
    ) -> Result<pb::PutNodesResponse, Error> {
        let (reply, stored) = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok((reply, Vec::new())),
            };
            let versions = store::lock_versions(&mut tx, &nodes).await?;
            for node in nodes.iter().filter(|node| !node.etag.is_empty()) {
                let current = versions.get(&node.node_id).map(|version| wire::etag(*version));
                if current.as_deref() != Some(node.etag.as_str()) {
                    return Err(Error::NodeChanged(node.node_id.clone()));
                }
            }
            let bare: Vec<pb::Node> = nodes.iter().cloned().map(wire::bare).collect();
            let mut stored = store::put(&mut tx, &bare, now).await?;
            let place = |stored: &StoredNode| nodes.iter().position(|n| n.node_id == stored.node.node_id);
            stored.sort_by_key(place);
            let reply = pb::PutNodesResponse { nodes: stored.iter().cloned().map(wire::answer).collect() };
            call.finish(tx, &reply).await?;
            Ok((reply, stored))
        })
        .await?;
        self.learn_nodes(&stored)?;
        Ok(reply)
    }

    /// Shuts a node for a time, or ends that.
    pub(crate) async fn set_closing(
        &self,
        call: &Call,
        node: &str,
        closing: Option<pb::TemporaryClosing>,
    ) -> Result<pb::Node, Error> {
        let (reply, stored) = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok((reply, Vec::new())),
            };
            let Some(stored) = store::lock(&mut tx, node).await? else {
                return Err(Error::NodeNotFound(node.to_owned()));
            };
            let changed = pb::Node { closing: closing.clone(), ..stored.node };
            let stored = store::put(&mut tx, &[changed], now).await?;
            let Some(reply) = stored.first().cloned().map(wire::answer) else {
                return Err(Error::NodeNotFound(node.to_owned()));
            };
            call.finish(tx, &reply).await?;
            Ok((reply, stored))
        })
        .await?;
        self.learn_nodes(&stored)?;
        Ok(reply)
    }

    /// One node.
    pub(crate) async fn get_node(&self, node: &str) -> Result<pb::Node, Error> {
        let mut tx = self.db.read().await?;
        let stored = store::get(&mut tx, node).await?;
        tx.commit().await?;
        stored.map(wire::answer).ok_or_else(|| Error::NodeNotFound(node.to_owned()))
    }

    /// Nodes after a code, and the code to go on from.
    pub(crate) async fn list_nodes(&self, after: &str, size: i64) -> Result<(Vec<pb::Node>, String), Error> {
        let mut tx = self.db.read().await?;
        let found = store::page(&mut tx, after, size + 1).await?;
        tx.commit().await?;
        let (there, most) = (found.len(), usize::try_from(size).unwrap_or(1));
        let page = fitting(found.into_iter().take(most).map(wire::answer));
        let next = page.last().filter(|_| page.len() < there).map(|last| last.node_id.clone());
        let next = next.unwrap_or_default();
        Ok((page, next))
    }

    /// Takes stored nodes into the index.
    pub(crate) fn learn_nodes(&self, stored: &[StoredNode]) -> Result<(), Error> {
        let read = |stored: &StoredNode| Ok((wire::stored(stored)?, stored.version));
        let nodes = stored.iter().map(read).collect::<Result<Vec<(Node, i64)>, Error>>()?;
        self.network.put(nodes);
        Ok(())
    }
}
