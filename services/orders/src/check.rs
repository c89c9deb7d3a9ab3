//! An order without news for long asks fulfillment what became of it.
//!
//! Events that are lost leave no trace when no later one follows. If fulfillment has events that we miss, they are applied
//! now. If fulfillment does not know the order, the order's own events are sent again, at growing intervals until it does, and
//! operators see an error and a metric meanwhile.

use bus::{Consumer as _, Delivered, Topic, missed};
use contract::fulfillment::v1::ReplayEventsRequest;
use domain::order::{Leg, Order};
use domain::time::Timestamp;
use service::Fault;

use crate::Orders;
use crate::error::Error;

/// Events asked for at once.
const PAGE: i32 = 100;

impl Orders {
    /// Asks for the work of an order leg by leg, and says how long the order then waits for news, in milliseconds. A leg
    /// that is not released has no work yet.
    pub(crate) async fn check_work(&self, order: &Order, now: Timestamp) -> Result<i64, Error> {
        let interval = order.check_interval_ms(&self.policy);
        let mut has_work = true;
        for leg in order.legs.iter().filter(|leg| leg.is_live() && leg.is_released() && !leg.is_over()) {
            has_work &= self.check_leg(order, leg).await?;
        }
        if has_work {
            return Ok(interval);
        }
        let is_sent = self.send_again(order, now).await?;
        Ok(if is_sent { order.patience_ms(&self.policy, now) } else { interval })
    }

    /// Applies what fulfillment knows of a leg and we do not. False: it does not know the leg.
    async fn check_leg(&self, order: &Order, leg: &Leg) -> Result<bool, Error> {
        let work = leg.id.uuid();
        let mut tx = self.db.read().await?;
        let mark = missed::mark(&mut tx, self.group(), Topic::Fulfillment, work).await?;
        drop(tx);
        let request =
            ReplayEventsRequest { aggregate_id: work.to_string(), from_sequence: mark + 1, page_size: PAGE };
        let answer = self.work_events.clone().replay_events(request).await.map_err(Error::peer)?;
        let events = answer.into_inner().events.into_iter();
        let events = events.map(|event| bus::replay::from_stored(Topic::Fulfillment, event));
        let events = events.collect::<Result<Vec<Delivered>, bus::Error>>()?;
        if events.is_empty() && mark == 0 {
            return Ok(false);
        }
        let applied = missed::apply(&self.db, self, &events).await.map_err(|error| not_applied(&error))?;
        if applied > 0 {
            metrics::counter!("entrepot_orders_missed_events_total").increment(applied as u64);
            tracing::warn!(order_id = %order.id, fulfillment_id = %leg.id, applied, "events of the order's work had not arrived");
        }
        Ok(true)
    }

    /// Fulfillment does not know a leg of the order. False: its events are not sent again, since the outbox still waits for the
    /// transport, and they may wait there.
    async fn send_again(&self, order: &Order, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        if missed::send_again(&mut tx, order.id.uuid(), now).await?.is_none() {
            tracing::debug!(order_id = %order.id, "fulfillment has no work for this order, whose events may be pending");
            return Ok(false);
        }
        tx.commit().await?;
        metrics::counter!("entrepot_orders_without_work_total").increment(1);
        tracing::error!(order_id = %order.id, status = %order.status(),
            "fulfillment has no work for this order, whose events are sent again");
        Ok(true)
    }
}

fn not_applied(error: &bus::HandleError) -> Error {
    Fault::Unreadable(format!("events that had not arrived: {error}")).into()
}
