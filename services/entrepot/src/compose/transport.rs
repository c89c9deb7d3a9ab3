//! The bus that the settings ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Admission, Bus, Used};
use clock::Clock;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{BusKind, Config, Service};
use crate::exit::{Exit, Result};

/// What a start without the broker leaves for later.
#[derive(Debug, Clone, Default)]
pub(super) struct Topics {
    /// Why the topics still have to be made or checked: the broker was away.
    pending: Arc<Mutex<Option<String>>>,
    /// The start has waited for the broker, in vain or not.
    has_waited: Arc<AtomicBool>,
}

impl Topics {
    /// Why they may be missing; None: they are in place.
    pub(super) fn pending(&self) -> Option<String> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "kafka")]
    fn set(&self, why: Option<String>) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Whether the start has waited for the broker as long as it does.
    pub(super) fn has_waited(&self) -> bool {
        self.has_waited.load(Ordering::Relaxed)
    }

    /// Waits until every relay's transport is warm, at most `limit`, and not for a broker that just did not answer.
    pub(super) async fn wait_warm(&self, relays: Vec<watch::Receiver<bool>>, limit: Duration) {
        if self.pending().is_none() {
            wait_warm(relays, limit).await;
        }
        self.has_waited.store(true, Ordering::Relaxed);
    }
}

/// Connects to the bus; on Kafka, makes missing topics where the settings allow it.
pub(super) async fn connect(config: &Config, clock: &Clock) -> Result<(Bus, Topics)> {
    match config.bus.kind {
        BusKind::Local => Ok((Bus::local(clock.clone()), Topics::default())),
        BusKind::Kafka => kafka::connect(config, clock).await,
    }
}

/// Remembers with the data which bus is used, and refuses one on which events of the last would be lost.
pub(super) async fn admit(config: &Config, service: Service, db: &db::Db) -> Result<()> {
    let wanted = match config.bus.kind {
        BusKind::Local => Used::local(),
        BusKind::Kafka => Used::new("kafka", &config.bus.prefix),
    };
    let to = named(&wanted);
    let admission = bus::admit(db, &wanted, config.bus.leave_kafka)
        .await
        .map_err(|error| Exit::other(&format!("database of {}", service.name()), &error))?;
    match admission {
        Admission::Admitted => Ok(()),
        Admission::Switched { from } => {
            let from = named(&from);
            tracing::warn!(service = service.name(), from, to, "the bus is another one than before");
            Ok(())
        }
        Admission::Refused { used } => Err(Exit::usage(format!(
            "the database of {} was used with {used}, and events that its log still holds would be lost on {to}: set \
             {used}; or, when no other process uses this database, start with bus.leave_kafka = true, and services of \
             this process fetch the events that they miss from each other",
            service.name(),
            used = named(&used)
        ))),
    }
}

/// A bus in the words of the settings.
fn named(used: &Used) -> String {
    if used.kind == "kafka" {
        format!("bus.kind = {}, bus.prefix = \"{}\"", used.kind, used.prefix)
    } else {
        format!("bus.kind = {}", used.kind)
    }
}

/// Makes the topics as soon as the broker answers, if it did not at the start.
pub(super) async fn keep_applying(config: Config, clock: Clock, topics: Topics, stop: CancellationToken) {
    #[cfg(feature = "kafka")]
    kafka::keep_applying(&config, &clock, &topics, &stop).await;
    #[cfg(not(feature = "kafka"))]
    drop((config, clock, topics, stop));
}

/// Waits until every relay's transport is warm, at most `limit`.
async fn wait_warm(relays: Vec<watch::Receiver<bool>>, limit: Duration) {
    let warm = join_all(relays.into_iter().map(|mut relay| async move {
        // an error means that the relay has ended, and then there is nothing to wait for
        let _ = relay.wait_for(|ready| *ready).await;
    }));
    if tokio::time::timeout(limit, warm).await.is_err() {
        tracing::warn!("the broker does not answer yet; events wait in their outboxes");
    }
}

#[cfg(feature = "kafka")]
pub(crate) mod kafka {
    //! Kafka as the settings describe it.

    use std::collections::BTreeMap;
    use std::time::Duration;

    use bus::kafka::{Applied, GroupProtocol, apply_topics};
    use bus::{Bus, KafkaConfig, Subscription, Topic};
    use clock::Clock;
    use tokio_util::sync::CancellationToken;

    use super::Topics;
    use crate::config::{Config, Service};
    use crate::exit::{Class, Exit, Result};

    /// A broker that is away is asked again after this long, and then after twice as long each time.
    const AGAIN: Duration = Duration::from_secs(1);
    /// The longest wait between two tries.
    const SELDOM: Duration = Duration::from_secs(30);

