//! What callers with a quota hold, while new holds are decided upon: counted under the locks of their rows, so that a quota
//! holds with any number of processes on one database.

use std::collections::{BTreeSet, HashMap};

use db::Tx;
use domain::id::Sku;
use domain::promise::quota::{Exceeded, Holding, Quota};
use jiff::Timestamp;

use super::batch::Job;
use crate::error::Error;
use crate::store::hold_count::{self, CountKey, Counts};
use crate::store::promise::Stored;

/// What callers hold, and by how much a transaction changes it. Callers without a quota are not in it.
pub(super) struct Tally {
    held: Counts,
    change: Counts,
    /// Unpaid orders, of those who have a limit of them.
    unpaid: HashMap<String, i64>,
}

impl Tally {
    /// Locks what is needed to decide on these jobs; `freed` is what the same transaction gives back.
    pub(super) async fn read(
        tx: &mut Tx,
        jobs: &[Job],
        freed: &Counts,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut keys: BTreeSet<CountKey> = freed.keys().cloned().collect();
        let mut debtors = BTreeSet::new();
        for job in jobs {
            if let Job::Take { promise, quota, .. } = job {
                keys.extend(promise.counts().keys().cloned());
                let is_limited = quota.is_some_and(|quota| quota.unpaid_orders.is_some());
                debtors.extend(promise.counted_for.clone().filter(|_| is_limited));
            }
        }
        let held = hold_count::lock(tx, &keys, now).await?;
        // Read under those locks: a token that becomes an order is counted there until then, and here from then on.
        let unpaid = hold_count::unpaid_orders(tx, &debtors).await?;
        let mut change = Counts::default();
        change.add(freed, -1);
        Ok(Self { held, change, unpaid })
    }

    /// Counts a new promise, unless its holder would hold more than its quota then.
    pub(super) fn take(&mut self, promise: &Stored, quota: Option<&Quota>) -> Result<(), Exceeded> {
        let (Some(quota), Some(holder)) = (quota, &promise.counted_for) else { return Ok(()) };
        let asked = Holding::of_cart(promise.body.lines.iter().filter_map(|line| {
            let sku = Sku::new(line.sku.as_str()).ok()?;
            Some((sku, line.quantity))
        }));
        quota.check(&self.holding(holder, &asked), &asked)?;
        self.change.add(&promise.counts(), 1);
        Ok(())
    }

    /// What somebody holds: in all, and of the SKUs that it asks for.
    fn holding(&self, holder: &str, asked: &Holding) -> Holding {
        let count = |sku: &str| {
            let key = CountKey { owner: holder.to_owned(), sku: sku.to_owned() };
            let (held, change) = (self.held.get(&key), self.change.get(&key));
            (held.tokens + change.tokens, held.units + change.units)
        };
        let (tokens, units) = count("");
        let by_sku = asked.by_sku.keys().map(|sku| (sku.clone(), count(sku.as_str()).1)).collect();
        let unpaid_orders = self.unpaid.get(holder).copied().unwrap_or(0);
        Holding { tokens, units, by_sku, unpaid_orders }
    }

    /// Writes what changed.
    pub(super) async fn write(self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        hold_count::save(tx, &self.held, self.change, now).await
    }
}
