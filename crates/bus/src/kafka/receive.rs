//! A group member: records in, effects committed, offsets after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::client::{Watch, in_thread};
use super::dead::{DeadLetters, Unreadable};
use super::place::Places;
use super::report::complain;
use super::{Cluster, headers};
use crate::runner::{BATCH, Runner};
use crate::{Delivered, Error, measure};

/// A client is rebuilt after it returned nothing for this long although there were messages.
const STALL: Duration = Duration::from_mins(1);
/// Offsets are committed at most this often.
const COMMIT: Duration = Duration::from_millis(200);
/// How long leaving the group may take.
const CLOSE: Duration = Duration::from_secs(3);

pub(super) type Member = StreamConsumer<Watch>;

/// How a membership ended.
enum End {
    Stopped,
    Broken,
}

/// What one look at the broker brought.
#[derive(Default)]
struct Catch {
    events: Vec<Arc<Delivered>>,
    unreadable: Vec<Unreadable>,
    /// How far each partition was read.
    reached: HashMap<(String, i32), Reached>,
}

/// The end of what was read of a partition.
struct Reached {
    /// The last offset.
    offset: i64,
    /// The time of the youngest record, in milliseconds.
    youngest: i64,
}

/// Receives for one consumer until asked to stop.
pub(crate) async fn receive(cluster: &Arc<Cluster>, runner: &Runner, stop: &CancellationToken) {
    let mut dead = DeadLetters::new(cluster, runner.group());
    runner.ask_about_backlog(Backlog::new(cluster, runner.group(), &runner.topics()));
    let mut places = Places::new(runner.db().clone(), runner.group());
    while !stop.is_cancelled() {
        match join(cluster, runner) {
            Ok(member) => {
                let member = Arc::new(member);
                let end = Box::pin(session(cluster, runner, &member, &mut dead, &mut places, stop)).await;
                close(member, runner.group()).await;
                match end {
                    End::Stopped => return,
                    End::Broken => {
                        metrics::counter!(measure::CONSUMER_REBUILDS, "consumer" => runner.group())
                            .increment(1);
                    }
                }
            }
            Err(error) => complain(runner.group(), "no consumer could be made", &error),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = cluster.clock.pause(Duration::from_secs(1)) => {}
        }
    }
}

fn join(cluster: &Cluster, runner: &Runner) -> Result<Member, Error> {
    let watch = Watch::new(runner.group(), &cluster.config, runner.lag());
    let config = cluster.consumer_config(runner.group());
    let member = Member::from_config_and_context(&config, watch).map_err(super::broken)?;
    let topics: Vec<String> = runner.topics().into_iter().map(|topic| cluster.config.topic(topic)).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    member.subscribe(&names).map_err(super::broken)?;
    Ok(member)
}

async fn session(
    cluster: &Cluster,
    runner: &Runner,
    member: &Arc<Member>,
    dead: &mut DeadLetters,
    places: &mut Places,
    stop: &CancellationToken,
) -> End {
    let mut committed_at = Instant::now();
    let mut dirty = false;
    let mut since = Instant::now();
    loop {
        take_over(cluster, member, places);
        let first = tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            first = member.recv() => Some(first),
            () = cluster.clock.pause(if dirty { COMMIT } else { Duration::from_secs(1) }) => None,
        };
        match first {
            None if member.context().stalled(since, STALL) => {
                complain(runner.group(), "the consumer is stuck and is rebuilt", &"no progress");
                return End::Broken;
            }
            None => {}
            Some(Ok(first)) => {
                let catch = gather(cluster, member, &first);
                if settle(runner, dead, &catch, stop).await.is_err() {
                    return End::Stopped;
                }
                store(member, &catch);
                // they may have been assigned just before these records came
                take_over(cluster, member, places);
                for ((topic, partition), reached) in &catch.reached {
                    if let Ok(topic) = cluster.config.topic_of(topic) {
                        places.settled((topic, *partition), reached.offset, reached.youngest);
                    }
                }
                dirty = true;
                since = Instant::now();
            }
            Some(Err(error)) => {
                if report(runner, member, &error) {
                    return End::Broken;
                }
                cluster.clock.pause(Duration::from_millis(100)).await;
            }
        }
        if dirty && committed_at.elapsed() >= COMMIT {
            // only a hint: what is applied is known in the database
            let _unimportant = member.commit_consumer_state(CommitMode::Async);
            committed_at = Instant::now();
            dirty = false;
        }
        places.keep(cluster, runner, member).await;
    }
}

/// Notes which partitions were assigned since the last time.
fn take_over(cluster: &Cluster, member: &Member, places: &mut Places) {
    let assigned = member.context().take_assigned();
    if !assigned.is_empty() {
        let known =
            |(topic, partition): (String, i32)| Some((cluster.config.topic_of(&topic).ok()?, partition));
        places.assigned(assigned.into_iter().filter_map(known));
    }
}

/// The first record and what else is there already, up to a batch.
fn gather(cluster: &Cluster, member: &Member, first: &BorrowedMessage<'_>) -> Catch {
    let mut catch = Catch::default();
    take(cluster, first, &mut catch);
    for _ in 1..BATCH {
        match member.recv().now_or_never() {
            Some(Ok(message)) => take(cluster, &message, &mut catch),
            Some(Err(error)) => {
                complain("consumer", "receive failed", &error);
                break;
            }
            None => break,
        }
    }
    catch
}

fn take(cluster: &Cluster, message: &BorrowedMessage<'_>, catch: &mut Catch) {
    match headers::read(message, &cluster.config) {
        Ok(event) => catch.events.push(Arc::new(event)),
        Err(why) => catch.unreadable.push(Unreadable { message: message.detach(), why }),
    }
    let youngest = message.timestamp().to_millis().unwrap_or(i64::MAX);
    catch
        .reached
        .entry((message.topic().to_owned(), message.partition()))
        .and_modify(|reached| {
            reached.offset = message.offset();
            reached.youngest = reached.youngest.max(youngest);
        })
        .or_insert(Reached { offset: message.offset(), youngest });
}

async fn settle(
    runner: &Runner,
    dead: &mut DeadLetters,
    catch: &Catch,
    stop: &CancellationToken,
) -> Result<(), Error> {
    for unreadable in &catch.unreadable {
        dead.send(unreadable, stop).await?;
    }
    runner.process(&catch.events, stop).await
}

fn store(member: &Member, catch: &Catch) {
    for ((topic, partition), reached) in &catch.reached {
        if let Err(error) = member.store_offset(topic, *partition, reached.offset) {
            // given up meanwhile: its next owner skips what is applied
            tracing::debug!(%error, topic, partition, "offset not stored");
        }
    }
}

/// Answers whether the client is beyond repair.
fn report(runner: &Runner, member: &Member, error: &KafkaError) -> bool {
    let fatal =
        matches!(error, KafkaError::MessageConsumptionFatal(_)) || member.client().fatal_error().is_some();
    complain(runner.group(), if fatal { "the consumer is rebuilt" } else { "receive failed" }, error);
    fatal
}

/// Leaves the group. Dropping a consumer can block, so it happens in a thread that may be left behind.
async fn close(member: Arc<Member>, group: &'static str) {
    let left = in_thread(CLOSE, move || {
        let _only_a_hint = member.commit_consumer_state(CommitMode::Sync);
        member.unsubscribe();
        drop(member);
    });
    if left.await.is_none() {
        complain(group, "the consumer did not leave in time", &"left behind");
    }
}
