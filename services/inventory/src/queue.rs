//! The queue of commands: callers wait in it, a writer takes what waits, and one transaction serves them all.
//!
//! No timer: the commit at hand is the window in which the next batch gathers, so a single caller waits for nothing
//! and 128 callers share one commit. A batch that is in somebody's way is done again as a whole; one that cannot be
//! done is taken apart, so that a poison request fails alone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use db::Db;
use domain::id::Uuid;
use service::{Batcher, Fault, Limits};
use tokio_util::sync::CancellationToken;

use crate::batch::Outcome;
use crate::catalogue::Catalogue;
use crate::command::Command;
use crate::error::Error;
use crate::stock::{self, Mode};

/// How often a batch that lost a race is done again before its callers are refused with a time to retry.
const ATTEMPTS: u32 = 6;

/// How many request ids are remembered to tell a likely repetition.
const RECENT: usize = 32_768;

/// The request ids of late. One that comes again is looked up before anything is tried; the others are taken for new,
/// and the database says so when they are not.
#[derive(Default)]
struct Recent {
    known: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl Recent {
    /// Remembers the ids of a batch; says whether one of them was known.
    fn meet(&mut self, commands: &[Command]) -> bool {
        let mut is_known = false;
        for request in commands.iter().filter_map(|command| command.request.as_ref()) {
            if !self.known.insert(request.id) {
                is_known = true;
                continue;
            }
            self.order.push_back(request.id);
            if self.order.len() > RECENT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        is_known
    }
}

/// The queue, and what its tasks need.
pub(crate) struct CommandQueue {
    db: Db,
    clock: Clock,
    policies: policy::View,
    batcher: Batcher<Command, Outcome>,
    recent: Mutex<Recent>,
}

impl CommandQueue {
    /// A queue for `waiting` callers, served up to `batch` at a time once [`CommandQueue::serve`] runs.
    pub(crate) fn new(db: Db, clock: Clock, policies: policy::View, waiting: usize, batch: usize) -> Self {
        let limits = Limits { turns: 1, jobs: batch.max(1), weight: usize::MAX, waiting: waiting.max(1) };
        Self { db, clock, policies, batcher: Batcher::new(limits), recent: Mutex::default() }
    }

    /// Queues a command and waits for its outcome. A command that was taken is carried out, whatever becomes of its
    /// caller: the request id answers the retry.
    pub(crate) async fn submit(&self, command: Command) -> Outcome {
        self.batcher.submit(command).await?
    }

    /// One writer: serves the queue until `stop`, and then what is still in it. Two of them at once keep the database
    /// at work while the answers of the other go out; they are as safe as two processes.
    pub(crate) async fn serve(&self, catalogue: &Catalogue, stop: &CancellationToken) {
        self.batcher.serve(stop, |commands| self.batch(catalogue, commands)).await;
    }

    async fn batch(&self, catalogue: &Catalogue, commands: Vec<Command>) -> Vec<Outcome> {
        metrics::histogram!("entrepot_inventory_batch_requests")
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(u32::MAX)));
        let is_known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).meet(&commands);
        let mode = if is_known { Mode::Thorough } else { Mode::Optimistic };
        self.settle(catalogue, &commands, mode).await
    }

    async fn settle<'c>(&self, catalogue: &Catalogue, commands: &'c [Command], mode: Mode) -> Vec<Outcome> {
        let whole = commands.len();
        let persist = |commands: &'c [Command]| {
            let mode = if commands.len() == whole { mode } else { Mode::Thorough };
            self.persist(catalogue, commands, mode)
        };
        let outcomes = service::together(commands, is_in_the_way, persist).await;
        outcomes.into_iter().map(Result::flatten).collect()
    }

    /// Does the batch until it is neither raced nor cut off; the request ids make that safe even when it is unknown
    /// whether an attempt was committed.
    async fn persist(
        &self,
        catalogue: &Catalogue,
        commands: &[Command],
        mut mode: Mode,
    ) -> Result<Vec<Outcome>, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.once(catalogue, commands, mode).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => error,
            };
            let again = is_in_the_way(&error);
            if !again || attempt == ATTEMPTS {
                return Err(error);
            }
            metrics::counter!("entrepot_inventory_batch_retries_total").increment(1);
            // the first race is the ordinary sign of a repeated request, so it costs no pause
            if mode == Mode::Thorough || !matches!(error, Error::Fault(Fault::Raced)) {
                self.clock.pause(Duration::from_millis(u64::from(attempt) * 7)).await;
            }
            mode = Mode::Thorough;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        catalogue: &Catalogue,
        commands: &[Command],
        mode: Mode,
    ) -> Result<Vec<Outcome>, Error> {
        let mut tx = self.db.begin().await?;
        let (book, now) = (self.policies.book(), self.clock.business());
        let outcomes = stock::apply(&mut tx, catalogue, &book, commands, now, mode).await?;
        tx.commit().await?;
        Ok(outcomes)
    }
}

/// Whether the same commands may succeed later: another writer was faster, or the database does not work.
fn is_in_the_way(error: &Error) -> bool {
    error.is_retry() || error.is_outage()
}
