//! Events as they are appended, and as the bus brings them.

use bus::{Delivered, Topic};
use db::Row;
use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;

use crate::v7;

/// An event as its owner keeps it.
#[derive(Debug, Clone)]
pub struct Appended<M> {
    /// What it happened to.
    pub aggregate: Uuid,
    /// Its number among the events of the aggregate, from 1 on.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// Who did it.
    pub actor: String,
    /// The trace that it belongs to.
    pub trace: Option<String>,
    /// The message as it is kept.
    pub payload: Vec<u8>,
    /// The message.
    pub body: M,
}

impl<M: Message + Default> Appended<M> {
    /// The event of a row of `events`.
    pub(crate) fn from_row(row: &Row) -> Self {
        let payload: Vec<u8> = row.get("payload").unwrap();
        Self {
            aggregate: row.get("aggregate").unwrap(),
            sequence: row.get("sequence").unwrap(),
            event_type: row.get("event_type").unwrap(),
            actor: row.get("actor").unwrap(),
            trace: row.get("traceparent").unwrap(),
            body: M::decode(payload.as_slice()).unwrap(),
            payload,
        }
    }
}

/// An event as its followers get it.
pub fn heard(event: bus::Event) -> Delivered {
    Delivered {
        id: v7(),
        topic: event.topic,
        aggregate_type: event.aggregate_type.to_owned(),
        aggregate: event.aggregate,
        sequence: event.sequence,
        event_type: event.event_type.to_owned(),
        payload: event.payload.into(),
        occurred_at: event.occurred_at,
        actor: event.actor,
        traceparent: None,
    }
}

/// An event of another service, the first of an aggregate that nobody has. Where it matters, a test sets the other fields.
pub fn delivered(topic: Topic, aggregate_type: &str, payload: Vec<u8>, occurred_at: Timestamp) -> Delivered {
    Delivered {
        id: v7(),
        topic,
        aggregate_type: aggregate_type.to_owned(),
        aggregate: v7(),
        sequence: 1,
        event_type: String::new(),
        payload: payload.into(),
        occurred_at,
        actor: "channel/web".to_owned(),
        traceparent: None,
    }
}
