//! Stock: how much of each SKU is where, and who has a claim on it.
//!
//! Owns `skus` and `kit_parts` (the master of what is sold), `positions`, `reservations` with their lines, the ledger
//! `movements`, `feed_rows`, `relief_due` (positions with more claims to give up), `channel_claims` (what is kept
//! for single channels), `announced` and `restate_due` (what positions were announced by), and a copy of policies. Listens to orders (a placed order takes its claims, a lapsed,
//! cancelled or expired one gives them up), to fulfillment orders (what left, what was short, what was found at the shelf) and
//! to policies. Emits `entrepot.inventory.v1`: each step of a reservation, and one absolute
//! `PositionChanged` per position and batch.
//!
//! Always true:
//! - No claim is granted that ATP does not cover, whichever process grants it: it is decided under the row locks of
//!   the positions, taken in (node, sku) order by every writer.
//! - Each change of a position has its row in the ledger, in the same transaction; `on_hand` and `reserved` can be
//!   recomputed from it, and [`Inventory`]'s audit does.
//! - A claim ends once: consumed, released or expired; what was released before it was taken stays released.
//! - A fact that leaves fewer goods than claims gives claims up in its own transaction (`relief`): carts first, orders whose
//!   work has begun never. What is too much for one transaction goes on at once by the timer.
//! - What policies keep back is decided by their versions in memory at the moment of the lock; positions are announced again
//!   when it changes (`restate`).
//! - The same request id has one effect and one answer.
//!
//! Callers' commands on reservations go through one queue, served by its background tasks: what waits is decided in one
//! transaction, so a hot SKU costs one row lock per batch. Absent on purpose: prices, orders, people, nodes (any
//! well-formed node may hold stock).

mod adjust;
mod api;
mod audit;
mod batch;
mod catalogue;
mod change;
mod close;
mod command;
mod confirm;
mod error;
mod extend;
mod feed;
mod import;
mod in_force;
mod ledger;
mod pools;
mod put_skus;
mod queue;
mod react;
mod release;
mod relief;
mod reserve;
mod restate;
mod rights;
mod rules;
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
use db::Db;
use serde::{Deserialize, Serialize};
use server::{Peer, StreamPlaces};

pub use error::{DOMAIN, Error, reason};
pub use rights::ACCESS;
pub use shape::{ABOUT, SERVICES};

use catalogue::Catalogue;
use queue::CommandQueue;

/// The tables of this service.
pub const MIGRATIONS: &db::Migrations = &[
    db::Migration {
        version: 1,
        name: "inventory",
        postgres: include_str!("../migrations/postgres/0001_inventory.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_inventory.sql"),
    },
    policy::migration(2),
];

/// The name under which [`MIGRATIONS`] are recorded.
pub const MIGRATION_SET: &str = "inventory";

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
    /// How often policies are read that other processes wrote, in milliseconds.
    pub policy_refresh_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: 4_096,
            batch: 256,
            writers: 2,
            clock_tolerance_s: 30,
            max_vanishing_percent: 30,
            policy_refresh_ms: 500,
        }
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
    policies: policy::View,
    policy_refresh: Duration,
    restating: restate::Restating,
    audits: audit::Turns,
    streams: StreamPlaces,
    writers: usize,
    clock_tolerance: Duration,
    max_vanishing_percent: i64,
}

impl Inventory {
    /// The service on a database that has its tables and those of `bus`, with its policies read. Callers of reservations are
    /// answered while its background tasks run.
    pub async fn new(db: Db, clock: Clock, config: &Config) -> Result<Arc<Self>, Error> {
        let policies = policy::View::load(db.clone(), clock.clone()).await?;
        let queue =
            CommandQueue::new(db.clone(), clock.clone(), policies.clone(), config.queue, config.batch);
        Ok(Arc::new(Self {
            db,
            clock,
            catalogue: Catalogue::default(),
            queue,
            policies,
            policy_refresh: Duration::from_millis(config.policy_refresh_ms),
            restating: restate::Restating::default(),
            audits: audit::Turns::default(),
            streams: StreamPlaces::new(MAX_STREAMS),
            writers: config.writers.clamp(1, 8),
            clock_tolerance: Duration::from_secs(config.clock_tolerance_s),
            max_vanishing_percent: i64::try_from(config.max_vanishing_percent).unwrap_or(100),
        }))
    }

    /// Its gRPC services, for callers in this process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        service::shape::peer(Arc::clone(self))
    }
}
