//! An event as its owner appends it, and as a consumer gets it.

use bytes::Bytes;
use db::Row;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Error, Topic};

/// The largest payload, in bytes. Refused when appended, so never at the broker.
pub const MAX_PAYLOAD: usize = 1_280 * 1024;

/// The largest message that our topics take, in bytes: a payload and its headers, not compressed.
pub(crate) const MAX_MESSAGE: usize = 2 * 1024 * 1024;

/// Something that happened to an aggregate, to be appended in the transaction that made it happen. Its id is drawn when
/// it is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it goes.
    pub topic: Topic,
    /// Kind of aggregate, e.g. `order`.
    pub aggregate_type: &'static str,
    /// The aggregate it happened to.
    pub aggregate: Uuid,
    /// Version of the aggregate after the event: 1, 2, 3 without gaps.
    pub sequence: i64,
    /// Full message name of what happened, e.g. `entrepot.orders.v1.OrderPlaced`.
    pub event_type: &'static str,
    /// The encoded message of the topic.
    pub payload: Vec<u8>,
    /// When it happened, in business time.
    pub occurred_at: Timestamp,
    /// Who did it, `kind/id`.
    pub actor: String,
}

/// An event as it reaches a consumer, or as its owner replays it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Identifies this event for ever.
    pub id: Uuid,
    /// Where it came from.
    pub topic: Topic,
    /// Kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate it happened to.
    pub aggregate: Uuid,
    /// Version of the aggregate after the event.
    pub sequence: i64,
    /// Full message name of what happened.
    pub event_type: String,
    /// The encoded message of the topic.
    pub payload: Bytes,
    /// When it happened, in business time.
    pub occurred_at: Timestamp,
    /// Who did it, `kind/id`.
    pub actor: String,
    /// Trace context of the request behind it, when there was one.
    pub traceparent: Option<String>,
}

/// An aggregate among those of all topics: services choose their ids without asking each other, and some share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) topic: Topic,
    pub(crate) aggregate: Uuid,
}

/// What the ids of aggregates begin with where people see them, by kind of aggregate.
pub const PREFIXES: [(&str, &str); 4] =
    [("order", "ord_"), ("reservation", "rsv_"), ("fulfillment_order", "ful_"), ("policy", "pol_")];

/// The id of an aggregate of this kind as the API shows it.
pub(crate) fn shown_id(aggregate_type: &str, aggregate: Uuid) -> String {
    let prefix = PREFIXES.iter().find(|(kind, _)| *kind == aggregate_type);
    format!("{}{aggregate}", prefix.map_or("", |(_, prefix)| *prefix))
}

impl Delivered {
    /// The aggregate as the API shows its id, such as `ord_<uuid>`; the UUID where the API has no id of its own.
    pub fn aggregate_id(&self) -> String {
        shown_id(&self.aggregate_type, self.aggregate)
    }

    pub(crate) fn key(&self) -> Key {
        Key { topic: self.topic, aggregate: self.aggregate }
    }

    /// Reads an event from a row that has all the columns of `events`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, Error> {
        let topic: String = row.get("topic")?;
        let payload: Vec<u8> = row.get("payload")?;
        Ok(Self {
            id: row.get("event_id")?,
            topic: Topic::from_name(&topic)?,
            aggregate_type: row.get("aggregate_type")?,
            aggregate: row.get("aggregate")?,
            sequence: row.get("sequence")?,
            event_type: row.get("event_type")?,
            payload: Bytes::from(payload),
            occurred_at: from_micros(row.get("occurred_at")?)?,
            actor: row.get("actor")?,
            traceparent: row.get("traceparent")?,
        })
    }
}

pub(crate) fn from_micros(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| Error::Unreadable { what: format!("a time of {micros} us") })
}
