//! Promise tokens: one row each, with its cart and its sourcing decision.

use std::collections::BTreeMap;

use contract::fulfillment::v1 as pb;
use db::{Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::fulfillment::method::Method;
use domain::id::{NodeId, OrderId, PromiseToken};
use domain::promise::token::State;
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;

use super::capacity::SlotKey;
use crate::error::Error;

/// A promise as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    /// The token.
    pub(crate) token: PromiseToken,
    /// Who asked under which request id, as one id. Two living promises never share it.
    pub(crate) request_key: Uuid,
    /// SHA-256 of the request.
    pub(crate) body_hash: Vec<u8>,
    /// Who asked, `kind/id`.
    pub(crate) owner: String,
    /// The service that relies on it since, `kind/id`: it holds it then.
    pub(crate) taken_by: Option<String>,
    /// Where it stands.
    pub(crate) state: State,
    /// From 1.
    pub(crate) version: i64,
    /// How the goods reach the customer.
    pub(crate) method: Method,
    /// The node.
    pub(crate) node: NodeId,
    /// The slot whose capacity it takes, in microseconds; `None`: the node counts none.
    pub(crate) slot_start: Option<i64>,
    /// Whether the capacity is still taken.
    pub(crate) capacity_held: bool,
    /// When the goods are ready.
    pub(crate) ready: Timestamp,
    /// Until when they are kept.
    pub(crate) keep_until: Timestamp,
    /// The cart and the decision.
    pub(crate) record: Record,
    /// When it was taken.
    pub(crate) created: Timestamp,
    /// When it ended or would have ended by itself.
    pub(crate) expires: Timestamp,
}

/// What is kept with a promise to be read back.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Record {
    /// The cart and what was offered for it.
    pub(crate) promise: pb::Promise,
    /// How the node was chosen.
    pub(crate) decision: pb::SourcingDecision,
}

impl Stored {
    /// The slot whose capacity it holds.
    pub(crate) fn held_slot(&self) -> Option<SlotKey> {
        if self.capacity_held { self.slot() } else { None }
    }

    /// The slot in which its work was planned.
    pub(crate) fn slot(&self) -> Option<SlotKey> {
        self.slot_start.map(|start| SlotKey {
            node: self.node.to_string(),
            activity: self.method.rules().activity.name().to_owned(),
            start,
        })
    }

    /// The order that it belongs to.
    pub(crate) fn order(&self) -> Option<OrderId> {
        match self.state {
            State::Confirmed { order } => Some(order),
            State::Pending { .. } | State::Live { .. } | State::Released | State::Expired => None,
        }
    }
}

fn state_of(name: &str, expires: Timestamp, order: Option<Uuid>) -> Result<State, Error> {
    match (name, order) {
        ("PENDING", _) => Ok(State::Pending { expires }),
        ("LIVE", _) => Ok(State::Live { expires }),
        ("CONFIRMED", Some(order)) => Ok(State::Confirmed { order: OrderId::new(order) }),
        ("RELEASED", _) => Ok(State::Released),
        ("EXPIRED", _) => Ok(State::Expired),
        (odd, _) => Err(Error::corrupt(format!("a promise in state {odd}"))),
    }
}

fn read(row: &Row) -> Result<Stored, Error> {
    let corrupt = |what: &str| Error::corrupt(format!("a promise with {what}"));
    let expires = from_micros(row.get("expires_at")?);
    let state: String = row.get("state")?;
    let method: String = row.get("method")?;
    let node: String = row.get("node_id")?;
    let lines: Vec<u8> = row.get("lines")?;
    let decision: Vec<u8> = row.get("decision")?;
    let record = Record {
        promise: pb::Promise::decode(lines.as_slice()).map_err(|_| corrupt("an unreadable cart"))?,
        decision: pb::SourcingDecision::decode(decision.as_slice())
            .map_err(|_| corrupt("an unreadable decision"))?,
    };
    Ok(Stored {
        token: PromiseToken::new(row.get("token")?),
        request_key: row.get("request_key")?,
        body_hash: row.get("body_hash")?,
        owner: row.get("owner")?,
        taken_by: row.get("taken_by")?,
        state: state_of(&state, expires, row.get("order_id")?)?,
        version: row.get("version")?,
        method: Method::parse(&method).ok_or_else(|| corrupt("an unknown method"))?,
        node: NodeId::new(node).map_err(|_| corrupt("an odd node"))?,
        slot_start: row.get("slot_start")?,
        capacity_held: row.get("capacity_held")?,
        ready: from_micros(row.get("ready_at")?),
        keep_until: from_micros(row.get("keep_until")?),
        record,
        created: from_micros(row.get("created_at")?),
        expires,
    })
}

