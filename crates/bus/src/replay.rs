//! The owner's answer to "I miss these".

use std::sync::Arc;

use contract::r#type::v1::StoredEvent;
use db::{Db, Tx, params};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use uuid::Uuid;

use crate::heads::Heads;
use crate::{Delivered, Error, Topic};

/// How a consumer asks the owner of a topic for events of one aggregate, from a sequence on, in order. An empty
/// answer means that the owner has none (any more); an error that it could not be asked.
pub type Replay =
    Arc<dyn Fn(Topic, Uuid, i64) -> BoxFuture<'static, Result<Vec<Delivered>, Failure>> + Send + Sync>;

/// Why the owner could not be asked.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How a consumer asks the owners of topics.
#[derive(Clone)]
pub struct Owners {
    /// For events that it misses.
    pub replay: Replay,
    /// How far the aggregates are; without it only gaps show that something is missing.
    pub heads: Option<Heads>,
}

impl From<Replay> for Owners {
    fn from(replay: Replay) -> Self {
        Self { replay, heads: None }
    }
}

/// The most bytes of payload of one answer. Who misses more asks again.
const MOST_BYTES: usize = 1024 * 1024;

/// The owner's side: its events of one aggregate from a sequence on, at most `limit`, and at least one if there is one;
/// of large ones as many as fit into an answer.
pub async fn read(tx: &mut Tx, aggregate: Uuid, from: i64, limit: i64) -> Result<Vec<Delivered>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT event_id, topic, aggregate_type, aggregate, sequence, event_type, payload, occurred_at, actor,
                    traceparent
               FROM events WHERE aggregate = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
            params![aggregate, from, limit],
        )
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for row in &rows {
        let event = Delivered::from_row(row)?;
        bytes += event.payload.len();
        if bytes > MOST_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

/// The owner's events of all aggregates that happened at `since` or later, oldest first, at most `limit`: for people
/// who look on. It is no feed: a transaction may commit late with an earlier time.
pub async fn since(tx: &mut Tx, since: Timestamp, limit: i64) -> Result<Vec<Delivered>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT event_id, topic, aggregate_type, aggregate, sequence, event_type, payload, occurred_at, actor,
                    traceparent
               FROM events WHERE occurred_at >= $1 ORDER BY occurred_at, aggregate, sequence LIMIT $2",
            params![since.as_microsecond(), limit],
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

/// An event as `ReplayEvents` returns it.
pub fn to_stored(event: &Delivered) -> StoredEvent {
    StoredEvent {
        event_id: event.id.to_string(),
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate.to_string(),
        sequence: event.sequence,
        event_type: event.event_type.clone(),
        payload: event.payload.clone(),
        occurred_time: Some(prost_types::Timestamp {
            seconds: event.occurred_at.as_second(),
            nanos: event.occurred_at.subsec_nanosecond(),
        }),
        actor: event.actor.clone(),
    }
}

/// The event that `ReplayEvents` of the owner of `topic` returned.
pub fn from_stored(topic: Topic, stored: StoredEvent) -> Result<Delivered, Error> {
    let unreadable = |what: &str| Error::Unreadable { what: format!("{what} of a replayed event") };
    let occurred = stored.occurred_time.ok_or_else(|| unreadable("occurred_time"))?;
    Ok(Delivered {
        id: stored.event_id.parse().map_err(|_| unreadable("event_id"))?,
        topic,
        aggregate_type: stored.aggregate_type,
        aggregate: stored.aggregate_id.parse().map_err(|_| unreadable("aggregate_id"))?,
        sequence: stored.sequence,
        event_type: stored.event_type,
        payload: stored.payload,
        occurred_at: Timestamp::new(occurred.seconds, occurred.nanos)
            .map_err(|_| unreadable("occurred_time"))?,
        actor: stored.actor,
        traceparent: None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_event_told_by_its_owner_is_the_event_it_kept() {
        let event = Delivered {
            id: Uuid::from_u128(1),
            topic: Topic::Inventory,
            aggregate_type: "position".to_owned(),
            aggregate: Uuid::from_u128(2),
            sequence: 7,
            event_type: "entrepot.inventory.v1.PositionChanged".to_owned(),
            payload: Bytes::from_static(b"x"),
            occurred_at: Timestamp::from_microsecond(-1).unwrap(),
            actor: "store/7".to_owned(),
            traceparent: None,
        };
        assert_eq!(from_stored(Topic::Inventory, to_stored(&event)).unwrap(), event);
        let undated = StoredEvent { occurred_time: None, ..to_stored(&event) };
        assert!(from_stored(Topic::Inventory, undated).is_err());
    }
}
