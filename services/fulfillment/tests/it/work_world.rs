//! A shop with three nodes, a clock that the test moves, and orders that come as events.

use crate::support::v7;
use std::sync::Arc;
use std::time::Duration;

use bus::{Consumer as _, Delivered, Topic};
use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::get_fulfillment_order_request::Key;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::network_service_server::NetworkServiceServer;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::fulfillment::v1::work_service_server::WorkServiceServer;
use contract::google::r#type as google;
use contract::inventory::v1 as inventory;
use contract::orders::v1 as orders;
use contract::r#type::v1 as common;
use db::testing::TestDb;
use domain::id::{FulfillmentId, OrderId, PromiseToken, ReservationId, derived};
use fulfillment::{Config, Fulfillment, Peers, Secret};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use tonic::{Request, Status, Streaming};

use crate::work_store::Store;

/// Noon of a Monday, UTC.
const START: i64 = 1_700_481_600;

/// A new request id.
pub(crate) fn id() -> String {
    v7().to_string()
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    server::status::reason(status).unwrap_or_default()
}

/// One line of a fulfillment order.
pub(crate) fn buckets(order: &pb::FulfillmentOrder, line: u32) -> pb::FulfillmentLine {
    let found = order.lines.iter().find(|l| l.line == line).unwrap().clone();
    let sum = found.to_pick + found.picked + found.ready + found.done + found.short + found.cancelled;
    assert_eq!(sum, found.quantity, "buckets sum to what was asked: {found:?}");
    found
}

/// An order for a node.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) order: String,
    pub(crate) token: PromiseToken,
    pub(crate) id: String,
    pub(crate) node: String,
    quantities: Vec<i64>,
}

/// An event as it was appended.
#[derive(Debug)]
pub(crate) struct AppendedEvent {
    pub(crate) event_type: String,
    pub(crate) sequence: i64,
    pub(crate) actor: String,
    pub(crate) trace: Option<String>,
    pub(crate) body: pb::FulfillmentEvent,
}

pub(crate) struct Shop {
    fulfillment: Arc<Fulfillment>,
    clock: Clock,
    db: Arc<TestDb>,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream(Streaming<pb::WatchWorkResponse>);

impl Stream {
    /// What comes next; the stream never stays silent for long.
    pub(crate) async fn next(&mut self) -> pb::WatchWorkResponse {
        let next = tokio::time::timeout(Duration::from_mins(2), self.0.message()).await;
        next.expect("the stream is silent").unwrap().expect("the stream ended")
    }
}

const SETS: db::testing::Sets<'static> =
    &[("fulfillment", fulfillment::MIGRATIONS), (bus::MIGRATION_SET, bus::MIGRATIONS)];

impl Shop {
    /// One on each engine.
    pub(crate) async fn all() -> Vec<Self> {
        Self::on(db::testing::engines(SETS).await).await
    }

    /// The same where transactions wait for locks as long as it takes.
    pub(crate) async fn all_patient() -> Vec<Self> {
        Self::on(db::testing::patient_engines(SETS).await).await
    }

    async fn on(databases: Vec<TestDb>) -> Vec<Self> {
        let mut shops = Vec::new();
        for db in databases {
            shops.push(Self::open(db).await);
        }
        shops
    }

    /// One on each engine, with other settings.
    pub(crate) async fn all_with(config: impl Fn(&mut Config)) -> Vec<Self> {
        let mut shops = Self::all().await;
        for shop in &mut shops {
            let mut changed = Self::config();
            config(&mut changed);
            shop.fulfillment = Self::start_with(shop.db.db(), shop.clock.clone(), changed).await.unwrap();
        }
        shops
    }

    async fn open(db: TestDb) -> Self {
        let clock = Clock::virtual_at(Timestamp::from_second(START).unwrap());
        let fulfillment = Self::start(db.db(), clock.clone()).await;
        let shop = Self { fulfillment, clock, db: Arc::new(db) };
        let mut network = NetworkServiceClient::new(server::peer::local(NetworkServiceServer::from_arc(
            Arc::clone(&shop.fulfillment),
        )));
        let nodes = vec![node("N1", 0, 24), node("N2", 0, 24), node("DAY", 9, 21)];
        let request = pb::PutNodesRequest { request_id: id(), nodes };
        network.put_nodes(shop.by("ops/1", request)).await.unwrap();
        shop
    }

