//! What time does: promises end, calls are made again, work becomes due.

use domain::time::from_micros;
use jiff::Timestamp;

use crate::Fulfillment;
use crate::error::Error;
use crate::store;

impl Fulfillment {
    /// Does what is due. Answers how much that was. One kind that fails does not keep the others from their turn, and
    /// calls to peers, which may be slow, come last.
    pub async fn run_due(&self, now: Timestamp) -> Result<usize, Error> {
        self.policies.keep_in_step().await?;
        let ended = self.expire_promises(now).await;
        let worked = self.work_due(now).await;
        let made = self.run_tasks(now).await;
        Ok(ended? + worked? + made?)
    }

    /// Does what is due and ends nothing: calls to peers are made again.
    pub async fn run_upkeep(&self, now: Timestamp) -> Result<usize, Error> {
        self.run_tasks(now).await
    }

    /// How much ends at `now`, counted up to `limit` of each kind. Calls to peers, warnings and reminders end nothing.
    pub async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut tx = self.db.read().await?;
        let promises = store::promise::overdue(&mut tx, now, limit).await?;
        let work = store::clock::overdue(&mut tx, now, limit).await?;
        Ok(usize::try_from(promises.saturating_add(work)).unwrap_or(usize::MAX))
    }

    /// When something is due next.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let mut tx = self.db.read().await?;
        let promise = store::promise::next_due(&mut tx).await?.map(from_micros);
        let task = store::task::next_due(&mut tx).await?.map(from_micros);
        tx.commit().await?;
        let work = self.work_next_due().await?;
        Ok([promise, task, work].into_iter().flatten().min())
    }
}
