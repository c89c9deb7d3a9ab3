//! Processes die at any place and come back: every acknowledged order exists, ends once, and each effect happens once.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use contract::r#type::v1::{Consent, LineQuantity};
use entrepot::clients::minor;
use flows::people::{is_asked, order_at, pause, payment, unpaid};
use flows::processes::{Processes, SERVICES};
use flows::world::{NODE, People, fresh};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::log;

/// Pieces of each SKU at the start.
const STOCK: i64 = 100_000;
/// SKUs on sale.
const SKUS: [&str; 3] = ["TEA", "CUP", "POT"];
/// Cents for a piece of any of them.
const PRICE: i64 = 100;
/// Of a hundred orders, how many are cancelled in whole or in part, paid late, and rejected by the store.
const CANCELLED: u8 = 20;
const PAID_LATE: u8 = 10;
const REJECTED: u8 = 8;
/// The store that takes over what the other one rejects.
const SECOND: &str = "sha-02";
/// How long the platform may take to finish what was begun.
const PATIENCE: Duration = Duration::from_mins(2);

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
        for node in [NODE, SECOND] {
            ops.put_node(node).await;
            ops.stock(node, &SKUS.map(|sku| (sku, STOCK))).await;
        }
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
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..3 {
            let web = processes.people("channel/web");
            let (shopping, acknowledged) = (Arc::clone(&self.shopping), Arc::clone(&self.acknowledged));
            self.customers.spawn(shop(web, shopping, acknowledged, rng.fork()));
        }
        for node in [NODE, SECOND] {
            let (store, web) = (processes.people(&format!("store/{node}")), processes.people("channel/web"));
            let (working, mut rng) = (Arc::clone(&self.working), rng.fork());
            self.store.spawn(async move {
                while working.load(Ordering::Relaxed) {
                    work_off(&store, &web, node, &mut rng).await;
                    pause().await;
                }
            });
        }
    }

    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().expect("no customer panics").clone()
    }

    /// The shop stays open until an order was completed and one was cancelled, however slow the machine.
    async fn until_both_ends(&self, processes: &Processes) {
        let web = processes.people("channel/web");
        let mut deadline = Instant::now() + PATIENCE;
        let (mut looked_at, mut is_completed, mut is_cancelled) = (0, false, false);
        while !(is_completed && is_cancelled) {
            assert!(Instant::now() < deadline, "completed: {is_completed}, cancelled: {is_cancelled}");
            let ids = self.acknowledged();
            for order_id in &ids[looked_at..] {
                match end_of(&web, order_id).await.status() {
                    ord::OrderStatus::Completed => is_completed = true,
                    _ => is_cancelled = true,
                }
            }
            if ids.len() > looked_at {
                (looked_at, deadline) = (ids.len(), Instant::now() + PATIENCE);
            }
            pause().await;
        }
    }

    /// Customers stop, everything under way is finished, and then all is checked.
    async fn close(mut self, processes: &Processes) {
        self.until_both_ends(processes).await;
        self.shopping.store(false, Ordering::Relaxed);
        while let Some(customer) = self.customers.join_next().await {
            customer.expect("no customer panics");
        }
        let ids = self.acknowledged();
        let mut orders = Vec::new();
        for order_id in &ids {
            orders.push(end_of(&processes.people("channel/web"), order_id).await);
        }
        let deadline = Instant::now() + PATIENCE;
        while claimed(processes).await > 0 {
            assert!(Instant::now() < deadline, "the store puts back what was cancelled");
            pause().await;
        }
        self.working.store(false, Ordering::Relaxed);
        while let Some(colleague) = self.store.join_next().await {
            colleague.expect("nobody in the store panics");
        }
        processes.settle().await;
        assert_eq!(processes.parked().await, 0, "no event was given up");
        let stored = processes.count("SELECT COUNT(*) AS n FROM orders.orders").await;
        assert_eq!(stored, i64::try_from(ids.len()).expect("few"), "one order per request");
        let (events, repeats) = log::agrees_with_what_was_committed(processes).await;
        let _ = writeln!(std::io::stderr(), "{events} events, {repeats} deliveries of them again");
        check_money(processes, &orders).await;
        check_stock(processes, &orders).await;
    }
}