    /// Events wait in the outbox while the broker is away, so only topics of another shape keep the process from
    /// starting.
    pub(super) async fn connect(config: &Config, clock: &Clock) -> Result<(Bus, Topics)> {
        let topics = Topics::default();
        if config.bus.create_topics {
            match ask(config).await {
                Ok(applied) => expect_partitions(&applied)?,
                Err(exit) => later(&topics, &exit),
            }
        }
        let bus = Bus::kafka(clock.clone(), settings(config)).map_err(|error| Exit::bus("Kafka", &error))?;
        Ok((bus, topics))
    }

    pub(super) async fn keep_applying(
        config: &Config,
        clock: &Clock,
        topics: &Topics,
        stop: &CancellationToken,
    ) {
        let mut wait = AGAIN;
        while topics.pending().is_some() {
            let applied = async {
                clock.pause(wait).await;
                apply(config).await
            };
            let applied = tokio::select! {
                () = stop.cancelled() => return,
                applied = applied => applied,
            };
            match applied {
                Ok(_) => {
                    topics.set(None);
                    tracing::info!("the topics are in place");
                }
                Err(exit) => later(topics, &exit),
            }
            wait = (wait * 2).min(SELDOM);
        }
    }

    fn later(topics: &Topics, exit: &Exit) {
        tracing::warn!(
            why = exit.message,
            "topics are made or checked later, and until then events may wait in their outboxes; \
             `entrepot topics apply` does it now"
        );
        topics.set(Some(exit.message.clone()));
    }

    /// Makes missing topics; a topic of another shape is an error.
    pub(crate) async fn apply(config: &Config) -> Result<Vec<Applied>> {
        let applied = ask(config).await?;
        expect_partitions(&applied)?;
        Ok(applied)
    }

    async fn ask(config: &Config) -> Result<Vec<Applied>> {
        let groups = Service::ALL.map(Service::name);
        apply_topics(&settings(config), &groups)
            .await
            .map_err(|error| Exit::bus(&format!("Kafka at {}", config.bus.brokers), &error))
    }

    fn expect_partitions(applied: &[Applied]) -> Result<()> {
        for topic in applied {
            if let Applied::OtherPartitions { topic, found, wanted } = topic {
                return Err(Exit::new(
                    Class::Broker,
                    format!(
                        "topic {topic} has {found} partitions, not {wanted}; set bus.partitions = {found}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The events of these topics from now on, for a process that runs no service.
    pub(crate) fn listen(brokers: &str, topics: &[Topic]) -> Result<Subscription> {
        let config = KafkaConfig { brokers: brokers.to_owned(), ..KafkaConfig::default() };
        let bus = Bus::kafka(Clock::system(), config).map_err(|error| Exit::bus("Kafka", &error))?;
        Ok(bus.subscribe(topics))
    }

    fn settings(config: &Config) -> KafkaConfig {
        let bus = &config.bus;
        KafkaConfig {
            brokers: bus.brokers.clone(),
            client_id: "entrepot".to_owned(),
            instance: Some(bus.instance.clone()).filter(|instance| !instance.is_empty()),
            prefix: bus.prefix.clone(),
            group_protocol: match bus.group_protocol.as_str() {
                "consumer" => GroupProtocol::Consumer,
                _ => GroupProtocol::Classic,
            },
            session_timeout_ms: bus.session_timeout_ms,
            partitions: count(bus.partitions),
            replication: count(bus.replication),
            min_insync: count(bus.min_insync),
            retention_hours: bus.retention_hours,
            properties: properties(config),
        }
    }

    fn count(number: u32) -> i32 {
        i32::try_from(number).unwrap_or(i32::MAX)
    }

    fn properties(config: &Config) -> BTreeMap<String, String> {
        let bus = &config.bus;
        let has_user = !bus.username.is_empty();
        let mut properties = BTreeMap::new();
        let mut set = |key: &str, value: &str| {
            properties.insert(key.to_owned(), value.to_owned());
        };
        match (has_user, bus.tls) {
            (false, false) => {}
            (false, true) => set("security.protocol", "ssl"),
            (true, false) => set("security.protocol", "sasl_plaintext"),
            (true, true) => set("security.protocol", "sasl_ssl"),
        }
        if has_user {
            set("sasl.mechanism", &bus.sasl_mechanism);
            set("sasl.username", &bus.username);
            set("sasl.password", bus.password.reveal());
        }
        if !bus.ca_file.as_os_str().is_empty() {
            set("ssl.ca.location", &bus.ca_file.display().to_string());
        }
        properties
    }
}

#[cfg(not(feature = "kafka"))]
pub(crate) mod kafka {
    //! A build without Kafka.

    use bus::Bus;
    use clock::Clock;

    use super::Topics;
    use crate::config::Config;
    use crate::exit::{Exit, Result};

    pub(super) async fn connect(_: &Config, _: &Clock) -> Result<(Bus, Topics)> {
        Err(missing())
    }

    /// Nothing can be listened to.
    pub(crate) fn listen(_: &str, _: &[bus::Topic]) -> Result<bus::Subscription> {
        Err(missing())
    }

    fn missing() -> Exit {
        Exit::usage("this build has no Kafka; build it with the feature `kafka`")
    }
}
