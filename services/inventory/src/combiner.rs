//! The combiner: callers queue, a writer takes what waits, and one transaction serves them all.
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
use tokio::sync::{mpsc, oneshot};

use crate::catalogue::Catalogue;
use crate::command::Command;
use crate::desk::Outcome;
use crate::error::Error;
use crate::stock::{self, Care};

/// How often a batch that lost a race is done again before its callers are told to come back.
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

/// How many callers are told at once. Each that is woken has work of its own to do; were all of them woken together,
/// the next batch would stand in line behind them at each of its steps.
const TOLD_AT_ONCE: usize = 8;

type Reply = oneshot::Sender<Outcome>;

/// Tells the callers of a batch, a few at a time.
async fn tell(mut answers: Vec<(Reply, Outcome)>) {
    while !answers.is_empty() {
        let rest = answers.split_off(answers.len().min(TOLD_AT_ONCE));
        for (reply, outcome) in std::mem::replace(&mut answers, rest) {
            // a caller that is gone asks again with its id
            drop(reply.send(outcome));
        }
        tokio::task::yield_now().await;
    }
}

/// One caller.
pub(crate) struct Waiting {
    command: Command,
    reply: Reply,
}

/// The queue, and what its task needs.
pub(crate) struct Combiner {
    db: Db,
    clock: Clock,
    batch: usize,
    sender: mpsc::Sender<Waiting>,
    /// Held by the writer that waits for the next batch.
    receiver: tokio::sync::Mutex<mpsc::Receiver<Waiting>>,
    recent: Mutex<Recent>,
}

impl Combiner {
    /// A queue for `queue` callers, served up to `batch` at a time once [`Combiner::run`] runs.
    pub(crate) fn new(db: Db, clock: Clock, queue: usize, batch: usize) -> Self {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        Self {
            db,
            clock,
            batch: batch.max(1),
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            recent: Mutex::default(),
        }
    }

    /// Queues a command and waits for its outcome. A command that was taken is carried out, whatever becomes of its
    /// caller: the request id answers the retry.
    pub(crate) async fn submit(&self, command: Command) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Waiting { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Full,
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    /// One writer: serves the queue until `stop`, and then what is still in it. Two of them at once keep the database
    /// at work while the answers of the other go out; they are as safe as two processes.
    pub(crate) async fn run(&self, catalogue: &Catalogue, stop: impl Future<Output = ()>) {
        let mut waiting = Vec::with_capacity(self.batch);
        let mut answers = Vec::new();
        let mut stop = std::pin::pin!(stop);
        let mut is_open = true;
        loop {
            // the callers of the last batch are told while the next one is at the database already
            let next = async {
                let taken = {
                    let mut receiver = self.receiver.lock().await;
                    tokio::select! {
                        biased;
                        () = &mut stop, if is_open => {
                            is_open = false;
                            receiver.close();
                            return None;
                        }
                        taken = receiver.recv_many(&mut waiting, self.batch) => taken,
                    }
                };
                let served = if taken > 0 { self.serve(catalogue, &mut waiting).await } else { Vec::new() };
                Some(served)
            };
            match tokio::join!(tell(std::mem::take(&mut answers)), next) {
                ((), Some(served)) if served.is_empty() => return,
                ((), Some(served)) => answers = served,
                ((), None) => {}
            }
        }
    }

    async fn serve(&self, catalogue: &Catalogue, waiting: &mut Vec<Waiting>) -> Vec<(Reply, Outcome)> {
        let mut commands = Vec::with_capacity(waiting.len());
        let mut replies = Vec::with_capacity(waiting.len());
        for Waiting { command, reply } in waiting.drain(..) {
            commands.push(command);
            replies.push(reply);
        }
        metrics::histogram!("entrepot_inventory_batch_requests")
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(u32::MAX)));
        let is_known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).meet(&commands);
        let care = if is_known { Care::Thorough } else { Care::Hopeful };
        let outcomes = self.settle(catalogue, &commands, care).await;
        replies.into_iter().zip(outcomes).collect()
    }

    async fn settle(&self, catalogue: &Catalogue, commands: &[Command], care: Care) -> Vec<Outcome> {
        let error = match self.persist(catalogue, commands, care).await {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        let is_shared = error.is_retry() || matches!(error, Error::Db(db::Error::Unavailable(_)));
        if is_shared || commands.len() == 1 {
            return commands.iter().map(|_| Err(error.clone())).collect();
        }
        tracing::warn!(%error, requests = commands.len(), "a batch failed, its requests are tried one by one");
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let alone = self.persist(catalogue, std::slice::from_ref(command), Care::Thorough).await;
            outcomes.push(alone.and_then(|mut one| one.pop().unwrap_or(Err(Error::Stopping))));
        }
        outcomes
    }

    /// Does the batch until it is neither raced nor cut off; the request ids make that safe even when it is unknown
    /// whether an attempt was committed.
    async fn persist(
        &self,
        catalogue: &Catalogue,
        commands: &[Command],
        mut care: Care,
    ) -> Result<Vec<Outcome>, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.once(catalogue, commands, care).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => error,
            };
            let again = error.is_retry() || matches!(error, Error::Db(db::Error::Unavailable(_)));
            if !again || attempt == ATTEMPTS {
                return Err(error);
            }
            metrics::counter!("entrepot_inventory_batch_retries_total").increment(1);
            // the first race is the ordinary sign of a repeated request, so it costs no pause
            if care == Care::Thorough || !matches!(error, Error::Raced) {
                self.clock.pause(Duration::from_millis(u64::from(attempt) * 7)).await;
            }
            care = Care::Thorough;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        catalogue: &Catalogue,
        commands: &[Command],
        care: Care,
    ) -> Result<Vec<Outcome>, Error> {
        let mut tx = self.db.begin().await?;
        let outcomes = stock::apply(&mut tx, catalogue, commands, self.clock.business(), care).await?;
        tx.commit().await?;
        Ok(outcomes)
    }
}
