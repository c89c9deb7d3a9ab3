//! Where a consumer stands in the log, and whether the log is still the one that it read.
//!
//! A topic that was deleted and made again, or a log that was cut before its reader came, brings events that the group
//! never sees, and librdkafka goes on at the oldest event without a word. So the next offset of each partition is kept
//! with the data and compared with what the broker has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db::{Db, Type, params};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;
use tokio::time::Instant;

use super::client::in_thread;
use super::receive::Member;
use super::report::complain;
use super::{Cluster, OffsetReset};
use crate::runner::Runner;
use crate::{Error, Topic, measure};

/// How often the places are written down.
const SAVE: Duration = Duration::from_secs(5);
/// How often the log is looked at.
const LOOK: Duration = Duration::from_secs(30);
/// The same after a look that failed, or that had nothing to look at.
const AGAIN: Duration = Duration::from_secs(3);
/// The longest wait for one answer of the broker.
const ASK: Duration = Duration::from_secs(5);

type Partition = (Topic, i32);

/// The places of one consumer.
pub(super) struct Places {
    db: Db,
    group: &'static str,
    /// The next offset to read, by partition. It only grows, until a reset is noticed.
    next: HashMap<Partition, i64>,
    /// What is written down.
    saved: HashMap<Partition, i64>,
    /// What was written down before the start: the group has committed these.
    loaded: HashMap<Partition, i64>,
    is_loaded: bool,
    saved_at: Instant,
    look_at: Instant,
    look: Option<Look>,
}

/// A look at the log that is under way.
struct Look {
    answer: BoxFuture<'static, Option<Result<Vec<Extent>, Error>>>,
    /// The places when it began.
    next: HashMap<Partition, i64>,
}

/// What the broker says of one partition.
struct Extent {
    partition: Partition,
    low: i64,
    high: i64,
    /// The offset that the group committed.
    committed: Option<i64>,
}

impl Places {
    pub(super) fn new(db: Db, group: &'static str) -> Self {
        Self {
            db,
            group,
            next: HashMap::new(),
            saved: HashMap::new(),
            loaded: HashMap::new(),
            is_loaded: false,
            saved_at: Instant::now(),
            look_at: Instant::now(),
            look: None,
        }
    }

    /// Partitions were assigned: they are looked at soon.
    pub(super) fn assigned(&mut self) {
        self.look_at = Instant::now();
    }

    /// A record of this offset was settled.
    pub(super) fn settled(&mut self, topic: Topic, partition: i32, offset: i64) {
        let next = self.next.entry((topic, partition)).or_insert(0);
        *next = (*next).max(offset + 1);
    }

