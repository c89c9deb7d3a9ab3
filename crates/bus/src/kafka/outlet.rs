//! The relay's side: events into the log, acknowledged in order.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Quiet, in_thread};
use super::report::complain;
use super::{Cluster, headers};
use crate::Delivered;

/// How long what is on its way is waited for when stopping.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a start waits for the broker before it goes on without.
const WARM: Duration = Duration::from_secs(10);

/// A producer made so lately is not made again.
const FRESH: Duration = Duration::from_secs(3);

pub(crate) struct Outlet {
    cluster: Arc<Cluster>,
    owner: &'static str,
    producer: Option<FutureProducer<Quiet>>,
    /// When the producer was made.
    made: Instant,
}

impl Outlet {
    pub(super) fn new(cluster: Arc<Cluster>, owner: &'static str) -> Self {
        Self { cluster, owner, producer: None, made: Instant::now() }
    }

    /// Connects, so that the first event need not wait for metadata and a producer id. Answers whether the broker did.
    pub(crate) async fn warm(&mut self, stop: &CancellationToken) -> bool {
        let until = Instant::now() + WARM;
        while Instant::now() < until && !stop.is_cancelled() {
            if self.is_answered().await {
                return true;
            }
            self.cluster.clock.pause(Duration::from_millis(200)).await;
        }
        complain(self.owner, "events wait in the outbox", &"the broker does not answer");
        false
    }

    /// Whether the broker answers now.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let Some(producer) = self.connected() else { return false };
        let known =
            in_thread(WARM, move || producer.client().fetch_metadata(None, Duration::from_secs(3)).is_ok());
        known.await == Some(true)
    }

    /// Connects again after a time in which another process led: connections that were at rest may be forgotten by
    /// whatever is between here and the broker.
    pub(crate) fn renew(&mut self) {
        if self.made.elapsed() > FRESH
            && let Some(idle) = self.producer.take()
        {
            // dropping may block
            let _detached = std::thread::Builder::new().spawn(move || drop(idle));
        }
        self.connected();
    }

    /// Sends events in order. Answers how many, from the first on, are in the log.
    pub(crate) async fn publish(&mut self, events: &[Arc<Delivered>], stop: &CancellationToken) -> usize {
        let Some(producer) = self.connected() else { return 0 };
        let (acks, refused) = self.enqueue(&producer, events);
        let clock = self.cluster.clock.clone();
        let out_of_patience = async {
            stop.cancelled().await;
            clock.pause(FLUSH).await;
        };
        tokio::pin!(out_of_patience);
        let mut taken = 0;
        let mut failure = refused;
        for ack in acks {
            let outcome = tokio::select! {
                outcome = ack => outcome,
                () = &mut out_of_patience => break,
            };
            match outcome {
                Ok(Ok(_)) => taken += 1,
                Ok(Err((error, _))) => failure = Some(error),
                Err(_) => failure = Some(KafkaError::Canceled),
            }
            if failure.is_some() {
                break;
            }
        }
        if let Some(error) = failure {
            complain(self.owner, "the producer failed and is rebuilt", &error);
            self.abandon().await;
        }
        taken
    }

    /// Forgets what is on its way: somebody else sends it, or it is sent again.
    pub(crate) async fn abandon(&mut self) {
        if let Some(producer) = self.producer.take() {
            in_thread(Duration::from_secs(3), move || {
                producer.purge(PurgeConfig::default().queue().inflight());
                drop(producer);
            })
            .await;
        }
    }

    /// Waits for what is on its way, then disconnects.
    pub(crate) async fn close(&mut self) {
        if let Some(producer) = self.producer.take() {
            let owner = self.owner;
            in_thread(FLUSH, move || {
                if let Err(error) = producer.flush(FLUSH) {
                    complain(owner, "some events will be sent again", &error);
                }
                drop(producer);
            })
            .await;
        }
    }

    /// Puts events into the producer's queue, and tells what it refused. A full queue is no failure.
    fn enqueue(
        &self,
        producer: &FutureProducer<Quiet>,
        events: &[Arc<Delivered>],
    ) -> (Vec<DeliveryFuture>, Option<KafkaError>) {
        let mut acks = Vec::with_capacity(events.len());
        for event in events {
            let topic = self.cluster.config.topic(event.topic);
            let key = event.aggregate.to_string();
            let record = FutureRecord::to(&topic)
                .key(&key)
                .payload(event.payload.as_ref())
                // its time is that of the publication: by it records are kept, and a topic made again is recognized
                .headers(headers::write(event));
            match producer.send_result(record) {
                Ok(ack) => acks.push(ack),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                Err((error, _)) => return (acks, Some(error)),
            }
        }
        (acks, None)
    }

    fn connected(&mut self) -> Option<FutureProducer<Quiet>> {
        if self.producer.is_none() {
            let config = self.cluster.producer_config(&format!("relay-{}", self.owner));
            match FutureProducer::from_config_and_context(&config, Quiet) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    self.made = Instant::now();
                }
                Err(error) => complain(self.owner, "no producer could be made", &error),
            }
        }
        self.producer.clone()
    }
}
