//! Fulfillment orders with their lines, pickup codes and missed look-ups.
//!
//! The node's row in `work_feeds` is *the* lock of its work: a transaction that changes a fulfillment order takes it first
//! (see [`super::feed`]), so what is read after it is whole and does not move.

use std::collections::HashMap;

use db::{Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::fulfillment::{Buckets, Ending, Line, Marks, Method, Order, State};
use domain::id::{DecisionId, FulfillmentId, NodeId, OrderId, PromiseToken, Sku};
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use uuid::Uuid;
use work_feed::Position;

use crate::Error;

/// A fulfillment order as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) order: Order,
    pub(crate) decision: DecisionId,
    pub(crate) channel: String,
    pub(crate) channel_order_id: String,
    pub(crate) updated: Timestamp,
}

/// The most lines that one page reads: a page of large orders has fewer orders.
const MAX_LINES: i64 = 5_000;

/// Selects fulfillment orders `w` with their lines `l`, for [`assemble`].
macro_rules! select_work {
    ($rest:literal) => {
        concat!(
            "SELECT w.*, l.line_no, l.sku, l.name, l.quantity, l.to_pick, l.picked, l.ready, l.done, l.short, ",
            "l.cancelled, l.put_back, l.restocked ",
            $rest
        )
    };
}

/// Stores fulfillment orders that are new.
pub(crate) async fn insert(tx: &mut Tx, new: &[&Stored]) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(new.len());
    for stored in new {
        let order = &stored.order;
        let mut row = params![
            order.id.uuid(),
            order.order.uuid(),
            order.token.uuid(),
            stored.decision.uuid(),
            order.node.as_str(),
            order.method.name(),
            stored.channel.as_str(),
            stored.channel_order_id.as_str(),
            micros(order.promised),
            i64::try_from(order.lines.len()).unwrap_or(i64::MAX),
        ];
        row.extend(changing(stored)?);
        rows.push(row);
    }
    let (text, columns) = insert_rows!(
        "fulfillment_orders",
        [
            fulfillment_id: Uuid, order_id: Uuid, promise_token: Uuid, decision_id: Uuid, node_id: Text,
            method: Text, channel: Text, channel_order_id: Text, promised_at: BigInt, line_count: BigInt, version: BigInt, state: Text,
            is_work: Bool, due_at: BigInt, offered_at: BigInt, accept_due_at: BigInt, accepted_at: BigInt,
            started_at: BigInt, ready_at: BigInt, keep_until: BigInt, reminded: BigInt, expired_at: BigInt,
            put_back_due_at: BigInt, at_risk_due_at: BigInt, is_at_risk: Bool, ending: Text, ended_at: BigInt,
            updated_at: BigInt
        ]
    );
    tx.batch(text, columns, rows).await?;
    let line = |stored: &&Stored| {
        let id = stored.order.id.uuid();
        let row = move |line: &Line| {
            let mut row = params![id, line.line, line.sku.as_str(), line.name.as_str(), line.quantity];
            row.extend(buckets(&line.buckets));
            row
        };
        stored.order.lines.iter().map(row).collect::<Vec<_>>()
    };
    let (text, columns) = insert_rows!(
        "fulfillment_lines",
        [
            fulfillment_id: Uuid, line_no: BigInt, sku: Text, name: Text, quantity: BigInt, to_pick: BigInt,
            picked: BigInt, ready: BigInt, done: BigInt, short: BigInt, cancelled: BigInt, put_back: BigInt,
            restocked: BigInt
        ]
    );
    tx.batch(text, columns, new.iter().flat_map(line).collect()).await?;
    Ok(())
}

