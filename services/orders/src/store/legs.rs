//! The rows of legs and of their lines.

use std::collections::HashMap;

use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::fulfillment::method::Method;
use domain::id::{FulfillmentId, NodeId, PromiseToken, Uuid};
use domain::order::{Leg, LegLine, LegUnits, Order, Span};
use domain::time::{Timestamp, from_micros, micros};

use super::Change;
use super::load::{ByOrder, unreadable};
use crate::error::Error;

/// The rows of legs of orders that are inserted.
pub(super) fn inserted<'a>(legs: impl Iterator<Item = (&'a Order, &'a Leg)>) -> [Part; 2] {
    let (mut rows, mut line_rows) = (Vec::new(), Vec::new());
    for (order, leg) in legs {
        let id = order.id.uuid();
        rows.push(params![
            id,
            leg.no,
            leg.id.uuid(),
            leg.group,
            leg.token.map(PromiseToken::uuid),
            leg.method.name(),
            leg.node.as_str(),
            order.status().name(),
            micros(order.placed_at),
            micros(leg.window.start),
            micros(leg.window.end),
            micros(leg.held_until),
            leg.released.map(micros),
            leg.need,
        ]);
        let lines = leg.lines.iter();
        line_rows.extend(lines.map(|line| params![id, leg.no, line.line, line.units.quantity]));
    }
    let (text, columns) = insert_rows!(
        "order_legs",
        [
            order_id: Uuid, leg_no: BigInt, fulfillment_id: Uuid, group_no: BigInt, promise_token: Uuid, method: Text,
            node_id: Text, status: Text, placed_at: BigInt, ready_at: BigInt, keep_until: BigInt, held_until: BigInt,
            released_at: BigInt, need_no: BigInt
        ],
        and "is_accepted, work_version, work_actor" = "false, 0, ''"
    );
    let legs = Part::new(text, columns, rows);
    // A new leg has all its pieces on the shelf.
    let (text, columns) = insert_rows!(
        "order_leg_lines",
        [order_id: Uuid, leg_no: BigInt, line_no: BigInt, quantity: BigInt],
        and "to_pick, waiting_transfer, picked, packed, ready, in_custody, done, short, given_up, cancelled, returned,
             lost, cancel_requested"
          = "r.quantity, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0"
    );
    [legs, Part::new(text, columns, line_rows)]
}

