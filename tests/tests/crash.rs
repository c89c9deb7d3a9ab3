//! Processes die at any place and come back: every acknowledged order exists, ends once, and each effect happens once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use flows::people::{order_at, pause};
use flows::processes::{Processes, SERVICES};
use flows::world::{NODE, People};
use tokio::task::JoinSet;
use tonic::Code;

/// Pieces of each SKU at the start.
const STOCK: i64 = 100_000;
/// SKUs on sale.
const SKUS: [&str; 3] = ["TEA", "CUP", "POT"];
/// How long the platform may take to finish what was begun.
const PATIENCE: Duration = Duration::from_secs(120);

/// Customers and a store that never give up.
struct Trade {
    acknowledged: Arc<Mutex<Vec<String>>>,
    shopping: Arc<AtomicBool>,
    working: Arc<AtomicBool>,
    customers: JoinSet<()>,
    store: JoinSet<()>,
}

impl Trade {
    async fn open(processes: &Processes) -> Self {
        let ops = processes.people("ops/test");
        ops.put_node(NODE).await;
        ops.stock(NODE, &SKUS.map(|sku| (sku, STOCK))).await;
        processes.settle().await;
        Self {
            acknowledged: Arc::default(),
            shopping: Arc::new(AtomicBool::new(true)),
            working: Arc::new(AtomicBool::new(true)),
            customers: JoinSet::new(),
            store: JoinSet::new(),
        }
    }

    fn begin(&mut self, processes: &Processes, seed: u64) {
        for customer in 0..3 {
            let web = processes.people("channel/web");
            let (shopping, acknowledged) = (Arc::clone(&self.shopping), Arc::clone(&self.acknowledged));
            let mut rng = fastrand::Rng::with_seed(seed * 100 + customer);
            self.customers.spawn(async move {
                while shopping.load(Ordering::Relaxed) {
                    let sku = SKUS[rng.usize(..SKUS.len())];
                    let order = buy(&web, order_at(NODE, &[(sku, rng.i64(1..4), 100)])).await;
                    acknowledged.lock().expect("no customer panics").push(order.order_id);
                    clock::Clock::system().pause(Duration::from_millis(rng.u64(5..60))).await;
                }
            });
        }
        let (store, web) = (processes.people("store/sha-01"), processes.people("channel/web"));
        let working = Arc::clone(&self.working);
        self.store.spawn(async move {
            while working.load(Ordering::Relaxed) {
                work_off(&store, &web).await;
                pause().await;
            }
        });
    }

    fn placed(&self) -> usize {
        self.acknowledged.lock().expect("no customer panics").len()
    }

    /// Customers stop, everything under way is finished, and then all is checked.
    async fn close(mut self, processes: &Processes) {
        self.shopping.store(false, Ordering::Relaxed);
        while let Some(customer) = self.customers.join_next().await {
            customer.expect("no customer panics");
        }
        let orders = self.acknowledged.lock().expect("no customer panics").clone();
        let web = processes.people("channel/web");
        let deadline = Instant::now() + PATIENCE;
        let mut delivered = 0;
        for order_id in &orders {
            let order = loop {
                let request = ord::GetOrderRequest { order_id: order_id.clone() };
                if let Ok(found) = web.clients.orders.clone().get_order(request).await {
                    let order = found.into_inner().order.unwrap_or_default();
                    if order.status() == ord::OrderStatus::Completed {
                        break order;
                    }
                    assert!(Instant::now() < deadline, "the order does not end: {order:#?}");
                }
                assert!(Instant::now() < deadline, "order {order_id} cannot be read");
                pause().await;
            };
            delivered += order.lines.iter().filter_map(|line| line.buckets).map(|b| b.delivered).sum::<i64>();
        }
        self.working.store(false, Ordering::Relaxed);
        while self.store.join_next().await.is_some() {}
        processes.settle().await;
        assert_eq!(processes.parked().await, 0, "no event was given up");
        let ops = processes.people("ops/test");
        let (mut left, mut reserved) = (0, 0);
        for sku in SKUS {
            let position = ops.position(NODE, sku).await;
            left += position.on_hand;
            reserved += position.reserved;
        }
        assert_eq!(reserved, 0, "nothing is claimed any more");
        assert_eq!(left, 3 * STOCK - delivered, "each handed-over piece left the stock once");
        ops.audit().await;
        let stored = processes.count("orders", "SELECT COUNT(*) AS n FROM orders").await;
        assert_eq!(stored, i64::try_from(orders.len()).expect("few"), "one order per request");
    }
}

