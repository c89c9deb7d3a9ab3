//! Writing orders that changed, with few statements: only what changed, each table at once.

use db::{Part, Tx, Type, Value, params};
use domain::id::OrderId;
use domain::order::{Line, Order, Policy, Tender};
use domain::time::{Timestamp, micros};

use super::Loaded;
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
    Part::new(
        "INSERT INTO order_timeline (order_id, number, step, text, actor, occurred_at, node_id)
         SELECT r.order_id, r.number, r.step, r.text, r.actor, r.occurred_at, r.node_id FROM {rows}",
        &[
            ("order_id", Type::Uuid),
            ("number", Type::BigInt),
            ("step", Type::Text),
            ("text", Type::Text),
            ("actor", Type::Text),
            ("occurred_at", Type::BigInt),
            ("node_id", Type::Text),
        ],
        rows,
    )
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
    vec![orders(changes, policy), lines(changes), tenders(changes), refunds(changes), notes_part(notes)]
}

fn orders(changes: &[Change<'_>], policy: &Policy) -> Part {
    let row = |Change { before, order, notes }: &Change<'_>| {
        params![
            order.id.uuid(),
            before.order.version,
            order.version,
            order.status().name(),
            blocks(order),
            order.promise.token.uuid(),
            order.promise.method.name(),
            order.promise.node.as_str(),
            micros(order.promise.promised_at),
            micros(order.promise.held_until),
            micros(order.updated_at),
            order.payment_due_at.map(micros),
            order.lapsed_at.map(micros),
            order.expired_at.map(micros),
            order.confirmed_at.map(micros),
            order.fulfillment.map(domain::id::FulfillmentId::uuid),
            order.cancels,
            count(order.ledger.refunds.len()),
            before.steps + count(notes.len()),
            order.due_at(policy).map(micros),
        ]
    };
    Part::new(
        "UPDATE orders AS o SET version = r.version, status = r.status, blocks = r.blocks,
                 promise_token = r.promise_token, method = r.method, node_id = r.node_id,
                 promised_at = r.promised_at, held_until = r.held_until, updated_at = r.updated_at,
                 payment_due_at = r.payment_due_at, lapsed_at = r.lapsed_at, expired_at = r.expired_at,
                 confirmed_at = r.confirmed_at, fulfillment_id = r.fulfillment_id, cancels = r.cancels,
                 refund_count = r.refund_count, step_count = r.step_count, due_at = r.due_at
               FROM {rows} WHERE o.order_id = r.order_id AND o.version = r.before",
        &[
            ("order_id", Type::Uuid),
            ("before", Type::BigInt),
            ("version", Type::BigInt),
            ("status", Type::Text),
            ("blocks", Type::Text),
            ("promise_token", Type::Uuid),
            ("method", Type::Text),
            ("node_id", Type::Text),
            ("promised_at", Type::BigInt),
            ("held_until", Type::BigInt),
            ("updated_at", Type::BigInt),
            ("payment_due_at", Type::BigInt),
            ("lapsed_at", Type::BigInt),
            ("expired_at", Type::BigInt),
            ("confirmed_at", Type::BigInt),
            ("fulfillment_id", Type::Uuid),
            ("cancels", Type::BigInt),
            ("refund_count", Type::BigInt),
            ("step_count", Type::BigInt),
            ("due_at", Type::BigInt),
        ],
        changes.iter().map(row).collect(),
    )
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
    let differs = |(old, new): &(&Line, &Line)| {
        old.buckets != new.buckets
            || old.cancel_requested != new.cancel_requested
            || old.cancel_reason != new.cancel_reason
    };
    let lines = changes.iter().flat_map(|c| {
        let pairs = c.before.order.lines.iter().zip(&c.order.lines).filter(differs);
        pairs.map(|(_, line)| (c.order.id, line))
    });
    let rows = lines.map(|(id, line)| {
        let b = &line.buckets;
        params![
            id.uuid(),
            line.no,
            b.open,
            b.reserved,
            b.backordered,
            b.allocated,
            b.picked,
            b.packed,
            b.ready,
            b.in_custody,
            b.delivered,
            b.cancelled,
            b.lost,
            line.cancel_requested,
            line.cancel_reason.as_str(),
        ]
    });
    Part::new(
        "UPDATE order_lines AS l SET open = r.open, reserved = r.reserved, backordered = r.backordered,
             allocated = r.allocated, picked = r.picked, packed = r.packed, ready = r.ready,
             in_custody = r.in_custody, delivered = r.delivered, cancelled = r.cancelled, lost = r.lost,
             cancel_requested = r.cancel_requested, cancel_reason = r.cancel_reason
           FROM {rows} WHERE l.order_id = r.order_id AND l.line_no = r.line_no",
        &[
            ("order_id", Type::Uuid),
            ("line_no", Type::BigInt),
            ("open", Type::BigInt),
            ("reserved", Type::BigInt),
            ("backordered", Type::BigInt),
            ("allocated", Type::BigInt),
            ("picked", Type::BigInt),
            ("packed", Type::BigInt),
            ("ready", Type::BigInt),
            ("in_custody", Type::BigInt),
            ("delivered", Type::BigInt),
            ("cancelled", Type::BigInt),
            ("lost", Type::BigInt),
            ("cancel_requested", Type::BigInt),
            ("cancel_reason", Type::Text),
        ],
        rows.collect(),
    )
}

fn tenders(changes: &[Change<'_>]) -> Part {
    let differs = |(old, new): &(&Tender, &Tender)| old != new;
    let rows = changes.iter().flat_map(|c| {
        let pairs = c.before.order.ledger.tenders.iter().zip(&c.order.ledger.tenders).filter(differs);
        pairs.map(|(_, t)| {
            params![
                c.order.id.uuid(),
                t.id.as_str(),
                t.state.name(),
                t.provider_ref.as_str(),
                t.claimed_minor
            ]
        })
    });
    Part::new(
        "UPDATE order_tenders AS t SET state = r.state, provider_ref = r.provider_ref, claimed = r.claimed
           FROM {rows} WHERE t.order_id = r.order_id AND t.tender_id = r.tender_id",
        &[
            ("order_id", Type::Uuid),
            ("tender_id", Type::Text),
            ("state", Type::Text),
            ("provider_ref", Type::Text),
            ("claimed", Type::BigInt),
        ],
        rows.collect(),
    )
}

fn refunds(changes: &[Change<'_>]) -> Part {
    let rows = changes.iter().flat_map(|c| {
        let known = c.before.order.ledger.refunds.len();
        let fresh = c.order.ledger.refunds.iter().zip(1_i64..).skip(known);
        fresh.map(|(refund, position)| {
            params![
                c.order.id.uuid(),
                position,
                refund.id.uuid(),
                refund.amount_minor,
                refund.reason.as_str(),
                micros(refund.at),
            ]
        })
    });
    Part::new(
        "INSERT INTO order_refunds (order_id, position, refund_id, amount, reason, requested_at)
         SELECT r.order_id, r.position, r.refund_id, r.amount, r.reason, r.requested_at FROM {rows}",
        &[
            ("order_id", Type::Uuid),
            ("position", Type::BigInt),
            ("refund_id", Type::Uuid),
            ("amount", Type::BigInt),
            ("reason", Type::Text),
            ("requested_at", Type::BigInt),
        ],
        rows.collect(),
    )
}

pub(super) fn blocks(order: &Order) -> String {
    let names: Vec<&str> = order.blocks.iter().map(|block| block.name()).collect();
    names.join(",")
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
