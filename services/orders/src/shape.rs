//! The shape of orders: what a process needs to run it.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Topic};
use contract::orders::v1::order_events_service_server::OrderEventsServiceServer;
use contract::orders::v1::order_service_server::OrderServiceServer;
use domain::time::Timestamp;
use service::shape::{Failure, Task};
use service::{About, Service};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;
use tonic::service::RoutesBuilder;

use crate::error::{DOMAIN, reason};
use crate::rights::ACCESS;
use crate::{MIGRATIONS, Orders};

/// The gRPC services served.
pub const SERVICES: &[&str] = &["entrepot.orders.v1.OrderService", "entrepot.orders.v1.OrderEventsService"];

/// What is known of orders before it runs.
pub const ABOUT: About = About {
    name: "orders",
    topic: Topic::Orders,
    migrations: MIGRATIONS,
    serves: SERVICES,
    events: "entrepot.orders.v1.OrderEventsService",
    asks: &["fulfillment"],
    access: ACCESS,
    domain: DOMAIN,
    reasons: reason::ALL,
};

#[async_trait]
impl Service for Orders {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder) {
        routes
            .add_service(server::limited!(OrderServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(OrderEventsServiceServer::from_arc(self)));
    }

    fn background(self: Arc<Self>, bus: &Bus, stop: &CancellationToken) -> Vec<Task> {
        let (policies, every) = (self.policies.clone(), Duration::from_millis(self.config.policy_refresh_ms));
        let stop_policies = stop.clone();
        let follow = self.follow(bus.subscribe(&[Topic::Orders]), stop.clone());
        vec![
            ("orders.watchers", Box::pin(follow)),
            ("orders.policies", Box::pin(async move { policies.follow(every, stop_policies).await })),
        ]
    }

    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure> {
        Ok(Orders::run_due(self, now).await?)
    }

    async fn run_upkeep(&self, now: Timestamp) -> Result<usize, Failure> {
        Ok(Orders::run_upkeep(self, now).await?)
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure> {
        Ok(Orders::overdue(self, now, limit).await?)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        Ok(Orders::next_due(self).await?)
    }
}
