//! The order asks, the fulfilment order decides: what is not handed over is cancelled, the answer is an event.

use contract::orders::v1::OrderCancelRequested;
use db::Tx;
use domain::fulfillment::Units;
use domain::fulfillment::event::CancelRequest;
use domain::id::{OrderId, PromiseToken};
use jiff::Timestamp;

use crate::store::work as store;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Answers a cancel request of an order that was released.
    pub(crate) async fn cancel_requested(
        &self,
        tx: &mut Tx,
        order: OrderId,
        asked: &OrderCancelRequested,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(id) = store::newest_of(tx, order).await? else {
            return Err(Error::FulfillmentNotFound(order.to_string()));
        };
        let mut change = self.change(tx, id, actor, now).await?;
        let lines: Vec<Units> =
            asked.lines.iter().map(|line| Units { line: line.line, quantity: line.quantity }).collect();
        let request = CancelRequest { number: asked.cancel_number, lines: &lines, reason: &asked.reason };
        change.apply(|order, now| Ok(order.cancel(request, now)))?;
        self.save(tx, &mut change).await?;
        self.work.hub.hold(change.feed.node);
        Ok(())
    }

    /// The claim on the stock of a promise was lost. Work that has begun goes on: the goods are in somebody's hands.
    pub(crate) async fn stock_lost(
        &self,
        tx: &mut Tx,
        token: PromiseToken,
        sku: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        store::note_lost_claim(tx, token, sku).await?;
        let Some(id) = store::of_promise(tx, token).await? else { return Ok(()) };
        let mut change = self.change(tx, id, actor, now).await?;
        if let Err(refusal) = change.apply(|order, now| order.stock_lost(sku, now)) {
            tracing::warn!(fulfillment_id = %id, sku, %refusal, "a claim was lost after work began");
            return Ok(());
        }
        self.save(tx, &mut change).await?;
        self.work.hub.hold(change.feed.node);
        Ok(())
    }
}
