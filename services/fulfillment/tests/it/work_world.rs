//! A shop with three nodes, a clock that the test moves, and orders that come as events.

use std::ops::Deref;
use std::sync::Arc;

use bus::{Delivered, Topic};
use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::google::r#type::Money;
use contract::inventory::v1 as inventory;
use contract::orders::v1 as orders;
use contract::r#type::v1 as common;
use domain::id::{FulfillmentId, OrderId, PromiseToken, ReservationId};
use domain::money::Currency;
use fulfillment::{Config, Fulfillment, Peers, Secret};
use jiff::SignedDuration;
use prost::Message as _;
use server::Peer;
use test_world::{Appended, Ground, Process, Staff, by, fresh, node, soon, stamp, v7};
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::support::SETS;

/// Noon of a Monday, UTC.
const START: &str = "2023-11-20T12:00:00Z";

/// One line of a fulfillment order.
pub(crate) fn buckets(order: &pb::FulfillmentOrder, line: u32) -> pb::FulfillmentLine {
    let found = order.lines.iter().find(|l| l.line == line).unwrap().clone();
    let at_node = found.to_pick + found.picked + found.packed + found.ready;
    let gone = found.in_custody + found.done + found.returned + found.lost;
    let off = found.short + found.given_up + found.cancelled;
    let sum = at_node + gone + off;
    assert_eq!(sum, found.quantity, "buckets sum to what was asked: {found:?}");
    let still = found.put_back + found.kept;
    let claims = (at_node + still, gone, off - still);
    assert_eq!((found.held, found.consumed, found.released), claims, "claims follow from them: {found:?}");
    found
}

/// The reservation of a leg, as its events name it.
fn reservation(leg: Uuid) -> inventory::Reservation {
    inventory::Reservation { reservation_id: ReservationId::new(leg).to_string(), ..Default::default() }
}

/// An order for a node.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) order: String,
    pub(crate) token: PromiseToken,
    pub(crate) id: String,
    pub(crate) node: String,
    quantities: Vec<i64>,
    /// What all units of each line cost, in pence, where they are paid at the handover.
    prices: Option<Vec<i64>>,
    /// What is due of that.
    due: i64,
}

impl Work {
    /// Another try of the same order, at another node.
    pub(crate) fn elsewhere(&self, node: &str) -> Self {
        Self {
            token: PromiseToken::new(v7()),
            id: FulfillmentId::new(v7()).to_string(),
            node: node.to_owned(),
            ..self.clone()
        }
    }

    /// Units of its first line, as orders names them.
    pub(crate) fn units(&self, quantity: i64) -> orders::LegCancel {
        let lines = vec![common::LineQuantity { line: 1, quantity }];
        orders::LegCancel { fulfillment_id: self.id.clone(), lines }
    }

    /// The same, paid at the handover: what its lines cost, and what is due of it.
    pub(crate) fn at_handover(self, prices: &[i64], due: i64) -> Self {
        Self { prices: Some(prices.to_vec()), due, ..self }
    }
}

/// An amount of pence.
pub(crate) fn pence(minor: i64) -> Money {
    service::wire::money(minor, Currency::GBP)
}

/// A process of the service whose inventory is never there.
pub(crate) struct Shop(Process<Fulfillment>);

impl Deref for Shop {
    type Target = Process<Fulfillment>;

