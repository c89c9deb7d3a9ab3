//! Writing new orders: each table at once, for all of them.

use std::collections::HashSet;

use db::{Part, Tx, Type, params};
use domain::id::Uuid;
use domain::order::{Order, Policy};
use domain::time::micros;

use super::save::{Note, blocks, count, notes_part, numbered};
use crate::error::Error;

/// A new order, the hash of its request and its first steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    pub(crate) order: &'a Order,
    pub(crate) body_hash: &'a [u8; 32],
    pub(crate) notes: &'a [Note],
}

/// What goes with new orders: to be written in one go, after the orders themselves.
pub(crate) fn rest_of(news: &[New<'_>]) -> Vec<Part> {
    let notes = news.iter().flat_map(|new| numbered(new.order.id, 0, new.notes)).collect();
    vec![lines(news), tenders(news), charges(news), notes_part(notes)]
}

/// The columns of a new order.
const ORDER_COLUMNS: &[(&str, Type)] = &[
    ("order_id", Type::Uuid),
    ("version", Type::BigInt),
    ("status", Type::Text),
    ("channel", Type::Text),
    ("channel_order_id", Type::Text),
    ("body_hash", Type::Bytes),
    ("customer_ref", Type::Text),
    ("currency", Type::Text),
    ("tax_included", Type::Bool),
    ("terms", Type::Text),
    ("total", Type::BigInt),
    ("blocks", Type::Text),
    ("promise_token", Type::Uuid),
    ("method", Type::Text),
    ("node_id", Type::Text),
    ("promised_at", Type::BigInt),
    ("held_until", Type::BigInt),
    ("placed_at", Type::BigInt),
    ("updated_at", Type::BigInt),
    ("payment_due_at", Type::BigInt),
    ("line_count", Type::BigInt),
    ("charge_count", Type::BigInt),
    ("step_count", Type::BigInt),
    ("due_at", Type::BigInt),
];

/// Writes new orders, without what goes with them, and answers which of them are new: not those whose channel's number
/// or promise another order has.
pub(crate) async fn insert(tx: &mut Tx, news: &[New<'_>], policy: &Policy) -> Result<HashSet<Uuid>, Error> {
    let row = |New { order, body_hash, notes }: &New<'_>| {
        params![
            order.id.uuid(),
            order.version,
            order.status().name(),
            order.channel.as_str(),
            order.channel_order_id.as_str(),
            body_hash.as_slice(),
            order.customer_ref.as_str(),
            order.currency.code(),
            order.tax_included,
            order.terms.name(),
            order.total_minor,
            blocks(order),
            order.promise.token.uuid(),
            order.promise.method.name(),
            order.promise.node.as_str(),
            micros(order.promise.promised_at),
            micros(order.promise.held_until),
            micros(order.placed_at),
            micros(order.updated_at),
            order.payment_due_at.map(micros),
            count(order.lines.len()),
            count(order.charges.len()),
            count(notes.len()),
            order.due_at(policy).map(micros),
        ]
    };
    let rows = tx
        .batch_fetch(
            "INSERT INTO orders (order_id, version, status, channel, channel_order_id, body_hash, customer_ref,
                 currency, tax_included, terms, total, blocks, promise_token, method, node_id, promised_at,
                 held_until, placed_at, updated_at, payment_due_at, cancels, line_count, charge_count,
                 refund_count, step_count, due_at)
             SELECT r.order_id, r.version, r.status, r.channel, r.channel_order_id, r.body_hash, r.customer_ref,
                 r.currency, r.tax_included, r.terms, r.total, r.blocks, r.promise_token, r.method, r.node_id,
                 r.promised_at, r.held_until, r.placed_at, r.updated_at, r.payment_due_at, 0, r.line_count,
                 r.charge_count, 0, r.step_count, r.due_at
               FROM {rows} WHERE true ON CONFLICT DO NOTHING RETURNING order_id",
            ORDER_COLUMNS,
            news.iter().map(row).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok(row.get("order_id")?)).collect()
}

fn lines(news: &[New<'_>]) -> Part {
    let lines = news.iter().flat_map(|new| new.order.lines.iter().map(|line| (new.order.id.uuid(), line)));
    let rows = lines.map(|(id, l)| {
        let a = &l.amounts;
        params![
            id,
            l.no,
            l.sku.as_str(),
            l.name.as_str(),
            a.quantity,
            a.unit_price,
            a.discount,
            a.tax,
            l.total_minor,
            l.share_minor,
        ]
    });
    // A new line is reserved as a whole.
    Part::new(
        "INSERT INTO order_lines (order_id, line_no, sku, name, quantity, unit_price, discount, tax, total, share,
             open, reserved, backordered, allocated, picked, packed, ready, in_custody, delivered, cancelled, lost,
             cancel_requested, cancel_reason)
         SELECT r.order_id, r.line_no, r.sku, r.name, r.quantity, r.unit_price, r.discount, r.tax, r.total, r.share,
             0, r.quantity, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ''
           FROM {rows}",
        &[
            ("order_id", Type::Uuid),
            ("line_no", Type::BigInt),
            ("sku", Type::Text),
            ("name", Type::Text),
            ("quantity", Type::BigInt),
            ("unit_price", Type::BigInt),
            ("discount", Type::BigInt),
            ("tax", Type::BigInt),
            ("total", Type::BigInt),
            ("share", Type::BigInt),
        ],
        rows.collect(),
    )
}

fn tenders(news: &[New<'_>]) -> Part {
    let rows = news.iter().flat_map(|new| {
        let id = new.order.id.uuid();
        new.order.ledger.tenders.iter().zip(1_i64..).map(move |(t, position)| {
            params![
                id,
                t.id.as_str(),
                position,
                t.kind.as_str(),
                t.amount_minor,
                t.state.name(),
                t.provider_ref.as_str(),
            ]
        })
    });
    Part::new(
        "INSERT INTO order_tenders (order_id, tender_id, position, kind, amount, state, provider_ref, claimed)
         SELECT r.order_id, r.tender_id, r.position, r.kind, r.amount, r.state, r.provider_ref, 0 FROM {rows}",
        &[
            ("order_id", Type::Uuid),
            ("tender_id", Type::Text),
            ("position", Type::BigInt),
            ("kind", Type::Text),
            ("amount", Type::BigInt),
            ("state", Type::Text),
            ("provider_ref", Type::Text),
        ],
        rows.collect(),
    )
}

fn charges(news: &[New<'_>]) -> Part {
    let rows = news.iter().flat_map(|new| {
        let id = new.order.id.uuid();
        let charges = new.order.charges.iter().zip(1_i64..);
        charges.map(move |(c, n)| params![id, n, c.code.as_str(), c.description.as_str(), c.amount_minor])
    });
    Part::new(
        "INSERT INTO order_charges (order_id, position, code, description, amount)
         SELECT r.order_id, r.position, r.code, r.description, r.amount FROM {rows}",
        &[
            ("order_id", Type::Uuid),
            ("position", Type::BigInt),
            ("code", Type::Text),
            ("description", Type::Text),
            ("amount", Type::BigInt),
        ],
        rows.collect(),
    )
}
