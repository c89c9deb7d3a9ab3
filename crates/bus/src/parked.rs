//! Events that could not be applied, and what an operator does about them.
//!
//! A parked event blocks its aggregate: later events of it park behind it, in order; other aggregates flow on. The
//! functions here run in the operator's transaction and write `parked_actions`; the consumer picks a retry up at its
//! next look.

use bytes::Bytes;
use db::{Row, Tx, Type, params};
use jiff::Timestamp;
use uuid::Uuid;

use crate::event::{Key, from_micros};
use crate::{Delivered, Error, Topic, applied};

/// Why an event is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its handler failed three times.
    Handler,
    /// Events before it are missing, and the owner did not have them.
    Gap,
    /// An earlier event of the aggregate is parked.
    Behind,
}

impl Reason {
    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handler => "HANDLER",
            Self::Gap => "GAP",
            Self::Behind => "BEHIND",
        }
    }

    fn from_name(name: &str) -> Result<Self, Error> {
        [Self::Handler, Self::Gap, Self::Behind]
            .into_iter()
            .find(|reason| reason.name() == name)
            .ok_or_else(|| Error::Unreadable { what: format!("park reason {name}") })
    }
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Position in the list; pages go on after it.
    pub id: i64,
    /// Who could not apply it.
    pub consumer: String,
    /// The event.
    pub event: Delivered,
    /// Why it is parked.
    pub reason: Reason,
    /// What its handler said.
    pub error: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Since when, in wall time.
    pub parked_at: Timestamp,
    /// When it will be tried without being asked, in wall time.
    pub retry_at: Option<Timestamp>,
}

impl Parked {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let reason: String = row.get("reason")?;
        Ok(Self {
            id: row.get("id")?,
            consumer: row.get("consumer")?,
            event: Delivered::from_row(row)?,
            reason: Reason::from_name(&reason)?,
            error: row.get("error")?,
            attempts: row.get("attempts")?,
            parked_at: from_micros(row.get("parked_at")?)?,
            retry_at: row.get::<Option<i64>>("retry_at")?.map(from_micros).transpose()?,
        })
    }
}

/// Which parked events to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of this consumer.
    pub consumer: &'a str,
    /// Leave out those that only wait behind another.
    pub heads_only: bool,
    /// After this position.
    pub after: i64,
    /// At most this many.
    pub limit: i64,
}

/// What an operator decided, and who.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The consumer.
    pub consumer: &'a str,
    /// The aggregate.
    pub aggregate: Uuid,
    /// The operator, `kind/id`.
    pub actor: &'a str,
    /// Why.
    pub note: &'a str,
    /// When, in wall time.
    pub at: Timestamp,
}

/// Lists the parked events of a consumer that meet `$condition`, along an index.
macro_rules! list {
    ($condition:literal) => {
        concat!(
            "SELECT id, consumer, event_id, topic, aggregate_type, aggregate, sequence, event_type, payload,
                    occurred_at, actor, traceparent, reason, error, attempts, parked_at, retry_at
               FROM parked WHERE consumer = $1 AND id > $2",
            $condition,
            " ORDER BY id LIMIT $3"
        )
    };
}

/// Parked events in the order they were parked.
pub async fn list(tx: &mut Tx, filter: &Filter<'_>) -> Result<Vec<Parked>, Error> {
    let text = if filter.heads_only { list!(" AND reason <> 'BEHIND'") } else { list!("") };
    let rows = tx.fetch_all(text, params![filter.consumer, filter.after, filter.limit]).await?;
    rows.iter().map(Parked::from_row).collect()
}

/// What [`count`] counts to.
pub const MOST_COUNTED: i64 = 1_000;

/// How many events are parked for a consumer; [`MOST_COUNTED`] stands for that many or more. It is asked every half second,
/// so it must stay cheap when one sick aggregate holds up a million events.
pub async fn count(tx: &mut Tx, consumer: &str) -> Result<i64, Error> {
    let text =
        "SELECT COUNT(*) AS n FROM (SELECT id FROM parked WHERE consumer = $1 ORDER BY id LIMIT $2) AS first";
    let row = tx.fetch_one(text, params![consumer, MOST_COUNTED]).await?;
    Ok(row.get("n")?)
}

