//! Fulfillment: where an order can be served and what that promises, and the work of the nodes that serve it.
//!
//! Owns the policies of the retailer with the node groups that they name, `nodes` (and which of them are silent), `capacity_slots`, `promises` with their legs (and the sourcing decision of each), `tasks`, and the fulfillment orders with
//! their feeds and pickup codes. Listens to orders (released, cancelled, lapsed) and to inventory (a claim that was
//! lost); keeps a view of the stock in memory from inventory's snapshot and events. Asks inventory to reserve, extend,
//! confirm and release. Emits `entrepot.fulfillment.v1`.
//!
//! Always true: no slot takes more orders than its node allows, but for an order that came after its promise ended;
//! stock outlives the promise that it was reserved for; a promise that nobody confirms ends by itself and leaves
//! nothing; what an order relies on, nobody else gives back; whatever the view of the stock proposes, inventory decides.
//!
//! Absent on purpose: prices, customers, stock keeping, choosing another node for an order that its node refused.

mod api;
mod backoff;
mod config;
mod error;
mod network;
mod policy;
mod promise;
mod prune;
mod react;
mod rights;
mod shape;
mod store;
mod tasks;
mod timers;
mod verb;
mod wire;
mod work;

use std::sync::Arc;

use clock::Clock;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use db::{Db, Migration, Migrations};
use domain::id::NodeId;
use domain::network::Node;
use domain::sourcing::cost::Weights;
use server::{Peer, Principal};

pub use config::{ClocksConfig, Config, Secret, SourcingConfig, WorkConfig};
pub use error::{DOMAIN, Error, NotPromised, Shortage, reason};
pub use policy::refusal::{Ambiguous, Refusal as PolicyRefusal};
pub use promise::follow::STOCK_TOPICS;
pub use rights::ACCESS;
pub use shape::{ABOUT, SERVICES};
pub use work::know_key::has_pickup_code_key;

/// The tables of this service.
pub const MIGRATIONS: &Migrations = &[
    Migration {
        version: 1,
        name: "network_promise",
        postgres: include_str!("../migrations/postgres/0001_network_promise.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_network_promise.sql"),
    },
    Migration {
        version: 2,
        name: "work",
        postgres: include_str!("../migrations/postgres/0002_work.sql"),
        sqlite: include_str!("../migrations/sqlite/0002_work.sql"),
    },
    Migration {
        version: 3,
        name: "voided_codes",
        postgres: include_str!("../migrations/postgres/0003_voided_codes.sql"),
        sqlite: include_str!("../migrations/sqlite/0003_voided_codes.sql"),
    },
    Migration {
        version: 4,
        name: "work_notes",
        postgres: include_str!("../migrations/postgres/0004_work_notes.sql"),
        sqlite: include_str!("../migrations/sqlite/0004_work_notes.sql"),
    },
    Migration {
        version: 5,
        name: "promise_takers",
        postgres: include_str!("../migrations/postgres/0005_promise_takers.sql"),
        sqlite: include_str!("../migrations/sqlite/0005_promise_takers.sql"),
    },
    Migration {
        version: 6,
        name: "pickup_code_key",
        postgres: include_str!("../migrations/postgres/0006_pickup_code_key.sql"),
        sqlite: include_str!("../migrations/sqlite/0006_pickup_code_key.sql"),
    },
    work_feed::migration(7),
    ::policy::migration(8),
    Migration {
        version: 9,
        name: "policy_owner",
        postgres: include_str!("../migrations/postgres/0009_policy_owner.sql"),
        sqlite: include_str!("../migrations/sqlite/0009_policy_owner.sql"),
    },
];

/// The name under which [`MIGRATIONS`] are recorded.
pub const MIGRATION_SET: &str = "fulfillment";

/// The services that this one asks.
#[derive(Clone)]
pub struct Peers {
    /// Inventory.
    pub inventory: Peer,
}

/// The service. Its database must be migrated ([`MIGRATIONS`] and the bus's).
pub struct Fulfillment {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) inventory: InventoryServiceClient<Peer>,
    pub(crate) network: network::index::Network,
    pub(crate) atp: promise::stock_view::View,
    pub(crate) load: network::load::Load,
    pub(crate) holds: promise::queue::HoldQueue,
    pub(crate) weights: Weights,
    pub(crate) policies: ::policy::View,
    pub(crate) work: work::state::WorkState,
}

impl Fulfillment {
    /// The service on its database, with its network read. Drive its background tasks beside it, and [`Self::run_due`] when [`Self::next_due`] says so.
    pub async fn new(db: Db, clock: Clock, config: Config, peers: Peers) -> Result<Arc<Self>, Error> {
        let inventory = server::peer::acting(peers.inventory, &Principal::service("fulfillment"));
        let policies = ::policy::View::load(db.clone(), clock.clone()).await?;
        let work = work::state::WorkState::new(&config, &db, &clock);
        let service = Self {
            db,
            clock,
            inventory: InventoryServiceClient::new(inventory),
            network: network::index::Network::default(),
            atp: promise::stock_view::View::default(),
            load: network::load::Load::default(),
            holds: promise::queue::queue(&config),
            weights: config.sourcing.weights(),
            policies,
            work,
            config,
        };
        service.know_key().await?;
        service.load_network().await?;
        Ok(Arc::new(service))
    }

    /// Its gRPC services, for callers in this process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        service::shape::peer(Arc::clone(self))
    }

    /// What this process knows of policies.
    pub fn policies(&self) -> &::policy::View {
        &self.policies
    }

    /// A node of the network, as this process knows it.
    pub(crate) fn node(&self, node: &NodeId) -> Option<Arc<Node>> {
        self.network.node(node)
    }
}
