//! Reading orders, whole.

use std::collections::{BTreeSet, HashMap};

use db::{Row, Tx, Type, params};
use domain::id::{OrderId, PromiseToken, Sku, Uuid};
use domain::money::Currency;
use domain::order::{Acceptance, Amounts, Block, Buckets, Ledger, Line, Order, Origin, Own, Status, Terms};
use domain::time::{Timestamp, from_micros, micros};
use service::Fault;

use super::{groups, legs, money, needs, select_orders};
use crate::error::Error;
use crate::wire::unpacked_attribution;

/// An order as it is stored, with the number of steps in its timeline.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) order: Order,
    pub(crate) steps: i64,
}

/// The order, as it is now.
pub(crate) async fn load(tx: &mut Tx, id: OrderId) -> Result<Option<Loaded>, Error> {
    let row = tx.fetch_optional(select_orders!("WHERE o.order_id = $1"), params![id.uuid()]).await?;
    one(tx, row).await
}

/// The version of an order, and whether it is over: enough to know whether there is something new.
pub(crate) async fn glance(tx: &mut Tx, id: OrderId) -> Result<Option<(i64, bool)>, Error> {
    let row = tx
        .fetch_optional("SELECT version, status FROM orders WHERE order_id = $1", params![id.uuid()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let status: String = row.get("status")?;
    let status = Status::parse(&status).ok_or_else(|| unreadable("status", &status))?;
    Ok(Some((row.get("version")?, status.is_over())))
}

/// The order, locked until the end of the transaction.
pub(crate) async fn lock(tx: &mut Tx, id: OrderId) -> Result<Loaded, Error> {
    let row = tx.lock_one(select_orders!("WHERE o.order_id = $1 {lock:o}"), params![id.uuid()]).await?;
    one(tx, row).await?.ok_or_else(|| Error::NotFound(id.to_string()))
}

/// What is known of a channel's number.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: OrderId,
    pub(crate) body_hash: Vec<u8>,
}

/// The order that has this number of its channel.
pub(crate) async fn by_channel(tx: &mut Tx, channel: &str, number: &str) -> Result<Option<Found>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT order_id, body_hash FROM orders WHERE channel = $1 AND channel_order_id = $2",
            params![channel, number],
        )
        .await?;
    row.map(|row| Ok(Found { id: OrderId::new(row.get("order_id")?), body_hash: row.get("body_hash")? }))
        .transpose()
}

/// The orders that have these numbers of these channels, by channel and number.
pub(crate) async fn by_channels(
    tx: &mut Tx,
    wanted: Vec<(&str, &str)>,
) -> Result<HashMap<(String, String), Found>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT o.order_id, o.body_hash, o.channel, o.channel_order_id FROM orders o
               JOIN {rows} ON o.channel = r.channel AND o.channel_order_id = r.number",
            &[("channel", Type::Text), ("number", Type::Text)],
            wanted.into_iter().map(|(channel, number)| params![channel, number]).collect(),
        )
        .await?;
    let found = |row: &Row| {
        let found = Found { id: OrderId::new(row.get("order_id")?), body_hash: row.get("body_hash")? };
        Ok(((row.get("channel")?, row.get("channel_order_id")?), found))
    };
    rows.iter().map(found).collect()
}

/// The order that was placed on this promise.
pub(crate) async fn by_promise(tx: &mut Tx, token: Uuid) -> Result<Option<OrderId>, Error> {
    let row =
        tx.fetch_optional("SELECT order_id FROM orders WHERE promise_token = $1", params![token]).await?;
    row.map(|row| Ok(OrderId::new(row.get("order_id")?))).transpose()
}

/// The orders of these legs, by leg.
pub(crate) async fn by_legs(tx: &mut Tx, legs: Vec<Uuid>) -> Result<HashMap<Uuid, OrderId>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT l.order_id, l.fulfillment_id FROM order_legs l JOIN {rows} ON l.fulfillment_id = r.leg",
            &[("leg", Type::Uuid)],
            legs.into_iter().map(|leg| params![leg]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("fulfillment_id")?, OrderId::new(row.get("order_id")?)))).collect()
}

/// Orders, locked in the order of their ids until the end of the transaction. One that does not exist is left out.
pub(crate) async fn lock_many(tx: &mut Tx, ids: &BTreeSet<OrderId>) -> Result<Vec<Loaded>, Error> {
    let rows = tx
        .batch_fetch(
            select_orders!("JOIN {rows} ON o.order_id = r.order_id ORDER BY o.order_id {lock:o}"),
            &[("order_id", Type::Uuid)],
            ids.iter().map(|id| params![id.uuid()]).collect(),
        )
        .await?;
    many(tx, &rows).await
}

