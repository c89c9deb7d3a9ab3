//! Reading orders and their timelines page by page.

use std::cmp::Reverse;

use db::{Row, Tx, params};
use domain::id::{OrderId, Uuid};
use domain::order::Status;
use domain::time::{Timestamp, from_micros, micros};

use super::{Loaded, many, select_orders};
use crate::error::Error;

/// What to list. Empty texts and absent times do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) statuses: Vec<Status>,
    pub(crate) channel: String,
    pub(crate) customer_ref: String,
    pub(crate) node: String,
    pub(crate) from: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
}

/// The order after which the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) placed_at: Timestamp,
    pub(crate) id: Uuid,
}

/// The most lines of one page: a page of large orders has fewer orders.
const MAX_LINES: i64 = 5_000;

/// The first condition decides which index serves, so the text is chosen by what is filtered.
macro_rules! page_where {
    ($first:literal) => {
        select_orders!(concat!(
            "WHERE ",
            $first,
            " AND (o.placed_at, o.order_id) < ($1, $2) AND o.placed_at >= $3 AND o.placed_at < $4 ",
            "AND ($5 = '' OR o.channel = $5) AND ($6 = '' OR o.customer_ref = $6) ",
            "AND ($7 = '' OR o.node_id = $7) AND o.status IN ($8, $9, $10, $11, $12, $13, $14) ",
            "ORDER BY o.placed_at DESC, o.order_id DESC LIMIT $15"
        ))
    };
}

fn statement(filter: &Filter) -> &'static str {
    if !filter.customer_ref.is_empty() {
        page_where!("o.customer_ref <> '' AND o.customer_ref = $6")
    } else if !filter.node.is_empty() {
        page_where!("o.node_id = $7")
    } else if filter.statuses.len() == 1 {
        page_where!("o.status = $8")
    } else {
        page_where!("1 = 1")
    }
}

/// The names of the wanted statuses (each once; none: all), as many as there are placeholders.
fn statuses(wanted: &[Status]) -> [&'static str; Status::ALL.len()] {
    std::array::from_fn(|i| wanted.get(i).or(wanted.first()).unwrap_or(&Status::ALL[i]).name())
}

/// The walks along an index that find what is asked. Some of the statuses, and nothing else that has an index, are walked
/// one by one: the few open orders are found without a look at the many that are over.
fn walks(filter: &Filter) -> Vec<Filter> {
    let is_some = (1..Status::ALL.len()).contains(&filter.statuses.len());
    if is_some && filter.customer_ref.is_empty() && filter.node.is_empty() {
        filter.statuses.iter().map(|status| Filter { statuses: vec![*status], ..filter.clone() }).collect()
    } else {
        vec![filter.clone()]
    }
}

async fn walked(tx: &mut Tx, filter: &Filter, after: Position, limit: i64) -> Result<Vec<Row>, Error> {
    let [s1, s2, s3, s4, s5, s6, s7] = statuses(&filter.statuses);
    let rows = tx
        .fetch_all(
            statement(filter),
            params![
                micros(after.placed_at),
                after.id,
                filter.from.map_or(i64::MIN, micros),
                filter.before.map_or(i64::MAX, micros),
                filter.channel.as_str(),
                filter.customer_ref.as_str(),
                filter.node.as_str(),
                s1,
                s2,
                s3,
                s4,
                s5,
                s6,
                s7,
                limit,
            ],
        )
        .await?;
    Ok(rows)
}

/// At most `limit` orders after a position, newest first, and whether there are more.
pub(crate) async fn page(
    tx: &mut Tx,
    filter: &Filter,
    after: Option<Position>,
    limit: i64,
) -> Result<(Vec<Loaded>, bool), Error> {
    let after = after.unwrap_or(Position { placed_at: Timestamp::MAX, id: Uuid::max() });
    let mut rows: Vec<(i64, Uuid, Row)> = Vec::new();
    for walk in walks(filter) {
        for row in walked(tx, &walk, after, limit + 1).await? {
            rows.push((row.get("placed_at")?, row.get("order_id")?, row));
        }
    }
    rows.sort_unstable_by_key(|(placed_at, id, _)| Reverse((*placed_at, *id)));
    rows.truncate(usize::try_from(limit + 1).unwrap_or_default());
    let rows: Vec<Row> = rows.into_iter().map(|(_, _, row)| row).collect();
    let mut taken = 0;
    let mut lines = 0;
    for row in rows.iter().take(usize::try_from(limit).unwrap_or_default()) {
        lines += row.get::<i64>("line_count")?;
        if taken > 0 && lines > MAX_LINES {
            break;
        }
        taken += 1;
    }
    let more = rows.len() > taken;
    Ok((many(tx, &rows[..taken]).await?, more))
}

/// One step of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) actor: String,
    pub(crate) at: Timestamp,
    pub(crate) node: String,
}

/// At most `limit` steps of an order after a number, oldest first.
pub(crate) async fn timeline(tx: &mut Tx, id: OrderId, after: i64, limit: i64) -> Result<Vec<Step>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT number, step, text, actor, occurred_at, node_id FROM order_timeline
              WHERE order_id = $1 AND number > $2 ORDER BY number LIMIT $3",
            params![id.uuid(), after, limit],
        )
        .await?;
    let step = |row: &db::Row| {
        Ok(Step {
            number: row.get("number")?,
            name: row.get("step")?,
            text: row.get("text")?,
            actor: row.get("actor")?,
            at: from_micros(row.get("occurred_at")?),
            node: row.get("node_id")?,
        })
    };
    rows.iter().map(step).collect()
}
