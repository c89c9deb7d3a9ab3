//! A database that does not work for a while: nothing is parked, and all is applied when it works again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bus::parked::Reason;
use bus::{Consumer, Delivered, HandleError, Topic};
use db::{Engine, Tx, params};
use test_world::until;
use uuid::Uuid;

use crate::world::{Recorder, World, some_aggregates, worlds, write};

/// Statements that fail as they would during an outage, and what makes the connection whole again.
fn faults(engine: Engine) -> &'static [(&'static str, &'static str)] {
    const PASSES: &str = "SELECT 1";
    match engine {
        Engine::Postgres => &[
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '55P03'; END $$", PASSES),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$", PASSES),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53300'; END $$", PASSES),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '25006'; END $$", PASSES),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '58030'; END $$", PASSES),
            ("DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$", PASSES),
        ],
        Engine::Sqlite => &[
            ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823"),
            ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
        ],
    }
}

/// Writes a row per event, after a statement of the test.
struct Suffering {
    before: Mutex<&'static str>,
    tries: AtomicUsize,
}

#[async_trait]
impl Consumer for Suffering {
    fn group(&self) -> &'static str {
        "suffering"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let before = *self.before.lock().unwrap();
        tx.fetch_all(before, params![]).await?;
        // large enough to need new pages
        tx.execute("INSERT INTO ballast (bytes) VALUES ($1)", params![vec![7_u8; 20_000]]).await?;
        tx.execute(
            "INSERT INTO effects (consumer, aggregate, sequence) VALUES ($1, $2, $3)",
            params!["suffering", event.aggregate, event.sequence],
        )
        .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_in_the_middle_of_a_handler_parks_nothing_however_long_it_lasts() {
    for world in worlds().await {
        let engine = world.reader.engine();
        let consumer = Arc::new(Suffering { before: Mutex::new("SELECT 1"), tries: AtomicUsize::new(0) });
        let running = world.start_any(consumer.clone());
        let aggregates = some_aggregates(3);
        let mut wanted = Vec::new();
        for (round, (fault, repair)) in (0_i64..).zip(faults(engine)) {
            *consumer.before.lock().unwrap() = fault;
            let tried = consumer.tries.load(Ordering::SeqCst);
            write(&world.owner, &aggregates, 2).await;
            until("it was tried often enough to be parked", async || {
                consumer.tries.load(Ordering::SeqCst) > tried + 4
            })
            .await;
            assert!(world.parked().await.is_empty(), "{}: {fault}", world.label);
            *consumer.before.lock().unwrap() = repair;
            wanted.extend([round * 2 + 1, round * 2 + 2]);
            for aggregate in &aggregates {
                world.wait_for_effects("suffering", *aggregate, &wanted).await;
            }
            assert!(world.parked().await.is_empty(), "{}: {fault}", world.label);
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_others_lock_for_long_parks_nothing() {
    for world in worlds().await {
        if world.reader.engine() != Engine::Postgres {
            continue;
        }
        let recorder = Recorder::new("locked");
        let running = world.start(std::slice::from_ref(&recorder));
        let aggregates = some_aggregates(2);
        write(&world.owner, &aggregates, 1).await;
        for aggregate in &aggregates {
            world.wait_for_effects("locked", *aggregate, &[1]).await;
        }
        let lock = lock_effects(&world).await;
        write(&world.owner, &aggregates, 2).await;
        // the second aggregate is tried only after the first one, so four tries are more than one event may have
        let before = recorder.handled.load(Ordering::SeqCst);
        until("it was tried again and again", async || recorder.handled.load(Ordering::SeqCst) > before + 3)
            .await;
        drop(lock);
        for aggregate in &aggregates {
            world.wait_for_effects("locked", *aggregate, &[1, 2, 3]).await;
        }
        assert!(world.parked().await.is_empty(), "{}", world.label);
        running.stop().await;
    }
}

async fn lock_effects(world: &World) -> Tx {
    let mut tx = world.reader.begin().await.unwrap();
    tx.execute("LOCK TABLE effects IN ACCESS EXCLUSIVE MODE", params![]).await.unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_parked_until_later_is_tried_at_the_first_success_after_an_outage() {
    for world in worlds().await {
        let aggregates = some_aggregates(2);
        let mut recorder = Recorder::following("woken", &[(Topic::Orders, &[])]);
        recorder.retry = true;
        recorder.fails.lock().unwrap().insert((aggregates[0], 1));
        let recorder = Arc::new(recorder);
        let running = world.start(std::slice::from_ref(&recorder));
        write(&world.owner, &aggregates[..1], 1).await;
        until("it is parked", async || world.parked().await.len() == 1).await;
        // as after many tries in vain
        let mut tx = world.reader.begin().await.unwrap();
        let far = world.clock.wall().as_microsecond() + 3_600_000_000;
        tx.execute("UPDATE parked SET retry_at = $1", params![far]).await.unwrap();
        tx.commit().await.unwrap();
        recorder.heal();
        recorder.outage.store(true, Ordering::SeqCst);
        write(&world.owner, &aggregates[1..], 1).await;
        let before = recorder.handled.load(Ordering::SeqCst);
        until("it was tried in vain", async || recorder.handled.load(Ordering::SeqCst) > before + 1).await;
        recorder.outage.store(false, Ordering::SeqCst);
        for aggregate in &aggregates {
            world.wait_for_effects("woken", *aggregate, &[1]).await;
        }
        until("nothing is parked", async || world.parked().await.is_empty()).await;
        running.stop().await;
    }
}

/// Asks too much of the database for one aggregate: the server ends each try, as at its time limit.
struct Greedy {
    of: Uuid,
    is_healed: AtomicBool,
}

#[async_trait]
impl Consumer for Greedy {
    fn group(&self) -> &'static str {
        "greedy"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        if event.aggregate == self.of && !self.is_healed.load(Ordering::SeqCst) {
            tx.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END $$", params![]).await?;
        }
        tx.execute(
            "INSERT INTO effects (consumer, aggregate, sequence) VALUES ($1, $2, $3)",
            params!["greedy", event.aggregate, event.sequence],
        )
        .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_statement_never_ends_in_time_is_parked_with_the_cause_and_others_flow() {
    for world in worlds().await {
        if world.reader.engine() != Engine::Postgres {
            continue;
        }
        let aggregates = some_aggregates(3);
        let greedy = Arc::new(Greedy { of: aggregates[1], is_healed: AtomicBool::new(false) });
        write(&world.owner, &aggregates, 2).await;
        let running = world.start_any(greedy.clone());
        for aggregate in [aggregates[0], aggregates[2]] {
            world.wait_for_effects("greedy", aggregate, &[1, 2]).await;
        }
        until("two are parked", async || world.parked().await.len() == 2).await;
        let parked = world.parked().await;
        let reasons: Vec<Reason> = parked.iter().map(|parked| parked.reason).collect();
        assert_eq!(reasons, [Reason::Handler, Reason::Behind], "{}", world.label);
        assert!(parked[0].error.contains("statement time-out"), "{}", parked[0].error);
        assert!(parked[0].retry_at.is_some(), "it is tried again without being asked");
        greedy.is_healed.store(true, Ordering::SeqCst);
        world.wait_for_effects("greedy", aggregates[1], &[1, 2]).await;
        until("nothing is parked", async || world.parked().await.is_empty()).await;
        running.stop().await;
    }
}
