//! The order asks, the fulfilment order decides: what is not handed over is cancelled, the answer is an event.

use contract::orders::v1::OrderCancelRequested;
use db::Tx;
use domain::fulfillment::Units;
use domain::fulfillment::event::CancelRequest;
use domain::id::{OrderId, PromiseToken};
use jiff::Timestamp;

use crate::store::capacity::Changes;
use crate::store::{claim, work as store};
use crate::wire::event as wire;
use crate::{Error, Fulfillment};

/// A cancel request of an order that was released.
pub(crate) struct Cancelling<'a> {
    pub(crate) order: OrderId,
    pub(crate) asked: &'a OrderCancelRequested,
    pub(crate) actor: &'a str,
}

/// The claim on the stock of a promise was lost.
pub(crate) struct Lost<'a> {
    pub(crate) token: PromiseToken,
    pub(crate) sku: &'a str,
    pub(crate) actor: &'a str,
}

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
        self.work.hub.hold(change.feed.node);
        Ok(())
    }

    /// The claim on the stock of a promise was lost. Work that has begun goes on: the goods are in somebody's hands.
    pub(crate) async fn stock_lost(
        &self,
        tx: &mut Tx,
        lost: Lost<'_>,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Lost { token, sku, actor } = lost;
        claim::note_lost(tx, token, sku).await?;
        let Some(id) = store::of_promise(tx, token).await? else { return Ok(()) };
        let mut change = self.change(tx, id, actor, now).await?;
        if let Err(refusal) = change.apply(|order, now| order.stock_lost(sku, now)) {
            tracing::warn!(fulfillment_id = %id, sku, %refusal, "a claim was lost after work began");
            return Ok(());
        }
        self.save_among(tx, &mut change, slots).await?;
        self.work.hub.hold(change.feed.node);
        Ok(())
    }
}
