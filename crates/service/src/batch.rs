//! Doing together what is asked at the same time.
//!
//! Jobs queue. Either a caller that gets a turn does all that wait ([`Batcher::run`]), or a task of its own does
//! ([`Batcher::submit`] and [`Batcher::serve`]). There is no timer: work under way is the window in which the next batch
//! gathers, and a single caller never waits for others.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many batches may be under way when callers do them.
    pub turns: usize,
    /// The most jobs of a batch.
    pub jobs: usize,
    /// The most weight of a batch of more than one job.
    pub weight: usize,
    /// The most jobs that may wait.
    pub waiting: usize,
}

/// How many callers of [`Batcher::serve`] are answered at once. Each that wakes has work of its own to do; were all woken
/// together, the next batch would wait behind them at each of its steps.
const ANSWERED_AT_ONCE: usize = 8;

/// A queue of jobs `J`, each answered by an `A`.
#[derive(Debug)]
pub struct Batcher<J, A> {
    queue: Mutex<Queue<J, A>>,
    /// Wakes a task of [`Batcher::serve`].
    arrived: Notify,
    turns: Semaphore,
    limits: Limits,
    weigh: fn(&J) -> usize,
    is_urgent: fn(&J) -> bool,
}

#[derive(Debug)]
struct Queue<J, A> {
    jobs: VecDeque<Waiting<J, A>>,
    is_closed: bool,
}

type Waiting<J, A> = (J, oneshot::Sender<A>);

impl<J: Send, A: Send> Batcher<J, A> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            queue: Mutex::new(Queue { jobs: VecDeque::new(), is_closed: false }),
            arrived: Notify::new(),
            turns: Semaphore::new(limits.turns),
            limits,
            weigh: |_| 1,
            is_urgent: |_| false,
        }
    }

    /// How much a job counts towards the weight of its batch.
    #[must_use]
    pub fn weighing(self, weigh: fn(&J) -> usize) -> Self {
        Self { weigh, ..self }
    }

    /// Jobs that are let in when the queue is full, because they make room elsewhere.
    #[must_use]
    pub fn admitting(self, is_urgent: fn(&J) -> bool) -> Self {
        Self { is_urgent, ..self }
    }

    /// Has a job done, by `work` or by another caller's. `work` answers its jobs in their order.
    pub async fn run<F>(&self, job: J, work: impl Fn(Vec<J>) -> F) -> Result<A, Fault>
    where
        F: Future<Output = Vec<A>>,
    {
        let mut answer = self.join(job)?;
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|_| Fault::Interrupted),
                turn = self.turns.acquire() => turn.map_err(|_| Fault::Interrupted)?,
            };
            let (jobs, callers): (Vec<J>, Vec<_>) = self.next().into_iter().unzip();
            if jobs.is_empty() {
                drop(turn);
                return answer.await.map_err(|_| Fault::Interrupted);
            }
            for (caller, done) in callers.into_iter().zip(work(jobs).await) {
                // A caller that went away is answered by its next try.
                drop(caller.send(done));
            }
        }
    }

    /// Queues a job for [`Batcher::serve`] and waits for its answer. A job that was taken is done, whatever becomes of its
    /// caller.
    pub async fn submit(&self, job: J) -> Result<A, Fault> {
        let answer = self.join(job)?;
        self.arrived.notify_one();
        answer.await.map_err(|_| Fault::Stopping)
    }

    /// Serves the queue until `stop`, and then what is still in it. Several tasks may: while one answers its callers,
    /// another works.
    pub async fn serve<F>(&self, stop: &CancellationToken, work: impl Fn(Vec<J>) -> F)
    where
        F: Future<Output = Vec<A>>,
    {
        let mut answers: Vec<(oneshot::Sender<A>, A)> = Vec::new();
        loop {
            // The callers of the last batch are answered while the next one is worked on.
            let next = async {
                let (jobs, callers): (Vec<J>, Vec<_>) = self.arrival(stop).await?.into_iter().unzip();
                Some(callers.into_iter().zip(work(jobs).await).collect::<Vec<_>>())
            };
            match tokio::join!(answer(std::mem::take(&mut answers)), next) {
                ((), Some(done)) => answers = done,
                ((), None) => return,
            }
        }
    }

    /// The next batch; `None` when the queue is closed and empty.
    async fn arrival(&self, stop: &CancellationToken) -> Option<Vec<Waiting<J, A>>> {
        loop {
            let batch = self.next();
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.queue().is_closed {
                // Another task may wait beside this one.
                self.arrived.notify_waiters();
                return None;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => self.queue().is_closed = true,
                () = self.arrived.notified() => {}
            }
        }
    }

    fn join(&self, job: J) -> Result<oneshot::Receiver<A>, Fault> {
        let mut queue = self.queue();
        if queue.is_closed {
            return Err(Fault::Stopping);
        }
        if queue.jobs.len() >= self.limits.waiting && !(self.is_urgent)(&job) {
            return Err(Fault::QueueFull);
        }
        let (caller, answer) = oneshot::channel();
        queue.jobs.push_back((job, caller));
        Ok(answer)
    }

    fn next(&self) -> Vec<Waiting<J, A>> {
        let mut queue = self.queue();
        let mut batch = Vec::new();
        let mut weight = 0;
        while let Some((job, _)) = queue.jobs.front() {
            weight += (self.weigh)(job);
            let is_full = batch.len() >= self.limits.jobs || weight > self.limits.weight;
            if is_full && !batch.is_empty() {
                break;
            }
            batch.extend(queue.jobs.pop_front());
        }
        if !queue.jobs.is_empty() {
            // The rest is another task's.
            self.arrived.notify_one();
        }
        batch
    }

    fn queue(&self) -> MutexGuard<'_, Queue<J, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does jobs together and, if that fails, one by one, so that a job that cannot be done fails alone.
