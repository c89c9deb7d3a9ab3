//! Missing events: found before anything is applied, asked from their owner, applied first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{BATCH, Runner, TRIES, backoff};
use crate::applied::Marks;
use crate::event::Key;
use crate::{Delivered, Error, measure};

/// Versions that a consumer misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) key: Key,
    /// The aggregate as the API shows its id.
    pub(super) name: String,
    /// The first missing version.
    pub(super) from: i64,
    /// The version that is there.
    pub(super) before: i64,
}

/// Why a gap stays.
#[derive(Debug, Clone)]
pub(super) struct Unhealed {
    pub(super) error: String,
    /// The owner could not be asked: it may have them.
    pub(super) retry: bool,
}

/// The first gap of each aggregate of a batch, but for those that are blocked or known not to heal.
pub(super) fn find(events: &[Arc<Delivered>], marks: &Marks, unhealed: &HashMap<Key, Unhealed>) -> Vec<Gap> {
    let mut reached: HashMap<Key, i64> = HashMap::new();
    let mut found: HashSet<Key> = HashSet::new();
    let mut gaps = Vec::new();
    for event in events {
        let key = event.key();
        let mark = marks.get(key);
        let settled = mark.blocked || unhealed.contains_key(&key);
        if settled || found.contains(&key) {
            continue;
        }
        let at = reached.entry(key).or_insert(mark.sequence);
        if event.sequence == *at + 1 {
            *at = event.sequence;
        } else if event.sequence > *at + 1 {
            found.insert(key);
            gaps.push(Gap { key, name: event.aggregate_id(), from: *at + 1, before: event.sequence });
        }
    }
    gaps
}

impl Runner {
    /// Asks the owner for what is missing and applies it. The inner error: the gap stays.
    pub(super) async fn heal(
        &self,
        gap: &Gap,
        stop: &CancellationToken,
    ) -> Result<Result<(), Unhealed>, Error> {
        let mut from = self.reached(gap.key).await.map_or(gap.from, |at| at + 1);
        while from < gap.before {
            let page = match self.ask(gap, from, stop).await? {
                Ok(page) => page,
                Err(unhealed) => {
                    self.counted(gap, false, &unhealed.error);
                    return Ok(Err(unhealed));
                }
            };
            let next = from + i64::try_from(page.len()).unwrap_or(i64::MAX);
            for batch in page.chunks(BATCH) {
                Box::pin(self.settle(batch, stop)).await?;
            }
            from = next;
        }
        self.counted(gap, true, "");
        Ok(Ok(()))
    }

    /// The next missing events, dense from `from` on and at least one.
    pub(super) async fn ask(
        &self,
        gap: &Gap,
        from: i64,
        stop: &CancellationToken,
    ) -> Result<Result<Vec<Arc<Delivered>>, Unhealed>, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match (self.owners.replay)(gap.key.topic, gap.key.aggregate, from).await {
                Ok(events) => {
                    let page: Vec<Arc<Delivered>> = (from..gap.before)
                        .zip(events)
                        .take_while(|(sequence, event)| {
                            event.sequence == *sequence && event.aggregate == gap.key.aggregate
                        })
                        .map(|(_, event)| Arc::new(event))
                        .collect();
                    if page.is_empty() {
                        let error = format!("the owner does not have version {from}");
                        return Ok(Err(Unhealed { error, retry: false }));
                    }
                    return Ok(Ok(page));
                }
                Err(error) if tries >= TRIES => {
                    let error = format!("the owner could not be asked: {error}");
                    return Ok(Err(Unhealed { error, retry: true }));
                }
                Err(_) => self.wait(backoff(tries), stop).await?,
            }
        }
    }

    async fn reached(&self, key: Key) -> Option<i64> {
        let mut tx = self.db.read().await.ok()?;
        let row = tx
            .fetch_optional(
                "SELECT sequence FROM applied WHERE consumer = $1 AND topic = $2 AND aggregate = $3",
                db::params![self.group(), key.topic.name(), key.aggregate],
            )
            .await
            .ok()??;
        row.get("sequence").ok()
    }

    pub(super) fn counted(&self, gap: &Gap, healed: bool, error: &str) {
        let consumer = self.group();
        let label = if healed { "true" } else { "false" };
        metrics::counter!(measure::GAPS, "consumer" => consumer, "healed" => label).increment(1);
        tracing::warn!(
            consumer,
            aggregate = gap.name,
            from = gap.from,
            before = gap.before,
            healed,
            error,
            "events were missing"
        );
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::Topic;

    fn event(aggregate: u128, sequence: i64) -> Arc<Delivered> {
        Arc::new(Delivered {
            id: Uuid::from_u128(1),
            topic: Topic::Orders,
            aggregate_type: "order".to_owned(),
            aggregate: Uuid::from_u128(aggregate),
            sequence,
            event_type: "x".to_owned(),
            payload: Bytes::new(),
            occurred_at: Timestamp::UNIX_EPOCH,
            actor: "test/1".to_owned(),
            traceparent: None,
        })
    }

    fn gaps(events: &[Arc<Delivered>], marks: &Marks) -> Vec<(i64, i64)> {
        find(events, marks, &HashMap::new()).iter().map(|gap| (gap.from, gap.before)).collect()
    }

    #[test]
    fn a_dense_run_has_no_gap_and_repetitions_are_none() {
        let events = [event(1, 1), event(1, 2), event(1, 1), event(2, 1), event(1, 3)];
        assert!(gaps(&events, &Marks::default()).is_empty());
    }

    #[test]
    fn a_first_seen_aggregate_that_does_not_start_at_one_is_a_gap() {
        assert_eq!(gaps(&[event(1, 3)], &Marks::default()), [(1, 3)]);
    }

    #[test]
    fn only_the_first_gap_of_an_aggregate_is_told_and_none_of_a_blocked_one() {
        let mut marks = Marks::default();
        marks.advance(event(1, 4).key(), 4);
        marks.block(event(2, 1).key(), true);
        let events = [event(1, 5), event(1, 7), event(1, 9), event(2, 9)];
        assert_eq!(gaps(&events, &marks), [(6, 7)]);
    }
}
