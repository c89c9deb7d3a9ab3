//! Orders have elsewhere what a node failed, or do not want it any more: the claims that were kept until then end.

use db::Tx;
use domain::fulfillment::Refusal;
use jiff::Timestamp;

use super::command::LetGo;
use crate::store::capacity::Changes;
use crate::store::work as store;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Ends what is kept of a claim. Inventory releases it by the event.
    pub(crate) async fn let_go(
        &self,
        tx: &mut Tx,
        asked: &LetGo,
        actor: &str,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(id) = store::of_leg(tx, asked.leg, asked.order).await? else {
            tracing::warn!(order_id = %asked.order, fulfillment_id = %asked.leg,
                "a leg without work is asked to let its claim go; nothing is kept for it");
            return Ok(());
        };
        let mut change = self.change(tx, id, actor, now).await?;
        match change.apply(|order, now| order.let_go(&asked.lines, now)) {
            Ok(()) => self.save_among(tx, &mut change, slots).await,
            // It kept nothing of these lines, or has let it go already.
            Err(Refusal::Nothing { .. }) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}
