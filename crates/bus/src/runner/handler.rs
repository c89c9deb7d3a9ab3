//! Runs the consumer's handlers, and says what a failure means.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use db::Tx;
use futures_util::FutureExt as _;

use super::Runner;
use crate::{Delivered, Error, HandleError, HandleErrorKind, trace};

/// A handler that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a handler ended.
pub(super) enum Handled {
    Done,
    /// What it did is undone.
    Failed(HandleError),
    /// The transaction is lost with it.
    Broken(HandleError),
    /// The database does not work: nothing is known of the event.
    Outage(HandleError),
    /// A statement took too long, and the transaction is lost with it. Either the database is slow for everybody, or
    /// this event asks too much of it.
    TooSlow(HandleError),
}

impl Handled {
    fn of(error: HandleError) -> Self {
        match error.kind {
            HandleErrorKind::Outage => Self::Outage(error),
            HandleErrorKind::Retry | HandleErrorKind::Poison => Self::Failed(error),
        }
    }
}

impl Runner {
    /// Runs the handler over all events at once; only [`Handled::Done`] leaves the transaction usable.
    pub(super) async fn handle_together(&self, tx: &mut Tx, events: &[Delivered]) -> Handled {
        if let [event] = events {
            return self.run_handler(tx, event).await;
        }
        let work = AssertUnwindSafe(Box::pin(self.consumer.handle_batch(tx, events))).catch_unwind();
        let ended = tokio::time::timeout(PATIENCE, work).await;
        ended_how(ended, tx)
    }

    /// Runs the handler; what a failed one did is undone.
    pub(super) async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<Handled, Error> {
        tx.savepoint().await?;
        let handled = match self.run_handler(tx, event).await {
            // fails if the handler swallowed the error of a statement
            Handled::Done => match tx.release().await {
                Ok(()) => return Ok(Handled::Done),
                Err(error) => Handled::of(HandleError::from(error)),
            },
            handled => handled,
        };
        if matches!(handled, Handled::Failed(_)) {
            tx.rollback_to().await?;
        }
        Ok(handled)
    }

    /// A handler that panics or never ends must not take the relay with it.
    async fn run_handler(&self, tx: &mut Tx, event: &Delivered) -> Handled {
        let work = trace::scope(event.traceparent.clone(), self.consumer.handle(tx, event));
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        let ended = tokio::time::timeout(PATIENCE, work).await;
        ended_how(ended, tx)
    }
}

type Panic = Box<dyn std::any::Any + Send>;

fn ended_how(
    ended: Result<Result<Result<(), HandleError>, Panic>, tokio::time::error::Elapsed>,
    tx: &Tx,
) -> Handled {
    match ended {
        Ok(Ok(Ok(()))) => Handled::Done,
        Ok(Ok(Err(error))) if tx.is_too_slow() => Handled::TooSlow(error),
        Ok(Ok(Err(error))) => Handled::of(error),
        Ok(Err(_panic)) => Handled::Broken(HandleError::poison("the handler panicked")),
        Err(_elapsed) if tx.is_interrupted() => {
            Handled::TooSlow(HandleError::outage("the database took too long"))
        }
        Err(_elapsed) => Handled::Broken(HandleError::retry("the handler took too long")),
    }
}
