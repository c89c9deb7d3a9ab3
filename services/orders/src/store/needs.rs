//! The rows of needs, of their lines and of the options that customers may choose from.

use std::collections::HashMap;

use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::id::{OptionId, OrderId, Uuid};
use domain::order::{Choice, Need, NeedLine, Order, Question};
use domain::time::{from_micros, micros};

use super::load::{ByOrder, unreadable};
use super::save::count;
use super::{Change, New};
use crate::error::Error;
use crate::wire;

/// The needs that changed and those that are new, each with its lines and its new options.
pub(super) fn changed(changes: &[Change<'_>]) -> [Part; 5] {
    let (mut rows, mut line_rows) = (Vec::new(), Vec::new());
    let (mut new_rows, mut new_lines, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for Change { before, order, .. } in changes {
        for need in &order.needs {
            let known = before.order.need_no(need.no);
            match known {
                Some(known) if known == need => continue,
                Some(_) => rows.push(row(order, need)),
                None => new_rows.push(new_row(order, need)),
            }
            for line in &need.lines {
                let old = known.and_then(|known| known.lines.iter().find(|old| old.line == line.line));
                match old {
                    Some(old) if old == line => {}
                    Some(_) => line_rows.push(line_row(order, need, line)),
                    None => new_lines.push(line_row(order, need, line)),
                }
            }
            if known.map_or(0, |known| known.asks) != need.asks {
                options.extend(option_rows(order, need));
            }
        }
    }
    let (text, columns) = update_rows!(
        "order_needs",
        keys [order_id: Uuid, need_no: BigInt],
        [
            tries: BigInt, asks: BigInt, seek_at: BigInt, asked_at: BigInt, resolve_by: BigInt, policy_version: BigInt
        ]
    );
    let needs = Part::new(text, columns, rows);
    let (text, columns) = update_rows!(
        "order_need_lines",
        keys [order_id: Uuid, need_no: BigInt, line_no: BigInt],
        [quantity: BigInt, sourced: BigInt, dropped: BigInt]
    );
    let lines = Part::new(text, columns, line_rows);
    let [new_needs, new_lines, options] = inserted(new_rows, new_lines, options);
    [needs, lines, new_needs, new_lines, options]
}

/// The needs of new orders, each with its lines: nobody was asked about them yet. None: no order has any.
pub(super) fn of_new(news: &[New<'_>]) -> Vec<Part> {
    let needs = || news.iter().flat_map(|new| new.order.needs.iter().map(|need| (new.order, need)));
    if needs().next().is_none() {
        return Vec::new();
    }
    let rows = needs().map(|(order, need)| new_row(order, need)).collect();
    let lines = needs().flat_map(|(order, need)| need.lines.iter().map(|line| line_row(order, need, line)));
    let [needs, lines, _] = inserted(rows, lines.collect(), Vec::new());
    vec![needs, lines]
}

fn inserted(rows: Vec<Vec<Value>>, lines: Vec<Vec<Value>>, options: Vec<Vec<Value>>) -> [Part; 3] {
    let (text, columns) = insert_rows!(
        "order_needs",
        [
            order_id: Uuid, need_no: BigInt, leg_no: BigInt, group_no: BigInt, reason: Text, offers: BigInt,
            tries: BigInt, asks: BigInt, opened_at: BigInt, seek_at: BigInt, asked_at: BigInt, resolve_by: BigInt,
            policy_version: BigInt
        ]
    );
    let needs = Part::new(text, columns, rows);
    let (text, columns) = insert_rows!(
        "order_need_lines",
        [
            order_id: Uuid, need_no: BigInt, line_no: BigInt, quantity: BigInt, sourced: BigInt, dropped: BigInt
        ]
    );
    let lines = Part::new(text, columns, lines);
    let (text, columns) = insert_rows!(
        "order_need_options",
        [
            order_id: Uuid, need_no: BigInt, ask_no: BigInt, option_no: BigInt, option_id: Uuid, valid_until: BigInt,
            body: Bytes
        ]
    );
    [needs, lines, Part::new(text, columns, options)]
}

fn row(order: &Order, need: &Need) -> Vec<Value> {
    let asked = need.asked.as_ref();
    params![
        order.id.uuid(),
        need.no,
        need.tries,
        need.asks,
        need.seek_at.map(micros),
        asked.map(|asked| micros(asked.since)),
        asked.map(|asked| micros(asked.resolve_by)),
        asked.map_or(0, |asked| asked.policy),
    ]
}

fn new_row(order: &Order, need: &Need) -> Vec<Value> {
    let asked = need.asked.as_ref();
    params![
        order.id.uuid(),
        need.no,
        need.leg.and_then(|leg| order.leg(leg)).map(|leg| leg.no),
        need.group,
        need.reason.as_str(),
        need.offers,
        need.tries,
        need.asks,
        micros(need.opened),
        need.seek_at.map(micros),
        asked.map(|asked| micros(asked.since)),
        asked.map(|asked| micros(asked.resolve_by)),
        asked.map_or(0, |asked| asked.policy),
    ]
}

fn line_row(order: &Order, need: &Need, line: &NeedLine) -> Vec<Value> {
    params![order.id.uuid(), need.no, line.line, line.quantity, line.sourced, line.dropped]
}

fn option_rows(order: &Order, need: &Need) -> impl Iterator<Item = Vec<Value>> {
    need.options.iter().zip(1_i64..).map(|(choice, number)| {
        params![
            order.id.uuid(),
            need.no,
            need.asks,
            number,
            choice.id.uuid(),
            micros(choice.valid_until),
            wire::option_body(choice),
        ]
    })
}

/// How many lines the needs of an order have.
pub(super) fn lines(order: &Order) -> i64 {
    count(order.needs.iter().map(|need| need.lines.len()).sum())
}

/// The needs of orders, as they were read.
pub(super) struct Loaded {
    /// With the number of the leg that failed.
    needs: ByOrder<(Need, Option<i64>)>,
}

impl Loaded {
    /// Gives an order, which has its legs, its needs.
    pub(super) fn complete(&mut self, order: &mut Order) {
        let read = self.needs.remove(&order.id.uuid()).unwrap_or_default();
        let needs = read.into_iter().map(|(need, leg_no)| {
            let leg = order.legs.iter().find(|leg| Some(leg.no) == leg_no).map(|leg| leg.id);
            Need { id: Need::id_of(order.id, leg, need.no), leg, ..need }
        });
        order.needs = needs.collect();
    }
}

/// The needs of orders with their lines, and the options of the last ask of those that are asked.
pub(super) async fn load(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<Loaded, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT n.order_id, n.need_no, n.leg_no, n.group_no, n.reason, n.offers, n.tries, n.asks, n.opened_at, n.seek_at,
                    n.asked_at, n.resolve_by, n.policy_version, l.line_no, l.quantity, l.sourced, l.dropped
               FROM order_needs n JOIN {rows} ON n.order_id = r.order_id
               JOIN order_need_lines l ON l.order_id = n.order_id AND l.need_no = n.need_no
              ORDER BY n.order_id, n.need_no, l.line_no",
            &[("order_id", Type::Uuid)],
            ids.clone(),
        )
        .await?;
    let mut options = options(tx, ids).await?;
    let mut needs: ByOrder<(Need, Option<i64>)> = HashMap::new();
    for row in &rows {
        let order: Uuid = row.get("order_id")?;
        let of_order = needs.entry(order).or_default();
        let no: i64 = row.get("need_no")?;
        if of_order.last().is_none_or(|(need, _)| need.no != no) {
            let options = options.remove(&(order, no)).unwrap_or_default();
            of_order.push((need(row, OrderId::new(order), no, options)?, row.get("leg_no")?));
        }
        let line = NeedLine {
            line: row.get("line_no")?,
            quantity: row.get("quantity")?,
            sourced: row.get("sourced")?,
            dropped: row.get("dropped")?,
        };
        if let Some((need, _)) = of_order.last_mut() {
            need.lines.push(line);
        }
    }
    Ok(Loaded { needs })
}

/// Its leg and its id are known once the legs are.
fn need(row: &Row, order: OrderId, no: i64, options: Vec<Choice>) -> Result<Need, Error> {
    let maybe_at = |column| Ok::<_, Error>(row.get::<Option<i64>>(column)?.map(from_micros));
    let policy: i64 = row.get("policy_version")?;
    let asked = maybe_at("asked_at")?.zip(maybe_at("resolve_by")?);
    Ok(Need {
        no,
        id: Need::id_of(order, None, no),
        leg: None,
        group: row.get("group_no")?,
        reason: row.get("reason")?,
        offers: row.get("offers")?,
        tries: row.get("tries")?,
        asks: row.get("asks")?,
        opened: from_micros(row.get("opened_at")?),
        seek_at: maybe_at("seek_at")?,
        asked: asked.map(|(since, resolve_by)| Question { since, resolve_by, policy }),
        lines: Vec::new(),
        options,
    })
}

/// The options that can be chosen, by order and need.
async fn options(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<HashMap<(Uuid, i64), Vec<Choice>>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT o.order_id, o.need_no, o.option_id, o.valid_until, o.body FROM order_needs n
               JOIN {rows} ON n.order_id = r.order_id
               JOIN order_need_options o ON o.order_id = n.order_id AND o.need_no = n.need_no AND o.ask_no = n.asks
              WHERE n.asked_at IS NOT NULL ORDER BY o.order_id, o.need_no, o.option_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    let mut all: HashMap<(Uuid, i64), Vec<Choice>> = HashMap::new();
    for row in &rows {
        let id = OptionId::new(row.get("option_id")?);
        let body: Vec<u8> = row.get("body")?;
        let choice = wire::option_of(id, from_micros(row.get("valid_until")?), &body);
        let choice = choice.ok_or_else(|| unreadable("option", &id.to_string()))?;
        all.entry((row.get("order_id")?, row.get("need_no")?)).or_default().push(choice);
    }
    Ok(all)
}

/// The number of the need that an option was a way out of, also when it cannot be chosen any more.
pub(crate) async fn need_of_option(
    tx: &mut Tx,
    order: OrderId,
    option: OptionId,
) -> Result<Option<i64>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT need_no FROM order_need_options WHERE order_id = $1 AND option_id = $2 LIMIT 1",
            params![order.uuid(), option.uuid()],
        )
        .await?;
    row.map(|row| Ok(row.get("need_no")?)).transpose()
}