/// Writes what changed since `before` was read.
pub(crate) async fn update(tx: &mut Tx, before: &Order, stored: &Stored) -> Result<(), Error> {
    let order = &stored.order;
    let mut values = params![order.id.uuid(), before.version];
    values.extend(changing(stored)?);
    let saved = tx
        .execute(
            "UPDATE fulfillment_orders
                SET version = $3, state = $4, is_work = $5, due_at = $6, offered_at = $7, accept_due_at = $8,
                    accepted_at = $9, started_at = $10, ready_at = $11, keep_until = $12, reminded = $13,
                    expired_at = $14, put_back_due_at = $15, at_risk_due_at = $16, is_at_risk = $17, ending = $18,
                    ended_at = $19, updated_at = $20
              WHERE fulfillment_id = $1 AND version = $2",
            values,
        )
        .await?;
    if saved != 1 {
        return Err(Error::WorkChanged(order.id));
    }
    let rows = order
        .lines
        .iter()
        .zip(&before.lines)
        .filter(|(now, then)| now.buckets != then.buckets)
        .map(|(line, _)| {
            let mut row = params![order.id.uuid(), line.line];
            row.extend(buckets(&line.buckets));
            row
        })
        .collect();
    let (text, columns) = update_rows!(
        "fulfillment_lines",
        keys [fulfillment_id: Uuid, line_no: BigInt],
        [
            to_pick: BigInt, picked: BigInt, ready: BigInt, done: BigInt, short: BigInt, cancelled: BigInt,
            put_back: BigInt, restocked: BigInt
        ]
    );
    tx.batch(text, columns, rows).await?;
    Ok(())
}

/// The columns that a change may touch, in the order of the table.
fn changing(stored: &Stored) -> Result<Vec<Value>, Error> {
    let order = &stored.order;
    let marks = &order.marks;
    let at = |mark: Option<Timestamp>| mark.map(micros);
    let reminded = i64::try_from(marks.reminded).map_err(|_| Error::corrupt("reminders".to_owned()))?;
    Ok(params![
        order.version,
        order.state().name(),
        order.is_work(),
        at(order.next_due().map(|(due, _)| due)),
        at(marks.offered),
        at(marks.accept_due),
        at(marks.accepted),
        at(marks.started),
        at(marks.ready),
        at(marks.keep_until),
        reminded,
        at(marks.expired),
        at(marks.put_back_due),
        at(marks.at_risk_due),
        marks.at_risk,
        marks.ending.map(Ending::name),
        at(marks.ended),
        micros(stored.updated),
    ])
}

fn buckets(b: &Buckets) -> Vec<Value> {
    params![b.to_pick, b.picked, b.ready, b.done, b.short, b.cancelled, b.put_back, b.restocked]
}

/// One fulfillment order.
pub(crate) async fn load(tx: &mut Tx, id: FulfillmentId) -> Result<Option<Stored>, Error> {
    let rows = tx
        .fetch_all(
            select_work!(
                "FROM fulfillment_orders w JOIN fulfillment_lines l ON l.fulfillment_id = w.fulfillment_id
                  WHERE w.fulfillment_id = $1
                  ORDER BY l.line_no"
            ),
            params![id.uuid()],
        )
        .await?;
    Ok(assemble(&rows)?.pop())
}

/// How many of these fulfillment orders, in their order, one page reads: at least one.
pub(crate) async fn fitting_of(tx: &mut Tx, ids: &[Uuid]) -> Result<usize, Error> {
    if ids.len() < 2 {
        return Ok(ids.len());
    }
    let rows = tx
        .batch_fetch(
            "SELECT w.fulfillment_id, w.line_count FROM fulfillment_orders w JOIN {rows} ON w.fulfillment_id = r.id",
            &[("id", Type::Uuid)],
            ids.iter().map(|id| params![*id]).collect(),
        )
        .await?;
    let mut counts: HashMap<Uuid, i64> = HashMap::with_capacity(rows.len());
    for row in &rows {
        counts.insert(row.get("fulfillment_id")?, row.get("line_count")?);
    }
    Ok(fitting(ids.iter().map(|id| counts.get(id).copied().unwrap_or(0))))
}

/// The id of the newest fulfillment order of an order.
pub(crate) async fn newest_of(tx: &mut Tx, order: OrderId) -> Result<Option<FulfillmentId>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT fulfillment_id FROM fulfillment_orders WHERE order_id = $1
              ORDER BY offered_at DESC, fulfillment_id DESC LIMIT 1",
            params![order.uuid()],
        )
        .await?;
    row.map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).transpose()
}

/// The id of the fulfillment order of a promise.
pub(crate) async fn of_promise(tx: &mut Tx, token: PromiseToken) -> Result<Option<FulfillmentId>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT fulfillment_id FROM fulfillment_orders WHERE promise_token = $1",
            params![token.uuid()],
        )
        .await?;
    row.map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).transpose()
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) work: Vec<Stored>,
    /// There is more behind it.
    pub(crate) more: bool,
}

