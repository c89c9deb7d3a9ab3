//! Events that cannot be applied, and what operators do about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bus::parked::{Decision, Filter, Reason};
use bus::{Consumer, Delivered, Error, HandleError, Topic, parked};
use db::{Tx, Type, params};
use test_world::until;
use uuid::Uuid;

use crate::world::{Recorder, SETS, World, some_aggregates, worlds, write};

fn decision(world: &World, consumer: &'static str, aggregate: Uuid) -> Decision<'static> {
    Decision { consumer, aggregate, actor: "ops/7", note: "looked at it", at: world.clock.wall() }
}

async fn actions(world: &World) -> Vec<(String, i64, String)> {
    let mut tx = world.reader.read().await.unwrap();
    let rows = tx
        .fetch_all("SELECT action, sequence, actor FROM parked_actions ORDER BY id", params![])
        .await
        .unwrap();
    let text = |row: &db::Row, column| row.get::<String>(column).unwrap();
    rows.iter().map(|row| (text(row, "action"), row.get("sequence").unwrap(), text(row, "actor"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisonous_event_parks_with_the_later_ones_of_its_aggregate_while_others_flow() {
    for world in worlds().await {
        let aggregates = some_aggregates(6);
        let sick = aggregates[2];
        let recorder = Recorder::failing("poisoned", &[(sick, 2)]);
        let running = world.start(std::slice::from_ref(&recorder));
        write(&world.owner, &aggregates, 4).await;
        for aggregate in aggregates.iter().filter(|aggregate| **aggregate != sick) {
            world.wait_for_effects("poisoned", *aggregate, &[1, 2, 3, 4]).await;
        }
        until("three are parked", async || world.parked().await.len() == 3).await;
        write(&world.owner, &[sick], 1).await;
        until("four are parked", async || world.parked().await.len() == 4).await;
        assert_eq!(world.effects("poisoned", sick).await, [1], "what a failed handler did is undone");
        let parked = world.parked().await;
        let seen: Vec<(i64, Reason)> = parked.iter().map(|p| (p.event.sequence, p.reason)).collect();
        let behind = Reason::Behind;
        assert_eq!(seen, [(2, Reason::Handler), (3, behind), (4, behind), (5, behind)], "{}", world.label);
        assert_eq!(parked[0].error, "made to fail");
        assert_eq!(parked[0].attempts, 3);

        recorder.heal();
        let mut tx = world.reader.begin().await.unwrap();
        parked::retry(&mut tx, &decision(&world, "poisoned", sick)).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("poisoned", sick, &[1, 2, 3, 4, 5]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        write(&world.owner, &[sick], 1).await;
        world.wait_for_effects("poisoned", sick, &[1, 2, 3, 4, 5, 6]).await;
        assert_eq!(actions(&world).await, [("RETRY".to_owned(), 2, "ops/7".to_owned())]);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_event_has_no_effect_and_those_behind_it_go_on() {
    for world in worlds().await {
        let sick = some_aggregates(1)[0];
        let running = world.start(&[Recorder::failing("skipping", &[(sick, 1), (sick, 4)])]);
        write(&world.owner, &[sick], 5).await;
        until("five are parked", async || world.parked().await.len() == 5).await;
        let mut tx = world.reader.begin().await.unwrap();
        let wrong = parked::skip(&mut tx, &decision(&world, "skipping", sick), 2).await;
        assert!(matches!(wrong, Err(Error::NotHead { head: 1, .. })), "{wrong:?}");
        drop(tx);
        let mut tx = world.reader.begin().await.unwrap();
        parked::skip(&mut tx, &decision(&world, "skipping", sick), 1).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("skipping", sick, &[2, 3]).await;
        until("it stands at the next sick one", async || {
            let parked = world.parked().await;
            parked.len() == 2 && parked[0].reason == Reason::Handler && parked[0].event.sequence == 4
        })
        .await;
        let mut tx = world.reader.begin().await.unwrap();
        parked::skip(&mut tx, &decision(&world, "skipping", sick), 4).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("skipping", sick, &[2, 3, 5]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        let expected =
            [("SKIP".to_owned(), 1, "ops/7".to_owned()), ("SKIP".to_owned(), 4, "ops/7".to_owned())];
        assert_eq!(actions(&world).await, expected);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipping_the_only_parked_event_lets_the_aggregate_flow() {
    for world in worlds().await {
        let sick = some_aggregates(1)[0];
        let running = world.start(&[Recorder::failing("single", &[(sick, 1)])]);
        write(&world.owner, &[sick], 1).await;
        until("one is parked", async || world.parked().await.len() == 1).await;
        let mut tx = world.reader.begin().await.unwrap();
        parked::skip(&mut tx, &decision(&world, "single", sick), 1).await.unwrap();
        tx.commit().await.unwrap();
        write(&world.owner, &[sick], 1).await;
        world.wait_for_effects("single", sick, &[2]).await;
        assert!(world.parked().await.is_empty());
        let mut tx = world.reader.begin().await.unwrap();
        let none = parked::retry(&mut tx, &decision(&world, "single", sick)).await;
        assert!(matches!(none, Err(Error::NotParked { .. })), "{none:?}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_may_succeed_later_is_tried_again_without_being_asked() {
    for world in worlds().await {
        let sick = some_aggregates(1)[0];
        let mut recorder = Recorder::following("later", &[(Topic::Orders, &[])]);
        recorder.retry = true;
        recorder.fails.lock().unwrap().insert((sick, 1));
        let recorder = Arc::new(recorder);
        let running = world.start(std::slice::from_ref(&recorder));
        write(&world.owner, &[sick], 2).await;
        until("both are parked", async || world.parked().await.len() == 2).await;
        assert!(world.parked().await[0].retry_at.is_some());
        recorder.heal();
        world.wait_for_effects("later", sick, &[1, 2]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        assert!(actions(&world).await.is_empty());
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_events_are_listed_page_by_page_and_by_consumer() {
    for world in worlds().await {
        let sick = some_aggregates(3);
        let fails: Vec<(Uuid, i64)> = sick.iter().map(|aggregate| (*aggregate, 1)).collect();
        let running = world.start(&[Recorder::failing("one", &fails), Recorder::failing("two", &fails[..1])]);
        write(&world.owner, &sick, 2).await;
        until("eight are parked", async || world.parked().await.len() == 8).await;
        running.stop().await;
        let mut tx = world.reader.read().await.unwrap();
        let heads = Filter { consumer: "one", heads_only: true, limit: 2, ..Default::default() };
        let first = parked::list(&mut tx, &heads).await.unwrap();
        let rest = Filter { after: first[1].id, ..heads };
        let second = parked::list(&mut tx, &rest).await.unwrap();
        assert_eq!((first.len(), second.len()), (2, 1));
        let all = Filter { heads_only: false, limit: 100, ..heads };
        assert_eq!(parked::list(&mut tx, &all).await.unwrap().len(), 6);
        assert_eq!(parked::count(&mut tx, "two").await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_page_of_parked_events_reads_no_more_than_it_shows() {
    for db in db::testing::engines(SETS).await {
        let mut tx = db.begin().await.unwrap();
        // one aggregate of each consumer holds up all the others
        let rows = (0..6_000_i64).map(|n| {
            let (consumer, reason) =
                (["one", "two"][usize::from(n % 2 == 1)], if n < 2 { "HANDLER" } else { "BEHIND" });
            params![consumer, Uuid::new_v4(), n + 1, reason]
        });
        tx.batch(
            "INSERT INTO parked (consumer, aggregate, sequence, event_id, topic, aggregate_type, event_type, payload,
                                 occurred_at, actor, reason, error, attempts, parked_at)
             SELECT r.consumer, r.aggregate, r.sequence, r.aggregate, 'entrepot.orders.v1', 'order', 'x', r.payload, 0,
                    'service/x', r.reason, '', 1, 0 FROM {rows}",
            &[
                ("consumer", Type::Text),
                ("aggregate", Type::Uuid),
                ("sequence", Type::BigInt),
                ("reason", Type::Text),
                ("payload", Type::Bytes),
            ],
            rows.map(|mut row| {
                row.push(vec![1_u8].into());
                row
            })
            .collect(),
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        db.watch_plans();
        let mut tx = db.read().await.unwrap();
        for heads_only in [true, false] {
            let (mut shown, mut after) = (0, 0);
            loop {
                let filter = Filter { consumer: "two", heads_only, after, limit: 1_000 };
                let page = parked::list(&mut tx, &filter).await.unwrap();
                assert!(page.iter().all(|parked| parked.consumer == "two"));
                shown += page.len();
                let Some(last) = page.last() else { break };
                after = last.id;
            }
            assert_eq!(shown, if heads_only { 1 } else { 3_000 });
        }
        assert_eq!(
            parked::count(&mut tx, "two").await.unwrap(),
            parked::MOST_COUNTED,
            "and counts no further"
        );
        for plan in db.plans() {
            assert_eq!(plan.whole_read(), None, "{plan:?}");
            assert!(plan.rows_read() <= 1_000, "{plan:?}");
        }
    }
}

/// Breaks a statement, and says that all is well.
struct Careless {
    times: AtomicUsize,
}

#[async_trait]
impl Consumer for Careless {
    fn group(&self) -> &'static str {
        "careless"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        if event.sequence == 2 {
            self.times.fetch_add(1, Ordering::SeqCst);
            let _swallowed = tx.execute("INSERT INTO no_such_table (a) VALUES ($1)", params![1_i64]).await;
            return Ok(());
        }
        tx.execute(
            "INSERT INTO effects (consumer, aggregate, sequence) VALUES ($1, $2, $3)",
            params!["careless", event.aggregate, event.sequence],
        )
        .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_swallows_a_broken_statement_parks_its_event() {
    for world in worlds().await {
        let aggregates = some_aggregates(2);
        let careless = Arc::new(Careless { times: AtomicUsize::new(0) });
        let bus = world.bus();
        let stop = tokio_util::sync::CancellationToken::new();
        let consuming = tokio::spawn(bus.consume(&world.reader, careless, world.owners()).run(stop.clone()));
        let relaying = tokio::spawn(bus.relay(&world.owner, "orders").run(stop.clone()));
        write(&world.owner, &aggregates, 3).await;
        until("four are parked", async || world.parked().await.len() == 4).await;
        for aggregate in &aggregates {
            assert_eq!(world.effects("careless", *aggregate).await, [1], "{}", world.label);
        }
        stop.cancel();
        consuming.await.unwrap();
        relaying.await.unwrap();
    }
}

/// Panics in the middle of its work.
struct Panicking {
    calm: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Consumer for Panicking {
    fn group(&self) -> &'static str {
        "panicking"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        tx.execute(
            "INSERT INTO effects (consumer, aggregate, sequence) VALUES ($1, $2, $3)",
            params!["panicking", event.aggregate, event.sequence],
        )
        .await?;
        assert!(event.sequence != 2 || self.calm.load(Ordering::SeqCst), "on purpose");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_parks_its_event_and_stops_nobody() {
    for world in worlds().await {
        let aggregates = some_aggregates(2);
        let panicking = Arc::new(Panicking { calm: false.into() });
        let consumer: Arc<dyn Consumer> = panicking.clone();
        let bus = world.bus();
        let stop = tokio_util::sync::CancellationToken::new();
        let consuming = tokio::spawn(bus.consume(&world.reader, consumer, world.owners()).run(stop.clone()));
        let relaying = tokio::spawn(bus.relay(&world.owner, "orders").run(stop.clone()));
        write(&world.owner, &aggregates, 3).await;
        until("four are parked", async || world.parked().await.len() == 4).await;
        let retry = async |aggregate| {
            let mut tx = world.reader.begin().await.unwrap();
            parked::retry(&mut tx, &decision(&world, "panicking", aggregate)).await.unwrap();
            tx.commit().await.unwrap();
        };
        retry(aggregates[0]).await;
        until("it panicked again", async || {
            world.parked().await.iter().any(|parked| parked.attempts == 4 && parked.retry_at.is_none())
        })
        .await;
        for aggregate in &aggregates {
            assert_eq!(world.effects("panicking", *aggregate).await, [1], "{}", world.label);
        }
        panicking.calm.store(true, Ordering::SeqCst);
        for aggregate in &aggregates {
            retry(*aggregate).await;
            world.wait_for_effects("panicking", *aggregate, &[1, 2, 3]).await;
        }
        stop.cancel();
        consuming.await.unwrap();
        relaying.await.unwrap();
    }
}

/// Writes a batch at once, and refuses it whole when one event of it is bad.
struct Together {
    bad: Uuid,
    batches: AtomicUsize,
}

#[async_trait]
impl Consumer for Together {
    fn group(&self) -> &'static str {
        "together"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handle_batch(tx, std::slice::from_ref(event)).await
    }

    async fn handle_batch(&self, tx: &mut Tx, events: &[Delivered]) -> Result<(), HandleError> {
        if events.len() > 1 {
            self.batches.fetch_add(1, Ordering::SeqCst);
        }
        let rows = events.iter().map(|event| params!["together", event.aggregate, event.sequence]);
        tx.batch(
            "INSERT INTO effects (consumer, aggregate, sequence)
             SELECT r.consumer, r.aggregate, r.sequence FROM {rows}",
            &[("consumer", Type::Text), ("aggregate", Type::Uuid), ("sequence", Type::BigInt)],
            rows.collect(),
        )
        .await?;
        if events.iter().any(|event| event.aggregate == self.bad && event.sequence == 3) {
            return Err(HandleError::poison("one of them is bad"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_is_applied_one_by_one_and_only_the_bad_event_parks() {
    for world in worlds().await {
        let aggregates = some_aggregates(5);
        let together = Arc::new(Together { bad: aggregates[3], batches: AtomicUsize::new(0) });
        // written first, so that they come in batches
        write(&world.owner, &aggregates, 4).await;
        let bus = world.bus();
        let stop = tokio_util::sync::CancellationToken::new();
        let consumer: Arc<dyn Consumer> = together.clone();
        let consuming = tokio::spawn(bus.consume(&world.reader, consumer, world.owners()).run(stop.clone()));
        let relaying = tokio::spawn(bus.relay(&world.owner, "orders").run(stop.clone()));
        until("two are parked", async || world.parked().await.len() == 2).await;
        for aggregate in &aggregates {
            let wanted: &[i64] = if *aggregate == aggregates[3] { &[1, 2] } else { &[1, 2, 3, 4] };
            world.wait_for_effects("together", *aggregate, wanted).await;
        }
        assert!(together.batches.load(Ordering::SeqCst) > 0, "{}", world.label);
        let reasons: Vec<Reason> = world.parked().await.iter().map(|parked| parked.reason).collect();
        assert_eq!(reasons, [Reason::Handler, Reason::Behind], "{}", world.label);
        stop.cancel();
        consuming.await.unwrap();
        relaying.await.unwrap();
    }
}

/// Fails with a text that no database keeps.
struct Unspeakable;

#[async_trait]
impl Consumer for Unspeakable {
    fn group(&self) -> &'static str {
        "unspeakable"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &[])]
    }

    async fn handle(&self, _: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        Err(HandleError::poison(format!("version {}\0 is bad", event.sequence)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_parked_whatever_characters_its_error_has() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        let running = world.start_any(Arc::new(Unspeakable));
        write(&world.owner, &[aggregate], 1).await;
        until("it is parked", async || world.parked().await.len() == 1).await;
        assert_eq!(world.parked().await[0].error, "version 1\u{fffd} is bad", "{}", world.label);
        running.stop().await;
    }
}