/// The order once it is over. The store works off what waits before it meanwhile, and a slow machine takes its time.
async fn end_of(web: &People, order_id: &str) -> ord::Order {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = ord::GetOrderRequest { order_id: order_id.to_owned() };
        let found = web.clients.orders.clone().get_order(request).await;
        match found.map(|found| found.into_inner().order.unwrap_or_default()) {
            Ok(order) => match order.status() {
                ord::OrderStatus::Completed | ord::OrderStatus::Cancelled => return order,
                // Asked about what both stores rejected, or who did not consent: the customer wants it no more.
                _ if is_asked(&order) => {
                    web.drop_missing(&order.order_id).await;
                }
                _ => assert!(Instant::now() < deadline, "the order does not end: {order:#?}"),
            },
            Err(status) => assert!(Instant::now() < deadline, "{order_id} cannot be read: {status:?}"),
        }
        pause().await;
    }
}

fn delivered(order: &ord::Order) -> i64 {
    order.lines.iter().filter_map(|line| line.buckets).map(|buckets| buckets.delivered).sum()
}

/// What was not handed over is paid back, once, to the cent; orders, their rows and their events agree on it.
async fn check_money(processes: &Processes, orders: &[ord::Order]) {
    let mut asked: HashMap<String, i64> = HashMap::new();
    let mut refunds = HashSet::new();
    for event in processes.order_events("entrepot.orders.v1.RefundRequested").await {
        let Some(ord::order_event::Body::RefundRequested(requested)) = event.body else {
            panic!("another event: {event:?}");
        };
        let refund = requested.refund.unwrap_or_default();
        *asked.entry(event.order_id).or_default() += minor(refund.amount.as_ref());
        assert!(refunds.insert(refund.refund_id.clone()), "{} is reported twice", refund.refund_id);
    }
    let (mut cancelled, mut completed, mut partly) = (0, 0, 0);
    for order in orders {
        let (total, paid) = (minor(order.total.as_ref()), minor(order.paid.as_ref()));
        let (kept, back) = (delivered(order) * PRICE, minor(order.refund_requested.as_ref()));
        assert_eq!(paid, total, "everything is paid in the end: {order:#?}");
        assert_eq!(back, paid - kept, "what was not handed over is paid back: {order:#?}");
        let refunded = asked.get(&order.order_id).copied().unwrap_or_default();
        assert_eq!(back, refunded, "each refund is reported once: {order:#?}");
        let is_completed = order.status() == ord::OrderStatus::Completed;
        assert_eq!(is_completed, kept > 0, "{order:#?}");
        match (is_completed, back > 0) {
            (false, _) => cancelled += 1,
            (true, true) => partly += 1,
            (true, false) => completed += 1,
        }
    }
    let ends = format!("{completed} orders completed, {partly} in part, {cancelled} cancelled");
    let _ = writeln!(std::io::stderr(), "{ends}");
    let rows = processes.count("SELECT COUNT(*) AS n FROM orders.order_refunds").await;
    assert_eq!(rows, i64::try_from(refunds.len()).expect("few"), "one event per refund");
}

/// Nothing is claimed any more, and each handed-over piece left the stock once.
async fn check_stock(processes: &Processes, orders: &[ord::Order]) {
    let ops = processes.people("ops/test");
    let mut left = 0;
    for (node, sku) in positions() {
        let position = ops.position(node, sku).await;
        assert_eq!((position.reserved, position.atp), (0, position.on_hand), "{position:?}");
        left += position.on_hand;
    }
    let delivered: i64 = orders.iter().map(delivered).sum();
    assert_eq!(left, 6 * STOCK - delivered, "each handed-over piece left the stock once");
    ops.audit().await;
}

/// Every position of both stores.
fn positions() -> impl Iterator<Item = (&'static str, &'static str)> {
    [NODE, SECOND].into_iter().flat_map(|node| SKUS.map(|sku| (node, sku)))
}

/// Pieces that somebody still has a claim on.
async fn claimed(processes: &Processes) -> i64 {
    let ops = processes.people("ops/test");
    let mut claimed = 0;
    for (node, sku) in positions() {
        claimed += ops.position(node, sku).await.reserved;
    }
    claimed
}

/// Asks the same again until there is a definite answer.
async fn definite<T, F>(ask: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(status) if !matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => {
                assert!(Instant::now() < deadline, "no definite answer: {status:?}");
            }
            answer => return answer,
        }
        clock::Clock::system().pause(Duration::from_millis(30)).await;
    }
}

