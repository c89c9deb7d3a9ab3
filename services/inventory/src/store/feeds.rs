//! `feed_rows`: what was applied of each feed, for ever.

use std::collections::HashSet;

use db::{Part, Tx, Type, Value, params};
use domain::time::micros;
use jiff::Timestamp;

use crate::error::Error;

/// What makes a row of a feed itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FeedRow {
    pub(crate) source: String,
    pub(crate) reference: String,
    /// The position within a snapshot; empty where the reference is the row's own.
    pub(crate) row_key: String,
}

const COLUMNS: &[(&str, Type)] = &[
    ("source", Type::Text),
    ("reference", Type::Text),
    ("row_key", Type::Text),
    ("applied_at", Type::BigInt),
];

fn values(row: &FeedRow, now: Timestamp) -> Vec<Value> {
    params![row.source.as_str(), row.reference.as_str(), row.row_key.as_str(), micros(now)]
}

/// Those that were applied before.
pub(crate) async fn known(tx: &mut Tx, rows: &[&FeedRow], now: Timestamp) -> Result<HashSet<FeedRow>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT f.source, f.reference, f.row_key FROM feed_rows f
               JOIN {rows} ON f.source = r.source AND f.reference = r.reference AND f.row_key = r.row_key",
            COLUMNS,
            rows.iter().map(|row| values(row, now)).collect(),
        )
        .await?;
    let row = |row: &db::Row| {
        Ok(FeedRow {
            source: row.get("source")?,
            reference: row.get("reference")?,
            row_key: row.get("row_key")?,
        })
    };
    found.iter().map(row).collect()
}

/// Remembers rows that were applied. Fewer rows inserted than asked: somebody else has applied one of them meanwhile.
pub(crate) fn insert(mut rows: Vec<&FeedRow>, now: Timestamp) -> Part {
    rows.sort_unstable();
    Part::new(
        "INSERT INTO feed_rows (source, reference, row_key, applied_at)
         SELECT r.source, r.reference, r.row_key, r.applied_at FROM {rows} WHERE true
         ON CONFLICT (source, reference, row_key) DO NOTHING",
        COLUMNS,
        rows.into_iter().map(|row| values(row, now)).collect(),
    )
}
