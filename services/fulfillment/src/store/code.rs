//! Pickup codes as keyed hashes, and how often callers were wrong.

use db::{Row, Tx, Type, insert_rows, params, update_rows};
use domain::fulfillment::code::{Misses, Tries};
use domain::id::{FulfillmentId, NodeId};
use domain::time::{from_micros, micros};
use jiff::Timestamp;

use crate::Error;

/// The keyed hash of the one code of a fulfillment order.
pub(crate) struct Kept {
    pub(crate) digest: Vec<u8>,
    pub(crate) tries: Tries,
}

/// Keeps a new code; the last one of the fulfillment order is void.
pub(crate) async fn keep(
    tx: &mut Tx,
    id: FulfillmentId,
    node: &NodeId,
    digest: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    void(tx, id, now).await?;
    tx.execute(
        "INSERT INTO pickup_codes (fulfillment_id, node_id, digest, wrong_tries, issued_at)
         VALUES ($1, $2, $3, 0, $4)",
        params![id.uuid(), node.as_str(), digest, micros(now)],
    )
    .await?;
    Ok(())
}

pub(crate) async fn of(tx: &mut Tx, id: FulfillmentId) -> Result<Option<Kept>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT digest, wrong_tries FROM pickup_codes WHERE fulfillment_id = $1",
            params![id.uuid()],
        )
        .await?;
    row.map(|row| Ok(Kept { digest: row.get("digest")?, tries: Tries(row.get("wrong_tries")?) })).transpose()
}

/// The fulfillment order that a code opens at a node.
pub(crate) async fn find(tx: &mut Tx, node: &NodeId, digest: &[u8]) -> Result<Option<FulfillmentId>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT fulfillment_id FROM pickup_codes WHERE node_id = $1 AND digest = $2",
            params![node.as_str(), digest],
        )
        .await?;
    row.map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).transpose()
}

pub(crate) async fn count_wrong(tx: &mut Tx, id: FulfillmentId, tries: Tries) -> Result<(), Error> {
    tx.execute(
        "UPDATE pickup_codes SET wrong_tries = $2 WHERE fulfillment_id = $1",
        params![id.uuid(), tries.0],
    )
    .await?;
    Ok(())
}

/// The code of a fulfillment order opens nothing any more. That it was one is remembered for a while.
pub(crate) async fn void(tx: &mut Tx, id: FulfillmentId, now: Timestamp) -> Result<(), Error> {
    let code = tx
        .fetch_optional(
            "DELETE FROM pickup_codes WHERE fulfillment_id = $1 RETURNING node_id, digest",
            params![id.uuid()],
        )
        .await?;
    let Some(code) = code else { return Ok(()) };
    let (node, digest): (String, Vec<u8>) = (code.get("node_id")?, code.get("digest")?);
    tx.execute(
        "INSERT INTO voided_codes (node_id, digest, fulfillment_id, voided_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (node_id, digest) DO UPDATE SET fulfillment_id = $3, voided_at = $4",
        params![node, digest, id.uuid(), micros(now)],
    )
    .await?;
    Ok(())
}

/// The fulfillment order that a code opened at a node, and does not any more.
pub(crate) async fn find_void(
    tx: &mut Tx,
    node: &NodeId,
    digest: &[u8],
) -> Result<Option<FulfillmentId>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT fulfillment_id FROM voided_codes WHERE node_id = $1 AND digest = $2",
            params![node.as_str(), digest],
        )
        .await?;
    row.map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).transpose()
}

/// Forgets codes that were void before an instant; at most `limit`.
pub(crate) async fn prune_void(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM voided_codes WHERE (node_id, digest) IN
               (SELECT v.node_id, v.digest FROM voided_codes v WHERE v.voided_at < $1
                 ORDER BY v.voided_at LIMIT $2)",
            params![micros(before), limit],
        )
        .await?)
}

/// The misses of some scopes, in no order.
pub(crate) async fn misses(tx: &mut Tx, scopes: &[&str]) -> Result<Vec<(String, Misses)>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT m.scope, m.since, m.misses FROM code_misses m JOIN {rows} ON m.scope = r.scope",
            &[("scope", Type::Text)],
            scopes.iter().map(|scope| params![*scope]).collect(),
        )
        .await?;
    rows.iter().map(scope_of).collect()
}

/// The misses of some scopes, their rows locked until the transaction ends; scopes must be in order.
pub(crate) async fn lock_misses(
    tx: &mut Tx,
    scopes: &[&str],
    now: Timestamp,
) -> Result<Vec<(String, Misses)>, Error> {
    let (text, columns) = insert_rows!(
        "code_misses",
        [scope: Text, since: BigInt],
        and "misses" = "0",
        "WHERE true ORDER BY r.scope ON CONFLICT (scope) DO UPDATE SET misses = code_misses.misses
         RETURNING scope, since, misses"
    );
    let rows = scopes.iter().map(|scope| params![*scope, micros(now)]).collect();
    let rows = tx.batch_fetch(text, columns, rows).await?;
    rows.iter().map(scope_of).collect()
}

fn scope_of(row: &Row) -> Result<(String, Misses), Error> {
    Ok((row.get("scope")?, Misses { since: from_micros(row.get("since")?), count: row.get("misses")? }))
}

/// Forgets misses that were counted before an instant and nothing came after; at most `limit`.
pub(crate) async fn prune_misses(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM code_misses WHERE scope IN (SELECT scope FROM code_misses WHERE since < $1 LIMIT $2)",
            params![micros(before), limit],
        )
        .await?)
}

/// Writes the misses of scopes that are locked.
pub(crate) async fn save_misses(tx: &mut Tx, all: &[(String, Misses)]) -> Result<(), Error> {
    let (text, columns) = update_rows!("code_misses", keys [scope: Text], [since: BigInt, misses: BigInt]);
    let row = |(scope, m): &(String, Misses)| params![scope.as_str(), micros(m.since), m.count];
    tx.batch(text, columns, all.iter().map(row).collect()).await?;
    Ok(())
}

/// The fingerprint of the key that the database was used with.
pub(crate) async fn fingerprint(tx: &mut Tx) -> Result<Option<Vec<u8>>, Error> {
    let row = tx.fetch_optional("SELECT fingerprint FROM pickup_code_key WHERE one = 1", params![]).await?;
    row.map(|row| Ok(row.get("fingerprint")?)).transpose()
}

/// Notes the fingerprint of a key unless one is noted. Answers the one that is noted then.
pub(crate) async fn note_fingerprint(tx: &mut Tx, key: &[u8], now: Timestamp) -> Result<Vec<u8>, Error> {
    let row = tx
        .fetch_one(
            "INSERT INTO pickup_code_key (one, fingerprint, noted_at) VALUES (1, $1, $2)
             ON CONFLICT (one) DO UPDATE SET noted_at = pickup_code_key.noted_at
             RETURNING fingerprint",
            params![key, micros(now)],
        )
        .await?;
    Ok(row.get("fingerprint")?)
}

/// Another key counts from now on. Answers how many codes were void by that.
pub(crate) async fn replace_fingerprint(tx: &mut Tx, key: &[u8], now: Timestamp) -> Result<u64, Error> {
    tx.execute(
        "UPDATE pickup_code_key SET fingerprint = $1, noted_at = $2 WHERE one = 1",
        params![key, micros(now)],
    )
    .await?;
    tx.execute("DELETE FROM voided_codes", params![]).await?;
    Ok(tx.execute("DELETE FROM pickup_codes", params![]).await?)
}
