//! All that could be picked waits for the customer.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::Order;
use server::Principal;

use super::command::OnWork;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn mark_ready(
        &self,
        who: &Principal,
        command: OnWork,
    ) -> Result<pb::FulfillmentOrder, Error> {
        self.work_verb(&command.call, who, command.id, |change| change.apply(Order::ready)).await
    }
}
