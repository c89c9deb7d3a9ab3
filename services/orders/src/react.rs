//! What other services told: stock that was confirmed or lost, and work at the nodes.
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
use domain::id::{OrderId, ReservationId, Uuid};
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
        &[(Topic::Inventory, &["reservation"]), (Topic::Fulfillment, &["fulfillment_order"])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handle_batch(tx, std::slice::from_ref(event)).await
    }

    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        Ok(self.apply_all(tx, events).await?)
    }

    fn committed(&self) {
        self.watchers.committed();
    }
}

/// What an event says to us.
enum Told {
    /// The stock of an order is its own.
    Confirmed(OrderId),
    /// The stock of an order was lost.
    Lost { order: OrderId, text: String },
    /// A hold is gone: it ran out, or was given back.
    RanOut,
    /// Work went on at a node.
    Work(Box<wire::Told>),
    /// Nothing.
    Nothing,
}

fn read(event: &Delivered) -> Result<Told, Error> {
    match event.topic {
        Topic::Orders => Ok(Told::Nothing),
        Topic::Inventory => {
            let told = InventoryEvent::decode(event.payload.clone())
                .map_err(|error| Fault::Unreadable(format!("inventory event: {error}")))?;
            read_stock(told)
        }
        Topic::Fulfillment => {
            let told = FulfillmentEvent::decode(event.payload.clone())
                .map_err(|error| Fault::Unreadable(format!("fulfillment event: {error}")))?;
            Ok(Told::Work(Box::new(wire::report(told)?)))
        }
    }
}

fn read_stock(told: InventoryEvent) -> Result<Told, Error> {
    match told.body {
        Some(Body::ReservationConfirmed(confirmed)) => Ok(Told::Confirmed(order_id(&confirmed.order_id)?)),
        Some(Body::ReservationRefused(refused)) => {
            let order = order_id(&refused.order_id)?;
            Ok(Told::Lost { order, text: format!("{}: {}", refused.reason, refused.sku) })
        }
        // A promise that ends gives its stock back before the reservation itself runs out.
        Some(Body::ReservationExpired(_) | Body::ReservationReleased(_)) => Ok(Told::RanOut),
        Some(
            Body::ReservationHeld(_)
            | Body::ReservationExtended(_)
            | Body::ReservationSettled(_)
            | Body::PositionChanged(_),
        )
        | None => Ok(Told::Nothing),
    }
}

fn order_id(text: &str) -> Result<OrderId, Error> {
    text.parse().map_err(|_| Fault::Unreadable(format!("order id {text:?}")).into())
}

impl Orders {
    async fn apply_all(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), Error> {
        let told: Vec<Told> = events.iter().map(read).collect::<Result<_, _>>()?;
        let ran_out = events.iter().zip(&told).filter(|(_, told)| matches!(told, Told::RanOut));
        let holders = store::by_promises(tx, ran_out.map(|(event, _)| event.aggregate).collect()).await?;
        let orders: Vec<Option<OrderId>> =
            events.iter().zip(&told).map(|(event, told)| order_of(told, event, &holders)).collect();
        let ids: BTreeSet<OrderId> = orders.iter().copied().flatten().collect();
        let locked = store::lock_many(tx, &ids).await?;
        let mut open: HashMap<OrderId, Open> =
            locked.into_iter().map(|loaded| (loaded.order.id, Open::new(loaded))).collect();
        let now = self.clock.business();
        for ((event, told), order) in events.iter().zip(told).zip(orders) {
            let Some(id) = order else { continue };
            match (open.get_mut(&id), told) {
                (Some(order), told) => {
                    bus::trace::scope_sync(event.traceparent.clone(), || apply(order, told, event, now))?;
                }
                (None, Told::Work(_)) => return Err(Error::NotFound(id.to_string())),
                // Anyone who may confirm a promise may name an order that never was.
                (None, Told::Confirmed(_) | Told::Lost { .. } | Told::RanOut | Told::Nothing) => {
                    tracing::warn!(order_id = %id, "stock is told of for an order that does not exist");
                }
            }
        }
        let touched: Vec<Uuid> = open.keys().map(|id| id.uuid()).collect();
        self.write_open(tx, open.into_values().collect()).await?;
        self.watchers.pending(touched);
        Ok(())
    }
}

fn order_of(told: &Told, event: &Delivered, holders: &HashMap<Uuid, OrderId>) -> Option<OrderId> {
    match told {
        Told::Confirmed(order) | Told::Lost { order, .. } => Some(*order),
        Told::RanOut => holders.get(&event.aggregate).copied(),
        Told::Work(work) => Some(work.order),
        Told::Nothing => None,
    }
}

fn apply(open: &mut Open, told: Told, event: &Delivered, now: Timestamp) -> Result<(), Error> {
    let actor = event.actor.as_str();
    match told {
        Told::Confirmed(_) => confirmed(open, event, now),
        Told::Lost { text, .. } => {
            // Fulfillment ends its work, and that is what cancels the pieces.
            open.note(steps::note("STOCK_LOST", text, actor, event.occurred_at));
            Ok(())
        }
        Told::RanOut => {
            ran_out(open, event, now);
            Ok(())
        }
        Told::Work(work) => {
            let work = *work;
            let changed = open.order.clone().follow(&work.report, now)?;
            let note = Note {
                step: work.step,
                text: work.text,
                actor: event.actor.clone(),
                at: event.occurred_at,
                node: work.node,
            };
            open.take(changed, vec![note], actor, now);
            Ok(())
        }
        Told::Nothing => Ok(()),
    }
}

fn confirmed(open: &mut Open, event: &Delivered, now: Timestamp) -> Result<(), Error> {
    match open.order.clone().confirm(ReservationId::new(event.aggregate), now) {
        Ok(changed) => {
            open.take(changed, Vec::new(), &event.actor, now);
            Ok(())
        }
        // Cancelled meanwhile, or an older promise of the order: that stock is given back by those who hold it.
        Err(refusal @ (Refusal::Over { .. } | Refusal::OtherReservation | Refusal::AlreadyConfirmed)) => {
            tracing::debug!(order_id = %open.order.id, %refusal, "confirmation passed over");
            Ok(())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// A hold is gone. If an unpaid order relied on it, its payment must hold stock anew; the stock of a released, lapsed
/// or ended order is not the order's to lose.
fn ran_out(open: &mut Open, event: &Delivered, now: Timestamp) {
    if open.order.promise.token.uuid() != event.aggregate {
        return;
    }
    if let Ok(changed) = open.order.clone().lose_hold(now) {
        let note = steps::note("HOLD_LOST", "the hold is gone".to_owned(), &event.actor, now);
        open.take(changed, vec![note], &event.actor, now);
    }
}
