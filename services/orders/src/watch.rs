//! Watching an order: as it is now, then after each change. Changes that come faster than they are read are sent as
//! one, and each message is the order as it is then.

use std::sync::Arc;
use std::time::Duration;

use contract::orders::v1 as pb;
use domain::id::{OrderId, Uuid};
use domain::order::Order;
use futures_util::Stream;
use futures_util::stream::unfold;
use server::Principal;
use service::Watcher;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::error::Error;
use crate::{Orders, rights, store, wire};
use clock::Clock;

/// Where a stream stands.
struct Stand {
    db: db::Db,
    clock: Clock,
    poll: Duration,
    order: OrderId,
    watcher: Watcher<Uuid>,
    /// The version sent last.
    after: i64,
    is_over: bool,
}

impl Orders {
    /// Wakes the watchers for changes that other processes made, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, mut changes: bus::Subscription, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = changes.next() => change,
            };
            match change {
                Ok(event) => self.watchers.wake(&event.aggregate),
                Err(bus::Missed) => self.watchers.wake_all(),
            }
        }
    }

    /// The order after each change, until it is over. Begins with the order as it is, unless the caller has seen it.
    pub(crate) async fn watch(
        &self,
        who: &Principal,
        order: OrderId,
        after: i64,
    ) -> Result<impl Stream<Item = Result<pb::WatchOrderResponse, Status>> + Send + use<>, Error> {
        let watcher = self.watchers.join(order.uuid())?;
        rights::must_own(who, &self.find(order).await?)?;
        let poll = Duration::from_millis(self.config.watch_poll_ms.max(10));
        let (db, clock) = (self.db.clone(), self.clock.clone());
        let stand = Stand { db, clock, poll, order, watcher, after, is_over: false };
        Ok(unfold(stand, next))
    }
}

type Message = Result<pb::WatchOrderResponse, Status>;

async fn next(mut stand: Stand) -> Option<(Message, Stand)> {
    while !stand.is_over {
        // Marked as seen before the order is read: a change during the reading is read again.
        stand.watcher.mark_seen();
        // boxed: it needs some KiB while it reads, and a stream waits most of the time
        match Box::pin(look(&mut stand)).await {
            Ok(Some(order)) => {
                return Some((Ok(pb::WatchOrderResponse { order: Some(wire::order(&order)) }), stand));
            }
            Ok(None) if stand.is_over => {}
            Ok(None) => {
                let (clock, poll) = (stand.clock.clone(), stand.poll);
                // Changes of other processes wake nobody here.
                tokio::select! {
                    () = stand.watcher.changed() => {}
                    () = clock.pause(poll) => {}
                }
            }
            Err(error) => {
                stand.is_over = true;
                return Some((Err(error.into()), stand));
            }
        }
    }
    None
}

/// The order, if it has changed. Most reads find nothing new, so the version is read first.
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
