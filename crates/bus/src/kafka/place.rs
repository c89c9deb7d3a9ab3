//! Where a consumer stands in the log, and whether the log is still the one that it read.
//!
//! A topic that was deleted and made again, or a log that was cut before its reader came, brings events that the group
//! never sees, and librdkafka goes on at the oldest event without a word. So the next offset of each partition is kept
//! with the data and compared with what the broker has. A topic that was made again may hold more than was read of the
//! old one; it is recognized by a record below the next offset that is younger than all that was read there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db::{Db, Type, params};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
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

pub(super) type Partition = (Topic, i32);

/// How far one partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The next offset to read.
    next: i64,
    /// The time of the youngest record before it, in milliseconds.
    youngest: i64,
}

impl Place {
    /// What was read before, and more.
    fn extend(self, other: Self) -> Self {
        Self { next: self.next.max(other.next), youngest: self.youngest.max(other.youngest) }
    }
}

/// Nothing was read.
const START: Place = Place { next: 0, youngest: i64::MIN };

/// The places of one consumer.
pub(super) struct Places {
    db: Db,
    group: &'static str,
    /// Where it is, by partition. It only grows, until a reset is noticed.
    now: HashMap<Partition, Place>,
    /// What is written down.
    saved: HashMap<Partition, Place>,
    /// Those that were written down before the partition was assigned: the group has committed them.
    loaded: HashSet<Partition>,
    /// Assigned, and not read from the database yet.
    unloaded: HashSet<Partition>,
    /// Where it was at the last look that found nothing wrong: read from the log as it was then.
    checked: HashMap<Partition, Place>,
    saved_at: Instant,
    look_at: Instant,
    look: Option<Look>,
}

/// A look at the log that is under way.
struct Look {
    answer: BoxFuture<'static, Option<Result<Vec<Extent>, Error>>>,
    /// The places when it began.
    now: HashMap<Partition, Place>,
}

/// What the broker says of one partition.
struct Extent {
    partition: Partition,
    low: i64,
    high: i64,
    /// The offset that the group committed.
    committed: Option<i64>,
    /// The first offset of a record younger than all that were read at the last look.
    younger: Option<i64>,
}

impl Places {
    pub(super) fn new(db: Db, group: &'static str) -> Self {
        Self {
            db,
            group,
            now: HashMap::new(),
            saved: HashMap::new(),
            loaded: HashSet::new(),
            unloaded: HashSet::new(),
            checked: HashMap::new(),
            saved_at: Instant::now(),
            look_at: Instant::now(),
            look: None,
        }
    }

    /// Partitions were assigned: they are looked at soon. Others may have read them meanwhile, so that what is known of
    /// them is read from the database again.
    pub(super) fn assigned(&mut self, partitions: impl Iterator<Item = Partition>) {
        for partition in partitions {
            self.drop_known(partition);
            self.unloaded.insert(partition);
        }
        self.look = None;
        self.look_at = Instant::now();
    }

    fn drop_known(&mut self, partition: Partition) {
        self.now.remove(&partition);
        self.saved.remove(&partition);
        self.loaded.remove(&partition);
        self.checked.remove(&partition);
    }

    /// Records up to this offset were settled, of which the youngest is from `youngest`, in milliseconds.
    pub(super) fn settled(&mut self, partition: Partition, offset: i64, youngest: i64) {
        let place = self.now.entry(partition).or_insert(START);
        *place = place.extend(Place { next: offset + 1, youngest });
    }

