//! What a service does with events, and the future that keeps it doing so.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use db::Tx;
use tokio_util::sync::CancellationToken;

use crate::{Delivered, Error, Topic, trace};

/// One service's reaction to events of others. Five services have one.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// The name under which it is known: the consumer group, and the key of `applied` and `parked`.
    fn group(&self) -> &'static str;

    /// Topics and, of each, the aggregate types followed; an empty list means all of them. All events of a followed
    /// aggregate are handed over: ignore what does not matter, by name.
    fn follows(&self) -> &'static [(Topic, &'static [&'static str])];

    /// Applies one event inside `tx`. Runs once per event that commits. No network here: what needs a peer becomes a
    /// task row.
    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError>;

    /// Applies the new events of one batch inside `tx`, in order. A service that locks many rows overrides it, to lock
    /// them in one order and write them at once; when it fails, the events are handled one by one.
    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        for event in events {
            trace::scope(event.traceparent.clone(), self.handle(tx, event)).await?;
        }
        Ok(())
    }

    /// Called after a batch committed: wake timers and watchers.
    fn committed(&self) {}
}

/// Why an event could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct HandleError {
    /// What helps.
    pub kind: HandleErrorKind,
    /// What went wrong.
    pub source: Box<dyn StdError + Send + Sync>,
}

/// What helps against a [`HandleError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleErrorKind {
    /// The database is away, full, read-only or locked by others. It is not the event's fault: the batch waits and
    /// nothing is parked.
    Outage,
    /// Time may help. The event is tried three times, then parked and tried again at growing intervals.
    Retry,
    /// A human, or another version of this program. The event is tried three times, then parked until an operator asks.
    Poison,
}

impl HandleError {
    /// The database, or what else every event needs, does not work.
    pub fn outage(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind: HandleErrorKind::Outage, source: source.into() }
    }

    /// It may work later.
    pub fn retry(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind: HandleErrorKind::Retry, source: source.into() }
    }

    /// It needs a human, or another version of this program.
    pub fn poison(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind: HandleErrorKind::Poison, source: source.into() }
    }
}

impl From<db::Error> for HandleError {
    fn from(error: db::Error) -> Self {
        if error.is_outage() { Self::outage(error) } else { Self::poison(error) }
    }
}

impl From<Error> for HandleError {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            other if other.is_retry() => Self::retry(other),
            other => Self::poison(other),
        }
    }
}

impl From<prost::DecodeError> for HandleError {
    fn from(error: prost::DecodeError) -> Self {
        Self::poison(error)
    }
}

/// A consumer connected to the bus. Its [`Consuming::run`] future must be driven for it to receive anything (on
/// Kafka) and for its parked events to be retried (on both transports).
pub struct Consuming {
    work: Box<dyn FnOnce(CancellationToken) -> Work + Send>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Consuming {
    pub(crate) fn new<F>(work: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { work: Box::new(move |stop| Box::pin(work(stop))) }
    }

    /// Runs until `stop` is cancelled; the batch at hand is committed first.
    pub async fn run(self, stop: CancellationToken) {
        (self.work)(stop).await;
    }
}