/// Asks for the aggregate's parked events to be tried again, from the first one on.
pub async fn retry(tx: &mut Tx, decision: &Decision<'_>) -> Result<(), Error> {
    let key = key(tx, decision).await?;
    applied::lock(tx, decision.consumer, &[key]).await?;
    let head = head(tx, decision, key).await?;
    wake(tx, decision, key).await?;
    record(tx, decision, &head, "RETRY").await
}

/// Gives up the first parked event of an aggregate, with any that are missing before it: its effect never happens
/// here. The events behind it are tried again. `sequence` must be that of the first one, as seen by the operator.
pub async fn skip(tx: &mut Tx, decision: &Decision<'_>, sequence: i64) -> Result<(), Error> {
    let key = key(tx, decision).await?;
    let mut marks = applied::lock(tx, decision.consumer, &[key]).await?;
    let head = expect_head(tx, decision, key, sequence).await?;
    remove(tx, decision.consumer, key, &[sequence]).await?;
    marks.advance(key, sequence);
    let left = waiting(tx, decision.consumer, key, 1).await?;
    marks.block(key, !left.is_empty());
    save(tx, &marks, decision).await?;
    wake(tx, decision, key).await?;
    record(tx, decision, &head, "SKIP").await
}

/// Gives up the missing events before the first parked one, which is itself tried again.
pub async fn accept_gap(tx: &mut Tx, decision: &Decision<'_>, sequence: i64) -> Result<(), Error> {
    let key = key(tx, decision).await?;
    let mut marks = applied::lock(tx, decision.consumer, &[key]).await?;
    let head = expect_head(tx, decision, key, sequence).await?;
    if marks.get(key).sequence + 1 >= sequence {
        return Err(Error::NoGap { aggregate: decision.aggregate, sequence });
    }
    marks.advance(key, sequence - 1);
    save(tx, &marks, decision).await?;
    wake(tx, decision, key).await?;
    record(tx, decision, &head, "ACCEPT_GAP").await
}

async fn save(tx: &mut Tx, marks: &applied::Marks, decision: &Decision<'_>) -> Result<(), Error> {
    if marks.save(tx, decision.consumer).await? {
        Ok(())
    } else {
        Err(Error::NotParked { consumer: decision.consumer.to_owned(), aggregate: decision.aggregate })
    }
}

/// The topic of the aggregate: of what is parked under that id, the longest parked.
async fn key(tx: &mut Tx, decision: &Decision<'_>) -> Result<Key, Error> {
    let row = tx
        .fetch_optional(
            "SELECT topic FROM parked WHERE consumer = $1 AND aggregate = $2 ORDER BY id LIMIT 1",
            params![decision.consumer, decision.aggregate],
        )
        .await?;
    let consumer = decision.consumer.to_owned();
    let row = row.ok_or(Error::NotParked { consumer, aggregate: decision.aggregate })?;
    let topic = Topic::from_name(&row.get::<String>("topic")?)?;
    Ok(Key { topic, aggregate: decision.aggregate })
}

async fn head(tx: &mut Tx, decision: &Decision<'_>, key: Key) -> Result<Parked, Error> {
    waiting(tx, decision.consumer, key, 1).await?.into_iter().next().ok_or_else(|| Error::NotParked {
        consumer: decision.consumer.to_owned(),
        aggregate: decision.aggregate,
    })
}

async fn expect_head(tx: &mut Tx, decision: &Decision<'_>, key: Key, sequence: i64) -> Result<Parked, Error> {
    let head = head(tx, decision, key).await?;
    if head.event.sequence == sequence {
        Ok(head)
    } else {
        Err(Error::NotHead { aggregate: decision.aggregate, sequence, head: head.event.sequence })
    }
}

