//! Nodes: one row each, the node as its owner wrote it.

use std::collections::{BTreeSet, HashMap};

use contract::fulfillment::v1 as pb;
use db::{Row, Tx, Type, insert_rows, params};
use domain::time::micros;
use jiff::Timestamp;
use prost::Message;

use crate::error::Error;

/// A node as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredNode {
    /// As its owner wrote it, without output fields.
    pub(crate) node: pb::Node,
    /// From 1.
    pub(crate) version: i64,
    /// In microseconds.
    pub(crate) updated_at: i64,
}

fn read(row: &Row) -> Result<StoredNode, Error> {
    let body: Vec<u8> = row.get("body")?;
    let node = pb::Node::decode(body.as_slice()).map_err(|e| Error::corrupt(format!("a node: {e}")))?;
    Ok(StoredNode { node, version: row.get("version")?, updated_at: row.get("updated_at")? })
}

/// Nodes after a code, in order.
pub(crate) async fn page(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<StoredNode>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT body, version, updated_at FROM nodes WHERE node_id > $1 ORDER BY node_id LIMIT $2",
            params![after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Where a reading of changes stands: the instant of the last change read, and its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    /// In microseconds.
    pub(crate) updated_at: i64,
    /// The node.
    pub(crate) node: String,
}

/// The versions of nodes that changed after a mark, oldest change first.
pub(crate) async fn changed_after(tx: &mut Tx, mark: &Mark, limit: i64) -> Result<Vec<(Mark, i64)>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT node_id, version, updated_at FROM nodes WHERE (updated_at, node_id) > ($1, $2)
              ORDER BY updated_at, node_id LIMIT $3",
            params![mark.updated_at, mark.node.as_str(), limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok((Mark { updated_at: row.get("updated_at")?, node: row.get("node_id")? }, row.get("version")?))
        })
        .collect()
}

/// Those of these nodes that exist.
pub(crate) async fn many(tx: &mut Tx, nodes: &[String]) -> Result<Vec<StoredNode>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT n.body, n.version, n.updated_at FROM nodes n JOIN {rows} ON n.node_id = r.node_id",
            &[("node_id", Type::Text)],
            nodes.iter().map(|node| params![node.as_str()]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// One node.
pub(crate) async fn get(tx: &mut Tx, node: &str) -> Result<Option<StoredNode>, Error> {
    let row = tx
        .fetch_optional("SELECT body, version, updated_at FROM nodes WHERE node_id = $1", params![node])
        .await?;
    row.as_ref().map(read).transpose()
}

/// One node, locked.
pub(crate) async fn lock(tx: &mut Tx, node: &str) -> Result<Option<StoredNode>, Error> {
    let row = tx
        .lock_one(
            "SELECT n.body, n.version, n.updated_at FROM nodes n WHERE n.node_id = $1 {lock:n}",
            params![node],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// The versions of those of these nodes that exist.
pub(crate) async fn versions(tx: &mut Tx, nodes: &BTreeSet<&str>) -> Result<HashMap<String, i64>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT n.node_id, n.version FROM nodes n JOIN {rows} ON n.node_id = r.node_id",
            &[("node_id", Type::Text)],
            nodes.iter().map(|node| params![*node]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("node_id")?, row.get("version")?))).collect()
}

/// The versions of those of these nodes that exist, locked.
pub(crate) async fn lock_versions(tx: &mut Tx, nodes: &[pb::Node]) -> Result<HashMap<String, i64>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT n.node_id, n.version FROM nodes n JOIN {rows} ON n.node_id = r.node_id
              ORDER BY n.node_id {lock:n}",
            &[("node_id", Type::Text)],
            nodes.iter().map(|node| params![node.node_id.as_str()]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("node_id")?, row.get("version")?))).collect()
}

/// Writes nodes; the version of one that exists grows by one. Answers them as stored, in no order.
pub(crate) async fn put(tx: &mut Tx, nodes: &[pb::Node], now: Timestamp) -> Result<Vec<StoredNode>, Error> {
    let rows =
        nodes.iter().map(|node| params![node.node_id.as_str(), node.encode_to_vec(), micros(now)]).collect();
    let (text, columns) = insert_rows!(
        "nodes",
        [node_id: Text, body: Bytes, updated_at: BigInt],
        and "version" = "1",
        "WHERE true ORDER BY r.node_id
         ON CONFLICT (node_id) DO UPDATE
            SET version = nodes.version + 1, body = excluded.body, updated_at = excluded.updated_at
         RETURNING body, version, updated_at"
    );
    let stored = tx.batch_fetch(text, columns, rows).await?;
    stored.iter().map(read).collect()
}
