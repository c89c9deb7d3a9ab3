//! The store's work, asked over gRPC.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::work_service_server::WorkService;
use server::Principal;
use tonic::{Request, Response, Status};

use crate::Fulfillment;
use crate::wire::work as wire;
use crate::work::watch::WorkStream;

#[tonic::async_trait]
impl WorkService for Fulfillment {
    type WatchWorkStream = WorkStream;

    async fn watch_work(
        &self,
        request: Request<pb::WatchWorkRequest>,
    ) -> Result<Response<Self::WatchWorkStream>, Status> {
        let who = Principal::of(&request);
        let command = wire::watch_work(request.get_ref())?;
        let messages = Self::watch_work(self, &who, command).await?;
        Ok(Response::new(Box::pin(service::streamed(request.extensions(), messages))))
    }

    async fn list_work(
        &self,
        request: Request<pb::ListWorkRequest>,
    ) -> Result<Response<pb::ListWorkResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::list_work(request.get_ref())?;
        Ok(Response::new(Self::list_work(self, &who, &command).await?))
    }

    async fn get_fulfillment_order(
        &self,
        request: Request<pb::GetFulfillmentOrderRequest>,
    ) -> Result<Response<pb::GetFulfillmentOrderResponse>, Status> {
        let who = Principal::of(&request);
        let id = wire::get_work(request.get_ref())?;
        let order = Some(self.get_work(&who, id).await?);
        Ok(Response::new(pb::GetFulfillmentOrderResponse { fulfillment_order: order }))
    }

    async fn list_fulfillment_orders(
        &self,
        request: Request<pb::ListFulfillmentOrdersRequest>,
    ) -> Result<Response<pb::ListFulfillmentOrdersResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::list_of_order(request.get_ref())?;
        Ok(Response::new(self.list_of_order(&who, &command).await?))
    }

    async fn accept_work(
        &self,
        request: Request<pb::AcceptWorkRequest>,
    ) -> Result<Response<pb::AcceptWorkResponse>, Status> {
        let (who, asked) = (Principal::of(&request), request.get_ref());
        let command = wire::on_work(&who, "work.accept", asked, &asked.request_id, &asked.fulfillment_id)?;
        let order = Some(Self::accept_work(self, &who, command).await?);
        Ok(Response::new(pb::AcceptWorkResponse { fulfillment_order: order }))
    }

    async fn reject_work(
        &self,
        request: Request<pb::RejectWorkRequest>,
    ) -> Result<Response<pb::RejectWorkResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::reject(&who, request.into_inner())?;
        let order = Some(Self::reject_work(self, &who, command).await?);
        Ok(Response::new(pb::RejectWorkResponse { fulfillment_order: order }))
    }

    async fn start_picking(
        &self,
        request: Request<pb::StartPickingRequest>,
    ) -> Result<Response<pb::StartPickingResponse>, Status> {
        let (who, asked) = (Principal::of(&request), request.get_ref());
        let command = wire::on_work(&who, "work.start", asked, &asked.request_id, &asked.fulfillment_id)?;
        let order = Some(Self::start_picking(self, &who, command).await?);
        Ok(Response::new(pb::StartPickingResponse { fulfillment_order: order }))
    }

    async fn pick_lines(
        &self,
        request: Request<pb::PickLinesRequest>,
    ) -> Result<Response<pb::PickLinesResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::pick_lines(&who, request.get_ref())?;
        let order = Some(Self::pick_lines(self, &who, command).await?);
        Ok(Response::new(pb::PickLinesResponse { fulfillment_order: order }))
    }

    async fn mark_ready(
        &self,
        request: Request<pb::MarkReadyRequest>,
    ) -> Result<Response<pb::MarkReadyResponse>, Status> {
        let (who, asked) = (Principal::of(&request), request.get_ref());
        let command = wire::on_work(&who, "work.ready", asked, &asked.request_id, &asked.fulfillment_id)?;
        let order = Some(Self::mark_ready(self, &who, command).await?);
        Ok(Response::new(pb::MarkReadyResponse { fulfillment_order: order }))
    }

    async fn issue_pickup_code(
        &self,
        request: Request<pb::IssuePickupCodeRequest>,
    ) -> Result<Response<pb::IssuePickupCodeResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::issue_code(request.get_ref())?;
        let (code, id) = self.issue_code(&who, &command).await?;
        let answer = pb::IssuePickupCodeResponse { code: code.grouped(), fulfillment_id: id.to_string() };
        Ok(Response::new(answer))
    }

    async fn find_by_pickup_code(
        &self,
        request: Request<pb::FindByPickupCodeRequest>,
    ) -> Result<Response<pb::FindByPickupCodeResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::find_by_code(request.get_ref())?;
        let order = Some(self.find_by_code(&who, &command).await?);
        Ok(Response::new(pb::FindByPickupCodeResponse { fulfillment_order: order }))
    }

    async fn hand_over(
        &self,
        request: Request<pb::HandOverRequest>,
    ) -> Result<Response<pb::HandOverResponse>, Status> {
        let who = Principal::of(&request);
        let command = wire::hand_over(&who, &self.work.key, request.into_inner())?;
        let order = Some(Self::hand_over(self, &who, &command).await?);
        Ok(Response::new(pb::HandOverResponse { fulfillment_order: order }))
    }

    async fn confirm_put_back(
        &self,
        request: Request<pb::ConfirmPutBackRequest>,
    ) -> Result<Response<pb::ConfirmPutBackResponse>, Status> {
        let (who, asked) = (Principal::of(&request), request.get_ref());
        let command = wire::on_work(&who, "work.put_back", asked, &asked.request_id, &asked.fulfillment_id)?;
        let order = Some(Self::confirm_put_back(self, &who, command).await?);
        Ok(Response::new(pb::ConfirmPutBackResponse { fulfillment_order: order }))
    }
}
