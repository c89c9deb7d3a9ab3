//! `movements`: the ledger. Rows are only ever added.

use std::collections::BTreeSet;
use std::sync::Arc;

use db::{Part, Row, Tx, Type, Value, insert_rows, params};
use domain::id::ReservationId;
use domain::stock::Key;
use domain::stock::movement::{Entry, Kind};
use domain::time::micros;
use jiff::Timestamp;

use super::positions::Slot;
use super::{time, unreadable};
use crate::error::Error;

/// Who changes a position, why and on behalf of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) actor: &'a Arc<str>,
    pub(crate) reason: &'a str,
    pub(crate) reference: &'a str,
    pub(crate) at: Timestamp,
}

/// One row of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    pub(crate) number: i64,
    pub(crate) entry: Entry,
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) reference: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) position_version: i64,
}

/// The values of [`insert`]: `slot` is as it became.
pub(crate) fn values(slot: &Slot, entry: &Entry, by: By<'_>) -> Vec<Value> {
    params![
        slot.key.node.as_str(),
        slot.key.sku.as_str(),
        slot.last_movement,
        entry.kind.name(),
        entry.delta_on_hand,
        entry.delta_reserved,
        entry.on_hand_after,
        entry.reserved_after,
        by.reason,
        by.actor.as_ref(),
        by.reference,
        micros(by.at),
        slot.version,
    ]
}

/// Adds rows.
pub(crate) fn insert(rows: Vec<Vec<Value>>) -> Part {
    let (text, columns) = insert_rows!(
        "movements",
        [
            node_id: Text, sku: Text, movement_no: BigInt, kind: Text, delta_on_hand: BigInt,
            delta_reserved: BigInt, on_hand_after: BigInt, reserved_after: BigInt, reason: Text, actor: Text,
            reference: Text, occurred_at: BigInt, position_version: BigInt
        ]
    );
    Part::new(text, columns, rows)
}

/// The rows of one position before number `before`, newest first.
pub(crate) async fn page(tx: &mut Tx, key: &Key, before: i64, limit: i64) -> Result<Vec<Movement>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM movements WHERE node_id = $1 AND sku = $2 AND movement_no < $3
              ORDER BY movement_no DESC LIMIT $4",
            params![key.node.as_str(), key.sku.as_str(), before, limit],
        )
        .await?;
    found.iter().map(movement).collect()
}

/// The reservations that took claims on a position in the rows from number `first` to before `end`.
pub(crate) async fn claimants(
    tx: &mut Tx,
    key: &Key,
    first: i64,
    end: i64,
) -> Result<BTreeSet<ReservationId>, Error> {
    Ok(claimants_of(tx, &[(key, first, end)]).await?.into_iter().map(|(_, id)| id).collect())
}

/// The same for many positions, each with its rows.
pub(crate) async fn claimants_of(
    tx: &mut Tx,
    asked: &[(&Key, i64, i64)],
) -> Result<Vec<(Key, ReservationId)>, Error> {
    let row =
        |(key, first, end): &(&Key, i64, i64)| params![key.node.as_str(), key.sku.as_str(), *first, *end];
    let found = tx
        .batch_fetch(
            "SELECT DISTINCT m.node_id, m.sku, m.reference
               FROM movements m JOIN {rows} ON m.node_id = r.node_id AND m.sku = r.sku
                AND m.movement_no >= r.first_no AND m.movement_no < r.end_no
              WHERE m.kind = 'RESERVE'",
            &[
                ("node_id", Type::Text),
                ("sku", Type::Text),
                ("first_no", Type::BigInt),
                ("end_no", Type::BigInt),
            ],
            asked.iter().map(row).collect(),
        )
        .await?;
    let claimant = |row: &Row| {
        let id = row.get::<String>("reference")?.parse().map_err(unreadable)?;
        Ok((super::key(row)?, id))
    };
    found.iter().map(claimant).collect()
}

fn movement(row: &Row) -> Result<Movement, Error> {
    let kind: String = row.get("kind")?;
    Ok(Movement {
        number: row.get("movement_no")?,
        entry: Entry {
            kind: Kind::named(&kind).ok_or_else(|| unreadable(format!("movement kind {kind}")))?,
            delta_on_hand: row.get("delta_on_hand")?,
            delta_reserved: row.get("delta_reserved")?,
            on_hand_after: row.get("on_hand_after")?,
            reserved_after: row.get("reserved_after")?,
        },
        reason: row.get("reason")?,
        actor: row.get("actor")?,
        reference: row.get("reference")?,
        occurred_at: time(row, "occurred_at")?,
        position_version: row.get("position_version")?,
    })
}

/// How much goods moved at each position after a moment: what a snapshot of that moment has not seen.
pub(crate) async fn since(tx: &mut Tx, asked: &[(Key, Timestamp)]) -> Result<Vec<(Key, i64)>, Error> {
    let rows =
        asked.iter().map(|(key, at)| params![key.node.as_str(), key.sku.as_str(), micros(*at)]).collect();
    let found = tx
        .batch_fetch(
            "SELECT m.node_id, m.sku, CAST(SUM(m.delta_on_hand) AS BIGINT) AS moved
               FROM movements m JOIN {rows} ON m.node_id = r.node_id AND m.sku = r.sku AND m.occurred_at > r.taken_at
              WHERE m.delta_on_hand <> 0 GROUP BY m.node_id, m.sku",
            &[("node_id", Type::Text), ("sku", Type::Text), ("taken_at", Type::BigInt)],
            rows,
        )
        .await?;
    found.iter().map(|row| Ok((super::key(row)?, row.get("moved")?))).collect()
}
