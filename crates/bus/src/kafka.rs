//! The transport over Kafka.
//!
//! One producer per relay, idempotent and without a message time-out: a time-out would let a younger event pass an
//! older one. One consumer per group and process; offsets are committed after the effects are, and are only a hint,
//! since `applied` knows what was done.

mod backlog;
mod client;
mod dead;
mod follow;
mod headers;
mod outlet;
mod place;
mod receive;
mod report;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clock::Clock;
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) use backlog::Backlog;
pub(crate) use follow::Follower;
pub(crate) use outlet::Outlet;
pub(crate) use receive::receive;
pub use topics::{Applied, apply_topics};

use crate::{Error, Topic};

/// How members of a group share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Cooperative-sticky, by the members.
    Classic,
    /// By the broker (KIP-848; brokers from 4.0 on).
    Consumer,
}

/// How to reach the broker, and how the topics look.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, comma separated.
    pub brokers: String,
    /// Name of this process in the broker's logs.
    pub client_id: String,
    /// Set it (different for each process, the same after a restart) and a quick restart causes no rebalance.
    pub instance: Option<String>,
    /// Put before the names of topics and groups, so that several platforms share a broker.
    pub prefix: String,
    /// How members share partitions.
    pub group_protocol: GroupProtocol,
    /// A member silent for so long is taken for dead, in ms (classic protocol).
    pub session_timeout_ms: u32,
    /// Partitions of each topic. Never change it: events of one aggregate would be in two.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// Copies that must have an event before it counts as published.
    pub min_insync: i32,
    /// How long the broker keeps events, in hours.
    pub retention_hours: u32,
    /// Further settings of librdkafka, meant for `security.protocol`, `sasl.*` and `ssl.*`. Settings that order and
    /// durability rest upon are refused.
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // values of properties may be passwords
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("instance", &self.instance)
            .field("prefix", &self.prefix)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            client_id: "entrepot".to_owned(),
            instance: None,
            prefix: String::new(),
            group_protocol: GroupProtocol::Classic,
            session_timeout_ms: 10_000,
            partitions: 12,
            replication: 1,
            min_insync: 1,
            retention_hours: 168,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// The name of a topic at this broker.
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The name of a consumer group at this broker.
    pub fn group(&self, group: &str) -> String {
        format!("{}{group}", self.prefix)
    }

    /// Where messages go that a group cannot read.
    pub fn dead_letters(&self, group: &str) -> String {
        format!("{}{group}.dlt", self.prefix)
    }

    /// The topic behind a name at this broker.
    fn topic_of(&self, name: &str) -> Result<Topic, Error> {
        Topic::from_name(name.strip_prefix(self.prefix.as_str()).unwrap_or(name))
    }
}

/// What all parts of this transport share.
pub(crate) struct Cluster {
    config: KafkaConfig,
    clock: Clock,
    /// Makes client ids unique: two members with the same one can rebalance forever.
    process: Uuid,
    /// The last reset of each consumer and topic.
    resets: Mutex<Vec<OffsetReset>>,
}

/// A log that was cut or made again under a consumer.
#[derive(Debug, Clone)]
pub(crate) struct OffsetReset {
    pub(crate) consumer: &'static str,
    pub(crate) topic: Topic,
    pub(crate) why: String,
    pub(crate) at: Timestamp,
    /// How often the consumer has compared its events with their owners.
    pub(crate) comparisons: Arc<AtomicU64>,
    /// How often it had before the reset.
    pub(crate) before: u64,
}

impl std::fmt::Display for OffsetReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compared = if self.comparisons.load(Ordering::SeqCst) > self.before {
            "events were compared with their owner since"
        } else {
            "events are being compared with their owner"
        };
        let Self { consumer, topic, at, why, .. } = self;
        write!(f, "offset reset of {consumer} on {topic} at {at}: {why}; {compared}")
    }
}

impl Cluster {
    pub(crate) fn new(config: KafkaConfig, clock: Clock) -> Result<Self, Error> {
        client::check(&config)?;
        Ok(Self { config, clock, process: Uuid::new_v4(), resets: Mutex::default() })
    }

    pub(crate) fn outlet(self: &Arc<Self>, owner: &'static str) -> Outlet {
        Outlet::new(Arc::clone(self), owner)
    }

    pub(crate) fn follower(self: &Arc<Self>, topics: &[Topic]) -> Follower {
        Follower::new(Arc::clone(self), topics)
    }

    fn note_reset(&self, reset: OffsetReset) {
        let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        resets.retain(|known| known.consumer != reset.consumer || known.topic != reset.topic);
        resets.push(reset);
    }

    /// The last reset of each consumer and topic since the start.
    pub(crate) fn resets(&self) -> Vec<OffsetReset> {
        self.resets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client_id(&self, part: &str) -> String {
        format!("{}-{part}-{}", self.config.client_id, self.process.simple())
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Broker(error.to_string())
}
