//! Promises end by time: those that nobody confirmed, and those that were confirmed for an order that never came.

use domain::id::{FulfillmentId, PromiseToken};
use domain::promise::token::State;
use jiff::Timestamp;

use super::token::{give_back, release_stock};
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::store::promise::Stored;

/// How many promises end in one transaction.
const BATCH: i64 = 200;

impl Fulfillment {
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

    /// Ends the promises whose time is over. Returns how many. Stock goes back at once, except that of one that a service
    /// holds: it expires by itself a little later, since an order that was placed in time may be on its way.
    pub(crate) async fn expire_promises(&self, now: Timestamp) -> Result<usize, Error> {
        let mut ended = 0;
        loop {
            let count = db::retry(3, Error::is_retry, || self.expire_some(now)).await?;
            ended += count;
            if count < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(ended);
            }
        }
    }

    async fn expire_some(&self, now: Timestamp) -> Result<usize, Error> {
        let mut tx = self.db.begin().await?;
        let due = store::promise::lock_due(&mut tx, now, BATCH).await?;
        // One may have been confirmed or extended since it was found.
        let mut due: Vec<Stored> =
            due.into_iter().filter(|stored| stored.state.expire(now).is_ok()).collect();
        if due.is_empty() {
            tx.commit().await?;
            return Ok(0);
        }
        let tokens: Vec<PromiseToken> = due.iter().map(|stored| stored.token).collect();
        let mut slots = Changes::default();
        due.iter().flat_map(Stored::held_places).for_each(|place| slots.free(place));
        let legs: Vec<FulfillmentId> = due.iter().flat_map(Stored::holding_legs).collect();
        store::promise::expire(&mut tx, &tokens).await?;
        store::promise_leg::set_held(&mut tx, &legs, false).await?;
        // Nobody can have placed an order on a PENDING one, and its stock, if it has any, is held for far longer.
        let is_free =
            |stored: &&Stored| matches!(stored.state, State::Pending { .. }) || !stored.is_relied_on();
        let free: Vec<PromiseToken> = due.iter().filter(is_free).map(|stored| stored.token).collect();
        for stored in &mut due {
            stored.state = State::Expired;
            slots.end_count(stored);
        }
        release_stock(&mut tx, &free, now).await?;
        slots.write(&mut tx, now).await?;
        tx.commit().await?;
        metrics::counter!("entrepot_promises_expired_total").increment(u64::try_from(due.len()).unwrap_or(0));
        Ok(due.len())
    }
}
