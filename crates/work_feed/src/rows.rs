//! The rows of the feeds: numbered without gaps, in the order of the commits.
//!
//! The row of a node's last number is locked before anything else of its work, by every transaction that changes it. So
//! numbers become visible in order, and two writers of several nodes never wait for each other in a circle.

use std::collections::{BTreeMap, HashMap};

use db::{Row, Tx, insert_rows, params};
use domain::id::NodeId;
use domain::time::{Timestamp, from_micros, micros};
use service::Fault;
use uuid::Uuid;

/// Entries that are read at once; each may be work of a thousand lines.
pub(crate) const PAGE: i64 = 25;

/// The feed of a node, locked until the end of the transaction.
#[derive(Debug, Clone)]
pub struct Feed {
    node: NodeId,
    seq: i64,
}

/// One change of a node's work.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number at the node.
    pub seq: i64,
    /// The kind of work.
    pub kind: String,
    /// The work.
    pub id: Uuid,
    /// The work itself, where its kind has no tables here.
    pub body: Option<Vec<u8>>,
    /// When it was appended.
    pub time: Timestamp,
}

/// The text that locks the feed of the node which a query finds, for [`lock_by`].
#[macro_export]
macro_rules! feed_of {
    ($query:literal) => {
        concat!("SELECT f.node_id, f.seq FROM work_feeds f WHERE f.node_id = (", $query, ") {lock:f}")
    };
}

/// Locks the feed of the node that a query finds, in one statement; `text` is made by [`feed_of!`](crate::feed_of).
pub async fn lock_by(tx: &mut Tx, text: &'static str, params: Vec<db::Value>) -> Result<Option<Feed>, Fault> {
    let row = tx.lock_one(text, params).await?;
    row.map(|row| Ok(Feed { node: node(&row)?, seq: row.get("seq")? })).transpose()
}

/// Locks the feeds of nodes, in the order of their codes; a node that has none gets one.
pub async fn lock(
    tx: &mut Tx,
    nodes: impl IntoIterator<Item = NodeId>,
) -> Result<HashMap<NodeId, Feed>, Fault> {
    let counts = nodes.into_iter().map(|node| (node, 0)).collect();
    let last = draw(tx, &counts).await?;
    Ok(last.into_iter().map(|(node, seq)| (node.clone(), Feed { node, seq })).collect())
}

/// Locks the feeds of nodes, in the order of their codes, and draws numbers of each. Answers the last number of each.
async fn draw(tx: &mut Tx, counts: &BTreeMap<NodeId, i64>) -> Result<HashMap<NodeId, i64>, Fault> {
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

/// Appends work of one kind that is new to its nodes, in its order; a node that has no feed gets one.
pub async fn append_new(tx: &mut Tx, kind: &str, new: &[(&NodeId, Uuid, Timestamp)]) -> Result<(), Fault> {
    let mut counts = BTreeMap::new();
    for (node, ..) in new {
        *counts.entry((*node).clone()).or_insert(0_i64) += 1;
    }
    let mut last = draw(tx, &counts).await?;
    let mut rows = Vec::with_capacity(new.len());
    // The last number of a node is its last work's, so the work is walked backwards.
    for (node, id, now) in new.iter().rev() {
        let next = last.get_mut(*node).ok_or_else(|| Fault::unreadable(format!("no feed of node {node}")))?;
        rows.push(params![node.as_str(), *next, kind, *id, micros(*now)]);
        *next -= 1;
    }
    let (text, columns) =
        insert_rows!("work_feed", [node_id: Text, seq: BigInt, kind: Text, item_id: Uuid, fed_at: BigInt]);
    tx.batch(text, columns, rows).await?;
    Ok(())
}

impl Feed {
    /// Whose feed it is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Appends a change of work that has tables of its own.
    pub async fn append(&mut self, tx: &mut Tx, kind: &str, id: Uuid, now: Timestamp) -> Result<(), Fault> {
        self.append_with(tx, kind, id, None, now).await
    }

    pub(crate) async fn append_with(
        &mut self,
        tx: &mut Tx,
        kind: &str,
        id: Uuid,
        body: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        self.seq += 1;
        let next = params![self.node.as_str(), self.seq];
        tx.execute("UPDATE work_feeds SET seq = $2 WHERE node_id = $1", next).await?;
        tx.execute(
            "INSERT INTO work_feed (node_id, seq, kind, item_id, body, fed_at) VALUES ($1, $2, $3, $4, $5, $6)",
            params![self.node.as_str(), self.seq, kind, id, body, micros(now)],
        )
        .await?;
        Ok(())
    }
}

/// The last number of a node's feed, and the oldest that is still kept (the next one, when none is).
pub(crate) async fn ends(tx: &mut Tx, node: &NodeId) -> Result<(i64, i64), Fault> {
    let row = tx
        .fetch_optional(
            "SELECT f.seq AS last, COALESCE((SELECT MIN(e.seq) FROM work_feed e WHERE e.node_id = $1), f.seq + 1) AS first
               FROM work_feeds f WHERE f.node_id = $1",
            params![node.as_str()],
        )
        .await?;
    row.map_or(Ok((0, 1)), |row| Ok((row.get("last")?, row.get("first")?)))
}

/// What came after a number, at most [`PAGE`] entries.
pub(crate) async fn after(tx: &mut Tx, node: &NodeId, seq: i64) -> Result<Vec<Entry>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT seq, kind, item_id, body, fed_at FROM work_feed
              WHERE node_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            params![node.as_str(), seq, PAGE],
        )
        .await?;
    let entry = |row: &Row| {
        Ok(Entry {
            seq: row.get("seq")?,
            kind: row.get("kind")?,
            id: row.get("item_id")?,
            body: row.get("body")?,
            time: from_micros(row.get("fed_at")?),
        })
    };
    rows.iter().map(entry).collect()
}

/// The last number of every node's feed.
pub(crate) async fn last_of_all(tx: &mut Tx) -> Result<Vec<(NodeId, i64)>, Fault> {
    let rows = tx.fetch_all("SELECT node_id, seq FROM work_feeds", params![]).await?;
    rows.iter().map(|row| Ok((node(row)?, row.get("seq")?))).collect()
}

/// Forgets entries older than an instant; at most `limit`. The last numbers stay, so that none is used twice.
pub async fn prune(tx: &mut Tx, older_than: Timestamp, limit: i64) -> Result<u64, Fault> {
    let gone = tx
        .execute(
            "DELETE FROM work_feed WHERE (node_id, seq) IN
               (SELECT e.node_id, e.seq FROM work_feed e WHERE e.fed_at < $1 ORDER BY e.fed_at LIMIT $2)",
            params![micros(older_than), limit],
        )
        .await?;
    Ok(gone)
}

fn node(row: &Row) -> Result<NodeId, Fault> {
    let node: String = row.get("node_id")?;
    NodeId::new(node).map_err(|_| Fault::unreadable("a feed has a malformed node"))
}
