//! How much the callers that have a quota hold: tokens and pieces in all, and pieces of each SKU.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::fulfillment::v1 as pb;
use db::{Tx, Type, Value, insert_rows, params, update_rows};
use domain::time::micros;
use jiff::Timestamp;
use service::Fault;

use crate::error::Error;

/// What is counted of whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CountKey {
    /// `kind/id`.
    pub(crate) owner: String,
    /// The SKU; empty: all.
    pub(crate) sku: String,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// Tokens.
    pub(crate) tokens: i64,
    /// Pieces.
    pub(crate) units: i64,
}

/// Counts by key; in changes they may be negative.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts(BTreeMap<CountKey, Count>);

impl Counts {
    /// What one token with this cart counts.
    pub(crate) fn of(owner: &str, cart: &pb::Promise) -> Self {
        let mut counts = Self::default();
        let key = |sku: &str| CountKey { owner: owner.to_owned(), sku: sku.to_owned() };
        for line in &cart.lines {
            counts.0.entry(key("")).or_default().units += line.quantity;
            let of_sku = counts.0.entry(key(&line.sku)).or_default();
            *of_sku = Count { tokens: 1, units: of_sku.units + line.quantity };
        }
        counts.0.entry(key("")).or_default().tokens = 1;
        counts
    }

    /// The count of a key; none: nothing.
    pub(crate) fn get(&self, key: &CountKey) -> Count {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// The keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &CountKey> {
        self.0.keys()
    }

    /// Adds others, `sign` times.
    pub(crate) fn add(&mut self, others: &Self, sign: i64) {
        for (key, by) in &others.0 {
            let count = self.0.entry(key.clone()).or_default();
            count.tokens += sign * by.tokens;
            count.units += sign * by.units;
        }
    }

    /// Locks what changes, in its order, and writes it.
    pub(crate) async fn write(mut self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        self.0.retain(|_, by| *by != Count::default());
        let held = lock(tx, &self.0.keys().cloned().collect(), now).await?;
        save(tx, &held, self, now).await
    }
}

const COLUMNS: [(&str, Type); 2] = [("owner", Type::Text), ("sku", Type::Text)];

fn values(key: &CountKey) -> Vec<Value> {
    params![key.owner.as_str(), key.sku.as_str()]
}

/// Locks counts, makes those that do not exist, and returns them.
pub(crate) async fn lock(tx: &mut Tx, keys: &BTreeSet<CountKey>, now: Timestamp) -> Result<Counts, Error> {
    let found = lock_existing(tx, keys).await?;
    if found.0.len() == keys.len() {
        return Ok(found);
    }
    let missing = keys.iter().filter(|key| !found.0.contains_key(key));
    let missing = missing.map(|key| values(key).into_iter().chain([micros(now).into()]).collect()).collect();
    let (text, columns) = insert_rows!(
        "hold_counts",
        [owner: Text, sku: Text, updated_at: BigInt],
        and "tokens, units" = "0, 0",
        "WHERE true ORDER BY r.owner, r.sku ON CONFLICT (owner, sku) DO NOTHING"
    );
    tx.batch(text, columns, missing).await?;
    let found = lock_existing(tx, keys).await?;
    // One that was found may have been pruned since.
    if found.0.len() == keys.len() { Ok(found) } else { Err(Fault::Raced.into()) }
}

async fn lock_existing(tx: &mut Tx, keys: &BTreeSet<CountKey>) -> Result<Counts, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT c.owner, c.sku, c.tokens, c.units FROM hold_counts c
               JOIN {rows} ON c.owner = r.owner AND c.sku = r.sku ORDER BY c.owner, c.sku {lock:c}",
            &COLUMNS,
            keys.iter().map(values).collect(),
        )
        .await?;
    let mut counts = Counts::default();
    for row in &rows {
        let key = CountKey { owner: row.get("owner")?, sku: row.get("sku")? };
        counts.0.insert(key, Count { tokens: row.get("tokens")?, units: row.get("units")? });
    }
    Ok(counts)
}

/// Writes changes of counts that are locked. None goes below zero: that would be a token that ended twice, and is
/// reported.
pub(crate) async fn save(tx: &mut Tx, held: &Counts, change: Counts, now: Timestamp) -> Result<(), Error> {
    let row = |(key, by): (&CountKey, &Count)| {
        let (of, left) = (held.get(key), |of: i64, by: i64| (of + by).max(0));
        if of.tokens + by.tokens < 0 || of.units + by.units < 0 {
            tracing::error!(?key, ?of, ?by, "more holds ended than were counted");
            metrics::counter!("entrepot_hold_counts_below_zero_total").increment(1);
        }
        let rest = params![left(of.tokens, by.tokens), left(of.units, by.units), micros(now)];
        values(key).into_iter().chain(rest).collect()
    };
    let (text, columns) = update_rows!(
        "hold_counts",
        keys [owner: Text, sku: Text],
        [tokens: BigInt, units: BigInt, updated_at: BigInt]
    );
    tx.batch(text, columns, change.0.iter().filter(|(_, by)| **by != Count::default()).map(row).collect())
        .await?;
    Ok(())
}

/// Forgets counts of nothing that have not changed since an instant, at most `limit`.
pub(crate) async fn prune(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            // Asked twice: a caller may hold again while its row is waited for.
            "DELETE FROM hold_counts WHERE (owner, sku) IN
               (SELECT owner, sku FROM hold_counts WHERE tokens = 0 AND updated_at < $1
                 ORDER BY updated_at LIMIT $2)
               AND tokens = 0 AND updated_at < $1",
            params![micros(before), limit],
        )
        .await?)
}

/// How many unpaid orders these callers have.
pub(crate) async fn unpaid_orders(
    tx: &mut Tx,
    holders: &BTreeSet<String>,
) -> Result<HashMap<String, i64>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT w.holder, COUNT(DISTINCT w.order_id) AS orders FROM fulfillment_orders w
               JOIN {rows} ON w.holder = r.holder WHERE w.is_unpaid GROUP BY w.holder",
            &[("holder", Type::Text)],
            holders.iter().map(|holder| params![holder.as_str()]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("holder")?, row.get("orders")?))).collect()
}
