//! Rows of groups of nodes.

use contract::fulfillment::v1 as pb;
use db::{Row, Tx, Type, params};
use prost::Message;
use service::Fault;

/// A group as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its code.
    pub code: String,
    /// As the wire has it; none: it was deleted, and its sequence goes on should it be put again.
    pub group: Option<pb::NodeGroup>,
    /// Of the last event about it; the owner counts from 1.
    pub sequence: i64,
}

/// Writes a group, unless the row has a newer sequence. Answers whether it was written.
pub async fn put(tx: &mut Tx, stored: &Stored) -> Result<bool, Fault> {
    let body = stored.group.as_ref().map(prost::Message::encode_to_vec);
    let written = tx
        .execute(
            "INSERT INTO node_groups (node_group, sequence, body, updated_at) VALUES ($1, $2, $3, {now})
             ON CONFLICT (node_group) DO UPDATE
                SET sequence = excluded.sequence, body = excluded.body, updated_at = excluded.updated_at
              WHERE node_groups.sequence < excluded.sequence",
            params![stored.code.as_str(), stored.sequence, body],
        )
        .await?;
    Ok(written > 0)
}

fn read(row: &Row) -> Result<Stored, Fault> {
    let body: Option<Vec<u8>> = row.get("body")?;
    let group = body.map(|body| pb::NodeGroup::decode(body.as_slice()));
    let group =
        group.transpose().map_err(|error| Fault::unreadable(format!("a stored node group: {error}")))?;
    Ok(Stored { code: row.get("node_group")?, group, sequence: row.get("sequence")? })
}

/// One group; one that was deleted too.
pub async fn get(tx: &mut Tx, code: &str) -> Result<Option<Stored>, Fault> {
    let row = tx
        .fetch_optional(
            "SELECT node_group, sequence, body FROM node_groups WHERE node_group = $1",
            params![code],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// Those of these groups that have rows, in no order.
pub async fn many(tx: &mut Tx, codes: impl IntoIterator<Item = &str>) -> Result<Vec<Stored>, Fault> {
    let rows = tx
        .batch_fetch(
            "SELECT g.node_group, g.sequence, g.body FROM node_groups g JOIN {rows} ON g.node_group = r.node_group",
            &[("node_group", Type::Text)],
            codes.into_iter().map(|code| params![code]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Groups after a code, in code order, without those that were deleted.
pub async fn page(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Stored>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT node_group, sequence, body FROM node_groups
              WHERE node_group > $1 AND body IS NOT NULL ORDER BY node_group LIMIT $2",
            params![after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// How many groups there are.
pub async fn count(tx: &mut Tx) -> Result<i64, Fault> {
    let row = tx.fetch_one("SELECT COUNT(body) AS n FROM node_groups", params![]).await?;
    Ok(row.get("n")?)
}

/// A change of a row: when, in microseconds, and its key.
pub(crate) type Mark = (i64, String);

/// Changes after a mark, oldest first, each with its sequence.
pub(crate) async fn changed_after(tx: &mut Tx, mark: &Mark, limit: i64) -> Result<Vec<(Mark, i64)>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT node_group, sequence, updated_at FROM node_groups
              WHERE (updated_at, node_group) > ($1, $2) ORDER BY updated_at, node_group LIMIT $3",
            params![mark.0, mark.1.as_str(), limit],
        )
        .await?;
    let change = |row: &Row| Ok(((row.get("updated_at")?, row.get("node_group")?), row.get("sequence")?));
    rows.iter().map(change).collect()
}
