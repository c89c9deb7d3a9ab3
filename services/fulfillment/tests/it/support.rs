//! A world for tests: the service on a fresh database, a clock that is moved, and an inventory that is played.

use std::collections::BTreeMap;
use std::sync::Arc;

use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
use contract::google::r#type as google;
use contract::inventory::v1::inventory_service_server::InventoryServiceServer;
use contract::r#type::v1 as common;
use db::testing::TestDb;
use domain::id::Uuid;
use fulfillment::{Config, Fulfillment, Peers};
use jiff::{SignedDuration, Timestamp};
use server::Peer;
use tonic::{Request, Status};

use crate::fake::FakeInventory;

/// Where the clock of every test begins: a Monday at ten in London.
pub(crate) const START: &str = "2026-01-12T10:00:00Z";

/// A UUID that nobody has.
pub(crate) fn v7() -> Uuid {
    Uuid::now_v7()
}

/// The instant of that text.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A world of its own on each engine that this machine has.
pub(crate) async fn worlds() -> Vec<World> {
    worlds_on(engines().await).await
}

/// The same where transactions wait for locks as long as it takes.
pub(crate) async fn patient_worlds() -> Vec<World> {
    worlds_on(db::testing::patient_engines(SETS).await).await
}

async fn worlds_on(databases: Vec<TestDb>) -> Vec<World> {
    let mut worlds = Vec::new();
    for db in databases {
        worlds.push(World::new(db).await);
    }
    worlds
}

const SETS: db::testing::Sets<'static> =
    &[(bus::MIGRATION_SET, bus::MIGRATIONS), (fulfillment::MIGRATION_SET, fulfillment::MIGRATIONS)];

/// A database on each engine.
pub(crate) async fn engines() -> Vec<TestDb> {
    db::testing::engines(SETS).await
}

/// The service and what is around it.
pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) clock: Clock,
    pub(crate) inventory: Arc<FakeInventory>,
    pub(crate) fulfillment: Arc<Fulfillment>,
}

impl World {
    pub(crate) async fn new(db: TestDb) -> Self {
        let clock = Clock::virtual_at(at(START));
        let inventory = Arc::new(FakeInventory::default());
        let fulfillment = process(db.db(), &clock, &inventory).await;
        Self { db, clock, inventory, fulfillment }
    }

    /// The same with other settings.
    pub(crate) async fn with(self, config: Config) -> Self {
        let fulfillment = process_with(self.db.db(), &self.clock, &self.inventory, config).await;
        Self { fulfillment, ..self }
    }

    /// Another process on the same database and inventory.
    pub(crate) async fn another(&self) -> Arc<Fulfillment> {
        process(self.db.reopen().await, &self.clock, &self.inventory).await
    }

    pub(crate) fn promises(&self) -> PromiseServiceClient<Peer> {
        promises(&self.fulfillment)
    }

    pub(crate) fn network(&self) -> NetworkServiceClient<Peer> {
        NetworkServiceClient::new(self.fulfillment.peer())
    }

    pub(crate) async fn put(&self, nodes: Vec<pb::Node>) -> Vec<pb::Node> {
        let request = pb::PutNodesRequest { request_id: v7().to_string(), nodes };
        self.network().put_nodes(by("ops/it", request)).await.unwrap().into_inner().nodes
    }

    /// Stock at nodes, known to the view.
    pub(crate) async fn stock(&self, rows: &[(&str, &str, i64)]) {
        for (node, sku, on_hand) in rows {
            self.inventory.put(node, sku, *on_hand);
        }
        self.fulfillment.load_stock().await.unwrap();
    }

    pub(crate) fn pass(&self, length: SignedDuration) {
        self.clock.advance_to(self.clock.business() + length);
    }

    pub(crate) async fn run_due(&self) -> usize {
        self.fulfillment.run_due(self.clock.business()).await.unwrap()
    }

    /// How many rows a statement counts.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.db.read().await.unwrap();
        let count = tx.fetch_one(sql, db::params![]).await.unwrap().get("n").unwrap();
        tx.commit().await.unwrap();
        count
    }

    /// The orders that each slot has taken.
    pub(crate) async fn slots(&self) -> BTreeMap<i64, i64> {
        let mut tx = self.db.read().await.unwrap();
        let rows = tx.fetch_all("SELECT slot_start, used FROM capacity_slots", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        rows.iter().map(|row| (row.get("slot_start").unwrap(), row.get("used").unwrap())).collect()
    }

    /// Orders taken in all slots.
    pub(crate) async fn taken(&self) -> i64 {
        self.slots().await.values().sum()
    }
}

async fn process(db: db::Db, clock: &Clock, inventory: &Arc<FakeInventory>) -> Arc<Fulfillment> {
    process_with(db, clock, inventory, Config::default()).await
}

async fn process_with(
    db: db::Db,
    clock: &Clock,
    inventory: &Arc<FakeInventory>,
    config: Config,
) -> Arc<Fulfillment> {
    let peer = server::peer::local(InventoryServiceServer::from_arc(Arc::clone(inventory)));
    let service = Fulfillment::new(db, clock.clone(), config, Peers { inventory: peer }).await.unwrap();
    service.load_stock().await.unwrap();
    service
}

pub(crate) fn promises(service: &Arc<Fulfillment>) -> PromiseServiceClient<Peer> {
    PromiseServiceClient::new(service.peer())
}

/// A request in somebody's name.
pub(crate) fn by<T>(actor: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(server::auth::ACTOR, actor.parse().unwrap());
    request
}

/// A store in London: open from 9 to 18, half an hour to prepare, four orders an hour.
pub(crate) fn store(id: &str, lat: f64, lng: f64) -> pb::Node {
    pb::Node {
        node_id: id.to_owned(),
        name: format!("Store {id}"),
        kind: pb::NodeKind::Store.into(),
        place: Some(place(lat, lng)),
        time_zone: "Europe/London".to_owned(),
        methods: vec![common::Method::Pickup.into()],
        hours: (1..=7)
            .map(|day| pb::OpeningHours { day, open_time: Some(time(9, 0)), close_time: Some(time(18, 0)) })
            .collect(),
        preparation: Some(minutes(30)),
        pickup_capacity_per_slot: Some(4),
        ..Default::default()
    }
}

pub(crate) fn place(lat: f64, lng: f64) -> common::Place {
    common::Place { point: Some(google::LatLng { latitude: lat, longitude: lng }) }
}

pub(crate) fn time(hours: i32, minutes: i32) -> google::TimeOfDay {
    google::TimeOfDay { hours, minutes, ..Default::default() }
}

pub(crate) fn minutes(n: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: n * 60, nanos: 0 }
}

pub(crate) fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
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
        request_id: v7().to_string(),
        method: common::Method::Pickup.into(),
        node_id: node.to_owned(),
        lines: cart(lines),
        ttl: None,
    }
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    server::status::reason(status).unwrap_or_default()
}
