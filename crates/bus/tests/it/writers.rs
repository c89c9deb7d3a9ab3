//! Many writers at once, with pauses and rollbacks: nothing lost, nothing out of order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bus::{Consumer, Delivered, Error, HandleError, Settings, Topic, outbox, replay};
use clock::Clock;
use db::{Db, Tx, params};
use test_world::until;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{SETS, Wire, World, event, some_aggregates};

/// Versions that one transaction adds to an aggregate.
const STEP: i64 = 5;

/// Keeps the last version it saw of each aggregate, and whatever it should not have seen.
#[derive(Default)]
struct Checker {
    last: Mutex<HashMap<Uuid, i64>>,
    disorder: Mutex<Vec<(Uuid, i64, i64)>>,
}

#[async_trait]
impl Consumer for Checker {
    fn group(&self) -> &'static str {
        "checker"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, _tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        let mut last = self.last.lock().unwrap();
        let known = last.entry(event.aggregate).or_default();
        // a batch that was rolled back is seen again
        if event.sequence > *known + 1 {
            self.disorder.lock().unwrap().push((event.aggregate, *known, event.sequence));
        }
        *known = event.sequence.max(*known);
        Ok(())
    }
}

/// Small and the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Adds versions to some aggregates, locking each before its events are appended.
async fn transaction(db: &Db, aggregates: &[Uuid], dice: &mut Dice) -> Result<u64, Error> {
    let start = usize::try_from(dice.below(aggregates.len() as u64)).unwrap();
    let chosen = &aggregates[start..aggregates.len().min(start + 4)];
    let mut tx = db.begin().await?;
    let mut events = Vec::new();
    for aggregate in chosen {
        let row = tx
            .fetch_one(
                "INSERT INTO aggregates (aggregate, version) VALUES ($1, $2)
                 ON CONFLICT (aggregate) DO UPDATE SET version = aggregates.version + $2 RETURNING version",
                params![*aggregate, STEP],
            )
            .await?;
        let version: i64 = row.get("version")?;
        events.extend((version - STEP + 1..=version).map(|sequence| event(*aggregate, sequence)));
        if dice.below(10) == 0 {
            Clock::system().pause(Duration::from_millis(dice.below(8))).await;
        }
    }
    outbox::append(&mut tx, &events).await?;
    if dice.below(20) == 0 {
        return Ok(0);
    }
    tx.commit().await?;
    Ok(events.len() as u64)
}

async fn storm(world: &World, writers: u64, wanted: u64) {
    let aggregates = some_aggregates(60);
    let checker = Arc::new(Checker::default());
    let stop = CancellationToken::new();
    let bus = world.bus();
    let consumer: Arc<dyn Consumer> = checker.clone();
    let tasks = [
        tokio::spawn(bus.consume(&world.reader, consumer, replay::nobody()).run(stop.clone())),
        tokio::spawn(bus.relay(&world.owner, "orders").with(Settings::default()).run(stop.clone())),
    ];
    let committed = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..writers)
        .map(|seed| {
            let (db, aggregates, committed) = (world.owner.clone(), aggregates.clone(), committed.clone());
            tokio::spawn(async move {
                let mut dice = Dice(seed);
                while committed.load(Ordering::SeqCst) < wanted {
                    match transaction(&db, &aggregates, &mut dice).await {
                        Ok(events) => {
                            committed.fetch_add(events, Ordering::SeqCst);
                        }
                        Err(error) => assert!(error.is_retry(), "{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut tx = world.owner.read().await.unwrap();
    let rows = tx.fetch_all("SELECT aggregate, version FROM aggregates", params![]).await.unwrap();
    drop(tx);
    let versions: HashMap<Uuid, i64> =
        rows.iter().map(|row| (row.get("aggregate").unwrap(), row.get("version").unwrap())).collect();
    let total: i64 = versions.values().sum();
    assert_eq!(total.unsigned_abs(), committed.load(Ordering::SeqCst));
    until(&format!("{}: all of {total} events arrived", world.label), async || {
        assert_eq!(*checker.disorder.lock().unwrap(), [], "{}", world.label);
        *checker.last.lock().unwrap() == versions
    })
    .await;
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(world.parked().await.is_empty(), "{}", world.label);
    assert_eq!(*checker.disorder.lock().unwrap(), [], "{}", world.label);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_on_postgresql_lose_and_reorder_none_of_a_hundred_thousand_events() {
    let Some(owner) = db::testing::postgres(SETS).await else { return };
    let reader = db::testing::postgres(SETS).await.unwrap();
    storm(&World::new(owner, reader, Wire::Local), 8, 100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_on_sqlite_lose_and_reorder_none_of_ten_thousand_events() {
    let (owner, reader) = (db::testing::sqlite(SETS).await, db::testing::sqlite(SETS).await);
    storm(&World::new(owner, reader, Wire::Local), 8, 10_000).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_of_eight_writers_come_through_kafka_in_order() {
    let Some(config) = crate::broker::topics().await else { return };
    let (owner, reader) = match db::testing::postgres(SETS).await {
        Some(owner) => (owner, db::testing::postgres(SETS).await.unwrap()),
        None => (db::testing::sqlite(SETS).await, db::testing::sqlite(SETS).await),
    };
    storm(&World::new(owner, reader, Wire::Kafka(config)), 8, 10_000).await;
}
