//! The order asks, the fulfillment order decides: what is not handed over is cancelled, the answer is an event.

use db::Tx;
use domain::fulfillment::Units;
use domain::fulfillment::event::CancelRequest;
use jiff::Timestamp;

use super::command::Cancelling;
use crate::store::capacity::Changes;
use crate::store::work as store;
use crate::wire::event as wire;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Answers a cancel request.
    pub(crate) async fn cancel_requested(
        &self,
        tx: &mut Tx,
        request: Cancelling<'_>,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Cancelling { order, asked, actor } = request;
        let Some(id) = store::newest_of(tx, order).await? else {
            // Its release never reached us, so nobody works on it and nobody will: there is nothing to wait for.
            tracing::error!(order_id = %order, cancel_number = asked.cancel_number,
                "an order without work asks to cancel; it is cancelled, inventory may still hold its stock");
            return Ok(
                bus::outbox::append(tx, &[wire::cancelled_without_work(order, asked, actor, now)]).await?
            );
        };
        let mut change = self.change(tx, id, actor, now).await?;
        let lines: Vec<Units> =
            asked.lines.iter().map(|line| Units { line: line.line, quantity: line.quantity }).collect();
        let request = CancelRequest { number: asked.cancel_number, lines: &lines, reason: &asked.reason };
        change.apply(|order, now| Ok(order.cancel(request, now)))?;
        self.save_among(tx, &mut change, slots).await?;
        self.work.room.pending([change.stored.order.node]);
        Ok(())
    }
}
