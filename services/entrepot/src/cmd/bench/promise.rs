//! `bench promise`: options for a cart of five lines near a place, over 5,000 nodes, one question at a time.

use std::time::Duration;

use contract::fulfillment::v1 as ful;
use contract::google::r#type::LatLng;
use contract::inventory::v1 as inv;
use contract::r#type::v1::{Method, Place};
use tonic::Status;

use super::load::closed;
use super::outcome::{Outcome, Pairs};
use super::stage::Stage;
use crate::clients::timestamp;
use crate::cmd::setup::{self, NodeSpec};

/// Nodes of the network.
const NODES: usize = 5_000;
/// Lines of the cart.
const LINES: u32 = 5;

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    build(stage).await?;
    let client = stage.clients[0].promise.clone();
    let call = move |_: usize, number: u64| {
        let mut client = client.clone();
        async move {
            let answer = client.get_promise(request(number)).await?.into_inner();
            if answer.options.is_empty() {
                return Err(Status::failed_precondition("no option was found"));
            }
            Ok(())
        }
    };
    let warm = closed(1, Duration::from_millis(300), call.clone()).await;
    if warm.micros.is_empty() {
        return Err(Status::internal(warm.first_failure.unwrap_or_default()));
    }
    let mut pairs = Pairs::default();
    for _ in 0..super::ROUNDS {
        pairs.ours.push(closed(1, stage.round() * 2, call.clone()).await);
    }
    let mut outcome = Outcome::of("promise", stage.on(), 1, LINES as usize, &pairs);
    outcome.more.insert("p50_us_per_cart", outcome.p50_ms * 1_000.0);
    outcome.more.insert("p99_us_per_cart", outcome.p99_ms * 1_000.0);
    #[expect(clippy::cast_precision_loss, reason = "5,000")]
    outcome.more.insert("nodes", NODES as f64);
    Ok(outcome)
}

/// A grid of nodes over Great Britain, each with stock of four of the five SKUs, every third with all five.
async fn build(stage: &Stage<'_>) -> Result<(), Status> {
    let clients = &stage.clients[0];
    let skus: Vec<(String, String)> =
        (0..LINES).map(|index| (code(index), format!("Bench {index}"))).collect();
    setup::put_skus(clients, &skus).await?;
    let mut rows = Vec::new();
    let mut nodes = Vec::new();
    let at = stage.platform.clock().business();
    for index in 0..NODES {
        let id = format!("bench-{index:05}");
        #[expect(clippy::cast_precision_loss, reason = "below 5,000")]
        let (row, column) = ((index / 50) as f64, (index % 50) as f64);
        nodes.push(setup::node(&NodeSpec {
            id: &id,
            name: &id,
            kind: ful::NodeKind::Store,
            at: (50.5 + row * 0.05, -4.0 + column * 0.1),
            time_zone: "Europe/London",
            hours: [Some((0, 24 * 60)); 7],
            method: Method::Pickup,
            preparation_min: 30,
            orders_per_hour: Some(1_000),
        }));
        let missing = if index % 3 == 0 { None } else { u32::try_from(index % 5).ok() };
        for line in (0..LINES).filter(|line| Some(*line) != missing) {
            rows.push(inv::DeltaRow {
                node_id: id.clone(),
                sku: code(line),
                delta: 100,
                kind: i32::from(inv::MovementKind::Receipt),
                reference: format!("bench/{id}/{line}"),
                source_time: Some(timestamp(at)),
            });
        }
    }
    setup::put_nodes(clients, &nodes).await?;
    setup::book(clients, "bench", &rows).await?;
    stage.drained().await
}

fn code(line: u32) -> String {
    format!("PROMISE-{line}")
}

fn request(number: u64) -> ful::GetPromiseRequest {
    let lines = (0..LINES).map(|line| ful::CartLine { line: line + 1, sku: code(line), quantity: 1 });
    #[expect(clippy::cast_precision_loss, reason = "below 100")]
    let off = (number % 97) as f64;
    let point = LatLng { latitude: 50.6 + off * 0.05, longitude: -3.9 + off * 0.045 };
    ful::GetPromiseRequest {
        lines: lines.collect(),
        methods: vec![i32::from(Method::Pickup)],
        place: Some(Place { point: Some(point) }),
        max_options: 5,
        ..Default::default()
    }
}
