//! `announced` and `restate_due`: what positions were announced by, and which are to be announced again.

use db::{Tx, Type, params};
use domain::id::Sku;
use domain::time::micros;
use jiff::Timestamp;

use super::{maybe_time, sku, time};
use crate::error::Error;

/// What the positions were announced by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The versions of policies.
    pub(crate) versions: String,
    /// Those before them; none: any.
    pub(crate) earlier: Option<String>,
    /// When what changed is looked at once more.
    pub(crate) again_at: Option<Timestamp>,
}

/// What the positions were announced by.
pub(crate) async fn announced(tx: &mut Tx) -> Result<Announced, Error> {
    let found = tx
        .fetch_optional("SELECT versions, earlier, again_at FROM announced WHERE one = 1", params![])
        .await?;
    let Some(row) = found else { return Ok(Announced::default()) };
    Ok(Announced {
        versions: row.get("versions")?,
        earlier: row.get("earlier")?,
        again_at: maybe_time(&row, "again_at")?,
    })
}

/// Notes what the positions were announced by.
pub(crate) async fn put(tx: &mut Tx, announced: &Announced) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO announced (one, versions, earlier, again_at) VALUES (1, $1, $2, $3)
         ON CONFLICT (one) DO UPDATE
            SET versions = excluded.versions, earlier = excluded.earlier, again_at = excluded.again_at",
        params![announced.versions.as_str(), announced.earlier.as_deref(), announced.again_at.map(micros)],
    )
    .await?;
    Ok(())
}

/// Notes items whose category changed, each with its version.
pub(crate) async fn put_skus(tx: &mut Tx, changed: &[(&Sku, i64)], now: Timestamp) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows = changed.iter().map(|(sku, version)| params![sku.as_str(), *version, micros(now)]).collect();
    tx.batch(
        "INSERT INTO restate_due (sku, version, due_at)
         SELECT r.sku, r.version, r.due_at FROM {rows} WHERE true ORDER BY r.sku
         ON CONFLICT (sku) DO UPDATE SET version = excluded.version",
        &[("sku", Type::Text), ("version", Type::BigInt), ("due_at", Type::BigInt)],
        rows,
    )
    .await?;
    Ok(())
}

/// The items that wait longest, each with the version that was noted.
pub(crate) async fn skus(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<(Sku, i64)>, Error> {
    let found = tx
        .fetch_all(
            "SELECT sku, version FROM restate_due WHERE due_at <= $1 ORDER BY due_at, sku LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    found.iter().map(|row| Ok((sku(row, "sku")?, row.get("version")?))).collect()
}

/// When the first of them waits since.
pub(crate) async fn since(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let found =
        tx.fetch_optional("SELECT due_at FROM restate_due ORDER BY due_at LIMIT 1", params![]).await?;
    found.map(|row| time(&row, "due_at")).transpose()
}

/// The positions of an item are announced, unless it changed once more.
pub(crate) async fn done(tx: &mut Tx, sku: &Sku, version: i64) -> Result<(), Error> {
    tx.execute("DELETE FROM restate_due WHERE sku = $1 AND version = $2", params![sku.as_str(), version])
        .await?;
    Ok(())
}
