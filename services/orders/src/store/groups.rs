//! The rows of groups. A group that is the only one of its order has all lines, which are not written again.

use std::collections::HashMap;

use db::{Part, Tx, Type, Value, insert_rows, params};
use domain::id::{LineNo, NodeId, Uuid};
use domain::order::{Group, Order, Span};
use domain::time::{from_micros, micros};

use super::New;
use super::legs::method;
use super::load::{ByOrder, unreadable};
use crate::error::Error;

/// The groups of new orders and their lines.
pub(super) fn inserted(news: &[New<'_>]) -> [Part; 2] {
    let (mut rows, mut line_rows) = (Vec::new(), Vec::new());
    for New { order, .. } in news {
        let id = order.id.uuid();
        for group in &order.groups {
            rows.push(params![
                id,
                group.no,
                group.method.name(),
                group.node.as_ref().map_or("", |node| node.as_str()),
                group.wanted.map(|wanted| micros(wanted.start)),
                group.wanted.map(|wanted| micros(wanted.end)),
                group.not_later_than.map(micros),
                group.wishes.as_slice(),
            ]);
            if order.groups.len() > 1 {
                let lines = group.lines.iter();
                line_rows.extend(lines.map(|(line, quantity)| params![id, group.no, *line, *quantity]));
            }
        }
    }
    let (text, columns) = insert_rows!(
        "order_groups",
        [
            order_id: Uuid, group_no: BigInt, method: Text, node_id: Text, wanted_from: BigInt, wanted_until: BigInt,
            not_later_than: BigInt, wishes: Bytes
        ]
    );
    let groups = Part::new(text, columns, rows);
    let (text, columns) = insert_rows!(
        "order_group_lines",
        [order_id: Uuid, group_no: BigInt, line_no: BigInt, quantity: BigInt]
    );
    [groups, Part::new(text, columns, line_rows)]
}

/// The groups of orders with their lines, in one statement.
pub(super) async fn load(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Group>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT g.order_id, g.group_no, g.method, g.node_id, g.wanted_from, g.wanted_until, g.not_later_than, g.wishes,
                    l.line_no, l.quantity
               FROM order_groups g JOIN {rows} ON g.order_id = r.order_id
               LEFT JOIN order_group_lines l ON l.order_id = g.order_id AND l.group_no = g.group_no
              ORDER BY g.order_id, g.group_no, l.line_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    let mut all: ByOrder<Group> = HashMap::new();
    for row in &rows {
        let groups = all.entry(row.get::<Uuid>("order_id")?).or_default();
        let no: u32 = row.get("group_no")?;
        if groups.last().is_none_or(|group| group.no != no) {
            let node: String = row.get("node_id")?;
            let node = (!node.is_empty()).then(|| NodeId::new(node)).transpose();
            let at = |column| Ok::<_, Error>(row.get::<Option<i64>>(column)?.map(from_micros));
            let wanted = at("wanted_from")?.zip(at("wanted_until")?);
            groups.push(Group {
                no,
                method: method(row)?,
                node: node.map_err(|e| unreadable("node", &e.to_string()))?,
                wanted: wanted.map(|(start, end)| Span { start, end }),
                not_later_than: at("not_later_than")?,
                lines: Vec::new(),
                wishes: row.get("wishes")?,
            });
        }
        let line = row.get::<Option<LineNo>>("line_no")?.zip(row.get::<Option<i64>>("quantity")?);
        if let Some(group) = groups.last_mut() {
            group.lines.extend(line);
        }
    }
    Ok(all)
}

/// Gives the group that is the only one of its order all lines.
pub(super) fn complete(order: &mut Order) {
    if let [group] = order.groups.as_mut_slice()
        && group.lines.is_empty()
    {
        group.lines = order.lines.iter().map(|line| (line.no, line.amounts.quantity)).collect();
    }
}
