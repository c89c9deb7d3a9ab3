//! Doing together what is asked at the same time.
//!
//! Callers queue what they want; whoever gets a turn does it for all that wait, and each is answered by itself. There
//! is no timer and no task: work that is under way is the window in which the next batch gathers, and a single caller
//! never waits for others.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::error::Error;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many batches may be under way.
    pub(crate) turns: usize,
    /// The most jobs of a batch.
    pub(crate) jobs: usize,
    /// The most weight of a batch of more than one job.
    pub(crate) weight: usize,
    /// The most jobs that may wait.
    pub(crate) waiting: usize,
}

/// A queue of jobs `J`, each answered by an `A`.
pub(crate) struct Combiner<J, A> {
    queue: Mutex<VecDeque<(J, oneshot::Sender<A>)>>,
    turns: Semaphore,
    limits: Limits,
    weigh: fn(&J) -> usize,
}

impl<J: Send, A: Send> Combiner<J, A> {
    pub(crate) fn new(limits: Limits, weigh: fn(&J) -> usize) -> Self {
        Self { queue: Mutex::default(), turns: Semaphore::new(limits.turns), limits, weigh }
    }

    /// Has a job done, by `work` or by somebody else's. `work` answers the jobs that it is given in their order.
    pub(crate) async fn run<F>(&self, job: J, work: impl Fn(Vec<J>) -> F) -> Result<A, Error>
    where
        F: Future<Output = Vec<A>>,
    {
        let (answer, mut told) = oneshot::channel();
        self.join(job, answer)?;
        loop {
            let turn = tokio::select! {
                biased;
                told = &mut told => return told.map_err(|_| Error::Interrupted),
                turn = self.turns.acquire() => turn.map_err(|_| Error::Interrupted)?,
            };
            let (jobs, answers): (Vec<J>, Vec<_>) = self.next().into_iter().unzip();
            if jobs.is_empty() {
                drop(turn);
                return told.await.map_err(|_| Error::Interrupted);
            }
            for (answer, done) in answers.into_iter().zip(work(jobs).await) {
                // A caller that went away is answered by its next try.
                let _ = answer.send(done);
            }
        }
    }

    fn join(&self, job: J, answer: oneshot::Sender<A>) -> Result<(), Error> {
        let mut queue = self.queue();
        if queue.len() >= self.limits.waiting {
            return Err(Error::Busy);
        }
        queue.push_back((job, answer));
        Ok(())
    }

    fn next(&self) -> Vec<(J, oneshot::Sender<A>)> {
        let mut queue = self.queue();
        let mut batch = Vec::new();
        let mut weight = 0;
        while let Some((job, _)) = queue.front() {
            weight += (self.weigh)(job);
            if batch.len() >= self.limits.jobs || (!batch.is_empty() && weight > self.limits.weight) {
                break;
            }
            batch.extend(queue.pop_front());
        }
        batch
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<(J, oneshot::Sender<A>)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { turns: 1, jobs: 8, weight: 100, waiting: 64 };

    #[tokio::test]
    async fn what_is_asked_at_once_is_done_together_and_answered_apart() {
        let combiner = Combiner::new(LIMITS, |_: &usize| 1);
        let batches = Mutex::new(Vec::new());
        let work = |jobs: Vec<usize>| {
            batches.lock().unwrap().push(jobs.len());
            async move {
                tokio::task::yield_now().await;
                jobs.into_iter().map(|job| job * 2).collect()
            }
        };
        let calls = (0..20).map(|job| combiner.run(job, work));
        let answers = futures_util::future::join_all(calls).await;
        let answers: Vec<usize> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..20).map(|job| job * 2).collect::<Vec<_>>());
        let batches = batches.into_inner().unwrap();
        assert_eq!(batches.iter().sum::<usize>(), 20);
        assert!(batches.len() < 20 && batches.iter().all(|jobs| *jobs <= 8), "{batches:?}");
    }

    #[tokio::test]
    async fn a_heavy_job_goes_alone_and_a_full_queue_says_so() {
        let combiner = Combiner::new(LIMITS, |weight: &usize| *weight);
        let work = |jobs: Vec<usize>| async move {
            assert!(jobs.len() == 1 || jobs.iter().sum::<usize>() <= 100);
            jobs
        };
        let calls = [500, 60, 60, 1, 1].map(|job| combiner.run(job, work));
        assert!(futures_util::future::join_all(calls).await.into_iter().all(|answer| answer.is_ok()));
        let full: Combiner<usize, usize> = Combiner::new(Limits { waiting: 0, ..LIMITS }, |_| 1);
        assert!(matches!(full.run(1, work).await, Err(Error::Busy)));
    }
}
