//! The stream of a node's work: all that is open, then every change, also those made while the store was away.
//!
//! A watcher reads the node's feed in the database, so nothing piles up for a slow reader: its stream is not asked
//! for more, and reads on where it was. What wakes it: a commit of this process, an event of the bus (for commits of
//! other processes), and one poll per process over the last numbers of all feeds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use clock::Clock;
use contract::fulfillment::v1 as pb;
use db::Db;
use domain::id::NodeId;
use futures_util::Stream;
use server::Principal;
use tonic::Status;

use super::command::{Cursor, WatchWork};
use super::rights::may_work;
use crate::store::work::Position;
use crate::store::{feed, work as store};
use crate::wire::work as wire;
use crate::{Error, Fulfillment};

/// What a store reads.
pub(crate) type WorkStream = Pin<Box<dyn Stream<Item = Result<pb::WatchWorkResponse, Status>> + Send>>;

/// Work read at once from a list.
const PAGE: i64 = 25;

/// One open stream.
struct Watcher {
    db: Db,
    clock: Clock,
    keep_alive: Duration,
    node: NodeId,
    changes: service::Watcher<NodeId>,
    cursor: Cursor,
    ready: VecDeque<pb::WatchWorkResponse>,
    /// The store was sent a message after all that was there.
    is_caught_up: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<pb::WatchWorkResponse, Status>, Self)> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Some((Ok(answer), self));
            }
            self.changes.mark_seen();
            if let Err(error) = self.read().await {
                return Some((Err(error.into()), self));
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

    /// Reads what comes next, a page at a time.
    async fn read(&mut self) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        if let Cursor::Listing { seq, after } = self.cursor {
            let page = store::open_work(&mut tx, &self.node, after, PAGE).await?.work;
            for stored in &page {
                let after = Position { promised: stored.order.promised, id: stored.order.id.uuid() };
                self.cursor = Cursor::Listing { seq, after };
                let item = wire::work_item(stored, seq, stored.updated);
                self.ready.push_back(self.answer(Some(item)));
            }
            if !page.is_empty() {
                return Ok(());
            }
            self.cursor = Cursor::Live { seq };
        }
        let Cursor::Live { seq } = self.cursor else { return Ok(()) };
        let entries = feed::after(&mut tx, &self.node, seq).await?;
        if entries.first().is_some_and(|first| first.seq != seq + 1) {
            // What lies between is no longer kept: send all open work again.
            self.cursor = start(&mut tx, &self.node).await?;
            return Box::pin(self.read()).await;
        }
        for entry in &entries {
            self.cursor = Cursor::Live { seq: entry.seq };
            let item = wire::work_item(&entry.work, entry.seq, entry.fed);
            self.ready.push_back(self.answer(Some(item)));
        }
        Ok(())
    }

    fn answer(&self, item: Option<pb::WorkItem>) -> pb::WatchWorkResponse {
        pb::WatchWorkResponse {
            item,
            resume_token: crate::wire::token::resume_token(&self.node, self.cursor),
        }
    }

    fn sign_of_life(&self) -> pb::WatchWorkResponse {
        self.answer(None)
    }
}

/// The cursor of a store that knows nothing.
async fn start(tx: &mut db::Tx, node: &NodeId) -> Result<Cursor, Error> {
    let (last, _) = feed::ends(tx, node).await?;
    Ok(Cursor::Listing { seq: last, after: Position::start() })
}

impl Fulfillment {
    /// Opens the stream of a node's work.
    pub(crate) async fn watch_work(&self, who: &Principal, command: WatchWork) -> Result<WorkStream, Error> {
        let node = command.node;
        if !may_work(who, &node) || self.node(&node).is_none() {
            return Err(Error::NodeNotFound(node.to_string()));
        }
        let changes = self.work.hub.join(node.clone())?;
        let mut tx = self.db.read().await?;
        let (last, first) = feed::ends(&mut tx, &node).await?;
        let cursor = match command.cursor {
            // A number that the feed does not have yet: the database is older than the token.
            Some(Cursor::Listing { seq, .. } | Cursor::Live { seq }) if seq > last || seq + 1 < first => None,
            cursor => cursor,
        };
        let cursor = cursor.unwrap_or(Cursor::Listing { seq: last, after: Position::start() });
        let watcher = Watcher {
            db: self.db.clone(),
            clock: self.clock.clone(),
            keep_alive: Duration::from_secs(self.work.config.keep_alive_s.max(1)),
            node,
            changes,
            cursor,
            ready: VecDeque::new(),
            is_caught_up: false,
        };
        Ok(Box::pin(futures_util::stream::unfold(watcher, Watcher::next)))
    }
}
