//! `positions`: one SKU at one node.

use std::collections::BTreeSet;
use std::sync::Arc;

use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::id::{NodeId, Sku};
use domain::stock::feed::Marks;
use domain::stock::pool::{Pool, Room};
use domain::stock::safety::SafetyStock;
use domain::stock::{Key, Position};
use domain::time::micros;
use jiff::Timestamp;

use super::{key, maybe_time, time, unreadable};
use crate::error::Error;

/// One position as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) position: Position,
    pub(crate) marks: Marks,
    pub(crate) version: i64,
    pub(crate) last_movement: i64,
    pub(crate) updated_at: Timestamp,
    /// The safety stock as it was last announced.
    pub(crate) announced: i64,
    /// It has rows of what is kept for single channels.
    pub(crate) has_pools: bool,
    /// Those rows, as they were last announced.
    pub(crate) stored: Vec<Pool>,
    /// What is kept for single channels.
    pub(crate) pools: Vec<Pool>,
    /// What policies say is kept for single channels.
    pub(crate) kept: Vec<(Arc<str>, i64)>,
}

impl Slot {
    /// What was last announced of it is not what policies say now.
    pub(crate) fn is_stale(&self) -> bool {
        let stored = self.stored.iter().map(|pool| (&pool.channel, pool.kept));
        self.announced != self.position.safety_stock()
            || !self.kept.iter().map(|(channel, units)| (channel, *units)).eq(stored)
    }

    /// What can be claimed of it, and for whom.
    pub(crate) fn room(&self) -> Room {
        Room { atp: self.position.atp(), pools: self.pools.clone() }
    }
}

const KEY: &[(&str, Type)] = &[("node_id", Type::Text), ("sku", Type::Text)];

fn rows(keys: &[Key]) -> Vec<Vec<Value>> {
    keys.iter().map(|key| params![key.node.as_str(), key.sku.as_str()]).collect()
}

fn slot(row: &Row) -> Result<Slot, Error> {
    Ok(Slot {
        key: key(row)?,
        position: Position {
            on_hand: row.get("on_hand")?,
            reserved: row.get("reserved")?,
            safety: SafetyStock { own: row.get("own_safety_stock")?, ..SafetyStock::default() },
            in_transit: row.get("in_transit")?,
            quarantine: row.get("quarantine")?,
            count_blocked: row.get("count_blocked")?,
        },
        marks: Marks { snapshot: maybe_time(row, "snapshot_at")?, delta: maybe_time(row, "delta_at")? },
        version: row.get("version")?,
        last_movement: row.get("last_movement")?,
        updated_at: time(row, "updated_at")?,
        announced: row.get("safety_stock")?,
        has_pools: row.get("has_pools")?,
        stored: Vec::new(),
        pools: Vec::new(),
        kept: Vec::new(),
    })
}

fn slots(rows: &[Row]) -> Result<Vec<Slot>, Error> {
    rows.iter().map(slot).collect()
}

/// Locks those of `keys` that exist, in (node, sku) order: the order of every writer.
pub(crate) async fn lock(tx: &mut Tx, keys: &[Key]) -> Result<Vec<Slot>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT p.* FROM positions p JOIN {rows} ON p.node_id = r.node_id AND p.sku = r.sku
              ORDER BY p.node_id, p.sku {lock:p}",
            KEY,
            rows(keys),
        )
        .await?;
    slots(&found)
}

/// Makes those of `keys` that do not exist yet, empty and without a version.
pub(crate) async fn create(tx: &mut Tx, keys: &[Key], now: Timestamp) -> Result<(), Error> {
    let rows = keys.iter().map(|key| params![key.node.as_str(), key.sku.as_str(), micros(now)]).collect();
    let (text, columns) = insert_rows!(
        "positions",
        [node_id: Text, sku: Text, updated_at: BigInt],
        and "on_hand, reserved, safety_stock, in_transit, quarantine, count_blocked, has_pools, version, last_movement"
          = "0, 0, 0, 0, 0, false, false, 0, 0",
        "WHERE true ORDER BY r.node_id, r.sku ON CONFLICT (node_id, sku) DO NOTHING"
    );
    tx.batch(text, columns, rows).await?;
    Ok(())
}

