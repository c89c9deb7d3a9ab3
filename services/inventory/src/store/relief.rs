//! `relief_due`: positions that still have claims to give up. Only who has locked the position writes its row.

use db::{Part, Tx, insert_rows, params};
use domain::stock::Key;
use domain::time::micros;
use jiff::Timestamp;

use super::{key, time};
use crate::error::Error;

/// A position that was not done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) key: Key,
    /// It was found empty: all claims on it that have not begun are given up. Otherwise those that are too many.
    pub(crate) is_blocked: bool,
    /// Claims of the ledger from this number on were seen already; none: nothing was seen.
    pub(crate) before: Option<i64>,
}

/// Notes positions that are to be looked at again at once.
pub(crate) fn put(rest: &[Rest], now: Timestamp) -> Part {
    let row = |rest: &Rest| {
        let Key { node, sku } = &rest.key;
        params![node.as_str(), sku.as_str(), rest.is_blocked, rest.before, micros(now)]
    };
    let (text, columns) = insert_rows!(
        "relief_due",
        [node_id: Text, sku: Text, is_blocked: Bool, before_no: BigInt, due_at: BigInt],
        "WHERE true ON CONFLICT (node_id, sku) DO UPDATE
            SET is_blocked = (relief_due.is_blocked OR excluded.is_blocked), before_no = excluded.before_no"
    );
    Part::new(text, columns, rest.iter().map(row).collect())
}

/// The position that waits longest.
pub(crate) async fn next(tx: &mut Tx, now: Timestamp) -> Result<Option<Key>, Error> {
    let found = tx
        .fetch_optional(
            "SELECT node_id, sku FROM relief_due WHERE due_at <= $1 ORDER BY due_at, node_id, sku LIMIT 1",
            params![micros(now)],
        )
        .await?;
    found.as_ref().map(key).transpose()
}

/// When the first of them waits since.
pub(crate) async fn since(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let found = tx.fetch_optional("SELECT due_at FROM relief_due ORDER BY due_at LIMIT 1", params![]).await?;
    found.map(|row| time(&row, "due_at")).transpose()
}

/// Takes the note on a position away, which is locked.
pub(crate) async fn take(tx: &mut Tx, key: &Key) -> Result<Option<Rest>, Error> {
    let found = tx
        .fetch_optional(
            "DELETE FROM relief_due WHERE node_id = $1 AND sku = $2 RETURNING is_blocked, before_no",
            params![key.node.as_str(), key.sku.as_str()],
        )
        .await?;
    found
        .map(|row| {
            Ok(Rest { key: key.clone(), is_blocked: row.get("is_blocked")?, before: row.get("before_no")? })
        })
        .transpose()
}
