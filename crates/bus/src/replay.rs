//! The owner's answer to "I miss these".

use std::sync::Arc;

use db::{Db, Tx, params};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{Delivered, Error, Topic};

/// How a consumer asks the owner of a topic for events of one aggregate, from a sequence on, in order. An empty
/// answer means that the owner has none (any more); an error that it could not be asked.
pub type Replay =
    Arc<dyn Fn(Topic, Uuid, i64) -> BoxFuture<'static, Result<Vec<Delivered>, Failure>> + Send + Sync>;

/// Why the owner could not be asked.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The owner's side: its events of one aggregate from a sequence on, at most `limit`.
pub async fn read(tx: &mut Tx, aggregate: Uuid, from: i64, limit: i64) -> Result<Vec<Delivered>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT event_id, topic, aggregate_type, aggregate, sequence, event_type, payload, occurred_at, actor,
                    traceparent
               FROM events WHERE aggregate = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
            params![aggregate, from, limit],
        )
        .await?;
    rows.iter().map(Delivered::from_row).collect()
}

/// Asks databases in this process, by topic: for one process with several services, and for tests.
pub fn from_databases(owners: Vec<(Topic, Db)>) -> Replay {
    Arc::new(move |topic, aggregate, from| {
        let owner = owners.iter().find(|(owned, _)| *owned == topic).map(|(_, db)| db.clone());
        async move {
            let Some(db) = owner else { return Ok(Vec::new()) };
            let mut tx = db.read().await?;
            let events = read(&mut tx, aggregate, from, 100).await?;
            Ok(events)
        }
        .boxed()
    })
}

/// For a consumer whose topics have no owner to ask.
pub fn nobody() -> Replay {
    Arc::new(|_, _, _| async { Ok(Vec::new()) }.boxed())
}
