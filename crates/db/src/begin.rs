//! How transactions begin.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::database::{AVOIDED, Db, NETWORK, Write, private_file};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::pool::{Lease, Permit, Pool};
use crate::share;
use crate::to_the_end::to_the_end;
use crate::tx::{Link, Mode, Tx};

impl Db {
    /// Begins a write transaction. PostgreSQL: READ COMMITTED. `SQLite`: waits for the turn of the one writer, in order.
    ///
    /// The begin itself is never cancelled half-way: a caller that goes away leaves nothing open.
    pub async fn begin(&self) -> Result<Tx> {
        let started = Instant::now();
        let link = match &self.0.write {
            Write::Sqlite(writer) => Link::Writer(writer.begin().await?),
            Write::Postgres(pool) => Link::Pooled(begin_pooled(pool, pool.permit().await?, "BEGIN").await?),
        };
        metrics::histogram!("entrepot_db_begin_seconds", "engine" => self.0.engine.name())
            .record(started.elapsed().as_secs_f64());
        Ok(Tx::new(self.clone(), link, Mode::Write))
    }

    /// Reads, without waiting for writers; each statement sees what is committed by then.
    pub async fn read(&self) -> Result<Tx> {
        let readers = &self.0.readers;
        let lease = readers.lease(shared(readers).await?).await?;
        Ok(Tx::new(self.clone(), Link::Pooled(lease), Mode::Read))
    }

    /// Reads, without waiting for writers; all statements see the same moment. Keep it short.
    pub async fn snapshot(&self) -> Result<Tx> {
        let text = match self.0.engine {
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Engine::Sqlite => "BEGIN DEFERRED",
        };
        let readers = &self.0.readers;
        let lease = begin_pooled(readers, shared(readers).await?, text).await?;
        Ok(Tx::new(self.clone(), Link::Pooled(lease), Mode::Snapshot))
    }

    /// The same for questions about whole tables: a statement may take `limit`, and the planner is free to read all
    /// rows. It holds back the clean-up of old row versions as long as it is open.
    pub async fn survey(&self, limit: Duration) -> Result<Tx> {
        let mut tx = self.snapshot().await?;
        if self.0.engine == Engine::Postgres {
            let ms = limit.as_millis().max(1);
            let free = AVOIDED.map(|plan| format!("SET LOCAL {plan} = on")).join("; ");
            tx.control(format!("SET LOCAL statement_timeout = '{ms}ms'; {free}")).await?;
            tx.be_patient(limit + NETWORK)?;
        }
        Ok(tx)
    }

    /// Writes a copy of the whole database, taken at one moment, to a new file. `SQLite` only.
    pub async fn backup_to(&self, path: &Path) -> Result<()> {
        if self.0.engine == Engine::Postgres {
            return Err(Error::misuse("back up PostgreSQL with its own tools"));
        }
        let text = path.to_str().ok_or_else(|| Error::misuse("path is not UTF-8"))?;
        // an empty file is taken over as it is: the copy is private from its first byte on
        private_file(text)?;
        let mut tx = self.read().await?;
        tx.execute("VACUUM INTO $1", crate::params![text]).await?;
        let synced = tokio::fs::File::open(path).await;
        match synced {
            Ok(file) => file.sync_all().await,
            Err(error) => Err(error),
        }
        .map_err(|error| Error::Unavailable(format!("backup: {}", error.kind())))
    }

    /// Whether the database answers: for readiness probes.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.read().await?;
        tx.fetch_one("SELECT 1 AS one", Vec::new()).await.map(|_| ())
    }
}

/// A permit of the readers, once the share that the task reads by has a turn. Nobody but others of the same share is to
/// blame for that wait, so it has no limit.
async fn shared(readers: &Pool) -> Result<Permit> {
    let turn = share::turn().await;
    Ok(readers.permit().await?.of_share(turn))
}

/// Begins to the end, so that a caller that goes away cannot stop it between question and answer: the lease then comes
/// back to nobody, is dropped, and rolls back.
async fn begin_pooled(pool: &Pool, permit: Permit, text: &'static str) -> Result<Lease> {
    let pool = pool.clone();
    to_the_end(async move {
        let mut lease = pool.lease(permit).await?;
        lease.busy = true;
        if let Err(error) = lease.connection()?.control(text).await {
            if !error.is_lost() {
                return Err(error);
            }
            lease.replace().await?;
            lease.busy = true;
            lease.connection()?.control(text).await?;
        }
        lease.busy = false;
        lease.in_tx = true;
        Ok(lease)
    })
    .await
}
