//! Compares what this consumer has with what the owners have, and fetches what is missing.
//!
//! It finds what no gap shows: the last event of an aggregate, lost by the transport. Only what changed since the last
//! comparison is listed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db::{Type, params};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{BATCH, Runner};
use crate::event::{from_micros, shown_id};
use crate::heads::{Asked, Head, Heads};
use crate::replay::Failure;
use crate::{Delivered, Topic, measure};

/// After the start: others need the database more.
const BEGIN: Duration = Duration::from_secs(1);
/// Between two comparisons when nothing calls for one.
const INTERVAL: Duration = Duration::from_mins(3);
/// After one that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// What is on its way arrives within this time; what does not is fetched.
const ARRIVAL: Duration = Duration::from_secs(3);
/// Between two pages, so that a long list takes no one's time.
const BREATH: Duration = Duration::from_millis(20);
/// For this long the whole group may still read what the log held: a member that died is replaced long before.
#[cfg(feature = "kafka")]
const BACKLOG: Duration = Duration::from_mins(5);
/// A transaction may commit so much later than its events happened.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// Events behind the end of the log at which a consumer counts as caught up.
const NEAR: i64 = 1_000;
/// Missing aggregates that are fetched at once.
const SUSPECTS: usize = 1_000;

/// A head that this consumer has not reached.
struct Missing {
    head: Head,
    /// The last version that is applied or parked.
    reached: i64,
}

