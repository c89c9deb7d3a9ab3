//! What many holds write in one transaction. Capacity is decided under the locks of the slots, in the order of arrival,
//! so that it holds with any number of processes on one database.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use db::Tx;
use domain::id::{NodeId, PromiseToken};
use domain::promise::quota::{Exceeded, Quota};
use domain::promise::token::State;
use jiff::Timestamp;
use uuid::Uuid;

use super::tally::Tally;
use crate::error::Error;
use crate::store::capacity::{self, SlotKey};
use crate::store::hold_count::Counts;
use crate::store::network;
use crate::store::promise::{self, Forgotten, Stored};
use crate::store::promise_leg::HeldPlace;

/// What is to be written.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// A new promise with its capacity.
    Take {
        /// The promise.
        promise: Box<Stored>,
        /// The most that its slots may take.
        limits: BTreeMap<SlotKey, i64>,
        /// The versions of the nodes that it was planned with.
        nodes: BTreeMap<NodeId, i64>,
        /// The most that the one may hold whom it counts for.
        quota: Option<Quota>,
    },
    /// The stock of a promise was granted: it lives until then.
    Grant(PromiseToken, Timestamp),
    /// The stock of a promise was refused: nothing of it stays.
    Forget(PromiseToken),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    /// The promise is written.
    Taken,
    /// The same request came before: this is its promise.
    Known(Box<Stored>),
    /// A slot is full, of the group of this number.
    Full(u32),
    /// Its holder would hold more than its quota.
    OverQuota(Box<Exceeded>),
    /// A node changed since the promise was planned.
    NodeChanged,
    /// The promise was PENDING and is LIVE.
    Granted,
    /// The promise is not PENDING any more.
    NotPending,
    /// It is gone.
    Forgotten,
}

/// Counts what became of promises.
pub(super) fn count(done: &[Done]) {
    for done in done {
        let what = match done {
            Done::Taken => "entrepot_promises_taken_total",
            Done::Granted => "entrepot_promises_held_total",
            Done::Forgotten => "entrepot_promises_forgotten_total",
            Done::Known(_) | Done::Full(_) | Done::OverQuota(_) | Done::NodeChanged | Done::NotPending => {
                continue;
            }
        };
        metrics::counter!(what).increment(1);
    }
}

/// Writes jobs in one transaction: what ends first, then what is new, then what callers hold, then the slots.
pub(super) async fn write(
    tx: &mut Tx,
    jobs: &[Job],
    now: Timestamp,
) -> Result<(Vec<Done>, Vec<(SlotKey, i64)>), Error> {
    let granted: BTreeSet<PromiseToken> = grant(tx, jobs).await?;
    let (freed, counts) = forget(tx, jobs).await?;
    let (takes, mut tally) = Takes::read(tx, jobs, &freed, &counts, now).await?;
    let Decided { outcome, change, used } = takes.decide(jobs, &freed, &mut tally);
    takes.insert(tx, jobs, &outcome).await?;
    tally.write(tx, now).await?;
    capacity::add(tx, &takes.used, &change, now).await?;
    let mut outcome = outcome.into_iter();
    let done = jobs
        .iter()
        .map(|job| match job {
            Job::Take { .. } => outcome.next().unwrap_or(Done::NodeChanged),
            Job::Grant(token, _) if granted.contains(token) => Done::Granted,
            Job::Grant(..) => Done::NotPending,
            Job::Forget(_) => Done::Forgotten,
        })
        .collect();
    Ok((done, used))
}

async fn grant(tx: &mut Tx, jobs: &[Job]) -> Result<BTreeSet<PromiseToken>, Error> {
    let granted: BTreeMap<PromiseToken, Timestamp> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Grant(token, until) => Some((*token, *until)),
            Job::Take { .. } | Job::Forget(_) => None,
        })
        .collect();
    Ok(promise::grant(tx, &granted).await?.into_iter().collect())
}

/// Forgets promises; answers how much less each slot has taken, and callers with a quota hold.
async fn forget(tx: &mut Tx, jobs: &[Job]) -> Result<(BTreeMap<SlotKey, i64>, Counts), Error> {
    let tokens: BTreeSet<PromiseToken> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Forget(token) => Some(*token),
            Job::Take { .. } | Job::Grant(..) => None,
        })
        .collect();
    let tokens: Vec<PromiseToken> = tokens.into_iter().collect();
    let mut freed = BTreeMap::new();
    let Forgotten { places, counts } = promise::forget(tx, &tokens).await?;
    for place in places {
        *freed.entry(place.slot).or_insert(0) += place.amount;
    }
    Ok((freed, counts))
}

/// What was decided on new promises.
struct Decided {
    /// What comes of each, in the order asked.
    outcome: Vec<Done>,
    /// By how much the slots change.
    change: BTreeMap<SlotKey, i64>,
    /// How much they have taken then.
    used: Vec<(SlotKey, i64)>,
}

/// What is known before new promises are decided upon.
struct Takes {
    /// Promises that were asked for before under the same request ids.
    known: HashMap<Uuid, Stored>,
    /// What each slot has taken, under its lock.
    used: BTreeMap<SlotKey, i64>,
    /// The versions of the nodes, as every process that reads now sees them.
    nodes: HashMap<String, i64>,
}

