//! Settings of the clients, and what they tell us.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use tokio::time::Instant;

use super::report::complain;
use super::{Cluster, GroupProtocol, KafkaConfig};
use crate::event::MAX_MESSAGE;
use crate::{Error, measure};

/// Prefixes of settings that users may add.
const FREE: [&str; 8] =
    ["security.", "sasl.", "ssl.", "socket.", "broker.", "metadata.", "debug", "client.rack"];

/// Refuses settings that order and durability rest upon.
pub(super) fn check(config: &KafkaConfig) -> Result<(), Error> {
    match config.properties.keys().find(|key| !FREE.iter().any(|free| key.starts_with(free))) {
        Some(key) => Err(Error::Broker(format!("setting {key} is not free to choose"))),
        None => Ok(()),
    }
}

/// What every client has.
pub(super) fn base(config: &KafkaConfig, client_id: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", client_id)
        .set("socket.nagle.disable", "true")
        // a connection that a firewall has forgotten answers nothing: given up after 8 s, not after a minute
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "8000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("api.version.request.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        // a connection at rest is used now and then, so that it is not forgotten, or so that this is noticed
        .set("topic.metadata.refresh.interval.ms", "15000")
        .set("metadata.max.age.ms", "60000");
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client.set_log_level(RDKafkaLogLevel::Info);
    client
}

/// What every reader has: few messages wait in its queue, also when there are millions to catch up with.
pub(super) fn reader(config: &KafkaConfig, client_id: &str) -> ClientConfig {
    let mut client = base(config, client_id);
    client
        .set("enable.auto.commit", "false")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.message.max.bytes", "131072")
        .set("fetch.max.bytes", "1048576")
        // a full queue is emptied in milliseconds, not in the second that is the default
        .set("fetch.queue.backoff.ms", "10");
    client
}

impl Cluster {
    /// A producer whose order and durability hold whatever the broker does.
    pub(super) fn producer_config(&self, part: &str) -> ClientConfig {
        let mut client = base(&self.config, &self.client_id(part));
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MAX_MESSAGE.to_string())
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            // the broker gives up before the socket does
            .set("request.timeout.ms", "6000")
            .set("queue.buffering.max.messages", "10000")
            .set("queue.buffering.max.kbytes", "16384")
            .set("batch.size", "262144")
            .set("partitioner", "murmur2_random");
        client
    }

    /// A member of a group that decides itself what is done.
    pub(super) fn consumer_config(&self, group: &str) -> ClientConfig {
        let config = &self.config;
        let mut client = reader(config, &self.client_id(group));
        client
            .set("group.id", config.group(group))
            .set("enable.auto.offset.store", "false")
            // a group without an offset starts at the oldest event; what was applied is skipped
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", "5000");
        match config.group_protocol {
            GroupProtocol::Classic => {
                client
                    .set("partition.assignment.strategy", "cooperative-sticky")
                    .set("session.timeout.ms", config.session_timeout_ms.to_string())
                    .set("heartbeat.interval.ms", (config.session_timeout_ms / 4).max(1).to_string());
            }
            GroupProtocol::Consumer => {
                client.set("group.protocol", "consumer");
            }
        }
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", format!("{instance}-{group}"));
        }
        client
    }
}

/// A client that only complains.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        complain("client", reason, &error);
    }
}

impl ConsumerContext for Quiet {}

fn log(level: RDKafkaLogLevel, fac: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => complain("librdkafka", fac, &message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(fac, message, "librdkafka");
        }
    }
}

/// Watches a group member: what it lags behind, and whether it still lives.
pub(super) struct Watch {
    group: &'static str,
    prefix: String,
    lag: Arc<AtomicI64>,
    heard: Mutex<Instant>,
    /// Assigned since it was asked last, by topic and number.
    assigned: Mutex<Vec<(String, i32)>>,
}

impl Watch {
    /// `lag` is where others read how much the log still holds: a lot, until the broker has said so.
    pub(super) fn new(group: &'static str, config: &KafkaConfig, lag: Arc<AtomicI64>) -> Self {
        lag.store(i64::MAX, Ordering::Relaxed);
        Self {
            group,
            prefix: config.prefix.clone(),
            lag,
            heard: Mutex::new(Instant::now()),
            assigned: Mutex::default(),
        }
    }

    /// The partitions assigned since the last call.
    pub(super) fn take_assigned(&self) -> Vec<(String, i32)> {
        std::mem::take(&mut *self.assigned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the client is stuck: it gives no statistics, or it lags and brings nothing, although it was polled
    /// since `since`.
    pub(super) fn stalled(&self, since: Instant, limit: Duration) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = heard.max(since).elapsed() > limit;
        let lag = self.lag.load(Ordering::Relaxed);
        let starved = lag > 0 && lag < i64::MAX && since.elapsed() > limit;
        silent || starved
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn stats(&self, statistics: Statistics) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut by_topic: HashMap<&str, i64> = HashMap::new();
        for (name, topic) in &statistics.topics {
            let known = topic.partitions.values().map(|partition| partition.consumer_lag.max(0));
            *by_topic.entry(name.strip_prefix(&self.prefix).unwrap_or(name)).or_default() +=
                known.sum::<i64>();
        }
        if !by_topic.is_empty() {
            self.lag.store(by_topic.values().sum(), Ordering::Relaxed);
        }
        for (topic, lag) in by_topic {
            metrics::gauge!(measure::CONSUMER_LAG, "consumer" => self.group, "topic" => topic.to_owned())
                .set(lag as f64);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(self.group, reason, &error);
    }
}

impl ConsumerContext for Watch {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let partitions = partitions.elements();
            let partitions = partitions.iter().map(|of| (of.topic().to_owned(), of.partition()));
            self.assigned.lock().unwrap_or_else(PoisonError::into_inner).extend(partitions);
        }
    }

    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) => {
                tracing::info!(
                    consumer = self.group,
                    partitions = partitions.count(),
                    "partitions are given up"
                );
                // what is done is committed before others take over; if that fails they skip it
                let _only_a_hint = consumer.commit_consumer_state(CommitMode::Async);
            }
            Rebalance::Assign(partitions) => {
                tracing::info!(
                    consumer = self.group,
                    partitions = partitions.count(),
                    "partitions are taken"
                );
            }
            Rebalance::Error(error) => complain(self.group, "rebalance failed", error),
        }
    }
}

/// Does what may block in a thread of its own, and waits at most `limit` for it. None: it is still at it.
pub(super) async fn in_thread<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("kafka-wait".to_owned()).spawn(move || {
        let _gone = answer.send(work());
    });
    if thread.is_err() {
        return None;
    }
    tokio::time::timeout(limit, answered).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_order_rests_upon_cannot_be_overridden() {
        let mut config = KafkaConfig::default();
        config.properties.insert("sasl.username".to_owned(), "x".to_owned());
        assert!(check(&config).is_ok());
        config.properties.insert("enable.idempotence".to_owned(), "false".to_owned());
        assert!(check(&config).is_err());
    }
}
