//! A small pool of connections. Its rule: a connection returns to the shelf only when it is known to be clean.
//!
//! Our own, because a cancelled `begin()` of the driver's pool can leave a transaction open on a connection that goes
//! back to the shelf; the next writer then gets "done" for rows that vanish. Here a lease that was dropped inside a
//! transaction is rolled back before anyone else gets the connection, and one that was dropped in the middle of a
//! statement is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::{Address, Connection, Trust};
use crate::error::{Error, Result};

/// A connection that rested longer is closed.
const IDLE_LIMIT: Duration = Duration::from_mins(5);
/// A connection that lived longer is closed when it comes back.
const LIFE_LIMIT: Duration = Duration::from_mins(30);

#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    address: Address,
    permits: Arc<Semaphore>,
    shelf: Mutex<Vec<Rested>>,
    acquire: Duration,
}

struct Rested {
    connection: Connection,
    born: Instant,
    since: Instant,
}

/// A connection in use.
pub(crate) struct Lease {
    pool: Arc<Inner>,
    /// Boxed, because every transaction carries it.
    held: Option<Box<Held>>,
    /// A transaction is open on it.
    pub(crate) in_tx: bool,
    /// A statement is under way, or was when its future was dropped.
    pub(crate) busy: bool,
    /// The connection is lost.
    pub(crate) broken: bool,
}

struct Held {
    connection: Connection,
    born: Instant,
    permit: Permit,
}

/// A turn at a connection.
pub(crate) struct Permit {
    _of_pool: OwnedSemaphorePermit,
    /// Of the share of the readers, if the task has one.
    _of_share: Option<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) fn of_share(self, turn: Option<OwnedSemaphorePermit>) -> Self {
        Self { _of_share: turn, ..self }
    }
}

impl Pool {
    pub(crate) fn new(address: Address, size: u32, acquire: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(size.max(1)).unwrap_or(1)));
        Self(Arc::new(Inner { address, permits, shelf: Mutex::default(), acquire }))
    }

    /// A turn at a connection, first come first served.
    pub(crate) async fn permit(&self) -> Result<Permit> {
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        match tokio::time::timeout(self.0.acquire, permit).await {
            Ok(Ok(permit)) => Ok(Permit { _of_pool: permit, _of_share: None }),
            Ok(Err(_)) => Err(Error::Unavailable("database is closed".into())),
            Err(_) => Err(Error::Unavailable("no connection became free in time".into())),
        }
    }

    /// The connection for a permit: from the shelf or a new one.
    pub(crate) async fn lease(&self, permit: Permit) -> Result<Lease> {
        while let Some(mut rested) = self.take() {
            let usable = match rested.connection.is_trusted() {
                Trust::Full => true,
                Trust::OnceItAnswers => rested.connection.answers(self.0.acquire).await,
                Trust::None => false,
            };
            if usable {
                return Ok(self.hold(rested.connection, rested.born, permit));
            }
        }
        let connection = self.0.address.connect(self.0.acquire).await?;
        Ok(self.hold(connection, Instant::now(), permit))
    }

    fn take(&self) -> Option<Rested> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn hold(&self, connection: Connection, born: Instant, permit: Permit) -> Lease {
        let held = Some(Box::new(Held { connection, born, permit }));
        Lease { pool: Arc::clone(&self.0), held, in_tx: false, busy: false, broken: false }
    }

    /// Waits for nobody: closes what rests; what is in use is closed when it comes back.
    pub(crate) async fn close(&self) {
        self.0.permits.close();
        let rested = std::mem::take(&mut *self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner));
        for rested in rested {
            rested.connection.close().await;
        }
    }
}

impl Lease {
    /// The connection itself.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection> {
        match &mut self.held {
            Some(held) => Ok(&mut held.connection),
            None => Err(Error::lost("earlier")),
        }
    }

    /// Another connection in place of one that was lost before anything was done on it.
    pub(crate) async fn replace(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Err(Error::lost("earlier")) };
        let Held { connection, permit, .. } = *held;
        drop(connection);
        let mut fresh = Pool(Arc::clone(&self.pool)).lease(permit).await?;
        self.held = fresh.held.take();
        (self.busy, self.broken) = (false, false);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        if self.busy || self.broken {
            return;
        }
        held.connection.be_as_usual();
        if !self.in_tx {
            return self.pool.put(*held);
        }
        // Without a runtime there is nobody to roll back: dropping the connection ends the transaction as well.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            let rollback = held.connection.control("ROLLBACK");
            if matches!(tokio::time::timeout(pool.acquire, rollback).await, Ok(Ok(()))) {
                pool.put(*held);
            }
        });
    }
}

impl Inner {
    /// Back to the shelf. The permit is given back last, so that the next one finds the connection.
    fn put(&self, Held { connection, born, permit }: Held) {
        if self.permits.is_closed() || born.elapsed() > LIFE_LIMIT {
            return;
        }
        let mut resting = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = resting.first().is_some_and(|oldest| oldest.since.elapsed() > IDLE_LIMIT);
        let closed = stale.then(|| resting.remove(0));
        resting.push(Rested { connection, born, since: Instant::now() });
        drop(resting);
        drop(closed);
        drop(permit);
    }
}
