//! Promise tokens: one row each with its cart, and the rows of its legs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use contract::fulfillment::v1 as pb;
use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::id::{FulfillmentId, OrderId, PromiseToken};
use domain::promise::token::State;
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use prost::Message;
use service::Fault;
use uuid::Uuid;

use super::hold_count::Counts;
use super::promise_leg::{self, HeldPlace, Leg};
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
    /// Who holds it, or for whom a service does, `kind/id`.
    pub(crate) holder: String,
    /// The channel that its cart is sold through.
    pub(crate) channel: Option<String>,
    /// The service that relies on it since, `kind/id`: it holds it then.
    pub(crate) taken_by: Option<String>,
    /// Where it stands.
    pub(crate) state: State,
    /// Whose quota it counts for, `kind/id`; none: nobody's.
    pub(crate) counted_for: Option<String>,
    /// From 1.
    pub(crate) version: i64,
    /// The cart.
    pub(crate) body: pb::Promise,
    /// What was promised: 1 to 50, in the order of the groups.
    pub(crate) legs: Vec<Leg>,
    /// When it was taken.
    pub(crate) created: Timestamp,
    /// When it ended or would have ended by itself.
    pub(crate) expires: Timestamp,
}

impl Stored {
    /// The capacity that was planned for it.
    pub(crate) fn places(&self) -> impl Iterator<Item = &HeldPlace> {
        self.legs.iter().flat_map(|leg| &leg.places)
    }

    /// The capacity that it holds.
    pub(crate) fn held_places(&self) -> impl Iterator<Item = &HeldPlace> {
        self.places().filter(|place| place.is_held)
    }

    /// The legs that hold capacity.
    pub(crate) fn holding_legs(&self) -> impl Iterator<Item = FulfillmentId> {
        let holding = self.legs.iter().filter(|leg| leg.places.iter().any(|place| place.is_held));
        holding.map(|leg| leg.id)
    }

    /// What it counts for a quota.
    pub(crate) fn counts(&self) -> Counts {
        self.counted_for.as_deref().map(|holder| Counts::of(holder, &self.body)).unwrap_or_default()
    }

    /// A service holds it: an order may be on its way with it.
    pub(crate) fn is_relied_on(&self) -> bool {
        self.taken_by.is_some() || self.owner.starts_with("service/")
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
    let expires = from_micros(row.get("expires_at")?);
    let state: String = row.get("state")?;
    let body: Vec<u8> = row.get("body")?;
    Ok(Stored {
        token: PromiseToken::new(row.get("token")?),
        request_key: row.get("request_key")?,
        body_hash: row.get("body_hash")?,
        owner: row.get("owner")?,
        holder: row.get("holder")?,
        channel: row.get("channel")?,
        taken_by: row.get("taken_by")?,
        state: state_of(&state, expires, row.get("order_id")?)?,
        counted_for: row.get("counted_for")?,
        version: row.get("version")?,
        body: cart(&body)?,
        legs: Vec::new(),
        created: from_micros(row.get("created_at")?),
        expires,
    })
}

fn cart(body: &[u8]) -> Result<pb::Promise, Error> {
    pb::Promise::decode(body).map_err(|_| Error::corrupt("a promise with an unreadable cart".to_owned()))
}

/// The promises of these rows, with their legs.
async fn with_legs(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Stored>, Error> {
    let mut all = rows.iter().map(read).collect::<Result<Vec<Stored>, Error>>()?;
    // Asked for under equal keys, a promise is found more than once.
    let mut seen = HashSet::with_capacity(all.len());
    all.retain(|stored| seen.insert(stored.token));
    let tokens: Vec<PromiseToken> = all.iter().map(|stored| stored.token).collect();
    let mut legs = promise_leg::of_tokens(tx, &tokens).await?;
    for stored in &mut all {
        stored.legs = legs.remove(&stored.token).unwrap_or_default();
    }
    Ok(all)
}

/// One promise.
pub(crate) async fn get(tx: &mut Tx, token: PromiseToken) -> Result<Option<Stored>, Error> {
    let row = tx.fetch_optional("SELECT * FROM promises WHERE token = $1", params![token.uuid()]).await?;
    Ok(with_legs(tx, row.as_slice()).await?.pop())
}

/// One promise, locked.
pub(crate) async fn lock(tx: &mut Tx, token: PromiseToken) -> Result<Option<Stored>, Error> {
    let row =
        tx.lock_one("SELECT p.* FROM promises p WHERE p.token = $1 {lock:p}", params![token.uuid()]).await?;
    Ok(with_legs(tx, row.as_slice()).await?.pop())
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
    with_legs(tx, &rows).await
}

/// The promises of an order, newest first, at most `limit`.
pub(crate) async fn of_order(tx: &mut Tx, order: OrderId, limit: i64) -> Result<Vec<Stored>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT * FROM promises WHERE order_id = $1 ORDER BY created_at DESC, token LIMIT $2",
            params![order.uuid(), limit],
        )
        .await?;
    with_legs(tx, &rows).await
}

