//! Who may run a relay or a sweeper: a row with holder, epoch and end.
//!
//! The end is by the database's clock: those of processes may differ by hours. Holders renew at a third of the term, so a holder that cannot reach its database knows it
//! before others take over. Two holders at once are harmless wherever this is used; the lease only saves work.

use std::time::Duration;

use clock::Clock;
use db::{Db, Tx, params};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::Error;

/// The longest term, a year in microseconds.
const LONGEST: i64 = 365 * 24 * 3_600 * 1_000_000;

/// What a successful holder knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with each change of the holder.
    pub epoch: i64,
    /// Held until then, unless renewed.
    pub until: Timestamp,
}

/// Takes the lease `name` if it is free, or renews it if `holder` has it. None: somebody else has it.
pub async fn take(tx: &mut Tx, name: &str, holder: &str, term: Duration) -> Result<Option<Lease>, Error> {
    let term = i64::try_from(term.as_micros()).unwrap_or(i64::MAX).min(LONGEST);
    let row = tx
        .fetch_optional(
            "INSERT INTO leases (name, holder, epoch, until_at) VALUES ($1, $2, 1, {now} + $3)
             ON CONFLICT (name) DO UPDATE
               SET epoch = CASE WHEN leases.holder = excluded.holder THEN leases.epoch ELSE leases.epoch + 1 END,
                   holder = excluded.holder, until_at = excluded.until_at
             WHERE leases.holder = excluded.holder OR leases.until_at <= {now}
             RETURNING epoch, until_at",
            params![name, holder, term],
        )
        .await?;
    row.map(|row| {
        Ok(Lease { epoch: row.get("epoch")?, until: crate::event::from_micros(row.get("until_at")?)? })
    })
    .transpose()
}

/// Takes the lease `name` also from somebody else who has it: the last one to ask has it.
pub async fn take_over(tx: &mut Tx, name: &str, holder: &str, term: Duration) -> Result<(), Error> {
    tx.execute("UPDATE leases SET until_at = 0 WHERE name = $1 AND holder <> $2", params![name, holder])
        .await?;
    take(tx, name, holder, term).await.map(|_| ())
}

/// Whether somebody holds the lease `name`.
pub async fn is_held(tx: &mut Tx, name: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 AS held FROM leases WHERE name = $1 AND until_at > {now}";
    Ok(tx.fetch_optional(sql, params![name]).await?.is_some())
}

/// Ends the lease at once, if `holder` has it.
pub async fn give_up(tx: &mut Tx, name: &str, holder: &str) -> Result<(), Error> {
    tx.execute("UPDATE leases SET until_at = 0 WHERE name = $1 AND holder = $2", params![name, holder])
        .await?;
    Ok(())
}

/// Keeps trying for one lease, and keeps it.
pub struct Keeper {
    db: Db,
    clock: Clock,
    name: String,
    holder: String,
    term: Duration,
    held: Option<Held>,
}

struct Held {
    epoch: i64,
    since: Instant,
}

impl Keeper {
    /// A keeper that does not hold the lease yet. `holder` must differ between processes.
    pub fn new(
        db: Db,
        clock: Clock,
        name: impl Into<String>,
        holder: impl Into<String>,
        term: Duration,
    ) -> Self {
        Self { db, clock, name: name.into(), holder: holder.into(), term, held: None }
    }

    /// Who this keeper is.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether the lease is ours now; takes or renews it when that is due. The database is asked at most three
    /// times a term while it is held.
    pub async fn hold(&mut self) -> Result<Option<i64>, Error> {
        if let Some(held) = &self.held
            && held.since.elapsed() < self.term / 3
        {
            return Ok(Some(held.epoch));
        }
        self.renew().await
    }

    /// Takes or renews the lease now.
    pub async fn renew(&mut self) -> Result<Option<i64>, Error> {
        let since = Instant::now();
        match self.ask().await {
            Ok(lease) => {
                self.held = lease.map(|lease| Held { epoch: lease.epoch, since });
            }
            Err(error) => {
                let over = self.held.as_ref().is_none_or(|held| held.since.elapsed() >= self.term * 2 / 3);
                if over {
                    self.held = None;
                    return Err(error);
                }
            }
        }
        Ok(self.held.as_ref().map(|held| held.epoch))
    }

    /// Renews the lease for as long as that works; comes back when it is lost.
    pub async fn keep(&mut self) {
        while self.held.is_some() {
            self.clock.pause(self.term / 3).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(lease = self.name, %error, "the lease could not be renewed");
            }
        }
    }

    /// Takes the lease even if another holder's term is not over: for a database that only this process opens.
    pub async fn seize(&mut self) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "UPDATE leases SET until_at = 0 WHERE name = $1 AND holder <> $2",
            params![self.name.as_str(), self.holder.as_str()],
        )
        .await?;
        tx.commit().await?;
        self.renew().await?;
        Ok(())
    }

    /// Gives the lease up, so that the next holder need not wait.
    pub async fn release(&mut self) -> Result<(), Error> {
        if self.held.take().is_some() {
            let mut tx = self.db.begin().await?;
            give_up(&mut tx, &self.name, &self.holder).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn ask(&self) -> Result<Option<Lease>, Error> {
        let mut tx = self.db.begin().await?;
        let lease = take(&mut tx, &self.name, &self.holder, self.term).await?;
        tx.commit().await?;
        Ok(lease)
    }
}
