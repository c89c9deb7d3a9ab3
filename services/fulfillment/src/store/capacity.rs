//! How much each slot of a resource has taken.

use std::collections::{BTreeMap, BTreeSet};

use db::{Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::promise::plan::ResourceKind;
use domain::time::micros;
use jiff::Timestamp;

use super::hold_count::Counts;
use super::promise::Stored;
use super::promise_leg::HeldPlace;
use crate::error::Error;

/// A slot of a resource for one kind of work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct SlotKey {
    /// Of what kind of thing.
    pub(crate) kind: ResourceKind,
    /// Its code.
    pub(crate) resource: String,
    /// For what.
    pub(crate) work: String,
    /// When the slot begins, in microseconds.
    pub(crate) start: i64,
}

const COLUMNS: [(&str, Type); 4] =
    [("kind", Type::Text), ("resource", Type::Text), ("work", Type::Text), ("slot_start", Type::BigInt)];

/// The slot that a row names.
pub(super) fn slot_key(row: &Row) -> Result<SlotKey, Error> {
    let kind: String = row.get("kind")?;
    let kind = ResourceKind::named(&kind)
        .ok_or_else(|| Error::corrupt(format!("a slot of a resource of kind {kind}")))?;
    Ok(SlotKey {
        kind,
        resource: row.get("resource")?,
        work: row.get("work")?,
        start: row.get("slot_start")?,
    })
}

fn values(slot: &SlotKey) -> Vec<Value> {
    params![slot.kind.name(), slot.resource.as_str(), slot.work.as_str(), slot.start]
}

/// Locks slots, makes those that do not exist, and returns how much each has taken.
pub(crate) async fn lock(
    tx: &mut Tx,
    slots: &BTreeSet<SlotKey>,
    now: Timestamp,
) -> Result<BTreeMap<SlotKey, i64>, Error> {
    let found = lock_existing(tx, slots).await?;
    if found.len() == slots.len() {
        return Ok(found);
    }
    let missing = slots
        .iter()
        .filter(|slot| !found.contains_key(slot))
        .map(|slot| values(slot).into_iter().chain([micros(now).into()]).collect())
        .collect();
    let (text, columns) = insert_rows!(
        "capacity_slots",
        [kind: Text, resource: Text, work: Text, slot_start: BigInt, updated_at: BigInt],
        and "used" = "0",
        "WHERE true ORDER BY r.kind, r.resource, r.work, r.slot_start
         ON CONFLICT (kind, resource, work, slot_start) DO NOTHING"
    );
    tx.batch(text, columns, missing).await?;
    lock_existing(tx, slots).await
}

async fn lock_existing(tx: &mut Tx, slots: &BTreeSet<SlotKey>) -> Result<BTreeMap<SlotKey, i64>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT c.kind, c.resource, c.work, c.slot_start, c.used FROM capacity_slots c
               JOIN {rows} ON c.kind = r.kind AND c.resource = r.resource AND c.work = r.work
                          AND c.slot_start = r.slot_start
              ORDER BY c.kind, c.resource, c.work, c.slot_start {lock:c}",
            &COLUMNS,
            slots.iter().map(values).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((slot_key(row)?, row.get("used")?))).collect()
}

/// Adds to what slots have taken (less with negative numbers); `used` is what they have taken, under their locks. A slot
/// never goes below zero: that would be an order released twice, and is reported.
pub(crate) async fn add(
    tx: &mut Tx,
    used: &BTreeMap<SlotKey, i64>,
    by: &BTreeMap<SlotKey, i64>,
    now: Timestamp,
) -> Result<(), Error> {
    for (slot, by) in by.iter().filter(|(slot, by)| used.get(slot).copied().unwrap_or(0) + **by < 0) {
        tracing::error!(?slot, by, "more capacity released than was taken");
        metrics::counter!("entrepot_capacity_below_zero_total").increment(1);
    }
    let (text, columns) = update_rows!(
        "capacity_slots",
        keys [kind: Text, resource: Text, work: Text, slot_start: BigInt],
        given [by_amount: BigInt],
        [updated_at: BigInt],
        and "used = CASE WHEN capacity_slots.used + r.by_amount < 0 THEN 0 ELSE capacity_slots.used + r.by_amount END"
    );
    let row = |(slot, by): (&SlotKey, &i64)| {
        let rest: [Value; 2] = [(*by).into(), micros(now).into()];
        values(slot).into_iter().chain(rest).collect()
    };
    tx.batch(text, columns, by.iter().map(row).collect()).await?;
    Ok(())
}

