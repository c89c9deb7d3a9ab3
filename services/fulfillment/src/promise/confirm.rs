//! A promise becomes an order's: by `ConfirmPromise`, or because the order says so.
//!
//! Whoever calls may be wrong about the order, or the order may never be placed. So a promise that was confirmed by a call
//! waits for its order with a clock, and its stock is only held for longer; inventory confirms it when the order comes.

use db::Tx;
use domain::fulfillment::method::Method;
use domain::id::{self, DecisionId, NodeId, OrderId, PromiseToken, Sku};
use domain::promise::token::{Adopted, State};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

use crate::Fulfillment;
use crate::error::Error;
use crate::promise::release::give_back;
use crate::store;
use crate::store::capacity::{Changes, SlotKey};
use crate::store::promise::Stored;
use crate::tasks::Kind;
use crate::verb::{self, Call};
use crate::wire::promise as wire;
use crate::work::change::By;
use contract::fulfillment::v1 as pb;

/// An order that was released to fulfilment: all that its node needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Released {
    /// The order.
    pub(crate) order: OrderId,
    /// Its version.
    pub(crate) order_version: i64,
    /// The promise that it was placed on.
    pub(crate) token: PromiseToken,
    /// How the goods reach the customer.
    pub(crate) method: Method,
    /// The node that serves it.
    pub(crate) node: NodeId,
    /// What to hand over.
    pub(crate) lines: Vec<ReleasedLine>,
    /// When it should be ready.
    pub(crate) promised: Timestamp,
    /// The channel.
    pub(crate) channel: String,
    /// The channel's number of the order.
    pub(crate) channel_order_id: String,
    /// How the node was chosen.
    pub(crate) decision: DecisionId,
    /// It came with the promise of another order, so it has neither stock nor capacity.
    pub(crate) is_another_orders: bool,
}

