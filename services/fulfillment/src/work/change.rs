//! A change of one fulfillment order: begun under the lock of its node's feed, saved with its events.
//!
//! A verb locks the node's feed, loads the fulfillment order, decides, saves, appends its events and commits. Each
//! event carries the fulfillment order as it was right after it.

use db::Tx;
use domain::fulfillment::{Event, Order, Refusal};
use domain::id::FulfillmentId;
use jiff::Timestamp;
use work_feed::{Feed, rows};

use super::named::Named;
use crate::store::capacity::Changes;
use crate::store::feed::{self, KIND};
use crate::store::work::Stored;
use crate::store::{code, record, work as store};
use crate::{Error, Fulfillment};

/// Who caused a change, in which trace.
#[derive(Debug, Clone)]
pub(crate) struct By {
    pub(crate) actor: String,
    pub(crate) trace: Option<String>,
}

/// A fulfillment order that is being changed under the lock of its node's feed.
pub(crate) struct Change {
    pub(crate) stored: Stored,
    pub(crate) now: Timestamp,
    /// What the actor says in its own words; empty: nothing. It is kept, and no event tells it.
    pub(crate) note: String,
    /// What the reason of a report is about, where it does not say all of it.
    pub(super) named: Vec<Named>,
    /// The locked feed, and the fulfillment order as it was loaded; none: it is new.
    loaded: Option<(Feed, Order)>,
    actor: String,
    /// The trace of what caused it.
    trace: Option<String>,
    events: Vec<bus::Event>,
}

impl Change {
    /// Begins with a fulfillment order that is not stored yet; its number in the feed is drawn later.
    pub(crate) fn new(stored: Stored, by: &By, now: Timestamp) -> Self {
        Self::begun(stored, None, by.clone(), now)
    }

    fn begun(stored: Stored, loaded: Option<(Feed, Order)>, by: By, now: Timestamp) -> Self {
        let By { actor, trace } = by;
        let (note, named, events) = (String::new(), Vec::new(), Vec::new());
        Self { stored, now, note, named, loaded, actor, trace, events }
    }

    /// Lets the order go on; its event is kept with the order as it is then.
    pub(crate) fn apply(
        &mut self,
        transition: impl FnOnce(&mut Order, Timestamp) -> Result<Event, Refusal>,
    ) -> Result<(), Refusal> {
        let event = transition(&mut self.stored.order, self.now)?;
        self.happened(&event);
        Ok(())
    }

    /// One line per decision, for people and for counters.
    fn tell(&self) {
        let Some(what) = self.events.last().map(|event| event.event_type) else { return };
        let order = &self.stored.order;
        metrics::counter!("entrepot_fulfillment_changes_total", "what" => what).increment(1);
        tracing::info!(
            fulfillment_id = %order.id, order_id = %order.order, node_id = %order.node, version = order.version,
            state = order.state().name(), actor = self.actor, "{what}"
        );
    }

    /// Shows the order in the node's feed although nothing happened that others hear of.
    pub(crate) async fn show(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let Some((feed, _)) = self.loaded.as_mut() else { return Ok(()) };
        Ok(feed.append(tx, KIND, self.stored.order.id.uuid(), self.now).await?)
    }

    /// Keeps an event of the order, and what its method tells the customer about it.
    pub(crate) fn happened(&mut self, event: &Event) {
        self.keep(event);
        if let Some(notice) = self.stored.order.notice_after(event) {
            let event = self.stored.order.notify(notice, self.now);
            self.keep(&event);
        }
    }

    fn keep(&mut self, event: &Event) {
        self.stored.updated = self.now;
        self.stored.updated_by.clone_from(&self.actor);
        let event = crate::wire::event::event(&self.stored, event, &self.named, &self.actor, self.now);
        self.events.push(event);
    }
}

impl Fulfillment {
    /// Locks and loads a fulfillment order.
    pub(crate) async fn change(
        &self,
        tx: &mut Tx,
        id: FulfillmentId,
        actor: &str,
        now: Timestamp,
    ) -> Result<Change, Error> {
        let missing = || Error::FulfillmentNotFound(id.to_string());
        let feed = feed::lock_of(tx, id).await?.ok_or_else(missing)?;
        let mut stored = store::load(tx, id).await?.ok_or_else(missing)?;
        stored.order.clocks =
            self.clocks(&self.policies.book(), &stored.order.node, &stored.channel, stored.order.method, now);
        stored.order.site = self.network.node(&stored.order.node);
        let loaded = Some((feed, stored.order.clone()));
        let by = By { actor: actor.to_owned(), trace: bus::trace::current() };
        Ok(Change::begun(stored, loaded, by, now))
    }

    /// Saves a change with its events and tells the node's feed. The caller commits and then wakes the watchers.
    pub(crate) async fn save(&self, tx: &mut Tx, change: &mut Change) -> Result<(), Error> {
        let mut slots = Changes::default();
        self.write_change(tx, change, &mut slots).await?;
        slots.write(tx, change.now).await
    }

    /// The same for a change among others of one transaction, which writes the slots at its end; its commit wakes the watchers.
    pub(crate) async fn save_among(
        &self,
        tx: &mut Tx,
        change: &mut Change,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        self.write_change(tx, change, slots).await?;
        self.work.room.pending([change.stored.order.node.clone()]);
        Ok(())
    }

    async fn write_change(&self, tx: &mut Tx, change: &mut Change, slots: &mut Changes) -> Result<(), Error> {
        if change.events.is_empty() {
            return Ok(());
        }
        let Some((feed, before)) = change.loaded.as_mut() else { return Ok(()) };
        let order = &change.stored.order;
        store::update(tx, before, &change.stored).await?;
        if order.state().is_over() && !before.state().is_over() {
            code::void(tx, order.id, change.now).await?;
            if !order.has_begun() {
                self.free_capacity(tx, order.token, order.id, slots).await?;
            }
        }
        if !change.note.is_empty() {
            record::note(tx, &change.stored, &change.note, &change.actor).await?;
        }
        feed.append(tx, KIND, order.id.uuid(), change.now).await?;
        bus::outbox::append(tx, &change.events).await?;
        change.tell();
        Ok(())
    }

    /// Saves fulfillment orders that are new, each with its events and its number in the feed of its node.
    pub(crate) async fn save_new(
        &self,
        tx: &mut Tx,
        changes: &[Change],
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let mut entries = Vec::with_capacity(changes.len());
        for Change { stored, now, .. } in changes {
            entries.push((&stored.order.node, stored.order.id.uuid(), *now));
        }
        rows::append_new(tx, KIND, &entries).await?;
        store::insert(tx, &changes.iter().map(|change| &change.stored).collect::<Vec<_>>()).await?;
        let of = |change: &Change| {
            let trace = change.trace.clone();
            change.events.clone().into_iter().map(move |event| (event, trace.clone()))
        };
        bus::outbox::append_traced(tx, &changes.iter().flat_map(of).collect::<Vec<_>>()).await?;
        for change in changes {
            let order = &change.stored.order;
            if order.state().is_over() {
                self.free_capacity(tx, order.token, order.id, slots).await?;
            }
            change.tell();
        }
        Ok(())
    }
}
