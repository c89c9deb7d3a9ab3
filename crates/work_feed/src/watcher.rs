//! One open stream: it reads the feed in the database, so nothing piles up for a slow reader. A stream that is not read
//! asks for no more, and goes on where it was.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use db::{Db, Tx};
use domain::id::NodeId;
use domain::time::Timestamp;
use service::Fault;

use crate::{Cursor, Entry, Kind, Position, rows};

/// A kind of work, shared by the watchers.
pub(crate) type Kinds<W, E> = Arc<[Box<dyn Kind<W, E>>]>;

/// Work with its place in the feed.
#[derive(Debug)]
pub struct Item<W> {
    /// The number of its change; in a list of open work, the last number when the list began.
    pub seq: i64,
    /// When it changed.
    pub time: Timestamp,
    /// The work, as it is now.
    pub work: W,
}

/// What a watcher gets. Without work it is a sign of life; the first one says that all work was sent.
#[derive(Debug)]
pub struct Message<W> {
    /// Work.
    pub item: Option<Item<W>>,
    /// With it, a later stream goes on after this message.
    pub resume_token: String,
}

pub(crate) struct Watcher<W, E> {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) keep_alive: Duration,
    pub(crate) node: NodeId,
    pub(crate) kinds: Kinds<W, E>,
    pub(crate) changes: service::Watcher<NodeId>,
    pub(crate) cursor: Cursor,
    pub(crate) ready: VecDeque<Message<W>>,
    /// The reader was sent a message after all work.
    pub(crate) is_caught_up: bool,
    /// Nothing follows an error.
    pub(crate) is_over: bool,
}

/// The cursor of a reader that knows nothing.
pub(crate) fn start<W, E>(kinds: &Kinds<W, E>, seq: i64) -> Cursor {
    match kinds.first() {
        Some(kind) => Cursor::Listing { seq, kind: kind.name().to_owned(), after: Position::START },
        None => Cursor::Live { seq },
    }
}

impl<W: Send, E: From<Fault> + From<db::Error> + Send> Watcher<W, E> {
    pub(crate) async fn next(mut self) -> Option<(Result<Message<W>, E>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some((Ok(message), self));
            }
            // Marked as seen before the reading: a change meanwhile is looked for again.
            self.changes.mark_seen();
            // Boxed: it needs some KiB while it reads, and a stream waits most of the time.
            if let Err(error) = Box::pin(self.read()).await {
                self.is_over = true;
                return Some((Err(error), self));
            }
            if !self.ready.is_empty() {
                continue;
            }
            if !self.is_caught_up {
                self.is_caught_up = true;
                return Some((Ok(self.sign_of_life()), self));
            }
            let keep_alive = self.clock.pause(self.keep_alive);
            let woken = tokio::select! {
                () = self.changes.changed() => true,
                () = keep_alive => false,
            };
            if !woken {
                return Some((Ok(self.sign_of_life()), self));
            }
        }
    }

    /// Reads what comes next, a page at a time, until there is some or no more.
    async fn read(&mut self) -> Result<(), E> {
        let mut tx = self.db.read().await?;
        while self.ready.is_empty() {
            let is_more = match self.cursor.clone() {
                Cursor::Listing { seq, kind, after } => self.list(&mut tx, seq, &kind, after).await?,
                Cursor::Live { seq } => self.follow(&mut tx, seq).await?,
            };
            if !is_more {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next open work of a kind, or goes on to the next kind.
    async fn list(&mut self, tx: &mut Tx, seq: i64, kind: &str, after: Position) -> Result<bool, E> {
        let kinds = Arc::clone(&self.kinds);
        let Some(at) = kinds.iter().position(|known| known.name() == kind) else {
            self.cursor = start(&kinds, seq);
            return Ok(true);
        };
        let page = kinds[at].open(tx, &self.node, after, rows::PAGE).await?;
        if page.is_empty() {
            self.cursor = match kinds.get(at + 1) {
                Some(next) => Cursor::Listing { seq, kind: next.name().to_owned(), after: Position::START },
                None => Cursor::Live { seq },
            };
        }
        for open in page {
            self.cursor = Cursor::Listing { seq, kind: kind.to_owned(), after: open.position };
            self.send(Item { seq, time: open.updated, work: open.work });
        }
        Ok(true)
    }

    /// Reads the next changes; none: false.
    async fn follow(&mut self, tx: &mut Tx, seq: i64) -> Result<bool, E> {
        let entries = rows::after(tx, &self.node, seq).await?;
        let Some(first) = entries.first() else { return Ok(false) };
        if first.seq != seq + 1 {
            // What lies between is no longer kept: all open work is sent again.
            let (last, _) = rows::ends(tx, &self.node).await?;
            self.cursor = start(&self.kinds, last);
            return Ok(true);
        }
        let (mut work, end) = work_of(&self.kinds, tx, &self.node, &entries).await?;
        for entry in entries.into_iter().take_while(|entry| entry.seq < end) {
            self.cursor = Cursor::Live { seq: entry.seq };
            if let Some(work) = work.remove(&entry.seq) {
                self.send(Item { seq: entry.seq, time: entry.time, work });
            }
        }
        Ok(true)
    }

    fn send(&mut self, item: Item<W>) {
        let resume_token = self.cursor.token(&self.node);
        self.ready.push_back(Message { item: Some(item), resume_token });
    }

    fn sign_of_life(&self) -> Message<W> {
        Message { item: None, resume_token: self.cursor.token(&self.node) }
    }
}

/// The work of entries by number, and the number of the first entry that is to be read later.
async fn work_of<W: Send, E>(
    kinds: &Kinds<W, E>,
    tx: &mut Tx,
    node: &NodeId,
    entries: &[Entry],
) -> Result<(HashMap<i64, W>, i64), E> {
    let (mut work, mut end) = (HashMap::with_capacity(entries.len()), i64::MAX);
    for kind in kinds.iter() {
        let own: Vec<Entry> = entries.iter().filter(|entry| entry.kind == kind.name()).cloned().collect();
        if own.is_empty() {
            continue;
        }
        let read = kind.read(tx, &own).await?;
        work.extend(read.work);
        // At least one, or a stream would never go on.
        end = end.min(own.get(read.entries.max(1)).map_or(i64::MAX, |entry| entry.seq));
    }
    let is_known = |entry: &&Entry| kinds.iter().any(|kind| kind.name() == entry.kind);
    if let Some(strange) = entries.iter().find(|entry| !is_known(entry)) {
        // A newer process wrote it; this one has no message for it.
        tracing::warn!(node_id = %node, kind = strange.kind, "unknown kind of work is left out of a stream");
    }
    Ok((work, end))
}
