//! What other services tell: orders that are released, cancelled or lapse, and claims that are lost.

use std::collections::BTreeSet;

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
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::wire;
use crate::work::change::By;
use crate::work::command::{Cancelling, Lost, Released, ReleasedLine};

#[async_trait]
impl Consumer for Fulfillment {
    fn group(&self) -> &'static str {
        "fulfillment"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &["order"]), (Topic::Inventory, &["reservation"])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handle_batch(tx, std::slice::from_ref(event)).await
    }

    /// Orders that are released one after another are offered in one go.
    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        Ok(self.follow(tx, events, self.clock.business()).await?)
    }

    fn committed(&self) {
        self.work.committed();
    }
}

/// What an event makes this service do.
enum Reaction {
    /// Work for a node.
    Released(Released),
    /// The order never came to work, and gives up its promise.
    GivenUp(PromiseToken, OrderId),
    /// The order asks to cancel units.
    Cancelling(OrderId, orders::OrderCancelRequested),
    /// The claim of an order was lost.
    Lost(PromiseToken, OrderId, String),
    /// Nothing.
    Nothing,
}

impl Fulfillment {
    async fn follow(&self, tx: &mut Tx, events: &[Delivered], now: Timestamp) -> Result<(), Error> {
        let (mut released, mut slots) = (Vec::new(), Changes::default());
        let reactions = events.iter().map(reaction).collect::<Result<Vec<Reaction>, Error>>()?;
        lock_all(tx, &reactions).await?;
        for (event, reaction) in events.iter().zip(reactions) {
            match reaction {
                Reaction::Nothing => continue,
                Reaction::Released(order) => {
                    released.push((order, by(event)));
                    continue;
                }
                Reaction::GivenUp(..) | Reaction::Cancelling(..) | Reaction::Lost(..) => {}
            }
            self.start(tx, std::mem::take(&mut released), &mut slots, now).await?;
            let act = self.act(tx, reaction, event, &mut slots, now);
            bus::trace::scope(event.traceparent.clone(), act).await?;
        }
        self.start(tx, released, &mut slots, now).await?;
        slots.write(tx, now).await
    }

    /// Orders are released: their promises are the orders', and their nodes get the work.
    async fn start(
        &self,
        tx: &mut Tx,
        released: Vec<(Released, By)>,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        if released.is_empty() {
            return Ok(());
        }
        let adopted = self.adopt(tx, released, slots).await?;
        self.offer(tx, &adopted, slots, now).await
    }

    async fn act(
        &self,
        tx: &mut Tx,
        reaction: Reaction,
        event: &Delivered,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let actor = event.actor.as_str();
        match reaction {
            Reaction::Released(order) => self.start(tx, vec![(order, by(event))], slots, now).await,
            Reaction::GivenUp(token, order) => self.give_up(tx, token, order, slots).await,
            Reaction::Cancelling(order, asked) => {
                let request = Cancelling { order, asked: &asked, actor };
                self.cancel_requested(tx, request, slots, now).await
            }
            Reaction::Lost(token, order, sku) => {
                let promise = store::promise::get(tx, token).await?;
                if promise.and_then(|promise| promise.order()).is_some_and(|owner| owner != order) {
                    return Ok(());
                }
                self.stock_lost(tx, Lost { token, sku: &sku, actor }, slots, now).await
            }
            Reaction::Nothing => Ok(()),
        }
    }
}

