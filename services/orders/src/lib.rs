//! Orders: what was bought, where its pieces are, and its money to the cent.
//!
//! Owns `orders`, `order_lines`, `order_tenders`, `order_charges`, `order_refunds`, `order_timeline`. Listens to the
//! reservations of inventory and to the fulfillment orders. Emits `entrepot.orders.v1`.
//!
//! Always true: the buckets of a line sum to what was ordered; the status is computed from them, the blocks and the
//! payment, never set; a channel's number makes one order for ever; money is asked back exactly, in the transaction
//! that ended the pieces it was paid for, and never more than was paid.
//!
//! Asks fulfillment for promises (holds that undo themselves), always before its own transaction. Absent on purpose:
//! prices, taxes and promotions (taken as given, recomputed), payment providers (their results are recorded, refunds
//! are asked for by event), people (a handle of the channel is all that is known of a customer).

mod api;
mod cancel;
mod check;
mod command;
mod config;
mod error;
mod hold;
mod pay;
mod place;
mod react;
mod record;
mod shape;
mod steps;
mod store;
mod timers;
mod views;
mod watch;
mod wire;

use std::sync::Arc;

use bus::{Bus, Topic};
use clock::Clock;
use contract::fulfillment::v1::fulfillment_events_service_client::FulfillmentEventsServiceClient;
use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
use contract::orders::v1::order_events_service_server::OrderEventsServiceServer;
use contract::orders::v1::order_service_server::OrderServiceServer;
use db::Db;
use domain::id::Uuid;
use domain::order::Policy;
use futures_util::future::BoxFuture;
use server::auth::kind::{ANONYMOUS, CHANNEL, CUSTOMER, OPS, SERVICE, STORE};
use server::{Access, Peer};
use service::Hub;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

pub use config::{Config, MOST_LINES};
pub use error::{DOMAIN, Error, reason};
pub use shape::ABOUT;

/// The tables of orders.
pub const MIGRATIONS: &db::Migrations = &[db::Migration {
    version: 1,
    name: "orders",
    postgres: include_str!("../migrations/postgres/0001_orders.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_orders.sql"),
}];

/// The services that [`Orders::routes`] adds.
pub const SERVICES: &[&str] = &["entrepot.orders.v1.OrderService", "entrepot.orders.v1.OrderEventsService"];

/// Who may call what.
pub const ACCESS: &[Access] = &[
    Access::to(
        "/entrepot.orders.v1.OrderService/PlaceOrder",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to(
        "/entrepot.orders.v1.OrderService/PayOrder",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to("/entrepot.orders.v1.OrderService/CancelOrder", &[CUSTOMER, CHANNEL, STORE, OPS, ANONYMOUS]),
    Access::to(
        "/entrepot.orders.v1.OrderService/GetOrder",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to(
        "/entrepot.orders.v1.OrderService/GetOrderByChannelId",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to("/entrepot.orders.v1.OrderService/ListOrders", &[CHANNEL, STORE, OPS, SERVICE, ANONYMOUS]),
    Access::to(
        "/entrepot.orders.v1.OrderService/ListOrderTimeline",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to(
        "/entrepot.orders.v1.OrderService/WatchOrder",
        &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS],
    ),
    Access::to("/entrepot.orders.v1.OrderEventsService/ReplayEvents", &[SERVICE, OPS]),
    Access::to("/entrepot.orders.v1.OrderEventsService/ListHeads", &[SERVICE, OPS]),
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
}

impl Orders {
    /// The service over its database. `fulfillment` serves `PromiseService` and `FulfillmentEventsService`.
    pub fn new(db: Db, clock: Clock, config: Config, fulfillment: Peer) -> Arc<Self> {
        let policy = config.policy();
        let watchers = Hub::new(config.max_watchers).measured(|count| {
            metrics::gauge!("entrepot_orders_watchers")
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        });
        let promises = PromiseServiceClient::new(fulfillment.clone());
        let work_events = FulfillmentEventsServiceClient::new(fulfillment);
        let queue = place::PlaceQueue::new(config.max_waiting);
        Arc::new(Self { db, clock, config, policy, promises, work_events, queue, watchers })
    }

    /// Adds its gRPC services.
    pub fn routes(self: &Arc<Self>, routes: &mut RoutesBuilder) {
        routes
            .add_service(server::limited!(OrderServiceServer::from_arc(Arc::clone(self))))
            .add_service(server::limited!(OrderEventsServiceServer::from_arc(Arc::clone(self))));
    }

    /// Its gRPC services, for callers in this process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        let mut routes = RoutesBuilder::default();
        self.routes(&mut routes);
        server::peer::local(routes.routes().prepare())
    }

    /// What runs beside the requests: watchers learn of changes made by other processes.
    pub fn background(
        self: &Arc<Self>,
        bus: &Bus,
        stop: &CancellationToken,
    ) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
        let follow = Arc::clone(self).follow(bus.subscribe(&[Topic::Orders]), stop.clone());
        vec![("orders.watchers", Box::pin(follow))]
    }

    async fn follow(self: Arc<Self>, mut changes: bus::Subscription, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = changes.next() => change,
            };
            match change {
                Ok(event) => self.watchers.wake(&event.aggregate),
                Err(bus::Missed) => self.watchers.wake_all(),
            }
        }
    }
}