/// A page of what a node still has to do, oldest promise first.
pub(crate) async fn open_work(
    tx: &mut Tx,
    node: &NodeId,
    after: Position,
    limit: i64,
) -> Result<Page, Error> {
    let found = tx
        .fetch_all(
            "SELECT promised_at, fulfillment_id, line_count FROM fulfillment_orders
              WHERE node_id = $1 AND is_work AND (promised_at, fulfillment_id) > ($2, $3)
              ORDER BY promised_at, fulfillment_id LIMIT $4",
            params![node.as_str(), micros(after.at), after.id, limit.saturating_add(1)],
        )
        .await?;
    page(tx, &found, limit).await
}

/// A page of a node's fulfillment orders in some states, oldest promise first. Each state is walked along its index: what a
/// node has done in years is not read for one page of it.
pub(crate) async fn in_states(
    tx: &mut Tx,
    node: &NodeId,
    states: &[State],
    after: Position,
    limit: i64,
) -> Result<Page, Error> {
    let mut found: Vec<Row> = Vec::new();
    for state in states {
        let rows = tx
            .fetch_all(
                "SELECT promised_at, fulfillment_id, line_count FROM fulfillment_orders
                  WHERE node_id = $1 AND state = $2 AND (promised_at, fulfillment_id) > ($3, $4)
                  ORDER BY promised_at, fulfillment_id LIMIT $5",
                params![node.as_str(), state.name(), micros(after.at), after.id, limit.saturating_add(1)],
            )
            .await?;
        found.extend(rows);
    }
    page(tx, &found, limit).await
}

/// The first of the work that was found, in the order of promises.
async fn page(tx: &mut Tx, found: &[Row], limit: i64) -> Result<Page, Error> {
    let mut keys: Vec<(i64, Uuid, i64)> = Vec::with_capacity(found.len());
    for row in found {
        keys.push((row.get("promised_at")?, row.get("fulfillment_id")?, row.get("line_count")?));
    }
    keys.sort_unstable();
    let shown =
        fitting(keys.iter().map(|(.., lines)| *lines)).min(usize::try_from(limit).unwrap_or_default());
    let ids: Vec<Uuid> = keys[..shown].iter().map(|(_, id, _)| *id).collect();
    Ok(Page { work: many(tx, &ids).await?, more: shown < keys.len() })
}

/// How many of these orders, by their lines, one page reads: at least one.
pub(crate) fn fitting(line_counts: impl Iterator<Item = i64>) -> usize {
    let mut lines = 0;
    let fits = |(nth, count): &(usize, i64)| {
        lines += count;
        *nth == 0 || lines <= MAX_LINES
    };
    line_counts.enumerate().take_while(fits).count()
}

/// These fulfillment orders, the oldest promise first.
pub(crate) async fn many(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Stored>, Error> {
    let rows = tx
        .batch_fetch(
            select_work!(
                "FROM fulfillment_orders w
                 JOIN fulfillment_lines l ON l.fulfillment_id = w.fulfillment_id
                 JOIN {rows} ON w.fulfillment_id = r.id
                ORDER BY w.promised_at, w.fulfillment_id, l.line_no"
            ),
            &[("id", Type::Uuid)],
            ids.iter().map(|id| params![*id]).collect(),
        )
        .await?;
    assemble(&rows)
}

/// Fulfillment orders for which something is due, the oldest first.
pub(crate) async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<FulfillmentId>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT fulfillment_id FROM fulfillment_orders
              WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    rows.iter().map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).collect()
}

/// How many fulfillment orders, or their put-backs, end now, counted up to `limit`: an offer times out, work that was
/// late already is given up, goods are kept no longer. Warnings and reminders end nothing.
pub(crate) async fn overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS due FROM (SELECT 1 AS one FROM fulfillment_orders
                WHERE due_at IS NOT NULL AND due_at <= $1
                  AND (put_back_due_at <= $1
                       OR state = 'OFFERED' AND accept_due_at <= $1
                       OR state IN ('ACCEPTED', 'PICKING') AND (is_at_risk OR promised_at <= $1)
                       OR state IN ('READY_FOR_PICKUP', 'PARTLY_COLLECTED') AND keep_until <= $1)
                LIMIT $2) AS d";
    Ok(tx.fetch_one(sql, params![micros(now), limit]).await?.get("due")?)
}