    async fn start(db: db::Db, clock: Clock) -> Arc<Fulfillment> {
        Self::start_with(db, clock, Self::config()).await.unwrap()
    }

    /// Another process on the same data, with other settings.
    pub(crate) async fn restarted(&self, change: impl Fn(&mut Config)) -> Result<Self, fulfillment::Error> {
        let mut config = Self::config();
        change(&mut config);
        let fulfillment = Self::start_with(self.db.reopen().await, self.clock.clone(), config).await?;
        Ok(Self { fulfillment, clock: self.clock.clone(), db: Arc::clone(&self.db) })
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.work.pickup_code_secret = Secret::new("a secret of the tests");
        config
    }

    async fn start_with(
        db: db::Db,
        clock: Clock,
        config: Config,
    ) -> Result<Arc<Fulfillment>, fulfillment::Error> {
        let peers = Peers { inventory: server::peer::remote("http://127.0.0.1:9").unwrap() };
        Fulfillment::new(db, clock, config, peers).await
    }

    /// Another process on the same data.
    pub(crate) async fn another(&self) -> Self {
        let fulfillment = Self::start(self.db.reopen().await, self.clock.clone()).await;
        Self { fulfillment, clock: self.clock.clone(), db: Arc::clone(&self.db) }
    }

    pub(crate) fn service(&self) -> Arc<Fulfillment> {
        Arc::clone(&self.fulfillment)
    }

    /// A request in somebody's name.
    #[expect(clippy::unused_self, reason = "reads as who asks whom")]
    pub(crate) fn by<T>(&self, actor: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(server::auth::ACTOR, actor.parse().unwrap());
        request
    }

    /// The database of the test.
    pub(crate) fn database(&self) -> &TestDb {
        &self.db
    }

    /// The database behind the service.
    pub(crate) fn db(&self) -> db::Db {
        self.db.db()
    }

    /// Looks a code up at a node, in somebody's name.
    pub(crate) async fn find_as(
        &self,
        actor: &str,
        node: &str,
        code: &str,
    ) -> Result<pb::FulfillmentOrder, Status> {
        let request = pb::FindByPickupCodeRequest { node_id: node.to_owned(), code: code.to_owned() };
        let answer = self.client().find_by_pickup_code(self.by(actor, request)).await?;
        Ok(answer.into_inner().fulfillment_order.unwrap())
    }

    pub(crate) fn client(&self) -> WorkServiceClient<server::Peer> {
        let server = server::limited!(WorkServiceServer::from_arc(Arc::clone(&self.fulfillment)));
        WorkServiceClient::new(server::peer::local(server))
    }

    pub(crate) fn store(&self, node: &str) -> Store {
        Store::new(self.client(), format!("store/{node}"))
    }

    pub(crate) async fn try_watch(&self, actor: &str, node: &str, token: &str) -> Result<Stream, Status> {
        let request = pb::WatchWorkRequest { node_id: node.to_owned(), resume_token: token.to_owned() };
        let stream = self.client().watch_work(self.by(actor, request)).await?;
        Ok(Stream(stream.into_inner()))
    }

    pub(crate) async fn watch(&self, node: &str, token: &str) -> Stream {
        self.try_watch(&format!("store/{node}"), node, token).await.unwrap()
    }

    /// An order that is not released yet.
    #[expect(clippy::unused_self, reason = "reads as who plans")]
    pub(crate) fn plan(&self, node: &str, quantities: &[i64]) -> Work {
        let token = PromiseToken::new(v7());
        Work {
            order: OrderId::new(v7()).to_string(),
            token,
            id: FulfillmentId::new(derived("fulfillment", &token.to_string())).to_string(),
            node: node.to_owned(),
            quantities: quantities.to_vec(),
        }
    }

    /// The event that an order is placed without a block.
    pub(crate) fn released(&self, work: &Work) -> Delivered {
        let lines = (1..).zip(&work.quantities).map(|(line, quantity)| orders::WorkLine {
            line,
            sku: format!("SKU-{line}"),
            name: format!("Item {line}"),
            quantity: *quantity,
        });
        let request = orders::WorkRequest {
            promise_token: work.token.to_string(),
            method: common::Method::Pickup.into(),
            node_id: work.node.clone(),
            lines: lines.collect(),
            promised_time: Some(wire(self.clock.business() + SignedDuration::from_hours(1))),
            channel: "web".to_owned(),
            channel_order_id: id(),
        };
        let placed = orders::OrderPlaced { work: Some(request), ..Default::default() };
        self.order_event(work, 1, "OrderPlaced", orders::order_event::Body::Placed(placed))
    }

