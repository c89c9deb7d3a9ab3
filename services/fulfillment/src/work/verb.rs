//! What the verbs of a store on one fulfillment order share.

use contract::fulfillment::v1 as pb;
use domain::id::FulfillmentId;
use server::Principal;

use super::change::Change;
use crate::wire::work as wire;
use crate::{Error, Fulfillment};
use service::{Call, Turn, speaks_for};

impl Fulfillment {
    /// A verb of a store on one fulfillment order: once per request id, repeated when others were in the way.
    pub(crate) async fn work_verb<E: Into<Error>>(
        &self,
        call: &Call,
        principal: &Principal,
        id: FulfillmentId,
        act: impl Fn(&mut Change) -> Result<(), E>,
    ) -> Result<pb::FulfillmentOrder, Error> {
        db::retry(3, Error::is_retry, || self.try_verb(call, principal, id, &act)).await
    }

    async fn try_verb<E: Into<Error>>(
        &self,
        call: &Call,
        principal: &Principal,
        id: FulfillmentId,
        act: &impl Fn(&mut Change) -> Result<(), E>,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let now = self.clock.business();
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        let mut change = self.change(&mut tx, id, principal.actor(), now).await?;
        speaks_for(principal, &change.stored.order.node)
            .then_some(())
            .ok_or_else(|| Error::FulfillmentNotFound(id.to_string()))?;
        act(&mut change).map_err(Into::into)?;
        self.save(&mut tx, &mut change).await?;
        self.answered(&mut tx, &change.stored.order.node, now).await?;
        let reply = wire::fulfillment_order(&change.stored);
        call.finish(tx, &reply).await?;
        self.note_answer(&change.stored.order.node);
        self.work.room.wake(&change.stored.order.node);
        Ok(reply)
    }
}
