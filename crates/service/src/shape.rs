//! The shape of a service, by which a process runs it without knowing which one it is.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bus::{Bus, Consumer, Topic};
use domain::time::Timestamp;
use futures_util::future::BoxFuture;
use server::{Access, Peer, Reason};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

/// What is known of a service before it runs.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its name in settings, schemas, files and consumer groups.
    pub name: &'static str,
    /// The topic that it owns.
    pub topic: Topic,
    /// Its tables.
    pub migrations: &'static db::Migrations,
    /// The gRPC services that it serves, by full name.
    pub serves: &'static [&'static str],
    /// The one of them that answers consumers which miss events.
    pub events: &'static str,
    /// The services that it asks, by name.
    pub asks: &'static [&'static str],
    /// Who may call what.
    pub access: &'static [Access],
    /// The domain of its errors.
    pub domain: &'static str,
    /// The reasons that its calls can be refused with, besides those of every service.
    pub reasons: &'static [Reason],
}

/// Why what is due could not be done, for the log. Any error becomes one by `?`.
#[derive(Debug, Clone)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Work that runs beside the calls, by name.
pub type Task = (&'static str, BoxFuture<'static, ()>);

/// A service over its database: it is called, it hears events, and time passes for it.
#[async_trait]
pub trait Service: Consumer {
    /// What is known of it.
    fn about(&self) -> &'static About;

    /// Its name.
    fn name(&self) -> &'static str {
        self.about().name
    }

    /// Adds its gRPC services.
    fn add_routes(self: Arc<Self>, routes: &mut RoutesBuilder);

    /// What must run beside its calls until `stop`.
    fn background(self: Arc<Self>, bus: &Bus, stop: &CancellationToken) -> Vec<Task>;

    /// Does what is due; answers how much that was. Safe to run in several processes at once.
    async fn run_due(&self, now: Timestamp) -> Result<usize, Failure>;

    /// Does of what is due only what ends nothing, while endings wait: holds are extended, peers are called again.
    async fn run_upkeep(&self, now: Timestamp) -> Result<usize, Failure> {
        let _nothing_due = now;
        Ok(0)
    }

    /// How much of what is due ends something, counted up to `limit`.
    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Failure>;

    /// When something is due next.
    async fn next_due(&self) -> Result<Option<Timestamp>, Failure>;
}

/// The gRPC services of a service, for callers in this process.
pub fn peer(service: Arc<impl Service + ?Sized>) -> Peer {
    let mut routes = RoutesBuilder::default();
    service.add_routes(&mut routes);
    server::peer::local(routes.routes().prepare())
}
