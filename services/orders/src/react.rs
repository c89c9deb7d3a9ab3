//! Events of other services: stock that was confirmed or lost, and work at the nodes.
//!
//! A batch of events is applied together: its orders are locked at once, in the order of their ids (two consumers of
//! this service never wait for each other in a circle), changed in memory one event after the other, and written with
//! one statement per table.

use std::collections::{BTreeSet, HashMap};

use bus::{Consumer, Delivered, HandleError, Topic};
use contract::fulfillment::v1::FulfillmentEvent;
use contract::inventory::v1::InventoryEvent;
use contract::inventory::v1::inventory_event::Body;
use db::Tx;
use domain::id::{FulfillmentId, OrderId, Uuid};
use domain::order::Refusal;
use domain::time::Timestamp;
use prost::Message as _;
use service::Fault;
use tonic::async_trait;

use crate::error::Error;
use crate::record::Open;
use crate::store::{self, Note};
use crate::{Orders, steps, wire};

#[async_trait]
impl Consumer for Orders {
    fn group(&self) -> &'static str {
        "orders"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        const OF_FULFILLMENT: &[&str] =
            &["fulfillment_order", policy::POLICY, policy::NODE_GROUP, policy::NODE];
        &[(Topic::Inventory, &["reservation"]), (Topic::Fulfillment, OF_FULFILLMENT)]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handle_batch(tx, std::slice::from_ref(event)).await
    }

    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        Ok(self.apply_all(tx, events).await?)
    }

    fn committed(&self) {
        self.watchers.committed();
        self.policies.committed();
    }
}

/// What an event means for an order.
enum Effect {
    /// Its stock is confirmed.
    Confirmed(OrderId),
    /// Its stock was lost.
    Lost { order: OrderId, text: String },
    /// Its hold expired or was released.
    HoldEnded,
    /// A node worked on it.
    Work(Box<wire::NodeReport>),
    /// Nothing.
    None,
}

fn read(event: &Delivered) -> Result<Effect, Error> {
    match event.topic {
        Topic::Orders => Ok(Effect::None),
        Topic::Fulfillment if policy::is_of(event) => Ok(Effect::None),
        Topic::Inventory => {
            let message = InventoryEvent::decode(event.payload.clone())
                .map_err(|error| Fault::Unreadable(format!("inventory event: {error}")))?;
            read_stock(message)
        }
        Topic::Fulfillment => {
            let message = FulfillmentEvent::decode(event.payload.clone())
                .map_err(|error| Fault::Unreadable(format!("fulfillment event: {error}")))?;
            Ok(Effect::Work(Box::new(wire::report(message)?)))
        }
    }
}

fn read_stock(message: InventoryEvent) -> Result<Effect, Error> {
    match message.body {
        Some(Body::ReservationConfirmed(confirmed)) => Ok(Effect::Confirmed(order_id(&confirmed.order_id)?)),
        Some(Body::ReservationRefused(refused)) => {
            let order = order_id(&refused.order_id)?;
            Ok(Effect::Lost { order, text: format!("{}: {}", refused.reason, refused.sku) })
        }
        // A promise that ends gives its stock back before the reservation itself runs out. What a released order loses of its
        // claim is ended by fulfillment.
        Some(Body::ReservationExpired(_) | Body::ReservationReleased(_) | Body::ReservationGivenUp(_)) => {
            Ok(Effect::HoldEnded)
        }
        Some(
            Body::ReservationHeld(_)
            | Body::ReservationExtended(_)
            | Body::ReservationSettled(_)
            | Body::ReservationDoubtful(_)
            | Body::PositionChanged(_),
        )
        | None => Ok(Effect::None),
    }
}

fn order_id(text: &str) -> Result<OrderId, Error> {
    text.parse().map_err(|_| Fault::Unreadable(format!("order id {text:?}")).into())
}

