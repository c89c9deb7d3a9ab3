//! Whether a whole group has read what its topics held at some time, whichever member has to read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::Cluster;
use super::client::{Quiet, in_thread, reader};
use super::report::complain;
use crate::{Error, Topic};

/// The longest wait for one answer of the broker.
const ASK: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks about one group without being a member of it.
type Asker = BaseConsumer<Quiet>;

/// The oldest offset and the end of each partition that holds something.
type Extents = HashMap<(String, i32), (i64, i64)>;

/// What a group has still to read.
pub(crate) struct Backlog {
    cluster: Arc<Cluster>,
    group: &'static str,
    topics: Vec<String>,
}

impl Backlog {
    pub(super) fn new(cluster: &Arc<Cluster>, group: &'static str, topics: &[Topic]) -> Self {
        let topics = topics.iter().map(|topic| cluster.config.topic(*topic)).collect();
        Self { cluster: Arc::clone(cluster), group, topics }
    }

    /// Waits until the group has read what its topics hold now. False: it has not after `limit`, or the broker does not say.
    pub(crate) async fn is_read_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut extents: Option<Arc<Extents>> = None;
        while Instant::now() < until {
            match self.look(extents.clone()).await {
                Ok((_, 0)) => return true,
                Ok((seen, _)) => extents = Some(seen),
                Err(error) => complain(self.group, "what the group has still to read is not known", &error),
            }
            self.cluster.clock.pause(PAUSE).await;
        }
        false
    }

    /// What the topics held when this was asked first, and how much of that the group has not read.
    async fn look(&self, extents: Option<Arc<Extents>>) -> Result<(Arc<Extents>, i64), Error> {
        let mut config = reader(&self.cluster.config, &self.cluster.client_id("backlog"));
        config.set("group.id", self.cluster.config.group(self.group));
        let topics = self.topics.clone();
        let looking = in_thread(ASK * 8, move || {
            let asker = Asker::from_config_and_context(&config, Quiet).map_err(super::broken)?;
            let extents = match extents {
                Some(extents) => extents,
                None => Arc::new(extents_of(&asker, &topics)?),
            };
            let left = left(&asker, &extents)?;
            Ok((extents, left))
        });
        looking.await.unwrap_or_else(|| Err(Error::Broker("no answer about offsets".to_owned())))
    }
}

fn extents_of(asker: &Asker, topics: &[String]) -> Result<Extents, Error> {
    let mut extents = Extents::new();
    for name in topics {
        let metadata = asker.fetch_metadata(Some(name), ASK).map_err(super::broken)?;
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (low, high) = asker.fetch_watermarks(name, partition.id(), ASK).map_err(super::broken)?;
            if high > low {
                extents.insert((name.clone(), partition.id()), (low, high));
            }
        }
    }
    Ok(extents)
}

/// How much of it the group has not committed.
fn left(asker: &Asker, extents: &Extents) -> Result<i64, Error> {
    if extents.is_empty() {
        return Ok(0);
    }
    let mut partitions = TopicPartitionList::new();
    for (topic, partition) in extents.keys() {
        partitions.add_partition(topic, *partition);
    }
    let committed = asker.committed_offsets(partitions, ASK).map_err(super::broken)?;
    let mut left = 0;
    for element in committed.elements() {
        element.error().map_err(super::broken)?;
        let (low, high) =
            extents.get(&(element.topic().to_owned(), element.partition())).copied().unwrap_or((0, 0));
        let reached = match element.offset() {
            Offset::Offset(offset) => offset,
            _none => low,
        };
        left += (high - reached).max(0);
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use clock::Clock;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::CommitMode;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{FutureProducer, FutureRecord};

    use super::*;
    use crate::KafkaConfig;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_has_read_its_topics_when_all_its_members_have() {
        let broker = MockCluster::new(1).unwrap();
        let config = KafkaConfig { brokers: broker.bootstrap_servers(), ..KafkaConfig::default() };
        let topic = config.topic(Topic::Orders);
        broker.create_topic(&topic, 2, 1).unwrap();
        let cluster = Arc::new(Cluster::new(config.clone(), Clock::system()).unwrap());
        let backlog = Backlog::new(&cluster, "group", &[Topic::Orders]);
        let (nothing, left) = backlog.look(None).await.unwrap();
        assert_eq!((nothing.len(), left), (0, 0));
        let client = |settings: &[(&str, &str)]| {
            let mut client = ClientConfig::new();
            client.set("bootstrap.servers", &config.brokers);
            for (key, value) in settings {
                client.set(*key, *value);
            }
            client
        };
        let producer: FutureProducer = client(&[]).create().unwrap();
        for partition in [0, 0, 1] {
            let record = FutureRecord::<str, str>::to(&topic).payload("x").partition(partition);
            producer.send(record, ASK).await.unwrap();
        }
        let member: BaseConsumer = client(&[("group.id", "group")]).create().unwrap();
        let commit = |partition, offset| {
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, partition, Offset::Offset(offset)).unwrap();
            member.commit(&offsets, CommitMode::Sync).unwrap();
        };
        let (extents, left) = backlog.look(None).await.unwrap();
        assert_eq!(left, 3);
        commit(0, 2);
        assert_eq!(
            backlog.look(Some(extents.clone())).await.unwrap().1,
            1,
            "the other member has not read its own"
        );
        commit(1, 1);
        // what comes later does not count
        let record = FutureRecord::<str, str>::to(&topic).payload("x").partition(0);
        producer.send(record, ASK).await.unwrap();
        assert_eq!(backlog.look(Some(extents)).await.unwrap().1, 0);
        assert_eq!(backlog.look(None).await.unwrap().1, 1);
    }
}
