//! Inventory lost the claim of an order or a part of it: work that has not begun gives those units up, and the store of work
//! that has sees which goods are doubtful.

use db::Tx;
use domain::fulfillment::Refusal;
use domain::id::Sku;
use jiff::Timestamp;

use super::change::Change;
use super::command::Lost;
use crate::store::capacity::Changes;
use crate::store::claim::{self, Loss};
use crate::store::work as store;
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
        let Lost { leg, order, loss, actor } = lost;
        claim::note_lost(tx, leg, loss.clone()).await?;
        let Some(id) = store::of_leg(tx, leg, order).await? else { return Ok(()) };
        let mut change = self.change(tx, id, actor, now).await?;
        let Loss { sku, lines } = &loss;
        match change.apply(|order, now| order.stock_lost(sku, lines.as_deref(), now)) {
            Ok(()) => self.save_among(tx, &mut change, slots).await,
            // Nothing of those lines is wanted any more.
            Err(Refusal::Nothing { .. }) => Ok(()),
            Err(refusal) => {
                tracing::warn!(fulfillment_id = %id, sku, %refusal, "a claim was lost after work began");
                let Ok(sku) = Sku::new(sku.as_str()) else { return Ok(()) };
                self.save_doubt(tx, change, &sku, false, slots).await
            }
        }
    }

    /// Another order missed a SKU at the node of a leg whose work has begun, or more of it is claimed than is there: its store
    /// sees that it is doubtful, until it is counted.
    pub(crate) async fn stock_doubtful(
        &self,
        tx: &mut Tx,
        lost: Lost<'_>,
        is_over: bool,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (Some(id), Ok(sku)) = (store::of_leg(tx, lost.leg, lost.order).await?, Sku::new(lost.loss.sku))
        else {
            return Ok(());
        };
        let change = self.change(tx, id, lost.actor, now).await?;
        self.save_doubt(tx, change, &sku, is_over, slots).await
    }

    /// Shows a SKU as doubtful, or as doubtful no more.
    async fn save_doubt(
        &self,
        tx: &mut Tx,
        mut change: Change,
        sku: &Sku,
        is_over: bool,
        slots: &mut Changes,
    ) -> Result<(), Error> {
        let marked =
            change.apply(|order, now| if is_over { order.trust(sku, now) } else { order.doubt(sku, now) });
        if marked.is_err() {
            // It is shown like that already, or all of it was picked and nobody has to look for it any more.
            return Ok(());
        }
        self.save_among(tx, &mut change, slots).await
    }
}
