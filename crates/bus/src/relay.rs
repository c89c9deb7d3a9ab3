//! Pending events to the transport, in order, by one leader per outbox.
//!
//! Read the oldest pending, hand them over in that order, wait for acknowledgements in that order, delete the
//! acknowledged prefix in a transaction of its own. A crash anywhere sends a suffix again, in the same order. Two
//! relays at once (a leader that was frozen, and its successor) are harmless: each of them sends a gap-free run from
//! its own oldest pending event on, so *first* deliveries stay in order, and consumers skip repetitions.
//!
//! There is no lower bound on the ids read: a transaction may commit late with a low id, and later events of the
//! same aggregate must not pass it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clock::Clock;
use db::{Db, Engine};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fresh::Fresh;
use crate::lease::Keeper;
use crate::local::Hub;
use crate::outbox::Pointer;
use crate::upkeep::Upkeep;
use crate::{Delivered, Error, measure, outbox};

/// Events read at once.
const WINDOW: usize = 500;
/// How many events are read by one statement.
const CHUNK: usize = 50;
/// When this many bytes of events have been read, no more are.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// A transport that takes nothing for this long is taken for away.
const SILENCE: Duration = Duration::from_secs(5);

/// How long things are kept, and how leadership is found.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events stay this many days of business time: the reach of replays, gap requests and late joiners.
    pub events_days: u32,
    /// Replies to request ids stay this many hours of business time.
    pub inbox_hours: u32,
    /// Term of the leader's lease on PostgreSQL; a successor starts at most this late after a crash.
    pub lease_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { events_days: 30, inbox_hours: 72, lease_ms: 3_000 }
    }
}

/// Where a relay puts events.
pub(crate) enum Outlet {
    Local(Arc<Hub>),
    #[cfg(feature = "kafka")]
    Kafka(Box<crate::kafka::Outlet>),
}

/// The relay of one outbox. Nothing is published before [`Relay::run`] is driven.
pub struct Relay {
    db: Db,
    clock: Clock,
    owner: &'static str,
    outlet: Outlet,
    settings: Settings,
    keeper: Keeper,
    ready: watch::Sender<bool>,
    /// When a transport that was away was asked last.
    looked: Instant,
    /// Acknowledged, but not deleted yet.
    settled: Vec<i64>,
    /// The deletion under way.
    deletion: Option<BoxFuture<'static, Deleted>>,
    hidden: HashSet<i64>,
    /// Whether this relay leads, for those who work beside it.
    leads: Arc<AtomicBool>,
    /// What this process has committed just now.
    fresh: Arc<Fresh>,
}

/// Ids that were to be deleted, and whether they are.
type Deleted = (Vec<i64>, Result<(), Error>);

/// What is to be published next.
#[derive(Default)]
struct Window {
    /// The pointers of the events.
    ids: Vec<i64>,
    events: Vec<Arc<Delivered>>,
    /// Pointers whose events are neither fresh nor stored: the events were pruned while they were queued once more.
    orphans: Vec<Pointer>,
}

/// How one turn of the loop ended.
enum Turn {
    /// There may be more.
    Busy,
    /// Nothing is pending.
    Idle,
    /// Another process leads.
    Follows,
    /// The transport took only a part, or leadership was lost meanwhile.
    Held,
}

impl Relay {
    pub(crate) fn new(db: Db, clock: Clock, owner: &'static str, holder: String, outlet: Outlet) -> Self {
        let settings = Settings::default();
        let keeper = keeper(&db, &clock, holder, &settings);
        let fresh = db.attached();
        Self {
            db,
            clock,
            owner,
            outlet,
            settings,
            keeper,
            ready: watch::Sender::new(false),
            looked: Instant::now(),
            settled: Vec::new(),
            deletion: None,
            hidden: HashSet::new(),
            leads: Arc::new(AtomicBool::new(false)),
            fresh,
        }
    }

    /// Other settings than the default ones.
    #[must_use]
    pub fn with(mut self, settings: Settings) -> Self {
        self.keeper = keeper(&self.db, &self.clock, self.keeper.holder().to_owned(), &settings);
        self.settings = settings;
        self
    }

    /// Whether the transport is warm: the next event will not wait for it. A service may report ready without that;
    /// its events wait in the outbox.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Publishes until `stop` is cancelled; what is on its way then is waited for, briefly.
    pub async fn run(self, stop: CancellationToken) {
        let upkeep = Upkeep {
            db: self.db.clone(),
            clock: self.clock.clone(),
            owner: self.owner,
            settings: self.settings.clone(),
            leads: Arc::clone(&self.leads),
        };
        tokio::select! {
            () = self.keep_publishing(stop) => {}
            () = upkeep.run() => {}
        }
    }

