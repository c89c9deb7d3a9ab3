//! A claim of a promise lost units before an order had it: the promise ends.

use db::Tx;
use domain::id::FulfillmentId;
use jiff::Timestamp;

use super::token::{give_back, release_stock};
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;

impl Fulfillment {
    /// Ends the promise of a leg whose claim lost units: all of it or nothing was promised, so the rest is free again. One that
    /// an order has taken meanwhile stays: inventory refuses that order its claim, and that ends its work.
    pub(crate) async fn end_broken(
        &self,
        tx: &mut Tx,
        leg: FulfillmentId,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(token) = store::promise_leg::token_of(tx, leg).await? else { return Ok(()) };
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        let Ok(released) = stored.state.release(None) else { return Ok(()) };
        tracing::warn!(promise_token = %token, fulfillment_id = %leg, "a promise lost stock and has ended");
        stored.state = released;
        give_back(tx, &mut stored, slots).await?;
        release_stock(tx, &[token], now).await
    }
}
