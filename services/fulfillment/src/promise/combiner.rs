//! Many holds, one commit: what waits while a transaction commits is written by the next one.
//!
//! There is no timer and no task of its own: the caller that comes first writes for all that wait, then hands over.
//! Capacity is decided under the locks of the slots, in the order of arrival, so that it holds with any number of
//! processes on one database.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use db::Tx;
use domain::id::PromiseToken;
use domain::promise::token::State;
use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Fulfillment;
use crate::error::Error;
use crate::network::load::Slot;
use crate::store::capacity::{self, SlotKey};
use crate::store::promise::{self, Stored};
use crate::store::task;
use crate::tasks::Kind;

/// How often a batch that lost a race is written again.
const ATTEMPTS: u32 = 4;

/// What is to be written.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// A new promise with its capacity; `most` is how many orders its slot may take.
    Take {
        /// The promise.
        promise: Box<Stored>,
        /// The most orders of its slot.
        most: i64,
    },
    /// The stock of a promise was granted: it lives until then.
    Grant(PromiseToken, Timestamp),
    /// The stock of a promise was refused: nothing of it stays.
    Forget(PromiseToken),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    /// The promise is written.
    Taken,
    /// The same request came before: this is its promise.
    Known(Box<Stored>),
    /// The slot is full.
    Full,
    /// The promise was PENDING and is LIVE.
    Granted,
    /// The promise is not PENDING any more.
    NotPending,
    /// It is gone.
    Forgotten,
}

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

    /// Takes in what slots have taken.
    pub(crate) fn note_load(&self, used: impl IntoIterator<Item = (SlotKey, i64)>) {
        self.load.settle([], self.numbered(used), self.oldest_slot());
    }

    fn numbered(&self, used: impl IntoIterator<Item = (SlotKey, i64)>) -> impl Iterator<Item = (Slot, i64)> {
        used.into_iter().filter_map(|(slot, taken)| Some((self.slot_number(&slot)?, taken)))
    }

    /// A slot by the numbers of this process.
    pub(crate) fn slot_number(&self, slot: &SlotKey) -> Option<Slot> {
        Some((self.network.keys.find(&slot.node)?, crate::network::load::work_named(slot)?, slot.start))
    }

    fn oldest_slot(&self) -> Timestamp {
        self.clock.business() - jiff::SignedDuration::from_hours(26)
    }
}

/// Counts what became of promises.
fn count(done: &[Done]) {
    for done in done {
        let what = match done {
            Done::Taken => "entrepot_promises_taken_total",
            Done::Granted => "entrepot_promises_held_total",
            Done::Forgotten => "entrepot_promises_forgotten_total",
            Done::Known(_) | Done::Full | Done::NotPending => continue,
        };
        metrics::counter!(what).increment(1);
    }
}

/// The error of a batch, told to the only caller in it.
fn interrupted_by(error: &Error) -> Error {
    match error {
        Error::Db(error) => Error::Db(error.clone()),
        other => Error::Corrupt(other.to_string()),
    }
}

/// Writes jobs in one transaction: what ends first, then what is new, then the slots.
async fn write(tx: &mut Tx, jobs: &[Job], now: Timestamp) -> Result<(Vec<Done>, Vec<(SlotKey, i64)>), Error> {
    let granted: BTreeSet<PromiseToken> = grant(tx, jobs).await?;
    let freed = forget(tx, jobs).await?;
    let takes = Takes::read(tx, jobs, &freed, now).await?;
    let Decided { outcome, change, used } = takes.decide(jobs, &freed);
    takes.insert(tx, jobs, &outcome).await?;
    capacity::add(tx, &takes.used, &change, now).await?;
    let mut outcome = outcome.into_iter();
    let done = jobs
        .iter()
        .map(|job| match job {
            Job::Take { .. } => outcome.next().unwrap_or(Done::Full),
            Job::Grant(token, _) if granted.contains(token) => Done::Granted,
            Job::Grant(..) => Done::NotPending,
            Job::Forget(_) => Done::Forgotten,
        })
        .collect();
    Ok((done, used))
}

async fn grant(tx: &mut Tx, jobs: &[Job]) -> Result<BTreeSet<PromiseToken>, Error> {
    let granted: BTreeMap<PromiseToken, Timestamp> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Grant(token, until) => Some((*token, *until)),
            Job::Take { .. } | Job::Forget(_) => None,
        })
        .collect();
    Ok(promise::grant(tx, &granted).await?.into_iter().collect())
}

/// Forgets promises; answers how many orders fewer each slot has.
async fn forget(tx: &mut Tx, jobs: &[Job]) -> Result<BTreeMap<SlotKey, i64>, Error> {
    let tokens: BTreeSet<PromiseToken> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Forget(token) => Some(*token),
            Job::Take { .. } | Job::Grant(..) => None,
        })
        .collect();
    let tokens: Vec<PromiseToken> = tokens.into_iter().collect();
    let mut freed = BTreeMap::new();
    for slot in promise::forget(tx, &tokens).await? {
        *freed.entry(slot).or_insert(0) += 1;
    }
    Ok(freed)
}

