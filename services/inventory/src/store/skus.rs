//! `skus` and `kit_parts`: the master of what is sold.

use std::collections::HashMap;

use db::{Row, Tx, Type, Value, insert_rows, params};
use domain::id::Sku;
use domain::stock::kit::{Kit, MAX_PARTS, Part};
use domain::time::micros;
use jiff::Timestamp;

use super::{sku, time, unreadable};
use crate::error::Error;

/// One item as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) sku: Sku,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) handling_class: String,
    pub(crate) weight_g: i64,
    /// For policies; empty: none.
    pub(crate) category: String,
    pub(crate) kit: Option<Kit>,
    pub(crate) version: i64,
    pub(crate) updated_at: Timestamp,
}

/// The names of the units in SQL.
pub(crate) const UNITS: [&str; 2] = ["PIECE", "WEIGHED_PIECE"];

fn key_rows<'a>(skus: impl IntoIterator<Item = &'a Sku>) -> Vec<Vec<Value>> {
    skus.into_iter().map(|sku| params![sku.as_str()]).collect()
}

/// Whether each of these is a kit; those that do not exist are missing from the answer.
pub(crate) async fn kinds<'a>(
    tx: &mut Tx,
    skus: impl IntoIterator<Item = &'a Sku>,
) -> Result<HashMap<Sku, bool>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT s.sku, s.is_kit FROM skus s JOIN {rows} ON s.sku = r.sku",
            &[("sku", Type::Text)],
            key_rows(skus),
        )
        .await?;
    found.iter().map(|row| Ok((sku(row, "sku")?, row.get("is_kit")?))).collect()
}

/// The categories of these; those without one are missing from the answer.
pub(crate) async fn categories<'a>(
    tx: &mut Tx,
    skus: impl IntoIterator<Item = &'a Sku>,
) -> Result<HashMap<Sku, String>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT s.sku, s.category FROM skus s JOIN {rows} ON s.sku = r.sku WHERE s.category <> ''",
            &[("sku", Type::Text)],
            key_rows(skus),
        )
        .await?;
    found.iter().map(|row| Ok((sku(row, "sku")?, row.get("category")?))).collect()
}

/// The kits among these.
pub(crate) async fn kits<'a>(
    tx: &mut Tx,
    skus: impl IntoIterator<Item = &'a Sku>,
) -> Result<HashMap<Sku, Kit>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT k.kit_sku, k.part_sku, k.per_kit FROM kit_parts k JOIN {rows} ON k.kit_sku = r.sku
              ORDER BY k.kit_sku, k.part_no",
            &[("sku", Type::Text)],
            key_rows(skus),
        )
        .await?;
    assemble(&found)
}

fn assemble(rows: &[Row]) -> Result<HashMap<Sku, Kit>, Error> {
    let mut parts: HashMap<Sku, Vec<Part>> = HashMap::new();
    for row in rows {
        let part = Part { sku: sku(row, "part_sku")?, per_kit: row.get("per_kit")? };
        parts.entry(sku(row, "kit_sku")?).or_default().push(part);
    }
    let kit =
        |(sku, parts): (Sku, Vec<Part>)| Kit::new(&sku, parts).map(|kit| (sku, kit)).map_err(unreadable);
    parts.into_iter().map(kit).collect()
}

/// The items of these codes, locked when they are to be changed.
pub(crate) async fn read(tx: &mut Tx, skus: &[Sku], lock: bool) -> Result<HashMap<Sku, Item>, Error> {
    let text = if lock {
        "SELECT s.* FROM skus s JOIN {rows} ON s.sku = r.sku ORDER BY s.sku {lock:s}"
    } else {
        "SELECT s.* FROM skus s JOIN {rows} ON s.sku = r.sku ORDER BY s.sku"
    };
    let found = tx.batch_fetch(text, &[("sku", Type::Text)], key_rows(skus)).await?;
    let items = with_kits(tx, &found).await?;
    Ok(items.into_iter().map(|item| (item.sku.clone(), item)).collect())
}

/// The most kits of one page: with the most parts of each that is as many rows as a page may read.
pub(crate) const MAX_KITS: usize = 5_000 / MAX_PARTS - 1;

