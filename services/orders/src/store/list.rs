//! Reading orders and their timelines page by page.

use std::cmp::Reverse;

use db::{Row, Tx, Type, Value, params};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) placed_at: Timestamp,
    pub(crate) id: Uuid,
}

/// The most lines of orders and of legs, and rows of money, in one page: a page of large orders has fewer orders.
const MAX_LINES: i64 = 10_000;
/// The most index entries that one page reads for conditions that its index does not serve, and as many again to find
/// where the reading ended. A page that finds less among them than it was asked for is short; the next one goes on there.
const MAX_READ: i64 = 2_000;

/// Newest first along an index whose first columns are `$first`, from a position down. The position is compared as one
/// row: `SQLite` takes one upper bound for a range and reads past the others.
macro_rules! along {
    ($first:literal, $($rest:literal),+) => {
        concat!(
            "SELECT o.placed_at, o.order_id, o.channel, o.status FROM orders o WHERE ",
            $first,
            " AND (o.placed_at, o.order_id) < ($1, $2) AND o.placed_at >= $3 ",
            "ORDER BY o.placed_at DESC, o.order_id DESC LIMIT ",
            $($rest),+
        )
    };
}

/// The same along the legs of a node. An order may have several there.
macro_rules! along_node {
    ($($rest:literal),+) => {
        concat!(
            "SELECT DISTINCT l.placed_at, l.order_id FROM order_legs l WHERE l.node_id = $5 AND l.status = $6 ",
            "AND (l.placed_at, l.order_id) < ($1, $2) AND l.placed_at >= $3 ",
            "ORDER BY l.placed_at DESC, l.order_id DESC LIMIT ",
            $($rest),+
        )
    };
}

/// The orders that meet further conditions, among the first `$4` along an index.
macro_rules! among {
    ($first:literal, $conditions:literal, $limit:literal) => {
        concat!(
            "SELECT w.placed_at, w.order_id FROM (",
            along!($first, "$4"),
            ") w WHERE ",
            $conditions,
            " ORDER BY w.placed_at DESC, w.order_id DESC LIMIT ",
            $limit
        )
    };
}

/// A walk along an index: its statement, and the values after `$4`.
struct Walk {
    text: &'static str,
    /// The statement that says where the walk ended, if it checks conditions that the index does not serve.
    end: Option<&'static str>,
    values: Vec<Value>,
}

/// All orders.
fn of_all() -> Walk {
    Walk { text: along!("1 = 1", "$4"), end: None, values: Vec::new() }
}

fn of_status(status: Status) -> Walk {
    Walk { text: along!("o.status = $5", "$4"), end: None, values: params![status.name()] }
}

fn of_channel(channel: &str, status: Status) -> Walk {
    let text = along!("o.channel = $5 AND o.status = $6", "$4");
    Walk { text, end: None, values: params![channel, status.name()] }
}

fn of_node(node: &str, status: Status) -> Walk {
    Walk { text: along_node!("$4"), end: None, values: params![node, status.name()] }
}

/// The channel is checked on the way.
fn of_node_and_channel(node: &str, status: Status, channel: &str) -> Walk {
    let text = concat!(
        "SELECT w.placed_at, w.order_id FROM (",
        along_node!("$4"),
        ") w JOIN orders o ON o.order_id = w.order_id WHERE o.channel = $7 ",
        "ORDER BY w.placed_at DESC, w.order_id DESC LIMIT $8"
    );
    let end = along_node!("1 OFFSET $4");
    Walk { text, end: Some(end), values: params![node, status.name(), channel] }
}

/// Whatever else is asked is checked on the way. That it is not empty repeats the condition of the index.
fn of_customer(filter: &Filter) -> Walk {
    let text = among!(
        "o.customer_ref <> '' AND o.customer_ref = $5",
        "($6 = '' OR w.channel = $6) \
         AND ($7 = '' OR EXISTS (SELECT 1 FROM order_legs l WHERE l.order_id = w.order_id AND l.node_id = $7)) \
         AND w.status IN ($8, $9, $10, $11, $12, $13, $14)",
        "$15"
    );
    let end = along!("o.customer_ref <> '' AND o.customer_ref = $5", "1 OFFSET $4");
    let [s1, s2, s3, s4, s5, s6, s7] = statuses(&filter.statuses);
    let Filter { customer_ref, channel, node, .. } = filter;
    let values = params![customer_ref.as_str(), channel.as_str(), node.as_str(), s1, s2, s3, s4, s5, s6, s7];
    Walk { text, end: Some(end), values }
}

/// The names of the wanted statuses (each once; none: all), as many as there are placeholders.
fn statuses(wanted: &[Status]) -> [&'static str; Status::ALL.len()] {
    std::array::from_fn(|i| wanted.get(i).or(wanted.first()).unwrap_or(&Status::ALL[i]).name())
}