/// Makes the first parked event due now.
async fn wake(tx: &mut Tx, decision: &Decision<'_>, key: Key) -> Result<(), Error> {
    tx.execute(
        "UPDATE parked SET retry_at = $4 WHERE consumer = $1 AND topic = $2 AND aggregate = $3 AND sequence =
           (SELECT MIN(sequence) FROM parked WHERE consumer = $1 AND topic = $2 AND aggregate = $3)",
        params![decision.consumer, key.topic.name(), key.aggregate, decision.at.as_microsecond()],
    )
    .await?;
    Ok(())
}

async fn record(
    tx: &mut Tx,
    decision: &Decision<'_>,
    head: &Parked,
    action: &'static str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO parked_actions (consumer, aggregate, sequence, event_id, action, actor, note, error, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            decision.consumer,
            decision.aggregate,
            head.event.sequence,
            head.event.id,
            action,
            decision.actor,
            decision.note,
            head.error.as_str(),
            decision.at.as_microsecond(),
        ],
    )
    .await?;
    Ok(())
}

/// The first parked events of an aggregate, in the order of their versions.
pub(crate) async fn waiting(tx: &mut Tx, consumer: &str, key: Key, limit: i64) -> Result<Vec<Parked>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT id, consumer, event_id, topic, aggregate_type, aggregate, sequence, event_type, payload,
                    occurred_at, actor, traceparent, reason, error, attempts, parked_at, retry_at
               FROM parked WHERE consumer = $1 AND topic = $2 AND aggregate = $3 ORDER BY sequence LIMIT $4",
            params![consumer, key.topic.name(), key.aggregate, limit],
        )
        .await?;
    rows.iter().map(Parked::from_row).collect()
}

/// Aggregates with a parked event that is due to be tried.
pub(crate) async fn due(tx: &mut Tx, consumer: &str, now: Timestamp, limit: i64) -> Result<Vec<Key>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT topic, aggregate FROM parked WHERE consumer = $1 AND retry_at <= $2
              GROUP BY topic, aggregate ORDER BY MIN(retry_at) LIMIT $3",
            params![consumer, now.as_microsecond(), limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let topic = Topic::from_name(&row.get::<String>("topic")?)?;
            Ok(Key { topic, aggregate: row.get("aggregate")? })
        })
        .collect()
}

/// An event to be parked.
pub(crate) struct Parking<'a> {
    pub(crate) event: &'a Delivered,
    pub(crate) reason: Reason,
    pub(crate) error: String,
    pub(crate) attempts: i64,
    pub(crate) retry_at: Option<Timestamp>,
}

impl<'a> Parking<'a> {
    pub(crate) fn behind(event: &'a Delivered) -> Self {
        Self { event, reason: Reason::Behind, error: String::new(), attempts: 0, retry_at: None }
    }
}

/// No database keeps a NUL, and an event whose parking fails is tried for ever.
fn storable(error: &str) -> String {
    error.replace('\0', "\u{fffd}")
}

/// Parks events; those parked already stay as they are.
pub(crate) async fn park(
    tx: &mut Tx,
    consumer: &str,
    parkings: &[Parking<'_>],
    now: Timestamp,
) -> Result<u64, Error> {
    let rows = parkings
        .iter()
        .map(|parking| {
            let event = parking.event;
            let payload: &Bytes = &event.payload;
            params![
                consumer,
                event.aggregate,
                event.sequence,
                event.id,
                event.topic.name(),
                event.aggregate_type.as_str(),
                event.event_type.as_str(),
                payload.to_vec(),
                event.occurred_at.as_microsecond(),
                event.actor.as_str(),
                event.traceparent.clone(),
                parking.reason.name(),
                storable(&parking.error),
                parking.attempts,
                now.as_microsecond(),
                parking.retry_at.map(Timestamp::as_microsecond),
            ]
        })
        .collect();
    let parked = tx.batch(PARK, PARK_COLUMNS, rows).await?;
    Ok(parked)
}

const PARK: &str = "INSERT INTO parked (consumer, aggregate, sequence, event_id, topic, aggregate_type, event_type,
                     payload, occurred_at, actor, traceparent, reason, error, attempts, parked_at, retry_at)
 SELECT r.consumer, r.aggregate, r.sequence, r.event_id, r.topic, r.aggregate_type, r.event_type,
        r.payload, r.occurred_at, r.actor, r.traceparent, r.reason, r.error, r.attempts, r.parked_at, r.retry_at
   FROM {rows} WHERE true ORDER BY r.topic, r.aggregate, r.sequence
 ON CONFLICT (consumer, topic, aggregate, sequence) DO NOTHING";