/// Asks with the same request id until there is a definite answer.
async fn buy(web: &People, request: ord::PlaceOrderRequest) -> ord::Order {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match web.try_place(request.clone()).await {
            Ok(order) => return order,
            Err(status) => {
                let definite = matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument);
                assert!(!definite, "there is stock for everybody: {status:?}");
                assert!(Instant::now() < deadline, "no definite answer: {status:?}");
            }
        }
        clock::Clock::system().pause(Duration::from_millis(30)).await;
    }
}

/// One round of the store: everything open goes one step further; whatever fails is tried again in the next round.
async fn work_off(store: &People, web: &People) {
    let request = ful::ListWorkRequest { node_id: NODE.to_owned(), page_size: 200, ..Default::default() };
    let Ok(page) = store.clients.work.clone().list_work(request).await else { return };
    for work in page.into_inner().fulfillment_orders {
        let id = &work.fulfillment_id;
        match work.state() {
            ful::FulfillmentState::Offered => drop(store.accept(id).await),
            ful::FulfillmentState::Accepted => drop(store.start(id).await),
            ful::FulfillmentState::Picking => {
                let open = work.lines.iter().filter(|line| line.to_pick > 0);
                let lines: Vec<(u32, i64, i64)> = open.map(|line| (line.line, line.to_pick, 0)).collect();
                if lines.is_empty() {
                    drop(store.ready(id).await);
                } else {
                    drop(store.pick(id, &lines).await);
                }
            }
            ful::FulfillmentState::ReadyForPickup => {
                let request = ful::IssuePickupCodeRequest {
                    request_id: flows::world::fresh(),
                    order_id: work.order_id.clone(),
                };
                let Ok(issued) = web.clients.work.clone().issue_pickup_code(request).await else { continue };
                drop(store.hand_over(id, &issued.into_inner().code, &[]).await);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_a_numbered_place_changes_nothing() {
    let Some(mut processes) = Processes::start().await else { return };
    let mut trade = Trade::open(&processes).await;
    trade.begin(&processes, 1);
    for place in ["commit.before", "commit.after", "relay.published", "consumer.committed"] {
        for service in SERVICES {
            processes.kill(service);
            let drill = format!("{place}/{}", 5 + place.len() % 3);
            processes.spawn(service, Some(&drill));
            let deadline = Instant::now() + PATIENCE;
            while !processes.has_died(service) {
                assert!(Instant::now() < deadline, "{service} never came to {drill}");
                pause().await;
            }
            processes.spawn(service, None);
            processes.until_ready(service).await;
        }
    }
    trade.close(&processes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_random_change_nothing() {
    let Some(mut processes) = Processes::start().await else { return };
    let mut trade = Trade::open(&processes).await;
    trade.begin(&processes, 2);
    let mut rng = fastrand::Rng::with_seed(20);
    for _ in 0..20 {
        clock::Clock::system().pause(Duration::from_millis(rng.u64(50..900))).await;
        let service = SERVICES[rng.usize(..SERVICES.len())];
        processes.kill(service);
        processes.spawn(service, None);
        if rng.bool() {
            processes.until_ready(service).await;
        }
    }
    for service in SERVICES {
        processes.until_ready(service).await;
    }
    assert!(trade.placed() > 0, "orders were placed between the kills");
    trade.close(&processes).await;
}
