//! The stream of a node's work: all that is open, then every change, also those made while the store was away.
//!
//! A watcher reads the node's feed in the database, so nothing piles up for a slow reader: its stream is not asked
//! for more, and reads on where it was. What wakes it: a commit of this process, an event of the bus (for commits of
//! other processes), and one poll per process over the last numbers of all feeds.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Subscription;
use clock::Clock;
use contract::fulfillment::v1 as pb;
use db::Db;
use domain::id::NodeId;
use futures_util::Stream;
use jiff::SignedDuration;
use prost::Message as _;
use server::Principal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::store::work::Position;
use crate::store::{feed, work as store};
use crate::wire::work as wire;
use crate::work::change::may_work;
use crate::{Error, Fulfillment};

/// What a store reads.
pub(crate) type WorkStream = Pin<Box<dyn Stream<Item = Result<pb::WatchWorkResponse, Status>> + Send>>;

/// Work read at once from a list; each may have a thousand lines.
const PAGE: i64 = 25;

/// How often the feeds are looked at for commits of which nobody told.
const POLL: Duration = Duration::from_secs(1);

/// How often what is old is taken out of the feeds.
const PRUNE: SignedDuration = SignedDuration::from_mins(10);

/// Where a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Lists the open work; changes after `seq` come then.
    Listing {
        /// The last number of the feed when the list began.
        seq: i64,
        /// The last work that was told.
        after: Position,
    },
    /// All up to this number was told.
    Live {
        /// The last number told.
        seq: i64,
    },
}

/// Who watches which node, and how they are woken.
#[derive(Default)]
pub(crate) struct Hub {
    nodes: Mutex<HashMap<NodeId, watch::Sender<u64>>>,
    held: Mutex<BTreeSet<NodeId>>,
    watchers: AtomicUsize,
}

impl Hub {
    /// Something was committed for this node.
    pub(crate) fn wake(&self, node: &NodeId) {
        if let Some(sender) = lock(&self.nodes).get(node) {
            sender.send_modify(|wakes| *wakes = wakes.wrapping_add(1));
        }
    }

    /// Something will be committed for this node, by whoever holds the transaction.
    pub(crate) fn hold(&self, node: NodeId) {
        lock(&self.held).insert(node);
    }

    /// What was held is committed.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *lock(&self.held));
        for node in &held {
            self.wake(node);
        }
    }

    /// The number of open streams.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Takes a seat, if one is left.
    fn sit(self: &Arc<Self>, node: &NodeId, seats: usize) -> Result<Seat, Error> {
        let taken = self.watchers.fetch_add(1, Ordering::Relaxed);
        let wakes = lock(&self.nodes).entry(node.clone()).or_default().subscribe();
        let seat = Seat { hub: Arc::clone(self), node: node.clone(), wakes };
        metrics::gauge!("entrepot_fulfillment_watchers")
            .set(f64::from(u32::try_from(taken).unwrap_or(u32::MAX)) + 1.0);
        if taken < seats { Ok(seat) } else { Err(Error::TooManyWatchers) }
    }

    fn leave(&self, node: &NodeId) {
        let mut nodes = lock(&self.nodes);
        // The seat that leaves still counts as a receiver.
        if nodes.get(node).is_some_and(|sender| sender.receiver_count() <= 1) {
            nodes.remove(node);
        }
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watcher's place.
struct Seat {
    hub: Arc<Hub>,
    node: NodeId,
    wakes: watch::Receiver<u64>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.node);
    }
}

