//! `ConfirmPromise`: a promise becomes that of an order which is about to be placed.
//!
//! The caller may name a wrong order, or the order may never be placed. So a promise that was confirmed by a call
//! waits for its order with a clock, and its stock is only held for longer; inventory confirms it when the order comes.

use contract::fulfillment::v1 as pb;
use domain::id::{OrderId, PromiseToken};
use jiff::{SignedDuration, Timestamp};

use super::token::{locked, save};
use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::tasks::Kind;
use crate::wire::promise as wire;
use service::{Call, Turn};

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
        if let Some(reply) = call.saved(&self.db).await? {
            return Ok(reply);
        }
        let mut tx = self.db.read().await?;
        let stored = store::promise::get(&mut tx, token).await?;
        tx.commit().await?;
        let stored = stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))?;
        let now = self.clock.business();
        stored.state.confirm(order, now)?;
        let until = now.checked_add(CLAIMED).unwrap_or(Timestamp::MAX);
        self.extend_stock(&stored, until).await?;
        db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok(reply),
            };
            let mut stored = locked(&mut tx, token).await?;
            stored.state = match stored.state.confirm(order, now) {
                Ok(confirmed) => confirmed,
                Err(refusal) => {
                    // With it goes the claim of the request id: a refusal is not kept.
                    drop(tx);
                    self.release_refused(token).await?;
                    return Err(refusal.into());
                }
            };
            let mut slots = Changes::default();
            save(&mut tx, &mut stored, &mut slots).await?;
            slots.write(&mut tx, now).await?;
            store::task::add(&mut tx, Kind::EndUnclaimed.name(), &[token.uuid()], until).await?;
            let reply = pb::ConfirmPromiseResponse { promise: Some(wire::stored(&stored, &call.who)) };
            call.finish(tx, &reply).await?;
            Ok(reply)
        })
        .await
    }
}
