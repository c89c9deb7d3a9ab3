//! Makes a consumer's effects happen once, in order, whatever the transport does.
//!
//! A batch is one transaction. If a handler fails, the batch is tried again with a savepoint around each event, so
//! that only the failing aggregate stays behind; after three tries its event is parked and blocks the aggregate.
//! A database that is away is not a failure of the event: the batch waits for it.

mod heal;
mod redo;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clock::Clock;
use db::{Db, Tx};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::applied::{self, Marks};
use crate::event::Key;
use crate::parked::{self, Parking, Reason};
use crate::{Consumer, Delivered, Error, HandleError, Replay, measure, trace};

/// Events applied in one transaction at most.
pub(crate) const BATCH: usize = 100;
/// Tries before an event is parked.
const TRIES: u32 = 3;
/// A handler that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// Events whose handler failed, by aggregate and sequence.
    failures: HashMap<(Key, i64), Failure>,
    /// Gaps that the owner could not fill.
    unhealed: HashMap<Key, heal::Unhealed>,
    /// Handlers run behind savepoints.
    careful: bool,
}

/// What is known of one event.
struct Failure {
    tries: u32,
    error: HandleError,
}

/// An event that was not applied.
struct Failed {
    event: (Key, i64),
    error: HandleError,
}

/// How a handler ended.
enum Handled {
    Done,
    /// What it did is undone.
    Failed(HandleError),
    /// The transaction is lost with it.
    Broken(HandleError),
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
        let mut errors: u32 = 0;
        loop {
            // an outage is told again and again, but ever more seldom
            let pause = RETRY_POLL * 2_u32.pow(errors.min(4));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(pause) => {}
            }
            match self.retry_due(stop).await {
                Ok(()) => errors = 0,
                Err(error) => {
                    errors += 1;
                    tracing::warn!(consumer = self.group(), %error, errors, "parked events could not be looked at");
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
                    failed.push(Failed { event: (event.key(), event.sequence), error });
                }
                Step::Broken(error) => {
                    let event = (event.key(), event.sequence);
                    return Ok(Round::Failed(vec![Failed { event, error }]));
                }
            }
        }
        if let Err(broken) = self.handle_together(&mut tx, &together).await {
            return Ok(Round::Failed(broken));
        }
        if !marks.save(&mut tx, self.group()).await? {
            return Ok(Round::Overtaken);
        }
        parked::park(&mut tx, self.group(), &parking, self.clock.wall()).await?;
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
            parking.push(self.gap(event, mark.sequence, unhealed, 1));
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
        })
    }

    /// Runs the handler over all events at once. When it fails the transaction is lost; of many events nobody knows
    /// which was the cause, so none is blamed.
    async fn handle_together(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), Vec<Failed>> {
        let error = match events {
            [] => return Ok(()),
            [event] => match self.run_handler(tx, event).await {
                Handled::Done => return Ok(()),
                Handled::Failed(error) | Handled::Broken(error) => {
                    return Err(vec![Failed { event: (event.key(), event.sequence), error }]);
                }
            },
            [_, _, ..] => {
                let work = AssertUnwindSafe(Box::pin(self.consumer.handle_batch(tx, events))).catch_unwind();
                match tokio::time::timeout(PATIENCE, work).await {
                    Ok(Ok(Ok(()))) => return Ok(()),
                    Ok(Ok(Err(error))) => error.to_string(),
                    Ok(Err(_panic)) => "the handler panicked".to_owned(),
                    Err(_elapsed) => "the handler took too long".to_owned(),
                }
            }
        };
        tracing::warn!(
            consumer = self.group(),
            events = events.len(),
            error,
            "a batch failed, trying one by one"
        );
        Err(Vec::new())
    }

    /// Runs the handler; what a failed one did is undone.
    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<Handled, Error> {
        tx.savepoint().await?;
        let error = match self.run_handler(tx, event).await {
            // fails if the handler swallowed the error of a statement
            Handled::Done => match tx.release().await {
                Ok(()) => return Ok(Handled::Done),
                Err(error) => HandleError::from(error),
            },
            Handled::Failed(error) => error,
            broken @ Handled::Broken(_) => return Ok(broken),
        };
        tx.rollback_to().await?;
        Ok(Handled::Failed(error))
    }

    /// A handler that panics or never ends must not take the relay with it.
    async fn run_handler(&self, tx: &mut Tx, event: &Delivered) -> Handled {
        let work = trace::scope(event.traceparent.clone(), self.consumer.handle(tx, event));
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(Ok(()))) => Handled::Done,
            Ok(Ok(Err(error))) => Handled::Failed(error),
            Ok(Err(_panic)) => Handled::Broken(HandleError::poison("the handler panicked")),
            Err(_elapsed) => Handled::Broken(HandleError::retry("the handler took too long")),
        }
    }

    /// Counts a failure, and answers how many there were of that event.
    fn note(&self, trouble: &mut Trouble, failed: Failed) -> u32 {
        let Failed { event, error } = failed;
        let tries = trouble.failures.remove(&event).map_or(0, |failure| failure.tries) + 1;
        tracing::warn!(consumer = self.group(), aggregate = %event.0.aggregate, sequence = event.1, tries,
            error = %error.source, "an event could not be applied");
        trouble.failures.insert(event, Failure { tries, error });
        tries
    }

    fn gap<'a>(
        &self,
        event: &'a Delivered,
        applied: i64,
        unhealed: Option<&heal::Unhealed>,
        passes: i64,
    ) -> Parking<'a> {
        let why = unhealed.map_or("", |unhealed| unhealed.error.as_str());
        let may_heal = unhealed.is_some_and(|unhealed| unhealed.retry);
        let error = format!("versions {} to {} are missing: {why}", applied + 1, event.sequence - 1);
        tracing::error!(consumer = self.group(), aggregate = %event.aggregate, error, "an aggregate is parked");
        let retry_at = may_heal.then(|| self.later(passes));
        Parking { event, reason: Reason::Gap, error, attempts: 1, retry_at }
    }

    /// `attempts` are added to those that the parked row has; `passes` says how often it was parked by now.
    fn poison<'a>(
        &self,
        event: &'a Delivered,
        error: &HandleError,
        attempts: i64,
        passes: i64,
    ) -> Parking<'a> {
        let text = error.source.to_string();
        tracing::error!(consumer = self.group(), aggregate = %event.aggregate, sequence = event.sequence,
            error = text, "an aggregate is parked");
        let retry_at = error.retry.then(|| self.later(passes));
        Parking { event, reason: Reason::Handler, error: text, attempts, retry_at }
    }

    /// When to look again after so many passes in vain: in 2 seconds, then twice that, at most in about 4 minutes.
    fn later(&self, passes: i64) -> Timestamp {
        let doublings = u32::try_from(passes.clamp(1, 8)).unwrap_or(8);
        let pause = Duration::from_secs(2_u64.pow(doublings));
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