/// Whether the payment of an order lapses by $1, the order expires for want of it by $1, or a customer who was asked about
/// pieces of it had to answer by $1. An order that is over may still be blocked, and due for the retry of a
/// refund.
macro_rules! ends {
    () => {
        "(payment_due_at IS NOT NULL
          AND (blocks LIKE '%PAYMENT%' AND lapsed_at IS NULL AND payment_due_at <= $1
               AND status NOT IN ('COMPLETED', 'CANCELLED', 'EXPIRED')
               OR status = 'PAYMENT_LAPSED' AND payment_ends_at <= $1)
          OR need_count > 0 AND blocks = 'STOCK' AND status NOT IN ('COMPLETED', 'CANCELLED', 'EXPIRED')
             AND EXISTS (SELECT 1 FROM order_needs n WHERE n.order_id = orders.order_id AND n.resolve_by <= $1))"
    };
}

/// Orders for which time changes something now.
pub(crate) async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<OrderId>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT order_id FROM orders WHERE due_at <= $1 ORDER BY due_at, order_id LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    rows.iter().map(|row| Ok(OrderId::new(row.get("order_id")?))).collect()
}

/// Orders of which something is due now that ends nothing.
pub(crate) async fn due_upkeep(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<OrderId>, Error> {
    let rows = tx
        .fetch_all(
            concat!(
                "SELECT order_id FROM orders WHERE due_at <= $1 AND NOT ",
                ends!(),
                " ORDER BY due_at, order_id LIMIT $2"
            ),
            params![micros(now), limit],
        )
        .await?;
    rows.iter().map(|row| Ok(OrderId::new(row.get("order_id")?))).collect()
}

/// How many orders lapse, expire or lose pieces that nobody answered for now, counted up to `limit`.
pub(crate) async fn overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64, Error> {
    let sql = concat!(
        "SELECT COUNT(*) AS due FROM (SELECT 1 AS one FROM orders WHERE due_at <= $1 AND ",
        ends!(),
        " LIMIT $2) AS d"
    );
    Ok(tx.fetch_one(sql, params![micros(now), limit]).await?.get("due")?)
}

/// When the next order is due.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT due_at FROM orders WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1",
            params![],
        )
        .await?;
    row.map(|row| Ok(from_micros(row.get("due_at")?))).transpose()
}

async fn one(tx: &mut Tx, row: Option<Row>) -> Result<Option<Loaded>, Error> {
    let Some(row) = row else { return Ok(None) };
    Ok(many(tx, &[row]).await?.pop())
}