/// Who holds the promises of orders, or for whom a service does; those that a service holds for itself say nothing of it.
pub(crate) async fn holders_of(
    tx: &mut Tx,
    orders: &BTreeSet<OrderId>,
) -> Result<HashMap<OrderId, String>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT DISTINCT p.order_id, p.holder FROM promises p JOIN {rows} ON p.order_id = r.order_id
              WHERE p.holder NOT LIKE 'service/%'",
            &[("order_id", Type::Uuid)],
            orders.iter().map(|order| params![order.uuid()]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((OrderId::new(row.get("order_id")?), row.get("holder")?))).collect()
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
    with_legs(tx, &rows).await
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
        promise.body.encode_to_vec(),
        micros(promise.created),
        micros(promise.expires),
        promise.counted_for.as_deref(),
        promise.holder.as_str(),
        promise.channel.as_deref(),
    ]
}

/// Writes new promises with their legs; they must be in the order of their request keys. [`Fault::Raced`] when another
/// process used one of the request keys at the same time.
pub(crate) async fn insert(tx: &mut Tx, promises: &[&Stored]) -> Result<(), Error> {
    let (text, columns) = insert_rows!(
        "promises",
        [
            token: Uuid, request_key: Uuid, body_hash: Bytes, owner: Text, state: Text, body: Bytes,
            created_at: BigInt, expires_at: BigInt, counted_for: Text, holder: Text,
            channel: Text
        ],
        and "version" = "1"
    );
    let rows = promises.iter().map(|promise| values(promise)).collect();
    let mut parts = vec![Part::new(text, columns, rows)];
    parts
        .extend(promise_leg::insert(promises.iter().map(|promise| (promise.token, promise.legs.as_slice()))));
    match tx.together(parts).await {
        Ok(_) => Ok(()),
        Err(db::Error::Duplicate(_)) => Err(Fault::Raced.into()),
        Err(error) => Err(error.into()),
    }
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

/// What promises held that are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    /// Their capacity.
    pub(crate) places: Vec<HeldPlace>,
    /// What they counted for the quotas of their owners.
    pub(crate) counts: Counts,
}

/// Forgets promises whose stock was refused.
pub(crate) async fn forget(tx: &mut Tx, tokens: &[PromiseToken]) -> Result<Forgotten, Error> {
    if tokens.is_empty() {
        return Ok(Forgotten::default());
    }
    // Read first: with the promise go its legs and places. One that ended meanwhile is not deleted: its capacity was
    // given back when it ended.
    let held = promise_leg::held_places(tx, tokens).await?;
    let rows = tx
        .batch_fetch(
            "DELETE FROM promises WHERE token IN (SELECT r.token FROM {rows}) AND state = 'PENDING'
             RETURNING token, counted_for, CASE WHEN counted_for IS NOT NULL THEN body END AS counted",
            &[("token", Type::Uuid)],
            tokens.iter().map(|token| params![token.uuid()]).collect(),
        )
        .await?;
    let (mut gone, mut counts) = (HashSet::with_capacity(rows.len()), Counts::default());
    for row in &rows {
        gone.insert(PromiseToken::new(row.get("token")?));
        if let (Some(holder), Some(body)) =
            (row.get::<Option<String>>("counted_for")?, row.get::<Option<Vec<u8>>>("counted")?)
        {
            counts.add(&Counts::of(&holder, &cart(&body)?), 1);
        }
    }
    let places = held.into_iter().filter(|(token, _)| gone.contains(token)).map(|(_, place)| place).collect();
    Ok(Forgotten { places, counts })
}

/// Writes what a transition changed. False: the promise changed meanwhile.
pub(crate) async fn save(tx: &mut Tx, promise: &Stored) -> Result<bool, Error> {
    let expires = promise.state.expires().unwrap_or(promise.expires);
    let saved = tx
        .execute(
            "UPDATE promises SET state = $3, version = version + 1, expires_at = $4, order_id = $5, taken_by = $6,
                    counted_for = $7
              WHERE token = $1 AND version = $2",
            params![
                promise.token.uuid(),
                promise.version,
                promise.state.name(),
                micros(expires),
                promise.order().map(OrderId::uuid),
                promise.taken_by.as_deref(),
                promise.counted_for.as_deref(),
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
            promise.counted_for.as_deref(),
        ]
    };
    let (text, columns) = update_rows!(
        "promises",
        keys [token: Uuid],
        [state: Text, expires_at: BigInt, order_id: Uuid, counted_for: Text],
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
    with_legs(tx, &rows).await
}

/// Ends promises; they must be locked.
pub(crate) async fn expire(tx: &mut Tx, tokens: &[PromiseToken]) -> Result<u64, Error> {
    Ok(tx
        .batch(
            "UPDATE promises AS p SET state = 'EXPIRED', version = p.version + 1, counted_for = NULL FROM {rows}
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