impl Runner {
    /// Asks for a comparison soon: the transport may have lost events.
    #[cfg(feature = "kafka")]
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Compares at the start, when asked to and every few minutes, until asked to stop.
    pub(crate) async fn compare(&self, stop: &CancellationToken) {
        let Some(heads) = self.owners.heads.clone() else { return };
        let comparing = async {
            self.clock.pause(BEGIN).await;
            loop {
                self.catch_up().await;
                let pause = match self.compare_all(&heads, stop).await {
                    Ok(()) => INTERVAL,
                    Err(error) => {
                        tracing::warn!(
                            consumer = self.group(),
                            error,
                            "events were not compared with their owners"
                        );
                        AGAIN
                    }
                };
                tokio::select! {
                    () = self.doubt.notified() => {}
                    () = self.clock.pause(pause) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = comparing => {}
        }
    }

    /// Waits until little is left to read: what the log still holds is not missing.
    async fn catch_up(&self) {
        while self.lag.load(Ordering::Relaxed) > NEAR {
            self.clock.pause(Duration::from_secs(1)).await;
        }
    }

    async fn compare_all(&self, heads: &Heads, stop: &CancellationToken) -> Result<(), String> {
        for topic in self.topics() {
            let compared = self.compare_topic(heads, topic, stop).await;
            compared.map_err(|error| format!("{topic}: {error}"))?;
        }
        self.comparisons.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn compare_topic(
        &self,
        heads: &Heads,
        topic: Topic,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let since = self.compared_until(topic).await?;
        let mut asked = Asked::since(since.checked_sub(LATE).unwrap_or(Timestamp::UNIX_EPOCH));
        let mut until = None;
        let mut suspects = Vec::new();
        loop {
            let page = heads(topic, asked).await?;
            until = until.or(Some(page.until));
            let followed =
                page.heads.into_iter().filter(|head| self.follows_type(topic, &head.aggregate_type));
            suspects.extend(
                self.missing(topic, followed.collect()).await?.into_iter().map(|missing| missing.head),
            );
            asked.after = page.next;
            if suspects.len() >= SUSPECTS || asked.after.is_none() {
                self.fetch(topic, std::mem::take(&mut suspects), stop).await?;
            }
            if asked.after.is_none() {
                break;
            }
            self.clock.pause(BREATH).await;
        }
        // a clock of the owner that leaps ahead must not move the mark past events that are still to come
        let until = until.unwrap_or(since).min(self.clock.business());
        self.remember(topic, until.max(since)).await
    }

    /// Fetches what did not arrive by itself.
    async fn fetch(
        &self,
        topic: Topic,
        suspects: Vec<Head>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if suspects.is_empty() {
            return Ok(());
        }
        self.clock.pause(ARRIVAL).await;
        let missing = self.missing(topic, suspects).await?;
        #[cfg(feature = "kafka")]
        let missing = self.missing_after_all(topic, missing).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let count = missing.len();
        metrics::counter!(measure::MISSED, "consumer" => self.group(), "topic" => topic.name())
            .increment(count as u64);
        tracing::error!(consumer = self.group(), %topic, aggregates = count, example = shown(&missing[0].head),
            "events never came and are fetched from their owner");
        let mut batch: Vec<Arc<Delivered>> = Vec::new();
        for Missing { head, reached } in missing {
            let mut from = reached + 1;
            while from <= head.sequence {
                let page = (self.owners.replay)(topic, head.aggregate, from).await?;
                let Some(last) = page.last().map(|event| event.sequence) else {
                    tracing::error!(
                        consumer = self.group(),
                        aggregate = shown(&head),
                        from,
                        to = head.sequence,
                        "the owner no longer has what is missing"
                    );
                    break;
                };
                from = last + 1;
                batch.extend(page.into_iter().map(Arc::new));
                if batch.len() >= BATCH {
                    self.process(&std::mem::take(&mut batch), stop).await?;
                }
            }
        }
        Ok(self.process(&batch, stop).await?)
    }

    /// Those that are still missing when every member of the group has read what the log holds now: a member may be
    /// slow, or have died a moment ago.
    #[cfg(feature = "kafka")]
    async fn missing_after_all(&self, topic: Topic, missing: Vec<Missing>) -> Result<Vec<Missing>, Failure> {
        let Some(backlog) = self.backlog.get().filter(|_| !missing.is_empty()) else { return Ok(missing) };
        backlog.is_read_within(BACKLOG).await;
        self.missing(topic, missing.into_iter().map(|missing| missing.head).collect()).await
    }

    /// Those of the heads that this consumer has neither applied nor parked.
    async fn missing(&self, topic: Topic, heads: Vec<Head>) -> Result<Vec<Missing>, Failure> {
        let rows = heads.iter().map(|head| params![self.group(), topic.name(), head.aggregate]).collect();
        let mut tx = self.db.read().await?;
        let rows = tx
            .batch_fetch(
                "SELECT a.aggregate, a.sequence,
                        (SELECT MAX(p.sequence) FROM parked p WHERE p.consumer = a.consumer AND p.topic = a.topic
                            AND p.aggregate = a.aggregate) AS parked
                   FROM {rows}
                   JOIN applied a ON a.consumer = r.consumer AND a.topic = r.topic AND a.aggregate = r.aggregate",
                &[("consumer", Type::Text), ("topic", Type::Text), ("aggregate", Type::Uuid)],
                rows,
            )
            .await?;
        drop(tx);
        let mut reached = std::collections::HashMap::new();
        for row in &rows {
            let (applied, parked) = (row.get::<i64>("sequence")?, row.get::<Option<i64>>("parked")?);
            reached.insert(row.get::<Uuid>("aggregate")?, applied.max(parked.unwrap_or(0)));
        }
        let missing = heads.into_iter().filter_map(|head| {
            let reached = reached.get(&head.aggregate).copied().unwrap_or(0);
            (reached < head.sequence).then_some(Missing { head, reached })
        });
        Ok(missing.collect())
    }

    /// Everything that happened before was compared.
    async fn compared_until(&self, topic: Topic) -> Result<Timestamp, Failure> {
        let mut tx = self.db.read().await?;
        let row = tx
            .fetch_optional(
                "SELECT compared_until FROM comparisons WHERE consumer = $1 AND topic = $2",
                params![self.group(), topic.name()],
            )
            .await?;
        Ok(match row {
            Some(row) => from_micros(row.get("compared_until")?)?,
            None => Timestamp::UNIX_EPOCH,
        })
    }

    async fn remember(&self, topic: Topic, until: Timestamp) -> Result<(), Failure> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "INSERT INTO comparisons (consumer, topic, compared_until) VALUES ($1, $2, $3)
             ON CONFLICT (consumer, topic) DO UPDATE SET compared_until = excluded.compared_until",
            params![self.group(), topic.name(), until.as_microsecond()],
        )
        .await?;
        Ok(tx.commit().await?)
    }
}

/// The aggregate as the API shows its id.
fn shown(head: &Head) -> String {
    shown_id(&head.aggregate_type, head.aggregate)
}
