//! `channel_claims`: what is kept for single channels at a position, and what they have claimed of it.

use std::collections::HashMap;

use db::{Part, Row, Tx, Type, Value, insert_rows, params};
use domain::id::ReservationId;
use domain::stock::Key;
use domain::stock::pool::Pool;

use super::key;
use crate::error::Error;

const KEY: &[(&str, Type)] = &[("node_id", Type::Text), ("sku", Type::Text)];

fn pool(row: &Row) -> Result<Pool, Error> {
    Ok(Pool {
        channel: row.get::<String>("channel")?.into(),
        kept: row.get("kept")?,
        claimed: row.get("reserved")?,
    })
}

/// The rows of these positions, by the names of the channels.
pub(crate) async fn read(tx: &mut Tx, keys: &[&Key]) -> Result<HashMap<Key, Vec<Pool>>, Error> {
    let rows = keys.iter().map(|key| params![key.node.as_str(), key.sku.as_str()]).collect();
    let found = tx
        .batch_fetch(
            "SELECT c.* FROM channel_claims c JOIN {rows} ON c.node_id = r.node_id AND c.sku = r.sku
              ORDER BY c.node_id, c.sku, c.channel",
            KEY,
            rows,
        )
        .await?;
    let mut pools: HashMap<Key, Vec<Pool>> = HashMap::new();
    for row in &found {
        pools.entry(key(row)?).or_default().push(pool(row)?);
    }
    Ok(pools)
}

/// Units that these reservations hold of these positions, by channel; none: without one.
pub(crate) async fn held(
    tx: &mut Tx,
    claims: &[(ReservationId, &Key)],
) -> Result<Vec<(Key, Option<String>, i64)>, Error> {
    let row = |(id, key): &(ReservationId, &Key)| params![id.uuid(), key.node.as_str(), key.sku.as_str()];
    let found = tx
        .batch_fetch(
            "SELECT l.node_id, l.sku, t.channel, CAST(SUM(l.held) AS BIGINT) AS held
               FROM reservation_lines l
               JOIN {rows} ON l.reservation_id = r.reservation_id AND l.node_id = r.node_id AND l.sku = r.sku
               JOIN reservations t ON t.reservation_id = l.reservation_id
              WHERE l.held > 0 GROUP BY l.node_id, l.sku, t.channel",
            &[("reservation_id", Type::Uuid), ("node_id", Type::Text), ("sku", Type::Text)],
            claims.iter().map(row).collect(),
        )
        .await?;
    found.iter().map(|row| Ok((key(row)?, row.get("channel")?, row.get("held")?))).collect()
}

/// The values of [`put`].
pub(crate) fn values(key: &Key, pool: &Pool) -> Vec<Value> {
    params![key.node.as_str(), key.sku.as_str(), &*pool.channel, pool.kept, pool.claimed]
}

/// Writes rows of locked positions.
pub(crate) fn put(rows: Vec<Vec<Value>>) -> Part {
    let (text, columns) = insert_rows!(
        "channel_claims",
        [node_id: Text, sku: Text, channel: Text, kept: BigInt, reserved: BigInt],
        "WHERE true ON CONFLICT (node_id, sku, channel) DO UPDATE SET kept = excluded.kept, reserved = excluded.reserved"
    );
    Part::new(text, columns, rows)
}

/// The values of [`delete`].
pub(crate) fn name(key: &Key, pool: &Pool) -> Vec<Value> {
    params![key.node.as_str(), key.sku.as_str(), &*pool.channel]
}

/// Deletes rows of locked positions.
pub(crate) fn delete(rows: Vec<Vec<Value>>) -> Part {
    Part::new(
        "DELETE FROM channel_claims
          WHERE (node_id, sku, channel) IN (SELECT r.node_id, r.sku, r.channel FROM {rows})",
        &[("node_id", Type::Text), ("sku", Type::Text), ("channel", Type::Text)],
        rows,
    )
}
