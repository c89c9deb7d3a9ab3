//! Promises that end: given back by their holder, by their order, or by time.

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::{OrderId, PromiseToken};
use domain::promise::token::State;
use jiff::Timestamp;
use prost::Message as _;

use crate::Fulfillment;
use crate::promise::combiner::release_stock;
use crate::promise::confirm::{locked, save};
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::store::promise::Stored;
use crate::tasks::Kind;
use crate::verb::{self, Call};
use crate::wire::promise as wire;

/// How many promises end in one transaction.
const BATCH: i64 = 200;

impl Fulfillment {
    /// Gives stock and capacity back. What is over already stays so.
    pub(crate) async fn release(
        &self,
        call: &Call,
        token: PromiseToken,
    ) -> Result<pb::ReleasePromiseResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = self.db.begin().await?;
            if let Some(reply) = call.claim(&mut tx, now).await? {
                return verb::reply(&reply);
            }
            let mut stored = locked(&mut tx, token).await?;
            call.must_hold(&stored)?;
            if stored.state.holds() {
                stored.state = stored.state.release(None)?;
                let mut slots = Changes::default();
                give_back(&mut tx, &mut stored, &mut slots).await?;
                slots.write(&mut tx, now).await?;
                release_stock(&mut tx, &[token], now).await?;
            }
            let reply = pb::ReleasePromiseResponse { promise: Some(wire::stored(&stored)) };
            call.settle(&mut tx, &reply.encode_to_vec()).await?;
            tx.commit().await?;
            Ok(reply)
        })
        .await?;
        // The call is on record; trying it at once only makes the stock free sooner.
        if let Err(error) = self.run_task(Kind::ReleaseReservation, token.uuid()).await {
            tracing::warn!(%error, promise_token = %token, "the stock of a released promise is given back later");
        }
        Ok(reply)
    }

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
        if stored.held_slot().is_none() {
            return Ok(());
        }
        give_back(tx, &mut stored, slots).await
    }

    /// Ends the promises whose time is over. Answers how many. The stock of a LIVE one ends by itself a little later:
    /// given back here it would be gone for good, and an order on its way that was placed in time could not have it again.
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
        let due: Vec<Stored> = due.into_iter().filter(|stored| stored.state.expire(now).is_ok()).collect();
        if due.is_empty() {
            tx.commit().await?;
            return Ok(0);
        }
        let tokens: Vec<PromiseToken> = due.iter().map(|stored| stored.token).collect();
        let mut slots = Changes::default();
        due.iter().filter_map(Stored::held_slot).for_each(|slot| slots.free(slot));
        store::promise::expire(&mut tx, &tokens).await?;
        // Nobody can have placed an order on these, and their stock, if they have any, is held for far longer.
        let pending = due.iter().filter(|stored| matches!(stored.state, State::Pending { .. }));
        let pending: Vec<PromiseToken> = pending.map(|stored| stored.token).collect();
        release_stock(&mut tx, &pending, now).await?;
        slots.write(&mut tx, now).await?;
        tx.commit().await?;
        metrics::counter!("entrepot_promises_expired_total").increment(u64::try_from(due.len()).unwrap_or(0));
        Ok(due.len())
    }
}

/// Frees the slot of a promise that is locked, and writes the promise.
pub(crate) async fn give_back(tx: &mut Tx, stored: &mut Stored, slots: &mut Changes) -> Result<(), Error> {
    if let Some(slot) = stored.held_slot() {
        slots.free(slot);
    }
    stored.capacity_held = false;
    save(tx, stored).await
}
