//! Request ids: the same request has one effect and one reply.
//!
//! A verb claims the id in its transaction, does its work, settles the reply and commits. A duplicate in flight waits on
//! the row (PostgreSQL) or on the writer (SQLite) and then finds the reply. The scope says who asked for what, e.g.
//! `channel/web|orders.place`; ids of different callers never meet.

use std::collections::HashMap;

use db::{Part, Row, Tx, Type, params};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Error;

/// SHA-256 of the canonical request.
pub type BodyHash = [u8; 32];

/// The answer to "am I first?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Yes: do the work, then [`settle`] in the same transaction.
    First,
    /// No: this was the reply.
    Done(Vec<u8>),
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked for what.
    pub scope: String,
    /// The caller's id.
    pub request_id: Uuid,
    /// Hash of the body.
    pub body_hash: BodyHash,
}

/// Claims a request id. [`Error::RequestIdReused`] when it was used with another body.
pub async fn claim(
    tx: &mut Tx,
    scope: &str,
    request_id: Uuid,
    body_hash: &BodyHash,
    now: Timestamp,
) -> Result<Claim, Error> {
    let first = tx
        .execute(
            "INSERT INTO inbox (scope, request_id, body_hash, claimed_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (scope, request_id) DO NOTHING",
            params![scope, request_id, body_hash.as_slice(), now.as_microsecond()],
        )
        .await?;
    if first == 1 {
        return Ok(Claim::First);
    }
    match saved(tx, scope, request_id, body_hash).await? {
        Some(reply) => Ok(Claim::Done(reply)),
        None => Err(Error::Unsettled { request_id }),
    }
}

/// Keeps the reply of a claimed request.
pub async fn settle(tx: &mut Tx, scope: &str, request_id: Uuid, reply: &[u8]) -> Result<(), Error> {
    let settled = tx
        .execute(
            "UPDATE inbox SET reply = $3 WHERE scope = $1 AND request_id = $2",
            params![scope, request_id, reply],
        )
        .await?;
    if settled == 1 { Ok(()) } else { Err(Error::Unsettled { request_id }) }
}

/// The reply of a request settled before, if any: a look without a claim, before the peers are asked.
pub async fn saved(
    tx: &mut Tx,
    scope: &str,
    request_id: Uuid,
    body_hash: &BodyHash,
) -> Result<Option<Vec<u8>>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT body_hash, reply FROM inbox WHERE scope = $1 AND request_id = $2",
            params![scope, request_id],
        )
        .await?;
    match row {
        None => Ok(None),
        Some(row) => reply_of(&row, request_id, body_hash),
    }
}

fn reply_of(row: &Row, request_id: Uuid, body_hash: &BodyHash) -> Result<Option<Vec<u8>>, Error> {
    let known: Vec<u8> = row.get("body_hash")?;
    if known != body_hash {
        return Err(Error::RequestIdReused { request_id });
    }
    Ok(row.get("reply")?)
}

async fn known(tx: &mut Tx, requests: &[Request]) -> Result<HashMap<(String, Uuid), Row>, Error> {
    let keys = requests.iter().map(|r| params![r.scope.as_str(), r.request_id]).collect();
    let rows = tx
        .batch_fetch(
            "SELECT i.scope, i.request_id, i.body_hash, i.reply FROM inbox i
               JOIN {rows} ON i.scope = r.scope AND i.request_id = r.request_id",
            &[("scope", Type::Text), ("request_id", Type::Uuid)],
            keys,
        )
        .await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        known.insert((row.get("scope")?, row.get("request_id")?), row);
    }
    Ok(known)
}

/// A request and its reply, of a batch that writes both at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who asked for what.
    pub scope: String,
    /// The caller's id.
    pub request_id: Uuid,
    /// Hash of the body.
    pub body_hash: BodyHash,
    /// The reply to a repetition.
    pub reply: Vec<u8>,
}

/// The replies of those of `requests` that were settled before, in their order: a look without a claim.
pub async fn saved_many(
    tx: &mut Tx,
    requests: &[Request],
) -> Result<Vec<Result<Option<Vec<u8>>, Error>>, Error> {
    let known = known(tx, requests).await?;
    let saved =
        requests.iter().map(|request| match known.get(&(request.scope.clone(), request.request_id)) {
            Some(row) => reply_of(row, request.request_id, &request.body_hash),
            None => Ok(None),
        });
    Ok(saved.collect())
}

/// Claims and settles in one batch (see [`Tx::together`]). When it has inserted fewer rows than asked, somebody was
/// faster with one of them, and the transaction must not be committed.
pub fn record_part(mut records: Vec<Record>, now: Timestamp) -> Part {
    // one order for all, so that two batches cannot wait for each other
    records.sort_unstable_by(|a, b| (&a.scope, a.request_id).cmp(&(&b.scope, b.request_id)));
    let now = now.as_microsecond();
    let row = |r: Record| params![r.scope, r.request_id, r.body_hash, r.reply, now];
    Part::new(
        "INSERT INTO inbox (scope, request_id, body_hash, reply, claimed_at)
         SELECT r.scope, r.request_id, r.body_hash, r.reply, r.claimed_at FROM {rows} WHERE true
         ON CONFLICT (scope, request_id) DO NOTHING",
        &[
            ("scope", Type::Text),
            ("request_id", Type::Uuid),
            ("body_hash", Type::Bytes),
            ("reply", Type::Bytes),
            ("claimed_at", Type::BigInt),
        ],
        records.into_iter().map(row).collect(),
    )
}

/// Forgets requests claimed before `older_than`, at most `limit` of them. Answers how many.
pub async fn prune(tx: &mut Tx, older_than: Timestamp, limit: i64) -> Result<u64, Error> {
    let gone = tx
        .execute(
            "DELETE FROM inbox WHERE (scope, request_id) IN
               (SELECT scope, request_id FROM inbox WHERE claimed_at < $1 ORDER BY claimed_at LIMIT $2)",
            params![older_than.as_microsecond(), limit],
        )
        .await?;
    Ok(gone)
}
