//! `bench propagate`: from an order's placement to those who must know: a consumer in another process (with Kafka) and
//! the store's stream. Measured from the instant that the order itself carries, which is before its commit.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use jiff::Timestamp;
use prost::Message as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;
use tonic::Status;

use super::load::Round;
use super::outcome::{Outcome, Pairs};
use super::stage::{NODE, Stage};
use super::{Args, place};
use crate::clients::instant;
use crate::cmd::demo::Latency;
use crate::cmd::setup::internal;
use crate::exit;

/// When somebody saw an order first, microseconds since the epoch by order id.
type Sightings = Arc<Mutex<HashMap<String, i64>>>;

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.node().await?;
    stage.stock().await?;
    let (in_stream, elsewhere) = (Sightings::default(), Sightings::default());
    let watcher = watch_store(stage, Arc::clone(&in_stream)).await?;
    let child = match &stage.args.kafka {
        Some(brokers) => Some(observer(brokers, Arc::clone(&elsewhere)).await?),
        None => None,
    };
    // Until the first orders are seen, consumer groups may still be joining: that is a start, not a propagation.
    let (first, _) = place_at_rate(stage, 0.5).await?;
    wait_for(&in_stream, &first).await;
    let (placed, round) = place_at_rate(stage, stage.args.seconds).await?;
    stage.drained().await?;
    wait_for(&in_stream, &placed).await;
    if child.is_some() {
        wait_for(&elsewhere, &placed).await;
    }
    watcher.abort();
    let stream = latencies(&placed, &in_stream);
    let other = latencies(&placed, &elsewhere);
    let main = if child.is_some() { &other } else { &stream };
    let pairs = Pairs { ours: vec![Round { micros: main.clone(), ..round }], reference: Vec::new() };
    let mut outcome = Outcome::of("propagate", stage.on(), 1, stage.args.skus, &pairs);
    let quantiles = |micros: &[u32]| Latency::of(micros.iter().map(|micros| u64::from(*micros)));
    let took = quantiles(&stream);
    outcome.more.insert("store_stream_p50_ms", took.p50);
    outcome.more.insert("store_stream_p99_ms", took.p99);
    if child.is_some() {
        let took = quantiles(&other);
        outcome.more.insert("other_process_p50_ms", took.p50);
        outcome.more.insert("other_process_p99_ms", took.p99);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
    {
        outcome.more.insert("orders", placed.len() as f64);
        outcome.more.insert("not_seen_by_store", (placed.len() - stream.len()) as f64);
    }
    Ok(outcome)
}

async fn watch_store(stage: &Stage<'_>, seen: Sightings) -> Result<tokio::task::JoinHandle<()>, Status> {
    let clock = stage.platform.clock().clone();
    let request = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    let store = stage.clients[1].acting(&format!("store/{NODE}")).map_err(internal)?;
    let mut stream = store.work.clone().watch_work(request).await?.into_inner();
    Ok(tokio::spawn(async move {
        while let Ok(Some(change)) = stream.message().await {
            let Some(work) = change.item.and_then(|item| item.fulfillment_order) else { continue };
            note(&seen, work.order_id, clock.wall());
        }
    }))
}

/// Another process that only listens to the orders' topic.
async fn observer(brokers: &str, seen: Sightings) -> Result<tokio::process::Child, Status> {
    let program = std::env::current_exe().map_err(internal)?;
    let mut child = tokio::process::Command::new(program)
        .args(["bench", "observe", "--kafka", brokers])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(internal)?;
    let output = child.stdout.take().ok_or_else(|| internal("the observer has no output"))?;
    let mut lines = BufReader::new(output).lines();
    let ready = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
    if !matches!(&ready, Ok(Ok(Some(line))) if line == "ready") {
        return Err(internal("the observer did not become ready within 30 s"));
    }
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let Some((order, micros)) = line.split_once(' ') else { continue };
            let at = micros.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
            if let Some(at) = at {
                note(&seen, order.to_owned(), at);
            }
        }
    });
    Ok(child)
}

/// The other process: writes `order_id micros` for each order placed, as soon as it reads it.
#[expect(clippy::print_stdout, reason = "the lines are what this process is for")]
pub(crate) async fn observe(args: &Args) -> exit::Result<()> {
    let Some(brokers) = &args.kafka else {
        return Err(exit::Exit::usage("bench observe needs --kafka"));
    };
    let clock = clock::Clock::system();
    let mut feed = crate::compose::listen(brokers, &[bus::Topic::Orders])?;
    feed.ready().await.map_err(|error| exit::Exit::bus("cannot follow the orders' topic", &error))?;
    println!("ready");
    loop {
        let Ok(event) = feed.next().await else { continue };
        let at = clock.wall().as_microsecond();
        let Ok(event) = ord::OrderEvent::decode(event.payload.clone()) else { continue };
        if matches!(event.body, Some(ord::order_event::Body::Placed(_))) {
            println!("{} {at}", event.order_id);
        }
    }
}

/// Places orders at the rate asked for, whatever the answers take.
async fn place_at_rate(stage: &Stage<'_>, seconds: f64) -> Result<(HashMap<String, i64>, Round), Status> {
    let total = (seconds * f64::from(stage.args.rate)).round().max(1.0);
    let every = Duration::from_secs_f64(1.0 / f64::from(stage.args.rate.max(1)));
    let mut ticks = tokio::time::interval(every);
    let mut calls = JoinSet::new();
    let begun = std::time::Instant::now();
    let mut number = 0_u64;
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
    while (number as f64) < total {
        ticks.tick().await;
        let mut client = stage.clients[0].orders.clone();
        let request = place::request(0, number, stage.args.skus, 1);
        number += 1;
        calls.spawn(async move { client.place_order(request).await });
    }
    let mut placed = HashMap::new();
    let mut round = Round::default();
    while let Some(answer) = calls.join_next().await {
        match answer.map_err(internal)? {
            Ok(answer) => {
                let order = answer.into_inner().order.unwrap_or_default();
                let at = instant(order.place_time.as_ref()).unwrap_or(Timestamp::UNIX_EPOCH);
                placed.insert(order.order_id, at.as_microsecond());
            }
            Err(status) => {
                round.failed += 1;
                round.first_failure.get_or_insert_with(|| status.to_string());
            }
        }
    }
    round.elapsed_s = begun.elapsed().as_secs_f64();
    Ok((placed, round))
}

/// Waits until each of these orders was seen, at most five seconds.
async fn wait_for(seen: &Sightings, orders: &HashMap<String, i64>) {
    for _ in 0..500 {
        let is_seen = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            orders.keys().all(|order| seen.contains_key(order))
        };
        if is_seen {
            return;
        }
        clock::Clock::system().pause(Duration::from_millis(10)).await;
    }
}

fn note(seen: &Sightings, order: String, at: Timestamp) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).entry(order).or_insert(at.as_microsecond());
}

fn latencies(placed: &HashMap<String, i64>, seen: &Sightings) -> Vec<u32> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    placed.iter().filter_map(|(order, at)| u32::try_from((seen.get(order)? - at).max(1)).ok()).collect()
}