/// Items in code order after `after`, and whether there are more. A page of many kits is shorter.
pub(crate) async fn page(tx: &mut Tx, after: &str, limit: i64) -> Result<(Vec<Item>, bool), Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM skus WHERE sku > $1 ORDER BY sku LIMIT $2",
            params![after, limit.saturating_add(1)],
        )
        .await?;
    let (mut shown, mut kits) = (0, 0);
    for row in found.iter().take(usize::try_from(limit).unwrap_or_default()) {
        kits += usize::from(row.get::<bool>("is_kit")?);
        if kits > MAX_KITS {
            break;
        }
        shown += 1;
    }
    Ok((with_kits(tx, &found[..shown]).await?, shown < found.len()))
}

/// Kits in code order after `after`.
pub(crate) async fn kits_after(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Item>, Error> {
    let found = tx
        .fetch_all(
            "SELECT * FROM skus WHERE is_kit AND sku > $1 ORDER BY sku LIMIT $2",
            params![after, limit],
        )
        .await?;
    with_kits(tx, &found).await
}

async fn with_kits(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Item>, Error> {
    let mut items = Vec::with_capacity(rows.len());
    let mut is_kit = Vec::new();
    for row in rows {
        let sku = sku(row, "sku")?;
        if row.get("is_kit")? {
            is_kit.push(sku.clone());
        }
        let unit: String = row.get("unit")?;
        items.push(Item {
            sku,
            name: row.get("name")?,
            unit: UNITS
                .into_iter()
                .find(|known| *known == unit)
                .ok_or_else(|| unreadable("unit of a sku"))?,
            handling_class: row.get("handling_class")?,
            weight_g: row.get("weight_g")?,
            category: row.get("category")?,
            kit: None,
            version: row.get("version")?,
            updated_at: time(row, "updated_at")?,
        });
    }
    let mut kits = kits(tx, &is_kit).await?;
    for item in &mut items {
        item.kit = kits.remove(&item.sku);
    }
    Ok(items)
}

/// Creates or replaces items (sorted by code) with their parts.
pub(crate) async fn put(tx: &mut Tx, items: &[&Item]) -> Result<(), Error> {
    let rows = items
        .iter()
        .map(|item| {
            params![
                item.sku.as_str(),
                item.name.as_str(),
                item.unit,
                item.handling_class.as_str(),
                item.weight_g,
                item.category.as_str(),
                item.kit.is_some(),
                item.version,
                micros(item.updated_at),
            ]
        })
        .collect();
    let (text, columns) = insert_rows!(
        "skus",
        [
            sku: Text, name: Text, unit: Text, handling_class: Text, weight_g: BigInt, category: Text, is_kit: Bool,
            version: BigInt, updated_at: BigInt
        ],
        "WHERE true ON CONFLICT (sku) DO UPDATE
           SET name = excluded.name, unit = excluded.unit, handling_class = excluded.handling_class,
               weight_g = excluded.weight_g, category = excluded.category, version = excluded.version,
               updated_at = excluded.updated_at"
    );
    tx.batch(text, columns, rows).await?;
    let kits: Vec<(&Sku, &Kit)> =
        items.iter().filter_map(|item| Some((&item.sku, item.kit.as_ref()?))).collect();
    tx.batch(
        "DELETE FROM kit_parts WHERE kit_sku IN (SELECT r.sku FROM {rows})",
        &[("sku", Type::Text)],
        key_rows(kits.iter().map(|(sku, _)| *sku)),
    )
    .await?;
    let parts = kits.iter().flat_map(|(sku, kit)| {
        (1_i64..)
            .zip(kit.parts())
            .map(|(no, part)| params![sku.as_str(), no, part.sku.as_str(), part.per_kit])
    });
    let (text, columns) = insert_rows!(
        "kit_parts",
        [kit_sku: Text, part_no: BigInt, part_sku: Text, per_kit: BigInt]
    );
    tx.batch(text, columns, parts.collect()).await?;
    Ok(())
}

/// Creates plain items that do not exist yet, by code and name.
pub(crate) async fn create(tx: &mut Tx, items: &[(&Sku, &str)], now: Timestamp) -> Result<(), Error> {
    let (text, columns) = insert_rows!(
        "skus",
        [sku: Text, name: Text, updated_at: BigInt],
        and "unit, handling_class, weight_g, category, is_kit, version" = "'PIECE', 'ambient', 0, '', false, 1",
        "WHERE true ORDER BY r.sku ON CONFLICT (sku) DO NOTHING"
    );
    let rows = items.iter().map(|(sku, name)| params![sku.as_str(), *name, micros(now)]);
    tx.batch(text, columns, rows.collect()).await?;
    Ok(())
}
