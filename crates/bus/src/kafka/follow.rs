//! A reader without a group: every partition, from the end.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use uuid::Uuid;

use super::client::{Quiet, in_thread, reader};
use super::report::complain;
use super::{Cluster, headers};
use crate::{Delivered, Error, Missed, Topic};

const ASK: Duration = Duration::from_secs(5);

type Reader = StreamConsumer<Quiet>;

pub(crate) struct Follower {
    cluster: Arc<Cluster>,
    topics: Vec<Topic>,
    reader: Option<Reader>,
    /// Whether it was connected before.
    was_ready: bool,
}

impl Follower {
    pub(super) fn new(cluster: Arc<Cluster>, topics: &[Topic]) -> Self {
        Self { cluster, topics: topics.to_vec(), reader: None, was_ready: false }
    }

    /// Connects and notes where the end is: whatever is published after this is seen.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        if self.reader.is_some() {
            return Ok(());
        }
        let reader = self.open()?;
        let names: Vec<String> = self.topics.iter().map(|topic| self.cluster.config.topic(*topic)).collect();
        let limit = ASK * 4;
        let assigned = in_thread(limit, move || {
            assign_to_end(&reader, &names)?;
            Ok::<Reader, Error>(reader)
        });
        let reader = assigned.await.unwrap_or_else(|| Err(Error::Broker("no answer".to_owned())))?;
        self.reader = Some(reader);
        self.was_ready = true;
        Ok(())
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Result<Arc<Delivered>, Missed> {
        loop {
            let Some(reader) = &self.reader else {
                let again = self.was_ready;
                if let Err(error) = self.ready().await {
                    complain("view", "waits for the broker", &error);
                    self.cluster.clock.pause(Duration::from_millis(500)).await;
                } else if again {
                    return Err(Missed);
                }
                continue;
            };
            match reader.recv().await {
                Ok(message) => match headers::read(&message, &self.cluster.config) {
                    Ok(event) => return Ok(Arc::new(event)),
                    Err(why) => tracing::warn!(why, "a view passes over a message it cannot read"),
                },
                Err(error) => {
                    complain("view", "receive failed", &error);
                    if is_lost(&error) {
                        self.leave().await;
                    } else {
                        self.cluster.clock.pause(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }

    fn open(&self) -> Result<Reader, Error> {
        let name = format!("view-{}", Uuid::new_v4().simple());
        let mut config = reader(&self.cluster.config, &self.cluster.client_id(&name));
        config.set("group.id", self.cluster.config.group(&name)).set("auto.offset.reset", "error");
        Reader::from_config_and_context(&config, Quiet).map_err(super::broken)
    }

    async fn leave(&mut self) {
        if let Some(reader) = self.reader.take() {
            in_thread(Duration::from_secs(3), move || drop(reader)).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            // dropping may block
            let _detached = std::thread::Builder::new().spawn(move || drop(reader));
        }
    }
}

/// Errors after which the position is gone.
fn is_lost(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumption(code) => {
            use rdkafka::error::RDKafkaErrorCode as Code;
            matches!(
                code,
                Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::UnknownTopicOrPartition | Code::Fatal
            )
        }
        KafkaError::MessageConsumptionFatal(_) => true,
        _other => false,
    }
}

fn assign_to_end(reader: &Reader, names: &[String]) -> Result<(), Error> {
    let mut ends = TopicPartitionList::new();
    for name in names {
        let metadata = reader.fetch_metadata(Some(name), ASK).map_err(super::broken)?;
        let partitions = metadata.topics().first().map(rdkafka::metadata::MetadataTopic::partitions);
        let partitions = partitions.unwrap_or_default();
        if partitions.is_empty() {
            return Err(Error::Broker(format!("topic {name} does not exist")));
        }
        for partition in partitions {
            let (_, end) = reader.fetch_watermarks(name, partition.id(), ASK).map_err(super::broken)?;
            ends.add_partition_offset(name, partition.id(), Offset::Offset(end)).map_err(super::broken)?;
        }
    }
    reader.assign(&ends).map_err(super::broken)
}
