//! How far a consumer is with each aggregate.

use std::collections::HashMap;

use crate::event::Key;
use crate::{Error, Topic};
use db::{Tx, Type, params};

/// Where a consumer stands with one aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The last version applied; 0 when none was.
    pub(crate) sequence: i64,
    /// Whether events of it are parked.
    pub(crate) blocked: bool,
    /// Whether the row exists, and is locked by this transaction.
    stored: bool,
}

/// The marks of the aggregates of one batch.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    now: HashMap<Key, Mark>,
    before: HashMap<Key, Mark>,
}

impl Marks {
    pub(crate) fn get(&self, key: Key) -> Mark {
        self.now.get(&key).copied().unwrap_or(Mark { sequence: 0, blocked: false, stored: false })
    }

    pub(crate) fn advance(&mut self, key: Key, sequence: i64) {
        let mark = self.get(key);
        self.now.insert(key, Mark { sequence, ..mark });
    }

    pub(crate) fn block(&mut self, key: Key, blocked: bool) {
        let mark = self.get(key);
        self.now.insert(key, Mark { blocked, ..mark });
    }

    /// Writes what changed. False: another instance of the consumer met one of the aggregates first, so this
    /// transaction must not be committed.
    pub(crate) async fn save(&self, tx: &mut Tx, consumer: &str) -> Result<bool, Error> {
        let mut changed: Vec<(Key, Mark)> = self
            .now
            .iter()
            .filter(|(key, mark)| self.before.get(*key) != Some(*mark))
            .map(|(key, mark)| (*key, *mark))
            .collect();
        changed.sort_unstable_by_key(|(key, _)| *key);
        let (stored, fresh): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, mark)| mark.stored);
        let expected = fresh.len() as u64;
        if !stored.is_empty() {
            tx.batch(
                "UPDATE applied AS a SET sequence = r.sequence, blocked = r.blocked FROM {rows}
                  WHERE a.consumer = r.consumer AND a.topic = r.topic AND a.aggregate = r.aggregate",
                COLUMNS,
                rows(consumer, &stored),
            )
            .await?;
        }
        if fresh.is_empty() {
            return Ok(true);
        }
        let inserted = tx
            .batch(
                "INSERT INTO applied (consumer, topic, aggregate, sequence, blocked)
                 SELECT r.consumer, r.topic, r.aggregate, r.sequence, r.blocked FROM {rows} WHERE true
                  ORDER BY r.topic, r.aggregate
                 ON CONFLICT (consumer, topic, aggregate) DO NOTHING",
                COLUMNS,
                rows(consumer, &fresh),
            )
            .await?;
        Ok(inserted == expected)
    }
}

const COLUMNS: &[(&str, Type)] = &[
    ("consumer", Type::Text),
    ("topic", Type::Text),
    ("aggregate", Type::Uuid),
    ("sequence", Type::BigInt),
    ("blocked", Type::Bool),
];

fn rows(consumer: &str, marks: &[(Key, Mark)]) -> Vec<Vec<db::Value>> {
    marks
        .iter()
        .map(|(key, mark)| params![consumer, key.topic.name(), key.aggregate, mark.sequence, mark.blocked])
        .collect()
}

/// Reads and locks the marks of the aggregates, in one order for all.
pub(crate) async fn lock(tx: &mut Tx, consumer: &str, keys: &[Key]) -> Result<Marks, Error> {
    let mut wanted = keys.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let rows = wanted.iter().map(|key| params![consumer, key.topic.name(), key.aggregate]).collect();
    let rows = tx
        .batch_fetch(
            "SELECT a.topic, a.aggregate, a.sequence, a.blocked FROM applied a
               JOIN {rows} ON a.consumer = r.consumer AND a.topic = r.topic AND a.aggregate = r.aggregate
              ORDER BY a.topic, a.aggregate {lock:a}",
            &[("consumer", Type::Text), ("topic", Type::Text), ("aggregate", Type::Uuid)],
            rows,
        )
        .await?;
    let mut marks = Marks::default();
    for row in &rows {
        let topic = Topic::from_name(&row.get::<String>("topic")?)?;
        let mark = Mark { sequence: row.get("sequence")?, blocked: row.get("blocked")?, stored: true };
        marks.before.insert(Key { topic, aggregate: row.get("aggregate")? }, mark);
    }
    marks.now.clone_from(&marks.before);
    Ok(marks)
}
