//! Events appended inside the caller's transaction.

use db::{Part, Row, Tx, Type, Value, params};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Error, Event, MAX_PAYLOAD, fresh, trace};

/// Appends events in the order given. Lock or update the aggregates' rows first (see the crate's notes).
///
/// An event whose (aggregate, sequence) exists already fails with [`db::Error::Duplicate`]: two writers took the
/// same version, so one of them did not lock. The relay is woken when the transaction commits.
pub async fn append(tx: &mut Tx, events: &[Event]) -> Result<(), Error> {
    match events {
        [] => {}
        [event] => {
            let traceparent = trace::current();
            let appended = Appended::new(event, traceparent.as_deref())?;
            append_one(tx, &appended).await?;
            fresh::keep(tx, &[appended]);
            tx.wake_on_commit();
        }
        [..] => {
            let parts = parts(tx, events)?;
            tx.together(parts).await?;
        }
    }
    Ok(())
}

/// An event, and the `traceparent` of what caused it.
pub type Traced = (Event, Option<String>);

/// An event on its way into the tables, with the id that it has from then on.
pub(crate) struct Appended<'a> {
    pub(crate) id: Uuid,
    pub(crate) event: &'a Event,
    pub(crate) traceparent: Option<&'a str>,
}

impl<'a> Appended<'a> {
    fn new(event: &'a Event, traceparent: Option<&'a str>) -> Result<Self, Error> {
        check(event)?;
        Ok(Self { id: Uuid::now_v7(), event, traceparent })
    }
}

/// The same as [`append`] for events of several traces: each carries the `traceparent` that it comes with.
pub async fn append_traced(tx: &mut Tx, events: &[Traced]) -> Result<(), Error> {
    if !events.is_empty() {
        let parts = parts_traced(tx, events)?;
        tx.together(parts).await?;
    }
    Ok(())
}

/// The same as [`append`], for a writer that runs it together with batches of its own (see [`Tx::together`]). `tx` is
/// the transaction in which that will be.
pub fn parts(tx: &mut Tx, events: &[Event]) -> Result<Vec<Part>, Error> {
    let traceparent = trace::current();
    checked(tx, events.iter().zip(std::iter::repeat(traceparent.as_deref())))
}

/// The same as [`parts`] for events of several traces.
pub fn parts_traced(tx: &mut Tx, events: &[Traced]) -> Result<Vec<Part>, Error> {
    checked(tx, events.iter().map(|(event, trace)| (event, trace.as_deref())))
}

/// Events of `tx` and the pointers to them, which the relay hears of after the commit.
fn checked<'a>(
    tx: &mut Tx,
    events: impl Iterator<Item = (&'a Event, Option<&'a str>)>,
) -> Result<Vec<Part>, Error> {
    let events: Vec<Appended<'_>> =
        events.map(|(event, traceparent)| Appended::new(event, traceparent)).collect::<Result<_, _>>()?;
    if !events.is_empty() {
        fresh::keep(tx, &events);
        tx.wake_on_commit();
    }
    Ok(parts_of(&events))
}

async fn append_one(tx: &mut Tx, appended: &Appended<'_>) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO events (event_id, topic, aggregate_type, aggregate, sequence, event_type, payload,
                             occurred_at, actor, traceparent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        columns(appended),
    )
    .await?;
    tx.execute(
        "INSERT INTO outbox (aggregate, sequence, queued_at) VALUES ($1, $2, $3)",
        params![
            appended.event.aggregate,
            appended.event.sequence,
            appended.event.occurred_at.as_microsecond()
        ],
    )
    .await?;
    Ok(())
}

fn parts_of(events: &[Appended<'_>]) -> Vec<Part> {
    let rows = events.iter().map(columns).collect();
    let pointers = (0_i64..).zip(events);
    let pointers = pointers.map(|(nth, Appended { event, .. })| {
        params![nth, event.aggregate, event.sequence, event.occurred_at.as_microsecond()]
    });
    vec![
        Part::new(
            "INSERT INTO events (event_id, topic, aggregate_type, aggregate, sequence, event_type, payload,
                                 occurred_at, actor, traceparent)
             SELECT r.event_id, r.topic, r.aggregate_type, r.aggregate, r.sequence, r.event_type, r.payload,
                    r.occurred_at, r.actor, r.traceparent
               FROM {rows}",
            &[
                ("event_id", Type::Uuid),
                ("topic", Type::Text),
                ("aggregate_type", Type::Text),
                ("aggregate", Type::Uuid),
                ("sequence", Type::BigInt),
                ("event_type", Type::Text),
                ("payload", Type::Bytes),
                ("occurred_at", Type::BigInt),
                ("actor", Type::Text),
                ("traceparent", Type::Text),
            ],
            rows,
        ),
        Part::new(
            "INSERT INTO outbox (aggregate, sequence, queued_at)
             SELECT r.aggregate, r.sequence, r.queued_at FROM {rows} ORDER BY r.nth",
            POINTER_COLUMNS,
            pointers.collect(),
        ),
    ]
}

const POINTER_COLUMNS: &[(&str, Type)] = &[
    ("nth", Type::BigInt),
    ("aggregate", Type::Uuid),
    ("sequence", Type::BigInt),
    ("queued_at", Type::BigInt),
];