    fn deref(&self) -> &Process<Fulfillment> {
        &self.0
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream(Streaming<pb::WatchWorkResponse>);

impl Stream {
    /// What comes next; the stream never stays silent for long.
    pub(crate) async fn next(&mut self) -> pb::WatchWorkResponse {
        soon(self.0.message()).await.unwrap().expect("the stream ended")
    }
}

impl Shop {
    /// One on each engine.
    pub(crate) async fn all() -> Vec<Self> {
        Self::all_with(|_| ()).await
    }

    /// The same where transactions wait for locks as long as it takes.
    pub(crate) async fn all_patient() -> Vec<Self> {
        Self::on(Ground::all_patient(SETS, START).await, |_| ()).await
    }

    /// One on each engine, with other settings.
    pub(crate) async fn all_with(change: impl Fn(&mut Config)) -> Vec<Self> {
        Self::on(Ground::all(SETS, START).await, change).await
    }

    async fn on(grounds: Vec<Ground>, change: impl Fn(&mut Config)) -> Vec<Self> {
        let mut shops = Vec::new();
        for ground in grounds {
            let service = start(ground.db.db(), &ground.clock, &change).await.unwrap();
            let shop = Self(Process::new(ground, service));
            let nodes = vec![node("N1", "UTC", 0, 24), node("N2", "UTC", 0, 24), node("DAY", "UTC", 9, 21)];
            let request = pb::PutNodesRequest { request_id: fresh(), nodes };
            shop.network().put_nodes(by("ops/1", request)).await.unwrap();
            shops.push(shop);
        }
        shops
    }

    /// Another process on the same data, with other settings.
    pub(crate) async fn restarted(&self, change: impl Fn(&mut Config)) -> Result<Self, fulfillment::Error> {
        let service = start(self.db.reopen().await, &self.clock, change).await?;
        Ok(Self(Process::new(self.ground.clone(), service)))
    }

    /// Another process on the same data.
    pub(crate) async fn another(&self) -> Self {
        self.restarted(|_| ()).await.unwrap()
    }

    pub(crate) fn client(&self) -> WorkServiceClient<Peer> {
        WorkServiceClient::new(self.peer())
    }

    pub(crate) fn network(&self) -> NetworkServiceClient<Peer> {
        NetworkServiceClient::new(self.peer())
    }

    /// Somebody at a node.
    pub(crate) fn staff(&self, kind: &str, id: &str, node: &str) -> Staff<Peer> {
        let peer = server::peer::acting(self.peer(), &server::Principal::new(kind, id));
        Staff { client: WorkServiceClient::new(peer), node: node.to_owned() }
    }

    pub(crate) fn store(&self, node: &str) -> Staff<Peer> {
        self.staff("store", node, node)
    }

    pub(crate) async fn try_watch(&self, actor: &str, node: &str, token: &str) -> Result<Stream, Status> {
        let request = pb::WatchWorkRequest { node_id: node.to_owned(), resume_token: token.to_owned() };
        let stream = self.client().watch_work(by(actor, request)).await?;
        Ok(Stream(stream.into_inner()))
    }

    pub(crate) async fn watch(&self, node: &str, token: &str) -> Stream {
        self.try_watch(&format!("store/{node}"), node, token).await.unwrap()
    }

    /// An order that is not released yet.
    #[expect(clippy::unused_self, reason = "reads as who plans")]
    pub(crate) fn plan(&self, node: &str, quantities: &[i64]) -> Work {
        Work {
            order: OrderId::new(v7()).to_string(),
            token: PromiseToken::new(v7()),
            id: FulfillmentId::new(v7()).to_string(),
            node: node.to_owned(),
            quantities: quantities.to_vec(),
            prices: None,
            due: 0,
        }
    }

    /// The event that an order is placed without a block.
    pub(crate) fn released(&self, work: &Work) -> Delivered {
        let placed = orders::OrderPlaced { work: vec![self.request(work)], ..Default::default() };
        self.order_event(work, 1, "OrderPlaced", orders::order_event::Body::Placed(placed))
    }

    /// The event that an order is not blocked any more.
    pub(crate) fn unblocked(&self, work: &Work, sequence: i64) -> Delivered {
        let unblocked = orders::OrderUnblocked { work: vec![self.request(work)] };
        let body = orders::order_event::Body::Unblocked(unblocked);
        self.order_event(work, sequence, "OrderUnblocked", body)
    }

    /// The event that an order has pieces elsewhere, and lets old claims go.
    pub(crate) fn rerouted(&self, to: &Work, sequence: i64, let_go: Vec<orders::LegCancel>) -> Delivered {
        let rerouted = orders::OrderRerouted { work: vec![self.request(to)], let_go, need: None };
        self.order_event(to, sequence, "OrderRerouted", orders::order_event::Body::Rerouted(rerouted))
    }

    /// What a node is asked to do.
    fn request(&self, work: &Work) -> orders::WorkRequest {
        let due = |line: u32| work.prices.as_ref().map(|prices| pence(prices[line as usize - 1]));
        let lines = (1..).zip(&work.quantities).map(|(line, quantity)| orders::WorkLine {
            line,
            sku: format!("SKU-{line}"),
            name: format!("Item {line}"),
            quantity: *quantity,
            due: due(line),
        });
        orders::WorkRequest {
            fulfillment_id: work.id.clone(),
            promise_token: work.token.to_string(),
            group: 1,
            method: common::Method::Pickup.into(),
            node_id: work.node.clone(),
            lines: lines.collect(),
            window: Some(common::Window {
                start_time: Some(stamp(self.now() + SignedDuration::from_hours(1))),
                end_time: Some(stamp(self.now() + SignedDuration::from_hours(49))),
            }),
            channel: "web".to_owned(),
            channel_order_id: fresh(),
            due: (work.due > 0).then(|| pence(work.due)),
            ..Default::default()
        }
    }

    /// The event that an order was paid elsewhere: what is due of its work now.
    pub(crate) fn paid(&self, work: &Work, sequence: i64, due: i64) -> Delivered {
        let due = orders::LegDue { fulfillment_id: work.id.clone(), due: Some(pence(due)) };
        let paid = orders::OrderPaid { work: vec![due], ..Default::default() };
        self.order_event(work, sequence, "OrderPaid", orders::order_event::Body::Paid(paid))
    }

    /// The event that a payment of an order was lost.
    pub(crate) fn payment_lost(&self, work: &Work, sequence: i64) -> Delivered {
        let lost = orders::OrderPaymentLost { fulfillment_ids: vec![work.id.clone()], ..Default::default() };
        self.order_event(work, sequence, "OrderPaymentLost", orders::order_event::Body::PaymentLost(lost))
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
        self.prepare(&work).await;
        work
    }

    /// The node makes the goods of an order ready.
    pub(crate) async fn prepare(&self, work: &Work) {
        let store = self.store(&work.node);
        store.accept(&work.id).await.unwrap();
        store.start(&work.id).await.unwrap();
        let lines: Vec<(u32, i64, i64)> =
            (1..).zip(&work.quantities).map(|(line, units)| (line, *units, 0)).collect();
        store.pick(&work.id, &lines).await.unwrap();
        store.ready(&work.id).await.unwrap();
    }

    /// The event that an order asks to cancel units.
    pub(crate) fn cancelling(&self, work: &Work, number: i64, lines: &[(u32, i64)]) -> Delivered {
        let lines =
            lines.iter().map(|(line, quantity)| common::LineQuantity { line: *line, quantity: *quantity });
        let leg = orders::LegCancel { fulfillment_id: work.id.clone(), lines: lines.collect() };
        let asked = orders::OrderCancelRequested {
            cancel_number: number,
            legs: vec![leg],
            reason: "CUSTOMER".to_owned(),
        };
        let body = orders::order_event::Body::CancelRequested(asked);
        self.order_event(work, 1 + number, "OrderCancelRequested", body)
    }

    pub(crate) async fn cancel(&self, work: &Work, number: i64, lines: &[(u32, i64)]) {
        self.batch(&[self.cancelling(work, number, lines)]).await;
    }

    pub(crate) fn order_event(
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
            ..Default::default()
        };
        Delivered {
            aggregate: work.order.parse::<OrderId>().unwrap().uuid(),
            sequence,
            event_type: format!("entrepot.orders.v1.{name}"),
            ..test_world::delivered(Topic::Orders, "order", event.encode_to_vec(), self.now())
        }
    }

    /// Inventory says that it has lost the claim.
    pub(crate) async fn claim_lost(&self, work: &Work) {
        let leg = work.id.parse::<FulfillmentId>().unwrap().uuid();
        let refused = inventory::ReservationRefused {
            reservation: Some(reservation(leg)),
            order_id: work.order.clone(),
            reason: "NO_STOCK".to_owned(),
            sku: "SKU-1".to_owned(),
        };
        self.batch(&[self.stock_event(leg, inventory::inventory_event::Body::ReservationRefused(refused))])
            .await;
    }

    /// Inventory says that the claim of a leg has lost units.
    pub(crate) fn given_up(&self, work: &Work, sku: &str, lines: &[(u32, i64)]) -> Delivered {
        let quantity = |&(line, quantity): &(u32, i64)| common::LineQuantity { line, quantity };
        let leg = work.id.parse::<FulfillmentId>().unwrap().uuid();
        let given_up = inventory::ReservationGivenUp {
            reservation: Some(reservation(leg)),
            order_id: work.order.clone(),
            reason: "NOT_FOUND".to_owned(),
            lines: lines.iter().map(quantity).collect(),
            sku: sku.to_owned(),
        };
        self.stock_event(leg, inventory::inventory_event::Body::ReservationGivenUp(given_up))
    }

    /// Inventory says that goods which the work of a leg is picking may not be there.
    pub(crate) fn doubtful(&self, work: &Work, sku: &str) -> Delivered {
        self.doubted(work, sku, false)
    }

    /// Inventory says that such goods were counted, and are there.
    pub(crate) fn counted(&self, work: &Work, sku: &str) -> Delivered {
        self.doubted(work, sku, true)
    }

    fn doubted(&self, work: &Work, sku: &str, is_over: bool) -> Delivered {
        let leg = work.id.parse::<FulfillmentId>().unwrap().uuid();
        let doubtful = inventory::ReservationDoubtful {
            reservation: Some(reservation(leg)),
            order_id: work.order.clone(),
            sku: sku.to_owned(),
            is_over,
        };
        self.stock_event(leg, inventory::inventory_event::Body::ReservationDoubtful(doubtful))
    }

    fn stock_event(&self, leg: Uuid, body: inventory::inventory_event::Body) -> Delivered {
        let event = inventory::InventoryEvent { body: Some(body) };
        let delivered =
            test_world::delivered(Topic::Inventory, "reservation", event.encode_to_vec(), self.now());
        Delivered { aggregate: leg, ..delivered }
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
        match self.hear_all(events).await {
            Ok(()) => true,
            Err(error) if error.kind != bus::HandleErrorKind::Poison => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The channel asks for a code.
    pub(crate) async fn issue_code(&self, work: &str) -> Result<String, Status> {
        self.staff("channel", "web", "").issue_code(work).await
    }

    pub(crate) async fn get(&self, id: &str) -> pb::FulfillmentOrder {
        self.staff("ops", "1", "").get(id).await.unwrap()
    }

    /// All events of a fulfillment order.
    pub(crate) async fn events(&self, id: &str) -> Vec<Appended<pb::FulfillmentEvent>> {
        let id = id.parse::<FulfillmentId>().unwrap().uuid();
        let mut events = self.appended().await;
        events.retain(|event| event.aggregate == id);
        events.sort_by_key(|event| event.sequence);
        events
    }

    /// What the customer should have heard.
    pub(crate) async fn notices(&self, id: &str) -> Vec<String> {
        let events = self.events(id).await.into_iter();
        events
            .filter_map(|event| event.body.body)
            .filter_map(|body| match body {
                pb::fulfillment_event::Body::CustomerNoticeDue(due) => Some(due.template),
                _ => None,
            })
            .collect()
    }

    /// The feed forgets what is old.
    pub(crate) async fn prune(&self) {
        self.service.prune_feed(self.now()).await.unwrap();
    }
}

async fn start(
    db: db::Db,
    clock: &Clock,
    change: impl Fn(&mut Config),
) -> Result<Arc<Fulfillment>, fulfillment::Error> {
    let mut config = Config::default();
    config.work.pickup_code_secret = Secret::new("a secret of the tests");
    change(&mut config);
    let peers = Peers { inventory: server::peer::remote("http://127.0.0.1:9").unwrap() };
    Fulfillment::new(db, clock.clone(), config, peers).await
}