    async fn keep_publishing(mut self, stop: CancellationToken) {
        self.prepare(&stop).await;
        let mut wake = self.db.committed();
        let mut errors = 0;
        while !stop.is_cancelled() {
            wake.borrow_and_update();
            match self.turn(&stop).await {
                Ok(Turn::Busy) => errors = 0,
                Ok(Turn::Idle) => {
                    errors = 0;
                    self.look_for_transport().await;
                    self.rest(&mut wake, &stop).await;
                }
                Ok(Turn::Follows) => {
                    self.look_for_transport().await;
                    pause(&self.clock, Duration::from_millis(500), &stop).await;
                }
                Ok(Turn::Held) => pause(&self.clock, Duration::from_millis(200), &stop).await,
                Err(error) => {
                    errors += 1;
                    metrics::counter!(measure::RELAY_ERRORS, "outbox" => self.owner).increment(1);
                    tracing::warn!(outbox = self.owner, %error, errors, "the relay tries again");
                    let wait = Duration::from_millis(20 * 2_u64.pow(errors.min(7)));
                    pause(&self.clock, wait, &stop).await;
                }
            }
        }
        self.finish().await;
    }

    async fn prepare(&mut self, stop: &CancellationToken) {
        let is_warm = match &mut self.outlet {
            Outlet::Local(_) => true,
            #[cfg(feature = "kafka")]
            Outlet::Kafka(outlet) => outlet.warm(stop).await,
        };
        if self.db.engine() == Engine::Sqlite
            && let Err(error) = self.keeper.seize().await
        {
            tracing::warn!(outbox = self.owner, %error, "the lease could not be taken yet");
        }
        if is_warm && !stop.is_cancelled() {
            self.ready.send_replace(true);
        }
    }

