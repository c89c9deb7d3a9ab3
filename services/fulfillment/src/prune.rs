//! What is over is forgotten, in short transactions.

use jiff::{SignedDuration, Timestamp};

use crate::error::Error;
use crate::store::{claim, code, hold_count};
use crate::{Fulfillment, store};

/// The most rows of a kind that are forgotten in one go.
const PRUNE_AT_ONCE: i64 = 1_000;

/// How long the count of a caller that holds nothing is kept: a shopper comes back to its cart within that.
const IDLE_COUNTS: SignedDuration = SignedDuration::from_hours(1);

impl Fulfillment {
    /// Forgets promises that ended without an order, and slots, that are long over.
    pub(crate) async fn prune(&self, now: Timestamp) -> Result<(), Error> {
        let ended = now - SignedDuration::from_hours(24 * self.config.keep_ended_days);
        loop {
            let mut tx = self.db.begin().await?;
            let gone = store::promise::prune(&mut tx, ended, PRUNE_AT_ONCE).await?
                + store::capacity::prune(&mut tx, ended.as_microsecond(), PRUNE_AT_ONCE).await?;
            tx.commit().await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }

    /// Forgets what nobody can ask for any more: old entries of the feeds, notes on claims whose orders have their work,
    /// codes that are long void, misses that no longer count, counts of callers that hold nothing. Answers how many rows.
    pub async fn prune_feed(&self, now: Timestamp) -> Result<u64, Error> {
        let kept = SignedDuration::from_hours(self.work.config.feed_days.saturating_mul(24));
        // Misses are capped so that the last one is forgotten within two windows.
        let window = SignedDuration::from_secs(self.work.config.miss_window_s.saturating_mul(2));
        let before = |span| now.checked_sub(span).unwrap_or(Timestamp::MIN);
        let mut gone = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let some = [
                work_feed::rows::prune(&mut tx, before(kept), PRUNE_AT_ONCE).await?,
                claim::prune(&mut tx, PRUNE_AT_ONCE).await?,
                code::prune_void(&mut tx, before(kept), PRUNE_AT_ONCE).await?,
                code::prune_misses(&mut tx, before(window), PRUNE_AT_ONCE).await?,
                hold_count::prune(&mut tx, before(IDLE_COUNTS), PRUNE_AT_ONCE).await?,
            ];
            tx.commit().await?;
            gone += some.iter().sum::<u64>();
            // Each is a short transaction of its own, so that it never stands in anybody's way for long.
            if some.iter().all(|gone| *gone < PRUNE_AT_ONCE.unsigned_abs()) {
                return Ok(gone);
            }
        }
    }
}
