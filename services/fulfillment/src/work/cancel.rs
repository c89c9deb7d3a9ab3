//! The order asks, the fulfillment order decides: what is not handed over is cancelled, the answer is an event.

use db::Tx;
use domain::fulfillment::event::CancelRequest;
use jiff::Timestamp;

use super::command::Cancelling;
use crate::store::capacity::Changes;
use crate::store::claim::{self, Loss};
use crate::store::work as store;
use crate::wire::event as wire;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Answers what a cancel asks of a leg.
    pub(crate) async fn cancel_requested(
        &self,
        tx: &mut Tx,
        asked: &Cancelling,
        actor: &str,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(id) = store::of_leg(tx, asked.leg, asked.order).await? else {
            // Its release never reached us, so nobody works on it: there is nothing to wait for. If the release comes all
            // the same, the work ends at once.
            tracing::error!(order_id = %asked.order, fulfillment_id = %asked.leg, cancel_number = asked.number,
                "a leg without work is asked to cancel; it is cancelled, inventory may still hold its stock");
            claim::note_lost(tx, asked.leg, Loss::whole(String::new())).await?;
            return Ok(bus::outbox::append(tx, &[wire::cancelled_without_work(asked, actor, now)]).await?);
        };
        let mut change = self.change(tx, id, actor, now).await?;
        let request = CancelRequest { number: asked.number, lines: &asked.lines, reason: &asked.reason };
        change.apply(|order, now| Ok(order.cancel(request, now)))?;
        self.save_among(tx, &mut change, slots).await
    }
}
