//! PostgreSQL and Kafka, three processes: the flow over the network, and a broker that goes away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::processes::Processes;
use flows::world::NODE;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_all_the_way_through_three_processes() {
    let Some(processes) = Processes::start().await else { return };
    let (ops, web, store) =
        (processes.people("ops/test"), processes.people("channel/web"), processes.people("store/sha-01"));
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 10), ("CUP", 5)]).await;
    let request = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    let mut stream = store.clients.work.clone().watch_work(request).await.expect("watched").into_inner();
    let order = web.place(order_at(NODE, &[("TEA", 3, 250), ("CUP", 1, 1_200)])).await;
    let work = loop {
        let change = stream.message().await.expect("the stream is open").expect("the stream goes on");
        if let Some(work) = change.item.and_then(|item| item.fulfillment_order) {
            break work;
        }
    };
    assert_eq!(work.order_id, order.order_id);
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    store.prepare(&work).await;
    let code = web.code(&order.order_id).await;
    store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    processes.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved), (7, 0));
    ops.audit().await;
    assert_eq!(processes.parked().await, 0);
}

/// A broker that this test may stop.
struct OwnBroker {
    folder: tempfile::TempDir,
}

impl OwnBroker {
    fn command(&self, what: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/kafka");
        let done = Command::new(script)
            .args([what, &self.folder.path().join("kafka").display().to_string()])
            .env_remove("ENTREPOT_TEST_KAFKA")
            .output()
            .expect("tests/parts/kafka runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/kafka");
        let _ = Command::new(script)
            .args(["stop", &self.folder.path().join("kafka").display().to_string()])
            .env_remove("ENTREPOT_TEST_KAFKA")
            .output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_thirty_seconds_delays_events_and_loses_none() {
    let broker = OwnBroker { folder: tempfile::tempdir().expect("the temporary folder is writable") };
    let address = broker.command("start");
    let address = address.trim().rsplit('=').next().unwrap_or_default().to_owned();
    let Some(processes) = Processes::on(address).await else { return };
    let (ops, web) = (processes.people("ops/test"), processes.people("channel/web"));
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 1_000)]).await;
    processes.settle().await;
    broker.command("kill");
    let mut orders = Vec::new();
    for _ in 0..30 {
        orders.push(web.place(order_at(NODE, &[("TEA", 1, 100)])).await);
        clock::Clock::system().pause(Duration::from_secs(1)).await;
    }
    let one = &orders[0];
    let cancelled = web.cancel(&one.order_id, &[]).await.expect("a cancel is taken while the broker is away");
    assert_eq!(cancelled.outcome(), ord::CancelOutcome::Pending);
    broker.command("start");
    for order in &orders[1..] {
        let work = web.work_of(&order.order_id).await;
        assert_eq!(work.state(), ful::FulfillmentState::Offered);
        web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    }
    web.order_when(&one.order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
    processes.settle().await;
    assert_eq!(processes.parked().await, 0, "each order's events came in their order");
    ops.audit().await;
}
