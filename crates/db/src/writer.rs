//! The one writer of a `SQLite` file, and its shared commits.
//!
//! A task owns the order of turns: first come, first served. Transactions run one after another inside one outer
//! transaction, each (but the first) in a savepoint. When nobody waits, or after [`MEMBERS`] or [`OPEN_FOR`], the outer
//! transaction is committed with one flush, and only then does each of its members get its answer.
//!
//! The task runs every `BEGIN`, `SAVEPOINT` and `COMMIT` itself, so a caller that vanishes at any point cannot leave
//! half of one behind: its [`Turn`] is dropped, which the task sees as a rollback. A turn that is held without running
//! a statement for too long is revoked, as PostgreSQL does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot, watch};

use crate::connection::{Address, Connection};
use crate::done::Done;
use crate::error::{Error, Result};

/// Most transactions that share one commit.
const MEMBERS: usize = 64;
/// The longest that a finished transaction waits for others to share the commit with.
const OPEN_FOR: Duration = Duration::from_millis(20);
/// Callers that may wait for their turn before `begin` itself waits for a place in the queue.
const QUEUE: usize = 1_024;

/// A handle to the writer task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Request>,
    acquire: Duration,
}

enum Request {
    Begin(Waiter),
    Close(oneshot::Sender<()>),
}

type Waiter = oneshot::Sender<Result<Turn>>;

/// The right to use the writer connection, until it is ended or dropped.
pub(crate) struct Turn {
    shared: Arc<Shared>,
    ticket: u64,
    end: Option<oneshot::Sender<End>>,
}

/// How the holder ends its turn. Dropping the sender instead means a rollback.
enum End {
    Commit(Member),
}

struct Member {
    answer: oneshot::Sender<Result<()>>,
    done: Done,
}

/// What the task and the holder of the turn share.
struct Shared {
    connection: Mutex<Connection>,
    /// The ticket that may use the connection.
    ticket: AtomicU64,
    /// When the last statement ended, in ms since `epoch`.
    used: AtomicU64,
    epoch: Instant,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Turn {
    /// The connection, while the turn lasts.
    pub(crate) async fn connection(&self) -> Result<MutexGuard<'_, Connection>> {
        let connection = self.shared.connection.lock().await;
        if self.shared.ticket.load(Ordering::Acquire) == self.ticket {
            Ok(connection)
        } else {
            Err(Error::Unavailable("transaction was idle for too long".into()))
        }
    }

    /// Notes that a statement ended now.
    pub(crate) fn used(&self) {
        self.shared.used.store(self.shared.now(), Ordering::Release);
    }

    /// Returns when the outer transaction is on disk.
    pub(crate) async fn commit(mut self, done: Done) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let lost = || Error::Unavailable("transaction was idle for too long".into());
        let end = self.end.take().ok_or_else(lost)?;
        end.send(End::Commit(Member { answer, done })).map_err(|_| lost())?;
        drop(self);
        answered.await.map_err(|_| Error::Unavailable("writer is gone".into()))?
    }
}

impl Writer {
    /// Starts the task for this connection.
    pub(crate) fn start(
        connection: Connection,
        address: Address,
        wakeups: Arc<watch::Sender<u64>>,
        acquire: Duration,
        idle: Duration,
    ) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            connection: Mutex::new(connection),
            ticket: AtomicU64::new(0),
            used: AtomicU64::new(0),
            epoch: Instant::now(),
        });
        let task = Task { shared, address, requests, wakeups, acquire, idle, closing: None };
        tokio::spawn(task.run());
        Self { queue, acquire }
    }

    /// Waits for a turn.
    pub(crate) async fn begin(&self) -> Result<Turn> {
        let gone = || Error::Unavailable("database is closed".into());
        let turn = async {
            let (waiter, turn) = oneshot::channel();
            self.queue.send(Request::Begin(waiter)).await.map_err(|_| gone())?;
            turn.await.map_err(|_| gone())?
        };
        match tokio::time::timeout(self.acquire, turn).await {
            Ok(turn) => turn,
            Err(_) => Err(Error::Unavailable("the writer did not become free in time".into())),
        }
    }

    /// Lets those in the queue finish, then closes the connection.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Request::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

struct Task {
    shared: Arc<Shared>,
    address: Address,
    requests: mpsc::Receiver<Request>,
    wakeups: Arc<watch::Sender<u64>>,
    acquire: Duration,
    idle: Duration,
    closing: Option<oneshot::Sender<()>>,
}

/// Where the current member stands in the outer transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Savepoint,
}

