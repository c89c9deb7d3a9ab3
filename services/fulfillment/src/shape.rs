//! The shape of fulfillment: what a process needs to run it.

use std::sync::Arc;

use bus::{Bus, Topic};
use domain::time::Timestamp;
use service::shape::{Failure, Task};
use service::{About, Service};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;
use tonic::service::RoutesBuilder;

use crate::error::{DOMAIN, reason};
use crate::{Fulfillment, MIGRATIONS, SERVICES, access};

/// What is known of fulfillment before it runs.
pub const ABOUT: About = About {
    name: "fulfillment",
    topic: Topic::Fulfillment,
    migrations: MIGRATIONS,
    serves: SERVICES,
    access,
    domain: DOMAIN,
    reasons: reason::ALL,
};

#[async_trait]
impl Service for Fulfillment {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder) {
        Fulfillment::add_routes(&self, routes);
    }

    fn background(self: Arc<Self>, bus: &Bus, stop: &CancellationToken) -> Vec<Task> {
        Fulfillment::background(&self, bus, stop)
    }

    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure> {
        Fulfillment::run_due(self, now).await.map_err(|error| error.to_string())
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure> {
        Fulfillment::overdue(self, now, limit).await.map_err(|error| error.to_string())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        Fulfillment::next_due(self).await.map_err(|error| error.to_string())
    }
}
