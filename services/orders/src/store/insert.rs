//! Writing new orders: each table at once, for all of them.

use std::collections::HashSet;

use db::{Part, Tx, insert_rows, params};
use domain::id::{PromiseToken, Uuid};
use domain::order::{Line, Order, Policy};
use domain::time::micros;

use super::save::{Note, blocks, count, leg_lines, notes_part, numbered};
use super::{groups, legs, money, needs};
use crate::error::Error;
use crate::wire::packed_attribution;

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
    let new_legs = news.iter().flat_map(|new| new.order.legs.iter().map(|leg| (new.order, leg)));
    let mut parts = vec![lines(news), notes_part(notes)];
    parts.extend(money::inserted(news));
    parts.extend(groups::inserted(news));
    parts.extend(legs::inserted(new_legs));
    parts.extend(needs::of_new(news));
    parts
}

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
            order.origin.member_ref.as_str(),
            order.origin.journey_id.as_str(),
            packed_attribution(&order.origin.attribution),
            order.currency.code(),
            order.tax_included,
            order.terms.name(),
            order.acceptance.name(),
            order.acceptance.cancel_code().unwrap_or_default(),
            order.total_minor,
            blocks(order),
            order.token.map(PromiseToken::uuid),
            micros(order.placed_at),
            micros(order.updated_at),
            order.payment_due_at.map(micros),
            order.payment_ends_at.map(micros),
            order.payment_policy,
            count(order.lines.len()),
            count(order.groups.len()),
            count(order.legs.len()),
            leg_lines(order),
            count(order.charges.len()),
            count(order.ledger.rows.len()),
            count(order.needs.len()),
            count(notes.len()),
            order.due_at(policy).map(micros),
        ]
    };
    let (text, columns) = insert_rows!(
        "orders",
        [
            order_id: Uuid, version: BigInt, status: Text, channel: Text, channel_order_id: Text, body_hash: Bytes,
            customer_ref: Text, member_ref: Text, journey_id: Text, attribution: Bytes, currency: Text,
            tax_included: Bool, terms: Text, acceptance: Text, cancel_code: Text, total: BigInt, blocks: Text,
            promise_token: Uuid, placed_at: BigInt, updated_at: BigInt, payment_due_at: BigInt,
            payment_ends_at: BigInt, payment_policy: BigInt, line_count: BigInt,
            group_count: BigInt, leg_count: BigInt, leg_line_count: BigInt, charge_count: BigInt, money_count: BigInt,
            need_count: BigInt, step_count: BigInt, due_at: BigInt
        ],
        and "cancels, refund_count" = "0, 0",
        "WHERE true ON CONFLICT DO NOTHING RETURNING order_id"
    );
    let rows = tx.batch_fetch(text, columns, news.iter().map(row).collect()).await?;
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
            promotions(l),
        ]
    });
    // All pieces of a new line are on legs or in needs.
    let (text, columns) = insert_rows!(
        "order_lines",
        [
            order_id: Uuid, line_no: BigInt, sku: Text, name: Text, quantity: BigInt, unit_price: BigInt,
            discount: BigInt, tax: BigInt, total: BigInt, promotions: Text
        ],
        and "open, backordered, cancelled, lost, cancel_reason" = "0, 0, 0, 0, ''"
    );
    Part::new(text, columns, rows.collect())
}

/// What promotions take off a line, as text: their ids have neither a colon nor a comma.
fn promotions(line: &Line) -> String {
    let each: Vec<String> = line.promotions.iter().map(|(id, minor)| format!("{id}:{minor}")).collect();
    each.join(",")
}
