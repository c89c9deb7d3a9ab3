//! The largest requests that are allowed: they go all the way, and lists of them still fit into an answer.

use contract::fulfillment::v1 as ful;
use contract::google::r#type::{Date, Money};
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::world::{NODE, People, World, always_open, fresh};
use prost::Message as _;

use super::shop;

const STORE: &str = "store/sha-01";

/// A character of four bytes.
const WIDE: &str = "\u{20BB7}";

fn wide(chars: usize) -> String {
    WIDE.repeat(chars)
}

/// An order of as many lines, charges and tenders as it may have, each text as long as it may be.
fn largest(skus: &[String]) -> ord::PlaceOrderRequest {
    let lines: Vec<(&str, i64, i64)> = skus.iter().map(|sku| (sku.as_str(), 1, 1_000_000_099)).collect();
    let mut order = order_at(NODE, &lines);
    let money = |units, nanos| Some(Money { currency_code: "USD".to_owned(), units, nanos });
    for line in &mut order.lines {
        line.name = wide(200);
        line.discount = money(10_000_000, 980_000_000);
        line.tax = money(0, 10_000_000);
    }
    order.tax_included = true;
    order.channel_order_id =
        format!("{}{}", wide(60), order.channel_order_id.split_off(order.channel_order_id.len() - 4));
    order.customer_ref = wide(64);
    let charge = |_| ord::Charge {
        code: wide(64),
        description: wide(200),
        amount: money(0, 10_000_000),
        ..ord::Charge::default()
    };
    order.charges = (0..20).map(charge).collect();
    order.total = money(10, 200_000_000);
    order.tenders = (0..10)
        .map(|n: i64| ord::Tender {
            tender_id: format!("{}{n}", wide(63)),
            kind: wide(32),
            amount: money(1, 20_000_000),
            state: ord::TenderState::Captured.into(),
            provider_ref: wide(128),
            ..ord::Tender::default()
        })
        .collect();
    let size = order.encoded_len();
    assert!((1_100_000..server::MESSAGE_LIMIT).contains(&size), "{size} bytes");
    order
}

async fn place_all(world: &World, ops: &People, count: usize) -> Vec<String> {
    let skus: Vec<String> = (0..1_000).map(|index| format!("{}{index:04}", wide(60))).collect();
    for some in skus.chunks(250) {
        let stock: Vec<(&str, i64)> = some.iter().map(|sku| (sku.as_str(), 100)).collect();
        ops.stock(NODE, &stock).await;
    }
    world.settle().await;
    let web = world.clients("channel/web");
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(web.place(largest(&skus)).await.order_id);
    }
    world.settle().await;
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_orders_go_all_the_way_and_pages_of_them_fit_into_an_answer() {
    let (world, ops) = shop().await;
    let placed = place_all(&world, &ops, 5).await;
    let (web, store) = (world.clients("channel/web"), world.clients(STORE));
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ord::ListOrdersRequest { page_size: 200, page_token, filter: None };
        let page = web.clients.orders.clone().list_orders(list).await.expect("a page fits").into_inner();
        assert!(!page.orders.is_empty(), "a page has at least one order");
        seen.extend(page.orders.into_iter().map(|order| order.order_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, placed);
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ful::ListWorkRequest {
            node_id: NODE.to_owned(),
            page_size: 200,
            page_token,
            ..Default::default()
        };
        let page = store.clients.work.clone().list_work(list).await.expect("a page fits").into_inner();
        seen.extend(page.fulfillment_orders.into_iter().map(|work| work.order_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    let mut wanted = placed.clone();
    wanted.sort_unstable();
    assert_eq!(seen, wanted);

    let watch = ful::WatchWorkRequest { node_id: NODE.to_owned(), ..Default::default() };
    let mut stream = store.clients.work.clone().watch_work(watch).await.expect("watched").into_inner();
    for _ in 0..placed.len() {
        let change = stream.message().await.expect("it fits").expect("the stream goes on");
        assert_eq!(
            change.item.and_then(|item| item.fulfillment_order).unwrap_or_default().lines.len(),
            1_000
        );
    }
    drop(stream);
    hand_over(&world, &placed[0]).await;
    ops.audit().await;
    world.stop().await;
}

async fn hand_over(world: &World, order: &str) {
    let (web, store) = (world.clients("channel/web"), world.clients(STORE));
    let work = web.work_of(order).await;
    store.prepare(&work).await;
    let code = web.code(order).await;
    store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    web.order_when(order, |order| order.status() == ord::OrderStatus::Completed).await;
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_order_goes_all_the_way_over_postgres_and_kafka() {
    let Some(world) = World::kafka().await else { return };
    let ops = world.clients("ops/test");
    let placed = place_all(&world, &ops, 1).await;
    hand_over(&world, &placed[0]).await;
    ops.audit().await;
    world.stop().await;
}

/// A store with as many holidays as it may have, each with a long name.
fn festive(node_id: &str) -> ful::Node {
    let holiday = |index: i32| ful::HoursException {
        date: Some(Date { year: 2027 + index / 336, month: 1 + index / 28 % 12, day: 1 + index % 28 }),
        name: "h".repeat(190),
        ..Default::default()
    };
    ful::Node { exceptions: (0..400).map(holiday).collect(), ..always_open(node_id) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_nodes_are_listed_in_pages_that_fit_into_an_answer() {
    let (world, ops) = shop().await;
    let wanted: Vec<String> = (0..60).map(|index| format!("large-{index:02}")).collect();
    for some in wanted.chunks(3) {
        let nodes = some.iter().map(|node_id| festive(node_id)).collect();
        let request = ful::PutNodesRequest { request_id: fresh(), nodes };
        ops.clients.network.clone().put_nodes(request).await.expect("they are nodes");
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ful::ListNodesRequest { page_size: 500, page_token };
        let page = ops.clients.network.clone().list_nodes(list).await.expect("a page fits").into_inner();
        seen.extend(page.nodes.into_iter().map(|node| node.node_id).filter(|node_id| node_id != NODE));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, wanted);
    world.stop().await;
}
