//! Fulfillment orders with their lines and the clocks that run for them.
//!
//! The node's row in `work_feeds` is *the* lock of its work: a transaction that changes a fulfillment order takes it first
//! (see [`super::feed`]), so what is read after it is whole and does not move.

use std::collections::HashMap;

use db::{Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::fulfillment::stage::Name;
use domain::fulfillment::{AtHandover, Buckets, Dues, Ending, Line, Marks, Method, Order, State};
use domain::id::{DecisionId, FulfillmentId, NodeId, OrderId, PromiseToken, Sku};
use domain::money::Currency;
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use uuid::Uuid;
use work_feed::Position;

use super::clock;
use crate::Error;
use crate::wire::work::{packed_skus, packed_wishes, unpacked_skus, unpacked_wishes};
use crate::work::wishes::{Origin, Wishes};

/// A fulfillment order as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) order: Order,
    pub(crate) decision: DecisionId,
    pub(crate) channel: String,
    pub(crate) channel_order_id: String,
    pub(crate) origin: Origin,
    pub(crate) wishes: Wishes,
    /// Among whose unpaid orders it counts, `kind/id`; none: nobody's.
    pub(crate) holder: Option<String>,
    pub(crate) updated: Timestamp,
    /// Who changed it last.
    pub(crate) updated_by: String,
}

impl Stored {
    /// It counts among the unpaid orders of its holder: it is not over, and what is due at its handovers, or by invoice, is
    /// not paid.
    fn is_unpaid(&self) -> bool {
        let is_due = self.order.dues.at_handover.is_none() || self.order.due().is_some();
        self.holder.is_some() && !self.order.state().is_over() && is_due
    }
}

/// The most lines that one page reads: a page of large orders has fewer orders.
const MAX_LINES: i64 = 5_000;

/// Selects fulfillment orders `w` with their lines `l`, for [`assemble`].
macro_rules! select_work {
    ($rest:literal) => {
        concat!(
            "SELECT w.*, l.line_no, l.sku, l.name, l.quantity, l.to_pick, l.picked, l.packed, l.ready, l.in_custody, ",
            "l.done, l.short, l.given_up, l.cancelled, l.returned, l.lost, l.put_back, l.restocked, l.kept, ",
            "l.due_minor ",
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
            stored.origin.member_ref.as_str(),
            stored.origin.journey_id.as_str(),
            packed_wishes(&stored.wishes),
            micros(order.promised),
            i64::try_from(order.lines.len()).unwrap_or(i64::MAX),
            order.dues.at_handover.map(|at| at.currency.code()),
            stored.holder.as_deref(),
        ];
        row.extend(changing(stored));
        rows.push(row);
    }
    let (text, columns) = insert_rows!(
        "fulfillment_orders",
        [
            fulfillment_id: Uuid, order_id: Uuid, promise_token: Uuid, decision_id: Uuid, node_id: Text,
            method: Text, channel: Text, channel_order_id: Text, member_ref: Text, journey_id: Text, wishes: Bytes,
            promised_at: BigInt, line_count: BigInt, currency: Text, holder: Text, version: BigInt, state: Text,
            is_work: Bool, offered_at: BigInt, reached: Text, expired_at: BigInt, ending: Text, ended_at: BigInt,
            covered_minor: BigInt, collected_minor: BigInt, is_payment_lost: Bool, updated_at: BigInt,
            doubtful_skus: Bytes, is_unpaid: Bool, updated_by: Text
        ]
    );
    tx.batch(text, columns, rows).await?;
    let line = |stored: &&Stored| {
        let id = stored.order.id.uuid();
        let row = move |line: &Line| {
            let mut row = params![id, line.line, line.sku.as_str(), line.name.as_str(), line.quantity];
            row.extend(buckets(&line.buckets));
            row.extend(params![line.due_minor]);
            row
        };
        stored.order.lines.iter().map(row).collect::<Vec<_>>()
    };
    let (text, columns) = insert_rows!(
        "fulfillment_lines",
        [
            fulfillment_id: Uuid, line_no: BigInt, sku: Text, name: Text, quantity: BigInt, to_pick: BigInt,
            picked: BigInt, packed: BigInt, ready: BigInt, in_custody: BigInt, done: BigInt, short: BigInt,
            given_up: BigInt, cancelled: BigInt, returned: BigInt, lost: BigInt, put_back: BigInt, restocked: BigInt,
            kept: BigInt, due_minor: BigInt
        ]
    );
    tx.batch(text, columns, new.iter().flat_map(line).collect()).await?;
    clock::insert(tx, new).await
}

