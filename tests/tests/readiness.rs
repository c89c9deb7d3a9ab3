//! What `/readyz` and `/metrics` say when something is wrong, end to end.

use std::net::SocketAddr;
use std::time::Duration;

use bus::Topic;
use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::config::{Config, Service};
use flows::people::order_at;
use flows::processes::{Processes, fetch};
use flows::world::{NODE, World};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use test_world::{eventually, until};
use tonic::Code;

/// The readiness page of a platform in this process.
async fn readiness(world: &World) -> String {
    let admin = world.platform.admin_address().expect("it has an operators' port");
    fetch(admin.trim_start_matches("http://"), "/readyz").await.expect("it is answered")
}

fn is_ready(page: &str) -> bool {
    page.starts_with("HTTP/1.1 200")
}

fn with_admin(config: &mut Config) {
    config.admin.enabled = true;
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
}

/// Runs statements on the database of orders.
async fn run(world: &World, statements: &[&'static str]) {
    let db = world.platform.database(Service::Orders).expect("orders runs here");
    let mut tx = db.begin().await.expect("the database can be written");
    for statement in statements {
        tx.fetch_all(statement, Vec::new()).await.expect("the statement runs");
    }
    tx.commit().await.expect("it is committed");
}

async fn parked(world: &World) -> i64 {
    let db = world.platform.database(Service::Orders).expect("orders runs here");
    let mut tx = db.read().await.expect("the database can be read");
    let row = tx.fetch_one("SELECT COUNT(*) AS n FROM parked", Vec::new()).await.expect("it counts");
    row.get("n").expect("a number")
}

/// While the disk of one database is full, writes are refused, the page says so and no event is given up; when there is
/// room again, all goes on.
async fn a_full_disk_is_an_outage(world: World, fill: &[&'static str], room: &[&'static str]) {
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 100_000)]).await;
    let one = || order_at(NODE, &[("TEA", 1, 500)]);
    let before = web.place(one()).await;
    let work = web.work_of(&before.order_id).await;
    world.settle().await;
    assert!(is_ready(&readiness(&world).await));
    run(&world, fill).await;
    // on SQLite a few orders find room in pages that are there
    let refused = loop {
        if let Err(status) = web.try_place(one()).await {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let page = readiness(&world).await;
    assert!(page.contains("database orders: FAILED writes fail, make room on the disk"), "{page}");
    assert!(!is_ready(&page), "{page}");
    assert_eq!(web.order(&before.order_id).await.order_id, before.order_id, "reads go on");
    // orders hears of it, and cannot write it down
    store.accept(&work.fulfillment_id).await.expect("fulfillment has room");
    world.platform.clock().pause(Duration::from_secs(2)).await;
    run(&world, room).await;
    web.order_when(&before.order_id, |order| order.status() == ord::OrderStatus::InFulfillment).await;
    assert_eq!(parked(&world).await, 0, "no event was given up");
    // it is believed after 5 s without a failure: small writes may have found room before
    until("it is ready again", async || {
        web.insist(one()).await.expect("orders are placed again");
        is_ready(&readiness(&world).await)
    })
    .await;
    world.settle().await;
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_sqlite_is_an_outage_that_the_page_names() {
    let world = World::on_clock(clock::Clock::system(), with_admin).await;
    let (fill, room) = (["PRAGMA max_page_count = 1"], ["PRAGMA max_page_count = 1073741823"]);
    Box::pin(a_full_disk_is_an_outage(world, &fill, &room)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_postgres_is_an_outage_that_the_page_names() {
    let Some(world) = World::postgres_with(with_admin).await else { return };
    // the server answers each write of an event as it does when its disk is full
    let fill = [
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER disk_is_full BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
        "CREATE TRIGGER disk_is_full BEFORE INSERT OR UPDATE ON applied
            FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
    ];
    let room = ["DROP TRIGGER disk_is_full ON events", "DROP TRIGGER disk_is_full ON applied"];
    Box::pin(a_full_disk_is_an_outage(world, &fill, &room)).await;
}

/// The readiness page of a process once it says so.
async fn page_when(processes: &Processes, service: &str, says: impl Fn(&str) -> bool) {
    eventually(async || {
        let page = processes.ask(service, "/readyz").await.unwrap_or_default();
        if says(&page) { Ok(()) } else { Err(format!("{service} says {page}")) }
    })
    .await;
}

/// Removes all records of a topic, as a retention does while a reader is away.
async fn cut_log(processes: &Processes, topic: Topic) {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", processes.broker()).create().expect("a client is made");
    let mut all = TopicPartitionList::new();
    for partition in 0..3 {
        all.add_partition_offset(&processes.topic(topic), partition, Offset::End).expect("to its end");
    }
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    client.delete_records(&all, &options).await.expect("the log is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_how_old_the_stock_view_is_and_what_happened_to_the_log() {
    let Some(mut processes) = Processes::start().await else { return };
    let (ops, web, store) =
        (processes.people("ops/test"), processes.people("channel/web"), processes.people("store/sha-01"));
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let work = web.work_of(&order.order_id).await;
    processes.settle().await;

    // open streams are counted, and counted down
    let request = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    let stream = store.clients.work.clone().watch_work(request).await.expect("watched");
    processes.metric_when("fulfillment", "entrepot_fulfillment_watchers", |open| open > 0.5).await;
    drop(stream);
    processes.metric_when("fulfillment", "entrepot_fulfillment_watchers", |open| open < 0.5).await;

    // the view of the stock
    page_when(&processes, "fulfillment", |page| page.contains("stock view: ok read ")).await;
    processes.kill("inventory");
    processes.kill("fulfillment");
    processes.spawn("fulfillment", None);
    processes.until_ready("fulfillment").await;
    page_when(&processes, "fulfillment", |page| page.contains("stock view: ok not read yet")).await;
    processes.spawn("inventory", None);
    processes.until_ready("inventory").await;
    page_when(&processes, "fulfillment", |page| page.contains("stock view: ok read ")).await;

    // the log is cut while its reader is away
    page_when(&processes, "orders", |page| page.contains("event log: ok in place")).await;
    let read = "SELECT CAST(COALESCE(SUM(next_offset), 0) AS BIGINT) AS n FROM orders.log_positions
                 WHERE topic = 'entrepot.fulfillment.v1'";
    until("orders writes down what it has read", async || processes.count(read).await > 0).await;
    processes.kill("orders");
    store.accept(&work.fulfillment_id).await.expect("accepted");
    let unsent = "SELECT COUNT(*) AS n FROM fulfillment.outbox";
    until("the event is published", async || processes.count(unsent).await == 0).await;
    cut_log(&processes, Topic::Fulfillment).await;
    processes.spawn("orders", None);
    processes.until_ready("orders").await;
    page_when(&processes, "orders", |page| page.contains("orders on entrepot.fulfillment.v1")).await;
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::InFulfillment).await;
}