fn check(event: &Event) -> Result<(), Error> {
    if event.payload.len() > MAX_PAYLOAD {
        return Err(Error::TooLarge {
            event_type: event.event_type.to_owned(),
            bytes: event.payload.len(),
            limit: MAX_PAYLOAD,
        });
    }
    if event.sequence < 1 {
        return Err(Error::BadSequence {
            event_type: event.event_type.to_owned(),
            aggregate: event.aggregate,
            sequence: event.sequence,
        });
    }
    Ok(())
}

fn columns(appended: &Appended<'_>) -> Vec<Value> {
    let Appended { id, event, traceparent } = appended;
    params![
        *id,
        event.topic.name(),
        event.aggregate_type,
        event.aggregate,
        event.sequence,
        event.event_type,
        event.payload.clone(),
        event.occurred_at.as_microsecond(),
        event.actor.clone(),
        traceparent.map(ToOwned::to_owned),
    ]
}

/// Where a resending goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resent {
    /// Events made pending again.
    pub count: u64,
    /// When the last one of them happened, in microseconds; the next portion begins after it.
    pub last: Option<(i64, i64, Uuid)>,
}

/// Makes one portion of the owner's events pending again, oldest first, so that the relay publishes them once more;
/// consumers skip what they have. `after` is [`Resent::last`] of the portion before, `now` is the owner's business time.
pub async fn resend(
    tx: &mut Tx,
    since: Timestamp,
    after: Option<(i64, i64, Uuid)>,
    limit: i64,
    now: Timestamp,
) -> Result<Resent, Error> {
    let (at, sequence, aggregate) = after.unwrap_or((since.as_microsecond(), 0, Uuid::nil()));
    let rows = tx
        .fetch_all(
            "SELECT aggregate, sequence, occurred_at FROM events
              WHERE occurred_at >= $1
                AND (occurred_at > $1 OR sequence > $2 OR (sequence = $2 AND aggregate > $3))
              ORDER BY occurred_at, sequence, aggregate LIMIT $4",
            params![at, sequence, aggregate, limit],
        )
        .await?;
    let mut pointers = Vec::with_capacity(rows.len());
    let mut last = None;
    for (nth, row) in (0_i64..).zip(&rows) {
        let (aggregate, sequence) = (row.get::<Uuid>("aggregate")?, row.get::<i64>("sequence")?);
        last = Some((row.get("occurred_at")?, sequence, aggregate));
        pointers.push(params![nth, aggregate, sequence, now.as_microsecond()]);
    }
    let count = tx
        .batch(
            "INSERT INTO outbox (aggregate, sequence, queued_at)
             SELECT r.aggregate, r.sequence, r.queued_at FROM {rows} ORDER BY r.nth",
            POINTER_COLUMNS,
            pointers,
        )
        .await?;
    tx.wake_on_commit();
    Ok(Resent { count, last })
}

/// A pointer to an event that is pending.
pub(crate) struct Pointer {
    pub(crate) id: i64,
    pub(crate) aggregate: Uuid,
    pub(crate) sequence: i64,
}

/// The oldest pointers.
pub(crate) async fn pointers(tx: &mut Tx, limit: i64) -> Result<Vec<Pointer>, Error> {
    let rows = tx
        .fetch_all("SELECT id, aggregate, sequence FROM outbox ORDER BY id LIMIT $1", params![limit])
        .await?;
    rows.iter()
        .map(|row| {
            let (id, aggregate, sequence) = (row.get("id")?, row.get("aggregate")?, row.get("sequence")?);
            Ok(Pointer { id, aggregate, sequence })
        })
        .collect()
}

/// The events that are pointed at, in no order, each with the id of its pointer.
pub(crate) async fn pointed_at(tx: &mut Tx, pointers: &[&Pointer]) -> Result<Vec<Row>, Error> {
    let rows = pointers.iter().map(|to| params![to.id, to.aggregate, to.sequence]).collect();
    let rows = tx
        .batch_fetch(
            "SELECT r.id, e.event_id, e.topic, e.aggregate_type, e.aggregate, e.sequence, e.event_type, e.payload,
                    e.occurred_at, e.actor, e.traceparent
               FROM {rows}
               JOIN events e ON e.aggregate = r.aggregate AND e.sequence = r.sequence",
            &[("id", Type::BigInt), ("aggregate", Type::Uuid), ("sequence", Type::BigInt)],
            rows,
        )
        .await?;
    Ok(rows)
}

/// Forgets pointers whose events were acknowledged.
pub(crate) async fn forget(tx: &mut Tx, ids: &[i64]) -> Result<u64, Error> {
    let rows = ids.iter().map(|id| params![*id]).collect();
    let gone = tx
        .batch("DELETE FROM outbox WHERE id IN (SELECT r.id FROM {rows})", &[("id", Type::BigInt)], rows)
        .await?;
    Ok(gone)
}

/// How many events wait to be acknowledged.
pub async fn count(tx: &mut Tx) -> Result<i64, Error> {
    Ok(tx.fetch_one("SELECT COUNT(*) AS n FROM outbox", params![]).await?.get("n")?)
}

/// Whether every event was acknowledged.
pub async fn is_empty(tx: &mut Tx) -> Result<bool, Error> {
    Ok(tx.fetch_optional("SELECT id FROM outbox LIMIT 1", params![]).await?.is_none())
}

/// Since when the oldest event waits to be acknowledged, in business time: since it happened, or since it was queued
/// once more.
pub async fn oldest(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let row = tx.fetch_optional("SELECT queued_at FROM outbox ORDER BY id LIMIT 1", params![]).await?;
    let Some(row) = row else { return Ok(None) };
    let micros = row.get::<i64>("queued_at")?;
    Ok(Some(Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)))
}
