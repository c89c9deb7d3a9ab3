//! Promises that end: given back by their holder, by their order, or by time.

use std::collections::BTreeMap;

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::{OrderId, PromiseToken};
use jiff::Timestamp;
use prost::Message as _;

use crate::Fulfillment;
use crate::combiner::release_stock;
use crate::confirm::{locked, save};
use crate::error::Error;
use crate::store;
use crate::store::capacity::SlotKey;
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
            call.must_own(&stored)?;
            if stored.state.holds() {
                stored.state = stored.state.release(None)?;
                give_back(&mut tx, &mut stored, now).await?;
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
        now: Timestamp,
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
        give_back(tx, &mut stored, now).await
    }

    /// The work of a promise ended before it began: its place in the slot is free again.
    pub(crate) async fn free_capacity(&self, tx: &mut Tx, token: PromiseToken) -> Result<(), Error> {
        let Some(mut stored) = store::promise::lock(tx, token).await? else { return Ok(()) };
        if stored.held_slot().is_none() {
            return Ok(());
        }
        give_back(tx, &mut stored, self.clock.business()).await
    }

    /// Ends the promises whose time is over. Answers how many.
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
        let mut freed: BTreeMap<SlotKey, i64> = BTreeMap::new();
        for slot in due.iter().filter_map(Stored::held_slot) {
            *freed.entry(slot).or_insert(0) -= 1;
        }
        store::promise::expire(&mut tx, &tokens).await?;
        store::capacity::lock(&mut tx, &freed.keys().cloned().collect(), now).await?;
        store::capacity::add(&mut tx, &freed, now).await?;
        release_stock(&mut tx, &tokens, now).await?;
        tx.commit().await?;
        metrics::counter!("entrepot_promises_expired_total").increment(u64::try_from(due.len()).unwrap_or(0));
        Ok(due.len())
    }
}

/// Frees the slot of a promise that is locked, and writes the promise.
async fn give_back(tx: &mut Tx, stored: &mut Stored, now: Timestamp) -> Result<(), Error> {
    let slot = stored.held_slot();
    stored.capacity_held = false;
    save(tx, stored).await?;
    if let Some(slot) = slot {
        store::capacity::add(tx, &BTreeMap::from([(slot, -1)]), now).await?;
    }
    Ok(())
}