/// The values of [`update`].
pub(crate) fn values(slot: &Slot) -> Vec<Value> {
    let position = &slot.position;
    params![
        slot.key.node.as_str(),
        slot.key.sku.as_str(),
        position.on_hand,
        position.reserved,
        slot.announced,
        position.safety.own,
        position.quarantine,
        position.count_blocked,
        slot.has_pools,
        slot.version,
        slot.last_movement,
        slot.marks.snapshot.map(micros),
        slot.marks.delta.map(micros),
        micros(slot.updated_at),
    ]
}

/// Writes locked positions.
pub(crate) fn update(rows: Vec<Vec<Value>>) -> Part {
    let (text, columns) = update_rows!(
        "positions",
        keys [node_id: Text, sku: Text],
        [
            on_hand: BigInt, reserved: BigInt, safety_stock: BigInt, own_safety_stock: BigInt, quarantine: BigInt,
            count_blocked: Bool, has_pools: Bool, version: BigInt, last_movement: BigInt, snapshot_at: BigInt, delta_at: BigInt, updated_at: BigInt
        ]
    );
    Part::new(text, columns, rows)
}

/// One position.
pub(crate) async fn get(tx: &mut Tx, key: &Key) -> Result<Option<Slot>, Error> {
    let found = tx
        .fetch_optional(
            "SELECT * FROM positions WHERE node_id = $1 AND sku = $2 AND version > 0",
            params![key.node.as_str(), key.sku.as_str()],
        )
        .await?;
    found.as_ref().map(slot).transpose()
}

/// Those of `keys` that exist, in order.
pub(crate) async fn read(tx: &mut Tx, keys: &[Key]) -> Result<Vec<Slot>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT p.* FROM positions p JOIN {rows} ON p.node_id = r.node_id AND p.sku = r.sku
              WHERE p.version > 0 ORDER BY p.node_id, p.sku",
            KEY,
            rows(keys),
        )
        .await?;
    slots(&found)
}

/// The positions of one SKU at the nodes after `after`, in order.
pub(crate) async fn of_sku(tx: &mut Tx, sku: &Sku, after: &str, limit: i64) -> Result<Vec<Slot>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM positions WHERE sku = $1 AND node_id > $2 AND version > 0 ORDER BY node_id LIMIT $3",
            params![sku.as_str(), after, limit],
        )
        .await?;
    slots(&found)
}

/// The positions of one node after `after`, in order.
pub(crate) async fn of_node(tx: &mut Tx, node: &NodeId, after: &str, limit: i64) -> Result<Vec<Slot>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM positions WHERE node_id = $1 AND sku > $2 AND version > 0 ORDER BY sku LIMIT $3",
            params![node.as_str(), after, limit],
        )
        .await?;
    slots(&found)
}

/// The nodes after `after` that have a position of any of these parts, in order, and whether there may be more. Reads
/// at most `limit` positions of each part.
pub(crate) async fn nodes_of_parts(
    tx: &mut Tx,
    parts: &[&Sku],
    after: &str,
    limit: i64,
) -> Result<(Vec<NodeId>, bool), Error> {
    let mut nodes: BTreeSet<String> = BTreeSet::new();
    let mut end: Option<String> = None;
    for part in parts {
        let rows = tx
            .fetch_all(
                "SELECT node_id FROM positions WHERE sku = $1 AND node_id > $2 AND version > 0
                  ORDER BY node_id LIMIT $3",
                params![part.as_str(), after, limit],
            )
            .await?;
        for row in &rows {
            nodes.insert(row.get("node_id")?);
        }
        if let Some(last) = rows.last().filter(|_| i64::try_from(rows.len()).is_ok_and(|read| read >= limit))
        {
            let last: String = last.get("node_id")?;
            end = Some(end.map_or(last.clone(), |end| end.min(last)));
        }
    }
    // Behind the end of the shortest walk, its part may have nodes that were not read.
    let kept = nodes.into_iter().filter(|node| end.as_ref().is_none_or(|end| node <= end));
    let nodes = kept.map(|node| NodeId::new(node).map_err(unreadable));
    Ok((nodes.collect::<Result<_, _>>()?, end.is_some()))
}

