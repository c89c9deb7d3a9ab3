//! One service on one database, with a client and a clock that is moved by hand.

use std::ops::Deref;
use std::sync::Arc;

use bus::{Delivered, Topic};
use clock::Clock;
use contract::inventory::v1 as pb;
use contract::{fulfillment::v1 as fulfillment, orders::v1 as orders};
use futures_util::future::join_all;
use inventory::{Config, Inventory};
use jiff::Timestamp;
use pb::inventory_service_client::InventoryServiceClient;
use prost::Message as _;
use server::{Peer, Principal, Shutdown};
use service::Service as _;
use test_world::{Ground, Process, at, fresh, seconds, stamp};
use tokio::task::JoinHandle;
use tonic::Status;
use uuid::Uuid;

pub(crate) type Client = InventoryServiceClient<Peer>;

/// One running service.
pub(crate) struct Service {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) client: Client,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start(db: db::Db, clock: &Clock, config: &Config) -> Self {
        let inventory = Inventory::new(db, clock.clone(), config).await.unwrap();
        let shutdown = Shutdown::new();
        let bus = bus::Bus::local(clock.clone());
        let work = Arc::clone(&inventory).background(&bus, shutdown.token());
        let work = work.into_iter().map(|(_, work)| work);
        let task = tokio::spawn(async move { drop(join_all(work).await) });
        let peer = server::peer::acting(inventory.peer(), &Principal::service("fulfillment"));
        Self { client: InventoryServiceClient::new(peer), inventory, shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap();
    }
}

/// A database with one service.
pub(crate) struct World {
    process: Process<Inventory>,
    running: Service,
}

impl Deref for World {
    type Target = Process<Inventory>;

    fn deref(&self) -> &Process<Inventory> {
        &self.process
    }
}

pub(crate) const SETS: &[(&str, &db::Migrations)] =
    &[(inventory::MIGRATION_SET, inventory::MIGRATIONS), (bus::MIGRATION_SET, bus::MIGRATIONS)];

/// When all tests begin.
pub(crate) const START: &str = "2026-03-02T10:00:00Z";

pub(crate) fn after(seconds: i64) -> Timestamp {
    domain::time::after_ms(at(START), seconds * 1_000)
}

/// A world on each engine.
pub(crate) async fn worlds() -> Vec<World> {
    on_all(Ground::all(SETS, START).await).await
}

/// A world on each of these grounds.
pub(crate) async fn on_all(grounds: Vec<Ground>) -> Vec<World> {
    let mut worlds = Vec::with_capacity(grounds.len());
    for ground in grounds {
        worlds.push(World::on(ground).await);
    }
    worlds
}

/// A new reservation id.
pub(crate) fn rsv() -> String {
    format!("rsv_{}", Uuid::new_v4())
}

/// A line to claim at a node.
pub(crate) type Line = (String, pb::ReserveLine);

pub(crate) fn line(line: u32, node: &str, sku: &str, quantity: i64) -> Line {
    (node.to_owned(), pb::ReserveLine { line, sku: sku.to_owned(), quantity })
}

/// A reservation to take; its lines are all at one node.
pub(crate) fn claim(id: &str, lines: Vec<Line>) -> pb::NewReservation {
    let node_id = lines.first().map(|(node, _)| node.clone()).unwrap_or_default();
    assert!(lines.iter().all(|(node, _)| *node == node_id), "a reservation has one node");
    let lines = lines.into_iter().map(|(_, line)| line).collect();
    pb::NewReservation { reservation_id: id.to_owned(), node_id, lines, ..pb::NewReservation::default() }
}

/// Figures of node n1, as one snapshot of the ERP.
pub(crate) fn snapshot(reference: &str, second: i64, rows: &[(&str, i64)]) -> pb::ApplySnapshotRequest {
    let row = |(sku, on_hand): &(&str, i64)| pb::SnapshotRow {
        node_id: "n1".to_owned(),
        sku: (*sku).to_owned(),
        on_hand: *on_hand,
    };
    pb::ApplySnapshotRequest {
        request_id: fresh(),
        source: "erp".to_owned(),
        reference: reference.to_owned(),
        source_time: Some(stamp(after(second))),
        rows: rows.iter().map(row).collect(),
    }
}

