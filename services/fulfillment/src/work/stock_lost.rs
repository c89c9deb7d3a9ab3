//! Inventory lost the claim of an order: work that has not begun ends.

use db::Tx;
use jiff::Timestamp;

use super::command::Lost;
use crate::store::capacity::Changes;
use crate::store::{claim, work as store};
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// The claim on the stock of a leg was lost. Work that has begun goes on: the goods are in somebody's hands.
    pub(crate) async fn stock_lost(
        &self,
        tx: &mut Tx,
        lost: Lost<'_>,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Lost { leg, order, sku, actor } = lost;
        claim::note_lost(tx, leg, sku).await?;
        let Some(id) = store::of_leg(tx, leg, order).await? else { return Ok(()) };
        let mut change = self.change(tx, id, actor, now).await?;
        if let Err(refusal) = change.apply(|order, now| order.stock_lost(sku, now)) {
            tracing::warn!(fulfillment_id = %id, sku, %refusal, "a claim was lost after work began");
            return Ok(());
        }
        self.save_among(tx, &mut change, slots).await?;
        self.work.room.pending([change.stored.order.node]);
        Ok(())
    }
}
