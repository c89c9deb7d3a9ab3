//! Many holds, one commit: what waits while a transaction commits is written by the next one.
//!
//! A job that makes room is let in however many wait.

use service::{Batcher, Fault, Limits};

use super::batch::{Done, Job, count, write};
use crate::Fulfillment;
use crate::config::Config;
use crate::error::Error;
use crate::network::load::Slot;
use crate::store::capacity::SlotKey;

/// How often a batch that lost a race is written again.
const ATTEMPTS: u32 = 4;

/// The queue of what is to be written.
pub(crate) type HoldQueue = Batcher<Job, Result<Done, Error>>;

/// An empty queue.
pub(crate) fn queue(config: &Config) -> HoldQueue {
    let limits =
        Limits { turns: 1, jobs: config.hold_batch.max(1), weight: usize::MAX, waiting: config.hold_queue };
    Batcher::new(limits).admitting(|job| !matches!(job, Job::Take { .. }))
}

impl Fulfillment {
    /// Writes a job together with all others that wait.
    pub(crate) async fn write(&self, job: Job) -> Result<Done, Error> {
        let planned: Vec<_> = self.plans_of(&job).collect();
        match self.holds.run(job, |jobs| self.write_batch(jobs)).await {
            Ok(done) => done,
            Err(fault) => {
                if matches!(fault, Fault::QueueFull) {
                    self.load.settle(planned, [], self.oldest_slot());
                }
                Err(fault.into())
            }
        }
    }

    async fn write_batch(&self, jobs: Vec<Job>) -> Vec<Result<Done, Error>> {
        metrics::histogram!("entrepot_hold_batch_jobs")
            .record(f64::from(u32::try_from(jobs.len()).unwrap_or(0)));
        let answers = service::together(&jobs, Error::is_outage, |jobs| self.try_batch(jobs)).await;
        let failed = jobs.iter().zip(&answers).filter(|(_, done)| done.is_err());
        self.settle_load(failed.map(|(job, _)| job), Vec::new());
        answers
    }

    async fn try_batch(&self, jobs: &[Job]) -> Result<Vec<Done>, Error> {
        let (done, used) = db::retry(ATTEMPTS, Error::is_retry, || async {
            let mut tx = self.db.begin().await?;
            let written = write(&mut tx, jobs, self.clock.business()).await?;
            tx.commit().await?;
            Ok(written)
        })
        .await?;
        self.settle_load(jobs.iter(), used);
        count(&done);
        Ok(done)
    }

    /// The plans of these jobs are written or given up; takes in what slots have taken.
    fn settle_load<'a>(&self, jobs: impl Iterator<Item = &'a Job>, used: Vec<(SlotKey, i64)>) {
        let plans = jobs.flat_map(|job| self.plans_of(job));
        self.load.settle(plans, self.numbered(used), self.oldest_slot());
    }

    /// What a job has planned in slots.
    fn plans_of<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = (Slot, i64)> + 'a {
        let promise = match job {
            Job::Take { promise, .. } => Some(promise),
            Job::Grant(..) | Job::Forget(_) => None,
        };
        self.planned(promise.into_iter().flat_map(|promise| promise.places()))
    }
}