pub(crate) fn reserve(id: &str, lines: Vec<Line>) -> pb::ReserveRequest {
    reserve_all(vec![claim(id, lines)])
}

pub(crate) fn reserve_all(reservations: Vec<pb::NewReservation>) -> pb::ReserveRequest {
    let ttl = Some(seconds(900));
    pb::ReserveRequest { request_id: fresh(), reservations, ttl, instead_of: Vec::new() }
}

/// The one reservation of an answer.
pub(crate) fn single(reservations: Vec<pb::Reservation>) -> pb::Reservation {
    let [one] = reservations.try_into().unwrap();
    one
}

/// An event of another service.
pub(crate) fn delivered(topic: Topic, payload: Vec<u8>) -> Delivered {
    test_world::delivered(topic, "order", payload, after(0))
}

/// The leg that a reservation is for.
pub(crate) fn leg(reservation: &str) -> String {
    reservation.replace("rsv_", "ful_")
}

impl World {
    pub(crate) async fn on(ground: Ground) -> Self {
        let running = Service::start(ground.db.db(), &ground.clock, &Config::default()).await;
        Self { process: Process::new(ground, Arc::clone(&running.inventory)), running }
    }

    pub(crate) fn client(&self) -> Client {
        self.running.client.clone()
    }

    /// A client for another caller.
    pub(crate) fn acting(&self, kind: &'static str, id: &str) -> Client {
        let peer = server::peer::acting(self.peer(), &Principal::new(kind, id));
        InventoryServiceClient::new(peer)
    }

    /// Creates plain items.
    pub(crate) async fn items(&self, skus: &[&str]) {
        for chunk in skus.chunks(500) {
            let skus = chunk.iter().map(|sku| item(sku)).collect();
            let request = pb::PutSkusRequest { request_id: fresh(), skus };
            self.client().put_skus(request).await.unwrap();
        }
    }

    /// Creates items and counts them in at a node.
    pub(crate) async fn stock(&self, node: &str, stock: &[(&str, i64)]) {
        let skus: Vec<&str> = stock.iter().map(|(sku, _)| *sku).collect();
        self.items(&skus).await;
        for (sku, units) in stock {
            self.adjust(node, sku, pb::Adjustment::Count, *units).await.unwrap();
        }
    }

    pub(crate) async fn adjust(
        &self,
        node: &str,
        sku: &str,
        adjustment: pb::Adjustment,
        quantity: i64,
    ) -> Result<pb::Position, Status> {
        let request = pb::AdjustStockRequest {
            request_id: fresh(),
            node_id: node.to_owned(),
            sku: sku.to_owned(),
            adjustment: adjustment.into(),
            quantity,
            reason: "test".to_owned(),
        };
        Ok(self.client().adjust_stock(request).await?.into_inner().position.unwrap())
    }

    pub(crate) async fn hold(&self, lines: Vec<Line>) -> Result<pb::Reservation, Status> {
        Ok(single(self.client().reserve(reserve(&rsv(), lines)).await?.into_inner().reservations))
    }

    pub(crate) async fn reservation(&self, id: &str) -> pb::Reservation {
        let request = pb::GetReservationRequest { reservation_id: id.to_owned() };
        self.client().get_reservation(request).await.unwrap().into_inner().reservation.unwrap()
    }

    pub(crate) async fn availability(&self, node: &str, sku: &str) -> pb::Availability {
        let request = pb::GetAvailabilityRequest { node_id: node.to_owned(), sku: sku.to_owned() };
        self.client().get_availability(request).await.unwrap().into_inner().availability.unwrap()
    }

    pub(crate) async fn atp(&self, node: &str, sku: &str) -> i64 {
        self.availability(node, sku).await.atp
    }

