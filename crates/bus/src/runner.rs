//! Makes a consumer's effects happen once, in order, whatever the transport does.
//!
//! A batch is one transaction. If a handler fails, the batch is tried again with a savepoint around each event, so
//! that only the failing aggregate stays behind; after three tries its event is parked and blocks the aggregate.
//! A database that is away is not a failure of the event: the batch waits for it.

mod heal;
mod redo;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clock::Clock;
use db::{Db, Tx};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::applied::{self, Marks};
use crate::parked::{self, Parking, Reason};
use crate::{Consumer, Delivered, Error, HandleError, Replay, measure, trace};

/// Events applied in one transaction at most.
pub(crate) const BATCH: usize = 100;
/// Tries before an event is parked.
const TRIES: u32 = 3;
/// How often parked events are looked at.
const RETRY_POLL: Duration = Duration::from_millis(500);

/// Applies events for one consumer.
pub(crate) struct Runner {
    db: Db,
    clock: Clock,
    consumer: Arc<dyn Consumer>,
    replay: Replay,
    /// One batch at a time, as with one Kafka consumer.
    turn: tokio::sync::Mutex<()>,
    busy: AtomicUsize,
}

/// What is known of the aggregates that made trouble during one batch.
#[derive(Default)]
struct Trouble {
    /// Tries of an event, by aggregate and sequence.
    failures: HashMap<(Uuid, i64), u32>,
    /// Gaps that the owner could not fill.
    unhealed: HashMap<Uuid, heal::Unhealed>,
    /// Handlers run behind savepoints.
    careful: bool,
}

/// How one transaction over a batch ended.
enum Round {
    /// All events are applied, skipped or parked.
    Done,
    /// Nothing was committed; these are missing.
    Gaps(Vec<heal::Gap>),
    /// These events (and later ones of their aggregates) remain; the rest, if the round was a careful one, is
    /// committed.
    Failed(Vec<(Uuid, i64)>),
    /// Another instance was faster; nothing was committed.
    Overtaken,
}

/// What happened to one event.
enum Step {
    Applied,
    Repeated,
    Left,
}

impl Runner {
    pub(crate) fn new(db: Db, clock: Clock, consumer: Arc<dyn Consumer>, replay: Replay) -> Self {
        Self { db, clock, consumer, replay, turn: tokio::sync::Mutex::new(()), busy: AtomicUsize::new(0) }
    }

