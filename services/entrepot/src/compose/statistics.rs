//! Looks after the statistics of new tables, see [`db::Db::analyze_new_tables`].

use std::time::Duration;

use clock::Clock;
use db::Db;
use tokio_util::sync::CancellationToken;

/// How often it looks: with a thousand orders a second a lookup then reads no more than a few thousand rows too many.
const EVERY: Duration = Duration::from_secs(3);
/// How often at least, when the same tables are found again and again: their owner is another user of the database.
const AT_LEAST: Duration = Duration::from_mins(10);

/// Runs until `stop`.
pub(super) async fn keep(db: Db, clock: Clock, stop: CancellationToken) {
    let work = async {
        let (mut last, mut pause) = (Vec::new(), EVERY);
        loop {
            clock.pause(pause).await;
            match db.analyze_new_tables().await {
                Ok(tables) if tables.is_empty() => pause = EVERY,
                Ok(tables) if tables == last => pause = (pause * 2).min(AT_LEAST),
                Ok(tables) => {
                    tracing::info!(tables = tables.join(", "), "new tables were analyzed");
                    (last, pause) = (tables, EVERY);
                }
                // the statements of the services report what the database lacks; autovacuum comes in any case
                Err(error) => tracing::debug!(%error, "new tables were not analyzed"),
            }
        }
    };
    stop.run_until_cancelled(work).await;
}