    /// `on_hand` and `reserved` of a position.
    pub(crate) async fn stands(&self, node: &str, sku: &str) -> (i64, i64) {
        let position = self.availability(node, sku).await.position.unwrap();
        (position.on_hand, position.reserved)
    }

    pub(crate) async fn release(&self, id: &str) -> Result<pb::Reservation, Status> {
        let request = pb::ReleaseReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![id.to_owned()],
            reason: "TEST".to_owned(),
        };
        Ok(single(self.client().release_reservation(request).await?.into_inner().reservations))
    }

    /// The reservation after an order was placed that takes all of it.
    pub(crate) async fn confirm(&self, id: &str, order: &str) -> pb::Reservation {
        let work =
            orders::WorkRequest { fulfillment_id: leg(id), node_id: "n1".to_owned(), ..Default::default() };
        self.order_placed(order, work).await;
        self.reservation(id).await
    }

    /// An order was placed that has this work.
    pub(crate) async fn order_placed(&self, order: &str, work: orders::WorkRequest) {
        let placed = orders::OrderPlaced { work: vec![work], ..Default::default() };
        let body = Some(orders::order_event::Body::Placed(placed));
        let event = orders::OrderEvent { order_id: order.to_owned(), body, ..Default::default() };
        self.tell(&[delivered(Topic::Orders, event.encode_to_vec())]).await;
    }

    /// The reservation after its node handed over: of each line its units, and how many of them left.
    pub(crate) async fn hand_over(&self, id: &str, lines: &[(u32, i64, i64)]) -> pb::Reservation {
        let line = |(line, quantity, done): &(u32, i64, i64)| fulfillment::FulfillmentLine {
            line: *line,
            quantity: *quantity,
            done: *done,
            held: quantity - done,
            consumed: *done,
            ..Default::default()
        };
        let fulfillment_order = Some(fulfillment::FulfillmentOrder {
            fulfillment_id: leg(id),
            order_id: format!("ord_{}", Uuid::nil()),
            lines: lines.iter().map(line).collect(),
            ..Default::default()
        });
        let event = fulfillment::FulfillmentEvent { fulfillment_order, body: None };
        self.tell(&[delivered(Topic::Fulfillment, event.encode_to_vec())]).await;
        self.reservation(id).await
    }

    /// Events reach the service in one transaction, as the bus brings them.
    pub(crate) async fn tell(&self, events: &[Delivered]) {
        self.hear_all(events).await.unwrap();
    }

    /// Moves the clock and lets the timers run.
    pub(crate) async fn at(&self, seconds: i64) -> usize {
        self.clock.advance_to(after(seconds));
        self.run_due().await
    }

    pub(crate) async fn audit(&self) -> pb::AuditResponse {
        self.client().audit(pb::AuditRequest {}).await.unwrap().into_inner()
    }

    /// The stock laws hold, and the versions of each aggregate are dense in its events.
    pub(crate) async fn check(&self) {
        let audit = self.audit().await;
        let broken: Vec<_> = audit.laws.iter().filter(|law| !law.ok).collect();
        assert!(audit.ok && broken.is_empty(), "{broken:?}");
        let gaps = "SELECT aggregate FROM events GROUP BY aggregate HAVING COUNT(*) <> MAX(sequence)";
        let gaps = self.rows(gaps).await;
        assert!(gaps.is_empty(), "an aggregate has a gap in its versions");
    }
}

pub(crate) fn item(sku: &str) -> pb::Sku {
    pb::Sku { sku: sku.to_owned(), name: format!("item {sku}"), ..pb::Sku::default() }
}

pub(crate) fn kit(sku: &str, parts: &[(&str, i64)]) -> pb::Sku {
    let part = |(sku, quantity): &(&str, i64)| pb::KitPart { sku: (*sku).to_owned(), quantity: *quantity };
    pb::Sku { kit_parts: parts.iter().map(part).collect(), ..item(sku) }
}