/// The legs that changed and those that are new, each with its lines.
pub(super) fn changed(changes: &[Change<'_>]) -> [Part; 4] {
    let (mut rows, mut line_rows) = (Vec::new(), Vec::new());
    for Change { before, order, .. } in changes {
        let has_status = before.order.status() == order.status();
        for (old, new) in before.order.legs.iter().zip(&order.legs) {
            if !has_status || is_other(old, new) {
                rows.push(row(order, new));
            }
            let lines = old.lines.iter().zip(&new.lines).filter(|(old, new)| old != new);
            line_rows.extend(lines.map(|(_, line)| line_row(order, new, line)));
        }
    }
    let (text, columns) = update_rows!(
        "order_legs",
        keys [order_id: Uuid, leg_no: BigInt],
        [
            status: Text, held_until: BigInt, released_at: BigInt, confirmed_at: BigInt, dropped_at: BigInt,
            is_accepted: Bool, work_version: BigInt, work_actor: Text
        ]
    );
    let legs = Part::new(text, columns, rows);
    let (text, columns) = update_rows!(
        "order_leg_lines",
        keys [order_id: Uuid, leg_no: BigInt, line_no: BigInt],
        [
            quantity: BigInt, waiting_transfer: BigInt, to_pick: BigInt, picked: BigInt, packed: BigInt, ready: BigInt,
            in_custody: BigInt, done: BigInt, short: BigInt, given_up: BigInt, cancelled: BigInt, returned: BigInt,
            lost: BigInt, cancel_requested: BigInt
        ]
    );
    let lines = Part::new(text, columns, line_rows);
    let fresh = changes.iter().flat_map(|change| {
        let known = change.before.order.legs.len();
        change.order.legs.iter().skip(known).map(|leg| (change.order, leg))
    });
    let [new_legs, new_lines] = inserted(fresh);
    [legs, lines, new_legs, new_lines]
}

/// Whether the row of a leg, not only its lines, is another.
fn is_other(old: &Leg, new: &Leg) -> bool {
    old.held_until != new.held_until
        || old.released != new.released
        || old.confirmed != new.confirmed
        || old.dropped != new.dropped
        || old.is_accepted != new.is_accepted
        || old.version != new.version
        || old.actor != new.actor
}

fn row(order: &Order, leg: &Leg) -> Vec<Value> {
    params![
        order.id.uuid(),
        leg.no,
        order.status().name(),
        micros(leg.held_until),
        leg.released.map(micros),
        leg.confirmed.map(micros),
        leg.dropped.map(micros),
        leg.is_accepted,
        leg.version,
        leg.actor.as_str(),
    ]
}

fn line_row(order: &Order, leg: &Leg, line: &LegLine) -> Vec<Value> {
    let u = &line.units;
    params![
        order.id.uuid(),
        leg.no,
        line.line,
        u.quantity,
        u.waiting_transfer,
        u.to_pick,
        u.picked,
        u.packed,
        u.ready,
        u.in_custody,
        u.done,
        u.short,
        u.given_up,
        u.cancelled,
        u.returned,
        u.lost,
        line.cancel_requested,
    ]
}

/// The legs of orders with their lines, in one statement.
pub(super) async fn load(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Leg>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT g.order_id, g.leg_no, g.fulfillment_id, g.group_no, g.promise_token, g.method, g.node_id, g.ready_at,
                    g.keep_until, g.held_until, g.released_at, g.confirmed_at, g.dropped_at, g.is_accepted,
                    g.work_version, g.work_actor, g.need_no, l.line_no, l.quantity, l.waiting_transfer, l.to_pick, l.picked, l.packed, l.ready,
                    l.in_custody, l.done, l.short, l.given_up, l.cancelled, l.returned, l.lost, l.cancel_requested
               FROM order_legs g JOIN {rows} ON g.order_id = r.order_id
               JOIN order_leg_lines l ON l.order_id = g.order_id AND l.leg_no = g.leg_no
              ORDER BY g.order_id, g.leg_no, l.line_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    let mut all: ByOrder<Leg> = HashMap::new();
    for row in &rows {
        let legs = all.entry(row.get("order_id")?).or_default();
        let no: i64 = row.get("leg_no")?;
        if legs.last().is_none_or(|leg| leg.no != no) {
            legs.push(leg(row, no)?);
        }
        if let Some(leg) = legs.last_mut() {
            leg.lines.push(line(row)?);
        }
    }
    Ok(all)
}

fn leg(row: &Row, no: i64) -> Result<Leg, Error> {
    let at = |column| Ok::<_, Error>(from_micros(row.get(column)?));
    let maybe_at = |column| Ok::<Option<Timestamp>, Error>(row.get::<Option<i64>>(column)?.map(from_micros));
    Ok(Leg {
        id: FulfillmentId::new(row.get("fulfillment_id")?),
        no,
        group: row.get("group_no")?,
        token: row.get::<Option<Uuid>>("promise_token")?.map(PromiseToken::new),
        method: method(row)?,
        node: NodeId::new(row.get::<String>("node_id")?).map_err(|e| unreadable("node", &e.to_string()))?,
        window: Span { start: at("ready_at")?, end: at("keep_until")? },
        held_until: at("held_until")?,
        released: maybe_at("released_at")?,
        confirmed: maybe_at("confirmed_at")?,
        dropped: maybe_at("dropped_at")?,
        is_accepted: row.get("is_accepted")?,
        version: row.get("work_version")?,
        actor: row.get("work_actor")?,
        need: row.get("need_no")?,
        lines: Vec::new(),
    })
}

pub(super) fn method(row: &Row) -> Result<Method, Error> {
    let name: String = row.get("method")?;
    Method::parse(&name).ok_or_else(|| unreadable("method", &name))
}

fn line(row: &Row) -> Result<LegLine, Error> {
    Ok(LegLine {
        line: row.get("line_no")?,
        units: LegUnits {
            quantity: row.get("quantity")?,
            waiting_transfer: row.get("waiting_transfer")?,
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
        },
        cancel_requested: row.get("cancel_requested")?,
    })
}
