//! Watching an order: as it is now, then after each change. Changes that come faster than they are read are told as
//! one: what is told is always the order as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::orders::v1 as pb;
use domain::id::{OrderId, Uuid};
use domain::order::Order;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tonic::Status;

use crate::error::Error;
use crate::{Orders, store, wire};
use clock::Clock;

/// Those who wait for changes, by order.
pub(crate) struct Watchers {
    waiting: Arc<Mutex<Waiting>>,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    by_order: HashMap<Uuid, watch::Sender<()>>,
    count: usize,
}

/// One watcher; dropped, it makes room for another.
struct Watcher {
    order: Uuid,
    told: watch::Receiver<()>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Watchers {
    pub(crate) fn new(most: usize) -> Self {
        Self { waiting: Arc::default(), most }
    }

    /// An order changed.
    pub(crate) fn tell(&self, order: Uuid) {
        if let Some(sender) = lock(&self.waiting).by_order.get(&order) {
            sender.send_replace(());
        }
    }

    /// Any order may have changed.
    pub(crate) fn tell_all(&self) {
        lock(&self.waiting).by_order.values().for_each(|sender| {
            sender.send_replace(());
        });
    }

    fn join(&self, order: Uuid) -> Result<Watcher, Error> {
        let mut waiting = lock(&self.waiting);
        if waiting.count >= self.most {
            return Err(Error::TooManyWatchers);
        }
        waiting.count += 1;
        let told = waiting.by_order.entry(order).or_insert_with(|| watch::Sender::new(())).subscribe();
        Ok(Watcher { order, told, waiting: Arc::clone(&self.waiting) })
    }
}

impl Watcher {
    /// Waits for a change, or long enough to look for those that other processes made.
    async fn changed(&mut self, clock: &Clock, at_most: Duration) {
        tokio::select! {
            _ = self.told.changed() => {}
            () = clock.pause(at_most) => {}
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.count = waiting.count.saturating_sub(1);
        // Our own receiver is still counted.
        if waiting.by_order.get(&self.order).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.by_order.remove(&self.order);
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a stream stands.
struct Stand {
    db: db::Db,
    clock: Clock,
    poll: Duration,
    order: OrderId,
    watcher: Watcher,
    /// The version told last.
    after: i64,
    is_over: bool,
}

impl Orders {
    /// The order after each change, until it is over. Begins with the order as it is, unless the caller has seen it.
    pub(crate) async fn watch(
        &self,
        order: OrderId,
        after: i64,
    ) -> Result<impl Stream<Item = Result<pb::WatchOrderResponse, Status>> + Send + use<>, Error> {
        let watcher = self.watchers.join(order.uuid())?;
        self.find(order).await?;
        let poll = Duration::from_millis(self.config.watch_poll_ms.max(10));
        let (db, clock) = (self.db.clone(), self.clock.clone());
        let stand = Stand { db, clock, poll, order, watcher, after, is_over: false };
        Ok(unfold(stand, next))
    }
}

type Told = Result<pb::WatchOrderResponse, Status>;

async fn next(mut stand: Stand) -> Option<(Told, Stand)> {
    while !stand.is_over {
        // Marked as seen before the order is read: a change during the reading is looked at again.
        stand.watcher.told.mark_unchanged();
        match look(&mut stand).await {
            Ok(Some(order)) => {
                return Some((Ok(pb::WatchOrderResponse { order: Some(wire::order(&order)) }), stand));
            }
            Ok(None) if stand.is_over => {}
            Ok(None) => {
                let (clock, poll) = (stand.clock.clone(), stand.poll);
                stand.watcher.changed(&clock, poll).await;
            }
            Err(error) => {
                stand.is_over = true;
                return Some((Err(error.into()), stand));
            }
        }
    }
    None
}

/// The order, if it has changed. Most looks find nothing new, so they begin with a glance.
async fn look(stand: &mut Stand) -> Result<Option<Order>, Error> {
    let missing = || Error::NotFound(stand.order.to_string());
    let mut tx = stand.db.read().await?;
    let (version, is_over) = store::glance(&mut tx, stand.order).await?.ok_or_else(missing)?;
    drop(tx);
    if version <= stand.after {
        stand.is_over = is_over;
        return Ok(None);
    }
    let mut tx = stand.db.snapshot().await?;
    let order = store::load(&mut tx, stand.order).await?.ok_or_else(missing)?.order;
    stand.is_over = order.status().is_over();
    stand.after = order.version;
    Ok(Some(order))
}