impl Released {
    /// The promise it came with is another order's, and nothing that is told of this order may touch that: it gets a
    /// token of its own, under which nothing was ever held.
    fn without_promise(self) -> Self {
        let token = PromiseToken::new(id::derived("promise.none", &format!("{}|{}", self.token, self.order)));
        Self { token, decision: DecisionId::new(token.uuid()), is_another_orders: true, ..self }
    }
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleasedLine {
    /// Line of the order.
    pub(crate) line: u32,
    /// The item.
    pub(crate) sku: Sku,
    /// Its name for the pick list.
    pub(crate) name: String,
    /// Pieces.
    pub(crate) quantity: i64,
}

/// How long a promise that was confirmed by a call waits for its order.
const CLAIMED: SignedDuration = SignedDuration::from_mins(15);

impl Fulfillment {
    /// Confirms a promise for an order that is about to be placed: stock first, so that a crash in between leaves a promise
    /// that ends before its stock does.
    pub(crate) async fn confirm(
        &self,
        call: &Call,
        token: PromiseToken,
        order: OrderId,
    ) -> Result<pb::ConfirmPromiseResponse, Error> {
        let mut tx = self.db.read().await?;
        let saved = call.saved(&mut tx).await?;
        let stored = store::promise::get(&mut tx, token).await?;
        tx.commit().await?;
        if let Some(reply) = saved {
            return verb::reply(&reply);
        }
        let stored = stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))?;
        let now = self.clock.business();
        stored.state.confirm(order, now)?;
        let until = now.checked_add(CLAIMED).unwrap_or(Timestamp::MAX);
        self.extend_stock(token, until).await?;
        db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = self.db.begin().await?;
            if let Some(reply) = call.claim(&mut tx, now).await? {
                return verb::reply(&reply);
            }
            let mut stored = locked(&mut tx, token).await?;
            stored.state = stored.state.confirm(order, now)?;
            save(&mut tx, &mut stored).await?;
            store::task::add(&mut tx, Kind::EndUnclaimed.name(), &[token.uuid()], until).await?;
            let reply = pb::ConfirmPromiseResponse { promise: Some(wire::stored(&stored)) };
            call.settle(&mut tx, &reply.encode_to_vec()).await?;
            tx.commit().await?;
            Ok(reply)
        })
        .await
    }

    /// Ends a promise that was confirmed by a call, unless its order has come. Its stock ends by itself.
    pub(crate) async fn end_unclaimed(&self, token: PromiseToken) -> Result<(), Error> {
        db::retry(3, Error::is_retry, || async {
            let mut tx = self.db.begin().await?;
            let Some(mut stored) = store::promise::lock(&mut tx, token).await? else { return Ok(()) };
            let Some(order) = stored.order() else { return Ok(()) };
            if store::work::of_promise(&mut tx, token).await?.is_some() {
                return Ok(());
            }
            tracing::warn!(promise_token = %token, order_id = %order, "the order of a confirmed promise never came");
            stored.state = stored.state.release(Some(order))?;
            let mut slots = Changes::default();
            give_back(&mut tx, &mut stored, &mut slots).await?;
            slots.write(&mut tx, self.clock.business()).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Orders that exist were placed on these promises; an order that exists goes before one that a call spoke of and that
    /// has not come. Where a promise had ended, its stock may still be on the list
    /// of what is to be given back: it is taken off, what becomes of it is between the order and inventory now.
    pub(crate) async fn adopt(
        &self,
        tx: &mut Tx,
        released: Vec<(Released, By)>,
        slots: &mut Changes,
    ) -> Result<Vec<(Released, By)>, Error> {
        let tokens: BTreeSet<PromiseToken> = released.iter().map(|(released, _)| released.token).collect();
        let locked = store::promise::lock_many(tx, tokens.into_iter()).await?;
        let mut promises: BTreeMap<PromiseToken, Stored> =
            locked.into_iter().map(|stored| (stored.token, stored)).collect();
        let mut changed: BTreeSet<PromiseToken> = BTreeSet::new();
        let mut late = Vec::new();
        let mut adopted = Vec::with_capacity(released.len());
        let mut seen: BTreeSet<PromiseToken> = BTreeSet::new();
        for (order, by) in released {
            if let Some(stored) = promises.get_mut(&order.token)
                && seen.insert(order.token)
                && stored.order().is_some_and(|other| other != order.order)
                && store::work::of_promise(tx, order.token).await?.is_none()
            {
                tracing::warn!(order_id = %order.order, promise_token = %order.token,
                    "a promise was confirmed for an order that never came; it is taken by one that did");
                stored.state = State::Live { expires: stored.expires };
            }
            match promises.get_mut(&order.token).map(|stored| taken(stored, &order)) {
                // Not known here: its work goes on without capacity.
                None => tracing::warn!(order_id = %order.order, promise_token = %order.token,
                    "an order came with a promise that is not known here"),
                Some(Taken::No) => {
                    adopted.push((order.without_promise(), by));
                    continue;
                }
                Some(Taken::Again) => {}
                Some(Taken::Now) => {
                    changed.insert(order.token);
                }
                Some(Taken::Late(slot)) => {
                    changed.insert(order.token);
                    late.push(order.token.uuid());
                    if let Some(slot) = slot {
                        slots.take(slot);
                    }
                }
            }
            adopted.push((order, by));
        }
        store::task::cancel(tx, Kind::ReleaseReservation.name(), &late).await?;
        promises.retain(|token, _| changed.contains(token));
        store::promise::save_many(tx, &promises.into_values().collect::<Vec<_>>()).await?;
        Ok(adopted)
    }
}

/// What became of a promise.
enum Taken {
    /// It is another order's.
    No,
    /// It was this order's before.
    Again,
    /// It is this order's from now on.
    Now,
    /// It had ended, and is this order's all the same; with the slot that is taken again, beyond the limit if need be.
    Late(Option<SlotKey>),
}

fn taken(stored: &mut Stored, released: &Released) -> Taken {
    let (state, how) = match stored.state.adopt(released.order) {
        Ok(adopted) => adopted,
        Err(refusal) => {
            tracing::error!(order_id = %released.order, promise_token = %released.token, %refusal,
                "an order came with the promise of another order");
            return Taken::No;
        }
    };
    stored.state = state;
    match how {
        Adopted::Again => Taken::Again,
        Adopted::Held => Taken::Now,
        Adopted::CapacityLost => {
            tracing::warn!(order_id = %released.order, promise_token = %released.token,
                "an order came after its promise ended; its capacity is taken beyond the limit");
            metrics::counter!("entrepot_promises_adopted_late_total").increment(1);
            let slot = stored.slot();
            stored.capacity_held = slot.is_some();
            Taken::Late(slot)
        }
    }
}

/// A promise, locked.
pub(crate) async fn locked(tx: &mut Tx, token: PromiseToken) -> Result<Stored, Error> {
    let stored = store::promise::lock(tx, token).await?;
    stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))
}

/// Writes what changed of a promise that is locked.
pub(crate) async fn save(tx: &mut Tx, stored: &mut Stored) -> Result<(), Error> {
    if !store::promise::save(tx, stored).await? {
        return Err(Error::Db(db::Error::Retry("a promise changed meanwhile".into())));
    }
    stored.version += 1;
    Ok(())
}
