//! Stock: how much of each SKU is where, and who has a claim on it.
//!
//! Owns `skus` and `kit_parts` (the master of what is sold), `positions`, `reservations` with their lines, the ledger
//! `movements`, and `feed_rows`. Listens to orders (a placed order takes its claims, a lapsed, cancelled or expired
//! one gives them up) and to fulfillment orders (what left, what was short, what was found at the shelf). Emits
//! `entrepot.inventory.v1`: each step of a reservation, and one absolute `PositionChanged` per position and batch.
//!
//! Always true:
//! - No claim is granted that ATP does not cover, whichever process grants it: it is decided under the row locks of
//!   the positions, taken in (node, sku) order by every writer.
//! - Each change of a position has its row in the ledger, in the same transaction; `on_hand` and `reserved` can be
//!   recomputed from it, and [`Inventory`]'s audit does.
//! - A claim ends once: consumed, released or expired; what was released before it was taken stays released.
//! - The same request id has one effect and one answer.
//!
//! Callers' commands on reservations go through one queue ([`Inventory::background`]): what waits is decided in one
//! transaction, so a hot SKU costs one row lock per batch. Absent on purpose: prices, orders, people, nodes (any
//! well-formed node may hold stock).

mod adjust;
mod api;
mod audit;
mod catalogue;
mod close;
mod command;
mod confirm;
mod consume;
mod desk;
mod error;
mod extend;
mod feed;
mod goods;
mod import;
mod items;
mod ledger;
mod queue;
mod react;
mod release;
mod reserve;
mod row;
mod settle;
mod shape;
mod stock;
mod store;
mod timers;
mod views;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use contract::inventory::v1::inventory_events_service_server::InventoryEventsServiceServer;
use contract::inventory::v1::inventory_service_server::InventoryServiceServer;
use db::Db;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use server::auth::kind::{ALL, CHANNEL, OPS, SERVICE, STORE};
use server::{Access, Peer, StreamPlaces};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

pub use error::{DOMAIN, Error, reason};
pub use shape::ABOUT;

use catalogue::Catalogue;
use queue::CommandQueue;

/// The tables of this service.
pub const MIGRATIONS: &db::Migrations = &[db::Migration {
    version: 1,
    name: "inventory",
    postgres: include_str!("../migrations/postgres/0001_inventory.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_inventory.sql"),
}];

/// The name under which [`MIGRATIONS`] are recorded.
pub const MIGRATION_SET: &str = "inventory";

/// The gRPC services served.
pub const SERVICES: &[&str] =
    &["entrepot.inventory.v1.InventoryService", "entrepot.inventory.v1.InventoryEventsService"];

const WORKERS: &[&str] = &[SERVICE, OPS];
const FEEDERS: &[&str] = &[SERVICE, OPS, CHANNEL, STORE];

/// Who may call what.
pub const ACCESS: &[Access] = &[
    Access::to("/entrepot.inventory.v1.InventoryService/PutSkus", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/GetSku", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ListSkus", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ApplySnapshot", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ApplyDeltas", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ImportStock", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/CloseSnapshot", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/AdjustStock", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/SetSafetyStock", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/Reserve", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ConfirmReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ReleaseReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ConsumeReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ExtendReservation", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryService/GetReservation", &[SERVICE, OPS, STORE, CHANNEL]),
    Access::to("/entrepot.inventory.v1.InventoryService/GetAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/BatchGetAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/ListAvailability", ALL),
    Access::to("/entrepot.inventory.v1.InventoryService/StreamPositions", FEEDERS),
    Access::to("/entrepot.inventory.v1.InventoryService/ListMovements", &[SERVICE, OPS, STORE]),
    Access::to("/entrepot.inventory.v1.InventoryService/Audit", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryEventsService/ReplayEvents", WORKERS),
    Access::to("/entrepot.inventory.v1.InventoryEventsService/ListHeads", WORKERS),
];

/// The settings of this service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Callers that may wait in the queue; more are refused with a time to retry.
    pub queue: usize,
    /// Callers served by one transaction.
    pub batch: usize,
    /// Transactions at once that serve the queue, 1 to 8. One is best for hot SKUs; more may help many SKUs on a
    /// database with cores to spare.
    pub writers: usize,
    /// How far ahead of the platform's clock a feed may date its figures, in seconds.
    pub clock_tolerance_s: u64,
    /// How much of a node's stock a full snapshot may set to 0 without force, in percent.
    pub max_vanishing_percent: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { queue: 4_096, batch: 256, writers: 2, clock_tolerance_s: 30, max_vanishing_percent: 30 }
    }
}

/// The most streams of all positions at once, half of them for our own services: each reads everything.
const MAX_STREAMS: usize = 64;

/// The service.
pub struct Inventory {
    db: Db,
    clock: Clock,
    catalogue: Catalogue,
    queue: CommandQueue,
    audits: audit::Turns,
    streams: StreamPlaces,
    writers: usize,
    clock_tolerance: Duration,
    max_vanishing_percent: i64,
}

impl Inventory {
    /// The service on a database that has its tables and those of `bus`. Callers of reservations are answered while
    /// [`Inventory::background`] runs.
    pub fn new(db: Db, clock: Clock, config: &Config) -> Arc<Self> {
        let queue = CommandQueue::new(db.clone(), clock.clone(), config.queue, config.batch);
        Arc::new(Self {
            db,
            clock,
            catalogue: Catalogue::default(),
            queue,
            audits: audit::Turns::default(),
            streams: StreamPlaces::new(MAX_STREAMS),
            writers: config.writers.clamp(1, 8),
            clock_tolerance: Duration::from_secs(config.clock_tolerance_s),
            max_vanishing_percent: i64::try_from(config.max_vanishing_percent).unwrap_or(100),
        })
    }

    /// Adds the gRPC services.
    pub fn routes(self: &Arc<Self>, routes: &mut RoutesBuilder) {
        routes.add_service(server::limited!(InventoryServiceServer::from_arc(Arc::clone(self))));
        routes.add_service(server::limited!(InventoryEventsServiceServer::from_arc(Arc::clone(self))));
    }

    /// This service for callers in the same process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        server::peer::local(server::limited!(InventoryServiceServer::from_arc(Arc::clone(self))))
    }

    /// What runs beside the calls until `stop`: the queue of reservations, which is served to its end.
    pub fn background(
        self: &Arc<Self>,
        stop: &CancellationToken,
    ) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
        let writer = |_| {
            let (service, stop) = (Arc::clone(self), stop.clone());
            let queue = async move { service.queue.serve(&service.catalogue, &stop).await };
            ("inventory.queue", Box::pin(queue) as BoxFuture<'static, ()>)
        };
        (0..self.writers).map(writer).collect()
    }
}