/// All positions after this one, in order.
pub(crate) async fn after(tx: &mut Tx, last: (&str, &str), limit: i64) -> Result<Vec<Slot>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM positions WHERE (node_id, sku) > ($1, $2) AND version > 0 ORDER BY node_id, sku LIMIT $3",
            params![last.0, last.1, limit],
        )
        .await?;
    slots(&found)
}

/// What closing a full snapshot of a node would set to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vanishing {
    /// Positions that the snapshot has named.
    pub(crate) named: i64,
    /// Positions with stock that it has not named.
    pub(crate) positions: i64,
    /// Their units.
    pub(crate) units: i64,
    /// All positions of the node with stock.
    pub(crate) of_positions: i64,
    /// Their units.
    pub(crate) of_units: i64,
}

impl Vanishing {
    /// The share of the node's positions or units that would vanish, whichever is more, rounded up.
    pub(crate) fn percent(&self) -> i64 {
        let percent = |part: i64, whole: i64| {
            let (part, whole) = (i128::from(part) * 100, i128::from(whole.max(1)));
            i64::try_from((part + whole - 1) / whole).unwrap_or(100)
        };
        percent(self.positions, self.of_positions).max(percent(self.units, self.of_units))
    }
}

/// What closing the snapshot of this time would do at a node.
pub(crate) async fn vanishing(tx: &mut Tx, node: &NodeId, at: Timestamp) -> Result<Vanishing, Error> {
    let row = tx
        .fetch_one(
            "SELECT CAST(COALESCE(SUM(named), 0) AS BIGINT) AS named,
                    CAST(COALESCE(SUM(absent), 0) AS BIGINT) AS positions,
                    CAST(COALESCE(SUM(absent * on_hand), 0) AS BIGINT) AS units,
                    CAST(COUNT(CASE WHEN on_hand > 0 THEN 1 END) AS BIGINT) AS of_positions,
                    CAST(COALESCE(SUM(CASE WHEN on_hand > 0 THEN on_hand ELSE 0 END), 0) AS BIGINT) AS of_units
               FROM (SELECT on_hand, CASE WHEN snapshot_at = $2 THEN 1 ELSE 0 END AS named,
                            CASE WHEN on_hand > 0 AND COALESCE(snapshot_at, 0) < $2 AND COALESCE(delta_at, 0) <= $2
                                 THEN 1 ELSE 0 END AS absent
                       FROM positions WHERE node_id = $1 AND version > 0) AS p",
            params![node.as_str(), micros(at)],
        )
        .await?;
    Ok(Vanishing {
        named: row.get("named")?,
        positions: row.get("positions")?,
        units: row.get("units")?,
        of_positions: row.get("of_positions")?,
        of_units: row.get("of_units")?,
    })
}

/// Positions of a node that the snapshot of this time has not named and nothing newer has, in order.
pub(crate) async fn absent(
    tx: &mut Tx,
    node: &NodeId,
    at: Timestamp,
    limit: i64,
) -> Result<Vec<Slot>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM positions
              WHERE node_id = $1 AND version > 0 AND on_hand <> 0
                AND COALESCE(snapshot_at, 0) < $2 AND COALESCE(delta_at, 0) <= $2
              ORDER BY sku LIMIT $3",
            params![node.as_str(), micros(at), limit],
        )
        .await?;
    slots(&found)
}
