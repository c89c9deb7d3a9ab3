//! What operators do, through the real program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bus::Topic;
use contract::orders::v1 as ord;
use db::testing::own_database;
use entrepot::clients::Clients;
use flows::broker_path::BrokerPath;
use flows::people::order_at;
use flows::processes::{Processes, binary, broker, fetch, free_port, fresh_prefix};
use flows::world::{NODE, PATIENCE, People};
use test_world::until;

use crate::log;

#[tokio::test(flavor = "multi_thread")]
async fn events_that_readers_lost_are_published_once_more_and_change_nothing_here() {
    let Some(processes) = Processes::start().await else { return };
    let (ops, web) = (processes.people("ops/test"), processes.people("channel/web"));
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    processes.settle().await;
    let order = web.order(&order.order_id).await;
    let events = processes.events(Topic::Orders).await.len();
    for since in ["all", "1h"] {
        let output = processes.run(&["events", "resend", "--topic", "orders", "--since", since]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.trim(), format!("{events} events of entrepot.orders.v1 are published once more"));
        processes.settle().await;
    }
    let (_, repeats) = log::agrees_with_what_was_committed(&processes).await;
    assert!(repeats >= 2 * events, "{repeats} repeats of {events} events");
    assert_eq!(web.order(&order.order_id).await, order);
    assert_eq!(processes.parked().await, 0);
    for (arguments, word) in [
        (["events", "resend", "--topic", "stock", "--since", "all"], "entrepot.inventory.v1"),
        (["events", "resend", "--topic", "orders", "--since", "yesterday"], "yesterday"),
    ] {
        let output = processes.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

/// A program that serves until it is stopped.
struct Serving(Child);

impl Serving {
    /// Waits for a line with `word` on one of its outputs, then reads on so that the pipe stays open.
    fn after(mut child: Child, word: &'static str) -> Self {
        let out: Box<dyn std::io::Read + Send> = match child.stderr.take() {
            Some(err) => Box::new(err),
            None => Box::new(child.stdout.take().expect("one of its outputs is ours")),
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut said = String::new();
            while out.read_line(&mut said).is_ok_and(|read| read > 0) && !said.contains(word) {}
            let _ = sender.send(said);
            let _ = out.read_to_string(&mut String::new());
        });
        let serving = Self(child);
        let said = receiver.recv_timeout(PATIENCE).expect("it says something");
        assert!(said.contains(word), "{said}");
        serving
    }

    /// Asks it to stop, and expects a clean end.
    fn stop(mut self) {
        let sent = Command::new("kill").arg(self.0.id().to_string()).status().expect("kill runs");
        assert!(sent.success());
        assert!(self.0.wait().expect("it ends").success(), "a clean end");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All services on one database, with these settings for the bus.
fn serve(url: &str, data: &Path, bus: &[(&str, &str)]) -> Command {
    serve_at("127.0.0.1:0", "127.0.0.1:0", url, data, bus)
}

/// The same on these ports.
fn serve_at(listen: &str, admin: &str, url: &str, data: &Path, bus: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["serve", "--listen", listen, "--admin", admin, "--data"])
        .arg(data)
        .env("ENTREPOT__DATABASE__URL", url)
        .env("ENTREPOT__SECRETS__PICKUP_CODE_KEY", "a key for tests only")
        .envs(bus.iter().map(|(key, value)| (format!("ENTREPOT__BUS__{key}"), (*value).to_owned())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn starts(mut command: Command) {
    Serving::after(command.spawn().expect("it runs"), " ready: gRPC ").stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_used_with_kafka_is_not_served_with_the_local_bus_unless_that_is_wanted() {
    let (Some(broker), Some(database)) = (broker(), own_database().await) else { return };
    let data = tempfile::tempdir().expect("the temporary folder is writable");
    let (url, prefix) = (database.url(), fresh_prefix());
    let kafka: &[(&str, &str)] = &[("KIND", "kafka"), ("BROKERS", &broker), ("PREFIX", &prefix)];
    let local: &[(&str, &str)] = &[("KIND", "local")];
    starts(serve(&url, data.path(), kafka));
    let refused = serve(&url, data.path(), local).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for words in ["was used with bus.kind = kafka", "set bus.kind = kafka", "bus.leave_kafka = true"] {
        assert!(said.contains(words), "{said}");
    }
    let other = fresh_prefix();
    let topics: &[(&str, &str)] = &[("KIND", "kafka"), ("BROKERS", &broker), ("PREFIX", &other)];
    let refused = serve(&url, data.path(), topics).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("was used with bus.kind = kafka, bus.prefix = \"{prefix}\"")), "{said}");
    let leave: &[(&str, &str)] = &[("KIND", "local"), ("LEAVE_KAFKA", "true")];
    starts(serve(&url, data.path(), leave));
    // and from then on the local bus is the one that was used
    starts(serve(&url, data.path(), local));
}

/// The demo with `rate` orders a second after its table, on ports of its own.
fn demo(data: &Path, rate: &str) -> (Serving, String, String) {
    let (listen, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let child = Command::new(binary())
        .args(["demo", "--orders", "20", "--listen", &listen, "--admin", &admin, "--rate", rate, "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    (Serving::after(child, "serving on "), listen, admin)
}

/// Orders that a platform has placed since its start.
async fn placed(admin: &str) -> u64 {
    let page = fetch(admin, "/metrics").await.expect("it says its metrics");
    let count = page.lines().find_map(|line| line.strip_prefix("entrepot_orders_placed_total "));
    count.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_listens_on_the_given_ports_and_goes_on_at_its_rate() {
    let data = tempfile::tempdir().expect("the temporary folder is writable");
    let (demo, listen, admin) = demo(data.path(), "20");
    let ready = fetch(&admin, "/readyz").await.unwrap_or_default();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    until("there are more orders than the table shows", async || placed(&admin).await > 30).await;
    let clients = Clients::new(&format!("http://{listen}"), "ops/test").expect("an address");
    let request = ord::ListOrdersRequest { page_size: 1, ..Default::default() };
    let page = clients.orders.clone().list_orders(request).await.expect("it serves").into_inner();
    assert_eq!(page.orders.len(), 1);
    demo.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_with_rate_0_only_serves_after_its_table() {
    let data = tempfile::tempdir().expect("the temporary folder is writable");
    let (demo, _, admin) = demo(data.path(), "0");
    let before = placed(&admin).await;
    assert!((1..=20).contains(&before), "{before}");
    clock::Clock::system().pause(Duration::from_millis(1_500)).await;
    assert_eq!(placed(&admin).await, before, "nobody orders any more");
    demo.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_starts_without_the_broker_and_makes_its_topics_when_that_is_back() {
    let (Some(broker), Some(database)) = (broker(), own_database().await) else { return };
    let data = tempfile::tempdir().expect("the temporary folder is writable");
    let way = BrokerPath::to(&broker).await;
    way.proxy.refuse();
    let (address, prefix) = (way.proxy.address().to_string(), fresh_prefix());
    let (listen, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let kafka: &[(&str, &str)] =
        &[("KIND", "kafka"), ("BROKERS", &address), ("PREFIX", &prefix), ("PARTITIONS", "3")];
    let mut command = serve_at(&listen, &admin, &database.url(), data.path(), kafka);
    let serving = Serving::after(command.spawn().expect("it runs"), " ready: gRPC ");
    let page = fetch(&admin, "/readyz").await.expect("it answers");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("topics: ok not checked yet"), "{page}");
    assert!(page.contains("broker: ok does not answer"), "{page}");
    let web = People::new(&format!("http://{listen}"), "channel/web");
    let ops = People::new(&format!("http://{listen}"), "ops/test");
    ops.put_node(NODE).await;
    way.proxy.heal();
    until("the topics are in place", async || {
        let page = fetch(&admin, "/readyz").await.expect("it answers");
        page.contains("topics: ok in place") && page.contains("broker: ok connected")
    })
    .await;
    ops.stock(NODE, &[("TEA", 1)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    serving.stop();
}
