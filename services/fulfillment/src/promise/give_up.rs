//! Promises end because their orders do.

use db::Tx;
use domain::id::{OrderId, PromiseToken};

use super::token::give_back;
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;

impl Fulfillment {
    /// An order gives up its promise. Inventory hears it from the order itself.
    pub(crate) async fn give_up(
        &self,
        tx: &mut Tx,
        token: PromiseToken,
        order: OrderId,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        match stored.state.release(Some(order)) {
            Ok(state) => stored.state = state,
            // It ended before, or belongs to another order: nothing of it is this order's.
            Err(refusal) => {
                tracing::debug!(promise_token = %token, order_id = %order, %refusal, "nothing to give up");
                return Ok(());
            }
        }
        give_back(tx, &mut stored, slots).await
    }

    /// The work of a promise ended before it began: its place in the slot is free again.
    pub(crate) async fn free_capacity(
        &self,
        tx: &mut Tx,
        token: PromiseToken,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        if stored.held_places().next().is_none() {
            return Ok(());
        }
        give_back(tx, &mut stored, slots).await
    }
}
