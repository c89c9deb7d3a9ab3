//! `ReleasePromise`: its holder gives stock and capacity back.

use contract::fulfillment::v1 as pb;
use domain::id::PromiseToken;

use super::token::{give_back, locked, release_stock};
use crate::Fulfillment;
use crate::error::Error;
use crate::rights::must_hold;
use crate::store::capacity::Changes;
use crate::wire::promise as wire;
use service::{Call, Turn};

impl Fulfillment {
    /// Gives stock and capacity back. What is over already stays so.
    pub(crate) async fn release(
        &self,
        call: &Call,
        token: PromiseToken,
    ) -> Result<pb::ReleasePromiseResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let mut tx = match call.begin(&self.db, now).await? {
                Turn::New(tx) => tx,
                Turn::Answered(reply) => return Ok(reply),
            };
            let mut stored = locked(&mut tx, token).await?;
            must_hold(call, &stored)?;
            if stored.state.holds() {
                stored.state = stored.state.release(None)?;
                let mut slots = Changes::default();
                give_back(&mut tx, &mut stored, &mut slots).await?;
                slots.write(&mut tx, now).await?;
                release_stock(&mut tx, &[token], now).await?;
            }
            let reply = pb::ReleasePromiseResponse { promise: Some(wire::stored(&stored, &call.who)) };
            call.finish(tx, &reply).await?;
            Ok(reply)
        })
        .await?;
        self.release_stock_now(token).await;
        Ok(reply)
    }
}
