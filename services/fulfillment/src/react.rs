//! What other services tell: orders that are released, cancelled or lapse, and claims that are lost.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bus::{Consumer, Delivered, HandleError, Topic};
use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_event::Body as StockBody;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body as OrderBody;
use contract::r#type::v1 as common;
use db::Tx;
use domain::fulfillment::Units;
use domain::id::{DecisionId, FulfillmentId, NodeId, OrderId, PromiseToken, ReservationId, Sku};
use jiff::Timestamp;
use prost::Message;

use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::store::claim::Loss;
use crate::wire;
use crate::work::change::By;
use crate::work::command::{Cancelling, LetGo, Lost, NewDue, Paying, Released, ReleasedLine};
use crate::work::wishes::{Origin, Wishes};

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
        Ok(Box::pin(self.follow(tx, events, self.clock.business())).await?)
    }

    fn committed(&self) {
        self.work.committed();
    }
}

/// What an event makes this service do.
enum Reaction {
    /// Work for a node.
    Released(Box<Released>),
    /// A leg never came to work, and the order gives up its claim.
    GivenUp(FulfillmentId, OrderId),
    /// The order asks a leg to cancel units.
    Cancelling(Cancelling),
    /// The order has units of a leg elsewhere, or does not want them any more.
    LetGo(LetGo),
    /// Another amount is due for a leg, or its handover waits for a payment.
    Paying(Paying),
    /// The claim of a leg was lost, or a part of it.
    Lost(FulfillmentId, OrderId, Loss),
    /// Goods that the work of a leg is picking may not be there; the last: they were counted, and are.
    Doubtful(FulfillmentId, OrderId, String, bool),
    /// The claim of a leg lost units, and no order had it.
    Broken(FulfillmentId),
}

impl Fulfillment {
    async fn follow(&self, tx: &mut Tx, events: &[Delivered], now: Timestamp) -> Result<(), Error> {
        let (mut released, mut slots) = (Vec::new(), Changes::default());
        let (mut reactions, mut last) = (Vec::new(), Vec::new());
        for event in events {
            reactions.extend(reactions_to(event)?.into_iter().map(|reaction| (event, reaction)));
        }
        lock_all(tx, reactions.iter().map(|(_, reaction)| reaction)).await?;
        for (event, reaction) in reactions {
            match reaction {
                Reaction::Released(order) => {
                    released.push((*order, by(event)));
                    continue;
                }
                // What takes its place is begun first, and many of them in one go.
                Reaction::LetGo(_) => {
                    last.push((event, reaction));
                    continue;
                }
                Reaction::GivenUp(..)
                | Reaction::Cancelling(..)
                | Reaction::Paying(..)
                | Reaction::Lost(..)
                | Reaction::Doubtful(..)
                | Reaction::Broken(_) => {}
            }
            self.start(tx, std::mem::take(&mut released), &mut slots, now).await?;
            let act = self.act(tx, reaction, event, &mut slots, now);
            bus::trace::scope(event.traceparent.clone(), act).await?;
        }
        self.start(tx, released, &mut slots, now).await?;
        for (event, reaction) in last {
            let act = self.act(tx, reaction, event, &mut slots, now);
            bus::trace::scope(event.traceparent.clone(), act).await?;
        }
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
            Reaction::Released(order) => self.start(tx, vec![(*order, by(event))], slots, now).await,
            Reaction::GivenUp(leg, order) => self.give_up(tx, leg, Some(order), slots).await,
            Reaction::LetGo(asked) => self.let_go(tx, &asked, actor, slots, now).await,
            Reaction::Cancelling(asked) => self.cancel_requested(tx, &asked, actor, slots, now).await,
            Reaction::Paying(paying) => self.due_changed(tx, &paying, &by(event), slots, now).await,
            Reaction::Broken(leg) => self.end_broken(tx, leg, slots, now).await,
            Reaction::Doubtful(leg, order, sku, is_over) => {
                let loss = Loss::whole(sku);
                self.stock_doubtful(tx, Lost { leg, order, loss, actor }, is_over, slots, now).await
            }
            Reaction::Lost(leg, order, loss) => {
                let promise = match store::promise_leg::token_of(tx, leg).await? {
                    Some(token) => store::promise::get(tx, token).await?,
                    None => None,
                };
                if promise.and_then(|promise| promise.order()).is_some_and(|owner| owner != order) {
                    return Ok(());
                }
                self.stock_lost(tx, Lost { leg, order, loss, actor }, slots, now).await
            }
        }
    }
}

