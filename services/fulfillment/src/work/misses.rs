//! Pickup codes that were missed: by caller, who waits then, and by node, where every look-up is slower then.
//!
//! A look-up writes nothing. Misses are counted in memory at once, and joined with those of other processes in the
//! database every second: a process that dies forgets those of its last second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::fulfillment::code::{Misses, Throttle};
use domain::id::NodeId;
use jiff::{SignedDuration, Timestamp};
use server::Principal;

use crate::config::WorkConfig;
use crate::store::code as store;
use crate::{Error, Fulfillment};

/// The most scopes remembered; more than that many callers miss only on purpose, and the node counts them too.
const MAX_SCOPES: usize = 10_000;

/// The most scopes joined in one transaction.
const JOINED_AT_ONCE: usize = 500;

/// Whom a miss counts for.
pub(crate) struct Scopes {
    pub(crate) caller: String,
    pub(crate) node: String,
}

impl Scopes {
    pub(crate) fn of(who: &Principal, node: &NodeId) -> Self {
        Self { caller: format!("caller:{}@{node}", who.as_str()), node: format!("node:{node}") }
    }
}

/// What this process knows.
pub(crate) struct Book {
    caller: Throttle,
    node: Throttle,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    misses: Misses,
    /// Of these, counted here and not in the database yet.
    unsaved: i64,
}

/// Whether a look-up may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    AtOnce,
    /// After a pause: the node was missed at too often.
    Slowly,
}

impl Book {
    pub(crate) fn new(config: &WorkConfig) -> Self {
        let window = SignedDuration::from_secs(config.miss_window_s);
        Self {
            caller: Throttle { allowed: config.caller_misses, window },
            node: Throttle { allowed: config.node_misses, window },
            known: Mutex::default(),
        }
    }

    fn throttle(&self, scope: &str) -> Throttle {
        if scope.starts_with("node:") { self.node } else { self.caller }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a caller look a code up, or tells when it may; `saved` is what the database knows.
    pub(crate) fn admit(
        &self,
        scopes: &Scopes,
        saved: &[(String, Misses)],
        now: Timestamp,
    ) -> Result<Admitted, Timestamp> {
        let known = self.lock();
        let may = |scope: &str| {
            let throttle = self.throttle(scope);
            let here = known.get(scope).map(|known| known.misses);
            let there = saved.iter().find(|(other, _)| other == scope).map(|(_, misses)| *misses);
            [here, there].into_iter().flatten().try_for_each(|misses| throttle.admit(misses, now))
        };
        may(&scopes.caller)?;
        Ok(if may(&scopes.node).is_ok() { Admitted::AtOnce } else { Admitted::Slowly })
    }

    /// A code was missed.
    pub(crate) fn missed(&self, scopes: &Scopes, now: Timestamp) {
        let mut known = self.lock();
        for scope in [&scopes.node, &scopes.caller] {
            let throttle = self.throttle(scope);
            if known.len() >= MAX_SCOPES && !known.contains_key(scope) {
                known.retain(|scope, known| {
                    known.unsaved > 0 || self.throttle(scope).left(known.misses, now).count > 0
                });
                if known.len() >= MAX_SCOPES {
                    continue;
                }
            }
            let none = Known { misses: Misses { since: now, count: 0 }, unsaved: 0 };
            let entry = known.entry(scope.clone()).or_insert(none);
            entry.misses = throttle.missed(entry.misses, 1, now);
            entry.unsaved += 1;
        }
    }

    /// What is to be joined with the database, by scope; it counts as saved from now on.
    fn take(&self) -> Vec<(String, i64)> {
        let mut known = self.lock();
        let unsaved = known.iter_mut().filter(|(_, known)| known.unsaved > 0).take(JOINED_AT_ONCE);
        let mut taken: Vec<(String, i64)> =
            unsaved.map(|(scope, known)| (scope.clone(), std::mem::take(&mut known.unsaved))).collect();
        taken.sort_unstable();
        taken
    }

    fn put_back(&self, taken: &[(String, i64)]) {
        let mut known = self.lock();
        for (scope, count) in taken {
            if let Some(known) = known.get_mut(scope) {
                known.unsaved += count;
            }
        }
    }

    fn joined(&self, joined: &[(String, Misses)]) {
        let mut known = self.lock();
        for (scope, misses) in joined {
            if let Some(known) = known.get_mut(scope).filter(|known| known.unsaved == 0) {
                known.misses = *misses;
            }
        }
    }
}

impl Fulfillment {
    /// Joins the misses of this process with those of others.
    pub async fn join_misses(&self, now: Timestamp) -> Result<(), Error> {
        let taken = self.work.misses.take();
        if taken.is_empty() {
            return Ok(());
        }
        match self.write_misses(&taken, now).await {
            Ok(joined) => {
                self.work.misses.joined(&joined);
                Ok(())
            }
            Err(error) => {
                self.work.misses.put_back(&taken);
                Err(error)
            }
        }
    }

    async fn write_misses(
        &self,
        taken: &[(String, i64)],
        now: Timestamp,
    ) -> Result<Vec<(String, Misses)>, Error> {
        let scopes: Vec<&str> = taken.iter().map(|(scope, _)| scope.as_str()).collect();
        let mut tx = self.db.begin().await?;
        let mut joined = store::lock_misses(&mut tx, &scopes, now).await?;
        for (scope, misses) in &mut joined {
            let more = taken.iter().find(|(other, _)| other == scope).map_or(0, |(_, count)| *count);
            *misses = self.work.misses.throttle(scope).missed(*misses, more, now);
        }
        store::save_misses(&mut tx, &joined).await?;
        tx.commit().await?;
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_caller_who_missed_waits_and_a_node_slows_for_all() {
        let config =
            WorkConfig { caller_misses: 3, node_misses: 5, miss_window_s: 60, ..WorkConfig::default() };
        let book = Book::new(&config);
        let node = NodeId::new("N1").unwrap();
        let [one, two] = ["ops/1", "ops/2"].map(|who| {
            let (kind, id) = who.split_once('/').unwrap();
            Scopes::of(&Principal::new(kind, id), &node)
        });
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        (0..3).for_each(|_| book.missed(&one, now));
        assert_eq!(book.admit(&one, &[], now), Err(now + SignedDuration::from_secs(20)));
        assert_eq!(book.admit(&two, &[], now), Ok(Admitted::AtOnce));
        (0..2).for_each(|_| book.missed(&two, now));
        assert_eq!(book.admit(&two, &[], now), Ok(Admitted::Slowly));
        let elsewhere = [(two.caller.clone(), Misses { since: now, count: 3 })];
        assert!(book.admit(&two, &elsewhere, now).is_err(), "misses in other processes count too");
    }
}
