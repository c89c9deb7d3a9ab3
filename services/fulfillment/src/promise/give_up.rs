//! Promises end because their orders do.

use std::collections::BTreeSet;

use db::Tx;
use domain::id::{FulfillmentId, NodeId, OrderId, PromiseToken};

use super::token::{give_back_leg, save};
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;

impl Fulfillment {
    /// Gives back the capacity of legs that others take the place of, as the word of their order would do a moment later. A
    /// leg that an order works with stays as it is.
    pub(super) async fn make_room(&self, legs: &[FulfillmentId]) -> Result<(), Error> {
        let write = || async {
            let now = self.clock.business();
            let (mut tx, mut slots) = (self.db.begin().await?, Changes::default());
            let tokens = store::promise_leg::tokens_of(&mut tx, legs).await?;
            let promises = store::promise::lock_many(&mut tx, tokens.into_values()).await?;
            for leg in legs {
                self.give_up(&mut tx, *leg, None, &mut slots).await?;
            }
            slots.write(&mut tx, now).await?;
            tx.commit().await?;
            let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
            for leg in promises.into_iter().flat_map(|promise| promise.legs) {
                nodes.extend(legs.contains(&leg.id).then_some(leg.node));
            }
            Ok(nodes)
        };
        // The next plan must see what became free.
        for node in db::retry(3, Error::is_retry, write).await? {
            self.refresh_node(&node).await?;
        }
        Ok(())
    }

    /// An order gives up a leg of its promise; with the last one the promise ends. Inventory hears it from the order itself.
    pub(crate) async fn give_up(
        &self,
        tx: &mut Tx,
        leg: FulfillmentId,
        order: Option<OrderId>,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(token) = store::promise_leg::token_of(tx, leg).await? else { return Ok(()) };
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        let ended = match stored.state.release(order) {
            Ok(state) => state,
            // It ended before, or belongs to another order: nothing of it is this order's.
            Err(refusal) => {
                tracing::debug!(fulfillment_id = %leg, %refusal, "nothing to give up");
                return Ok(());
            }
        };
        let Some(given_up) = stored.legs.iter_mut().find(|of| of.id == leg && !of.is_given_up) else {
            return Ok(());
        };
        given_up.is_given_up = true;
        store::promise_leg::give_up(tx, leg).await?;
        give_back_leg(tx, &mut stored, leg, slots).await?;
        if stored.legs.iter().all(|leg| leg.is_given_up) {
            stored.state = ended;
        }
        save(tx, &mut stored, slots).await
    }

    /// The work of a leg ended before it began: its places are free again.
    pub(crate) async fn free_capacity(
        &self,
        tx: &mut Tx,
        token: PromiseToken,
        leg: FulfillmentId,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        if !stored.holding_legs().any(|holding| holding == leg) {
            return Ok(());
        }
        give_back_leg(tx, &mut stored, leg, slots).await?;
        save(tx, &mut stored, slots).await
    }
}
