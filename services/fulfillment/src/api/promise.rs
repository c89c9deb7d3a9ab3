//! `PromiseService`.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::get_sourcing_decision_request::Key;
use contract::fulfillment::v1::promise_service_server::PromiseService;
use domain::id::{DecisionId, FulfillmentId, OrderId};
use server::Principal;
use tonic::{Request, Response, Status};

use crate::Fulfillment;
use crate::error::Error;
use crate::rights;
use crate::verb::{self, both};
use crate::wire::hold::hold;
use crate::wire::promise as wire;
use crate::wire::{instant, promise_token};

#[tonic::async_trait]
impl PromiseService for Fulfillment {
    async fn get_promise(
        &self,
        request: Request<pb::GetPromiseRequest>,
    ) -> Result<Response<pb::GetPromiseResponse>, Status> {
        let (mut question, odd) = wire::question(request.get_ref())?;
        question.channel = rights::sold_through(&Principal::of(&request), question.channel)?;
        let answer = self.promises(question).await?;
        Ok(Response::new(wire::answer(&answer, &odd, self.clock.business())))
    }

    async fn hold_promise(
        &self,
        request: Request<pb::HoldPromiseRequest>,
    ) -> Result<Response<pb::HoldPromiseResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "promise.hold", &asked, &asked.request_id);
        let (call, mut hold) = both(call, hold(&asked))?;
        hold.channel = rights::sold_through(&who, hold.channel)?;
        let stored = self.hold(&call, hold).await?;
        Ok(Response::new(pb::HoldPromiseResponse { promise: Some(wire::stored(&stored, &who)) }))
    }

    async fn confirm_promise(
        &self,
        request: Request<pb::ConfirmPromiseRequest>,
    ) -> Result<Response<pb::ConfirmPromiseResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "promise.confirm", &asked, &asked.request_id);
        let of = both(promise_token(&asked.promise_token), order_id(&asked.order_id));
        let (call, (token, order)) = both(call, of)?;
        Ok(Response::new(self.confirm(&call, token, order).await?))
    }

    async fn release_promise(
        &self,
        request: Request<pb::ReleasePromiseRequest>,
    ) -> Result<Response<pb::ReleasePromiseResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "promise.release", &asked, &asked.request_id);
        let (call, token) = both(call, promise_token(&asked.promise_token))?;
        Ok(Response::new(self.release(&call, token).await?))
    }

    async fn extend_promise(
        &self,
        request: Request<pb::ExtendPromiseRequest>,
    ) -> Result<Response<pb::ExtendPromiseResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "promise.extend", &asked, &asked.request_id);
        let until = match asked.expire_time.map(instant) {
            Some(until) => until.map_err(|why| Error::field("expire_time", why.to_string())),
            None => Err(Error::field("expire_time", "is required")),
        };
        let (call, (token, until)) = both(call, both(promise_token(&asked.promise_token), until))?;
        Ok(Response::new(self.extend(&call, token, until).await?))
    }

    async fn get_promise_token(
        &self,
        request: Request<pb::GetPromiseTokenRequest>,
    ) -> Result<Response<pb::GetPromiseTokenResponse>, Status> {
        let token = promise_token(&request.get_ref().promise_token)?;
        let stored = self.stored(token).await?;
        let who = Principal::of(&request);
        rights::must_know(&who, &stored)?;
        Ok(Response::new(pb::GetPromiseTokenResponse { promise: Some(wire::stored(&stored, &who)) }))
    }

    async fn get_sourcing_decision(
        &self,
        request: Request<pb::GetSourcingDecisionRequest>,
    ) -> Result<Response<pb::GetSourcingDecisionResponse>, Status> {
        let who = Principal::of(&request);
        let decision = match request.into_inner().key {
            None => return Err(Error::field("key", "decision_id or fulfillment_id is required").into()),
            Some(Key::DecisionId(text)) => {
                let id: DecisionId = text
                    .parse()
                    .map_err(|why: domain::id::IdError| Error::field("decision_id", why.to_string()))?;
                self.decision(&who, FulfillmentId::new(id.uuid()), &text).await?
            }
            Some(Key::FulfillmentId(text)) => {
                let leg = text
                    .parse()
                    .map_err(|why: domain::id::IdError| Error::field("fulfillment_id", why.to_string()))?;
                self.decision(&who, leg, &text).await?
            }
        };
        Ok(Response::new(pb::GetSourcingDecisionResponse { decision: Some(decision) }))
    }

    async fn list_sourcing_decisions(
        &self,
        request: Request<pb::ListSourcingDecisionsRequest>,
    ) -> Result<Response<pb::ListSourcingDecisionsResponse>, Status> {
        let who = Principal::of(&request);
        let decisions = self.decisions(&who, order_id(&request.get_ref().order_id)?).await?;
        Ok(Response::new(pb::ListSourcingDecisionsResponse { decisions }))
    }

    async fn list_nearby_availability(
        &self,
        request: Request<pb::ListNearbyAvailabilityRequest>,
    ) -> Result<Response<pb::ListNearbyAvailabilityResponse>, Status> {
        let channel = rights::sold_through(&Principal::of(&request), None)?;
        let asked = wire::nearby(request.into_inner())?;
        Ok(Response::new(self.nearby(&asked, channel.as_deref())?))
    }
}

fn order_id(text: &str) -> Result<OrderId, Error> {
    text.parse().map_err(|why: domain::id::IdError| Error::field("order_id", why.to_string()))
}
