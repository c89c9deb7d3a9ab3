//! The one way in which stock itself changes, for feeds, imports and staff alike.
//!
//! Each change gets its verdict; what is refused leaves no trace, what was applied before is not applied again, and
//! what is older than what is known does nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use db::Tx;
use domain::damage;
use domain::policy::Book;
use domain::stock::Key;
use domain::stock::movement::Kind;
use jiff::Timestamp;
use service::Fault;

use crate::batch::Batch;
use crate::command::{Cause, Change, Verdict};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::feeds::{FeedKey, FeedRow};
use crate::store::movements::By;
use crate::store::positions::Slot;
use crate::{relief, store};

/// Decides and writes `changes` in their order. The caller commits. Also answers the positions as they are now.
pub(crate) async fn apply(
    tx: &mut Tx,
    changes: &[Change],
    actor: &Arc<str>,
    book: &Book,
    now: Timestamp,
) -> Result<(Vec<Verdict>, Vec<Slot>), Error> {
    let skus: BTreeSet<_> = changes.iter().map(|change| &change.key.sku).collect();
    let kinds = store::skus::kinds(tx, skus).await?;
    let is_plain = |change: &&Change| kinds.get(&change.key.sku) == Some(&false);
    let keys: BTreeSet<&Key> = changes.iter().filter(is_plain).map(|change| &change.key).collect();
    let keys: Vec<Key> = keys.into_iter().cloned().collect();
    let mut ledger = Ledger::open(tx, &keys, book, now).await?;
    let before = ledger.positions();
    let fed: Vec<&FeedRow> = changes.iter().filter_map(|change| change.feed.as_ref()).collect();
    let mut seen = store::feeds::known(tx, &fed).await?;
    let moved = unseen(tx, changes).await?;

    let mut verdicts = Vec::with_capacity(changes.len());
    let mut applied = Vec::new();
    for change in changes {
        let verdict = match kinds.get(&change.key.sku) {
            None => damage::of(change.key.sku.as_str()).map_or(Verdict::UnknownSku, Verdict::Damaged),
            Some(true) => Verdict::IsKit,
            Some(false) => one(&mut ledger, change, &seen, &moved, actor)?,
        };
        if let (Verdict::Applied, Some(row)) = (&verdict, &change.feed) {
            seen.insert(row.key.clone(), row.content.clone());
            applied.push(row);
        }
        verdicts.push(verdict);
    }
    let fed = applied.len() as u64;
    let trace = bus::trace::current();
    let cause = Cause { actor: Arc::clone(actor), trace: trace.clone() };
    let mut batch = Batch::new(now, ledger, HashMap::new());
    let mut trusted = Vec::new();
    for (place, before) in before.into_iter().enumerate() {
        let after = batch.ledger.slot(place).position;
        if after.overclaim() > before.overclaim() {
            batch.falls_short(place, &cause);
        }
        if before.is_doubtful() && !after.is_doubtful() && after.reserved > 0 {
            trusted.push(place);
        }
    }
    let whole = relief::lock(tx, &mut batch, &trusted).await?;
    batch.trust(&trusted, &cause)?;
    batch.relieve(&whole)?;
    let slots = batch.write(tx, (store::feeds::insert(applied, now), fed), trace).await?;
    Ok((verdicts, slots))
}

/// What has moved at each position since its snapshot was taken: the snapshot could not see it.
async fn unseen(tx: &mut Tx, changes: &[Change]) -> Result<HashMap<(Key, Timestamp), i64>, Error> {
    let snapshots = changes.iter().filter(|change| change.kind == Kind::Snapshot);
    let mut moved = HashMap::new();
    let mut by_time: HashMap<Timestamp, Vec<(Key, Timestamp)>> = HashMap::new();
    for change in snapshots {
        by_time.entry(change.at).or_default().push((change.key.clone(), change.at));
    }
    // one statement per moment: a feed has one, an import a few
    for (at, mut asked) in by_time {
        asked.sort_unstable();
        asked.dedup();
        for (key, units) in store::movements::since(tx, &asked).await? {
            moved.insert((key, at), units);
        }
    }
    Ok(moved)
}

fn one(
    ledger: &mut Ledger,
    change: &Change,
    seen: &HashMap<FeedKey, String>,
    moved: &HashMap<(Key, Timestamp), i64>,
    actor: &Arc<str>,
) -> Result<Verdict, Error> {
    if let Some(row) = &change.feed
        && let Some(before) = seen.get(&row.key)
    {
        let is_same = *before == row.content;
        return Ok(if is_same { Verdict::Duplicate } else { Verdict::Reused { before: before.clone() } });
    }
    let place = ledger.place(&change.key).ok_or(Fault::Raced)?;
    let slot = ledger.slot(place);
    let mut marks = slot.marks;
    let is_new = slot.version == 0;
    let on_hand = slot.position.on_hand;
    let fresh = match change.kind {
        Kind::Snapshot => marks.snapshot(change.at),
        // a count is a snapshot that needs no admission: somebody stands at the shelf
        Kind::Count => {
            marks.snapshot = marks.snapshot.max(Some(change.at));
            Ok(())
        }
        _ if change.feed.is_some() => marks.delta(change.at),
        _ => Ok(()),
    };
    if let Err(stale) = fresh {
        return Ok(Verdict::Stale(stale));
    }
    let quantity = match change.kind {
        Kind::Snapshot => {
            let since = moved.get(&(change.key.clone(), change.at)).copied().unwrap_or(0);
            change.quantity.saturating_add(since)
        }
        _ => change.quantity,
    };
    if change.kind == Kind::Snapshot && quantity == on_hand && !is_new {
        *ledger.feed_marks(place) = marks;
        return Ok(Verdict::Applied);
    }
    let by = By { actor, reason: &change.reason, reference: &change.reference, at: change.at };
    match ledger.post(place, change.kind, quantity, by) {
        Ok(()) => {
            *ledger.feed_marks(place) = marks;
            Ok(Verdict::Applied)
        }
        Err(Error::Refused(refusal)) => Ok(Verdict::Refused(refusal)),
        Err(other) => Err(other),
    }
}
