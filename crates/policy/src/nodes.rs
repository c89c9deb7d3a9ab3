//! Rows of what policies ask about nodes.

use std::collections::BTreeSet;

use db::{Row, Tx, Type, insert_rows, params};
use domain::id::NodeId;
use domain::network::Kind;
use domain::policy::NodeFacts;
use service::Fault;

/// What policies ask about a node, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The node.
    pub node: NodeId,
    /// Its kind and tags.
    pub facts: NodeFacts,
    /// Of the last event about it; the owner counts from 1.
    pub sequence: i64,
}

/// Between two tags of a row; no tag has it.
const BETWEEN: &str = " ";

/// Writes nodes, each unless its row has a newer sequence. Answers how many were written.
pub async fn put(tx: &mut Tx, nodes: &[Stored]) -> Result<u64, Fault> {
    let now = tx.now().await?;
    let row = |stored: &Stored| {
        let tags: Vec<&str> = stored.facts.tags.iter().map(String::as_str).collect();
        params![stored.node.as_str(), stored.facts.kind.name(), tags.join(BETWEEN), stored.sequence, now]
    };
    let (text, columns) = insert_rows!(
        "policy_nodes",
        [node_id: Text, kind: Text, tags: Text, sequence: BigInt, updated_at: BigInt],
        "WHERE true ORDER BY r.node_id
         ON CONFLICT (node_id) DO UPDATE
            SET kind = excluded.kind, tags = excluded.tags, sequence = excluded.sequence,
                updated_at = excluded.updated_at
          WHERE policy_nodes.sequence < excluded.sequence"
    );
    Ok(tx.batch(text, columns, nodes.iter().map(row).collect()).await?)
}

fn read(row: &Row) -> Result<Stored, Fault> {
    let (node, kind, tags): (String, String, String) =
        (row.get("node_id")?, row.get("kind")?, row.get("tags")?);
    let unreadable = || Fault::unreadable(format!("what policies know of node {node}"));
    let id = NodeId::new(node.as_str()).map_err(|_| unreadable())?;
    let kind = Kind::parse(&kind).ok_or_else(unreadable)?;
    let tags: BTreeSet<String> =
        tags.split(BETWEEN).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    Ok(Stored { node: id, facts: NodeFacts { kind, tags }, sequence: row.get("sequence")? })
}

/// Those of these nodes that have rows, in no order.
pub async fn many(tx: &mut Tx, nodes: impl IntoIterator<Item = &str>) -> Result<Vec<Stored>, Fault> {
    let rows = tx
        .batch_fetch(
            "SELECT n.node_id, n.kind, n.tags, n.sequence FROM policy_nodes n JOIN {rows} ON n.node_id = r.node_id",
            &[("node_id", Type::Text)],
            nodes.into_iter().map(|node| params![node]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Nodes after a code, in code order.
pub async fn page(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Stored>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT node_id, kind, tags, sequence FROM policy_nodes WHERE node_id > $1 ORDER BY node_id LIMIT $2",
            params![after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// A change of a row: when, in microseconds, and its key.
pub(crate) type Mark = (i64, String);

/// Changes after a mark, oldest first, each with its sequence.
pub(crate) async fn changed_after(tx: &mut Tx, mark: &Mark, limit: i64) -> Result<Vec<(Mark, i64)>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT node_id, sequence, updated_at FROM policy_nodes
              WHERE (updated_at, node_id) > ($1, $2) ORDER BY updated_at, node_id LIMIT $3",
            params![mark.0, mark.1.as_str(), limit],
        )
        .await?;
    let change = |row: &Row| Ok(((row.get("updated_at")?, row.get("node_id")?), row.get("sequence")?));
    rows.iter().map(change).collect()
}
