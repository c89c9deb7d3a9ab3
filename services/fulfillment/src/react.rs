//! What other services tell: orders that are released, cancelled or lapse, and claims that are lost.

use async_trait::async_trait;
use bus::{Consumer, Delivered, HandleError, Topic};
use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_event::Body as StockBody;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body as OrderBody;
use db::Tx;
use domain::id::{DecisionId, NodeId, OrderId, PromiseToken, ReservationId, Sku};
use jiff::Timestamp;
use prost::Message;

use crate::Fulfillment;
use crate::confirm::{Released, ReleasedLine};
use crate::error::Error;
use crate::store;
use crate::wire;

#[async_trait]
impl Consumer for Fulfillment {
    fn group(&self) -> &'static str {
        "fulfillment"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &["order"]), (Topic::Inventory, &["reservation"])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        let now = self.clock.business();
        let done = match event.topic {
            Topic::Orders => self.on_order(tx, event, now).await,
            Topic::Inventory => self.on_stock(tx, event, now).await,
            Topic::Fulfillment => Ok(()),
        };
        done.map_err(
            |error| if error.is_retry() { HandleError::retry(error) } else { HandleError::poison(error) },
        )
    }

    fn committed(&self) {
        self.work.committed();
    }
}

impl Fulfillment {
    async fn on_order(&self, tx: &mut Tx, event: &Delivered, now: Timestamp) -> Result<(), Error> {
        let told: orders::OrderEvent = read(event)?;
        let order: OrderId = parse("order_id", &told.order_id)?;
        let actor = event.actor.as_str();
        match told.body {
            Some(OrderBody::Placed(placed)) if placed.blocks.is_empty() => {
                self.start(tx, released(order, told.version, placed.work)?, actor, now).await
            }
            Some(OrderBody::Unblocked(unblocked)) => {
                self.start(tx, released(order, told.version, unblocked.work)?, actor, now).await
            }
            Some(OrderBody::PaymentLapsed(lapsed)) => self.end(tx, &lapsed.promise_token, order, now).await,
            Some(OrderBody::Expired(expired)) => self.end(tx, &expired.promise_token, order, now).await,
            // With a token: cancelled before it came to us. Without: the answer to what we decided.
            Some(OrderBody::Cancelled(cancelled)) => self.end(tx, &cancelled.promise_token, order, now).await,
            Some(OrderBody::CancelRequested(asked)) => {
                self.cancel_requested(tx, order, &asked, actor, now).await
            }
            // Placed with a block: it waits, and orders keeps its promise alive.
            Some(
                OrderBody::Placed(_)
                | OrderBody::Confirmed(_)
                | OrderBody::Paid(_)
                | OrderBody::Progressed(_)
                | OrderBody::Completed(_)
                | OrderBody::RefundRequested(_),
            )
            | None => Ok(()),
        }
    }

    /// The order is released: its promise is the order's, and its node gets the work.
    async fn start(&self, tx: &mut Tx, released: Released, actor: &str, now: Timestamp) -> Result<(), Error> {
        if self.adopt(tx, &released, now).await? {
            self.offer(tx, &released, actor, now).await
        } else {
            Ok(())
        }
    }

    /// The order never came to work and gives up its promise.
    async fn end(&self, tx: &mut Tx, token: &str, order: OrderId, now: Timestamp) -> Result<(), Error> {
        if token.is_empty() {
            return Ok(());
        }
        self.give_up(tx, parse("promise_token", token)?, order, now).await
    }

    async fn on_stock(&self, tx: &mut Tx, event: &Delivered, now: Timestamp) -> Result<(), Error> {
        let told: stock::InventoryEvent = read(event)?;
        match told.body {
            Some(StockBody::ReservationRefused(refused)) => {
                let reservation = refused.reservation.unwrap_or_default().reservation_id;
                let reservation: ReservationId = parse("reservation_id", &reservation)?;
                let order: OrderId = parse("order_id", &refused.order_id)?;
                let token = PromiseToken::new(reservation.uuid());
                let promise = store::promise::get(tx, token).await?;
                if promise.and_then(|promise| promise.order()).is_some_and(|owner| owner != order) {
                    return Ok(());
                }
                self.stock_lost(tx, token, &refused.sku, &event.actor, now).await
            }
            Some(
                StockBody::ReservationHeld(_)
                | StockBody::ReservationConfirmed(_)
                | StockBody::ReservationExtended(_)
                | StockBody::ReservationSettled(_)
                | StockBody::ReservationReleased(_)
                | StockBody::ReservationExpired(_)
                | StockBody::PositionChanged(_),
            )
            | None => Ok(()),
        }
    }
}

fn read<M: Message + Default>(event: &Delivered) -> Result<M, Error> {
    M::decode(event.payload.clone()).map_err(|error| Error::Corrupt(format!("event {}: {error}", event.id)))
}

fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Corrupt(format!("an event whose {field} is {text:?}")))
}

fn released(
    order: OrderId,
    order_version: i64,
    work: Option<orders::WorkRequest>,
) -> Result<Released, Error> {
    let work = work.ok_or_else(|| Error::Corrupt(format!("order {order} was released without work")))?;
    let token: PromiseToken = parse("promise_token", &work.promise_token)?;
    let mut lines = Vec::with_capacity(work.lines.len());
    for line in work.lines {
        let sku: Sku = parse("sku", &line.sku)?;
        lines.push(ReleasedLine { line: line.line, sku, name: line.name, quantity: line.quantity });
    }
    let promised = work.promised_time.map(wire::instant);
    Ok(Released {
        order,
        order_version,
        token,
        method: wire::method(work.method)
            .map_err(|why| Error::Corrupt(format!("order {order} was released, but {why}")))?,
        node: parse::<NodeId>("node_id", &work.node_id)?,
        lines,
        promised: promised
            .and_then(Result::ok)
            .ok_or_else(|| Error::Corrupt(format!("order {order} was released without a promised time")))?,
        channel: work.channel,
        channel_order_id: work.channel_order_id,
        decision: DecisionId::new(token.uuid()),
    })
}
