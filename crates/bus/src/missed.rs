//! What a consumer never got: asked for by the service itself when it has heard nothing of an aggregate for long.
//!
//! A gap is seen at the next event. The last event of an aggregate has no next one.

use db::{Db, Tx, params};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::event::Key;
use crate::{Consumer, Delivered, Error, HandleError, Topic, applied, outbox};

/// The last sequence that a consumer applied of an aggregate; 0 when none.
pub async fn mark(tx: &mut Tx, consumer: &str, topic: Topic, aggregate: Uuid) -> Result<i64, Error> {
    let row = tx
        .fetch_optional(
            "SELECT sequence FROM applied WHERE consumer = $1 AND topic = $2 AND aggregate = $3",
            params![consumer, topic.name(), aggregate],
        )
        .await?;
    row.map_or(Ok(0), |row| Ok(row.get("sequence")?))
}

/// Applies events of one aggregate that their owner gave again, in order. Those that were applied meanwhile, and those
/// of an aggregate with parked events, are left out. Says how many were applied.
pub async fn apply(db: &Db, consumer: &dyn Consumer, events: &[Delivered]) -> Result<usize, HandleError> {
    let mut keys: Vec<Key> = events.iter().map(Delivered::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut tx = db.begin().await?;
    let mut marks = applied::lock(&mut tx, consumer.group(), &keys).await?;
    let mut fresh = Vec::new();
    for event in events {
        let mark = marks.get(event.key());
        if !mark.blocked && event.sequence == mark.sequence + 1 {
            marks.advance(event.key(), event.sequence);
            fresh.push(event.clone());
        }
    }
    if fresh.is_empty() {
        return Ok(0);
    }
    consumer.handle_batch(&mut tx, &fresh).await?;
    if !marks.save(&mut tx, consumer.group()).await? {
        return Err(HandleError::retry("the consumer got the events meanwhile"));
    }
    tx.commit().await?;
    consumer.committed();
    Ok(fresh.len())
}

/// The most events of one aggregate that are sent again.
const MOST: i64 = 1_000;
/// When the oldest pending event has waited longer, the transport is away or behind.
const BEHIND: SignedDuration = SignedDuration::from_secs(10);

/// Sends the kept events of an aggregate again, in order: for a consumer that seems not to have got them. Those who did
/// pass over them. Says how many. None: the outbox waits for the transport, so that the events may wait there
/// themselves, and nothing is sent. `now` is the owner's business time.
pub async fn send_again(tx: &mut Tx, aggregate: Uuid, now: Timestamp) -> Result<Option<u64>, Error> {
    if outbox::oldest(tx).await?.is_some_and(|oldest| now.duration_since(oldest) > BEHIND) {
        return Ok(None);
    }
    let sent = tx
        .execute(
            "INSERT INTO outbox (aggregate, sequence, queued_at)
             SELECT e.aggregate, e.sequence, $3 FROM events e WHERE e.aggregate = $1 ORDER BY e.sequence LIMIT $2",
            params![aggregate, MOST, now.as_microsecond()],
        )
        .await?;
    if sent > 0 {
        tx.wake_on_commit();
    }
    Ok(Some(sent))
}
