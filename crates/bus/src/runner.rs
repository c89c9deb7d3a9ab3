//! Makes a consumer's effects happen once, in order, whatever the transport does.
//!
//! A batch is one transaction. If a handler fails, the batch is tried again with a savepoint around each event, so
//! that only the failing aggregate stays behind; after three tries its event is parked and blocks the aggregate.
//! An outage of the database (away, full, locked by others) is not a failure of the event: the batch waits for its end,
//! and what was parked until later is tried with it. A statement that takes too long counts as an outage too, until it
//! has done so five times for one event while the database answers others: then that event is parked.

mod compare;
mod handler;
mod heal;
mod redo;
mod refusal;
mod slow;

use std::collections::HashMap;
use std::sync::Arc;
#[cfg(feature = "kafka")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use clock::Clock;
use db::{Db, Tx};
use tokio_util::sync::CancellationToken;

use crate::applied::{self, Marks};
use crate::event::Key;
use crate::parked::{self, Parking};
use crate::{Consumer, Delivered, Error, HandleError, Owners, measure};

use handler::Handled;

/// Events applied in one transaction at most.
pub(crate) const BATCH: usize = 100;
/// Tries before an event is parked.
const TRIES: u32 = 3;
/// How often parked events are looked at.
const RETRY_POLL: Duration = Duration::from_millis(500);
/// The longest pause between two tries during an outage.
const OUTAGE_POLL: Duration = Duration::from_secs(1);

/// Applies events for one consumer.
pub(crate) struct Runner {
    db: Db,
    clock: Clock,
    consumer: Arc<dyn Consumer>,
    owners: Owners,
    /// One batch at a time, as with one Kafka consumer.
    turn: tokio::sync::Mutex<()>,
    busy: AtomicUsize,
    /// Events that the log still holds for this consumer; unknown counts as many.
    lag: Arc<AtomicI64>,
    /// What the whole group has still to read, where a log can say so.
    #[cfg(feature = "kafka")]
    backlog: OnceLock<crate::kafka::Backlog>,
    /// Wakes the comparison with the owners.
    doubt: tokio::sync::Notify,
    /// Comparisons that ended well.
    comparisons: Arc<AtomicU64>,
}

/// What is known of the aggregates that made trouble during one batch.
#[derive(Default)]
struct Trouble {
    /// Events whose handler failed, by aggregate and sequence.
    failures: HashMap<(Key, i64), Failure>,
    /// Gaps that the owner could not fill.
    unhealed: HashMap<Key, heal::Unhealed>,
    /// Handlers run behind savepoints.
    careful: bool,
    /// How often a statement of an event took too long.
    slow: HashMap<(Key, i64), u32>,
}

/// What is known of one event.
struct Failure {
    tries: u32,
    error: HandleError,
}

/// An event that was not applied.
struct Failed {
    event: (Key, i64),
    /// The aggregate as the API shows its id.
    name: String,
    error: HandleError,
}

impl Failed {
    fn new(event: &Delivered, error: HandleError) -> Self {
        Self { event: (event.key(), event.sequence), name: event.aggregate_id(), error }
    }
}

/// How one transaction over a batch ended.
enum Round {
    /// All events are applied, skipped or parked.
    Done,
    /// Nothing was committed; these are missing.
    Gaps(Vec<heal::Gap>),
    /// These events (and later ones of their aggregates) remain. The rest is committed, or nothing is.
    Failed(Vec<Failed>),
    /// Another instance was faster; nothing was committed.
    Overtaken,
    /// The database does not work; nothing was committed.
    Outage(HandleError),
    /// A statement for one of these events took too long; nothing was committed.
    TooSlow(Vec<(Key, i64)>, HandleError),
}

/// What happened to one event.
enum Step {
    Applied,
    /// It is applied together with the others of the batch.
    Together,
    Repeated,
    Parked,
    Failed(HandleError),
    Broken(HandleError),
    Outage(HandleError),
    TooSlow(HandleError),
}

impl Runner {
    pub(crate) fn new(db: Db, clock: Clock, consumer: Arc<dyn Consumer>, owners: Owners) -> Self {
        Self {
            db,
            clock,
            consumer,
            owners,
            turn: tokio::sync::Mutex::new(()),
            busy: AtomicUsize::new(0),
            lag: Arc::new(AtomicI64::new(0)),
            #[cfg(feature = "kafka")]
            backlog: OnceLock::new(),
            doubt: tokio::sync::Notify::new(),
            comparisons: Arc::new(AtomicU64::new(0)),
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// Where the transport notes how much the log still holds.
    #[cfg(feature = "kafka")]
    pub(crate) fn lag(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.lag)
    }

    /// Names who can say what the whole group has still to read.
    #[cfg(feature = "kafka")]
    pub(crate) fn ask_about_backlog(&self, backlog: crate::kafka::Backlog) {
        // the same one is named again when the consumer is started again
        let _is_new = self.backlog.set(backlog);
    }

    /// How often it was compared with the owners.
    #[cfg(feature = "kafka")]
    pub(crate) fn comparisons(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.comparisons)
    }