/// Writes what changed since `before` was read.
pub(crate) async fn update(tx: &mut Tx, before: &Order, stored: &Stored) -> Result<(), Error> {
    let order = &stored.order;
    let mut values = params![order.id.uuid(), before.version];
    values.extend(changing(stored));
    let saved = tx
        .execute(
            "UPDATE fulfillment_orders
                SET version = $3, state = $4, is_work = $5, offered_at = $6, reached = $7, expired_at = $8,
                    ending = $9, ended_at = $10, covered_minor = $11, collected_minor = $12, is_payment_lost = $13,
                    updated_at = $14, doubtful_skus = $15, is_unpaid = $16, updated_by = $17
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
            to_pick: BigInt, picked: BigInt, packed: BigInt, ready: BigInt, in_custody: BigInt, done: BigInt,
            short: BigInt, given_up: BigInt, cancelled: BigInt, returned: BigInt, lost: BigInt, put_back: BigInt,
            restocked: BigInt, kept: BigInt
        ]
    );
    tx.batch(text, columns, rows).await?;
    clock::update(tx, before, order).await
}

/// The columns that a change may touch, in the order of the table.
fn changing(stored: &Stored) -> Vec<Value> {
    let order = &stored.order;
    let (marks, paid) = (&order.marks, order.dues.at_handover);
    let at = |mark: Option<Timestamp>| mark.map(micros);
    params![
        order.version,
        order.state().name(),
        order.is_work(),
        at(marks.offered),
        marks.reached.map(Name::name),
        at(marks.expired),
        marks.ending.map(Ending::name),
        at(marks.ended),
        paid.map_or(0, |at| at.covered_minor),
        paid.map_or(0, |at| at.collected_minor),
        order.dues.is_payment_lost,
        micros(stored.updated),
        packed_skus(&marks.doubtful),
        stored.is_unpaid(),
        stored.updated_by.as_str(),
    ]
}

fn buckets(b: &Buckets) -> Vec<Value> {
    params![
        b.to_pick,
        b.picked,
        b.packed,
        b.ready,
        b.in_custody,
        b.done,
        b.short,
        b.given_up,
        b.cancelled,
        b.returned,
        b.lost,
        b.put_back,
        b.restocked,
        b.kept,
    ]
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
    let mut found = assemble(&rows)?;
    clock::attach(tx, &mut found).await?;
    Ok(found.pop())
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

/// Where the fulfillment orders of an order are in the list of them, newest first, after a position.
pub(crate) async fn of_order(
    tx: &mut Tx,
    order: OrderId,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<Position>, Error> {
    let before = after.map_or((i64::MAX, Uuid::max()), |after| (micros(after.at), after.id));
    let rows = tx
        .fetch_all(
            "SELECT fulfillment_id, offered_at FROM fulfillment_orders
              WHERE order_id = $1 AND (offered_at, fulfillment_id) < ($2, $3)
              ORDER BY offered_at DESC, fulfillment_id DESC LIMIT $4",
            params![order.uuid(), before.0, before.1, limit],
        )
        .await?;
    let position = |row: &db::Row| {
        Ok(Position { at: from_micros(row.get("offered_at")?), id: row.get("fulfillment_id")? })
    };
    rows.iter().map(position).collect()
}

/// The work that an order has for one of its legs: the leg's, or that of nothing if the leg was another order's.
pub(crate) async fn of_leg(
    tx: &mut Tx,
    leg: FulfillmentId,
    order: OrderId,
) -> Result<Option<FulfillmentId>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT fulfillment_id FROM fulfillment_orders WHERE fulfillment_id IN ($1, $2) AND order_id = $3",
            params![leg.uuid(), leg.without_claim(order).uuid(), order.uuid()],
        )
        .await?;
    row.map(|row| Ok(FulfillmentId::new(row.get("fulfillment_id")?))).transpose()
}