///
/// An error that `is_for_all` answers every job at once. An outage is one: tried one by one, each job would wait as
/// long again, and everything that is queued behind them too.
pub async fn together<'a, J, A, E, F>(
    jobs: &'a [J],
    is_for_all: impl Fn(&E) -> bool,
    work: impl Fn(&'a [J]) -> F,
) -> Vec<Result<A, E>>
where
    E: Clone + Display + From<Fault>,
    F: Future<Output = Result<Vec<A>, E>>,
{
    let error = match work(jobs).await {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(error) => error,
    };
    if jobs.len() == 1 || is_for_all(&error) {
        return jobs.iter().map(|_| Err(error.clone())).collect();
    }
    tracing::debug!(%error, jobs = jobs.len(), "a batch failed; its jobs are tried one by one");
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let alone = work(std::slice::from_ref(job)).await;
        answers.push(alone.and_then(|mut one| one.pop().ok_or_else(|| Fault::Interrupted.into())));
    }
    answers
}

/// Answers callers, a few at a time.
async fn answer<A>(mut answers: Vec<(oneshot::Sender<A>, A)>) {
    while !answers.is_empty() {
        let rest = answers.split_off(answers.len().min(ANSWERED_AT_ONCE));
        for (caller, done) in std::mem::replace(&mut answers, rest) {
            drop(caller.send(done));
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join, join_all};

    use super::*;

    const LIMITS: Limits = Limits { turns: 1, jobs: 8, weight: 100, waiting: 64 };

    async fn doubled(jobs: Vec<usize>) -> Vec<usize> {
        tokio::task::yield_now().await;
        assert!(jobs.len() <= 8);
        jobs.into_iter().map(|job| job * 2).collect()
    }

    #[tokio::test]
    async fn what_is_asked_at_once_is_done_together_and_answered_apart() {
        let batcher = Batcher::new(LIMITS);
        let batches = Mutex::new(Vec::new());
        let work = |jobs: Vec<usize>| {
            batches.lock().unwrap().push(jobs.len());
            doubled(jobs)
        };
        let answers = join_all((0..20).map(|job| batcher.run(job, work))).await;
        let answers: Vec<usize> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..20).map(|job| job * 2).collect::<Vec<_>>());
        let batches = batches.into_inner().unwrap();
        assert_eq!(batches.iter().sum::<usize>(), 20);
        assert!(batches.len() < 20, "{batches:?}");
    }

    #[tokio::test]
    async fn a_task_serves_all_until_it_stops_and_then_what_is_left() {
        let batcher = Batcher::new(LIMITS);
        let stop = CancellationToken::new();
        let asked = async {
            let answers = join_all((0..50).map(|job| batcher.submit(job))).await;
            assert!(answers.into_iter().enumerate().all(|(job, answer)| answer.unwrap() == job * 2));
            let last = batcher.submit(1);
            stop.cancel();
            last.await
        };
        let served = async {
            join(batcher.serve(&stop, doubled), batcher.serve(&stop, doubled)).await;
        };
        let (last, ()) = join(asked, served).await;
        assert!(matches!(last, Ok(2) | Err(Fault::Stopping)), "{last:?}");
        assert!(matches!(batcher.submit(1).await, Err(Fault::Stopping)));
    }

    /// Does what is not 0; a batch with a 99 meets an outage. `asked` counts the transactions.
    async fn halved(asked: &Mutex<usize>, jobs: &[usize]) -> Result<Vec<usize>, Fault> {
        *asked.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        if jobs.contains(&99) {
            return Err(db::Error::Unavailable("connection lost".to_owned()).into());
        }
        if jobs.contains(&0) {
            return Err(Fault::unreadable("a job"));
        }
        Ok(jobs.iter().map(|job| job / 2).collect())
    }

    #[tokio::test]
    async fn a_job_that_cannot_be_done_fails_alone() {
        let asked = Mutex::new(0);
        let answers = together(&[2, 0, 6], Fault::is_outage, |jobs| halved(&asked, jobs));
        let answers = answers.await;
        assert!(matches!(answers[..], [Ok(1), Err(Fault::Unreadable(_)), Ok(3)]), "{answers:?}");
        assert_eq!(*asked.lock().unwrap(), 4, "once together, then one by one");
    }

    #[tokio::test]
    async fn an_outage_answers_all_at_once_and_a_job_by_itself_is_tried_once() {
        for (jobs, is_outage) in [(&[2, 99, 6][..], true), (&[0][..], false), (&[99][..], true)] {
            let asked = Mutex::new(0);
            let answers = together(jobs, Fault::is_outage, |jobs| halved(&asked, jobs));
            let answers = answers.await;
            assert_eq!(answers.len(), jobs.len());
            let is_as_said =
                |answer: &Result<_, Fault>| answer.as_ref().is_err_and(|it| it.is_outage() == is_outage);
            assert!(answers.iter().all(is_as_said), "{answers:?}");
            assert_eq!(*asked.lock().unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn a_heavy_job_goes_alone_and_a_full_queue_admits_only_what_makes_room() {
        let batcher = Batcher::new(LIMITS).weighing(|weight: &usize| *weight);
        let work = |jobs: Vec<usize>| async move {
            assert!(jobs.len() == 1 || jobs.iter().sum::<usize>() <= 100);
            jobs
        };
        let calls = [500, 60, 60, 1, 1].map(|job| batcher.run(job, work));
        assert!(join_all(calls).await.into_iter().all(|answer| answer.is_ok()));
        let full = Batcher::new(Limits { waiting: 0, ..LIMITS }).admitting(|job| *job == 7);
        assert!(matches!(full.run(1, work).await, Err(Fault::QueueFull)));
        assert!(full.run(7, work).await.is_ok());
    }
}