/// Completes orders whose own rows were read, in their order, with few statements.
pub(crate) async fn many(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Loaded>, Error> {
    let mut ids = Vec::with_capacity(rows.len());
    let [mut with_charges, mut with_refunds, mut with_rows, mut with_needs] =
        [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for row in rows {
        let id: Uuid = row.get("order_id")?;
        ids.push(params![id]);
        for (column, ids) in [
            ("charge_count", &mut with_charges),
            ("refund_count", &mut with_refunds),
            ("money_count", &mut with_rows),
            ("need_count", &mut with_needs),
        ] {
            if row.get::<i64>(column)? > 0 {
                ids.push(params![id]);
            }
        }
    }
    let mut lines = lines(tx, ids.clone()).await?;
    let mut legs = legs::load(tx, ids.clone()).await?;
    let mut groups = groups::load(tx, ids.clone()).await?;
    let wanted = money::Wanted { all: ids, with_charges, with_refunds, with_rows };
    let mut money = money::load(tx, wanted).await?;
    let mut needs = needs::load(tx, with_needs).await?;
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        let id: Uuid = row.get("order_id")?;
        let mut order = head(row)?;
        order.lines = lines.remove(&id).unwrap_or_default();
        for line in &mut order.lines {
            line.amounts.tax_included = order.tax_included;
        }
        order.legs = legs.remove(&id).unwrap_or_default();
        order.groups = groups.remove(&id).unwrap_or_default();
        groups::complete(&mut order);
        needs.complete(&mut order);
        order.sum_up();
        money.complete(&mut order);
        orders.push(Loaded { order, steps: row.get("step_count")? });
    }
    Ok(orders)
}

fn head(row: &Row) -> Result<Order, Error> {
    let at = |column| Ok::<_, Error>(from_micros(row.get(column)?));
    let maybe_at = |column| Ok::<_, Error>(row.get::<Option<i64>>(column)?.map(from_micros));
    let blocks: String = row.get("blocks")?;
    let blocks = blocks.split(',').filter(|name| !name.is_empty());
    let blocks: Result<BTreeSet<Block>, Error> =
        blocks.map(|name| Block::parse(name).ok_or_else(|| unreadable("block", name))).collect();
    let terms: String = row.get("terms")?;
    let currency: String = row.get("currency")?;
    let (acceptance, code): (String, String) = (row.get("acceptance")?, row.get("cancel_code")?);
    Ok(Order {
        id: OrderId::new(row.get("order_id")?),
        version: row.get("version")?,
        channel: row.get("channel")?,
        channel_order_id: row.get("channel_order_id")?,
        customer_ref: row.get("customer_ref")?,
        origin: origin(row)?,
        currency: Currency::new(&currency).map_err(|_| unreadable("currency", &currency))?,
        tax_included: row.get("tax_included")?,
        terms: Terms::parse(&terms).ok_or_else(|| unreadable("terms", &terms))?,
        acceptance: Acceptance::parse(&acceptance, &code)
            .ok_or_else(|| unreadable("acceptance", &acceptance))?,
        lines: Vec::new(),
        groups: Vec::new(),
        legs: Vec::new(),
        needs: Vec::new(),
        charges: Vec::new(),
        total_minor: row.get("total")?,
        ledger: Ledger::default(),
        blocks: blocks?,
        token: row.get::<Option<Uuid>>("promise_token")?.map(PromiseToken::new),
        placed_at: at("placed_at")?,
        updated_at: at("updated_at")?,
        payment_due_at: maybe_at("payment_due_at")?,
        payment_ends_at: maybe_at("payment_ends_at")?,
        payment_policy: row.get("payment_policy")?,
        lapsed_at: maybe_at("lapsed_at")?,
        expired_at: maybe_at("expired_at")?,
        confirmed_at: maybe_at("confirmed_at")?,
        cancels: row.get("cancels")?,
    })
}

fn origin(row: &Row) -> Result<Origin, Error> {
    let attribution = unpacked_attribution(&row.get::<Vec<u8>>("attribution")?);
    Ok(Origin {
        member_ref: row.get("member_ref")?,
        journey_id: row.get("journey_id")?,
        attribution: attribution.ok_or_else(|| unreadable("attribution", "other bytes"))?,
    })
}

pub(super) fn unreadable(what: &str, found: &str) -> Error {
    Fault::Unreadable(format!("{what} of an order: {found}")).into()
}

pub(super) type ByOrder<T> = HashMap<Uuid, Vec<T>>;

async fn lines(tx: &mut Tx, ids: Vec<Vec<db::Value>>) -> Result<ByOrder<Line>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT l.order_id, l.line_no, l.sku, l.name, l.quantity, l.unit_price, l.discount, l.tax, l.total,
                    l.promotions, l.open, l.backordered, l.cancelled, l.lost, l.cancel_reason
               FROM order_lines l JOIN {rows} ON l.order_id = r.order_id ORDER BY l.order_id, l.line_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    let mut all = ByOrder::new();
    for row in &rows {
        let sku: String = row.get("sku")?;
        let line = Line {
            no: row.get("line_no")?,
            sku: Sku::new(sku).map_err(|e| unreadable("sku", &e.to_string()))?,
            name: row.get("name")?,
            amounts: Amounts {
                unit_price: row.get("unit_price")?,
                quantity: row.get("quantity")?,
                discount: row.get("discount")?,
                tax: row.get("tax")?,
                tax_included: false,
            },
            total_minor: row.get("total")?,
            promotions: promotions(&row.get::<String>("promotions")?)?,
            own: Own {
                open: row.get("open")?,
                backordered: row.get("backordered")?,
                cancelled: row.get("cancelled")?,
                lost: row.get("lost")?,
            },
            // Both are summed up once the legs are read.
            buckets: Buckets::default(),
            cancel_requested: 0,
            cancel_reason: row.get("cancel_reason")?,
        };
        all.entry(row.get("order_id")?).or_default().push(line);
    }
    Ok(all)
}

/// What promotions take off a line.
fn promotions(text: &str) -> Result<Vec<(String, i64)>, Error> {
    let read = |each: &str| {
        let (id, minor) = each.split_once(':')?;
        Some((id.to_owned(), minor.parse().ok()?))
    };
    let each = text.split(',').filter(|each| !each.is_empty());
    each.map(|each| read(each).ok_or_else(|| unreadable("promotion", text))).collect()
}
