//! What goes on beside publishing: the outbox is measured and old rows are pruned, also while the transport
//! acknowledges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clock::Clock;
use db::Db;
use futures_util::future;
use jiff::{SignedDuration, Timestamp};

use crate::relay::Settings;
use crate::{Error, inbox, measure, outbox};

/// How often the gauges are set.
const GAUGES: Duration = Duration::from_secs(5);
/// How often old rows are looked for.
const PRUNING: Duration = Duration::from_mins(1);
/// Between two portions of old rows.
const BREATH: Duration = Duration::from_millis(50);
/// Rows pruned in one transaction.
const PRUNE: i64 = 500;

/// The upkeep of one outbox.
pub(crate) struct Upkeep {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) owner: &'static str,
    pub(crate) settings: Settings,
    /// Whether the relay of this process leads: only then are rows pruned. Every process measures, so that the age is
    /// known also when none leads.
    pub(crate) leads: Arc<AtomicBool>,
}

impl Upkeep {
    /// Never ends; dropping it leaves nothing half done.
    pub(crate) async fn run(self) {
        future::join(self.measure(), self.prune()).await;
    }

    async fn measure(&self) {
        loop {
            if let Err(error) = gauges(&self.db, &self.clock, self.owner).await {
                tracing::warn!(outbox = self.owner, %error, "the outbox could not be measured");
            }
            self.clock.pause(GAUGES).await;
        }
    }

    async fn prune(&self) {
        let mut wait = PRUNING;
        loop {
            self.clock.pause(wait).await;
            wait = PRUNING;
            if !self.leads.load(Ordering::Relaxed) {
                continue;
            }
            match prune(&self.db, &self.clock, &self.settings).await {
                Ok(true) => wait = BREATH,
                Ok(false) => {}
                Err(error) => tracing::warn!(outbox = self.owner, %error, "old rows stay a minute longer"),
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges")]
async fn gauges(db: &Db, clock: &Clock, owner: &'static str) -> Result<(), Error> {
    let mut tx = db.read().await?;
    let oldest = outbox::oldest(&mut tx).await?;
    let age = |at: Timestamp| (clock.business().as_microsecond() - at.as_microsecond()).max(0);
    metrics::gauge!(measure::OUTBOX_AGE, "outbox" => owner).set(oldest.map_or(0, age) as f64 / 1e6);
    // the slower one last: after a long outage there is a lot to count
    let pending = outbox::count(&mut tx).await?;
    metrics::gauge!(measure::OUTBOX_PENDING, "outbox" => owner).set(pending as f64);
    Ok(())
}

/// Deletes one portion of the events and request ids that are older than they must be kept, but no event that is
/// still to be published. Answers whether there may be more. The process of the leading relay does it once a minute.
pub async fn prune(db: &Db, clock: &Clock, settings: &Settings) -> Result<bool, Error> {
    let now = clock.business();
    let days = i64::from(settings.events_days) * 24;
    let cutoff = |hours: i64| now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
    let mut tx = db.begin().await?;
    let events = tx
        .execute(
            "DELETE FROM events WHERE (aggregate, sequence) IN
               (SELECT e.aggregate, e.sequence FROM events e
                 WHERE e.occurred_at < $1 AND NOT EXISTS
                   (SELECT 1 FROM outbox o WHERE o.aggregate = e.aggregate AND o.sequence = e.sequence)
                 ORDER BY e.occurred_at LIMIT $2)",
            db::params![cutoff(days).as_microsecond(), PRUNE],
        )
        .await?;
    let requests = inbox::prune(&mut tx, cutoff(i64::from(settings.inbox_hours)), PRUNE).await?;
    tx.commit().await?;
    let full = PRUNE.unsigned_abs();
    Ok(events >= full || requests >= full)
}