    /// The order is placed without a block.
    pub(crate) async fn release(&self, work: &Work) {
        self.batch(&[self.released(work)]).await;
    }

    pub(crate) async fn placed(&self, node: &str, quantities: &[i64]) -> Work {
        let work = self.plan(node, quantities);
        self.release(&work).await;
        work
    }

    /// An order whose goods are ready.
    pub(crate) async fn ready(&self, node: &str, quantities: &[i64]) -> Work {
        let work = self.placed(node, quantities).await;
        let store = self.store(node);
        store.accept(&work.id).await.unwrap();
        store.start(&work.id).await.unwrap();
        let lines: Vec<(u32, i64, i64)> =
            (1..).zip(quantities).map(|(line, units)| (line, *units, 0)).collect();
        store.pick(&work.id, &lines).await.unwrap();
        store.ready(&work.id).await.unwrap();
        work
    }

    /// The event that an order asks to cancel units.
    pub(crate) fn cancelling(&self, work: &Work, number: i64, lines: &[(u32, i64)]) -> Delivered {
        let lines =
            lines.iter().map(|(line, quantity)| orders::CancelLine { line: *line, quantity: *quantity });
        let asked = orders::OrderCancelRequested {
            cancel_number: number,
            lines: lines.collect(),
            reason: "CUSTOMER".to_owned(),
        };
        let body = orders::order_event::Body::CancelRequested(asked);
        self.order_event(work, 1 + number, "OrderCancelRequested", body)
    }

    pub(crate) async fn cancel(&self, work: &Work, number: i64, lines: &[(u32, i64)]) {
        self.batch(&[self.cancelling(work, number, lines)]).await;
    }

    fn order_event(
        &self,
        work: &Work,
        sequence: i64,
        name: &str,
        body: orders::order_event::Body,
    ) -> Delivered {
        let event = orders::OrderEvent {
            order_id: work.order.clone(),
            version: sequence,
            status: orders::OrderStatus::Placed.into(),
            body: Some(body),
        };
        Delivered {
            id: v7(),
            topic: Topic::Orders,
            aggregate_type: "order".to_owned(),
            aggregate: work.order.parse::<OrderId>().unwrap().uuid(),
            sequence,
            event_type: format!("entrepot.orders.v1.{name}"),
            payload: event.encode_to_vec().into(),
            occurred_at: self.clock.business(),
            actor: "channel/web".to_owned(),
            traceparent: None,
        }
    }

    /// Inventory says that it has lost the claim.
    pub(crate) async fn claim_lost(&self, work: &Work) {
        let reservation = ReservationId::new(work.token.uuid());
        let refused = inventory::ReservationRefused {
            reservation: Some(inventory::Reservation {
                reservation_id: reservation.to_string(),
                ..Default::default()
            }),
            order_id: work.order.clone(),
            reason: "NO_STOCK".to_owned(),
            sku: "SKU-1".to_owned(),
        };
        let event = inventory::InventoryEvent {
            body: Some(inventory::inventory_event::Body::ReservationRefused(refused)),
        };
        self.batch(&[Delivered {
            id: v7(),
            topic: Topic::Inventory,
            aggregate_type: "reservation".to_owned(),
            aggregate: work.token.uuid(),
            sequence: 1,
            event_type: "entrepot.inventory.v1.ReservationRefused".to_owned(),
            payload: event.encode_to_vec().into(),
            occurred_at: self.clock.business(),
            actor: "service/inventory".to_owned(),
            traceparent: None,
        }])
        .await;
    }

    /// Events reach the service in one transaction, as the bus brings them: again when others were in the way.
    pub(crate) async fn batch(&self, events: &[Delivered]) {
        for _ in 0..3 {
            if self.try_batch(events).await {
                return;
            }
        }
        panic!("the batch was in the way of others three times");
    }

    /// One try. False: others were in the way.
    pub(crate) async fn try_batch(&self, events: &[Delivered]) -> bool {
        let mut tx = self.db.begin().await.unwrap();
        match self.fulfillment.handle_batch(&mut tx, events).await {
            Ok(()) => {}
            Err(error) if error.kind != bus::HandleErrorKind::Poison => return false,
            Err(error) => panic!("{error}"),
        }
        tx.commit().await.unwrap();
        self.fulfillment.committed();
        true
    }