    /// Writes the places down and looks at the log, when it is time. A reset is reported, and makes the consumer compare
    /// its events with their owners.
    pub(super) async fn keep(&mut self, cluster: &Cluster, runner: &Runner, member: &Arc<Member>) {
        let outcome = async {
            if !self.unloaded.is_empty() {
                self.load().await?;
            }
            if self.look.is_none() && Instant::now() >= self.look_at {
                self.begin_look(cluster, member);
            }
            if let Some(mut look) = self.look.take() {
                match look.answer.as_mut().now_or_never() {
                    None => self.look = Some(look),
                    Some(answer) => {
                        self.end_look(cluster, runner, &look.now, answer).await?;
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
        let checked = self.checked.clone();
        let answer = in_thread(ASK * 4, move || extents(&reader, &config, &checked)).boxed();
        self.look = Some(Look { answer, now: self.now.clone() });
        self.look_at = Instant::now() + AGAIN;
    }

    async fn end_look(
        &mut self,
        cluster: &Cluster,
        runner: &Runner,
        now: &HashMap<Partition, Place>,
        answer: Option<Result<Vec<Extent>, Error>>,
    ) -> Result<(), Error> {
        let extents = answer.unwrap_or_else(|| Err(Error::Broker("no answer about offsets".to_owned())));
        let extents = extents?;
        if !extents.is_empty() {
            self.look_at = Instant::now() + LOOK;
        }
        let mut resets = Vec::new();
        for extent in extents {
            let partition = extent.partition;
            let Some(place) = now.get(&partition) else { continue };
            let checked = self.checked.get(&partition);
            match reset(&extent, place.next, checked, self.loaded.contains(&partition)) {
                Some(why) => {
                    self.alarm(cluster, runner, partition, why);
                    resets.push(partition);
                }
                None => {
                    self.checked.insert(partition, *place);
                }
            }
        }
        // what cannot be written is forgotten after the next look, which alarms again
        for partition in resets {
            self.forget(partition).await?;
            self.drop_known(partition);
        }
        Ok(())
    }

    /// Tells operators, and has events compared with their owners.
    fn alarm(&self, cluster: &Cluster, runner: &Runner, (topic, partition): Partition, why: String) {
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

    /// Reads the places of what was assigned.
    async fn load(&mut self) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let rows = tx
            .fetch_all(
                "SELECT topic, partition, next_offset, youngest FROM log_positions WHERE consumer = $1",
                params![self.group],
            )
            .await?;
        let unloaded = std::mem::take(&mut self.unloaded);
        for row in &rows {
            let number: i64 = row.get("partition")?;
            let topic = Topic::from_name(&row.get::<String>("topic")?)?;
            let partition = (topic, i32::try_from(number).unwrap_or(i32::MAX));
            if !unloaded.contains(&partition) {
                continue;
            }
            let place = Place { next: row.get("next_offset")?, youngest: row.get("youngest")? };
            self.saved.insert(partition, place);
            self.checked.insert(partition, place);
            self.loaded.insert(partition);
            let now = self.now.entry(partition).or_insert(START);
            *now = now.extend(place);
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Error> {
        self.saved_at = Instant::now();
        let changed: Vec<(Partition, Place)> = self
            .now
            .iter()
            .filter(|(partition, place)| self.saved.get(*partition) != Some(*place))
            .map(|(partition, place)| (*partition, *place))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let rows = changed.iter().map(|((topic, partition), place)| {
            params![self.group, topic.name(), i64::from(*partition), place.next, place.youngest]
        });
        let mut tx = self.db.begin().await?;
        // the partition may be with another member by now, which has come further
        tx.batch(
            "INSERT INTO log_positions (consumer, topic, partition, next_offset, youngest)
             SELECT r.consumer, r.topic, r.partition, r.next_offset, r.youngest FROM {rows} WHERE true
             ON CONFLICT (consumer, topic, partition)
             DO UPDATE SET next_offset = excluded.next_offset, youngest = excluded.youngest
              WHERE excluded.next_offset > log_positions.next_offset",
            &[
                ("consumer", Type::Text),
                ("topic", Type::Text),
                ("partition", Type::BigInt),
                ("next_offset", Type::BigInt),
                ("youngest", Type::BigInt),
            ],
            rows.collect(),
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
        Ok(())
    }
}

/// Why this is not the log of which everything before `next` was read; none: it is. `checked` is where the reader was
/// at the last look that found nothing wrong.
fn reset(extent: &Extent, next: i64, checked: Option<&Place>, was_committed: bool) -> Option<String> {
    if extent.high < next {
        return Some(format!("it ends at offset {}, and {next} had been reached: made again", extent.high));
    }
    if let (Some(younger), Some(checked)) = (extent.younger, checked)
        && younger < checked.next
    {
        let Place { next, .. } = checked;
        return Some(format!(
            "its offset {younger} is younger than all that was read when {next} had been reached: made again"
        ));
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
fn extents(
    member: &Member,
    config: &super::KafkaConfig,
    checked: &HashMap<Partition, Place>,
) -> Result<Vec<Extent>, Error> {
    let assigned = member.assignment().map_err(super::broken)?;
    if assigned.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = member.committed_offsets(assigned, ASK).map_err(super::broken)?;
    let younger = younger(member, config, checked)?;
    let mut extents = Vec::new();
    for element in committed.elements() {
        let partition = (config.topic_of(element.topic())?, element.partition());
        let (low, high) =
            member.fetch_watermarks(element.topic(), element.partition(), ASK).map_err(super::broken)?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _none => None,
        };
        let younger = younger.get(&partition).copied();
        extents.push(Extent { partition, low, high, committed, younger });
    }
    Ok(extents)
}

/// The first offset of each partition whose record is younger than all that were read of it.
fn younger(
    member: &Member,
    config: &super::KafkaConfig,
    checked: &HashMap<Partition, Place>,
) -> Result<HashMap<Partition, i64>, Error> {
    let mut times = TopicPartitionList::new();
    for ((topic, partition), place) in checked {
        // records without a time count as infinitely young
        if (0..i64::MAX).contains(&place.youngest) {
            let after = Offset::Offset(place.youngest + 1);
            times.add_partition_offset(&config.topic(*topic), *partition, after).map_err(super::broken)?;
        }
    }
    if times.count() == 0 {
        return Ok(HashMap::new());
    }
    let found = member.offsets_for_times(times, ASK).map_err(super::broken)?;
    let mut offsets = HashMap::new();
    for element in found.elements() {
        if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
            offsets.insert((config.topic_of(element.topic())?, element.partition()), offset);
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_recognized_by_what_was_read_of_it() {
        let extent = |low, high, committed| Extent {
            partition: (Topic::Orders, 0),
            low,
            high,
            committed,
            younger: None,
        };
        let reset = |extent, next, was_committed| reset(&extent, next, None, was_committed);
        assert_eq!(reset(extent(0, 10, Some(10)), 10, true), None);
        assert_eq!(reset(extent(10, 12, Some(10)), 10, true), None, "what was read may be gone");
        assert!(reset(extent(0, 3, Some(3)), 10, true).unwrap().ends_with("made again"));
        assert!(reset(extent(11, 20, Some(10)), 10, true).unwrap().ends_with("cut"));
        assert!(reset(extent(0, 20, None), 10, true).is_some(), "a group whose offsets are lost");
        assert_eq!(reset(extent(0, 20, None), 10, false), None, "it may be on its way");
        assert_eq!(reset(extent(0, 20, None), 0, true), None);
    }

    #[test]
    fn a_log_that_was_made_again_and_has_outgrown_the_old_one_is_recognized_by_its_age() {
        let extent = |younger| Extent {
            partition: (Topic::Orders, 0),
            low: 0,
            high: 30,
            committed: Some(20),
            younger,
        };
        let checked = Place { next: 10, youngest: 1_000 };
        let reset = |younger| reset(&extent(younger), 20, Some(&checked), true);
        assert_eq!(reset(None), None, "nothing came since");
        assert_eq!(reset(Some(10)), None);
        assert!(reset(Some(9)).unwrap().ends_with("made again"));
        assert!(reset(Some(0)).unwrap().ends_with("made again"));
    }

    #[tokio::test]
    async fn what_is_known_of_a_partition_is_read_again_when_it_is_assigned_again() {
        let sets: db::testing::Sets<'_> = &[(crate::MIGRATION_SET, crate::MIGRATIONS)];
        for db in db::testing::engines(sets).await {
            let here = (Topic::Orders, 0);
            let mut one = Places::new(db.db(), "group");
            let mut other = Places::new(db.db(), "group");
            for (places, offset) in [(&mut one, 9), (&mut other, 19)] {
                places.assigned([here].into_iter());
                places.load().await.unwrap();
                places.settled(here, offset, 1_000 + offset);
                places.save().await.unwrap();
            }
            // late, and the partition is with the other one by now
            one.settled(here, 10, 1_010);
            one.save().await.unwrap();
            one.assigned([here].into_iter());
            one.load().await.unwrap();
            let place = Place { next: 20, youngest: 1_019 };
            assert_eq!(one.now[&here], place);
            assert_eq!(one.checked[&here], place);
            assert!(one.loaded.contains(&here));
        }
    }
}
