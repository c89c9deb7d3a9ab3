//! How full the slots of the nodes are, in memory: what promises go by between two looks at the database.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use domain::network::capacity::Work;
use jiff::Timestamp;

use crate::network::Key;
use crate::store::capacity::SlotKey;

/// A slot of a node, by numbers.
pub(crate) type Slot = (Key, Work, i64);

/// Orders taken per slot.
#[derive(Debug, Default)]
pub(crate) struct Load {
    used: RwLock<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    used: HashMap<Slot, u32>,
    /// How many slots were left when those that are over were forgotten.
    kept: usize,
}

/// The orders taken, to be read and let go.
pub(crate) struct Used<'a>(RwLockReadGuard<'a, Slots>);

impl Used<'_> {
    /// How many orders a slot has taken.
    pub(crate) fn of(&self, node: Key, work: Work, start: Timestamp) -> u32 {
        self.0.used.get(&(node, work, start.as_microsecond())).copied().unwrap_or(0)
    }
}

impl Load {
    /// What is known now.
    pub(crate) fn read(&self) -> Used<'_> {
        Used(self.used.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what slots have taken, and forgets those before `oldest`.
    pub(crate) fn put(&self, slots: impl IntoIterator<Item = (Slot, i64)>, oldest: Timestamp) {
        let mut known = self.used.write().unwrap_or_else(PoisonError::into_inner);
        for (slot, taken) in slots {
            known.used.insert(slot, u32::try_from(taken.max(0)).unwrap_or(u32::MAX));
        }
        // Forgetting walks the whole map, so it waits until there may be as much to forget as to keep.
        if known.used.len() > 2 * known.kept.max(500) {
            known.used.retain(|(_, _, start), _| *start >= oldest.as_microsecond());
            known.kept = known.used.len();
        }
    }
}

/// The kind of work of that name.
pub(crate) fn work_named(slot: &SlotKey) -> Option<Work> {
    domain::fulfillment::method::Method::ALL
        .into_iter()
        .map(|method| method.rules().work)
        .find(|work| work.name() == slot.work)
}
