//! Events as Kafka records: CloudEvents 1.0, binary mode.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use super::KafkaConfig;
use crate::{Delivered, MAX_PAYLOAD};

/// The headers of an event.
pub(super) fn write(event: &Delivered) -> OwnedHeaders {
    let source = format!("/entrepot/{}", event.topic.owner());
    let schema = format!("type.googleapis.com/{}", event.topic.message());
    let aggregate = event.aggregate.to_string();
    let texts = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event.id.to_string()),
        ("ce_source", source),
        ("ce_type", event.event_type.clone()),
        ("ce_subject", aggregate.clone()),
        ("ce_time", event.occurred_at.to_string()),
        ("ce_dataschema", schema),
        ("ce_partitionkey", aggregate),
        ("ce_sequence", format!("{:020}", event.sequence)),
        ("ce_aggregatetype", event.aggregate_type.clone()),
        ("ce_actor", event.actor.clone()),
        ("content-type", "application/protobuf".to_owned()),
    ];
    let mut headers = OwnedHeaders::new_with_capacity(texts.len() + 1);
    for (key, value) in &texts {
        headers = headers.insert(Header { key, value: Some(value.as_str()) });
    }
    match &event.traceparent {
        Some(trace) => headers.insert(Header { key: "traceparent", value: Some(trace.as_str()) }),
        None => headers,
    }
}

/// The event in a record, or why it is none.
pub(super) fn read(message: &BorrowedMessage<'_>, config: &KafkaConfig) -> Result<Delivered, String> {
    let topic = config.topic_of(message.topic()).map_err(|error| error.to_string())?;
    let payload = message.payload().ok_or("no payload")?;
    if payload.len() > MAX_PAYLOAD {
        return Err(format!("{} bytes, more than {MAX_PAYLOAD}", payload.len()));
    }
    let version = text(message, "ce_specversion")?;
    if version != "1.0" {
        return Err(format!("ce_specversion {version}"));
    }
    Ok(Delivered {
        id: parsed(message, "ce_id")?,
        topic,
        aggregate_type: text(message, "ce_aggregatetype")?.to_owned(),
        aggregate: parsed(message, "ce_subject")?,
        sequence: parsed(message, "ce_sequence").and_then(|sequence: i64| {
            if sequence >= 1 { Ok(sequence) } else { Err(format!("ce_sequence {sequence}")) }
        })?,
        event_type: text(message, "ce_type")?.to_owned(),
        payload: Bytes::copy_from_slice(payload),
        occurred_at: parsed(message, "ce_time")?,
        actor: text(message, "ce_actor")?.to_owned(),
        traceparent: text(message, "traceparent").ok().map(ToOwned::to_owned),
    })
}

fn text<'m>(message: &'m BorrowedMessage<'_>, key: &str) -> Result<&'m str, String> {
    let headers = message.headers().ok_or("no headers")?;
    let value = headers
        .iter()
        .find(|header| header.key == key)
        .and_then(|header| header.value)
        .ok_or_else(|| format!("no header {key}"))?;
    match std::str::from_utf8(value) {
        // no database keeps it
        Ok(text) if text.contains('\0') => Err(format!("header {key} holds a NUL")),
        Ok(text) => Ok(text),
        Err(_) => Err(format!("header {key} is not text")),
    }
}

fn parsed<T: std::str::FromStr>(message: &BorrowedMessage<'_>, key: &str) -> Result<T, String> {
    text(message, key)?.parse().map_err(|_| format!("header {key} is malformed"))
}
