//! Orders were paid elsewhere, or a payment of theirs was lost: the nodes that hand their goods over see it.

use db::Tx;
use domain::fulfillment::AtHandover;
use domain::id::FulfillmentId;
use domain::money::Money;
use jiff::Timestamp;

use super::change::By;
use super::command::{NewDue, Paying};
use crate::store::capacity::Changes;
use crate::store::work as store;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Changes what is due for the work of a leg. A leg without work has nothing to hand over: it is released with what is
    /// due then, or never.
    pub(crate) async fn due_changed(
        &self,
        tx: &mut Tx,
        paying: &Paying,
        by: &By,
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(id) = store::of_leg(tx, paying.leg, paying.order).await? else { return Ok(()) };
        let mut change = self.change(tx, id, &by.actor, now).await?;
        let order = &mut change.stored.order;
        let event = match paying.what {
            NewDue::Amount(due) => {
                same_currency(id, order.dues.at_handover, due)?;
                order.paid_elsewhere(due.minor, now)
            }
            NewDue::Lost => order.payment_lost(now),
            NewDue::PaidAgain => order.paid_again(now),
        };
        let Some(event) = event else { return Ok(()) };
        change.happened(&event);
        self.save_among(tx, &mut change, slots).await
    }
}

fn same_currency(id: FulfillmentId, at: Option<AtHandover>, due: Money) -> Result<(), Error> {
    match at {
        Some(at) if at.currency != due.currency => {
            Err(Error::corrupt(format!("{id} is paid in {}, but {due} is due for it", at.currency)))
        }
        Some(_) | None => Ok(()),
    }
}