/// What was decided on new promises.
struct Decided {
    /// What comes of each, in the order asked.
    outcome: Vec<Done>,
    /// By how many orders the slots change.
    change: BTreeMap<SlotKey, i64>,
    /// How many they have taken then.
    used: Vec<(SlotKey, i64)>,
}

/// What is known before new promises are decided upon.
struct Takes {
    /// Promises that were asked for before under the same request ids.
    known: HashMap<Uuid, Stored>,
    /// Orders taken per slot, under its lock.
    used: BTreeMap<SlotKey, i64>,
}

impl Takes {
    /// `freed` are slots that the same transaction gives back.
    async fn read(
        tx: &mut Tx,
        jobs: &[Job],
        freed: &BTreeMap<SlotKey, i64>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (mut keys, mut slots) = (Vec::new(), freed.keys().cloned().collect::<BTreeSet<_>>());
        let mut bodies = HashSet::new();
        for job in jobs {
            if let Job::Take { promise, .. } = job {
                keys.push(promise.request_key);
                bodies.insert((promise.request_key, promise.body_hash.as_slice()));
                slots.extend(promise.slot());
            }
        }
        let mut known = HashMap::new();
        let mut ended = Vec::new();
        for stored in promise::by_request(tx, &keys).await? {
            match stored.state {
                // The hold undid itself: the same request may hold anew, another one under its id may not.
                State::Released | State::Expired
                    if bodies.contains(&(stored.request_key, stored.body_hash.as_slice())) =>
                {
                    ended.push(stored.token);
                }
                State::Released
                | State::Expired
                | State::Pending { .. }
                | State::Live { .. }
                | State::Confirmed { .. } => {
                    known.insert(stored.request_key, stored);
                }
            }
        }
        ended.sort_unstable();
        promise::detach(tx, &ended).await?;
        let used = capacity::lock(tx, &slots, now).await?;
        Ok(Self { known, used })
    }

    /// Decides each new promise in the order of arrival; `freed` is what the same transaction gave back.
    fn decide(&self, jobs: &[Job], freed: &BTreeMap<SlotKey, i64>) -> Decided {
        let mut change: BTreeMap<SlotKey, i64> = freed.iter().map(|(slot, by)| (slot.clone(), -by)).collect();
        let mut first: HashMap<Uuid, &Stored> = HashMap::new();
        let mut outcome = Vec::new();
        for job in jobs {
            let Job::Take { promise, most } = job else { continue };
            let twin = first.get(&promise.request_key).copied();
            outcome.push(if let Some(known) = twin.or_else(|| self.known.get(&promise.request_key)) {
                Done::Known(Box::new(known.clone()))
            } else if let Some(slot) = promise.slot() {
                let by = change.entry(slot.clone()).or_insert(0);
                if self.used.get(&slot).copied().unwrap_or(0) + *by < *most {
                    *by += 1;
                    first.insert(promise.request_key, promise);
                    Done::Taken
                } else {
                    Done::Full
                }
            } else {
                first.insert(promise.request_key, promise);
                Done::Taken
            });
        }
        let used = self
            .used
            .iter()
            .map(|(slot, used)| (slot.clone(), used + change.get(slot).copied().unwrap_or(0)))
            .collect();
        change.retain(|_, by| *by != 0);
        Decided { outcome, change, used }
    }

    async fn insert(&self, tx: &mut Tx, jobs: &[Job], outcome: &[Done]) -> Result<(), Error> {
        let takes = jobs.iter().filter_map(|job| match job {
            Job::Take { promise, .. } => Some(promise.as_ref()),
            Job::Grant(..) | Job::Forget(_) => None,
        });
        let mut new: Vec<&Stored> =
            takes.zip(outcome).filter(|(_, done)| matches!(done, Done::Taken)).map(|(new, _)| new).collect();
        new.sort_unstable_by_key(|promise| promise.request_key);
        let written = promise::insert(tx, &new).await?;
        if written.len() == new.len() {
            Ok(())
        } else {
            // Another process writes the same request now: begin anew, and find it.
            Err(Error::Db(db::Error::Retry("a request was held by another process".into())))
        }
    }
}

/// Has inventory let go of the stock of promises that ended, after this transaction.
pub(crate) async fn release_stock(tx: &mut Tx, tokens: &[PromiseToken], now: Timestamp) -> Result<(), Error> {
    let subjects: Vec<Uuid> = tokens.iter().map(|token| token.uuid()).collect();
    task::add(tx, Kind::ReleaseReservation.name(), &subjects, now).await
}
