//! An order without news for long asks fulfillment what became of it.
//!
//! Events that are lost leave no trace when no later one follows. If fulfillment has events that we miss, they are applied
//! now. If fulfillment does not know the order, the order's own events are sent again, each time until it does, and operators see
//! an error and a metric meanwhile.

use bus::{Consumer as _, Delivered, Topic, missed};
use contract::fulfillment::v1::ReplayEventsRequest;
use domain::id::FulfillmentId;
use domain::order::Order;
use service::Fault;

use crate::Orders;
use crate::error::Error;

/// Events asked for at once.
const PAGE: i32 = 100;

impl Orders {
    /// Asks for the work of an order. An order that is not released has none yet.
    pub(crate) async fn check_work(&self, order: &Order) -> Result<(), Error> {
        if !order.is_released() {
            return Ok(());
        }
        let work = order.fulfillment.unwrap_or_else(|| FulfillmentId::of_promise(order.promise.token));
        let mut tx = self.db.read().await?;
        let mark = missed::mark(&mut tx, self.group(), Topic::Fulfillment, work.uuid()).await?;
        drop(tx);
        let request = ReplayEventsRequest {
            aggregate_id: work.uuid().to_string(),
            from_sequence: mark + 1,
            page_size: PAGE,
        };
        let answer = self.work_events.clone().replay_events(request).await.map_err(Error::peer)?;
        let events = answer.into_inner().events.into_iter();
        let events = events.map(|event| bus::replay::from_stored(Topic::Fulfillment, event));
        let events = events.collect::<Result<Vec<Delivered>, bus::Error>>()?;
        if events.is_empty() && mark == 0 {
            return self.send_again(order).await;
        }
        let applied = missed::apply(&self.db, self, &events).await.map_err(|error| not_applied(&error))?;
        if applied > 0 {
            metrics::counter!("entrepot_orders_missed_events_total").increment(applied as u64);
            tracing::warn!(order_id = %order.id, applied, "events of the order's work had not arrived");
        }
        Ok(())
    }

    /// Fulfillment does not know the order.
    async fn send_again(&self, order: &Order) -> Result<(), Error> {
        metrics::counter!("entrepot_orders_without_work_total").increment(1);
        tracing::error!(order_id = %order.id, status = %order.status(),
            "fulfillment has no work for this order; sending the order's events again");
        let mut tx = self.db.begin().await?;
        missed::send_again(&mut tx, order.id.uuid()).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn not_applied(error: &bus::HandleError) -> Error {
    Fault::Unreadable(format!("events that had not arrived: {error}")).into()
}