/// Locks what a batch of several kinds touches, before it begins: the feeds of its nodes in the order of their codes, then
/// the promises that nobody works on yet in the order of their tokens. So two processes never wait for each other in a
/// circle. Orders that are only released need no such look ahead: their promises and feeds are locked in order as it is.
async fn lock_all(tx: &mut Tx, reactions: &[Reaction]) -> Result<(), Error> {
    let (mut nodes, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    let (mut orders, mut claims, mut kinds) = (Vec::new(), Vec::new(), BTreeSet::new());
    for reaction in reactions {
        match reaction {
            Reaction::Released(order) => {
                nodes.insert(order.node.clone());
                tokens.insert(order.token);
            }
            Reaction::GivenUp(token, _) => {
                tokens.insert(*token);
            }
            Reaction::Cancelling(order, _) => orders.push(*order),
            Reaction::Lost(token, ..) => claims.push(*token),
            Reaction::Nothing => continue,
        }
        kinds.insert(matches!(reaction, Reaction::Released(_)));
    }
    let is_plain = !kinds.contains(&false) || tokens.len() + orders.len() + claims.len() < 2;
    if is_plain {
        return Ok(());
    }
    nodes.extend(store::feed::nodes_of(tx, &orders, &claims).await?);
    work_feed::rows::lock(tx, nodes).await?;
    store::promise::lock_many(tx, tokens.into_iter()).await?;
    Ok(())
}

fn by(event: &Delivered) -> By {
    By { actor: event.actor.clone(), trace: event.traceparent.clone() }
}

fn reaction(event: &Delivered) -> Result<Reaction, Error> {
    match event.topic {
        Topic::Orders => by_order(event),
        Topic::Inventory => by_stock(event),
        Topic::Fulfillment => Ok(Reaction::Nothing),
    }
}

fn by_order(event: &Delivered) -> Result<Reaction, Error> {
    let message: orders::OrderEvent = read(event)?;
    let order: OrderId = parse("order_id", &message.order_id)?;
    match message.body {
        Some(OrderBody::Placed(placed)) if placed.blocks.is_empty() => {
            Ok(Reaction::Released(released(order, message.version, placed.work)?))
        }
        Some(OrderBody::Unblocked(unblocked)) => {
            Ok(Reaction::Released(released(order, message.version, unblocked.work)?))
        }
        Some(OrderBody::PaymentLapsed(lapsed)) => given_up(&lapsed.promise_token, order),
        Some(OrderBody::Expired(expired)) => given_up(&expired.promise_token, order),
        // With a token: cancelled before it came to us. Without: the answer to what we decided.
        Some(OrderBody::Cancelled(cancelled)) => given_up(&cancelled.promise_token, order),
        Some(OrderBody::CancelRequested(asked)) => Ok(Reaction::Cancelling(order, asked)),
        // A blocked order waits, and orders keeps its promise alive.
        Some(
            OrderBody::Placed(_)
            | OrderBody::Confirmed(_)
            | OrderBody::Paid(_)
            | OrderBody::Progressed(_)
            | OrderBody::Completed(_)
            | OrderBody::RefundRequested(_),
        )
        | None => Ok(Reaction::Nothing),
    }
}

fn given_up(token: &str, order: OrderId) -> Result<Reaction, Error> {
    if token.is_empty() {
        return Ok(Reaction::Nothing);
    }
    Ok(Reaction::GivenUp(parse("promise_token", token)?, order))
}

fn by_stock(event: &Delivered) -> Result<Reaction, Error> {
    let message: stock::InventoryEvent = read(event)?;
    match message.body {
        Some(StockBody::ReservationRefused(refused)) => {
            let reservation = refused.reservation.unwrap_or_default().reservation_id;
            let reservation: ReservationId = parse("reservation_id", &reservation)?;
            let order: OrderId = parse("order_id", &refused.order_id)?;
            Ok(Reaction::Lost(PromiseToken::new(reservation.uuid()), order, refused.sku))
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
        | None => Ok(Reaction::Nothing),
    }
}

fn read<M: Message + Default>(event: &Delivered) -> Result<M, Error> {
    M::decode(event.payload.clone()).map_err(|error| Error::corrupt(format!("event {}: {error}", event.id)))
}

fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::corrupt(format!("an event whose {field} is {text:?}")))
}

fn released(
    order: OrderId,
    order_version: i64,
    work: Option<orders::WorkRequest>,
) -> Result<Released, Error> {
    let work = work.ok_or_else(|| Error::corrupt(format!("order {order} was released without work")))?;
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
            .map_err(|why| Error::corrupt(format!("order {order} was released, but {why}")))?,
        node: parse::<NodeId>("node_id", &work.node_id)?,
        lines,
        promised: promised
            .and_then(Result::ok)
            .ok_or_else(|| Error::corrupt(format!("order {order} was released without a promised time")))?,
        channel: work.channel,
        channel_order_id: work.channel_order_id,
        decision: DecisionId::new(token.uuid()),
        is_another_orders: false,
    })
}