    pub(crate) fn group(&self) -> &'static str {
        self.consumer.group()
    }

    pub(crate) fn follows(&self, event: &Delivered) -> bool {
        self.consumer.follows().iter().any(|(topic, types)| {
            *topic == event.topic && (types.is_empty() || types.contains(&event.aggregate_type.as_str()))
        })
    }

    /// The topics followed, each once.
    #[cfg(feature = "kafka")]
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
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(RETRY_POLL) => {}
            }
            if let Err(error) = self.retry_due(stop).await {
                tracing::warn!(consumer = self.group(), %error, "parked events could not be looked at");
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
                    return Ok(());
                }
                Ok(Round::Gaps(gaps)) => {
                    for gap in gaps {
                        if let Err(unhealed) = Box::pin(self.heal(&gap, stop)).await? {
                            trouble.unhealed.insert(gap.aggregate, unhealed);
                        }
                    }
                }
                Ok(Round::Failed(failed)) => {
                    trouble.careful = true;
                    let tries = failed.into_iter().map(|event| trouble.failed(event)).max();
                    self.wait(backoff(tries.unwrap_or(1)), stop).await?;
                }
                Ok(Round::Overtaken) => self.wait(backoff(1), stop).await?,
                Err(error) => {
                    outages += 1;
                    trouble.careful |=
                        !(error.is_retry() || matches!(error, Error::Db(db::Error::Unavailable(_))));
                    tracing::warn!(consumer = self.group(), %error, outages, "a batch waits for the database");
                    self.wait(backoff(outages), stop).await?;
                }
            }
        }
    }

    /// One transaction over the batch.
    async fn round(&self, events: &[Arc<Delivered>], trouble: &Trouble) -> Result<Round, Error> {
        let aggregates: Vec<Uuid> = events.iter().map(|event| event.aggregate).collect();
        let mut tx = self.db.begin().await?;
        let mut marks = applied::lock(&mut tx, self.group(), &aggregates).await?;
        let gaps = heal::find(events, &marks, &trouble.unhealed);
        if !gaps.is_empty() {
            return Ok(Round::Gaps(gaps));
        }
        let mut failed: Vec<(Uuid, i64)> = Vec::new();
        let mut parking: Vec<Parking<'_>> = Vec::new();
        let (mut applied, mut repeated) = (0, 0);
        for event in events {
            if failed.iter().any(|(aggregate, _)| *aggregate == event.aggregate) {
                continue;
            }
            match self.step(&mut tx, &mut marks, event, trouble, &mut parking).await? {
                Ok(Step::Applied) => applied += 1,
                Ok(Step::Repeated) => repeated += 1,
                Ok(Step::Left) => {}
                Err(_) => {
                    failed.push((event.aggregate, event.sequence));
                    if !trouble.careful {
                        return Ok(Round::Failed(failed));
                    }
                }
            }
        }
        if !marks.save(&mut tx, self.group()).await? {
            return Ok(Round::Overtaken);
        }
        parked::park(&mut tx, self.group(), &parking, self.clock.wall()).await?;
        tx.commit().await?;
        self.count(applied, repeated, &parking);
        Ok(if failed.is_empty() { Round::Done } else { Round::Failed(failed) })
    }

    /// One event within the transaction. The inner error: its handler failed and is to be tried again.
    async fn step<'a>(
        &self,
        tx: &mut Tx,
        marks: &mut Marks,
        event: &'a Delivered,
        trouble: &Trouble,
        parking: &mut Vec<Parking<'a>>,
    ) -> Result<Result<Step, HandleError>, Error> {
        let mark = marks.get(event.aggregate);
        if event.sequence <= mark.sequence {
            return Ok(Ok(Step::Repeated));
        }
        if mark.blocked {
            parking.push(Parking::behind(event));
            return Ok(Ok(Step::Left));
        }
        if event.sequence > mark.sequence + 1 {
            let unhealed = trouble.unhealed.get(&event.aggregate);
            parking.push(self.gap(event, mark.sequence, unhealed, 1));
            marks.block(event.aggregate, true);
            return Ok(Ok(Step::Left));
        }
        match self.handle(tx, event, trouble.careful).await? {
            Ok(()) => {
                marks.advance(event.aggregate, event.sequence);
                Ok(Ok(Step::Applied))
            }
            Err(error) => {
                let tries =
                    trouble.failures.get(&(event.aggregate, event.sequence)).copied().unwrap_or(0) + 1;
                tracing::warn!(consumer = self.group(), event = %event.id, aggregate = %event.aggregate,
                    sequence = event.sequence, tries, error = %error.source, "an event could not be applied");
                if tries < TRIES || !trouble.careful {
                    return Ok(Err(error));
                }
                parking.push(self.poison(event, &error, i64::from(tries), i64::from(tries)));
                marks.block(event.aggregate, true);
                Ok(Ok(Step::Left))
            }
        }
    }

    /// Runs the handler; with `careful`, what a failed one did is undone.
    async fn handle(
        &self,
        tx: &mut Tx,
        event: &Delivered,
        careful: bool,
    ) -> Result<Result<(), HandleError>, Error> {
        if !careful {
            return Ok(self.run_handler(tx, event).await);
        }
        tx.savepoint().await?;
        let mut outcome = self.run_handler(tx, event).await;
        if outcome.is_ok() {
            // fails if the handler swallowed the error of a statement
            outcome = tx.release().await.map_err(HandleError::from);
        }
        if outcome.is_err() {
            tx.rollback_to().await?;
        }
        Ok(outcome)
    }

    async fn run_handler(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        let work = trace::scope(event.traceparent.clone(), self.consumer.handle(tx, event));
        Box::pin(work).await
    }

    fn gap<'a>(
        &self,
        event: &'a Delivered,
        applied: i64,
        unhealed: Option<&heal::Unhealed>,
        tries: i64,
    ) -> Parking<'a> {
        let why = unhealed.map_or("", |unhealed| unhealed.error.as_str());
        let may_heal = unhealed.is_some_and(|unhealed| unhealed.retry);
        let error = format!("versions {} to {} are missing: {why}", applied + 1, event.sequence - 1);
        tracing::error!(consumer = self.group(), aggregate = %event.aggregate, error, "an aggregate is parked");
        let retry_at = may_heal.then(|| self.later(tries));
        Parking { event, reason: Reason::Gap, error, attempts: 1, retry_at }
    }

    /// `attempts` are added to those that the parked row has; `tries` are all of them.
    fn poison<'a>(
        &self,
        event: &'a Delivered,
        error: &HandleError,
        attempts: i64,
        tries: i64,
    ) -> Parking<'a> {
        let text = error.source.to_string();
        tracing::error!(consumer = self.group(), aggregate = %event.aggregate, sequence = event.sequence,
            error = text, "an aggregate is parked");
        let retry_at = error.retry.then(|| self.later(tries));
        Parking { event, reason: Reason::Handler, error: text, attempts, retry_at }
    }

    /// When to look again after so many tries: from 5 seconds to 5 minutes.
    fn later(&self, tries: i64) -> Timestamp {
        let doublings = u32::try_from(tries.clamp(1, 7)).unwrap_or(7) - 1;
        let pause = Duration::from_secs(5 * 2_u64.pow(doublings).min(60));
        self.clock.wall().checked_add(pause).unwrap_or(Timestamp::MAX)
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

impl Trouble {
    fn failed(&mut self, event: (Uuid, i64)) -> u32 {
        let failures = self.failures.entry(event).or_default();
        *failures += 1;
        *failures
    }
}

/// 20 ms, 80 ms, 320 ms, 1.28 s, then 2 s.
fn backoff(tries: u32) -> Duration {
    let millis = 20_u64.saturating_mul(4_u64.saturating_pow(tries.saturating_sub(1).min(8)));
    Duration::from_millis(millis.min(2_000))
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
