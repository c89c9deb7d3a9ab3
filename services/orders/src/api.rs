//! The gRPC door: wire in, verb, wire out.

use std::pin::Pin;

use contract::orders::v1 as pb;
use contract::orders::v1::order_events_service_server::OrderEventsService;
use contract::orders::v1::order_service_server::OrderService;
use futures_util::Stream;
use server::Principal;
use tonic::{Request, Response, Status, async_trait};

use crate::error::Error;
use crate::{Orders, rights, wire};

type Changes = Pin<Box<dyn Stream<Item = Result<pb::WatchOrderResponse, Status>> + Send>>;

#[async_trait]
impl OrderService for Orders {
    async fn place_order(
        &self,
        request: Request<pb::PlaceOrderRequest>,
    ) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        let caller = Principal::of(&request);
        let mut request = request.into_inner();
        rights::complete(&caller, &mut request);
        let command = wire::place_order(&caller, request, &self.config).map_err(Error::from)?;
        rights::may_place(&caller, &command.call, &command.draft)?;
        Ok(Response::new(self.place(command, &caller).await?))
    }

    async fn pay_order(
        &self,
        request: Request<pb::PayOrderRequest>,
    ) -> Result<Response<pb::PayOrderResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::pay_order(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.pay(command, &caller).await?))
    }

    async fn add_tender(
        &self,
        request: Request<pb::AddTenderRequest>,
    ) -> Result<Response<pb::AddTenderResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::add_tender(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.add_tender(command, &caller).await?))
    }

    async fn claim_refund(
        &self,
        request: Request<pb::ClaimRefundRequest>,
    ) -> Result<Response<pb::ClaimRefundResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::claim_refund(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.claim_refund(command, &caller).await?))
    }

    async fn report_refund(
        &self,
        request: Request<pb::ReportRefundRequest>,
    ) -> Result<Response<pb::ReportRefundResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::report_refund(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.report_refund(command, &caller).await?))
    }

    async fn redirect_refund(
        &self,
        request: Request<pb::RedirectRefundRequest>,
    ) -> Result<Response<pb::RedirectRefundResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::redirect_refund(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.redirect_refund(command, &caller).await?))
    }

    async fn cancel_order(
        &self,
        request: Request<pb::CancelOrderRequest>,
    ) -> Result<Response<pb::CancelOrderResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::cancel_order(&caller, request.into_inner(), &self.config).map_err(Error::from)?;
        Ok(Response::new(self.cancel(command, &caller).await?))
    }

    async fn list_options(
        &self,
        request: Request<pb::ListOptionsRequest>,
    ) -> Result<Response<pb::ListOptionsResponse>, Status> {
        let order = wire::list_options(request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.list_options(order, &Principal::of(&request)).await?))
    }

    async fn choose_option(
        &self,
        request: Request<pb::ChooseOptionRequest>,
    ) -> Result<Response<pb::ChooseOptionResponse>, Status> {
        let caller = Principal::of(&request);
        let command = wire::choose_option(&caller, request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.choose(command, &caller).await?))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let order = self.get(wire::get_order(request.get_ref()).map_err(Error::from)?).await?;
        rights::must_own(&Principal::of(&request), &order)?;
        Ok(Response::new(pb::GetOrderResponse { order: Some(wire::order(&order)) }))
    }

    async fn get_order_by_channel_id(
        &self,
        request: Request<pb::GetOrderByChannelIdRequest>,
    ) -> Result<Response<pb::GetOrderByChannelIdResponse>, Status> {
        let wanted = wire::lookup(request.get_ref()).map_err(Error::from)?;
        let order = self.get_by_channel(wanted, &Principal::of(&request)).await?;
        Ok(Response::new(pb::GetOrderByChannelIdResponse { order: Some(wire::order(&order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let (caller, mut request) = (Principal::of(&request), request.into_inner());
        rights::narrow(&caller, &mut request)?;
        let token = request.page_token.clone();
        let (filter, limit, binding) = wire::list_orders(request).map_err(Error::from)?;
        Ok(Response::new(self.list(&filter, limit, &token, &binding).await?))
    }

    async fn list_order_timeline(
        &self,
        request: Request<pb::ListOrderTimelineRequest>,
    ) -> Result<Response<pb::ListOrderTimelineResponse>, Status> {
        let (order, limit) = wire::list_timeline(request.get_ref()).map_err(Error::from)?;
        let caller = Principal::of(&request);
        if rights::is_limited(&caller) {
            rights::must_own(&caller, &self.get(order).await?)?;
        }
        Ok(Response::new(self.timeline(order, limit, &request.get_ref().page_token).await?))
    }

    type WatchOrderStream = Changes;

    async fn watch_order(
        &self,
        request: Request<pb::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let (order, after) = wire::watch_order(request.get_ref()).map_err(Error::from)?;
        let changes = self.watch(&Principal::of(&request), order, after).await?;
        Ok(Response::new(Box::pin(service::streamed(request.extensions(), changes))))
    }
}

service::serve_events!(Orders, OrderEventsService, contract::orders::v1, crate::error::DOMAIN);
