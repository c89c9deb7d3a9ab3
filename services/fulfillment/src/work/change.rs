//! The work of the nodes: what its verbs share.
//!
//! A verb locks the node's feed, loads the fulfilment order, decides, saves, appends its events and commits. Each
//! event carries the fulfilment order as it was right after it.

use std::sync::Arc;

use db::Tx;
use domain::fulfillment::{Event, Order, Refusal};
use domain::id::{FulfillmentId, NodeId};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use server::Principal;

use crate::store::capacity::Changes;
use crate::store::feed::{self, Feed};
use crate::store::work::Stored;
use crate::store::{code, record, work as store};
use crate::verb::Call;
use crate::wire::work as wire;
use crate::work::code::Key;
use crate::work::watch::Hub;
use crate::{Error, Fulfillment};
use contract::fulfillment::v1 as pb;

/// Settings of the nodes' work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkConfig {
    /// Key under which pickup codes are hashed; set by the program, never by this section. All processes of a
    /// deployment need the same. Empty: a random one, so that codes end with the process.
    #[serde(skip)]
    pub pickup_code_secret: Secret,
    /// Characters of a pickup code, 8 to 32.
    pub pickup_code_chars: usize,
    /// Codes that one caller may miss within the window before look-ups must wait.
    pub caller_misses: i64,
    /// Codes that may be missed at one node within the window.
    pub node_misses: i64,
    /// The window, in seconds.
    pub miss_window_s: i64,
    /// Streams of work that may be open at once in this process.
    pub max_watchers: usize,
    /// Seconds after which an idle stream gets a sign of life.
    pub keep_alive_s: u64,
    /// Days for which a store that was offline can resume its stream.
    pub feed_days: i64,
}

impl Default for WorkConfig {
    fn default() -> Self {
        Self {
            pickup_code_secret: Secret::default(),
            pickup_code_chars: 8,
            caller_misses: 10,
            node_misses: 60,
            miss_window_s: 600,
            max_watchers: 10_000,
            keep_alive_s: 20,
            feed_days: 7,
        }
    }
}

/// A setting that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

/// What the nodes' work keeps in memory.
pub(crate) struct Work {
    pub(crate) config: WorkConfig,
    pub(crate) key: Key,
    pub(crate) hub: Arc<Hub>,
}

impl Work {
    pub(crate) fn new(config: &WorkConfig) -> Self {
        Self {
            config: config.clone(),
            key: Key::new(config.pickup_code_secret.reveal()),
            hub: Arc::default(),
        }
    }

    /// A batch of events was committed: those who watch may look.
    pub(crate) fn committed(&self) {
        self.hub.release();
    }
}

/// Who caused a change, in which trace.
#[derive(Debug, Clone)]
pub(crate) struct By {
    pub(crate) actor: String,
    pub(crate) trace: Option<String>,
}

/// A fulfilment order that is being changed under the lock of its node's feed.
pub(crate) struct Change {
    pub(crate) feed: Feed,
    pub(crate) stored: Stored,
    pub(crate) now: Timestamp,
    /// What the actor says in its own words; empty: nothing. It is kept, and no event tells it.
    pub(crate) note: String,
    before: Option<Order>,
    actor: String,
    /// The trace of what caused it.
    trace: Option<String>,
    events: Vec<bus::Event>,
}

impl Change {
    /// Begins with a fulfilment order that is not stored yet; its number in the feed is drawn later.
    pub(crate) fn new(stored: Stored, by: &By, now: Timestamp) -> Self {
        let feed = Feed { node: stored.order.node.clone(), seq: 0 };
        let By { actor, trace } = by.clone();
        Self { feed, stored, now, note: String::new(), before: None, actor, trace, events: Vec::new() }
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

    /// Keeps an event of the order.
    pub(crate) fn happened(&mut self, event: &Event) {
        self.stored.updated = self.now;
        self.events.push(crate::wire::event::event(&self.stored, event, &self.actor, self.now));
    }
}

impl Fulfillment {
    /// Locks and loads a fulfilment order.
    pub(crate) async fn change(
        &self,
        tx: &mut Tx,
        id: FulfillmentId,
        actor: &str,
        now: Timestamp,
    ) -> Result<Change, Error> {
        let missing = || Error::FulfillmentNotFound(id.to_string());
        let feed = feed::lock_of(tx, id).await?.ok_or_else(missing)?;
        let stored = store::load(tx, id).await?.ok_or_else(missing)?;
        let before = Some(stored.order.clone());
        let (actor, trace) = (actor.to_owned(), bus::trace::current());
        Ok(Change { feed, stored, now, note: String::new(), before, actor, trace, events: Vec::new() })
    }

    /// Saves a change with its events and tells the node's feed. The caller commits and then wakes the watchers.
    pub(crate) async fn save(&self, tx: &mut Tx, change: &mut Change) -> Result<(), Error> {
        let mut slots = Changes::default();
        self.save_among(tx, change, &mut slots).await?;
        slots.write(tx, change.now).await
    }

