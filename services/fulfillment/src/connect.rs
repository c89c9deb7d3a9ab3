//! What the process that runs this service connects it to.

use std::sync::Arc;

use bus::{Bus, Topic};
use contract::fulfillment::v1::fulfillment_events_service_server::FulfillmentEventsServiceServer;
use contract::fulfillment::v1::network_service_server::NetworkServiceServer;
use contract::fulfillment::v1::promise_service_server::PromiseServiceServer;
use contract::fulfillment::v1::work_service_server::WorkServiceServer;
use futures_util::future::BoxFuture;
use server::Peer;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use crate::Fulfillment;
use crate::promise::follow::STOCK_TOPICS;

/// The gRPC services served.
pub const SERVICES: &[&str] = &[
    "entrepot.fulfillment.v1.NetworkService",
    "entrepot.fulfillment.v1.PromiseService",
    "entrepot.fulfillment.v1.WorkService",
    "entrepot.fulfillment.v1.FulfillmentEventsService",
];

impl Fulfillment {
    /// Adds its gRPC services to those of others.
    pub fn add_routes(self: &Arc<Self>, routes: &mut RoutesBuilder) {
        routes
            .add_service(server::limited!(NetworkServiceServer::from_arc(Arc::clone(self))))
            .add_service(server::limited!(PromiseServiceServer::from_arc(Arc::clone(self))))
            .add_service(server::limited!(WorkServiceServer::from_arc(Arc::clone(self))))
            .add_service(server::limited!(FulfillmentEventsServiceServer::from_arc(Arc::clone(self))));
    }

    /// Its gRPC services, for callers in this process.
    pub fn peer(self: &Arc<Self>) -> Peer {
        server::peer::local(self.routes().prepare())
    }

    /// What runs beside the calls until `stop`: the views of the stock and of the network, and the stores' streams.
    pub fn background(
        self: &Arc<Self>,
        bus: &Bus,
        stop: &CancellationToken,
    ) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
        let [stock, network, work, upkeep] = std::array::from_fn(|_| Arc::clone(self));
        let stock_events = bus.subscribe(STOCK_TOPICS);
        let work_events = bus.subscribe(&[Topic::Fulfillment]);
        let [stop_stock, stop_network, stop_work, stop_upkeep] = std::array::from_fn(|_| stop.clone());
        vec![
            (
                "fulfillment.stock",
                Box::pin(async move { stock.follow_stock(stop_stock, stock_events).await }),
            ),
            ("fulfillment.network", Box::pin(async move { network.follow_network(stop_network).await })),
            ("fulfillment.work", Box::pin(async move { work.follow_work(stop_work, work_events).await })),
            ("fulfillment.upkeep", Box::pin(async move { upkeep.keep_work(stop_upkeep).await })),
        ]
    }
}