    /// Asks a transport that was away, now and then, while there is nothing to publish.
    async fn look_for_transport(&mut self) {
        if *self.ready.borrow() || self.looked.elapsed() < SILENCE {
            return;
        }
        let is_warm = match &mut self.outlet {
            Outlet::Local(_) => true,
            #[cfg(feature = "kafka")]
            Outlet::Kafka(outlet) => outlet.is_answered().await,
        };
        self.looked = Instant::now();
        self.ready.send_replace(is_warm);
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Result<Turn, Error> {
        let leads = self.keeper.hold().await?.is_some();
        let takes_over = leads && !self.leads.load(Ordering::Relaxed);
        self.leads.store(leads, Ordering::Relaxed);
        if takes_over {
            match &mut self.outlet {
                Outlet::Local(_) => {}
                #[cfg(feature = "kafka")]
                Outlet::Kafka(outlet) => outlet.renew(),
            }
        }
        self.fresh.want(leads);
        metrics::gauge!(measure::RELAY_LEADER, "outbox" => self.owner).set(if leads { 1.0 } else { 0.0 });
        if !leads {
            return Ok(Turn::Follows);
        }
        self.start_deletion();
        let Window { ids, events, orphans } = read(&self.db, &self.hidden, &self.fresh).await?;
        self.give_up(&orphans);
        if events.is_empty() {
            return Ok(if orphans.is_empty() { Turn::Idle } else { Turn::Busy });
        }
        let taken = self.publish(&events, stop).await?;
        if taken > 0 {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
        if taken > 0 {
            db::drill::pass("relay.published");
        }
        for event in events.iter().take(taken) {
            metrics::counter!(measure::PUBLISHED, "topic" => event.topic.name()).increment(1);
        }
        self.settled.extend_from_slice(&ids[..taken]);
        self.hidden.extend(&ids[..taken]);
        Ok(if taken == ids.len() { Turn::Busy } else { Turn::Held })
    }

    /// Pointers without an event would fill the window in the end, and no event would leave any more.
    fn give_up(&mut self, orphans: &[Pointer]) {
        let Some(first) = orphans.first() else { return };
        tracing::error!(outbox = self.owner, pointers = orphans.len(), aggregate = %first.aggregate,
            sequence = first.sequence, "pending events are no longer kept and cannot be published");
        let ids = orphans.iter().map(|orphan| orphan.id);
        self.settled.extend(ids.clone());
        self.hidden.extend(ids);
    }

    /// Hands events over while the last ones are being deleted. Answers how many were acknowledged.
    async fn publish(&mut self, events: &[Arc<Delivered>], stop: &CancellationToken) -> Result<usize, Error> {
        let outlet = &mut self.outlet;
        let keeper = &mut self.keeper;
        let (clock, ready) = (&self.clock, &self.ready);
        let publishing = async {
            let sending = async {
                match &mut *outlet {
                    Outlet::Local(hub) => hub.publish(events, stop).await,
                    #[cfg(feature = "kafka")]
                    Outlet::Kafka(outlet) => outlet.publish(events, stop).await,
                }
            };
            let silence = async {
                clock.pause(SILENCE).await;
                ready.send_replace(false);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                taken = sending => Some(taken),
                () = keeper.keep() => None,
                () = silence => None,
            }
        };
        let deletion = &mut self.deletion;
        let deleting = async {
            match deletion {
                Some(deletion) => Some(deletion.await),
                None => None,
            }
        };
        let (taken, deleted) = Box::pin(futures_util::future::join(publishing, deleting)).await;
        if let Some(deleted) = deleted {
            self.deleted(deleted)?;
        }
        if taken.is_none() {
            #[cfg(feature = "kafka")]
            if let Outlet::Kafka(outlet) = &mut self.outlet {
                outlet.abandon().await;
            }
        }
        Ok(taken.unwrap_or(0))
    }

    fn start_deletion(&mut self) {
        if self.deletion.is_none() && !self.settled.is_empty() {
            let ids = std::mem::take(&mut self.settled);
            self.deletion = Some(Box::pin(delete(self.db.clone(), ids)));
        }
    }

    fn deleted(&mut self, (ids, outcome): Deleted) -> Result<(), Error> {
        self.deletion = None;
        if outcome.is_ok() {
            for id in &ids {
                self.hidden.remove(id);
            }
        } else {
            self.settled.extend(ids);
        }
        outcome
    }

    /// Waits for a commit, the poll, or the end of a deletion.
    async fn rest(&mut self, wake: &mut watch::Receiver<u64>, stop: &CancellationToken) {
        let poll = match self.db.engine() {
            Engine::Postgres => Duration::from_millis(10),
            Engine::Sqlite => Duration::from_millis(250),
        };
        let deletion = &mut self.deletion;
        let deleting = async {
            match deletion {
                Some(deletion) => deletion.await,
                None => std::future::pending().await,
            }
        };
        let deleted = tokio::select! {
            () = stop.cancelled() => None,
            deleted = deleting => Some(deleted),
            Ok(()) = wake.changed() => None,
            () = self.clock.pause(poll) => None,
        };
        if let Some(deleted) = deleted
            && let Err(error) = self.deleted(deleted)
        {
            tracing::warn!(outbox = self.owner, %error, "acknowledged events are deleted later");
            pause(&self.clock, Duration::from_millis(50), stop).await;
        }
    }

    /// Deletes what was acknowledged and makes room for a successor.
    async fn finish(&mut self) {
        if let Some(deletion) = self.deletion.take() {
            let deleted = deletion.await;
            let _reported_below = self.deleted(deleted);
        }
        self.start_deletion();
        if let Some(deletion) = self.deletion.take()
            && let (_, Err(error)) = deletion.await
        {
            tracing::warn!(outbox = self.owner, %error, "acknowledged events will be sent again");
        }
        #[cfg(feature = "kafka")]
        if let Outlet::Kafka(outlet) = &mut self.outlet {
            outlet.close().await;
        }
        self.fresh.want(false);
        if let Err(error) = self.keeper.release().await {
            tracing::debug!(outbox = self.owner, %error, "the lease runs out by itself");
        }
    }
}

fn keeper(db: &Db, clock: &Clock, holder: String, settings: &Settings) -> Keeper {
    let term = match db.engine() {
        Engine::Postgres => Duration::from_millis(u64::from(settings.lease_ms)),
        // only one process opens the file, so nobody waits for the end of the term
        Engine::Sqlite => Duration::from_mins(1),
    };
    Keeper::new(db.clone(), clock.clone(), "relay", holder, term)
}

/// The oldest pending events but for those that are acknowledged, and the ids of their pointers. Those stay until
/// their deletion is through: only their pointers are read again.
async fn read(db: &Db, hidden: &HashSet<i64>, fresh: &Fresh) -> Result<Window, Error> {
    let limit = i64::try_from(WINDOW + hidden.len()).unwrap_or(i64::MAX);
    let mut tx = db.read().await?;
    let mut pointers = outbox::pointers(&mut tx, limit).await?;
    pointers.retain(|pointer| !hidden.contains(&pointer.id));
    let fresh = fresh.take(pointers.iter().map(|to| (to.aggregate, to.sequence)));
    let unknown: Vec<&Pointer> =
        pointers.iter().zip(&fresh).filter(|(_, event)| event.is_none()).map(|(to, _)| to).collect();
    let mut read = HashMap::with_capacity(unknown.len());
    let mut bytes = 0;
    for some in unknown.chunks(CHUNK) {
        for row in &outbox::pointed_at(&mut tx, some).await? {
            let event = Delivered::from_row(row)?;
            bytes += event.payload.len();
            read.insert(row.get::<i64>("id")?, Arc::new(event));
        }
        if bytes > WINDOW_BYTES
            && let Some(last) = some.last().map(|to| to.id)
        {
            // The others are read when these are acknowledged.
            let known = pointers.iter().take_while(|to| to.id <= last).count();
            pointers.truncate(known);
            break;
        }
    }
    drop(tx);
    let mut window = Window::default();
    for (pointer, event) in pointers.into_iter().zip(fresh) {
        match event.or_else(|| read.remove(&pointer.id)) {
            Some(event) => {
                window.ids.push(pointer.id);
                window.events.push(event);
            }
            None => window.orphans.push(pointer),
        }
    }
    Ok(window)
}

async fn pause(clock: &Clock, wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = clock.pause(wait) => {}
    }
}

async fn delete(db: Db, ids: Vec<i64>) -> Deleted {
    let outcome = async {
        let mut tx = db.begin().await?;
        outbox::forget(&mut tx, &ids).await?;
        tx.commit().await?;
        Ok(())
    }
    .await;
    (ids, outcome)
}
