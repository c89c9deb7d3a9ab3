//! Goods are taken from the shelf, in one report or in many; what is not there is reported short with a reason.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::Order;
use server::Principal;

use super::command::OnWork;
use super::command::PickLines;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn start_picking(
        &self,
        who: &Principal,
        command: OnWork,
    ) -> Result<pb::FulfillmentOrder, Error> {
        self.work_verb(&command.call, who, command.id, |change| change.apply(Order::start)).await
    }

    pub(crate) async fn pick_lines(
        &self,
        who: &Principal,
        command: PickLines,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let PickLines { call, id, lines, named } = command;
        self.work_verb(&call, who, id, |change| -> Result<(), Error> {
            change.name(&named, &self.atp.read())?;
            Ok(change.apply(|order, now| order.pick(&lines, now))?)
        })
        .await
    }
}
