//! How full the slots of the nodes are, in memory: what promises go by between two reads of the database.
//!
//! Counted is what was written, and what this process has planned and not written yet: so a rush of holds
//! spreads over the slots at once, and does not queue up for the first one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::network::capacity::{self, Activity};
use domain::promise::plan::ResourceKind;
use jiff::Timestamp;

use super::index::Key;
use crate::Fulfillment;
use crate::store::capacity::SlotKey;
use crate::store::promise_leg::HeldPlace;

/// A slot of a node, by numbers.
pub(crate) type Slot = (Key, Activity, i64);

/// What slots have taken, in orders or in units as each node counts.
#[derive(Debug, Default)]
pub(crate) struct Load {
    used: RwLock<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    used: HashMap<Slot, i64>,
    /// What is planned and not yet written.
    planned: HashMap<Slot, i64>,
    /// How many slots were left when those that are over were forgotten.
    kept: usize,
}

/// What is taken, to be read and let go.
pub(crate) struct Used<'a>(RwLockReadGuard<'a, Slots>);

impl Used<'_> {
    /// How much a slot has taken.
    pub(crate) fn of(&self, node: Key, activity: Activity, start: Timestamp) -> i64 {
        let slot = (node, activity, start.as_microsecond());
        let count = |of: &HashMap<Slot, i64>| of.get(&slot).copied().unwrap_or(0);
        count(&self.0.used).saturating_add(count(&self.0.planned))
    }
}

impl Load {
    /// What is known now.
    pub(crate) fn read(&self) -> Used<'_> {
        Used(self.used.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This much is planned in slots. It is counted until [`Self::settle`] gets it.
    pub(crate) fn plan(&self, plans: impl IntoIterator<Item = (Slot, i64)>) {
        let mut known = self.write();
        for (slot, amount) in plans {
            let planned = known.planned.entry(slot).or_insert(0);
            *planned = planned.saturating_add(amount);
        }
    }

    /// Takes in what slots have taken, ends the plans that were written or given up, and forgets slots that began
    /// before `oldest`.
    pub(crate) fn settle(
        &self,
        plans: impl IntoIterator<Item = (Slot, i64)>,
        taken: impl IntoIterator<Item = (Slot, i64)>,
        oldest: Timestamp,
    ) {
        let mut known = self.write();
        for (slot, amount) in plans {
            if let Entry::Occupied(mut planned) = known.planned.entry(slot) {
                *planned.get_mut() -= amount;
                if *planned.get() <= 0 {
                    planned.remove();
                }
            }
        }
        for (slot, taken) in taken {
            known.used.insert(slot, taken.max(0));
        }
        // Forgetting walks the whole map, so it waits until there may be as much to forget as to keep.
        if known.used.len() > 2 * known.kept.max(500) {
            known.used.retain(|(_, _, start), _| *start >= oldest.as_microsecond());
            known.kept = known.used.len();
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots> {
        self.used.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fulfillment {
    /// Takes in what slots have taken.
    pub(crate) fn note_load(&self, used: impl IntoIterator<Item = (SlotKey, i64)>) {
        self.load.settle([], self.numbered(used), self.oldest_slot());
    }

    pub(crate) fn numbered(
        &self,
        used: impl IntoIterator<Item = (SlotKey, i64)>,
    ) -> impl Iterator<Item = (Slot, i64)> {
        used.into_iter().filter_map(|(slot, taken)| Some((self.slot_number(&slot)?, taken)))
    }

    /// A slot of a node by the numbers of this process.
    fn slot_number(&self, slot: &SlotKey) -> Option<Slot> {
        match slot.kind {
            ResourceKind::Node => {
                Some((self.network.keys.find(&slot.resource)?, activity_named(slot)?, slot.start))
            }
            ResourceKind::Zone | ResourceKind::Couriers | ResourceKind::Skill => None,
        }
    }

    /// What the places of a promise take, by the numbers of this process.
    pub(crate) fn planned<'a>(
        &self,
        places: impl Iterator<Item = &'a HeldPlace>,
    ) -> impl Iterator<Item = (Slot, i64)> {
        places.filter_map(move |place| Some((self.slot_number(&place.slot)?, place.amount)))
    }

    pub(crate) fn oldest_slot(&self) -> Timestamp {
        self.clock.business() - capacity::LONGEST_SLOT
    }
}

/// The activity of that name.
fn activity_named(slot: &SlotKey) -> Option<Activity> {
    Activity::ALL.into_iter().find(|activity| activity.name() == slot.work)
}
