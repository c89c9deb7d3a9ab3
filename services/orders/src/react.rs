//! What other services told: stock that was confirmed or lost, and work at the nodes.

use bus::{Consumer, Delivered, HandleError, Topic};
use contract::fulfillment::v1::FulfillmentEvent;
use contract::inventory::v1::InventoryEvent;
use contract::inventory::v1::inventory_event::Body;
use db::Tx;
use domain::id::{OrderId, ReservationId};
use domain::order::Refusal;
use prost::Message as _;
use std::sync::PoisonError;
use tonic::async_trait;

use crate::error::Error;
use crate::store::{self, Note};
use crate::{Orders, steps, wire};

#[async_trait]
impl Consumer for Orders {
    fn group(&self) -> &'static str {
        "orders"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Inventory, &["reservation"]), (Topic::Fulfillment, &["fulfillment_order"])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        match event.topic {
            Topic::Inventory => self.stock(tx, event).await?,
            Topic::Fulfillment => self.work(tx, event).await?,
            Topic::Orders => {}
        }
        Ok(())
    }

    fn committed(&self) {
        self.tell_touched();
    }
}

impl Orders {
    async fn stock(&self, tx: &mut Tx, event: &Delivered) -> Result<(), Error> {
        let told = InventoryEvent::decode(event.payload.clone())
            .map_err(|error| Error::Unreadable(format!("inventory event: {error}")))?;
        match told.body {
            Some(Body::ReservationConfirmed(confirmed)) => {
                self.confirmed_stock(tx, &confirmed.order_id, event).await
            }
            Some(Body::ReservationRefused(refused)) => {
                let text = format!("{}: {}", refused.reason, refused.sku);
                self.lost_stock(tx, &refused.order_id, text, event).await
            }
            Some(Body::ReservationExpired(_)) => self.ran_out(tx, event).await,
            Some(
                Body::ReservationHeld(_)
                | Body::ReservationExtended(_)
                | Body::ReservationSettled(_)
                | Body::ReservationReleased(_)
                | Body::PositionChanged(_),
            )
            | None => Ok(()),
        }
    }

    async fn confirmed_stock(&self, tx: &mut Tx, order: &str, event: &Delivered) -> Result<(), Error> {
        let before = store::lock(tx, order_id(order)?).await?;
        let now = self.clock.business();
        match before.order.clone().confirm(ReservationId::new(event.aggregate), now) {
            Ok(changed) => {
                self.record(tx, &before, &changed, Vec::new(), &event.actor, now).await?;
                self.touch(before.order.id);
                Ok(())
            }
            // Cancelled meanwhile, or an older promise of the order: fulfilment gives that stock back.
            Err(refusal @ (Refusal::Over { .. } | Refusal::OtherReservation | Refusal::AlreadyConfirmed)) => {
                tracing::debug!(order_id = order, %refusal, "confirmation passed over");
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The claim of an order was lost. Fulfilment ends its work, and that is what cancels the pieces.
    async fn lost_stock(
        &self,
        tx: &mut Tx,
        order: &str,
        text: String,
        event: &Delivered,
    ) -> Result<(), Error> {
        let before = store::lock(tx, order_id(order)?).await?;
        let note = steps::note("STOCK_LOST", text, &event.actor, event.occurred_at);
        store::touch(tx, &before, &[note]).await
    }

    /// A hold ran out. If an unpaid order relied on it, its payment must hold stock anew.
    async fn ran_out(&self, tx: &mut Tx, event: &Delivered) -> Result<(), Error> {
        let Some(order) = store::by_promise(tx, event.aggregate).await? else { return Ok(()) };
        let before = store::lock(tx, order).await?;
        if before.order.promise.token.uuid() != event.aggregate {
            return Ok(());
        }
        let now = self.clock.business();
        match before.order.clone().lose_hold(now) {
            Ok(changed) => {
                let note = steps::note("HOLD_LOST", "the hold ran out".to_owned(), &event.actor, now);
                self.record(tx, &before, &changed, vec![note], &event.actor, now).await?;
                self.touch(order);
                Ok(())
            }
            // Released, lapsed or over: the stock is not the order's to lose.
            Err(_) => Ok(()),
        }
    }

    async fn work(&self, tx: &mut Tx, event: &Delivered) -> Result<(), Error> {
        let told = FulfillmentEvent::decode(event.payload.clone())
            .map_err(|error| Error::Unreadable(format!("fulfilment event: {error}")))?;
        let told = wire::report(told)?;
        let before = store::lock(tx, told.order).await?;
        let now = self.clock.business();
        let changed = before.order.clone().follow(&told.report, now)?;
        let note = Note {
            step: told.step,
            text: told.text,
            actor: event.actor.clone(),
            at: event.occurred_at,
            node: told.node,
        };
        self.record(tx, &before, &changed, vec![note], &event.actor, now).await?;
        self.touch(told.order);
        Ok(())
    }

    fn touch(&self, order: OrderId) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).push(order.uuid());
    }
}

fn order_id(text: &str) -> Result<OrderId, Error> {
    text.parse().map_err(|_| Error::Unreadable(format!("order id {text:?}")))
}
