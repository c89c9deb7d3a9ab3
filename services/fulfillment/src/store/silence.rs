//! Nodes that let offers run out: one row each, from the first one on.

use db::{Row, Tx, params};
use domain::id::NodeId;
use domain::network::silence::Silence;
use domain::time::{from_micros, micros};
use jiff::Timestamp;

use super::network::Mark;
use crate::Error;

/// How silent a node is, locked.
pub(crate) async fn lock(tx: &mut Tx, node: &NodeId) -> Result<Silence, Error> {
    let row = tx
        .lock_one(
            "SELECT s.run_out, s.silent_until FROM node_silence s WHERE s.node_id = $1 {lock:s}",
            params![node.as_str()],
        )
        .await?;
    Ok(row.as_ref().map(read).transpose()?.unwrap_or_default())
}

/// Writes how silent a node is.
pub(crate) async fn put(tx: &mut Tx, node: &NodeId, silence: Silence, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO node_silence (node_id, run_out, silent_until, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (node_id) DO UPDATE
            SET run_out = excluded.run_out, silent_until = excluded.silent_until, updated_at = excluded.updated_at",
        params![node.as_str(), silence.run_out, silence.until.map(micros), micros(now)],
    )
    .await?;
    Ok(())
}

/// A node has answered.
pub(crate) async fn end(tx: &mut Tx, node: &NodeId, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        "UPDATE node_silence SET run_out = 0, silent_until = NULL, updated_at = $2
          WHERE node_id = $1 AND run_out > 0",
        params![node.as_str(), micros(now)],
    )
    .await?;
    Ok(())
}

/// What changed after a mark, oldest change first.
pub(crate) async fn changed_after(
    tx: &mut Tx,
    mark: &Mark,
    limit: i64,
) -> Result<Vec<(Mark, Silence)>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT node_id, run_out, silent_until, updated_at FROM node_silence
              WHERE (updated_at, node_id) > ($1, $2) ORDER BY updated_at, node_id LIMIT $3",
            params![mark.updated_at, mark.node.as_str(), limit],
        )
        .await?;
    let changed =
        |row: &Row| Ok((Mark { updated_at: row.get("updated_at")?, node: row.get("node_id")? }, read(row)?));
    rows.iter().map(changed).collect()
}

fn read(row: &Row) -> Result<Silence, Error> {
    let until: Option<i64> = row.get("silent_until")?;
    Ok(Silence { run_out: row.get("run_out")?, until: until.map(from_micros) })
}