/// One open stream.
struct Watcher {
    db: Db,
    clock: Clock,
    keep_alive: Duration,
    seat: Seat,
    cursor: Cursor,
    ready: VecDeque<pb::WatchWorkResponse>,
    /// The store knows that it has seen everything so far.
    is_told: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<pb::WatchWorkResponse, Status>, Self)> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Some((Ok(answer), self));
            }
            self.seat.wakes.borrow_and_update();
            if let Err(error) = self.read().await {
                return Some((Err(error.into()), self));
            }
            if !self.ready.is_empty() {
                continue;
            }
            if !self.is_told {
                self.is_told = true;
                return Some((Ok(self.sign_of_life()), self));
            }
            let keep_alive = self.clock.pause(self.keep_alive);
            let woken = tokio::select! {
                _ = self.seat.wakes.changed() => true,
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
            let page = store::open_work(&mut tx, &self.seat.node, after, PAGE).await?;
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
        let entries = feed::after(&mut tx, &self.seat.node, seq).await?;
        if entries.first().is_some_and(|first| first.seq != seq + 1) {
            // What lies between is no longer kept: tell all open work anew.
            self.cursor = start(&mut tx, &self.seat.node).await?;
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
            resume_token: crate::wire::token::resume_token(&self.seat.node, self.cursor),
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

/// Asks for a node's stream.
pub(crate) struct WatchWork {
    pub(crate) node: NodeId,
    pub(crate) cursor: Option<Cursor>,
}

impl Fulfillment {
    /// Opens the stream of a node's work.
    pub(crate) async fn watch_work(&self, who: &Principal, command: WatchWork) -> Result<WorkStream, Error> {
        let node = command.node;
        if !may_work(who, &node) || self.node(&node).is_none() {
            return Err(Error::NodeNotFound(node.to_string()));
        }
        let seat = self.work.hub.sit(&node, self.work.config.max_watchers)?;
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
            seat,
            cursor,
            ready: VecDeque::new(),
            is_told: false,
        };
        Ok(Box::pin(futures_util::stream::unfold(watcher, Watcher::next)))
    }

    /// Wakes watchers for what other processes committed, and keeps the feeds short, until `stop`.
    pub async fn follow_work(&self, stop: CancellationToken, mut subscription: Subscription) {
        let mut seen: HashMap<NodeId, i64> = HashMap::new();
        let mut pruned = self.clock.wall();
        loop {
            if self.clock.wall().duration_since(pruned) > PRUNE {
                pruned = self.clock.wall();
                if let Err(error) = self.prune_feed(self.clock.business()).await {
                    tracing::warn!(%error, "the feeds can't be pruned, trying again later");
                }
            }
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = subscription.next() => Some(event),
                () = self.clock.pause(POLL) => None,
            };
            match event {
                Some(Ok(event)) => self.wake_by(&event),
                missed => {
                    if missed.is_some() {
                        self.clock.pause(POLL).await;
                    }
                    if self.work.hub.watchers() > 0
                        && let Err(error) = self.poll_feeds(&mut seen).await
                    {
                        tracing::warn!(%error, "the feeds can't be read, trying again");
                    }
                }
            }
        }
    }

    fn wake_by(&self, event: &bus::Delivered) {
        let node = pb::FulfillmentEvent::decode(event.payload.clone())
            .ok()
            .and_then(|event| event.fulfillment_order)
            .and_then(|order| NodeId::new(order.node_id).ok());
        if let Some(node) = node {
            self.work.hub.wake(&node);
        }
    }

    async fn poll_feeds(&self, seen: &mut HashMap<NodeId, i64>) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        for (node, seq) in feed::last_of_all(&mut tx).await? {
            if seen.get(&node) != Some(&seq) {
                self.work.hub.wake(&node);
                seen.insert(node, seq);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_when_its_watcher_leaves() {
        let hub = Arc::new(Hub::default());
        let node = NodeId::new("N1").unwrap();
        let seat = hub.sit(&node, 1).unwrap();
        assert!(hub.sit(&node, 1).is_err());
        assert_eq!(hub.watchers(), 1);
        hub.wake(&node);
        assert!(seat.wakes.has_changed().unwrap());
        drop(seat);
        assert_eq!(hub.watchers(), 0);
        assert!(lock(&hub.nodes).is_empty());
    }

    #[test]
    fn held_nodes_are_woken_when_the_batch_is_committed() {
        let hub = Arc::new(Hub::default());
        let node = NodeId::new("N1").unwrap();
        let seat = hub.sit(&node, 10).unwrap();
        hub.hold(node);
        assert!(!seat.wakes.has_changed().unwrap());
        hub.release();
        assert!(seat.wakes.has_changed().unwrap());
    }
}
