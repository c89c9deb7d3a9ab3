//! The service on a fresh database, with an inventory that is played.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::node_capacity::Most;
use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
use contract::r#type::v1 as common;
use fulfillment::{Config, Fulfillment, Peers};
use server::Peer;
use test_world::wire::{picks, place};
use test_world::{Ground, Process, by, fresh};

use crate::fake::FakeInventory;

/// Where the clock of every test begins: a Monday at ten in London.
pub(crate) const START: &str = "2026-01-12T10:00:00Z";

pub(crate) const SETS: db::testing::Sets<'static> =
    &[(bus::MIGRATION_SET, bus::MIGRATIONS), (fulfillment::MIGRATION_SET, fulfillment::MIGRATIONS)];

/// A world of its own on each engine.
pub(crate) async fn worlds() -> Vec<World> {
    worlds_on(Ground::all(SETS, START).await).await
}

/// The same where transactions wait for locks as long as it takes.
pub(crate) async fn patient_worlds() -> Vec<World> {
    worlds_on(Ground::all_patient(SETS, START).await).await
}

async fn worlds_on(grounds: Vec<Ground>) -> Vec<World> {
    let mut worlds = Vec::new();
    for ground in grounds {
        let inventory = FakeInventory::new();
        let service = process(ground.db.db(), &ground.clock, inventory.peer(), Config::default()).await;
        worlds.push(World { process: Process::new(ground, service), inventory });
    }
    worlds
}

/// The service and its inventory.
pub(crate) struct World {
    process: Process<Fulfillment>,
    pub(crate) inventory: FakeInventory,
}

impl Deref for World {
    type Target = Process<Fulfillment>;

    fn deref(&self) -> &Process<Fulfillment> {
        &self.process
    }
}

impl World {
    /// The same with other settings.
    pub(crate) async fn with(mut self, config: Config) -> Self {
        self.process.service = process(self.db.db(), &self.clock, self.inventory.peer(), config).await;
        self
    }

    /// The same with another way to the inventory.
    pub(crate) async fn over(mut self, inventory: Peer) -> Self {
        self.process.service = process(self.db.db(), &self.clock, inventory, Config::default()).await;
        self
    }

    /// Another process on the same database and inventory.
    pub(crate) async fn another(&self) -> Arc<Fulfillment> {
        process(self.db.reopen().await, &self.clock, self.inventory.peer(), Config::default()).await
    }

    /// The same world through another process.
    pub(crate) async fn beside(&self) -> Self {
        let process = Process::new(self.ground.clone(), self.another().await);
        Self { process, inventory: self.inventory.clone() }
    }

    pub(crate) fn promises(&self) -> PromiseServiceClient<Peer> {
        promises(&self.service)
    }

    pub(crate) fn network(&self) -> NetworkServiceClient<Peer> {
        NetworkServiceClient::new(self.peer())
    }

    pub(crate) async fn put(&self, nodes: Vec<pb::Node>) -> Vec<pb::Node> {
        let request = pb::PutNodesRequest { request_id: fresh(), nodes };
        self.network().put_nodes(by("ops/it", request)).await.unwrap().into_inner().nodes
    }

    /// Stock at nodes, known to the view.
    pub(crate) async fn stock(&self, rows: &[(&str, &str, i64)]) {
        for (node, sku, on_hand) in rows {
            self.inventory.put(node, sku, *on_hand);
        }
        self.service.load_stock().await.unwrap();
    }

    /// The orders that each slot has taken.
    pub(crate) async fn slots(&self) -> BTreeMap<i64, i64> {
        let rows = self.rows("SELECT slot_start, used FROM capacity_slots").await;
        rows.iter().map(|row| (row.get("slot_start").unwrap(), row.get("used").unwrap())).collect()
    }

    /// Orders taken in all slots.
    pub(crate) async fn taken(&self) -> i64 {
        self.count("SELECT CAST(COALESCE(SUM(used), 0) AS BIGINT) AS n FROM capacity_slots").await
    }
}

async fn process(db: db::Db, clock: &Clock, inventory: Peer, config: Config) -> Arc<Fulfillment> {
    let service = Fulfillment::new(db, clock.clone(), config, Peers { inventory }).await.unwrap();
    service.load_stock().await.unwrap();
    service
}

pub(crate) fn promises(service: &Arc<Fulfillment>) -> PromiseServiceClient<Peer> {
    PromiseServiceClient::new(service.peer())
}

/// A store in London: open from 9 to 18, half an hour to prepare, four orders an hour.
pub(crate) fn store(id: &str, lat: f64, lng: f64) -> pb::Node {
    pb::Node {
        place: Some(place(lat, lng)),
        capacity: orders(4),
        ..test_world::node(id, "Europe/London", 9, 18)
    }
}

/// A node that picks at most that many orders an hour.
pub(crate) fn orders(most: i64) -> Vec<pb::NodeCapacity> {
    picks(Most::Orders(most))
}

/// A node that picks orders of at most that many units an hour.
pub(crate) fn units(most: i64) -> Vec<pb::NodeCapacity> {
    picks(Most::Units(most))
}

/// A cart.
pub(crate) fn cart(lines: &[(&str, i64)]) -> Vec<pb::CartLine> {
    (1..)
        .zip(lines)
        .map(|(line, (sku, quantity))| pb::CartLine { line, sku: (*sku).to_owned(), quantity: *quantity })
        .collect()
}

/// A request to hold a cart at a node.
pub(crate) fn hold(node: &str, lines: &[(&str, i64)]) -> pb::HoldPromiseRequest {
    pb::HoldPromiseRequest {
        request_id: fresh(),
        lines: cart(lines),
        groups: vec![group(1, node)],
        ttl: None,
        instead_of: Vec::new(),
        on_behalf_of: String::new(),
        channel: String::new(),
    }
}

/// The whole cart, or what is named later, to be picked up at a node; without a name the platform chooses.
pub(crate) fn group(number: u32, node: &str) -> pb::CartGroup {
    pb::CartGroup {
        group: number,
        method: common::Method::Pickup.into(),
        node_id: node.to_owned(),
        ..Default::default()
    }
}

/// What the only leg of a promise offers.
pub(crate) fn option(promise: &pb::Promise) -> &pb::PromiseOption {
    assert_eq!(promise.legs.len(), 1);
    promise.legs[0].option.as_ref().unwrap()
}

/// The reservations of a promise, one for each leg.
pub(crate) fn reservations(promise: &pb::Promise) -> Vec<String> {
    promise.legs.iter().map(|leg| leg.fulfillment_id.replace("ful_", "rsv_")).collect()
}
