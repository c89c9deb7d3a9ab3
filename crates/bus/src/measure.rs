//! Names of the metrics of this crate.

/// Gauge by `outbox`: for how many seconds the oldest pending event waits. Each process with the relay sets it.
pub const OUTBOX_AGE: &str = "entrepot_outbox_age_seconds";
/// Gauge by `outbox`: events not yet acknowledged.
pub const OUTBOX_PENDING: &str = "entrepot_outbox_pending";
/// Gauge by `outbox`: 1 where this process runs the relay.
pub const RELAY_LEADER: &str = "entrepot_relay_leader";
/// Counter by `outbox`: rounds of the relay that failed.
pub const RELAY_ERRORS: &str = "entrepot_relay_errors_total";
/// Counter by `topic`: events acknowledged by the transport.
pub const PUBLISHED: &str = "entrepot_events_published_total";
/// Counter by `consumer`: events applied.
pub const APPLIED: &str = "entrepot_events_applied_total";
/// Counter by `consumer`: repetitions skipped.
pub const REPEATED: &str = "entrepot_events_repeated_total";
/// Counter by `consumer` and `reason`: events parked.
pub const PARKED_TOTAL: &str = "entrepot_events_parked_total";
/// Gauge by `consumer`: events parked now, counted to [`crate::parked::MOST_COUNTED`].
pub const PARKED: &str = "entrepot_events_parked";
/// Counter by `consumer` and `healed`: gaps met.
pub const GAPS: &str = "entrepot_event_gaps_total";
/// Counter by `consumer`: messages that could not be read, sent to the dead-letter topic.
pub const DEAD_LETTERS: &str = "entrepot_dead_letters_total";
/// Gauge by `consumer` and `topic`: events on the topic that the consumer has not seen.
pub const CONSUMER_LAG: &str = "entrepot_consumer_lag";
/// Counter by `consumer`: reconnections to the broker.
pub const CONSUMER_REBUILDS: &str = "entrepot_consumer_rebuilds_total";
/// Counter by `consumer` and `topic`: aggregates whose newest events never came and were fetched from their owner.
pub const MISSED: &str = "entrepot_events_missed_total";
/// Counter by `consumer` and `topic`: times the log of the broker was cut or made again under a consumer.
pub const OFFSET_RESETS: &str = "entrepot_consumer_offset_resets_total";