/// When something is due next.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT due_at FROM fulfillment_orders WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1",
            params![],
        )
        .await?;
    row.map(|row| Ok(from_micros(row.get("due_at")?))).transpose()
}

/// When the clocks look at a fulfillment order next: it could not be moved, or nothing is due yet.
pub(crate) async fn set_due(tx: &mut Tx, id: FulfillmentId, due: Option<Timestamp>) -> Result<(), Error> {
    tx.execute(
        "UPDATE fulfillment_orders SET due_at = $2 WHERE fulfillment_id = $1",
        params![id.uuid(), due.map(micros)],
    )
    .await?;
    Ok(())
}

/// Reads rows of `fulfillment_orders` joined with their lines, which come one after another.
fn assemble(rows: &[Row]) -> Result<Vec<Stored>, Error> {
    let mut all: Vec<Stored> = Vec::new();
    for row in rows {
        let id = FulfillmentId::new(row.get("fulfillment_id")?);
        if all.last().is_none_or(|last| last.order.id != id) {
            all.push(header(id, row)?);
        }
        if let Some(last) = all.last_mut() {
            last.order.lines.push(line(row)?);
        }
    }
    Ok(all)
}

fn header(id: FulfillmentId, row: &Row) -> Result<Stored, Error> {
    let at = |column| Ok::<_, db::Error>(row.get::<Option<i64>>(column)?.map(from_micros));
    let node: String = row.get("node_id")?;
    let method: String = row.get("method")?;
    let ending: Option<String> = row.get("ending")?;
    let reminded: u32 = row.get("reminded")?;
    let marks = Marks {
        offered: at("offered_at")?,
        accept_due: at("accept_due_at")?,
        accepted: at("accepted_at")?,
        started: at("started_at")?,
        ready: at("ready_at")?,
        keep_until: at("keep_until")?,
        reminded: usize::try_from(reminded).map_err(|_| corrupt(id, "reminded"))?,
        expired: at("expired_at")?,
        put_back_due: at("put_back_due_at")?,
        at_risk_due: at("at_risk_due_at")?,
        at_risk: row.get("is_at_risk")?,
        ending: ending.map(|name| Ending::parse(&name).ok_or_else(|| corrupt(id, "ending"))).transpose()?,
        ended: at("ended_at")?,
    };
    let method = Method::parse(&method).ok_or_else(|| corrupt(id, "method"))?;
    let order = Order {
        id,
        order: OrderId::new(row.get("order_id")?),
        token: PromiseToken::new(row.get("promise_token")?),
        node: NodeId::new(node).map_err(|_| corrupt(id, "node_id"))?,
        method,
        promised: from_micros(row.get("promised_at")?),
        lines: Vec::new(),
        clocks: method.rules().clocks,
        marks,
        version: row.get("version")?,
    };
    Ok(Stored {
        order,
        decision: DecisionId::new(row.get("decision_id")?),
        channel: row.get("channel")?,
        channel_order_id: row.get("channel_order_id")?,
        updated: from_micros(row.get("updated_at")?),
    })
}

fn line(row: &Row) -> Result<Line, Error> {
    let sku: String = row.get("sku")?;
    Ok(Line {
        line: row.get("line_no")?,
        sku: Sku::new(sku).map_err(|_| Error::corrupt("a line has a malformed SKU".to_owned()))?,
        name: row.get("name")?,
        quantity: row.get("quantity")?,
        buckets: Buckets {
            to_pick: row.get("to_pick")?,
            picked: row.get("picked")?,
            ready: row.get("ready")?,
            done: row.get("done")?,
            short: row.get("short")?,
            cancelled: row.get("cancelled")?,
            put_back: row.get("put_back")?,
            restocked: row.get("restocked")?,
        },
    })
}

fn corrupt(id: FulfillmentId, what: &str) -> Error {
    Error::corrupt(format!("fulfillment order {id}: {what}"))
}
