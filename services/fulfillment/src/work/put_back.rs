//! The node has put back what the customer does not get: its claim on the stock ends.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::Order;
use server::Principal;

use super::command::OnWork;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn confirm_put_back(
        &self,
        who: &Principal,
        command: OnWork,
    ) -> Result<pb::FulfillmentOrder, Error> {
        self.work_verb(&command.call, who, command.id, |change| change.apply(Order::confirm_put_back)).await
    }
}
