//! The shape of fulfillment: what a process needs to run it.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Topic};
use contract::fulfillment::v1::fulfillment_events_service_server::FulfillmentEventsServiceServer;
use contract::fulfillment::v1::network_service_server::NetworkServiceServer;
use contract::fulfillment::v1::policy_service_server::PolicyServiceServer;
use contract::fulfillment::v1::promise_service_server::PromiseServiceServer;
use contract::fulfillment::v1::work_service_server::WorkServiceServer;
use domain::time::Timestamp;
use service::shape::{Failure, Task};
use service::{About, Service};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;
use tonic::service::RoutesBuilder;

use crate::error::{DOMAIN, reason};
use crate::promise::follow::STOCK_TOPICS;
use crate::rights::ACCESS;
use crate::{Fulfillment, MIGRATIONS};

/// The gRPC services served.
pub const SERVICES: &[&str] = &[
    "entrepot.fulfillment.v1.NetworkService",
    "entrepot.fulfillment.v1.PolicyService",
    "entrepot.fulfillment.v1.PromiseService",
    "entrepot.fulfillment.v1.WorkService",
    "entrepot.fulfillment.v1.FulfillmentEventsService",
];

/// What is known of fulfillment before it runs.
pub const ABOUT: About = About {
    name: "fulfillment",
    topic: Topic::Fulfillment,
    migrations: MIGRATIONS,
    serves: SERVICES,
    events: "entrepot.fulfillment.v1.FulfillmentEventsService",
    asks: &["inventory"],
    access: ACCESS,
    domain: DOMAIN,
    reasons: reason::ALL,
};

#[async_trait]
impl Service for Fulfillment {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder) {
        routes
            .add_service(server::limited!(NetworkServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(PolicyServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(PromiseServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(WorkServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(FulfillmentEventsServiceServer::from_arc(Arc::clone(&self))));
    }

    fn background(self: Arc<Self>, bus: &Bus, stop: &CancellationToken) -> Vec<Task> {
        let [stock, network, work, upkeep] = std::array::from_fn(|_| Arc::clone(&self));
        let (policies, every) = (self.policies.clone(), Duration::from_millis(self.config.policy_refresh_ms));
        let stock_events = bus.subscribe(STOCK_TOPICS);
        let work_events = bus.subscribe(&[Topic::Fulfillment]);
        let [stop_stock, stop_network, stop_work, stop_upkeep, stop_policies] =
            std::array::from_fn(|_| stop.clone());
        vec![
            (
                "fulfillment.stock",
                Box::pin(async move { stock.follow_stock(stop_stock, stock_events).await }),
            ),
            ("fulfillment.network", Box::pin(async move { network.follow_network(stop_network).await })),
            ("fulfillment.work", Box::pin(async move { work.follow_work(stop_work, work_events).await })),
            ("fulfillment.upkeep", Box::pin(async move { upkeep.keep_work(stop_upkeep).await })),
            ("fulfillment.policies", Box::pin(async move { policies.follow(every, stop_policies).await })),
        ]
    }

    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure> {
        Ok(Fulfillment::run_due(self, now).await?)
    }

    async fn run_upkeep(&self, now: Timestamp) -> Result<usize, Failure> {
        Ok(Fulfillment::run_upkeep(self, now).await?)
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure> {
        Ok(Fulfillment::overdue(self, now, limit).await?)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        Ok(Fulfillment::next_due(self).await?)
    }
}
