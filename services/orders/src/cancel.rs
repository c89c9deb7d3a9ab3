//! Cancelling: at once while no node has the order, else asked of the node.

use bus::inbox::{self, Claim};
use contract::orders::v1 as pb;
use domain::order::Outcome;
use domain::time::Timestamp;
use prost::Message as _;
use server::Principal;

use crate::error::Error;
use crate::wire::Cancel;
use crate::{Orders, record, store, wire};

impl Orders {
    /// Cancels pieces, or asks the node for them.
    pub(crate) async fn cancel(
        &self,
        command: Cancel,
        caller: &Principal,
    ) -> Result<pb::CancelOrderResponse, Error> {
        let scope = format!("{caller}|orders.cancel");
        if let Some(kept) = self.saved(&scope, command.request_id, &command.body_hash).await? {
            return record::reply(&kept);
        }
        let now = self.clock.business();
        let write = || self.write_cancel(&command, &scope, caller, now);
        let reply = db::retry(3, Error::is_retry, write).await?;
        self.watchers.tell(command.order.uuid());
        Ok(reply)
    }

    async fn write_cancel(
        &self,
        command: &Cancel,
        scope: &str,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<pb::CancelOrderResponse, Error> {
        let mut tx = self.db.begin().await?;
        match inbox::claim(&mut tx, scope, command.request_id, &command.body_hash, now).await? {
            Claim::Done(kept) => {
                tx.commit().await?;
                return record::reply(&kept);
            }
            Claim::First => {}
        }
        let before = store::lock(&mut tx, command.order).await?;
        let (changed, outcome) = before.order.clone().cancel(&command.lines, &command.reason, now)?;
        let outcome = match outcome {
            Outcome::Cancelled => pb::CancelOutcome::Cancelled,
            Outcome::Pending => pb::CancelOutcome::Pending,
        };
        let order = Some(wire::order(&changed.order));
        let reply = pb::CancelOrderResponse { order, outcome: outcome.into() };
        self.record(&mut tx, before, changed, Vec::new(), caller.as_str(), now).await?;
        inbox::settle(&mut tx, scope, command.request_id, &reply.encode_to_vec()).await?;
        tx.commit().await?;
        Ok(reply)
    }
}
