//! Events that inventory follows: orders take or give up their claims, fulfillment orders report what became of the
//! goods, and policies say what is kept back.

use async_trait::async_trait;
use bus::{Consumer, Delivered, HandleError, Topic};
use contract::fulfillment::v1 as ff;
use contract::orders::v1 as orders;
use db::Tx;
use domain::id::{FulfillmentId, NodeId, OrderId, ReservationId, Sku};
use domain::stock::Key;
use domain::stock::reservation::{Target, Want};
use prost::Message as _;

use crate::Inventory;
use crate::command::{Act, Cause, Command, Confirm, Finding, Found, Settle, Wanted};
use crate::error::Error;
use crate::relief::NOT_FOUND;
use crate::stock::{self, Mode};
use crate::wire;

/// Why goods go to quarantine.
const DAMAGED: &str = "DAMAGED";
const DISPLAY_WORN: &str = "DISPLAY_WORN";
/// Why a position waits for a count: something else lies there.
const MISMATCH: &str = "MISMATCH";

#[async_trait]
impl Consumer for Inventory {
    fn group(&self) -> &'static str {
        "inventory"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[
            (Topic::Orders, &["order"]),
            (Topic::Fulfillment, &["fulfillment_order", policy::POLICY, policy::NODE_GROUP, policy::NODE]),
        ]
    }

    /// This process follows a policy at once, others by their next look at the tables.
    fn committed(&self) {
        self.policies.committed();
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handle_batch(tx, std::slice::from_ref(event)).await
    }

    /// One pass over the stock for the whole batch: its positions are locked in one order and written at once.
    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        let mut commands = Vec::with_capacity(events.len());
        for event in events {
            if self.policies.hear(tx, event).await.map_err(Error::from)? {
                continue;
            }
            for act in acts(event)? {
                let cause = Cause { actor: event.actor.as_str().into(), trace: event.traceparent.clone() };
                commands.push(Command { request: None, cause, act });
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        let now = self.clock.business();
        let outcomes =
            stock::apply(tx, &self.catalogue, &self.policies.book(), &commands, now, Mode::Thorough).await;
        for (command, outcome) in commands.iter().zip(outcomes?) {
            match (outcome, &command.act) {
                (Ok(_), _) => {}
                // its release left a tombstone without lines: there is nothing to settle
                (Err(Error::ReservationNotFound(id)), Act::Settle(settle)) => {
                    tracing::warn!(reservation_id = %id, fulfillment_id = %settle.fulfillment, "no claims to settle");
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn malformed(error: impl std::fmt::Display) -> HandleError {
    HandleError::poison(format!("the event cannot be read: {error}"))
}

/// What an event asks of the stock; most ask nothing.
fn acts(event: &Delivered) -> Result<Vec<Act>, HandleError> {
    match event.topic {
        Topic::Orders => {
            let message = orders::OrderEvent::decode(event.payload.clone()).map_err(malformed)?;
            of_order(message)
        }
        Topic::Fulfillment => {
            let message = ff::FulfillmentEvent::decode(event.payload.clone()).map_err(malformed)?;
            Ok(vec![of_fulfillment(message)?])
        }
        Topic::Inventory => Ok(Vec::new()),
    }
}

fn of_order(event: orders::OrderEvent) -> Result<Vec<Act>, HandleError> {
    use orders::order_event::Body;
    let order: OrderId = event.order_id.parse().map_err(malformed)?;
    match event.body {
        Some(Body::Placed(placed)) if placed.blocks.is_empty() => confirm(order, placed.work),
        Some(Body::Unblocked(unblocked)) => confirm(order, unblocked.work),
        Some(Body::Rerouted(rerouted)) if rerouted.work.is_empty() => Err(malformed("no work in it")),
        Some(Body::Rerouted(rerouted)) => confirm(order, rerouted.work),
        Some(Body::PaymentLapsed(lapsed)) => release(&lapsed.fulfillment_ids, "PAYMENT_LAPSED"),
        Some(Body::Expired(expired)) => release(&expired.fulfillment_ids, "ORDER_EXPIRED"),
        // Without legs: fulfillment decides.
        Some(Body::Cancelled(cancelled)) => release(&cancelled.fulfillment_ids, "ORDER_CANCELLED"),
        Some(
            Body::Placed(_)
            | Body::Confirmed(_)
            | Body::Paid(_)
            | Body::CancelRequested(_)
            | Body::Progressed(_)
            | Body::Completed(_)
            | Body::RefundRequested(_)
            | Body::VoidRequested(_)
            | Body::PaymentLost(_)
            | Body::ExcessPaid(_)
            | Body::TenderAdded(_)
            | Body::RefundReported(_)
            | Body::PromiseMoved(_)
            | Body::DueChanged(_)
            | Body::MoneyChanged(_)
            | Body::NeedOpened(_)
            | Body::OptionsOffered(_)
            | Body::NeedClosed(_),
        )
        | None => Ok(Vec::new()),
    }
}

/// The claim of a leg has the leg's uuid.
fn claim(leg: &str) -> Result<ReservationId, HandleError> {
    let leg: FulfillmentId = leg.parse().map_err(malformed)?;
    Ok(ReservationId::new(leg.uuid()))
}

fn release(legs: &[String], reason: &str) -> Result<Vec<Act>, HandleError> {
    let act = |leg: &String| {
        let ids = vec![claim(leg)?];
        Ok(Act::Release { ids, reason: reason.to_owned(), unless_confirmed: false })
    };
    legs.iter().map(act).collect()
}

/// The claim of each leg is the order's; without any, nothing could be held for it yet.
fn confirm(order: OrderId, work: Vec<orders::WorkRequest>) -> Result<Vec<Act>, HandleError> {
    work.into_iter().map(|work| confirm_one(order, work)).collect()
}

fn confirm_one(order: OrderId, work: orders::WorkRequest) -> Result<Act, HandleError> {
    let node = NodeId::new(work.node_id).map_err(malformed)?;
    let mut lines = Vec::with_capacity(work.lines.len());
    for line in work.lines {
        let position = Key { node: node.clone(), sku: Sku::new(line.sku).map_err(malformed)? };
        lines.push(Wanted { line: line.line, position, units: line.quantity });
    }
    let wants = lines.iter().map(|line| Want { line: line.line, units: line.units }).collect();
    let promised = work.window.and_then(|window| window.start_time);
    let promised = promised.and_then(|at| service::wire::instant(at).ok());
    let (id, tier) = (claim(&work.fulfillment_id)?, work.tier);
    let channel = wire::named(work.channel);
    Ok(Act::Confirm(Confirm { id, order, wants, lines, channel, promised, tier }))
}

fn of_fulfillment(event: ff::FulfillmentEvent) -> Result<Act, HandleError> {
    let fo = event.fulfillment_order.ok_or_else(|| malformed("no fulfillment order in it"))?;
    let fulfillment: FulfillmentId = fo.fulfillment_id.parse().map_err(malformed)?;
    let order: OrderId = fo.order_id.parse().map_err(malformed)?;
    let targets = fo.lines.iter().map(target).collect::<Result<_, HandleError>>()?;
    let findings = event.body.map(|body| findings(&fo, body)).transpose()?.unwrap_or_default();
    let id = ReservationId::new(fulfillment.uuid());
    let is_started = is_started(&fo);
    Ok(Act::Settle(Settle { id, order, fulfillment, targets, findings, is_started }))
}

/// Somebody has begun to pick, or goods have left the shelf.
fn is_started(fo: &ff::FulfillmentOrder) -> bool {
    use ff::FulfillmentState as State;
    let has_left = |line: &ff::FulfillmentLine| line.picked + line.packed + line.ready + line.put_back > 0;
    match fo.state() {
        State::Picking
        | State::Packed
        | State::ReadyForPickup
        | State::AwaitingCourier
        | State::PartlyCollected
        | State::InDelivery
        | State::Done
        | State::Short
        | State::Restocked
        | State::Lost => true,
        State::Unspecified
        | State::Planned
        | State::Offered
        | State::Accepted
        | State::Rejected
        | State::TimedOut
        | State::Cancelled => fo.lines.iter().any(has_left),
    }
}

/// What the claim becomes, as the snapshot says: the stages of its method know which goods have left the node.
fn target(line: &ff::FulfillmentLine) -> Result<Target, HandleError> {
    let ff::FulfillmentLine { line, quantity, held, consumed, released, .. } = *line;
    let sum = held.checked_add(consumed).and_then(|sum| sum.checked_add(released));
    if sum != Some(quantity) {
        let claims = format!("{held} held, {consumed} consumed, {released} released");
        return Err(malformed(format!("line {line} of {quantity} units has {claims}")));
    }
    Ok(Target { line, quantity, consumed, released })
}

/// What the store has found out about its stock.
fn findings(
    fo: &ff::FulfillmentOrder,
    body: ff::fulfillment_event::Body,
) -> Result<Vec<Finding>, HandleError> {
    use ff::fulfillment_event::Body;
    let whole = |line, what| Finding { line, part: None, what };
    match body {
        Body::Rejected(rejected) => {
            let what = match rejected.reason() {
                ff::RejectReason::NotFound => Found::Missing,
                ff::RejectReason::Damaged => Found::Unfit(None, DAMAGED),
                ff::RejectReason::DisplayWorn => Found::Unfit(None, DISPLAY_WORN),
                ff::RejectReason::Mismatch => Found::Unsure(MISMATCH),
                ff::RejectReason::Unspecified
                | ff::RejectReason::TooBusy
                | ff::RejectReason::NodeClosed
                | ff::RejectReason::Other => return Ok(Vec::new()),
            };
            if rejected.lines.is_empty() {
                Ok(fo.lines.iter().map(|line| whole(line.line, what)).collect())
            } else {
                let finding = |line: &ff::RejectedLine| {
                    Ok(Finding { part: part(&line.sku)?, ..whole(line.line, what) })
                };
                rejected.lines.iter().map(finding).collect()
            }
        }
        Body::Moved(moved) => moved.lines.iter().filter_map(|line| short(line).transpose()).collect(),
        Body::PutBackOverdue(overdue) => {
            Ok(overdue.lines.iter().map(|line| whole(line.line, Found::Unsure(NOT_FOUND))).collect())
        }
        Body::Offered(_)
        | Body::Accepted(_)
        | Body::TimedOut(_)
        | Body::PickupCodeIssued(_)
        | Body::PickupExpired(_)
        | Body::Cancelled(_)
        | Body::CancelRefused(_)
        | Body::CustomerNoticeDue(_)
        | Body::AtRisk(_)
        | Body::DueChanged(_)
        | Body::StockLost(_)
        | Body::StockDoubtful(_)
        | Body::ClaimLetGo(_)
        | Body::PolicyChanged(_)
        | Body::NodeGroupChanged(_)
        | Body::NodeChanged(_) => Ok(Vec::new()),
    }
}

/// The part of a kit that is named.
fn part(sku: &str) -> Result<Option<Sku>, HandleError> {
    (!sku.is_empty()).then(|| Sku::new(sku).map_err(malformed)).transpose()
}

fn short(line: &ff::MovedLine) -> Result<Option<Finding>, HandleError> {
    let what = match line.short_reason() {
        _ if line.short <= 0 => return Ok(None),
        ff::ShortReason::NotFound => Found::Missing,
        ff::ShortReason::Damaged => Found::Unfit(Some(line.short), DAMAGED),
        ff::ShortReason::DisplayWorn => Found::Unfit(Some(line.short), DISPLAY_WORN),
        ff::ShortReason::Mismatch => Found::Unsure(MISMATCH),
        ff::ShortReason::Unspecified | ff::ShortReason::Other => return Ok(None),
    };
    Ok(Some(Finding { line: line.line, part: part(&line.sku)?, what }))
}
