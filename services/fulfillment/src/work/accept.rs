//! The node takes the work.

use contract::fulfillment::v1 as pb;
use server::Principal;

use super::command::OnWork;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn accept_work(
        &self,
        who: &Principal,
        command: OnWork,
    ) -> Result<pb::FulfillmentOrder, Error> {
        self.work_verb(&command.call, who, command.id, |change| {
            change.apply(domain::fulfillment::Order::accept)
        })
        .await
    }
}