/// Locks what a batch of several kinds touches, before it begins: the feeds of its nodes in the order of their codes, then
/// the promises that nobody works on yet in the order of their tokens. So two processes never wait for each other in a
/// circle. Orders that are only released need no such look ahead: their promises and feeds are locked in order as it is,
/// unless one that was blocked has work already, which changes. An order that is served elsewhere changes two nodes: the one
/// that gets the work, and the one that lets its claim go.
async fn lock_all(tx: &mut Tx, reactions: impl Iterator<Item = &Reaction>) -> Result<(), Error> {
    let (mut nodes, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    let (mut legs, mut unblocked) = (Vec::new(), Vec::new());
    let (mut given_up, mut kinds) = (Vec::new(), BTreeSet::new());
    for reaction in reactions {
        match reaction {
            Reaction::Released(order) => {
                nodes.insert(order.node.clone());
                tokens.insert(order.token);
                if order.is_unblocked {
                    unblocked.extend([order.id, order.id.without_claim(order.order)]);
                }
            }
            Reaction::GivenUp(leg, _) | Reaction::Broken(leg) => given_up.push(*leg),
            Reaction::Cancelling(Cancelling { leg, order, .. })
            | Reaction::LetGo(LetGo { leg, order, .. })
            | Reaction::Paying(Paying { leg, order, .. }) => legs.extend([*leg, leg.without_claim(*order)]),
            Reaction::Lost(leg, ..) | Reaction::Doubtful(leg, ..) => legs.push(*leg),
        }
        kinds.insert(matches!(reaction, Reaction::Released(_)));
    }
    let changed = store::feed::nodes_of(tx, &unblocked).await?;
    let is_plain = !kinds.contains(&false) || tokens.len() + given_up.len() + legs.len() < 2;
    if is_plain && changed.is_empty() {
        return Ok(());
    }
    nodes.extend(store::feed::nodes_of(tx, &legs).await?);
    work_feed::rows::lock(tx, nodes).await?;
    tokens.extend(store::promise_leg::tokens_of(tx, &given_up).await?.into_values());
    store::promise::lock_many(tx, tokens.into_iter()).await?;
    Ok(())
}

fn by(event: &Delivered) -> By {
    By { actor: event.actor.clone(), trace: event.traceparent.clone() }
}

fn reactions_to(event: &Delivered) -> Result<Vec<Reaction>, Error> {
    match event.topic {
        Topic::Orders => by_order(event),
        Topic::Inventory => Ok(by_stock(event)?.into_iter().collect()),
        Topic::Fulfillment => Ok(Vec::new()),
    }
}

/// The order that an event is about.
struct OfOrder {
    id: OrderId,
    version: i64,
    origin: Origin,
}

fn by_order(event: &Delivered) -> Result<Vec<Reaction>, Error> {
    let message: orders::OrderEvent = read(event)?;
    let order: OrderId = parse("order_id", &message.order_id)?;
    let of = OfOrder { id: order, version: message.version, origin: Origin::of(&message) };
    match message.body {
        Some(OrderBody::Placed(placed)) if placed.blocks.is_empty() => released_all(&of, placed.work, false),
        Some(OrderBody::Unblocked(unblocked)) => released_all(&of, unblocked.work, true),
        Some(OrderBody::Rerouted(rerouted)) => {
            if rerouted.work.is_empty() {
                return Err(Error::corrupt(format!("order {order} was rerouted without work")));
            }
            let mut reactions = released_all(&of, rerouted.work, false)?;
            reactions.extend(let_go(order, rerouted.let_go)?);
            Ok(reactions)
        }
        Some(OrderBody::OptionsOffered(offered)) => let_go(order, offered.let_go),
        Some(OrderBody::NeedClosed(closed)) => let_go(order, closed.let_go),
        Some(OrderBody::Paid(paid)) => due(order, &paid.work),
        Some(OrderBody::DueChanged(changed)) => due(order, &changed.work),
        Some(OrderBody::PaymentLost(lost)) => payment_lost(order, &lost.fulfillment_ids),
        Some(OrderBody::PaymentLapsed(lapsed)) => given_up(&lapsed.fulfillment_ids, order),
        Some(OrderBody::Expired(expired)) => given_up(&expired.fulfillment_ids, order),
        // With legs: cancelled before they came to us. Without: the answer to what we decided.
        Some(OrderBody::Cancelled(cancelled)) => {
            let mut reactions = given_up(&cancelled.fulfillment_ids, order)?;
            reactions.extend(let_go(order, cancelled.let_go)?);
            Ok(reactions)
        }
        Some(OrderBody::CancelRequested(asked)) => cancelling(&of, asked),
        // A blocked order waits, and orders keeps its promise alive.
        Some(
            OrderBody::Placed(_)
            | OrderBody::Confirmed(_)
            | OrderBody::Progressed(_)
            | OrderBody::Completed(_)
            | OrderBody::RefundRequested(_)
            | OrderBody::VoidRequested(_)
            | OrderBody::ExcessPaid(_)
            | OrderBody::TenderAdded(_)
            | OrderBody::RefundReported(_)
            | OrderBody::MoneyChanged(_)
            | OrderBody::PromiseMoved(_)
            | OrderBody::NeedOpened(_),
        )
        | None => Ok(Vec::new()),
    }
}

fn given_up(legs: &[String], order: OrderId) -> Result<Vec<Reaction>, Error> {
    legs.iter().map(|leg| Ok(Reaction::GivenUp(parse("fulfillment_id", leg)?, order))).collect()
}

fn due(order: OrderId, work: &[orders::LegDue]) -> Result<Vec<Reaction>, Error> {
    let due = |leg: &orders::LegDue| {
        let amount = leg
            .due
            .as_ref()
            .ok_or_else(|| Error::corrupt(format!("what is due for a leg of order {order} is missing")))?;
        let what = NewDue::Amount(wire::payment::due(amount)?);
        Ok(Reaction::Paying(Paying { order, leg: parse("fulfillment_id", &leg.fulfillment_id)?, what }))
    };
    work.iter().map(due).collect()
}

fn payment_lost(order: OrderId, legs: &[String]) -> Result<Vec<Reaction>, Error> {
    let lost = |leg: &String| {
        let leg = parse("fulfillment_id", leg)?;
        Ok(Reaction::Paying(Paying { order, leg, what: NewDue::Lost }))
    };
    legs.iter().map(lost).collect()
}

fn let_go(order: OrderId, legs: Vec<orders::LegCancel>) -> Result<Vec<Reaction>, Error> {
    let leg = |leg: orders::LegCancel| {
        let lines = units(&leg.lines);
        Ok(Reaction::LetGo(LetGo { order, leg: parse("fulfillment_id", &leg.fulfillment_id)?, lines }))
    };
    legs.into_iter().map(leg).collect()
}

fn units(lines: &[common::LineQuantity]) -> Vec<Units> {
    lines.iter().map(|line| Units { line: line.line, quantity: line.quantity }).collect()
}

fn cancelling(of: &OfOrder, asked: orders::OrderCancelRequested) -> Result<Vec<Reaction>, Error> {
    let leg = |leg: orders::LegCancel| {
        Ok(Reaction::Cancelling(Cancelling {
            order: of.id,
            leg: parse("fulfillment_id", &leg.fulfillment_id)?,
            number: asked.cancel_number,
            lines: units(&leg.lines),
            reason: asked.reason.clone(),
            origin: of.origin.clone(),
        }))
    };
    asked.legs.into_iter().map(leg).collect()
}

fn by_stock(event: &Delivered) -> Result<Option<Reaction>, Error> {
    let message: stock::InventoryEvent = read(event)?;
    match message.body {
        Some(StockBody::ReservationRefused(refused)) => {
            let leg = leg_of(refused.reservation)?;
            Ok(Some(Reaction::Lost(leg, parse("order_id", &refused.order_id)?, Loss::whole(refused.sku))))
        }
        Some(StockBody::ReservationGivenUp(given_up)) => {
            let leg = leg_of(given_up.reservation)?;
            if given_up.order_id.is_empty() {
                return Ok(Some(Reaction::Broken(leg)));
            }
            let lines = Some(units(&given_up.lines)).filter(|lines| !lines.is_empty());
            let loss = Loss { sku: given_up.sku, lines };
            Ok(Some(Reaction::Lost(leg, parse("order_id", &given_up.order_id)?, loss)))
        }
        Some(StockBody::ReservationDoubtful(doubtful)) => {
            let leg = leg_of(doubtful.reservation)?;
            let order = parse("order_id", &doubtful.order_id)?;
            Ok(Some(Reaction::Doubtful(leg, order, doubtful.sku, doubtful.is_over)))
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
        | None => Ok(None),
    }
}

/// The leg that a reservation is for: it has the same uuid.
fn leg_of(reservation: Option<stock::Reservation>) -> Result<FulfillmentId, Error> {
    let text = reservation.unwrap_or_default().reservation_id;
    let id: ReservationId = parse("reservation_id", &text)?;
    Ok(FulfillmentId::new(id.uuid()))
}

fn read<M: Message + Default>(event: &Delivered) -> Result<M, Error> {
    M::decode(event.payload.clone()).map_err(|error| Error::corrupt(format!("event {}: {error}", event.id)))
}

fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::corrupt(format!("an event whose {field} is {text:?}")))
}

