//! Promises end because their orders do.

use db::Tx;
use domain::id::{FulfillmentId, OrderId, PromiseToken};

use super::token::{give_back_leg, save};
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;

impl Fulfillment {
    /// An order gives up a leg of its promise; with the last one the promise ends. Inventory hears it from the order itself.
    pub(crate) async fn give_up(
        &self,
        tx: &mut Tx,
        leg: FulfillmentId,
        order: OrderId,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(token) = store::promise_leg::token_of(tx, leg).await? else { return Ok(()) };
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        let ended = match stored.state.release(Some(order)) {
            Ok(state) => state,
            // It ended before, or belongs to another order: nothing of it is this order's.
            Err(refusal) => {
                tracing::debug!(fulfillment_id = %leg, order_id = %order, %refusal, "nothing to give up");
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
