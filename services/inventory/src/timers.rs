//! What is due now: claims whose time is over, positions that have more claims to give up, and positions that policies say
//! something else about.

use jiff::Timestamp;
use service::once;

use crate::Inventory;
use crate::command::{Act, Cause, Command};
use crate::error::Error;
use crate::stock::{self, Mode};
use crate::store::{relief, reservations};

/// Claims that one transaction ends.
const CHUNK: usize = 256;
/// Chunks of one call: the rest waits for the next, so that a flood of expiries leaves room for others.
const CHUNKS: usize = 40;
/// Transactions of one call that give up claims.
const RELIEFS: usize = 200;

impl Inventory {
    /// Does what is due at `now`; answers how much that was. Safe to run in several processes: who comes second finds
    /// nothing left to do.
    pub async fn run_due(&self, now: Timestamp) -> Result<usize, Error> {
        let cause = Cause::now("service/inventory");
        self.policies.keep_in_step().await?;
        let mut done = 0;
        for _ in 0..CHUNKS {
            let expired =
                db::retry(once::ATTEMPTS, Error::is_retry, || self.expire_chunk(now, &cause)).await?;
            done += expired;
            if expired < CHUNK {
                break;
            }
        }
        if done > 0 {
            metrics::counter!("entrepot_inventory_holds_expired_total").increment(done as u64);
            tracing::info!(expired = done, "claims expired");
        }
        done += self.relieve_due(now, RELIEFS).await?;
        Ok(done + self.restate_due(now).await?)
    }

    /// How much is due at `now`, counted up to `limit`.
    pub async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Error> {
        let mut tx = self.db.read().await?;
        let due = reservations::overdue(&mut tx, now, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
        Ok(usize::try_from(due).unwrap_or(usize::MAX))
    }

    /// When [`Inventory::run_due`] has something to do next.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.policies.keep_in_step().await?;
        let mut tx = self.db.read().await?;
        let expiry = reservations::next_due(&mut tx).await?;
        let relief = relief::since(&mut tx).await?;
        drop(tx);
        let restate = self.restate_next(self.clock.business()).await?;
        Ok([expiry, relief, restate].into_iter().flatten().min())
    }

    async fn expire_chunk(&self, now: Timestamp, cause: &Cause) -> Result<usize, Error> {
        // looked for without a transaction: most of the time nothing is due
        let limit = i64::try_from(CHUNK).unwrap_or(1);
        let due = reservations::due(&mut self.db.read().await?, now, limit).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let expire = |id: &_| Command { request: None, cause: cause.clone(), act: Act::Expire { id: *id } };
        let commands: Vec<Command> = due.iter().map(expire).collect();
        let mut tx = self.db.begin().await?;
        stock::apply(&mut tx, &self.catalogue, &self.policies.book(), &commands, now, Mode::Thorough).await?;
        tx.commit().await?;
        Ok(due.len())
    }
}
