//! A store at its work: the calls that its staff make.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::get_fulfillment_order_request::Key;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use tonic::{Request, Status};

use crate::work_world::id;

/// One caller of the work service.
pub(crate) struct Store {
    pub(crate) client: WorkServiceClient<server::Peer>,
    actor: String,
}

type Answer = Result<pb::FulfillmentOrder, Status>;

impl Store {
    pub(crate) fn new(client: WorkServiceClient<server::Peer>, actor: String) -> Self {
        Self { client, actor }
    }

    fn by<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(server::auth::ACTOR, self.actor.parse().unwrap());
        request
    }

    pub(crate) async fn accept(&self, work: &str) -> Answer {
        let request = pb::AcceptWorkRequest { request_id: id(), fulfillment_id: work.to_owned() };
        let answer = self.client.clone().accept_work(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn reject(&self, work: &str, reason: pb::RejectReason) -> Answer {
        let request = pb::RejectWorkRequest {
            request_id: id(),
            fulfillment_id: work.to_owned(),
            reason: reason.into(),
            note: "as said".to_owned(),
        };
        let answer = self.client.clone().reject_work(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn start(&self, work: &str) -> Answer {
        let request = pb::StartPickingRequest { request_id: id(), fulfillment_id: work.to_owned() };
        let answer = self.client.clone().start_picking(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    /// Line, units picked, units not found.
    pub(crate) async fn pick(&self, work: &str, lines: &[(u32, i64, i64)]) -> Answer {
        let line = |(line, picked, short): &(u32, i64, i64)| {
            let reason = if *short > 0 { pb::ShortReason::NotFound } else { pb::ShortReason::Unspecified };
            pb::PickLine { line: *line, picked: *picked, short: *short, short_reason: reason.into() }
        };
        let lines = lines.iter().map(line).collect();
        let request = pb::PickLinesRequest { request_id: id(), fulfillment_id: work.to_owned(), lines };
        let answer = self.client.clone().pick_lines(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn ready(&self, work: &str) -> Answer {
        let request = pb::MarkReadyRequest { request_id: id(), fulfillment_id: work.to_owned() };
        let answer = self.client.clone().mark_ready(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn find(&self, code: &str) -> Answer {
        let node = self.actor.strip_prefix("store/").unwrap().to_owned();
        let request = pb::FindByPickupCodeRequest { node_id: node, code: code.to_owned() };
        let answer = self.client.clone().find_by_pickup_code(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn hand_over(&self, work: &str, code: &str, lines: &[(u32, i64)]) -> Answer {
        let line = |(line, quantity): &(u32, i64)| pb::HandOverLine { line: *line, quantity: *quantity };
        let request = pb::HandOverRequest {
            request_id: id(),
            fulfillment_id: work.to_owned(),
            code: code.to_owned(),
            lines: lines.iter().map(line).collect(),
            collector: pb::CollectorKind::Buyer.into(),
            collector_ref: "handle-1".to_owned(),
        };
        let answer = self.client.clone().hand_over(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn put_back(&self, work: &str) -> Answer {
        let request = pb::ConfirmPutBackRequest { request_id: id(), fulfillment_id: work.to_owned() };
        let answer = self.client.clone().confirm_put_back(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn get(&self, key: Key) -> Answer {
        let request = pb::GetFulfillmentOrderRequest { key: Some(key) };
        let answer = self.client.clone().get_fulfillment_order(self.by(request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) async fn page(
        &self,
        node: &str,
        states: &[pb::FulfillmentState],
        size: i32,
        token: &str,
    ) -> Result<pb::ListWorkResponse, Status> {
        let request = pb::ListWorkRequest {
            node_id: node.to_owned(),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            page_size: size,
            page_token: token.to_owned(),
        };
        Ok(self.client.clone().list_work(self.by(request)).await?.into_inner())
    }

    pub(crate) async fn list(
        &self,
        node: &str,
        states: &[pb::FulfillmentState],
    ) -> Result<pb::ListWorkResponse, Status> {
        self.page(node, states, 0, "").await
    }
}
