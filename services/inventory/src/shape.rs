//! The shape of inventory: what a process needs to run it.

use std::sync::Arc;

use bus::{Bus, Topic};
use domain::time::Timestamp;
use service::shape::{Failure, Task};
use service::{About, Service};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;
use tonic::service::RoutesBuilder;

use crate::error::{DOMAIN, reason};
use crate::{ACCESS, Inventory, MIGRATIONS, SERVICES};

/// What is known of inventory before it runs.
pub const ABOUT: About = About {
    name: "inventory",
    topic: Topic::Inventory,
    migrations: MIGRATIONS,
    serves: SERVICES,
    access: || ACCESS.to_vec(),
    domain: DOMAIN,
    reasons: reason::ALL,
};

#[async_trait]
impl Service for Inventory {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder) {
        Inventory::routes(&self, routes);
    }

    fn background(self: Arc<Self>, _: &Bus, stop: &CancellationToken) -> Vec<Task> {
        Inventory::background(&self, stop)
    }

    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure> {
        Inventory::run_due(self, now).await.map_err(|error| error.to_string())
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure> {
        Inventory::overdue(self, now, limit).await.map_err(|error| error.to_string())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        Inventory::next_due(self).await.map_err(|error| error.to_string())
    }
}