impl Task {
    async fn run(mut self) {
        let mut next = None;
        while self.closing.is_none() || next.is_some() {
            let waiter = match next.take() {
                Some(waiter) => waiter,
                None => match self.requests.recv().await {
                    Some(Request::Begin(waiter)) if waiter.is_closed() => continue,
                    Some(Request::Begin(waiter)) => waiter,
                    Some(Request::Close(done)) => {
                        self.closing = Some(done);
                        continue;
                    }
                    None => break,
                },
            };
            next = self.outer(waiter).await;
        }
        self.requests.close();
        let closing = self.closing.take();
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => shared.connection.into_inner().close().await,
            Err(shared) => drop(shared),
        }
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    /// One outer transaction, from `BEGIN` to `COMMIT`. Gives back a waiter that it could not serve.
    async fn outer(&mut self, first: Waiter) -> Option<Waiter> {
        if let Err(error) = self.step("BEGIN IMMEDIATE").await {
            self.recover(&error).await;
            let _ = first.send(Err(error));
            return None;
        }
        let opened = Instant::now();
        let mut members: Vec<Member> = Vec::new();
        let mut place = Place::First;
        let mut waiter = first;
        loop {
            let committed = match self.turn(waiter).await {
                Some(End::Commit(member)) => {
                    members.push(member);
                    true
                }
                None => false,
            };
            let room = members.len() < MEMBERS && opened.elapsed() < OPEN_FOR;
            let next = if room { self.waiting() } else { None };
            let text = match (place, committed, next.is_some()) {
                (Place::First, true, true) => "SAVEPOINT member",
                (Place::First, true, false) => "COMMIT",
                (Place::First, false, true) => "ROLLBACK; BEGIN IMMEDIATE",
                (Place::First, false, false) => "ROLLBACK",
                (Place::Savepoint, true, true) => "RELEASE member; SAVEPOINT member",
                (Place::Savepoint, true, false) => "RELEASE member; COMMIT",
                (Place::Savepoint, false, true) => "ROLLBACK TO member",
                (Place::Savepoint, false, false) => "ROLLBACK TO member; RELEASE member; COMMIT",
            };
            let stepped = self.step(text).await;
            match (stepped, next) {
                (Ok(()), Some(next)) => {
                    waiter = next;
                    if committed {
                        place = Place::Savepoint;
                    }
                }
                (Ok(()), None) => {
                    self.tell(members);
                    return None;
                }
                (Err(error), next) => {
                    self.recover(&error).await;
                    let shared = match error {
                        Error::Engine(text) => Error::Unavailable(format!("shared commit failed: {text}")),
                        other => other,
                    };
                    for member in members {
                        let _ = member.answer.send(Err(shared.clone()));
                    }
                    return next;
                }
            }
        }
    }

    /// Gives the turn away and waits for its end.
    async fn turn(&self, waiter: Waiter) -> Option<End> {
        let ticket = self.shared.ticket.load(Ordering::Acquire) + 1;
        self.shared.ticket.store(ticket, Ordering::Release);
        self.shared.used.store(self.shared.now(), Ordering::Release);
        let (end, mut ended) = oneshot::channel();
        let turn = Turn { shared: Arc::clone(&self.shared), ticket, end: Some(end) };
        waiter.send(Ok(turn)).ok()?;
        let limit = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        loop {
            if let Ok(end) = tokio::time::timeout(self.idle, &mut ended).await {
                return end.ok();
            }
            // A running statement holds the lock: look again later.
            let Ok(_connection) = self.shared.connection.try_lock() else { continue };
            let last = self.shared.used.load(Ordering::Acquire);
            if self.shared.now().saturating_sub(last) < limit {
                continue;
            }
            self.shared.ticket.store(ticket + 1, Ordering::Release);
            ended.close();
            tracing::warn!(
                idle_ms = limit,
                "a write transaction did nothing for too long and was rolled back"
            );
            return ended.try_recv().ok();
        }
    }

    /// The next caller in the queue that still waits.
    fn waiting(&mut self) -> Option<Waiter> {
        while self.closing.is_none() {
            match self.requests.try_recv() {
                Ok(Request::Begin(waiter)) if waiter.is_closed() => {}
                Ok(Request::Begin(waiter)) => return Some(waiter),
                Ok(Request::Close(done)) => self.closing = Some(done),
                Err(_) => return None,
            }
        }
        None
    }

    async fn step(&self, text: &'static str) -> Result<()> {
        self.shared.connection.lock().await.control(text).await
    }

    /// The outer commit is on disk: every member may know.
    fn tell(&self, members: Vec<Member>) {
        if members.is_empty() {
            return;
        }
        metrics::counter!("entrepot_db_commits_total", "engine" => "sqlite").increment(1);
        metrics::counter!("entrepot_db_transactions_total", "engine" => "sqlite")
            .increment(members.len() as u64);
        let mut wake = false;
        let mut answers = Vec::with_capacity(members.len());
        for Member { answer, done } in members {
            wake |= done.follow();
            answers.push(answer);
        }
        if wake {
            self.wakeups.send_modify(|commits| *commits += 1);
        }
        for answer in answers {
            let _ = answer.send(Ok(()));
        }
    }

    /// After a failed step: end whatever is open, and take a new connection when this one no longer obeys.
    async fn recover(&self, error: &Error) {
        let mut connection = self.shared.connection.lock().await;
        if !connection.is_lost() {
            let ended = connection.control("ROLLBACK").await;
            if matches!(error, Error::Retry(_)) || ended.is_ok() {
                return;
            }
        }
        // "no transaction is active" lands here too: a new connection is then merely unneeded.
        match self.address.connect(self.acquire).await {
            Ok(fresh) => *connection = fresh,
            Err(again) => tracing::error!(error = %again, "the writer connection could not be reopened"),
        }
    }
}
