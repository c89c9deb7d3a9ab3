//! Settings of the bus.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Which transport carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Within this process.
    Local,
    /// Over Kafka.
    Kafka,
}

/// How events travel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// `local` (all services in this process) or `kafka`.
    pub kind: BusKind,
    /// Whether databases that were used with Kafka may be used with the local bus or with another `prefix`. No other
    /// process may use them then.
    pub leave_kafka: bool,
    /// Kafka brokers, `host:port` separated by commas.
    pub brokers: String,
    /// Put before the names of topics and consumer groups, so that several platforms can share a broker.
    pub prefix: String,
    /// SASL user; empty: no SASL.
    pub username: String,
    /// SASL password.
    pub password: Secret,
    /// A file that holds the password.
    pub password_file: PathBuf,
    /// SASL mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// Whether to speak TLS with the broker (a build with the feature `ssl`).
    pub tls: bool,
    /// File of certificate authorities for TLS; empty: the system's.
    pub ca_file: PathBuf,
    /// How members of a group share partitions: `classic`, or `consumer` (brokers from 4.0 on).
    pub group_protocol: String,
    /// Name of this process among the members of its groups, the same after a restart, so that a quick one moves no
    /// partitions; empty: none. Two processes of one name push each other out.
    pub instance: String,
    /// A member silent for so long is taken for dead, ms.
    pub session_timeout_ms: u32,
    /// Whether `serve` makes missing topics.
    pub create_topics: bool,
    /// Partitions of topics that are made; never change it later.
    pub partitions: u32,
    /// Copies of each partition of topics that are made.
    pub replication: u32,
    /// Copies that must have an event before it counts as published.
    pub min_insync: u32,
    /// How long the broker keeps events in topics that are made, h.
    pub retention_hours: u32,
    /// Events stay this many days with their owner, for replays and late joiners.
    pub events_days: u32,
    /// Replies to request ids stay this many hours.
    pub inbox_hours: u32,
    /// Term of the leases of relays and timers, ms; a successor takes over this much after a crash.
    pub lease_ms: u32,
}

impl Default for Bus {
    fn default() -> Self {
        let kept = ::bus::Settings::default();
        Self {
            kind: BusKind::Local,
            leave_kafka: false,
            brokers: "127.0.0.1:9092".to_owned(),
            prefix: String::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: PathBuf::new(),
            sasl_mechanism: "PLAIN".to_owned(),
            tls: false,
            ca_file: PathBuf::new(),
            group_protocol: "classic".to_owned(),
            instance: String::new(),
            session_timeout_ms: 10_000,
            create_topics: true,
            partitions: 12,
            replication: 1,
            min_insync: 1,
            retention_hours: 168,
            events_days: kept.events_days,
            inbox_hours: kept.inbox_hours,
            lease_ms: kept.lease_ms,
        }
    }
}