/// By how much slots change in a transaction, and what callers with a quota hold. Everybody locks slots last, so that
/// nobody who holds one waits for anything else: what a transaction does to them is gathered, and written at its end.
#[derive(Debug, Default)]
#[must_use = "the slots and counts change when this is written"]
pub(crate) struct Changes {
    slots: BTreeMap<SlotKey, i64>,
    counts: Counts,
}

impl Changes {
    /// The slot takes what the place needs, beyond its limit if need be.
    pub(crate) fn take(&mut self, place: &HeldPlace) {
        *self.slots.entry(place.slot.clone()).or_insert(0) += place.amount;
    }

    /// The slot gets back what the place has.
    pub(crate) fn free(&mut self, place: &HeldPlace) {
        *self.slots.entry(place.slot.clone()).or_insert(0) -= place.amount;
    }

    /// A promise that no longer waits for an order counts for nobody's quota.
    pub(crate) fn end_count(&mut self, promise: &mut Stored) {
        if !promise.state.is_waiting() {
            self.counts.add(&promise.counts(), -1);
            promise.counted_for = None;
        }
    }

    /// Locks the counts and then the slots, each in their order, and writes what changed.
    pub(crate) async fn write(self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        let Self { mut slots, counts } = self;
        counts.write(tx, now).await?;
        slots.retain(|_, by| *by != 0);
        if slots.is_empty() {
            return Ok(());
        }
        let keys: BTreeSet<SlotKey> = slots.keys().cloned().collect();
        let mut used = lock_existing(tx, &keys).await?;
        // A slot that was pruned after its end takes nothing back.
        slots.retain(|slot, by| *by > 0 || used.contains_key(slot));
        if slots.keys().any(|slot| !used.contains_key(slot)) {
            used = lock(tx, &keys, now).await?;
        }
        add(tx, &used, &slots, now).await
    }
}

/// Where a reading of changes stands: the instant of the last change read, and its slot.
pub(crate) type Mark = (i64, SlotKey);

/// What slots that changed after a mark have taken, oldest change first.
pub(crate) async fn changed_after(tx: &mut Tx, mark: &Mark, limit: i64) -> Result<Vec<(Mark, i64)>, Error> {
    let (updated_at, slot) = mark;
    let rows = tx
        .fetch_all(
            "SELECT kind, resource, work, slot_start, used, updated_at FROM capacity_slots
              WHERE (updated_at, kind, resource, work, slot_start) > ($1, $2, $3, $4, $5)
              ORDER BY updated_at, kind, resource, work, slot_start LIMIT $6",
            params![
                *updated_at,
                slot.kind.name(),
                slot.resource.as_str(),
                slot.work.as_str(),
                slot.start,
                limit
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(((row.get("updated_at")?, slot_key(row)?), row.get("used")?))).collect()
}

/// What the slots of a node from an instant on have taken.
pub(crate) async fn of_node(tx: &mut Tx, node: &str, from: i64) -> Result<Vec<(SlotKey, i64)>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT kind, resource, work, slot_start, used FROM capacity_slots
              WHERE kind = 'NODE' AND resource = $1 AND slot_start >= $2 LIMIT 5000",
            params![node, from],
        )
        .await?;
    rows.iter().map(|row| Ok((slot_key(row)?, row.get("used")?))).collect()
}

/// Forgets slots that began before an instant, at most `limit`.
pub(crate) async fn prune(tx: &mut Tx, before: i64, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM capacity_slots WHERE (kind, resource, work, slot_start) IN
               (SELECT kind, resource, work, slot_start FROM capacity_slots WHERE slot_start < $1
                 ORDER BY slot_start LIMIT $2)",
            params![before, limit],
        )
        .await?)
}
