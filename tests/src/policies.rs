//! What operators do with policies in the flows.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::policy::Body;
use test_world::fresh;
use tonic::Status;

use crate::world::People;

/// A scope that names nothing: everything.
pub fn everything() -> ful::PolicyScope {
    ful::PolicyScope::default()
}

/// The scope of a node.
pub fn at_node(node_id: &str) -> ful::PolicyScope {
    ful::PolicyScope { node_id: node_id.to_owned(), ..everything() }
}

/// The scope of a group of nodes.
pub fn in_group(node_group: &str) -> ful::PolicyScope {
    ful::PolicyScope { node_group: node_group.to_owned(), ..everything() }
}

/// A group of nodes.
pub fn group_of(node_group: &str, nodes: &[&str]) -> ful::NodeGroup {
    ful::NodeGroup {
        node_group: node_group.to_owned(),
        name: format!("Group {node_group}"),
        node_ids: nodes.iter().map(|node| (*node).to_owned()).collect(),
        ..ful::NodeGroup::default()
    }
}

/// How long customers have to pay, and nodes to accept, in minutes.
pub fn clocks(payment: i64, accept: i64) -> Body {
    let minutes = |minutes| Some(test_world::minutes(minutes));
    Body::Clocks(ful::ClocksPolicy {
        payment: minutes(payment),
        accept: minutes(accept),
        ..ful::ClocksPolicy::default()
    })
}

/// Units that are kept back at each position.
pub fn safety_stock(units: i64) -> Body {
    Body::SafetyStock(ful::SafetyStockPolicy { units: Some(units), percent: None })
}

impl People {
    /// Keeps a version.
    pub async fn put_policy(&self, scope: ful::PolicyScope, body: Body) -> Result<ful::Policy, Status> {
        let policy = ful::Policy {
            scope: Some(scope),
            reason: "a test".to_owned(),
            body: Some(body),
            ..ful::Policy::default()
        };
        let request = ful::PutPolicyRequest { request_id: fresh(), policy: Some(policy) };
        Ok(self.clients.policies.clone().put_policy(request).await?.into_inner().policy.unwrap_or_default())
    }

    /// Keeps a version and puts it in force.
    pub async fn in_force(&self, scope: ful::PolicyScope, body: Body) -> ful::Policy {
        let policy_id = self.put_policy(scope, body).await.expect("the version is kept").policy_id;
        let request = ful::ActivatePolicyRequest { request_id: fresh(), policy_id, ..Default::default() };
        let answer = self.clients.policies.clone().activate_policy(request).await;
        answer.expect("the version is activated").into_inner().policy.unwrap_or_default()
    }

    /// Ends what is in force for a kind and scope.
    pub async fn roll_back(&self, kind: ful::PolicyKind, scope: ful::PolicyScope) {
        let request = ful::RollBackPolicyRequest {
            request_id: fresh(),
            kind: kind.into(),
            scope: Some(scope),
            reason: "the test goes on".to_owned(),
        };
        self.clients.policies.clone().roll_back_policy(request).await.expect("it is rolled back");
    }

    /// Makes a group of nodes, or replaces it.
    pub async fn put_group(&self, group: ful::NodeGroup) -> Result<ful::NodeGroup, Status> {
        let request = ful::PutNodeGroupRequest { request_id: fresh(), group: Some(group) };
        Ok(self.clients.network.clone().put_node_group(request).await?.into_inner().group.unwrap_or_default())
    }

    /// What applies to a thing now.
    pub async fn explain(
        &self,
        kind: ful::PolicyKind,
        target: ful::PolicyScope,
    ) -> ful::ExplainPolicyResponse {
        let request = ful::ExplainPolicyRequest { kind: kind.into(), target: Some(target), at_time: None };
        self.clients.policies.clone().explain_policy(request).await.expect("it is explained").into_inner()
    }

    /// The number of the version that says a field of what applies to a thing now; 0: the settings do.
    pub async fn version_of(&self, kind: ful::PolicyKind, target: ful::PolicyScope, field: &str) -> i64 {
        let origins = self.explain(kind, target).await.origins;
        origins.into_iter().find(|origin| origin.field == field).map_or(0, |origin| origin.version)
    }
}
