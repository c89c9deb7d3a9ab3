//! The bus that the settings ask for.

use std::time::Duration;

use bus::{Admission, Bus};
use clock::Clock;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::config::{BusKind, Config, Service};
use crate::exit::{Exit, Result};

/// Connects to the bus; on Kafka, makes missing topics where the settings allow it.
pub(super) async fn connect(config: &Config, clock: &Clock) -> Result<Bus> {
    match config.bus.kind {
        BusKind::Local => Ok(Bus::local(clock.clone())),
        BusKind::Kafka => kafka::connect(config, clock).await,
    }
}

/// Remembers with the data which bus is used, and refuses one on which events of the last would be lost.
pub(super) async fn admit(config: &Config, service: Service, db: &db::Db) -> Result<()> {
    let kind = match config.bus.kind {
        BusKind::Local => "local",
        BusKind::Kafka => "kafka",
    };
    let admission = bus::admit(db, kind, config.bus.leave_kafka)
        .await
        .map_err(|error| Exit::other(&format!("database of {}", service.name()), &error))?;
    match admission {
        Admission::Admitted => Ok(()),
        Admission::Switched { from } => {
            tracing::warn!(service = service.name(), from, to = kind, "the bus is another one than before");
            Ok(())
        }
        Admission::Refused { used } => Err(Exit::usage(format!(
            "the database of {} was used with bus.kind = {used}, and events that its log still holds would be lost on \
             bus.kind = {kind}: set bus.kind = {used}; or, when no other process uses this database, start with \
             bus.leave_kafka = true, and services of this process fetch the events that they miss from each other",
            service.name()
        ))),
    }
}

/// Waits until every relay's transport is warm, at most `limit`.
pub(super) async fn wait_warm(relays: Vec<watch::Receiver<bool>>, limit: Duration) {
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

    use bus::kafka::{Applied, GroupProtocol, apply_topics};
    use bus::{Bus, KafkaConfig, Subscription, Topic};
    use clock::Clock;

    use crate::config::{Config, Service};
    use crate::exit::{Class, Exit, Result};

    pub(super) async fn connect(config: &Config, clock: &Clock) -> Result<Bus> {
        if config.bus.create_topics {
            apply(config).await?;
        }
        Bus::kafka(clock.clone(), settings(config)).map_err(|error| Exit::bus("Kafka", &error))
    }

    /// Makes missing topics; a topic of another shape is an error.
    pub(crate) async fn apply(config: &Config) -> Result<Vec<Applied>> {
        let groups = Service::ALL.map(Service::name);
        let applied = apply_topics(&settings(config), &groups)
            .await
            .map_err(|error| Exit::bus(&format!("Kafka at {}", config.bus.brokers), &error))?;
        for topic in &applied {
            if let Applied::OtherPartitions { topic, found, wanted } = topic {
                return Err(Exit::new(
                    Class::Broker,
                    format!(
                        "topic {topic} has {found} partitions, not {wanted}; set bus.partitions = {found}"
                    ),
                ));
            }
        }
        Ok(applied)
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

    use crate::config::Config;
    use crate::exit::{Exit, Result};

    pub(super) async fn connect(_: &Config, _: &Clock) -> Result<Bus> {
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
