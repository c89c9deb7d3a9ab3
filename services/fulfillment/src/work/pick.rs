//! Goods are taken from the shelf, in one report or in many; what is not there is reported short with a reason.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::{Order, Pick};
use domain::id::FulfillmentId;
use server::Principal;

use crate::verb::Call;
use crate::wire::work::OnWork;
use crate::{Error, Fulfillment};

/// A report of picked and short units.
pub(crate) struct PickLines {
    pub(crate) call: Call,
    pub(crate) id: FulfillmentId,
    pub(crate) lines: Vec<Pick>,
}

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
        let PickLines { call, id, lines } = command;
        self.work_verb(&call, who, id, |change| change.apply(|order, now| order.pick(&lines, now))).await
    }
}
