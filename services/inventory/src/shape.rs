//! The shape of inventory: what a process needs to run it.

use std::sync::Arc;

use bus::{Bus, Topic};
use contract::inventory::v1::inventory_events_service_server::InventoryEventsServiceServer;
use contract::inventory::v1::inventory_service_server::InventoryServiceServer;
use domain::time::Timestamp;
use service::shape::{Failure, Task};
use service::{About, Service};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;
use tonic::service::RoutesBuilder;

use crate::error::{DOMAIN, reason};
use crate::rights::ACCESS;
use crate::{Inventory, MIGRATIONS};

/// The gRPC services served.
pub const SERVICES: &[&str] =
    &["entrepot.inventory.v1.InventoryService", "entrepot.inventory.v1.InventoryEventsService"];

/// What is known of inventory before it runs.
pub const ABOUT: About = About {
    name: "inventory",
    topic: Topic::Inventory,
    migrations: MIGRATIONS,
    serves: SERVICES,
    events: "entrepot.inventory.v1.InventoryEventsService",
    asks: &[],
    access: ACCESS,
    domain: DOMAIN,
    reasons: reason::ALL,
};

#[async_trait]
impl Service for Inventory {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder) {
        routes
            .add_service(server::limited!(InventoryServiceServer::from_arc(Arc::clone(&self))))
            .add_service(server::limited!(InventoryEventsServiceServer::from_arc(self)));
    }

    fn background(self: Arc<Self>, _: &Bus, stop: &CancellationToken) -> Vec<Task> {
        let writer = |_| -> Task {
            let (service, stop) = (Arc::clone(&self), stop.clone());
            let queue = async move { service.queue.serve(&service.catalogue, &stop).await };
            ("inventory.queue", Box::pin(queue))
        };
        let (policies, every, stop) = (self.policies.clone(), self.policy_refresh, stop.clone());
        let follow: Task =
            ("inventory.policies", Box::pin(async move { policies.follow(every, stop).await }));
        (0..self.writers).map(writer).chain([follow]).collect()
    }

    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure> {
        Ok(Inventory::run_due(self, now).await?)
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure> {
        Ok(Inventory::overdue(self, now, limit).await?)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        Ok(Inventory::next_due(self).await?)
    }
}
