//! `PolicyService`.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy_service_server::PolicyService;
use server::Principal;
use tonic::{Request, Response, Status};

use crate::Fulfillment;
use crate::error::Error;
use crate::verb::{self, both};
use crate::wire::policy as wire;

#[tonic::async_trait]
impl PolicyService for Fulfillment {
    async fn put_policy(
        &self,
        request: Request<pb::PutPolicyRequest>,
    ) -> Result<Response<pb::PutPolicyResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "policy.put", &asked, &asked.request_id);
        let (call, draft) = both(call, wire::put(&asked))?;
        Ok(Response::new(self.put_policy(&call, &draft).await?))
    }

    async fn activate_policy(
        &self,
        request: Request<pb::ActivatePolicyRequest>,
    ) -> Result<Response<pb::ActivatePolicyResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "policy.activate", &asked, &asked.request_id);
        let (call, command) = both(call, wire::activate(&asked))?;
        Ok(Response::new(self.activate_policy(&call, &command).await?))
    }

    async fn roll_back_policy(
        &self,
        request: Request<pb::RollBackPolicyRequest>,
    ) -> Result<Response<pb::RollBackPolicyResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "policy.roll_back", &asked, &asked.request_id);
        let (call, command) = both(call, wire::roll_back(&asked))?;
        Ok(Response::new(self.roll_back_policy(&call, &command).await?))
    }

    async fn withdraw_policy(
        &self,
        request: Request<pb::WithdrawPolicyRequest>,
    ) -> Result<Response<pb::WithdrawPolicyResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "policy.withdraw", &asked, &asked.request_id);
        let (call, command) = both(call, wire::withdraw(&asked))?;
        Ok(Response::new(self.withdraw_policy(&call, &command).await?))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let asked = request.into_inner();
        let command = wire::list(&asked).map_err(Error::from)?;
        let (policies, before) = self.list_policies(&command).await?;
        let next_page_token = wire::list_token(&asked, before);
        Ok(Response::new(pb::ListPoliciesResponse { policies, next_page_token }))
    }

    async fn explain_policy(
        &self,
        request: Request<pb::ExplainPolicyRequest>,
    ) -> Result<Response<pb::ExplainPolicyResponse>, Status> {
        let command = wire::explain(request.get_ref()).map_err(Error::from)?;
        Ok(Response::new(self.explain_policy(&command).await?))
    }
}
