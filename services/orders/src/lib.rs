//! Orders: what was bought, where its pieces are, and its money to the cent.
//!
//! Owns `orders` and all tables `order_*`: lines, groups, legs, needs, charges, tenders, refunds, money and timeline. Listens to the
//! reservations of inventory, to the fulfillment orders, and to policies, of which it keeps a copy. Emits `entrepot.orders.v1`.
//!
//! Always true: the buckets of a line sum to what was ordered; the status is computed from them, the blocks and the
//! payment, never set; a channel's number makes one order for ever; every amount is a sum of rows that are only ever added;
//! money is asked back exactly, in the transaction that ended the pieces it was paid for, and never more than was captured.
//!
//! Asks fulfillment for promises (holds that undo themselves), always before its own transaction. Absent on purpose:
//! prices, taxes and promotions (taken as given, recomputed), payment providers (their results are recorded, refunds
//! are asked for by event), people (a handle of the channel is all that is known of a customer).

mod api;
mod cancel;
mod check;
mod choose;
mod clocks;
mod command;
mod config;
mod elsewhere;
mod error;
mod hold;
mod need_steps;
mod options;
mod pay;
mod place;
mod react;
mod record;
mod refunds;
mod reply;
mod rights;
mod seek;
mod shape;
mod steps;
mod store;
mod timers;
mod views;
mod watch;
mod wire;

use std::sync::Arc;

use clock::Clock;
use contract::fulfillment::v1::fulfillment_events_service_client::FulfillmentEventsServiceClient;
use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
use db::Db;
use domain::id::Uuid;
use domain::order::Policy;
use server::Peer;
use service::Hub;

pub use config::{Config, MOST_LINES};
pub use error::{DOMAIN, Error, reason};
pub use rights::ACCESS;
pub use shape::{ABOUT, SERVICES};

/// The tables of orders.
pub const MIGRATIONS: &db::Migrations = &[
    db::Migration {
        version: 1,
        name: "orders",
        postgres: include_str!("../migrations/postgres/0001_orders.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_orders.sql"),
    },
    policy::migration(2),
];

/// The service.
pub struct Orders {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) promises: PromiseServiceClient<Peer>,
    pub(crate) work_events: FulfillmentEventsServiceClient<Peer>,
    pub(crate) queue: place::PlaceQueue,
    pub(crate) watchers: Hub<Uuid>,
    pub(crate) policies: policy::View,
}

impl Orders {
    /// The service over its database, with the policies that it knows. `fulfillment` serves `PromiseService` and
    /// `FulfillmentEventsService`.
    pub async fn new(db: Db, clock: Clock, config: Config, fulfillment: Peer) -> Result<Arc<Self>, Error> {
        let policy = config.policy();
        let watchers = Hub::new(config.max_watchers).measured(|count| {
            metrics::gauge!("entrepot_orders_watchers")
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        });
        let promises = PromiseServiceClient::new(fulfillment.clone());
        let work_events = FulfillmentEventsServiceClient::new(fulfillment);
        let queue = place::PlaceQueue::new(config.max_waiting);
        let policies = policy::View::load(db.clone(), clock.clone()).await?;
        Ok(Arc::new(Self { db, clock, config, policy, promises, work_events, queue, watchers, policies }))
    }

    /// What this process knows of policies.
    pub fn policies(&self) -> &policy::View {
        &self.policies
    }

    /// Its gRPC services, for callers in this process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        service::shape::peer(Arc::clone(self))
    }
}