    /// The channel asks for a code.
    pub(crate) async fn issue_code(&self, order: &str) -> Result<String, Status> {
        let request = pb::IssuePickupCodeRequest { request_id: id(), order_id: order.to_owned() };
        let answer = self.client().issue_pickup_code(self.by("channel/web", request)).await?;
        Ok(answer.into_inner().code)
    }

    pub(crate) async fn get(&self, id: &str) -> pb::FulfillmentOrder {
        let store = Store::new(self.client(), "ops/1".to_owned());
        store.get(Key::FulfillmentId(id.to_owned())).await.unwrap()
    }

    /// All events of a fulfillment order.
    pub(crate) async fn events(&self, id: &str) -> Vec<AppendedEvent> {
        let id: FulfillmentId = id.parse().unwrap();
        let mut tx = self.db.read().await.unwrap();
        let rows = tx
            .fetch_all(
                "SELECT event_type, sequence, actor, traceparent, payload FROM events WHERE aggregate = $1 ORDER BY sequence",
                db::params![id.uuid()],
            )
            .await
            .unwrap();
        let event = |row: &db::Row| AppendedEvent {
            event_type: row.get("event_type").unwrap(),
            sequence: row.get("sequence").unwrap(),
            actor: row.get("actor").unwrap(),
            trace: row.get("traceparent").unwrap(),
            body: pb::FulfillmentEvent::decode(row.get::<Vec<u8>>("payload").unwrap().as_slice()).unwrap(),
        };
        rows.iter().map(event).collect()
    }

    /// The payloads of all events.
    pub(crate) async fn payloads(&self) -> Vec<Vec<u8>> {
        let mut tx = self.db.read().await.unwrap();
        let rows = tx.fetch_all("SELECT payload FROM events", db::params![]).await.unwrap();
        rows.iter().map(|row| row.get("payload").unwrap()).collect()
    }

    /// What the customer should have heard.
    pub(crate) async fn notices(&self, id: &str) -> Vec<String> {
        let bodies = self.events(id).await.into_iter().filter_map(|event| event.body.body);
        bodies
            .filter_map(|body| match body {
                pb::fulfillment_event::Body::CustomerNoticeDue(due) => Some(due.template),
                _ => None,
            })
            .collect()
    }

    /// The time at the shop.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.business()
    }

    /// Time goes by.
    pub(crate) fn pass(&self, span: SignedDuration) {
        assert!(self.clock.advance_to(self.clock.business() + span));
    }

    /// What is due is done; answers for how many.
    pub(crate) async fn tick(&self) -> usize {
        self.fulfillment.run_due(self.clock.business()).await.unwrap()
    }

    pub(crate) async fn next_due(&self) -> Option<Timestamp> {
        self.fulfillment.next_due().await.unwrap()
    }

    /// The feed forgets what is old.
    pub(crate) async fn prune(&self) {
        self.fulfillment.prune_feed(self.clock.business()).await.unwrap();
    }

    /// How many rows a statement counts.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.db.read().await.unwrap();
        tx.fetch_one(sql, db::params![]).await.unwrap().get("n").unwrap()
    }

    /// Runs a statement behind the back of the service.
    pub(crate) async fn alter(&self, sql: &'static str) {
        let mut tx = self.db.begin().await.unwrap();
        tx.execute(sql, db::params![]).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// A node that is open every day between two hours, UTC.
fn node(code: &str, from: i32, until: i32) -> pb::Node {
    let hour = |hours| Some(google::TimeOfDay { hours, ..Default::default() });
    pb::Node {
        node_id: code.to_owned(),
        name: format!("Store {code}"),
        kind: pb::NodeKind::Store.into(),
        place: Some(common::Place { point: Some(google::LatLng { latitude: 51.5, longitude: -0.1 }) }),
        time_zone: "UTC".to_owned(),
        methods: vec![common::Method::Pickup.into()],
        hours: (1..=7)
            .map(|day| pb::OpeningHours { day, open_time: hour(from), close_time: hour(until) })
            .collect(),
        ..Default::default()
    }
}

fn wire(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = domain::time::to_parts(at);
    prost_types::Timestamp { seconds, nanos }
}
