//! The bus as services see it: one of two transports.

use std::sync::Arc;

use clock::Clock;
use db::Db;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[cfg(feature = "kafka")]
use crate::kafka::{Cluster, KafkaConfig};
use crate::local::Hub;
use crate::relay::{Outlet, Relay};
use crate::runner::Runner;
use crate::subscription::Source;
use crate::{Consumer, Consuming, Error, Owners, Subscription, Topic, outbox};

/// How events travel between services. Clones share the same transport.
#[derive(Clone)]
pub struct Bus {
    clock: Clock,
    transport: Transport,
    /// Tells this process from others that use the same databases.
    holder: Uuid,
}

#[derive(Clone)]
enum Transport {
    Local(Arc<Hub>),
    #[cfg(feature = "kafka")]
    Kafka(Arc<Cluster>),
}

impl Bus {
    /// Within this process. Every consumer must be registered by [`Bus::consume`] before the first relay runs: an
    /// event is acknowledged when the consumers known then have it.
    pub fn local(clock: Clock) -> Self {
        Self { clock, transport: Transport::Local(Arc::new(Hub::new())), holder: Uuid::new_v4() }
    }

    /// Over Kafka.
    #[cfg(feature = "kafka")]
    pub fn kafka(clock: Clock, config: KafkaConfig) -> Result<Self, Error> {
        let cluster = Arc::new(Cluster::new(config, clock.clone())?);
        Ok(Self { clock, transport: Transport::Kafka(cluster), holder: Uuid::new_v4() })
    }

    /// The relay of the outbox in `db`, which belongs to the service `owner`.
    pub fn relay(&self, db: &Db, owner: &'static str) -> Relay {
        let outlet = match &self.transport {
            Transport::Local(hub) => Outlet::Local(Arc::clone(hub)),
            #[cfg(feature = "kafka")]
            Transport::Kafka(cluster) => Outlet::Kafka(Box::new(cluster.outlet(owner))),
        };
        Relay::new(db.clone(), self.clock.clone(), owner, self.holder.to_string(), outlet)
    }

    /// Connects a consumer whose effects are in `db`. It asks `owners` for events that it misses.
    pub fn consume(&self, db: &Db, consumer: Arc<dyn Consumer>, owners: impl Into<Owners>) -> Consuming {
        let runner = Arc::new(Runner::new(db.clone(), self.clock.clone(), consumer, owners.into()));
        match &self.transport {
            Transport::Local(hub) => {
                hub.register(Arc::clone(&runner));
                Consuming::new(move |stop: CancellationToken| async move {
                    futures_util::future::join(runner.tend(&stop), Box::pin(runner.compare(&stop))).await;
                })
            }
            #[cfg(feature = "kafka")]
            Transport::Kafka(cluster) => {
                let cluster = Arc::clone(cluster);
                Consuming::new(move |stop: CancellationToken| async move {
                    let receiving = crate::kafka::receive(&cluster, &runner, &stop);
                    futures_util::future::join3(
                        receiving,
                        runner.tend(&stop),
                        Box::pin(runner.compare(&stop)),
                    )
                    .await;
                })
            }
        }
    }

    /// The events of these topics from now on, for a view in memory.
    pub fn subscribe(&self, topics: &[Topic]) -> Subscription {
        let source = match &self.transport {
            Transport::Local(hub) => Source::Local(hub.feed()),
            #[cfg(feature = "kafka")]
            Transport::Kafka(cluster) => Source::Kafka(Box::new(cluster.follower(topics))),
        };
        Subscription::new(topics, source)
    }

    /// What happened to the log under the consumers of this process since the start, in words: the last reset of each
    /// consumer and topic. Empty: nothing.
    pub fn offset_resets(&self) -> Vec<String> {
        match &self.transport {
            Transport::Local(_) => Vec::new(),
            #[cfg(feature = "kafka")]
            Transport::Kafka(cluster) => cluster.resets().iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether everything that was committed in these databases has been published and (on the local bus) applied,
    /// and no consumer is at work. On Kafka the latter is not known here: the owner of a virtual clock also asks
    /// the tables.
    pub async fn idle(&self, databases: &[Db]) -> Result<bool, Error> {
        for db in databases {
            if !idle(db).await? {
                return Ok(false);
            }
        }
        Ok(match &self.transport {
            Transport::Local(hub) => !hub.is_busy(),
            #[cfg(feature = "kafka")]
            Transport::Kafka(_) => true,
        })
    }
}

/// Whether every event of this database is acknowledged: on the local bus, committed by every consumer.
pub async fn idle(db: &Db) -> Result<bool, Error> {
    let mut tx = db.read().await?;
    outbox::is_empty(&mut tx).await
}