impl Orders {
    async fn apply_all(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), Error> {
        for event in events {
            self.policies.hear(tx, event).await?;
        }
        let effects: Vec<Effect> = events.iter().map(read).collect::<Result<_, _>>()?;
        let ended = events.iter().zip(&effects).filter(|(_, effect)| matches!(effect, Effect::HoldEnded));
        let holders = store::by_legs(tx, ended.map(|(event, _)| event.aggregate).collect()).await?;
        let orders: Vec<Option<OrderId>> =
            events.iter().zip(&effects).map(|(event, effect)| order_of(effect, event, &holders)).collect();
        let ids: BTreeSet<OrderId> = orders.iter().copied().flatten().collect();
        let locked = store::lock_many(tx, &ids).await?;
        let mut open: HashMap<OrderId, Open> =
            locked.into_iter().map(|loaded| (loaded.order.id, Open::new(loaded))).collect();
        let now = self.clock.business();
        for ((event, effect), order) in events.iter().zip(effects).zip(orders) {
            let Some(id) = order else { continue };
            match (open.get_mut(&id), effect) {
                (Some(order), effect) => {
                    bus::trace::scope_sync(event.traceparent.clone(), || apply(order, effect, event, now))?;
                }
                (None, Effect::Work(_)) => return Err(Error::NotFound(id.to_string())),
                // Who may confirm a promise may name an order that was never placed.
                (None, Effect::Confirmed(_) | Effect::Lost { .. } | Effect::HoldEnded | Effect::None) => {
                    tracing::warn!(order_id = %id, "ignored a stock event of an order that does not exist");
                }
            }
        }
        let touched: Vec<Uuid> = open.keys().map(|id| id.uuid()).collect();
        self.write_open(tx, open.into_values().collect()).await?;
        self.watchers.pending(touched);
        Ok(())
    }
}

fn order_of(effect: &Effect, event: &Delivered, holders: &HashMap<Uuid, OrderId>) -> Option<OrderId> {
    match effect {
        Effect::Confirmed(order) | Effect::Lost { order, .. } => Some(*order),
        Effect::HoldEnded => holders.get(&event.aggregate).copied(),
        Effect::Work(work) => Some(work.order),
        Effect::None => None,
    }
}

fn apply(open: &mut Open, effect: Effect, event: &Delivered, now: Timestamp) -> Result<(), Error> {
    let actor = event.actor.as_str();
    match effect {
        Effect::Confirmed(_) => confirmed(open, event, now),
        Effect::Lost { text, .. } => {
            // Fulfillment ends its work, and that is what cancels the pieces.
            open.note(steps::note("STOCK_LOST", text, actor, event.occurred_at));
            Ok(())
        }
        Effect::HoldEnded => {
            hold_ended(open, event, now);
            Ok(())
        }
        Effect::Work(work) => {
            let work = *work;
            if let Some(other) = work.currency.filter(|paid| *paid != open.order.currency) {
                let text = format!("fulfillment event: a payment in {other} of {}", open.order.id);
                return Err(Fault::Unreadable(text).into());
            }
            let changed = open.order.clone().follow(&work.report, now)?;
            let note = Note {
                step: work.step,
                text: work.text,
                actor: event.actor.clone(),
                at: event.occurred_at,
                node: work.node,
            };
            let notes = if note.step.is_empty() { Vec::new() } else { vec![note] };
            open.take(changed, notes, actor, now);
            Ok(())
        }
        Effect::None => Ok(()),
    }
}

fn confirmed(open: &mut Open, event: &Delivered, now: Timestamp) -> Result<(), Error> {
    match open.order.clone().confirm(FulfillmentId::new(event.aggregate), now) {
        Ok(changed) => {
            open.take(changed, Vec::new(), &event.actor, now);
            Ok(())
        }
        // Cancelled meanwhile, or an older leg of the order: fulfillment releases that stock.
        Err(refusal @ (Refusal::Over { .. } | Refusal::OtherReservation | Refusal::AlreadyConfirmed)) => {
            tracing::debug!(order_id = %open.order.id, %refusal, "ignored a confirmation");
            Ok(())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// A hold has ended. If an unpaid order relied on it, its payment must hold stock again; a released, lapsed or ended
/// order does not depend on its hold.
fn hold_ended(open: &mut Open, event: &Delivered, now: Timestamp) {
    if let Ok(changed) = open.order.clone().lose_hold(&[FulfillmentId::new(event.aggregate)], now) {
        let note = steps::note("HOLD_LOST", "the hold is gone".to_owned(), &event.actor, now);
        open.take(changed, vec![note], &event.actor, now);
    }
}