/// A customer who buys until the shop closes, and sees to each order afterwards.
async fn shop(
    web: People,
    shopping: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    mut rng: fastrand::Rng,
) {
    let mut errands = JoinSet::new();
    while shopping.load(Ordering::Relaxed) {
        let sku = SKUS[rng.usize(..SKUS.len())];
        let plan = Plan::draw(&mut rng);
        let mut request = order_at(NODE, &[(sku, rng.i64(1..4), PRICE)]);
        let other_node_radius_m = if rng.bool() { 5_000 } else { 0 };
        request.groups[0].consent = Some(Consent { other_node_radius_m, ..Consent::default() });
        let request = if plan.pays_late { unpaid(request) } else { request };
        let order = definite(|| web.try_place(request.clone())).await.expect("there is stock for everybody");
        acknowledged.lock().expect("no customer panics").push(order.order_id.clone());
        errands.spawn(plan.carry_out(web.clone(), order));
        clock::Clock::system().pause(Duration::from_millis(rng.u64(15..100))).await;
    }
    while let Some(errand) = errands.join_next().await {
        errand.expect("each errand comes to its end");
    }
}

/// What a customer does about an order that is placed.
struct Plan {
    pays_late: bool,
    cancels: Option<Cancels>,
    /// Waits before each step.
    waits: [Duration; 2],
}

/// When, relative to the payment, and how much.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancels {
    Before,
    After,
    OnePiece,
}

impl Plan {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        let pays_late = rng.u8(..100) < PAID_LATE;
        let how =
            if pays_late { [Cancels::Before, Cancels::After] } else { [Cancels::After, Cancels::OnePiece] };
        let cancels = (rng.u8(..100) < CANCELLED).then(|| how[rng.usize(..2)]);
        Self { pays_late, cancels, waits: [0; 2].map(|_| Duration::from_millis(rng.u64(..500))) }
    }

    async fn carry_out(self, web: People, order: ord::Order) {
        let clock = clock::Clock::system();
        if self.cancels == Some(Cancels::Before) {
            cancel(&web, &order, Vec::new()).await;
        }
        clock.pause(self.waits[0]).await;
        if self.pays_late {
            pay(&web, &order).await;
        }
        clock.pause(self.waits[1]).await;
        match self.cancels {
            None | Some(Cancels::Before) => {}
            Some(Cancels::After) => cancel(&web, &order, Vec::new()).await,
            Some(Cancels::OnePiece) => {
                cancel(&web, &order, vec![LineQuantity { line: 1, quantity: 1 }]).await;
            }
        }
    }
}

/// Too late is an answer like any other: then the order was collected or rejected before.
async fn cancel(web: &People, order: &ord::Order, lines: Vec<LineQuantity>) {
    let reason = "CUSTOMER_CHANGED_MIND".to_owned();
    let request =
        ord::CancelOrderRequest { request_id: fresh(), order_id: order.order_id.clone(), lines, reason };
    let ask = || async { web.clients.orders.clone().cancel_order(request.clone()).await };
    if let Err(status) = definite(ask).await {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }
}

async fn pay(web: &People, order: &ord::Order) {
    let request = payment(order);
    let ask = || async { web.clients.orders.clone().pay_order(request.clone()).await };
    definite(ask).await.expect("money is always taken");
}

/// One round of the store: everything open goes one step further; whatever fails is tried again in the next round.
async fn work_off(store: &People, web: &People, node: &str, rng: &mut fastrand::Rng) {
    let request = ful::ListWorkRequest { node_id: node.to_owned(), page_size: 200, ..Default::default() };
    let Ok(page) = store.clients.work.clone().list_work(request).await else { return };
    for work in page.into_inner().fulfillment_orders {
        let id = &work.fulfillment_id;
        if work.lines.iter().any(|line| line.put_back > 0) {
            drop(store.put_back(id).await);
        }
        match work.state() {
            ful::FulfillmentState::Offered if rng.u8(..100) < REJECTED => {
                drop(store.reject(id, ful::RejectReason::TooBusy).await);
            }
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
                    request_id: fresh(),
                    fulfillment_id: work.fulfillment_id.clone(),
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
    trade.close(&processes).await;
}