    /// The same for a change among others of one transaction, which writes the slots at its end.
    pub(crate) async fn save_among(
        &self,
        tx: &mut Tx,
        change: &mut Change,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(before) = change.before.as_ref().filter(|_| !change.events.is_empty()) else {
            return Ok(());
        };
        let order = &change.stored.order;
        store::update(tx, before, &change.stored).await?;
        if order.state().is_over() && !before.state().is_over() {
            code::void(tx, order.id, change.now).await?;
            if order.marks.started.is_none() {
                self.free_capacity(tx, order.token, slots).await?;
            }
        }
        if !change.note.is_empty() {
            record::note(tx, &change.stored, &change.note, &change.actor).await?;
        }
        feed::append(tx, &mut change.feed, order.id, change.now).await?;
        bus::outbox::append(tx, &change.events).await?;
        change.tell();
        Ok(())
    }

    /// Saves fulfilment orders that are new, each with its events and its number in the feed of its node.
    pub(crate) async fn save_new(
        &self,
        tx: &mut Tx,
        changes: &mut [Change],
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let mut counts = std::collections::BTreeMap::new();
        for change in changes.iter() {
            *counts.entry(change.feed.node.clone()).or_insert(0_i64) += 1;
        }
        let mut last = feed::draw(tx, &counts).await?;
        // The numbers of a node are given from the last one down, so the changes are walked backwards.
        for change in changes.iter_mut().rev() {
            let missing = || Error::Corrupt(format!("no feed of node {}", change.feed.node));
            let next = last.get_mut(&change.feed.node).ok_or_else(missing)?;
            change.feed.seq = *next;
            *next -= 1;
        }
        store::insert(tx, &changes.iter().map(|change| &change.stored).collect::<Vec<_>>()).await?;
        feed::enter(tx, changes).await?;
        let of = |change: &Change| {
            let trace = change.trace.clone();
            change.events.clone().into_iter().map(move |event| (event, trace.clone()))
        };
        bus::outbox::append_traced(tx, &changes.iter().flat_map(of).collect::<Vec<_>>()).await?;
        for change in changes.iter() {
            let order = &change.stored.order;
            if order.state().is_over() {
                self.free_capacity(tx, order.token, slots).await?;
            }
            change.tell();
        }
        Ok(())
    }

    /// A verb of a store on one fulfilment order: once per request id, repeated when others were in the way.
    pub(crate) async fn work_verb(
        &self,
        call: &Call,
        principal: &Principal,
        id: FulfillmentId,
        act: impl Fn(&mut Change) -> Result<(), Refusal>,
    ) -> Result<pb::FulfillmentOrder, Error> {
        db::retry(3, Error::is_retry, || self.try_verb(call, principal, id, &act)).await
    }

    async fn try_verb(
        &self,
        call: &Call,
        principal: &Principal,
        id: FulfillmentId,
        act: &impl Fn(&mut Change) -> Result<(), Refusal>,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let now = self.clock.business();
        let mut tx = self.db.begin().await?;
        if let Some(reply) = call.claim(&mut tx, now).await? {
            return wire::saved(&reply);
        }
        let mut change = self.change(&mut tx, id, principal.as_str(), now).await?;
        may_work(principal, &change.stored.order.node)
            .then_some(())
            .ok_or_else(|| Error::FulfillmentNotFound(id.to_string()))?;
        act(&mut change)?;
        self.save(&mut tx, &mut change).await?;
        let reply = wire::fulfillment_order(&change.stored);
        call.settle(&mut tx, &reply.encode_to_vec()).await?;
        tx.commit().await?;
        self.work.hub.wake(&change.feed.node);
        Ok(reply)
    }

    /// When an offer made now must be accepted, and from when it is at risk: the node's clock counts its opening time.
    pub(crate) fn accept_clock(
        &self,
        node: &NodeId,
        method: domain::fulfillment::Method,
        now: Timestamp,
    ) -> (Timestamp, Timestamp) {
        use domain::fulfillment::method::Counts;
        let rules = method.rules();
        let all = SignedDuration::from_mins(rules.accept.minutes);
        let most = SignedDuration::from_secs(rules.accept.minutes * 60 * rules.at_risk_percent / 100);
        let known = match rules.accept.counts {
            Counts::OpeningTime => self.node(node),
            Counts::AllTime => None,
        };
        let after = |span: SignedDuration| {
            let open = known.as_ref().and_then(|node| node.hours.add_open_time(now, span));
            open.unwrap_or_else(|| now.saturating_add(span).unwrap_or(Timestamp::MAX))
        };
        (after(all), after(most))
    }
}

/// A store sees and changes its own work only; to it, the work of another node does not exist.
pub(crate) fn may_work(principal: &Principal, node: &NodeId) -> bool {
    principal.kind != server::auth::kind::STORE || principal.id == node.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("correct horse battery");
        let config = WorkConfig { pickup_code_secret: secret, ..WorkConfig::default() };
        assert!(!format!("{config:?}").contains("horse"));
        assert!(!serde_json::to_string(&config).unwrap().contains("horse"));
    }

    #[test]
    fn a_store_sees_its_own_work_only() {
        let node = NodeId::new("N1").unwrap();
        assert!(may_work(&Principal::new("store", "N1"), &node));
        assert!(!may_work(&Principal::new("store", "N2"), &node));
        assert!(may_work(&Principal::new("ops", "N2"), &node));
    }
}