/// The channel of an order that has work.
pub(crate) async fn channel_of(tx: &mut Tx, order: OrderId) -> Result<Option<String>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT channel FROM fulfillment_orders WHERE order_id = $1 LIMIT 1",
            params![order.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.get("channel")).transpose()?)
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
    let mut found = assemble(&rows)?;
    clock::attach(tx, &mut found).await?;
    Ok(found)
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
    let reached: Option<String> = row.get("reached")?;
    let marks = Marks {
        offered: at("offered_at")?,
        reached: reached.map(|name| Name::parse(&name).ok_or_else(|| corrupt(id, "reached"))).transpose()?,
        expired: at("expired_at")?,
        ending: ending.map(|name| Ending::parse(&name).ok_or_else(|| corrupt(id, "ending"))).transpose()?,
        ended: at("ended_at")?,
        doubtful: unpacked_skus(&row.get::<Vec<u8>>("doubtful_skus")?)
            .ok_or_else(|| corrupt(id, "doubtful_skus"))?,
    };
    let method = Method::parse(&method).ok_or_else(|| corrupt(id, "method"))?;
    let currency: Option<String> = row.get("currency")?;
    let at_handover = |code: String| {
        Ok::<_, Error>(AtHandover {
            currency: Currency::new(&code).map_err(|_| corrupt(id, "currency"))?,
            covered_minor: row.get("covered_minor")?,
            collected_minor: row.get("collected_minor")?,
        })
    };
    let order = Order {
        id,
        order: OrderId::new(row.get("order_id")?),
        token: PromiseToken::new(row.get("promise_token")?),
        node: NodeId::new(node).map_err(|_| corrupt(id, "node_id"))?,
        site: None,
        method,
        promised: from_micros(row.get("promised_at")?),
        lines: Vec::new(),
        clocks: method.rules().clocks,
        running: Vec::new(),
        marks,
        dues: Dues {
            at_handover: currency.map(at_handover).transpose()?,
            is_payment_lost: row.get("is_payment_lost")?,
        },
        version: row.get("version")?,
    };
    Ok(Stored {
        order,
        decision: DecisionId::new(row.get("decision_id")?),
        channel: row.get("channel")?,
        channel_order_id: row.get("channel_order_id")?,
        origin: Origin { member_ref: row.get("member_ref")?, journey_id: row.get("journey_id")? },
        wishes: unpacked_wishes(&row.get::<Vec<u8>>("wishes")?).ok_or_else(|| corrupt(id, "wishes"))?,
        holder: row.get("holder")?,
        updated: from_micros(row.get("updated_at")?),
        updated_by: row.get("updated_by")?,
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
            packed: row.get("packed")?,
            ready: row.get("ready")?,
            in_custody: row.get("in_custody")?,
            done: row.get("done")?,
            short: row.get("short")?,
            given_up: row.get("given_up")?,
            cancelled: row.get("cancelled")?,
            returned: row.get("returned")?,
            lost: row.get("lost")?,
            put_back: row.get("put_back")?,
            restocked: row.get("restocked")?,
            kept: row.get("kept")?,
        },
        due_minor: row.get("due_minor")?,
    })
}

fn corrupt(id: FulfillmentId, what: &str) -> Error {
    Error::corrupt(format!("fulfillment order {id}: {what}"))
}
