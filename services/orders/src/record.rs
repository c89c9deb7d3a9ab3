//! Saving what a transition did: the order, its timeline and its events, in one transaction.

use bus::outbox::{self, Traced};
use db::Tx;
use domain::id::OrderId;
use domain::order::{Changed, Order};
use domain::time::Timestamp;
use server::Principal;
use service::{Call, Turn};

use crate::error::Error;
use crate::store::{self, Change, Loaded, Note};
use crate::{Orders, steps, wire};

/// An order under change: as it was locked, as it is now, and its new steps and events.
pub(crate) struct Open {
    before: Loaded,
    pub(crate) order: Order,
    notes: Vec<Note>,
    events: Vec<Traced>,
}

impl Open {
    pub(crate) fn new(before: Loaded) -> Self {
        Self { order: before.order.clone(), before, notes: Vec::new(), events: Vec::new() }
    }

    /// Takes over a transition. `notes` are steps without an event of the order.
    pub(crate) fn take(&mut self, changed: Changed, notes: Vec<Note>, actor: &str, now: Timestamp) {
        self.notes.extend(notes);
        self.notes.extend(steps::of(&changed.order, &changed.events, actor, now));
        self.events.extend(events(&changed, actor, now));
        self.order = changed.order;
    }

    /// Adds a step.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    fn has_changed(&self) -> bool {
        !self.notes.is_empty() || self.order != self.before.order
    }
}

impl Orders {
    /// Writes changed orders with their timelines and events.
    pub(crate) async fn write_open(&self, tx: &mut Tx, open: Vec<Open>) -> Result<(), Error> {
        let open: Vec<Open> = open.into_iter().filter(Open::has_changed).collect();
        let changes: Vec<Change<'_>> =
            open.iter().map(|o| Change { before: &o.before, order: &o.order, notes: &o.notes }).collect();
        let events: Vec<Traced> = open.iter().flat_map(|o| o.events.clone()).collect();
        self.save(tx, &changes, &events).await
    }

    /// Writes changed orders and their events, in one go.
    pub(crate) async fn save(
        &self,
        tx: &mut Tx,
        changes: &[Change<'_>],
        events: &[Traced],
    ) -> Result<(), Error> {
        let mut parts = store::changes_of(changes, &self.policy);
        parts.extend(outbox::parts_traced(tx, events)?);
        let counts = tx.together(parts).await?;
        let saved = counts.first().copied().unwrap_or_default();
        if usize::try_from(saved).is_ok_and(|saved| saved == changes.len()) {
            Ok(())
        } else {
            Err(Error::ChangedMeanwhile)
        }
    }

    /// One transition that a call asks for: the order, a step without an event, and the answer, in one transaction.
    pub(crate) async fn write_by<R: prost::Message + Default>(
        &self,
        call: &Call,
        order: OrderId,
        caller: &Principal,
        now: Timestamp,
        transition: impl FnOnce(Order) -> Result<(Changed, Option<Note>, R), Error>,
    ) -> Result<R, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::Answered(reply) => return Ok(reply),
            Turn::New(tx) => tx,
        };
        let before = store::lock(&mut tx, order).await?;
        let (changed, note, reply) = transition(before.order.clone())?;
        self.record(&mut tx, before, changed, note.into_iter().collect(), caller.actor(), now).await?;
        call.finish(tx, &reply).await?;
        Ok(reply)
    }

    /// Writes one changed order.
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        before: Loaded,
        changed: Changed,
        notes: Vec<Note>,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut open = Open::new(before);
        open.take(changed, notes, actor, now);
        self.write_open(tx, vec![open]).await
    }

    /// An order, all of it as of one moment.
    pub(crate) async fn find(&self, id: OrderId) -> Result<Order, Error> {
        let mut tx = self.db.snapshot().await?;
        let found = store::load(&mut tx, id).await?;
        found.map(|loaded| loaded.order).ok_or_else(|| Error::NotFound(id.to_string()))
    }
}

/// The events of a transition, in the trace of what asked for it: the last one has the order's version.
pub(crate) fn events(changed: &Changed, actor: &str, now: Timestamp) -> Vec<Traced> {
    let trace = bus::trace::current();
    let count = i64::try_from(changed.events.len()).unwrap_or_default();
    let first = changed.order.version - count + 1;
    let numbered = changed.events.iter().zip(first..);
    let event = |what, sequence| wire::event(&changed.order, what, sequence, actor, now);
    numbered.map(|(what, sequence)| (event(what, sequence), trace.clone())).collect()
}
