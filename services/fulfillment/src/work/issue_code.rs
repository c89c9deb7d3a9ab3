//! Pickup codes are issued to the channel and kept as keyed hashes.

use domain::fulfillment::Order;
use domain::fulfillment::code::Code;
use domain::id::FulfillmentId;
use server::Principal;

use super::command::IssueCode;
use crate::store::code as store;
use crate::{Error, Fulfillment, rights};

impl Fulfillment {
    /// Issues a code for what the customer collects of a fulfillment order; the last one is void. It is returned once and not kept.
    pub(crate) async fn issue_code(
        &self,
        who: &Principal,
        command: &IssueCode,
    ) -> Result<(Code, FulfillmentId), Error> {
        // A duplicate is a code that the node gave to somebody else: draw again.
        let again = |error: &Error| error.is_retry() || error.is_duplicate_code();
        db::retry(3, again, || self.try_issue(who, command)).await
    }

    async fn try_issue(&self, who: &Principal, command: &IssueCode) -> Result<(Code, FulfillmentId), Error> {
        let now = self.clock.business();
        let code = self.draw()?;
        let mut tx = self.db.begin().await?;
        let id = command.id;
        let mut change = self.change(&mut tx, id, who.actor(), now).await?;
        if !rights::sees_work(who, &change.stored) {
            return Err(Error::FulfillmentNotFound(id.to_string()));
        }
        change.apply(Order::code_issued)?;
        let node = change.stored.order.node.clone();
        store::keep(&mut tx, id, &node, &self.work.key.digest(&node, &code), now).await?;
        self.save(&mut tx, &mut change).await?;
        tx.commit().await?;
        self.work.room.wake(&node);
        Ok((code, id))
    }

    fn draw(&self) -> Result<Code, Error> {
        let mut bytes = vec![0_u8; self.work.config.pickup_code_chars];
        getrandom::fill(&mut bytes).map_err(|error| Error::corrupt(format!("no random bytes: {error}")))?;
        Code::from_random(&bytes).map_err(|error| Error::corrupt(format!("work.pickup_code_chars {error}")))
    }
}