/// The walks that find what is asked: one for each status, so that the few open orders are found without a look at the
/// many that are over.
fn walks(filter: &Filter) -> Vec<Walk> {
    let Filter { statuses, channel, node, customer_ref, .. } = filter;
    let each = if statuses.is_empty() { Status::ALL.as_slice() } else { statuses };
    let each = each.iter().copied();
    if !customer_ref.is_empty() {
        vec![of_customer(filter)]
    } else if !node.is_empty() && !channel.is_empty() {
        each.map(|status| of_node_and_channel(node, status, channel)).collect()
    } else if !node.is_empty() {
        each.map(|status| of_node(node, status)).collect()
    } else if !channel.is_empty() {
        each.map(|status| of_channel(channel, status)).collect()
    } else if statuses.is_empty() || statuses.len() == Status::ALL.len() {
        vec![of_all()]
    } else {
        each.map(of_status).collect()
    }
}

/// The orders that a walk finds, and where it ended if there may be more behind.
struct Walked {
    found: Vec<Position>,
    end: Option<Position>,
}

impl Walk {
    /// Finds at most `limit` orders among `read` entries.
    async fn run(&self, tx: &mut Tx, bounds: &[Value; 3], read: i64, limit: i64) -> Result<Walked, Error> {
        let values = |fourth: i64, more: Option<i64>| {
            let more = more.map(Value::from);
            let own = self.values.iter().cloned();
            bounds.iter().cloned().chain([fourth.into()]).chain(own).chain(more).collect::<Vec<Value>>()
        };
        let Some(end) = self.end else {
            let rows = tx.fetch_all(self.text, values(limit, None)).await?;
            return Ok(Walked { found: positions(&rows)?, end: None });
        };
        let rows = tx.fetch_all(self.text, values(read, Some(limit))).await?;
        let found = positions(&rows)?;
        if i64::try_from(found.len()).is_ok_and(|found| found >= limit) {
            return Ok(Walked { found, end: None });
        }
        let last = tx.fetch_all(end, values(read - 1, None)).await?;
        Ok(Walked { found, end: positions(&last)?.pop() })
    }
}

fn positions(rows: &[Row]) -> Result<Vec<Position>, Error> {
    let position =
        |row: &Row| Ok(Position { placed_at: from_micros(row.get("placed_at")?), id: row.get("order_id")? });
    rows.iter().map(position).collect()
}

/// At most `limit` orders after a position, newest first, and where the next page begins. The page may be short or empty
/// and have a next one: it reads only so far.
pub(crate) async fn page(
    tx: &mut Tx,
    filter: &Filter,
    after: Option<Position>,
    limit: i64,
) -> Result<(Vec<Loaded>, Option<Position>), Error> {
    let end_of_time = Position { placed_at: Timestamp::MAX, id: Uuid::max() };
    // Nothing is less than the nil id: this is the place just before the first order of that moment.
    let before = filter.before.map_or(end_of_time, |placed_at| Position { placed_at, id: Uuid::nil() });
    let from = before.min(after.unwrap_or(end_of_time));
    let bounds = [micros(from.placed_at).into(), from.id.into(), filter.from.map_or(i64::MIN, micros).into()];
    let walks = walks(filter);
    let read = MAX_READ / i64::try_from(walks.len().max(1)).unwrap_or(1);
    let (mut found, mut end) = (Vec::new(), None);
    for walk in walks {
        let walked = walk.run(tx, &bounds, read, limit + 1).await?;
        found.extend(walked.found);
        end = end.max(walked.end);
    }
    // Behind the end of the walk that came least far, another walk may have missed some.
    found.retain(|position| end.is_none_or(|end| *position >= end));
    found.sort_unstable_by_key(|position| Reverse(*position));
    let limit = usize::try_from(limit).unwrap_or_default();
    let rows = rows(tx, &found[..found.len().min(limit)]).await?;
    let taken = fitting(&rows)?;
    let next = if taken < found.len() { found[..taken].last().copied() } else { end };
    Ok((many(tx, &rows[..taken]).await?, next))
}

/// The rows of these orders, newest first.
async fn rows(tx: &mut Tx, found: &[Position]) -> Result<Vec<Row>, Error> {
    let rows = tx
        .batch_fetch(
            select_orders!(
                "JOIN {rows} ON o.order_id = r.order_id ORDER BY o.placed_at DESC, o.order_id DESC"
            ),
            &[("order_id", Type::Uuid)],
            found.iter().map(|position| params![position.id]).collect(),
        )
        .await?;
    Ok(rows)
}

/// How many of these orders fit into a page: at least one.
fn fitting(rows: &[Row]) -> Result<usize, Error> {
    let (mut taken, mut lines) = (0, 0);
    for row in rows {
        for column in ["line_count", "leg_line_count", "refund_count", "money_count"] {
            lines += row.get::<i64>(column)?;
        }
        if taken > 0 && lines > MAX_LINES {
            break;
        }
        taken += 1;
    }
    Ok(taken)
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
