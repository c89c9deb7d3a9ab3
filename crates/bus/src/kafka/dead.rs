//! Messages that cannot be read go to `<group>.dlt`, as they are, with the reason in their headers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::message::{Header, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::client::Quiet;
use super::report::complain;
use crate::{Error, measure};

pub(super) struct DeadLetters {
    cluster: Arc<Cluster>,
    group: &'static str,
    producer: Option<FutureProducer<Quiet>>,
}

/// A message that is no event.
pub(super) struct Unreadable {
    pub(super) message: OwnedMessage,
    pub(super) why: String,
}

impl DeadLetters {
    pub(super) fn new(cluster: &Arc<Cluster>, group: &'static str) -> Self {
        Self { cluster: Arc::clone(cluster), group, producer: None }
    }

    /// Sends it, for as long as that takes.
    pub(super) async fn send(
        &mut self,
        unreadable: &Unreadable,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let message = &unreadable.message;
        tracing::error!(
            consumer = self.group,
            topic = message.topic(),
            partition = message.partition(),
            offset = message.offset(),
            why = unreadable.why,
            "a message cannot be read"
        );
        loop {
            let sent = tokio::select! {
                () = stop.cancelled() => return Err(Error::Stopping),
                sent = self.try_send(unreadable) => sent,
            };
            match sent {
                Ok(()) => break,
                Err(error) => complain(self.group, "a dead letter waits", &error),
            }
            self.cluster.clock.pause(Duration::from_secs(1)).await;
        }
        metrics::counter!(measure::DEAD_LETTERS, "consumer" => self.group).increment(1);
        Ok(())
    }

    fn connected(&mut self) -> Result<FutureProducer<Quiet>, Error> {
        if let Some(producer) = &self.producer {
            return Ok(producer.clone());
        }
        let config = self.cluster.producer_config(&format!("dlt-{}", self.group));
        let producer = FutureProducer::from_config_and_context(&config, Quiet).map_err(super::broken)?;
        Ok(self.producer.insert(producer).clone())
    }

    async fn try_send(&mut self, unreadable: &Unreadable) -> Result<(), Error> {
        let producer = self.connected()?;
        let message = &unreadable.message;
        let topic = self.cluster.config.dead_letters(self.group);
        let mut record = FutureRecord::to(&topic).headers(headers(unreadable));
        if let Some(key) = message.key() {
            record = record.key(key);
        }
        if let Some(payload) = message.payload() {
            record = record.payload(payload);
        }
        producer.send(record, Timeout::Never).await.map_err(|(error, _)| super::broken(error))?;
        Ok(())
    }
}

fn headers(unreadable: &Unreadable) -> OwnedHeaders {
    let message = &unreadable.message;
    let headers = message.headers().cloned().unwrap_or_else(OwnedHeaders::new);
    let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
    [
        ("entrepot-error", unreadable.why.as_str()),
        ("entrepot-topic", message.topic()),
        ("entrepot-partition", partition.as_str()),
        ("entrepot-offset", offset.as_str()),
    ]
    .into_iter()
    .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
