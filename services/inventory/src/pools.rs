//! Pools: what single channels have claimed of positions that units are kept for them at.
//!
//! Only such positions are counted, from the moment on in which a pool first applies to them: the claims on a position are found
//! by its ledger, under its lock, so the number is exact. From then on each claim and each end of one is counted with the
//! position, in the same transaction. Where no pool applies any more the rows are deleted, so a later pool counts from the
//! beginning.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use db::{Part, Tx};
use domain::id::ReservationId;
use domain::stock::Key;
use domain::stock::pool::{Pool, count as claim};

use crate::error::Error;
use crate::store::channel_claims;
use crate::store::movements;
use crate::store::positions::Slot;

/// Rows of the ledger of a position that are read at first, and at most at a time.
const PAGE: i64 = 200;
const MOST: i64 = 20_000;
/// Claims that are asked about at a time.
const CLAIMS: usize = 5_000;

/// Reads what was last announced of positions that have pools.
pub(crate) async fn load(tx: &mut Tx, slots: &mut [Slot]) -> Result<(), Error> {
    let keys: Vec<&Key> = slots.iter().filter(|slot| slot.has_pools).map(|slot| &slot.key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut rows = channel_claims::read(tx, &keys).await?;
    for slot in slots.iter_mut().filter(|slot| slot.has_pools) {
        slot.stored = rows.remove(&slot.key).unwrap_or_default();
        slot.pools.clone_from(&slot.stored);
    }
    Ok(())
}

/// Puts what is kept now into locked positions, and counts what channels have claimed that were not counted before.
pub(crate) async fn follow(tx: &mut Tx, slots: &mut [Slot]) -> Result<(), Error> {
    let mut uncounted = Vec::new();
    for (place, slot) in slots.iter_mut().enumerate() {
        let before = std::mem::take(&mut slot.pools);
        let claimed =
            |channel: &str| before.iter().find(|pool| *pool.channel == *channel).map(|pool| pool.claimed);
        let is_counted =
            slot.position.reserved == 0 || slot.kept.iter().all(|(channel, _)| claimed(channel).is_some());
        let pool = |(channel, kept): &(Arc<str>, i64)| {
            let claimed = if is_counted { claimed(channel).unwrap_or(0) } else { 0 };
            Pool { channel: Arc::clone(channel), kept: *kept, claimed }
        };
        slot.pools = slot.kept.iter().map(pool).collect();
        if !is_counted {
            uncounted.push(place);
        }
    }
    if uncounted.is_empty() { Ok(()) } else { count(tx, slots, uncounted).await }
}

/// How far the claims on a position are counted.
struct Counting {
    place: usize,
    /// Units that are claimed by reservations which were not found yet.
    left: i64,
    /// Rows of the ledger from this one on were read.
    end: i64,
    seen: HashSet<ReservationId>,
}

/// Counts the claims on positions by channel, the newest first, until all of them are found.
async fn count(tx: &mut Tx, slots: &mut [Slot], places: Vec<usize>) -> Result<(), Error> {
    let begin = |place: usize| {
        let Slot { position, last_movement, .. } = &slots[place];
        Counting { place, left: position.reserved, end: last_movement + 1, seen: HashSet::new() }
    };
    let mut open: Vec<Counting> = places.into_iter().map(begin).collect();
    let mut page = PAGE;
    while !open.is_empty() {
        let first = |counting: &Counting| (counting.end - page).max(1);
        let asked: Vec<(&Key, i64, i64)> =
            open.iter().map(|counting| (&slots[counting.place].key, first(counting), counting.end)).collect();
        let named = movements::claimants_of(tx, &asked).await?;
        let by_key: HashMap<Key, usize> =
            open.iter().enumerate().map(|(at, counting)| (slots[counting.place].key.clone(), at)).collect();
        let is_new =
            |(key, id): &&(Key, ReservationId)| by_key.get(key).is_some_and(|at| open[*at].seen.insert(*id));
        let fresh: Vec<(ReservationId, &Key)> =
            named.iter().filter(is_new).map(|(key, id)| (*id, key)).collect();
        for claims in fresh.chunks(CLAIMS) {
            for (key, channel, held) in channel_claims::held(tx, claims).await? {
                let Some(counting) = by_key.get(&key).and_then(|at| open.get_mut(*at)) else { continue };
                counting.left -= held;
                claim(&mut slots[counting.place].pools, channel.as_deref(), held);
            }
        }
        for counting in &mut open {
            counting.end = (counting.end - page).max(1);
        }
        open.retain(|counting| counting.left > 0 && counting.end > 1);
        page = (page * 4).min(MOST);
    }
    Ok(())
}

/// What is to be written of positions that are announced: rows that are new or other ones, and rows that are gone.
pub(crate) fn parts<'a>(announced: impl Iterator<Item = &'a mut Slot>) -> [Part; 2] {
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for slot in announced {
        slot.has_pools = !slot.pools.is_empty();
        let is_other = |pool: &&Pool| !slot.stored.contains(pool);
        put.extend(slot.pools.iter().filter(is_other).map(|pool| channel_claims::values(&slot.key, pool)));
        let is_gone = |old: &&Pool| slot.pools.iter().all(|pool| pool.channel != old.channel);
        gone.extend(slot.stored.iter().filter(is_gone).map(|pool| channel_claims::name(&slot.key, pool)));
        slot.stored.clone_from(&slot.pools);
    }
    [channel_claims::put(put), channel_claims::delete(gone)]
}