    /// Writes the places down and looks at the log, when it is time. A reset is reported, and makes the consumer compare
    /// its events with their owners.
    pub(super) async fn keep(&mut self, cluster: &Cluster, runner: &Runner, member: &Arc<Member>) {
        let outcome = async {
            if !self.is_loaded {
                self.load().await?;
            }
            if self.look.is_none() && Instant::now() >= self.look_at {
                self.begin_look(cluster, member);
            }
            if let Some(mut look) = self.look.take() {
                match look.answer.as_mut().now_or_never() {
                    None => self.look = Some(look),
                    Some(answer) => {
                        self.end_look(cluster, runner, &look.next, answer).await?;
                    }
                }
            }
            if self.saved_at.elapsed() >= SAVE {
                self.save().await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = outcome.await {
            complain(self.group, "the place in the log was not checked", &error);
        }
    }

    /// Asks in a thread of its own, so that events flow meanwhile.
    fn begin_look(&mut self, cluster: &Cluster, member: &Arc<Member>) {
        let (reader, config) = (Arc::clone(member), cluster.config.clone());
        let answer = in_thread(ASK * 4, move || extents(&reader, &config)).boxed();
        self.look = Some(Look { answer, next: self.next.clone() });
        self.look_at = Instant::now() + AGAIN;
    }

    async fn end_look(
        &mut self,
        cluster: &Cluster,
        runner: &Runner,
        next: &HashMap<Partition, i64>,
        answer: Option<Result<Vec<Extent>, Error>>,
    ) -> Result<(), Error> {
        let extents = answer.unwrap_or_else(|| Err(Error::Broker("no answer about offsets".to_owned())));
        let extents = extents?;
        if !extents.is_empty() {
            self.look_at = Instant::now() + LOOK;
        }
        for extent in extents {
            let known = next.get(&extent.partition).copied();
            let was_committed = self.loaded.contains_key(&extent.partition);
            if let Some(why) = known.and_then(|next| reset(&extent, next, was_committed)) {
                self.next.remove(&extent.partition);
                self.loaded.remove(&extent.partition);
                self.forget(extent.partition).await?;
                let (topic, partition) = extent.partition;
                metrics::counter!(measure::OFFSET_RESETS, "consumer" => self.group, "topic" => topic.name())
                    .increment(1);
                tracing::error!(consumer = self.group, %topic, partition, why,
                    "the log is not the one that was read; events are compared with their owner");
                cluster.note_reset(OffsetReset {
                    consumer: self.group,
                    topic,
                    why,
                    at: cluster.clock.wall(),
                    comparisons: runner.comparisons(),
                    before: runner.comparisons().load(Ordering::SeqCst),
                });
                runner.doubt();
            }
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let rows = tx
            .fetch_all(
                "SELECT topic, partition, next_offset FROM log_positions WHERE consumer = $1",
                params![self.group],
            )
            .await?;
        for row in &rows {
            let partition: i64 = row.get("partition")?;
            let topic = Topic::from_name(&row.get::<String>("topic")?)?;
            let place = (topic, i32::try_from(partition).unwrap_or(i32::MAX));
            let offset: i64 = row.get("next_offset")?;
            self.saved.insert(place, offset);
            self.loaded.insert(place, offset);
            let next = self.next.entry(place).or_insert(0);
            *next = (*next).max(offset);
        }
        self.is_loaded = true;
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Error> {
        self.saved_at = Instant::now();
        let changed: Vec<(Partition, i64)> = self
            .next
            .iter()
            .filter(|(place, next)| self.saved.get(*place) != Some(*next))
            .map(|(place, next)| (*place, *next))
            .collect();
        let rows = changed
            .iter()
            .map(|((topic, partition), next)| params![self.group, topic.name(), i64::from(*partition), *next])
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        tx.batch(
            "INSERT INTO log_positions (consumer, topic, partition, next_offset)
             SELECT r.consumer, r.topic, r.partition, r.next_offset FROM {rows} WHERE true
             ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            &[
                ("consumer", Type::Text),
                ("topic", Type::Text),
                ("partition", Type::BigInt),
                ("next_offset", Type::BigInt),
            ],
            rows,
        )
        .await?;
        tx.commit().await?;
        self.saved.extend(changed);
        Ok(())
    }

    async fn forget(&mut self, (topic, partition): Partition) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "DELETE FROM log_positions WHERE consumer = $1 AND topic = $2 AND partition = $3",
            params![self.group, topic.name(), i64::from(partition)],
        )
        .await?;
        tx.commit().await?;
        self.saved.remove(&(topic, partition));
        Ok(())
    }
}

/// Why this is not the log of which everything before `next` was read; none: it is.
fn reset(extent: &Extent, next: i64, was_committed: bool) -> Option<String> {
    if extent.high < next {
        return Some(format!("it ends at offset {}, and {next} had been reached: made again", extent.high));
    }
    if extent.low > next {
        return Some(format!("it begins at offset {}, and only {next} had been reached: cut", extent.low));
    }
    // an offset of this session may be on its way to the broker
    if was_committed && extent.committed.is_none() && next > 0 {
        return Some(format!("the broker no longer knows that offset {next} had been reached"));
    }
    None
}

/// Asks the broker about the partitions assigned to this member.
fn extents(member: &Member, config: &super::KafkaConfig) -> Result<Vec<Extent>, Error> {
    let assigned = member.assignment().map_err(super::broken)?;
    if assigned.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = member.committed_offsets(assigned, ASK).map_err(super::broken)?;
    let mut extents = Vec::new();
    for element in committed.elements() {
        let topic = config.topic_of(element.topic())?;
        let (low, high) =
            member.fetch_watermarks(element.topic(), element.partition(), ASK).map_err(super::broken)?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _none => None,
        };
        extents.push(Extent { partition: (topic, element.partition()), low, high, committed });
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_recognized_by_what_was_read_of_it() {
        let extent = |low, high, committed| Extent { partition: (Topic::Orders, 0), low, high, committed };
        assert_eq!(reset(&extent(0, 10, Some(10)), 10, true), None);
        assert_eq!(reset(&extent(10, 12, Some(10)), 10, true), None, "what was read may be gone");
        assert!(reset(&extent(0, 3, Some(3)), 10, true).unwrap().ends_with("made again"));
        assert!(reset(&extent(11, 20, Some(10)), 10, true).unwrap().ends_with("cut"));
        assert!(reset(&extent(0, 20, None), 10, true).is_some(), "a group whose offsets are lost");
        assert_eq!(reset(&extent(0, 20, None), 10, false), None, "it may be on its way");
        assert_eq!(reset(&extent(0, 20, None), 0, true), None);
    }
}
