//! `NetworkService`.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::network_service_server::NetworkService;
use domain::id::NodeId;
use server::Principal;
use tonic::{Request, Response, Status};

use super::page_size;
use crate::Fulfillment;
use crate::error::Error;
use crate::rights::own_node;
use crate::verb::{self, both};
use crate::wire::network as wire;
use crate::wire::policy as groups;
use crate::wire::token::{nodes_after, nodes_token};
use service::Fields;

/// The most nodes of one call.
const MOST_NODES: usize = 100;

#[tonic::async_trait]
impl NetworkService for Fulfillment {
    async fn put_nodes(
        &self,
        request: Request<pb::PutNodesRequest>,
    ) -> Result<Response<pb::PutNodesResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "network.put", &asked, &asked.request_id);
        let mut fields = Fields::default();
        if !(1..=MOST_NODES).contains(&asked.nodes.len()) {
            fields.refuse("nodes", format!("must be from 1 to {MOST_NODES}"));
        }
        let (call, ()) = both(call, fields.done())?;
        Ok(Response::new(self.put_nodes(&call, wire::nodes(asked.nodes)?).await?))
    }

    async fn get_node(
        &self,
        request: Request<pb::GetNodeRequest>,
    ) -> Result<Response<pb::GetNodeResponse>, Status> {
        let node = node_id(&request.get_ref().node_id)?;
        let node = self.get_node(node.as_str()).await?;
        Ok(Response::new(pb::GetNodeResponse { node: Some(node) }))
    }

    async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        let asked = request.into_inner();
        let size = page_size(asked.page_size, 100, 500)?;
        let after = match asked.page_token.as_str() {
            "" => String::new(),
            token => {
                nodes_after(token).ok_or_else(|| Error::field("page_token", "is not one of this list"))?
            }
        };
        let (nodes, last) = self.list_nodes(&after, size).await?;
        let next_page_token = if last.is_empty() { last } else { nodes_token(&last) };
        Ok(Response::new(pb::ListNodesResponse { nodes, next_page_token }))
    }

    async fn close_node(
        &self,
        request: Request<pb::CloseNodeRequest>,
    ) -> Result<Response<pb::CloseNodeResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "network.close", &asked, &asked.request_id);
        let mut fields = Fields::default();
        match &asked.closing {
            None => fields.refuse("closing", "is required"),
            Some(closing) => {
                wire::closure(closing, "closing", &mut fields);
            }
        }
        let (call, (node, ())) = both(call, both(node_id(&asked.node_id), fields.done()))?;
        own_node(&who, &node)?;
        let node = self.set_closing(&call, &node, asked.closing).await?;
        Ok(Response::new(pb::CloseNodeResponse { node: Some(node) }))
    }

    async fn reopen_node(
        &self,
        request: Request<pb::ReopenNodeRequest>,
    ) -> Result<Response<pb::ReopenNodeResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "network.reopen", &asked, &asked.request_id);
        let (call, node) = both(call, node_id(&asked.node_id))?;
        own_node(&who, &node)?;
        let node = self.set_closing(&call, &node, None).await?;
        Ok(Response::new(pb::ReopenNodeResponse { node: Some(node) }))
    }

    async fn put_node_group(
        &self,
        request: Request<pb::PutNodeGroupRequest>,
    ) -> Result<Response<pb::PutNodeGroupResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "network.put_group", &asked, &asked.request_id);
        let (call, group) = both(call, groups::group(asked.group))?;
        Ok(Response::new(self.put_node_group(&call, &group).await?))
    }

    async fn get_node_group(
        &self,
        request: Request<pb::GetNodeGroupRequest>,
    ) -> Result<Response<pb::GetNodeGroupResponse>, Status> {
        let code = request.into_inner().node_group;
        groups::group_code(&code).map_err(Error::from)?;
        Ok(Response::new(self.get_node_group(&code).await?))
    }

    async fn list_node_groups(
        &self,
        request: Request<pb::ListNodeGroupsRequest>,
    ) -> Result<Response<pb::ListNodeGroupsResponse>, Status> {
        let asked = request.into_inner();
        let size = page_size(asked.page_size, 20, 50);
        let (size, after) = both(size, groups::groups_after(&asked.page_token))?;
        let (page, last) = self.list_node_groups(&after, size).await?;
        let next_page_token = groups::groups_token(&last);
        Ok(Response::new(pb::ListNodeGroupsResponse { groups: page, next_page_token }))
    }

    async fn delete_node_group(
        &self,
        request: Request<pb::DeleteNodeGroupRequest>,
    ) -> Result<Response<pb::DeleteNodeGroupResponse>, Status> {
        let who = Principal::of(&request);
        let asked = request.into_inner();
        let call = verb::call(&who, "network.delete_group", &asked, &asked.request_id);
        let (call, ()) = both(call, groups::group_code(&asked.node_group))?;
        Ok(Response::new(self.delete_node_group(&call, &asked.node_group).await?))
    }
}

fn node_id(text: &str) -> Result<NodeId, Error> {
    NodeId::new(text).map_err(|why| Error::field("node_id", why.to_string()))
}
