//! Work of another service: its events bring it, and the feed keeps what is open of it.
//!
//! The consumer of the host calls [`put`] and [`close`] in the transaction that applies the event, so each event has one
//! entry, however often it is delivered.

use std::fmt;

use async_trait::async_trait;
use db::{Tx, params};
use domain::id::NodeId;
use domain::time::{Timestamp, from_micros, micros};
use service::Fault;
use uuid::Uuid;

use crate::{Entry, Feed, Kind, Open, Position, Read};

/// A kind of work that lives in another service. `R` reads a body: the bytes that [`put`] was given.
pub struct Relayed<R> {
    name: &'static str,
    read: R,
}

impl<R> Relayed<R> {
    /// The kind `name`, whose bodies are read by `read`.
    pub fn new(name: &'static str, read: R) -> Self {
        Self { name, read }
    }
}

impl<R> fmt::Debug for Relayed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relayed({})", self.name)
    }
}

/// New or changed work: it is open at the node, at a place of its list.
pub async fn put(
    tx: &mut Tx,
    feed: &mut Feed,
    kind: &str,
    position: Position,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Fault> {
    feed.append_with(tx, kind, position.id, Some(body), now).await?;
    tx.execute(
        "INSERT INTO relayed_work (node_id, kind, item_id, sort_at, body, fed_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (node_id, kind, item_id)
         DO UPDATE SET sort_at = excluded.sort_at, body = excluded.body, fed_at = excluded.fed_at",
        params![feed.node().as_str(), kind, position.id, micros(position.at), body, micros(now)],
    )
    .await?;
    Ok(())
}

/// The last change of work: watchers get it once more, and it is open no longer.
pub async fn close(
    tx: &mut Tx,
    feed: &mut Feed,
    kind: &str,
    id: Uuid,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Fault> {
    feed.append_with(tx, kind, id, Some(body), now).await?;
    let key = params![feed.node().as_str(), kind, id];
    tx.execute("DELETE FROM relayed_work WHERE node_id = $1 AND kind = $2 AND item_id = $3", key).await?;
    Ok(())
}

#[async_trait]
impl<W, E, R> Kind<W, E> for Relayed<R>
where
    W: Send,
    E: From<Fault> + From<db::Error> + Send,
    R: Fn(Uuid, &[u8]) -> Result<W, E> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    async fn open(&self, tx: &mut Tx, node: &NodeId, after: Position, limit: i64) -> Result<Vec<Open<W>>, E> {
        let rows = tx
            .fetch_all(
                "SELECT item_id, sort_at, body, fed_at FROM relayed_work
                  WHERE node_id = $1 AND kind = $2 AND (sort_at, item_id) > ($3, $4)
                  ORDER BY sort_at, item_id LIMIT $5",
                params![node.as_str(), self.name, micros(after.at), after.id, limit],
            )
            .await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, body): (Uuid, Vec<u8>) = (row.get("item_id")?, row.get("body")?);
            let position = Position { at: from_micros(row.get("sort_at")?), id };
            let updated = from_micros(row.get("fed_at")?);
            open.push(Open { position, updated, work: (self.read)(id, &body)? });
        }
        Ok(open)
    }

    async fn read(&self, _: &mut Tx, entries: &[Entry]) -> Result<Read<W>, E> {
        let work = |entry: &Entry| {
            let body = entry.body.as_deref().unwrap_or_default();
            Ok((entry.seq, (self.read)(entry.id, body)?))
        };
        let work = entries.iter().map(work).collect::<Result<_, E>>()?;
        Ok(Read { work, entries: entries.len() })
    }
}
