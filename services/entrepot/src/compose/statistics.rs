//! Looks after the statistics of new tables, see [`db::Db::analyze_new_tables`].

use std::time::Duration;

use db::Db;
use tokio_util::sync::CancellationToken;

/// How often it looks: with a thousand orders a second a lookup then reads no more than a few thousand rows too many.
const EVERY: Duration = Duration::from_secs(3);

/// Runs until `stop`.
pub(super) async fn keep(db: Db, stop: CancellationToken) {
    let work = async {
        loop {
            tokio::time::sleep(EVERY).await;
            match db.analyze_new_tables().await {
                Ok(tables) if tables.is_empty() => {}
                Ok(tables) => tracing::info!(tables = tables.join(", "), "new tables were analyzed"),
                // the statements of the services report what the database lacks; autovacuum comes in any case
                Err(error) => tracing::debug!(%error, "new tables were not analyzed"),
            }
        }
    };
    stop.run_until_cancelled(work).await;
}
