//! The feed of each node's work: numbered without gaps, in the order of the commits.
//!
//! The counter row of a node is locked before its fulfillment orders and before any slot, by every transaction that
//! changes its work. So numbers become visible in order, and a batch of events can't wait for a store that waits for the
//! batch.

use std::collections::{BTreeMap, HashMap};

use db::{Row, Tx, Type, insert_rows, params};
use domain::id::{FulfillmentId, NodeId, OrderId, PromiseToken};
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use uuid::Uuid;

use super::work::{Stored, fitting, many};
use crate::Error;

/// A node's counter, locked.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    pub(crate) node: NodeId,
    pub(crate) seq: i64,
}

/// One change of a node's work.
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) fed: Timestamp,
    pub(crate) work: Stored,
}

/// Locks the counters of nodes that may be new, in the order of their codes, and draws numbers from each.
/// Answers the last number of each.
pub(crate) async fn draw(tx: &mut Tx, counts: &BTreeMap<NodeId, i64>) -> Result<HashMap<NodeId, i64>, Error> {
    let (text, columns) = insert_rows!(
        "work_feeds",
        [node_id: Text, seq: BigInt],
        "WHERE true ORDER BY r.node_id
         ON CONFLICT (node_id) DO UPDATE SET seq = work_feeds.seq + excluded.seq RETURNING node_id, seq"
    );
    let row = |(node, count): (&NodeId, &i64)| params![node.as_str(), *count];
    let rows = tx.batch_fetch(text, columns, counts.iter().map(row).collect()).await?;
    rows.iter().map(|row| Ok((node(row)?, row.get("seq")?))).collect()
}

/// The nodes that work for these orders and promises.
pub(crate) async fn nodes_of(
    tx: &mut Tx,
    orders: &[OrderId],
    promises: &[PromiseToken],
) -> Result<Vec<NodeId>, Error> {
    let mut rows = tx
        .batch_fetch(
            "SELECT DISTINCT w.node_id FROM fulfillment_orders w JOIN {rows} ON w.order_id = r.id",
            &[("id", Type::Uuid)],
            orders.iter().map(|order| params![order.uuid()]).collect(),
        )
        .await?;
    rows.extend(
        tx.batch_fetch(
            "SELECT DISTINCT w.node_id FROM fulfillment_orders w JOIN {rows} ON w.promise_token = r.id",
            &[("id", Type::Uuid)],
            promises.iter().map(|token| params![token.uuid()]).collect(),
        )
        .await?,
    );
    rows.iter().map(node).collect()
}

/// Enters new work under the numbers drawn for it.
pub(crate) async fn enter(
    tx: &mut Tx,
    new: impl Iterator<Item = (&Feed, FulfillmentId, Timestamp)>,
) -> Result<(), Error> {
    let row = |(feed, id, now): (&Feed, FulfillmentId, Timestamp)| {
        params![feed.node.as_str(), feed.seq, id.uuid(), micros(now)]
    };
    let (text, columns) =
        insert_rows!("work_feed", [node_id: Text, seq: BigInt, fulfillment_id: Uuid, fed_at: BigInt]);
    tx.batch(text, columns, new.map(row).collect()).await?;
    Ok(())
}

/// Locks the counter of the node that works on a fulfillment order.
pub(crate) async fn lock_of(tx: &mut Tx, id: FulfillmentId) -> Result<Option<Feed>, Error> {
    let row = tx
        .lock_one(
            "SELECT f.node_id, f.seq FROM work_feeds f
              WHERE f.node_id = (SELECT w.node_id FROM fulfillment_orders w WHERE w.fulfillment_id = $1) {lock:f}",
            params![id.uuid()],
        )
        .await?;
    row.map(|row| Ok(Feed { node: node(&row)?, seq: row.get("seq")? })).transpose()
}

/// Adds a change to the locked feed.
pub(crate) async fn append(
    tx: &mut Tx,
    feed: &mut Feed,
    id: FulfillmentId,
    now: Timestamp,
) -> Result<(), Error> {
    feed.seq += 1;
    let next = params![feed.node.as_str(), feed.seq];
    tx.execute("UPDATE work_feeds SET seq = $2 WHERE node_id = $1", next).await?;
    tx.execute(
        "INSERT INTO work_feed (node_id, seq, fulfillment_id, fed_at) VALUES ($1, $2, $3, $4)",
        params![feed.node.as_str(), feed.seq, id.uuid(), micros(now)],
    )
    .await?;
    Ok(())
}

/// The last number of a node's feed, and the oldest that is still kept (the next one, when none is).
pub(crate) async fn ends(tx: &mut Tx, node: &NodeId) -> Result<(i64, i64), Error> {
    let row = tx
        .fetch_optional(
            "SELECT f.seq AS last, COALESCE((SELECT MIN(e.seq) FROM work_feed e WHERE e.node_id = $1), f.seq + 1) AS first
               FROM work_feeds f WHERE f.node_id = $1",
            params![node.as_str()],
        )
        .await?;
    row.map_or(Ok((0, 1)), |row| Ok((row.get("last")?, row.get("first")?)))
}

/// What came after a number, at most 25 entries, each with the fulfillment order as it is now.
pub(crate) async fn after(tx: &mut Tx, node: &NodeId, seq: i64) -> Result<Vec<Entry>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT e.seq, e.fed_at, e.fulfillment_id, w.line_count
               FROM (SELECT * FROM work_feed WHERE node_id = $1 AND seq > $2 ORDER BY seq LIMIT 25) e
               JOIN fulfillment_orders w ON w.fulfillment_id = e.fulfillment_id
              ORDER BY e.seq",
            params![node.as_str(), seq],
        )
        .await?;
    let mut changes: Vec<(i64, Timestamp, Uuid, i64)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let fed = from_micros(row.get("fed_at")?);
        changes.push((row.get("seq")?, fed, row.get("fulfillment_id")?, row.get("line_count")?));
    }
    changes.truncate(fitting(changes.iter().map(|(.., lines)| *lines)));
    let mut ids: Vec<Uuid> = changes.iter().map(|(_, _, id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let work = many(tx, &ids).await?;
    let work: HashMap<Uuid, Stored> = work.into_iter().map(|work| (work.order.id.uuid(), work)).collect();
    let entry = |(seq, fed, id, _)| Some(Entry { seq, fed, work: work.get(&id)?.clone() });
    Ok(changes.into_iter().filter_map(entry).collect())
}

/// The last number of every node's feed.
pub(crate) async fn last_of_all(tx: &mut Tx) -> Result<Vec<(NodeId, i64)>, Error> {
    let rows = tx.fetch_all("SELECT node_id, seq FROM work_feeds", params![]).await?;
    rows.iter().map(|row| Ok((node(row)?, row.get("seq")?))).collect()
}

/// Forgets entries older than an instant; at most `limit`. The counters stay, so that numbers are never used twice.
pub(crate) async fn prune(tx: &mut Tx, older_than: Timestamp, limit: i64) -> Result<u64, Error> {
    let gone = tx
        .execute(
            "DELETE FROM work_feed WHERE (node_id, seq) IN
               (SELECT e.node_id, e.seq FROM work_feed e WHERE e.fed_at < $1 ORDER BY e.fed_at LIMIT $2)",
            params![micros(older_than), limit],
        )
        .await?;
    Ok(gone)
}

fn node(row: &Row) -> Result<NodeId, Error> {
    let node: String = row.get("node_id")?;
    NodeId::new(node).map_err(|_| Error::corrupt("a feed has a malformed node".to_owned()))
}