    pub(crate) fn group(&self) -> &'static str {
        self.consumer.group()
    }

    pub(crate) fn follows(&self, event: &Delivered) -> bool {
        self.follows_type(event.topic, &event.aggregate_type)
    }

    fn follows_type(&self, topic: crate::Topic, aggregate_type: &str) -> bool {
        self.consumer.follows().iter().any(|(followed, types)| {
            *followed == topic && (types.is_empty() || types.contains(&aggregate_type))
        })
    }

    /// The topics followed, each once.
    pub(crate) fn topics(&self) -> Vec<crate::Topic> {
        let mut topics: Vec<crate::Topic> = self.consumer.follows().iter().map(|(topic, _)| *topic).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Whether a batch is at work.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Applies events in the order given, and comes back when each is applied, skipped or parked. Only a wish to stop
    /// makes it come back earlier, with [`Error::Stopping`].
    pub(crate) async fn process(
        &self,
        events: &[Arc<Delivered>],
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mine: Vec<Arc<Delivered>> = events.iter().filter(|event| self.follows(event)).cloned().collect();
        if mine.is_empty() {
            return Ok(());
        }
        let _busy = Busy::start(&self.busy);
        let _turn = self.turn.lock().await;
        for batch in mine.chunks(BATCH) {
            self.settle(batch, stop).await?;
        }
        Ok(())
    }

    /// Looks after parked events until asked to stop.
    pub(crate) async fn tend(&self, stop: &CancellationToken) {
        let mut errors: u32 = 0;
        loop {
            let pause = if errors == 0 { RETRY_POLL } else { OUTAGE_POLL };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(pause) => {}
            }
            match self.retry_due(stop).await {
                Ok(()) => errors = 0,
                Err(error) => {
                    errors += 1;
                    if is_reported(errors) {
                        tracing::warn!(consumer = self.group(), %error, errors, "parked events could not be read");
                    }
                }
            }
        }
    }

    async fn settle(&self, events: &[Arc<Delivered>], stop: &CancellationToken) -> Result<(), Error> {
        let mut trouble = Trouble::default();
        let mut outages = 0;
        loop {
            match Box::pin(self.round(events, &trouble)).await {
                Ok(Round::Done) => {
                    self.consumer.committed();
                    if outages > 0 {
                        self.retry_all().await;
                    }
                    return Ok(());
                }
                Ok(Round::Gaps(gaps)) => {
                    for gap in gaps {
                        if let Err(unhealed) = Box::pin(self.heal(&gap, stop)).await? {
                            trouble.unhealed.insert(gap.key, unhealed);
                        }
                    }
                }
                Ok(Round::Failed(failed)) => {
                    trouble.careful = true;
                    let tries = failed.into_iter().map(|failed| self.note(&mut trouble, failed)).min();
                    let tries = tries.unwrap_or(1);
                    if tries < TRIES {
                        self.wait(backoff(tries), stop).await?;
                    }
                }
                Ok(Round::Overtaken) => self.wait(backoff(1), stop).await?,
                Ok(Round::Outage(error)) => {
                    outages += 1;
                    self.sit_out(outages, &error, stop).await?;
                }
                Ok(Round::TooSlow(events, error)) => {
                    outages += 1;
                    self.sit_out(outages, &error, stop).await?;
                    self.suspect(&mut trouble, &events, &error).await;
                }
                Err(error) => {
                    outages += 1;
                    trouble.careful |= !error.is_outage();
                    self.sit_out(outages, &error, stop).await?;
                }
            }
        }
    }

    /// Waits a moment for the database.
    async fn sit_out(
        &self,
        outages: u32,
        error: &(dyn std::error::Error + Sync),
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if is_reported(outages) {
            tracing::warn!(consumer = self.group(), %error, outages, "a batch waits for the database");
        }
        self.wait(backoff(outages).min(OUTAGE_POLL), stop).await
    }

    /// One transaction over the batch.
    async fn round(&self, events: &[Arc<Delivered>], trouble: &Trouble) -> Result<Round, Error> {
        let keys: Vec<Key> = events.iter().map(|event| event.key()).collect();
        let mut tx = self.db.begin().await?;
        let mut marks = applied::lock(&mut tx, self.group(), &keys).await?;
        let gaps = heal::find(events, &marks, &trouble.unhealed);
        if !gaps.is_empty() {
            return Ok(Round::Gaps(gaps));
        }
        let mut failed: Vec<Failed> = Vec::new();
        let mut parking: Vec<Parking<'_>> = Vec::new();
        let mut together: Vec<Delivered> = Vec::new();
        let (mut applied, mut repeated) = (0, 0);
        for event in events {
            if failed.iter().any(|failed| failed.event.0 == event.key()) {
                continue;
            }
            match self.step(&mut tx, &mut marks, event, trouble, &mut parking).await? {
                Step::Applied => applied += 1,
                Step::Together => {
                    applied += 1;
                    together.push(Delivered::clone(event));
                }
                Step::Repeated => repeated += 1,
                Step::Parked => {}
                Step::Failed(error) => {
                    failed.push(Failed::new(event, error));
                }
                Step::Outage(error) => return Ok(Round::Outage(error)),
                Step::TooSlow(error) => {
                    return Ok(Round::TooSlow(vec![(event.key(), event.sequence)], error));
                }
                Step::Broken(error) => return Ok(Round::Failed(vec![Failed::new(event, error)])),
            }
        }
        if !together.is_empty() {
            match self.handle_together(&mut tx, &together).await {
                Handled::Done => {}
                Handled::Outage(error) => return Ok(Round::Outage(error)),
                Handled::TooSlow(error) => {
                    let events = together.iter().map(|event| (event.key(), event.sequence));
                    return Ok(Round::TooSlow(events.collect(), error));
                }
                Handled::Failed(error) | Handled::Broken(error) => {
                    return Ok(Round::Failed(self.blame(&together, error)));
                }
            }
        }
        if !marks.save(&mut tx, self.group()).await? {
            return Ok(Round::Overtaken);
        }
        parked::park(&mut tx, self.group(), &parking, self.clock.shared()).await?;
        tx.commit().await?;
        db::drill::pass("consumer.committed");
        self.count(applied, repeated, &parking);
        Ok(if failed.is_empty() { Round::Done } else { Round::Failed(failed) })
    }

    /// One event within the transaction.
    async fn step<'a>(
        &self,
        tx: &mut Tx,
        marks: &mut Marks,
        event: &'a Delivered,
        trouble: &Trouble,
        parking: &mut Vec<Parking<'a>>,
    ) -> Result<Step, Error> {
        let mark = marks.get(event.key());
        if event.sequence <= mark.sequence {
            return Ok(Step::Repeated);
        }
        if mark.blocked {
            parking.push(Parking::behind(event));
            return Ok(Step::Parked);
        }
        if event.sequence > mark.sequence + 1 {
            let unhealed = trouble.unhealed.get(&event.key());
            parking.push(self.gap(event, mark.sequence, unhealed));
            marks.block(event.key(), true);
            return Ok(Step::Parked);
        }
        if let Some(failure) = trouble.failures.get(&(event.key(), event.sequence))
            && failure.tries >= TRIES
        {
            parking.push(self.poison(event, &failure.error, i64::from(failure.tries), 1));
            marks.block(event.key(), true);
            return Ok(Step::Parked);
        }
        if !trouble.careful {
            marks.advance(event.key(), event.sequence);
            return Ok(Step::Together);
        }
        Ok(match self.handle(tx, event).await? {
            Handled::Done => {
                marks.advance(event.key(), event.sequence);
                Step::Applied
            }
            Handled::Failed(error) => Step::Failed(error),
            Handled::Broken(error) => Step::Broken(error),
            Handled::Outage(error) => Step::Outage(error),
            Handled::TooSlow(error) => Step::TooSlow(error),
        })
    }

    /// The one event that failed. Of several that were handled at once the cause is unknown, so none is blamed.
    fn blame(&self, events: &[Delivered], error: HandleError) -> Vec<Failed> {
        if let [event] = events {
            return vec![Failed::new(event, error)];
        }
        tracing::warn!(consumer = self.group(), events = events.len(), %error, "a batch failed, trying one by one");
        Vec::new()
    }

    /// Counts a failure, and answers how many there were of that event.
    fn note(&self, trouble: &mut Trouble, failed: Failed) -> u32 {
        let Failed { event, name, error } = failed;
        let tries = trouble.failures.remove(&event).map_or(0, |failure| failure.tries) + 1;
        tracing::warn!(consumer = self.group(), aggregate = name, sequence = event.1, tries,
            error = %error.source, "an event could not be applied");
        trouble.failures.insert(event, Failure { tries, error });
        tries
    }

    async fn wait(&self, pause: Duration, stop: &CancellationToken) -> Result<(), Error> {
        tokio::select! {
            () = stop.cancelled() => Err(Error::Stopping),
            () = self.clock.pause(pause) => Ok(()),
        }
    }

    fn count(&self, applied: u64, repeated: u64, parking: &[Parking<'_>]) {
        let consumer = self.group();
        metrics::counter!(measure::APPLIED, "consumer" => consumer).increment(applied);
        if repeated > 0 {
            metrics::counter!(measure::REPEATED, "consumer" => consumer).increment(repeated);
        }
        for parked in parking {
            metrics::counter!(measure::PARKED_TOTAL, "consumer" => consumer, "reason" => parked.reason.name())
                .increment(1);
        }
    }
}

/// 20 ms, 80 ms, 320 ms, 1.28 s, then 2 s.
fn backoff(tries: u32) -> Duration {
    let millis = 20_u64.saturating_mul(4_u64.saturating_pow(tries.saturating_sub(1).min(8)));
    Duration::from_millis(millis.min(2_000))
}

/// Whether this one of many failures in a row is logged: the first few, then every 16th.
fn is_reported(failures: u32) -> bool {
    failures.is_power_of_two() || failures.is_multiple_of(16)
}

/// Counts a batch at work, also when its future is dropped.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
