//! Writing orders that changed, with few statements: only what changed, each table at once.

use db::{Part, Tx, Value, insert_rows, params, update_rows};
use domain::id::OrderId;
use domain::order::{Line, Order, Policy};
use domain::time::{Timestamp, micros};

use super::{Loaded, legs, money, needs};
use crate::error::Error;

/// A step for the timeline of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) step: &'static str,
    pub(crate) text: String,
    pub(crate) actor: String,
    pub(crate) at: Timestamp,
    pub(crate) node: String,
}

pub(super) fn numbered(id: OrderId, before: i64, notes: &[Note]) -> impl Iterator<Item = Vec<Value>> {
    notes.iter().zip(before + 1..).map(move |(n, number)| {
        params![id.uuid(), number, n.step, n.text.as_str(), n.actor.as_str(), micros(n.at), n.node.as_str()]
    })
}

pub(super) fn notes_part(rows: Vec<Vec<Value>>) -> Part {
    let (text, columns) = insert_rows!(
        "order_timeline",
        [
            order_id: Uuid, number: BigInt, step: Text, text: Text, actor: Text, occurred_at: BigInt, node_id: Text
        ]
    );
    Part::new(text, columns, rows)
}

/// An order that changed since it was locked, and its new steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) before: &'a Loaded,
    pub(crate) order: &'a Order,
    pub(crate) notes: &'a [Note],
}

/// What is to be written of changed orders, in one go. The first part is the orders themselves: it must change as many
/// rows as there are orders.
pub(crate) fn changes_of(changes: &[Change<'_>], policy: &Policy) -> Vec<Part> {
    let notes = changes.iter().flat_map(|c| numbered(c.order.id, c.before.steps, c.notes)).collect();
    let mut parts = vec![orders(changes, policy), lines(changes), notes_part(notes)];
    parts.extend(legs::changed(changes));
    parts.extend(money::changed(changes));
    parts.extend(needs::changed(changes));
    parts
}

fn orders(changes: &[Change<'_>], policy: &Policy) -> Part {
    let row = |Change { before, order, notes }: &Change<'_>| {
        params![
            order.id.uuid(),
            before.order.version,
            order.version,
            order.status().name(),
            blocks(order),
            micros(order.updated_at),
            order.payment_due_at.map(micros),
            order.payment_ends_at.map(micros),
            order.payment_policy,
            order.lapsed_at.map(micros),
            order.expired_at.map(micros),
            order.confirmed_at.map(micros),
            order.cancels,
            count(order.legs.len()),
            leg_lines(order),
            money::refund_rows(order),
            count(order.ledger.rows.len()),
            count(order.needs.len()),
            before.steps + count(notes.len()),
            order.due_at(policy).map(micros),
        ]
    };
    let (text, columns) = update_rows!(
        "orders",
        keys [order_id: Uuid],
        given [before: BigInt],
        [
            version: BigInt, status: Text, blocks: Text, updated_at: BigInt, payment_due_at: BigInt,
            payment_ends_at: BigInt, payment_policy: BigInt, lapsed_at: BigInt, expired_at: BigInt, confirmed_at: BigInt, cancels: BigInt, leg_count: BigInt, leg_line_count: BigInt,
            refund_count: BigInt, money_count: BigInt, need_count: BigInt, step_count: BigInt, due_at: BigInt
        ],
        "AND orders.version = r.before"
    );
    Part::new(text, columns, changes.iter().map(row).collect())
}

/// Looks at an order again later: what was due could not be done now.
pub(crate) async fn postpone(tx: &mut Tx, id: OrderId, until: Timestamp) -> Result<(), Error> {
    tx.execute(
        "UPDATE orders SET due_at = $2 WHERE order_id = $1 AND due_at < $2",
        params![id.uuid(), micros(until)],
    )
    .await?;
    Ok(())
}

fn lines(changes: &[Change<'_>]) -> Part {
    let differs = |(old, new): &(&Line, &Line)| old.own != new.own || old.cancel_reason != new.cancel_reason;
    let lines = changes.iter().flat_map(|c| {
        let pairs = c.before.order.lines.iter().zip(&c.order.lines).filter(differs);
        pairs.map(|(_, line)| (c.order.id, line))
    });
    let rows = lines.map(|(id, line)| {
        let own = &line.own;
        let reason = line.cancel_reason.as_str();
        params![id.uuid(), line.no, own.open, own.backordered, own.cancelled, own.lost, reason]
    });
    let (text, columns) = update_rows!(
        "order_lines",
        keys [order_id: Uuid, line_no: BigInt],
        [open: BigInt, backordered: BigInt, cancelled: BigInt, lost: BigInt, cancel_reason: Text]
    );
    Part::new(text, columns, rows.collect())
}

/// How many lines all legs and needs of an order have.
pub(super) fn leg_lines(order: &Order) -> i64 {
    count(order.legs.iter().map(|leg| leg.lines.len()).sum()) + needs::lines(order)
}

pub(super) fn blocks(order: &Order) -> String {
    let names: Vec<&str> = order.blocks.iter().map(|block| block.name()).collect();
    names.join(",")
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
