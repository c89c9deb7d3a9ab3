//! `feed_rows`: what was applied of each feed, kept without end.

use std::collections::HashMap;

use db::{Part, Tx, Type, Value, params};
use domain::time::micros;
use jiff::Timestamp;

use crate::error::Error;

/// What makes a row of a feed itself. Feeders choose their references without each other: two shops may both have a
/// receipt `GRN-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FeedKey {
    /// Who sent it, such as `store/sha-01`.
    pub(crate) feeder: String,
    pub(crate) source: String,
    pub(crate) reference: String,
    pub(crate) node: String,
    /// SKU and time of a figure; empty where the reference is the row's own.
    pub(crate) row_key: String,
}

/// A row of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedRow {
    pub(crate) key: FeedKey,
    /// What it says, for people: another content under the same key is another row.
    pub(crate) content: String,
}

const KEY: &[(&str, Type)] = &[
    ("feeder", Type::Text),
    ("source", Type::Text),
    ("reference", Type::Text),
    ("node_id", Type::Text),
    ("row_key", Type::Text),
];

const COLUMNS: &[(&str, Type)] = &[
    ("feeder", Type::Text),
    ("source", Type::Text),
    ("reference", Type::Text),
    ("node_id", Type::Text),
    ("row_key", Type::Text),
    ("content", Type::Text),
    ("applied_at", Type::BigInt),
];

fn key(key: &FeedKey) -> Vec<Value> {
    params![
        key.feeder.as_str(),
        key.source.as_str(),
        key.reference.as_str(),
        key.node.as_str(),
        key.row_key.as_str()
    ]
}

/// Those that were applied before, with what they said.
pub(crate) async fn known(tx: &mut Tx, rows: &[&FeedRow]) -> Result<HashMap<FeedKey, String>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT f.feeder, f.source, f.reference, f.node_id, f.row_key, f.content FROM feed_rows f
               JOIN {rows} ON f.feeder = r.feeder AND f.source = r.source AND f.reference = r.reference
                          AND f.node_id = r.node_id AND f.row_key = r.row_key",
            KEY,
            rows.iter().map(|row| key(&row.key)).collect(),
        )
        .await?;
    let row = |row: &db::Row| {
        let key = FeedKey {
            feeder: row.get("feeder")?,
            source: row.get("source")?,
            reference: row.get("reference")?,
            node: row.get("node_id")?,
            row_key: row.get("row_key")?,
        };
        Ok((key, row.get("content")?))
    };
    found.iter().map(row).collect()
}

/// Remembers rows that were applied. Fewer rows inserted than asked: somebody else has applied one of them meanwhile.
pub(crate) fn insert(mut rows: Vec<&FeedRow>, now: Timestamp) -> Part {
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let values = |row: &FeedRow| {
        let mut values = key(&row.key);
        values.extend(params![row.content.as_str(), micros(now)]);
        values
    };
    Part::new(
        "INSERT INTO feed_rows (feeder, source, reference, node_id, row_key, content, applied_at)
         SELECT r.feeder, r.source, r.reference, r.node_id, r.row_key, r.content, r.applied_at FROM {rows} WHERE true
         ON CONFLICT (feeder, source, reference, node_id, row_key) DO NOTHING",
        COLUMNS,
        rows.into_iter().map(values).collect(),
    )
}
