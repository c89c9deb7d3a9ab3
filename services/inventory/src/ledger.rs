//! The positions of one transaction: locked in order, changed in memory, written at once with their ledger rows and
//! one event each.

use std::collections::HashMap;
use std::sync::Arc;

use bus::Event;
use db::{Part, Tx, Value};
use domain::policy::Book;
use domain::stock::feed::Marks;
use domain::stock::movement::{Entry, Kind};
use domain::stock::reservation::Shift;
use domain::stock::{Key, Position, pool};
use jiff::Timestamp;

use crate::error::Error;
use crate::store::movements::By;
use crate::store::positions::Slot;
use crate::{pools, rules, store, wire};

/// What is to be written of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Clean,
    /// Only the marks of its feeds changed: no new version, no event.
    Touched,
    /// A new version, caused last by this actor.
    Changed(Arc<str>),
}

/// The locked positions.
pub(crate) struct Ledger {
    now: Timestamp,
    slots: Vec<Slot>,
    marks: Vec<Mark>,
    index: HashMap<Key, usize>,
    movements: Vec<Vec<Value>>,
}

impl Ledger {
    /// Locks those of `keys` (sorted, each once) that exist, with what policies say about them now.
    pub(crate) async fn lock(tx: &mut Tx, keys: &[Key], book: &Book, now: Timestamp) -> Result<Self, Error> {
        let mut slots = store::positions::lock(tx, keys).await?;
        rules::apply(tx, book, &mut slots, now).await?;
        pools::follow(tx, &mut slots).await?;
        Ok(Self::of(slots, now))
    }

    /// Locks `keys` (sorted, each once); those that do not exist yet are made, empty.
    pub(crate) async fn open(tx: &mut Tx, keys: &[Key], book: &Book, now: Timestamp) -> Result<Self, Error> {
        store::positions::create(tx, keys, now).await?;
        Self::lock(tx, keys, book, now).await
    }

    fn of(slots: Vec<Slot>, now: Timestamp) -> Self {
        let index = slots.iter().enumerate().map(|(place, slot)| (slot.key.clone(), place)).collect();
        let marks = vec![Mark::Clean; slots.len()];
        Self { now, slots, marks, index, movements: Vec::new() }
    }

    /// Where a position is in this ledger; `None`: it was not locked or does not exist.
    pub(crate) fn place(&self, key: &Key) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The position at a place.
    pub(crate) fn slot(&self, place: usize) -> &Slot {
        &self.slots[place]
    }

    /// The positions as they are, by place.
    pub(crate) fn positions(&self) -> Vec<Position> {
        self.slots.iter().map(|slot| slot.position).collect()
    }

    /// The feed marks at a place, to be moved on.
    pub(crate) fn feed_marks(&mut self, place: usize) -> &mut Marks {
        if self.marks[place] == Mark::Clean {
            self.marks[place] = Mark::Touched;
        }
        &mut self.slots[place].marks
    }

    /// What a reservation of this channel did to one of its lines.
    pub(crate) fn shift(
        &mut self,
        place: usize,
        shift: &Shift,
        channel: Option<&str>,
        by: By<'_>,
    ) -> Result<(), Error> {
        let slot = &mut self.slots[place];
        let entry = slot.position.shift(shift.kind, shift.on_hand, shift.reserved)?;
        pool::count(&mut slot.pools, channel, shift.reserved);
        self.enter(place, &entry, by);
        Ok(())
    }

    /// A change of goods.
    pub(crate) fn post(&mut self, place: usize, kind: Kind, quantity: i64, by: By<'_>) -> Result<(), Error> {
        let mut position = self.slots[place].position;
        let entry = position.post(kind, quantity)?;
        self.slots[place].position = position;
        self.enter(place, &entry, by);
        Ok(())
    }

    fn enter(&mut self, place: usize, entry: &Entry, by: By<'_>) {
        self.restate(place, by.actor);
        let slot = &mut self.slots[place];
        slot.last_movement += 1;
        self.movements.push(store::movements::values(slot, entry, by));
    }

    /// The position is announced as it is, though nothing moved there.
    pub(crate) fn restate(&mut self, place: usize, actor: &Arc<str>) {
        let slot = &mut self.slots[place];
        if !matches!(self.marks[place], Mark::Changed(_)) {
            slot.version += 1;
        }
        slot.updated_at = self.now;
        self.marks[place] = Mark::Changed(Arc::clone(actor));
    }

    /// What is to be written, and one event per changed position, for the caller to write together.
    pub(crate) fn parts(&mut self, events: &mut Vec<Event>) -> [Part; 4] {
        let is_changed = |(_, mark): &(&mut Slot, &Mark)| matches!(mark, Mark::Changed(_));
        let changed = self.slots.iter_mut().zip(&self.marks).filter(is_changed);
        let [put, delete] = pools::parts(changed.map(|(slot, _)| slot));
        let mut rows = Vec::with_capacity(self.slots.len());
        for (slot, mark) in self.slots.iter_mut().zip(&self.marks) {
            match mark {
                Mark::Clean => continue,
                Mark::Touched => {}
                Mark::Changed(actor) => {
                    slot.announced = slot.position.safety_stock();
                    events.push(wire::position_changed(slot, actor, self.now));
                }
            }
            rows.push(store::positions::values(slot));
        }
        let movements = std::mem::take(&mut self.movements);
        [store::positions::update(rows), store::movements::insert(movements), put, delete]
    }

    /// The positions as they are now.
    pub(crate) fn into_slots(self) -> Vec<Slot> {
        self.slots
    }
}
