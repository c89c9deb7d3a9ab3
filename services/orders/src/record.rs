//! Saving what a transition did: the order, its timeline and its events, in one transaction.

use bus::{inbox, outbox};
use db::Tx;
use domain::id::Uuid;
use domain::order::{Changed, Order};
use domain::time::Timestamp;

use crate::error::Error;
use crate::store::{self, Loaded, Note};
use crate::{Orders, steps, wire};

impl Orders {
    /// Writes a changed order. `told` are steps that have no event of the order.
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        before: &Loaded,
        changed: &Changed,
        mut told: Vec<Note>,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        told.extend(steps::of(&changed.order, &changed.events, actor, now));
        if changed.events.is_empty() && before.order.fulfillment == changed.order.fulfillment {
            return store::touch(tx, before, &told).await;
        }
        store::save(tx, before, &changed.order, &told, &self.policy).await?;
        outbox::append(tx, &events(changed, actor, now)).await?;
        Ok(())
    }

    /// The reply that was given to a request before, if it was.
    pub(crate) async fn saved(
        &self,
        scope: &str,
        id: Uuid,
        hash: &[u8; 32],
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut tx = self.db.read().await?;
        Ok(inbox::saved(&mut tx, scope, id, hash).await?)
    }

    /// An order, all of it as of one moment.
    pub(crate) async fn find(&self, id: domain::id::OrderId) -> Result<Order, Error> {
        let mut tx = self.db.snapshot().await?;
        let found = store::load(&mut tx, id).await?;
        found.map(|loaded| loaded.order).ok_or_else(|| Error::NotFound(id.to_string()))
    }
}

/// The events of a transition: the last one has the order's version.
pub(crate) fn events(changed: &Changed, actor: &str, now: Timestamp) -> Vec<bus::Event> {
    let count = i64::try_from(changed.events.len()).unwrap_or_default();
    let first = changed.order.version - count + 1;
    let numbered = changed.events.iter().zip(first..);
    numbered.map(|(what, sequence)| wire::event(&changed.order, what, sequence, actor, now)).collect()
}

/// Reads a reply that was kept.
pub(crate) fn reply<M: prost::Message + Default>(kept: &[u8]) -> Result<M, Error> {
    M::decode(kept).map_err(|error| Error::Unreadable(format!("a kept reply: {error}")))
}
