//! The node refuses the work: it gives every unit up; what the reason means for the stock, inventory decides. What it
//! says in its own words is kept here and leaves in no event: it may name people.

use contract::fulfillment::v1 as pb;
use server::Principal;

use super::command::Reject;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn reject_work(
        &self,
        who: &Principal,
        command: Reject,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let Reject { call, id, reason, note, named } = command;
        self.work_verb(&call, who, id, |change| -> Result<(), Error> {
            change.name(&named, &self.atp.read())?;
            change.note.clone_from(&note);
            Ok(change.apply(|order, now| order.reject(reason, now))?)
        })
        .await
    }
}
