//! How far a consumer is with each aggregate.

use std::collections::HashMap;

use db::{Tx, Type, params};
use uuid::Uuid;

use crate::Error;

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
    now: HashMap<Uuid, Mark>,
    before: HashMap<Uuid, Mark>,
}

impl Marks {
    pub(crate) fn get(&self, aggregate: Uuid) -> Mark {
        self.now.get(&aggregate).copied().unwrap_or(Mark { sequence: 0, blocked: false, stored: false })
    }

    pub(crate) fn advance(&mut self, aggregate: Uuid, sequence: i64) {
        let mark = self.get(aggregate);
        self.now.insert(aggregate, Mark { sequence, ..mark });
    }

    pub(crate) fn block(&mut self, aggregate: Uuid, blocked: bool) {
        let mark = self.get(aggregate);
        self.now.insert(aggregate, Mark { blocked, ..mark });
    }

    /// Writes what changed. False: another instance of the consumer met one of the aggregates first, so this
    /// transaction must not be committed.
    pub(crate) async fn save(&self, tx: &mut Tx, consumer: &str) -> Result<bool, Error> {
        let mut changed: Vec<(Uuid, Mark)> = self
            .now
            .iter()
            .filter(|(aggregate, mark)| self.before.get(*aggregate) != Some(*mark))
            .map(|(aggregate, mark)| (*aggregate, *mark))
            .collect();
        changed.sort_unstable_by_key(|(aggregate, _)| *aggregate);
        let (stored, fresh): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, mark)| mark.stored);
        let expected = fresh.len() as u64;
        if !stored.is_empty() {
            tx.batch(
                "UPDATE applied AS a SET sequence = r.sequence, blocked = r.blocked FROM {rows}
                  WHERE a.consumer = r.consumer AND a.aggregate = r.aggregate",
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
                "INSERT INTO applied (consumer, aggregate, sequence, blocked)
                 SELECT r.consumer, r.aggregate, r.sequence, r.blocked FROM {rows} WHERE true ORDER BY r.aggregate
                 ON CONFLICT (consumer, aggregate) DO NOTHING",
                COLUMNS,
                rows(consumer, &fresh),
            )
            .await?;
        Ok(inserted == expected)
    }
}

const COLUMNS: &[(&str, Type)] = &[
    ("consumer", Type::Text),
    ("aggregate", Type::Uuid),
    ("sequence", Type::BigInt),
    ("blocked", Type::Bool),
];

fn rows(consumer: &str, marks: &[(Uuid, Mark)]) -> Vec<Vec<db::Value>> {
    marks.iter().map(|(aggregate, mark)| params![consumer, *aggregate, mark.sequence, mark.blocked]).collect()
}

/// Reads and locks the marks of the aggregates, in the order of their ids.
pub(crate) async fn lock(tx: &mut Tx, consumer: &str, aggregates: &[Uuid]) -> Result<Marks, Error> {
    let mut wanted = aggregates.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let keys = wanted.iter().map(|aggregate| params![consumer, *aggregate]).collect();
    let rows = tx
        .batch_fetch(
            "SELECT a.aggregate, a.sequence, a.blocked FROM applied a
               JOIN {rows} ON a.consumer = r.consumer AND a.aggregate = r.aggregate
              ORDER BY a.aggregate {lock:a}",
            &[("consumer", Type::Text), ("aggregate", Type::Uuid)],
            keys,
        )
        .await?;
    let mut marks = Marks::default();
    for row in &rows {
        let mark = Mark { sequence: row.get("sequence")?, blocked: row.get("blocked")?, stored: true };
        marks.before.insert(row.get("aggregate")?, mark);
    }
    marks.now.clone_from(&marks.before);
    Ok(marks)
}
