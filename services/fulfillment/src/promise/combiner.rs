//! Many holds, one commit: what waits while a transaction commits is written by the next one.
//!
//! There is no timer and no task of its own: the caller that comes first writes for all that wait, then hands over.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::batch::{Done, Job, count, write};
use crate::Fulfillment;
use crate::error::Error;
use crate::store::capacity::SlotKey;

/// How often a batch that lost a race is written again.
const ATTEMPTS: u32 = 4;

#[derive(Debug)]
struct Waiting {
    job: Job,
    answer: oneshot::Sender<Result<Done, Error>>,
}

/// The queue of what is to be written.
#[derive(Debug, Default)]
pub(crate) struct Combiner {
    queue: Mutex<VecDeque<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

impl Combiner {
    fn push(&self, waiting: Waiting, most: usize) -> Result<(), Box<Waiting>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // What ends a hold is always let in: it makes room.
        if queue.len() >= most && matches!(waiting.job, Job::Take { .. }) {
            return Err(Box::new(waiting));
        }
        queue.push_back(waiting);
        Ok(())
    }

    fn next(&self, most: usize) -> Vec<Waiting> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // At least one, or nobody would ever be served.
        let count = queue.len().min(most.max(1));
        queue.drain(..count).collect()
    }
}

impl Fulfillment {
    /// Writes a job together with all others that wait.
    pub(crate) async fn write(&self, job: Job) -> Result<Done, Error> {
        let (answer, mut done) = oneshot::channel();
        if let Err(waiting) = self.combiner.push(Waiting { job, answer }, self.config.hold_queue) {
            self.settle_load(&[waiting.job], Vec::new());
            return Err(Error::Busy);
        }
        let interrupted = || Error::Db(db::Error::Unavailable("the writer was interrupted".into()));
        tokio::select! {
            biased;
            done = &mut done => done.unwrap_or_else(|_| Err(interrupted())),
            _turn = self.combiner.turn.lock() => loop {
                match done.try_recv() {
                    Ok(done) => return done,
                    Err(oneshot::error::TryRecvError::Closed) => return Err(interrupted()),
                    Err(oneshot::error::TryRecvError::Empty) => {}
                }
                let batch = self.combiner.next(self.config.hold_batch);
                self.write_batch(batch).await;
            }
        }
    }

    async fn write_batch(&self, batch: Vec<Waiting>) {
        let (jobs, answers): (Vec<Job>, Vec<_>) = batch.into_iter().map(|w| (w.job, w.answer)).unzip();
        metrics::histogram!("entrepot_hold_batch_jobs")
            .record(f64::from(u32::try_from(jobs.len()).unwrap_or(0)));
        match self.try_batch(&jobs).await {
            Ok(done) => {
                for (answer, done) in answers.into_iter().zip(done) {
                    let _ = answer.send(Ok(done));
                }
            }
            Err(error) if answers.len() == 1 => {
                self.settle_load(&jobs, Vec::new());
                for answer in answers {
                    let _ = answer.send(Err(interrupted_by(&error)));
                }
            }
            Err(error) => {
                // One of them may be poison: it must not take the others with it.
                tracing::warn!(%error, jobs = jobs.len(), "a batch of holds failed, writing them one by one");
                for (answer, job) in answers.into_iter().zip(jobs) {
                    let job = [job];
                    let done = self.try_batch(&job).await;
                    if done.is_err() {
                        self.settle_load(&job, Vec::new());
                    }
                    let _ = answer.send(done.map(|mut done| done.pop().unwrap_or(Done::Forgotten)));
                }
            }
        }
    }

    async fn try_batch(&self, jobs: &[Job]) -> Result<Vec<Done>, Error> {
        let (done, used) = db::retry(ATTEMPTS, Error::is_retry, || async {
            let mut tx = self.db.begin().await?;
            let written = write(&mut tx, jobs, self.clock.business()).await?;
            tx.commit().await?;
            Ok(written)
        })
        .await?;
        self.settle_load(jobs, used);
        count(&done);
        Ok(done)
    }

    /// The plans of these jobs are written or given up; takes in what slots have taken.
    fn settle_load(&self, jobs: &[Job], used: Vec<(SlotKey, i64)>) {
        let plans = jobs.iter().filter_map(|job| match job {
            Job::Take { promise, .. } => self.slot_number(&promise.slot()?),
            Job::Grant(..) | Job::Forget(_) => None,
        });
        self.load.settle(plans, self.numbered(used), self.oldest_slot());
    }
}

/// The error of a batch, told to the only caller in it.
fn interrupted_by(error: &Error) -> Error {
    match error {
        Error::Db(error) => Error::Db(error.clone()),
        other => Error::Corrupt(other.to_string()),
    }
}