/// One promise.
pub(crate) async fn get(tx: &mut Tx, token: PromiseToken) -> Result<Option<Stored>, Error> {
    let row = tx.fetch_optional("SELECT * FROM promises WHERE token = $1", params![token.uuid()]).await?;
    row.as_ref().map(read).transpose()
}

/// One promise, locked.
pub(crate) async fn lock(tx: &mut Tx, token: PromiseToken) -> Result<Option<Stored>, Error> {
    let row =
        tx.lock_one("SELECT p.* FROM promises p WHERE p.token = $1 {lock:p}", params![token.uuid()]).await?;
    row.as_ref().map(read).transpose()
}

/// Promises, locked, by token.
pub(crate) async fn lock_many(
    tx: &mut Tx,
    tokens: impl Iterator<Item = PromiseToken>,
) -> Result<Vec<Stored>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT p.* FROM promises p JOIN {rows} ON p.token = r.token ORDER BY p.token {lock:p}",
            &[("token", Type::Uuid)],
            tokens.map(|token| params![token.uuid()]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The newest promise of an order.
pub(crate) async fn of_order(tx: &mut Tx, order: OrderId) -> Result<Option<Stored>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT * FROM promises WHERE order_id = $1 ORDER BY created_at DESC, token LIMIT 1",
            params![order.uuid()],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// The promises that were asked for under these keys.
pub(crate) async fn by_request(tx: &mut Tx, keys: &[Uuid]) -> Result<Vec<Stored>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT p.* FROM promises p JOIN {rows} ON p.request_key = r.request_key",
            &[("request_key", Type::Uuid)],
            keys.iter().map(|key| params![*key]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Takes the request keys from promises that ended, so that the requests may be made again.
pub(crate) async fn detach(tx: &mut Tx, tokens: &[PromiseToken]) -> Result<(), Error> {
    tx.batch(
        "UPDATE promises AS p SET request_key = p.token FROM {rows}
          WHERE p.token = r.token AND p.state IN ('RELEASED', 'EXPIRED')",
        &[("token", Type::Uuid)],
        tokens.iter().map(|token| params![token.uuid()]).collect(),
    )
    .await?;
    Ok(())
}

fn values(promise: &Stored) -> Vec<Value> {
    params![
        promise.token.uuid(),
        promise.request_key,
        promise.body_hash.as_slice(),
        promise.owner.as_str(),
        promise.state.name(),
        promise.method.name(),
        promise.node.as_str(),
        promise.method.rules().activity.name(),
        promise.slot_start,
        micros(promise.ready),
        micros(promise.keep_until),
        promise.record.promise.encode_to_vec(),
        promise.record.decision.encode_to_vec(),
        micros(promise.created),
        micros(promise.expires),
    ]
}

/// Writes new promises; they must be in the order of their request keys. Answers the tokens written: one is missing
/// when another process used its request key at the same time.
pub(crate) async fn insert(tx: &mut Tx, promises: &[&Stored]) -> Result<Vec<PromiseToken>, Error> {
    let (text, columns) = insert_rows!(
        "promises",
        [
            token: Uuid, request_key: Uuid, body_hash: Bytes, owner: Text, state: Text, method: Text, node_id: Text,
            activity: Text, slot_start: BigInt, ready_at: BigInt, keep_until: BigInt, lines: Bytes, decision: Bytes,
            created_at: BigInt, expires_at: BigInt
        ],
        and "version, capacity_held" = "1, r.slot_start IS NOT NULL",
        "WHERE true ON CONFLICT (request_key) DO NOTHING RETURNING token"
    );
    let rows =
        tx.batch_fetch(text, columns, promises.iter().map(|promise| values(promise)).collect()).await?;
    rows.iter().map(|row| Ok(PromiseToken::new(row.get("token")?))).collect()
}

/// Marks promises LIVE whose stock was granted, each with its end. Answers those that were PENDING.
pub(crate) async fn grant(
    tx: &mut Tx,
    granted: &BTreeMap<PromiseToken, Timestamp>,
) -> Result<Vec<PromiseToken>, Error> {
    let (text, columns) = update_rows!(
        "promises",
        keys [token: Uuid],
        [expires_at: BigInt],
        and "state = 'LIVE', version = promises.version + 1",
        "AND promises.state = 'PENDING' RETURNING promises.token"
    );
    let row = |(token, until): (&PromiseToken, &Timestamp)| params![token.uuid(), micros(*until)];
    let rows = tx.batch_fetch(text, columns, granted.iter().map(row).collect()).await?;
    rows.iter().map(|row| Ok(PromiseToken::new(row.get("token")?))).collect()
}

/// Forgets promises whose stock was refused. Answers the slots whose capacity they held.
pub(crate) async fn forget(tx: &mut Tx, tokens: &[PromiseToken]) -> Result<Vec<SlotKey>, Error> {
    let rows = tx
        .batch_fetch(
            "DELETE FROM promises WHERE token IN (SELECT r.token FROM {rows}) AND state = 'PENDING'
             RETURNING node_id, activity, slot_start, capacity_held",
            &[("token", Type::Uuid)],
            tokens.iter().map(|token| params![token.uuid()]).collect(),
        )
        .await?;
    held_slots(&rows)
}

/// Writes what a transition changed. False: the promise changed meanwhile.
pub(crate) async fn save(tx: &mut Tx, promise: &Stored) -> Result<bool, Error> {
    let expires = promise.state.expires().unwrap_or(promise.expires);
    let saved = tx
        .execute(
            "UPDATE promises SET state = $3, version = version + 1, expires_at = $4, order_id = $5, capacity_held = $6,
                    taken_by = $7
              WHERE token = $1 AND version = $2",
            params![
                promise.token.uuid(),
                promise.version,
                promise.state.name(),
                micros(expires),
                promise.order().map(OrderId::uuid),
                promise.capacity_held,
                promise.taken_by.as_deref(),
            ],
        )
        .await?;
    Ok(saved == 1)
}

/// Writes what a transition changed of promises that are locked.
pub(crate) async fn save_many(tx: &mut Tx, promises: &[Stored]) -> Result<(), Error> {
    let row = |promise: &Stored| {
        params![
            promise.token.uuid(),
            promise.state.name(),
            micros(promise.state.expires().unwrap_or(promise.expires)),
            promise.order().map(OrderId::uuid),
            promise.capacity_held,
        ]
    };
    let (text, columns) = update_rows!(
        "promises",
        keys [token: Uuid],
        [state: Text, expires_at: BigInt, order_id: Uuid, capacity_held: Bool],
        and "version = promises.version + 1"
    );
    tx.batch(text, columns, promises.iter().map(row).collect()).await?;
    Ok(())
}

/// How many promises are over, counted up to `limit`.
pub(crate) async fn overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS due FROM (SELECT 1 AS one FROM promises
                WHERE state IN ('PENDING', 'LIVE') AND expires_at <= $1 LIMIT $2) AS d";
    Ok(tx.fetch_one(sql, params![micros(now), limit]).await?.get("due")?)
}

/// The promises whose time is over, locked, by token.
pub(crate) async fn lock_due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<Stored>, Error> {
    let due = tx
        .fetch_all(
            "SELECT token FROM promises WHERE state IN ('PENDING', 'LIVE') AND expires_at <= $1
              ORDER BY expires_at LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    let tokens =
        due.iter().map(|row| Ok(params![row.get::<Uuid>("token")?])).collect::<Result<_, Error>>()?;
    let rows = tx
        .batch_fetch(
            "SELECT p.* FROM promises p JOIN {rows} ON p.token = r.token ORDER BY p.token {lock:p}",
            &[("token", Type::Uuid)],
            tokens,
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Ends promises; they must be locked.
pub(crate) async fn expire(tx: &mut Tx, tokens: &[PromiseToken]) -> Result<u64, Error> {
    Ok(tx
        .batch(
            "UPDATE promises AS p SET state = 'EXPIRED', version = p.version + 1, capacity_held = FALSE FROM {rows}
              WHERE p.token = r.token AND p.state IN ('PENDING', 'LIVE')",
            &[("token", Type::Uuid)],
            tokens.iter().map(|token| params![token.uuid()]).collect(),
        )
        .await?)
}

/// When the next promise ends by itself.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<i64>, Error> {
    let row = tx
        .fetch_one(
            "SELECT MIN(expires_at) AS due_at FROM promises WHERE state IN ('PENDING', 'LIVE')",
            params![],
        )
        .await?;
    Ok(row.get("due_at")?)
}

/// Forgets promises that ended without an order before an instant, at most `limit`.
pub(crate) async fn prune(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM promises WHERE token IN
               (SELECT token FROM promises WHERE state IN ('RELEASED', 'EXPIRED') AND expires_at < $1
                 ORDER BY expires_at LIMIT $2)",
            params![micros(before), limit],
        )
        .await?)
}

fn held_slots(rows: &[Row]) -> Result<Vec<SlotKey>, Error> {
    let mut slots = Vec::with_capacity(rows.len());
    for row in rows {
        if let (true, Some(start)) = (row.get("capacity_held")?, row.get::<Option<i64>>("slot_start")?) {
            slots.push(SlotKey { node: row.get("node_id")?, activity: row.get("activity")?, start });
        }
    }
    Ok(slots)
}