impl Takes {
    /// `freed` are slots that the same transaction gives back, `counts` what callers with a quota no longer hold.
    async fn read(
        tx: &mut Tx,
        jobs: &[Job],
        freed: &BTreeMap<SlotKey, i64>,
        counts: &Counts,
        now: Timestamp,
    ) -> Result<(Self, Tally), Error> {
        let (mut keys, mut slots) = (Vec::new(), freed.keys().cloned().collect::<BTreeSet<_>>());
        let (mut bodies, mut codes) = (HashSet::new(), BTreeSet::new());
        for job in jobs {
            if let Job::Take { promise, nodes, .. } = job {
                codes.extend(nodes.keys().map(NodeId::as_str));
                keys.push(promise.request_key);
                bodies.insert((promise.request_key, promise.body_hash.as_slice()));
                slots.extend(promise.places().map(|place| place.slot.clone()));
            }
        }
        let mut known = HashMap::new();
        let mut ended = Vec::new();
        for stored in promise::by_request(tx, &keys).await? {
            match stored.state {
                // The hold undid itself: the same request may hold again, another one under its id may not.
                State::Released | State::Expired
                    if bodies.contains(&(stored.request_key, stored.body_hash.as_slice())) =>
                {
                    ended.push(stored.token);
                }
                State::Released
                | State::Expired
                | State::Pending { .. }
                | State::Live { .. }
                | State::Confirmed { .. } => {
                    known.insert(stored.request_key, stored);
                }
            }
        }
        ended.sort_unstable();
        promise::detach(tx, &ended).await?;
        let tally = Tally::read(tx, jobs, counts, now).await?;
        let used = capacity::lock(tx, &slots, now).await?;
        // Read last, so that a node that was closed before this batch began counts as closed.
        let nodes = network::versions(tx, &codes).await?;
        Ok((Self { known, used, nodes }, tally))
    }

    /// Decides each new promise in the order of arrival; `freed` is what the same transaction released.
    fn decide(&self, jobs: &[Job], freed: &BTreeMap<SlotKey, i64>, tally: &mut Tally) -> Decided {
        let mut change: BTreeMap<SlotKey, i64> = freed.iter().map(|(slot, by)| (slot.clone(), -by)).collect();
        let mut first: HashMap<Uuid, &Stored> = HashMap::new();
        let mut outcome = Vec::new();
        for job in jobs {
            let Job::Take { promise, limits, nodes, quota } = job else { continue };
            let is_current =
                nodes.iter().all(|(node, version)| self.nodes.get(node.as_str()) == Some(version));
            let duplicate = first.get(&promise.request_key).copied();
            outcome.push(if let Some(known) = duplicate.or_else(|| self.known.get(&promise.request_key)) {
                Done::Known(Box::new(known.clone()))
            } else if !is_current {
                Done::NodeChanged
            } else if let Some(group) = self.full_group(promise, limits, &change) {
                Done::Full(group)
            } else if let Err(exceeded) = tally.take(promise, quota.as_ref()) {
                Done::OverQuota(Box::new(exceeded))
            } else {
                for place in promise.places() {
                    *change.entry(place.slot.clone()).or_insert(0) += place.amount;
                }
                first.insert(promise.request_key, promise);
                Done::Taken
            });
        }
        let used = self
            .used
            .iter()
            .map(|(slot, used)| (slot.clone(), used + change.get(slot).copied().unwrap_or(0)))
            .collect();
        change.retain(|_, by| *by != 0);
        Decided { outcome, change, used }
    }

    /// The first group of a promise for which a slot has no room left, beside what is decided already.
    fn full_group(
        &self,
        promise: &Stored,
        limits: &BTreeMap<SlotKey, i64>,
        change: &BTreeMap<SlotKey, i64>,
    ) -> Option<u32> {
        let mut wanted: BTreeMap<&SlotKey, i64> = BTreeMap::new();
        for leg in &promise.legs {
            for HeldPlace { slot, amount, .. } in &leg.places {
                let wanted = wanted.entry(slot).or_insert(0);
                *wanted += amount;
                let of = |known: &BTreeMap<SlotKey, i64>| known.get(slot).copied().unwrap_or(0);
                let most = limits.get(slot).copied().unwrap_or(i64::MAX);
                if of(&self.used) + of(change) + *wanted > most {
                    return Some(leg.group);
                }
            }
        }
        None
    }

    async fn insert(&self, tx: &mut Tx, jobs: &[Job], outcome: &[Done]) -> Result<(), Error> {
        let takes = jobs.iter().filter_map(|job| match job {
            Job::Take { promise, .. } => Some(promise.as_ref()),
            Job::Grant(..) | Job::Forget(_) => None,
        });
        let mut new: Vec<&Stored> =
            takes.zip(outcome).filter(|(_, done)| matches!(done, Done::Taken)).map(|(new, _)| new).collect();
        new.sort_unstable_by_key(|promise| promise.request_key);
        // When another process writes the same request now, all start over and find it.
        promise::insert(tx, &new).await
    }
}
