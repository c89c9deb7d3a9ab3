//! The room of all feeds in one process: who watches, and what wakes them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bus::{Delivered, Subscription};
use clock::Clock;
use db::Db;
use domain::id::NodeId;
use futures_util::Stream;
use service::{Fault, Hub};
use tokio_util::sync::CancellationToken;

use crate::watcher::{Kinds, Message, Watcher, start};
use crate::{Cursor, Kind, rows};

/// How often the last numbers are looked at, for commits of which no event tells.
const POLL: Duration = Duration::from_secs(1);

/// What watchers may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open streams of this process.
    pub watchers: usize,
    /// A stream that sent nothing for this long sends a sign of life.
    pub keep_alive: Duration,
}

/// The feeds of all nodes: `W` is what watchers get, `E` the error of the host.
pub struct Room<W, E> {
    db: Db,
    clock: Clock,
    limits: Limits,
    hub: Hub<NodeId>,
    kinds: Kinds<W, E>,
}

impl<W, E> fmt::Debug for Room<W, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        f.debug_struct("Room")
            .field("kinds", &kinds)
            .field("watchers", &self.hub.count())
            .finish_non_exhaustive()
    }
}

impl<W, E> Room<W, E>
where
    W: Send + 'static,
    E: From<Fault> + From<db::Error> + Send + 'static,
{
    /// The feeds in a database that has their tables. Open work is listed in the order of `kinds`.
    pub fn new(db: Db, clock: Clock, limits: Limits, kinds: Vec<Box<dyn Kind<W, E>>>) -> Self {
        Self { db, clock, limits, hub: Hub::new(limits.watchers), kinds: kinds.into() }
    }

    /// The same, with a gauge that hears how many streams are open whenever one comes or leaves.
    #[must_use]
    pub fn measured(self, gauge: fn(usize)) -> Self {
        Self { hub: self.hub.measured(gauge), ..self }
    }

    /// A change of the node's work was committed.
    pub fn wake(&self, node: &NodeId) {
        self.hub.wake(node);
    }

    /// Work of these nodes changes in a transaction that others commit: see [`Room::committed`].
    pub fn pending(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.hub.pending(nodes);
    }

    /// What was pending is committed.
    pub fn committed(&self) {
        self.hub.committed();
    }

    /// The number of open streams.
    pub fn watchers(&self) -> usize {
        self.hub.count()
    }

    /// Opens the stream of a node's work, from `cursor` on if its changes are still kept.
    pub async fn watch(
        &self,
        node: NodeId,
        cursor: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<Message<W>, E>> + Send + use<W, E>, E> {
        let changes = self.hub.join(node.clone())?;
        let mut tx = self.db.read().await?;
        let (last, first) = rows::ends(&mut tx, &node).await?;
        drop(tx);
        // A number that the feed does not have yet: the database is older than the token.
        let is_kept = |cursor: &Cursor| cursor.seq() <= last && cursor.seq() + 1 >= first;
        let cursor = cursor.filter(is_kept).unwrap_or_else(|| start(&self.kinds, last));
        let watcher = Watcher {
            db: self.db.clone(),
            clock: self.clock.clone(),
            keep_alive: self.limits.keep_alive,
            node,
            kinds: Kinds::clone(&self.kinds),
            changes,
            cursor,
            ready: VecDeque::new(),
            is_caught_up: false,
            is_over: false,
        };
        Ok(futures_util::stream::unfold(watcher, Watcher::next))
    }

    /// Wakes the watchers for what other processes committed, until `stop`: at once where an event of `subscription` names
    /// the node, and else within a second.
    pub async fn follow(
        &self,
        stop: CancellationToken,
        mut subscription: Subscription,
        node_of: impl Fn(&Delivered) -> Option<NodeId> + Send + Sync,
    ) {
        let mut seen: HashMap<NodeId, i64> = HashMap::new();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = subscription.next() => Some(event),
                () = self.clock.pause(POLL) => None,
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(node) = node_of(&event) {
                        self.hub.wake(&node);
                    }
                    continue;
                }
                Some(Err(bus::Missed)) => self.clock.pause(POLL).await,
                None => {}
            }
            if self.hub.count() > 0
                && let Err(error) = self.poll(&mut seen).await
            {
                tracing::warn!(%error, "cannot read the feeds, retrying");
            }
        }
    }

    async fn poll(&self, seen: &mut HashMap<NodeId, i64>) -> Result<(), Fault> {
        let mut tx = self.db.read().await?;
        for (node, seq) in rows::last_of_all(&mut tx).await? {
            if seen.get(&node) != Some(&seq) {
                self.hub.wake(&node);
                seen.insert(node, seq);
            }
        }
        Ok(())
    }
}
