//! PostgreSQL and Kafka, three processes: a broker that goes away, and what operators see.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::processes::{Processes, SERVICES};
use flows::world::{NODE, fresh};

use crate::log;

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
    // One of three is cancelled, so that several events of an order wait together.
    for round in 0..30 {
        let order = web.place(order_at(NODE, &[("TEA", 1, 100)])).await;
        let is_cancelled = round % 3 == 0;
        if is_cancelled {
            let asked =
                web.cancel(&order.order_id, &[]).await.expect("a cancel is taken while the broker is away");
            assert_eq!(asked.outcome(), ord::CancelOutcome::Pending);
        }
        orders.push((order, is_cancelled));
        clock::Clock::system().pause(Duration::from_secs(1)).await;
    }
    // What operators see of it: orders wait, and for how long.
    processes.metric_when("orders", "entrepot_outbox_pending", |waiting| waiting >= 40.0).await;
    processes.metric_when("orders", "entrepot_outbox_age_seconds", |age| age >= 15.0).await;
    broker.command("start");
    for (order, is_cancelled) in &orders {
        if *is_cancelled {
            web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
            continue;
        }
        let work = web.work_of(&order.order_id).await;
        assert_eq!(work.state(), ful::FulfillmentState::Offered);
        web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    }
    processes.settle().await;
    for service in SERVICES {
        // An event that comes too early is seen as a gap, and would be healed without a trace elsewhere.
        let gaps = processes.metric(service, "entrepot_event_gaps_total").await;
        assert_eq!(gaps.filter(|gaps| *gaps > 0.0), None, "{service} got each order's events in their order");
        processes.metric_when(service, "entrepot_outbox_pending", |waiting| waiting == 0.0).await;
        processes.metric_when(service, "entrepot_outbox_age_seconds", |age| age == 0.0).await;
        processes.metric_when(service, "entrepot_events_parked", |parked| parked == 0.0).await;
        processes.metric_when(service, "entrepot_consumer_lag", |lag| lag == 0.0).await;
    }
    assert_eq!(processes.parked().await, 0, "no event was given up");
    let (events, repeats) = log::agrees_with_what_was_committed(&processes).await;
    assert!(events > 100, "{events} events, {repeats} of them more than once");
    ops.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_runs_out_is_counted_and_its_stock_is_free() {
    let Some(processes) = Processes::start().await else { return };
    let ops = processes.people("ops/test");
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 10)]).await;
    let reservation = inv::NewReservation {
        reservation_id: format!("rsv_{}", fresh()),
        node_id: NODE.to_owned(),
        lines: vec![inv::ReserveLine { line: 1, sku: "TEA".to_owned(), quantity: 4 }],
        promised_time: None,
        channel: String::new(),
    };
    let request = inv::ReserveRequest {
        request_id: fresh(),
        reservations: vec![reservation],
        ttl: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        instead_of: Vec::new(),
    };
    ops.clients.inventory.clone().reserve(request).await.expect("reserved");
    processes.metric_when("inventory", "entrepot_inventory_holds_expired_total", |ended| ended >= 1.0).await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.reserved, tea.atp), (0, 10), "{tea:?}");
    ops.audit().await;
}