const PARK_COLUMNS: &[(&str, Type)] = &[
    ("consumer", Type::Text),
    ("aggregate", Type::Uuid),
    ("sequence", Type::BigInt),
    ("event_id", Type::Uuid),
    ("topic", Type::Text),
    ("aggregate_type", Type::Text),
    ("event_type", Type::Text),
    ("payload", Type::Bytes),
    ("occurred_at", Type::BigInt),
    ("actor", Type::Text),
    ("traceparent", Type::Text),
    ("reason", Type::Text),
    ("error", Type::Text),
    ("attempts", Type::BigInt),
    ("parked_at", Type::BigInt),
    ("retry_at", Type::BigInt),
];

/// Records that the first parked event of an aggregate failed again. Those behind it wait for it and for nothing else.
pub(crate) async fn failed(tx: &mut Tx, consumer: &str, parking: &Parking<'_>) -> Result<(), Error> {
    tx.execute(
        "UPDATE parked SET reason = $5, error = $6, attempts = attempts + $7, retry_at = $8
          WHERE consumer = $1 AND topic = $2 AND aggregate = $3 AND sequence = $4",
        params![
            consumer,
            parking.event.topic.name(),
            parking.event.aggregate,
            parking.event.sequence,
            parking.reason.name(),
            storable(&parking.error),
            parking.attempts,
            parking.retry_at.map(Timestamp::as_microsecond),
        ],
    )
    .await?;
    // an event behind it may have been the first one before: its time would wake the aggregate at every look
    tx.execute(
        "UPDATE parked SET reason = 'BEHIND', retry_at = NULL
          WHERE consumer = $1 AND topic = $2 AND aggregate = $3 AND sequence > $4
            AND (retry_at IS NOT NULL OR reason <> 'BEHIND')",
        params![consumer, parking.event.topic.name(), parking.event.aggregate, parking.event.sequence,],
    )
    .await?;
    Ok(())
}

/// Makes every parked event due that is to be tried later anyway. Answers how many.
pub(crate) async fn wake_all(tx: &mut Tx, consumer: &str, now: Timestamp) -> Result<u64, Error> {
    let woken = tx
        .execute(
            "UPDATE parked SET retry_at = $2 WHERE consumer = $1 AND retry_at > $2",
            params![consumer, now.as_microsecond()],
        )
        .await?;
    Ok(woken)
}

/// Puts off the due gaps of one topic, whose owner does not answer.
pub(crate) async fn postpone_gaps(
    tx: &mut Tx,
    consumer: &str,
    topic: Topic,
    until: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        "UPDATE parked SET retry_at = $3 WHERE consumer = $1 AND topic = $2 AND reason = 'GAP' AND retry_at <= $3",
        params![consumer, topic.name(), until.as_microsecond()],
    )
    .await?;
    Ok(())
}

/// Takes events out of the list.
pub(crate) async fn remove(tx: &mut Tx, consumer: &str, key: Key, sequences: &[i64]) -> Result<(), Error> {
    let rows = sequences
        .iter()
        .map(|sequence| params![consumer, key.topic.name(), key.aggregate, *sequence])
        .collect();
    tx.batch(
        "DELETE FROM parked WHERE (consumer, topic, aggregate, sequence) IN
           (SELECT r.consumer, r.topic, r.aggregate, r.sequence FROM {rows})",
        &[
            ("consumer", Type::Text),
            ("topic", Type::Text),
            ("aggregate", Type::Uuid),
            ("sequence", Type::BigInt),
        ],
        rows,
    )
    .await?;
    Ok(())
}