/// Work for each leg; none: nothing could be held for the order yet.
fn released_all(
    of: &OfOrder,
    work: Vec<orders::WorkRequest>,
    is_unblocked: bool,
) -> Result<Vec<Reaction>, Error> {
    let released = |work| {
        let released = released(of, work)?;
        Ok(Reaction::Released(Box::new(Released { is_unblocked, ..released })))
    };
    work.into_iter().map(released).collect()
}

fn is_unpaid(terms: orders::PaymentTerms) -> bool {
    match terms {
        orders::PaymentTerms::PayAtHandover | orders::PaymentTerms::OnAccount => true,
        orders::PaymentTerms::Unspecified | orders::PaymentTerms::Prepaid => false,
    }
}

fn released(of: &OfOrder, mut work: orders::WorkRequest) -> Result<Released, Error> {
    let OfOrder { id: order, version: order_version, ref origin } = *of;
    let id: FulfillmentId = parse("fulfillment_id", &work.fulfillment_id)?;
    let token: PromiseToken = parse("promise_token", &work.promise_token)?;
    let (at_handover, prices) = wire::payment::at_handover(&work)?;
    let is_unpaid = is_unpaid(work.payment_terms());
    let wishes = Wishes::of(&mut work);
    let mut lines = Vec::with_capacity(work.lines.len());
    for (line, due_minor) in work.lines.into_iter().zip(prices) {
        let sku: Sku = parse("sku", &line.sku)?;
        lines.push(ReleasedLine {
            line: line.line,
            sku,
            name: line.name,
            quantity: line.quantity,
            due_minor,
        });
    }
    let promised = work.window.and_then(|window| window.start_time).map(wire::instant);
    Ok(Released {
        id,
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
        origin: origin.clone(),
        wishes,
        decision: DecisionId::new(id.uuid()),
        is_another_orders: false,
        at_handover,
        is_unpaid,
        holder: None,
        is_unblocked: false,
    })
}
