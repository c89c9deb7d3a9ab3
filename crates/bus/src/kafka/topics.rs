//! Topics as they should be, made where they are missing.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode;

use super::KafkaConfig;
use super::client::{Quiet, base, check, in_thread};
use crate::event::MAX_MESSAGE;
use crate::{Error, Topic};

const ASK: Duration = Duration::from_secs(15);

/// What was done about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It did not exist.
    Created {
        /// Its name at the broker.
        topic: String,
    },
    /// It existed with the partitions it should have.
    Present {
        /// Its name at the broker.
        topic: String,
    },
    /// It exists with another number of partitions. That is never changed: make a new version of the topic.
    OtherPartitions {
        /// Its name at the broker.
        topic: String,
        /// How many it has.
        found: i32,
        /// How many it should have.
        wanted: i32,
    },
}

/// Makes the topics that are missing, and the dead-letter topics of these groups.
pub async fn apply_topics(config: &KafkaConfig, groups: &[&str]) -> Result<Vec<Applied>, Error> {
    check(config)?;
    let client = base(config, &format!("{}-topics", config.client_id));
    let admin: AdminClient<Quiet> =
        AdminClient::from_config_and_context(&client, Quiet).map_err(super::broken)?;
    let mut wanted: Vec<(String, i32)> =
        Topic::ALL.iter().map(|topic| (config.topic(*topic), config.partitions)).collect();
    wanted.extend(groups.iter().map(|group| (config.dead_letters(group), 1)));
    let created = create(&admin, config, &wanted).await?;
    let found = in_thread(ASK, move || counts(&admin)).await;
    let found = found.unwrap_or_else(|| Err(Error::Broker("no answer".to_owned())))?;
    let applied = wanted.into_iter().zip(created).map(|((topic, wanted), created)| {
        let now = found.iter().find(|(name, _)| *name == topic).map_or(wanted, |(_, count)| *count);
        if created {
            Applied::Created { topic }
        } else if now == wanted {
            Applied::Present { topic }
        } else {
            Applied::OtherPartitions { topic, found: now, wanted }
        }
    });
    Ok(applied.collect())
}

/// For each topic, whether it was created now.
async fn create(
    admin: &AdminClient<Quiet>,
    config: &KafkaConfig,
    wanted: &[(String, i32)],
) -> Result<Vec<bool>, Error> {
    let retention = (u64::from(config.retention_hours) * 3_600_000).to_string();
    let largest = MAX_MESSAGE.to_string();
    let insync = config.min_insync.to_string();
    let topics: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(name, partitions)| {
            NewTopic::new(name, *partitions, TopicReplication::Fixed(config.replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", &retention)
                .set("max.message.bytes", &largest)
                .set("min.insync.replicas", &insync)
                .set("unclean.leader.election.enable", "false")
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let outcomes = admin.create_topics(&topics, &options).await.map_err(super::broken)?;
    outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(_) => Ok(true),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(false),
            Err((topic, code)) => Err(Error::Broker(format!("topic {topic}: {code}"))),
        })
        .collect()
}

/// Partitions of every topic there is.
fn counts(admin: &AdminClient<Quiet>) -> Result<Vec<(String, i32)>, Error> {
    let metadata = admin.inner().fetch_metadata(None, ASK).map_err(super::broken)?;
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    Ok(metadata
        .topics()
        .iter()
        .map(|topic| (topic.name().to_owned(), count(topic.partitions().len())))
        .collect())
}
