//! What arrives, how often, and in which order.

use std::sync::atomic::Ordering;

use bus::{Error, MAX_PAYLOAD, Topic, outbox, trace};
use test_world::until;
use uuid::Uuid;

use crate::world::{Recorder, SETS, event, lose, send_all_again, some_aggregates, worlds, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_consumer_applies_every_event_once_in_the_order_of_its_aggregate() {
    for world in worlds().await {
        let aggregates = some_aggregates(12);
        write(&world.owner, &aggregates, 5).await;
        let (first, second) = (Recorder::new("first"), Recorder::new("second"));
        let running = world.start(&[first.clone(), second.clone()]);
        write(&world.owner, &aggregates, 15).await;
        let wanted: Vec<i64> = (1..=20).collect();
        for aggregate in &aggregates {
            world.wait_for_effects("first", *aggregate, &wanted).await;
            world.wait_for_effects("second", *aggregate, &wanted).await;
        }
        world.wait_until_idle(&running).await;
        assert!(first.commits.load(Ordering::SeqCst) > 0);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_delivered_ten_times_has_one_effect() {
    for world in worlds().await {
        let aggregates = some_aggregates(5);
        write(&world.owner, &aggregates, 8).await;
        for _ in 1..10 {
            send_all_again(&world.owner).await;
        }
        let recorder = Recorder::new("tenfold");
        let running = world.start(std::slice::from_ref(&recorder));
        let wanted: Vec<i64> = (1..=8).collect();
        world.wait_until_idle(&running).await;
        for aggregate in &aggregates {
            world.wait_for_effects("tenfold", *aggregate, &wanted).await;
        }
        // the marker comes after all repetitions
        let marker = some_aggregates(1);
        write(&world.owner, &marker, 1).await;
        world.wait_for_effects("tenfold", marker[0], &[1]).await;
        running.stop().await;
        for aggregate in &aggregates {
            assert_eq!(world.effects("tenfold", *aggregate).await, wanted, "{}", world.label);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_comes_later_gets_what_it_missed_from_the_owner() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        write(&world.owner, &[aggregate], 4).await;
        for sequence in 1..=4 {
            lose(&world.owner, aggregate, sequence).await;
        }
        let running = world.start(&[Recorder::new("late")]);
        write(&world.owner, &[aggregate], 1).await;
        world.wait_for_effects("late", aggregate, &[1, 2, 3, 4, 5]).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_bus_goes_on_where_it_stopped() {
    for world in worlds().await {
        let aggregates = some_aggregates(3);
        for round in 1..=3_i64 {
            let running = world.start(&[Recorder::new("restarted")]);
            write(&world.owner, &aggregates, 4).await;
            for aggregate in &aggregates {
                let wanted: Vec<i64> = (1..=round * 4).collect();
                world.wait_for_effects("restarted", *aggregate, &wanted).await;
            }
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_aggregate_types_and_topics_are_passed_over() {
    for world in worlds().await {
        let recorder = Recorder::new("choosy");
        let running = world.start(std::slice::from_ref(&recorder));
        let (wanted, other) = (Uuid::new_v4(), Uuid::new_v4());
        let mut tx = world.owner.begin().await.unwrap();
        let foreign = bus::Event { aggregate_type: "invoice", ..event(other, 1) };
        outbox::append(&mut tx, &[foreign, event(wanted, 1)]).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("choosy", wanted, &[1]).await;
        assert_eq!(recorder.handled.load(Ordering::SeqCst), 1);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_sees_events_as_they_were_appended_after_their_effects() {
    for world in worlds().await {
        let running = world.start(&[Recorder::new("beside")]);
        let mut view = running.bus.subscribe(&[Topic::Orders]);
        view.ready().await.unwrap();
        let aggregate = Uuid::new_v4();
        let appended = event(aggregate, 1);
        let mut tx = world.owner.begin().await.unwrap();
        trace::scope(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()), async {
            outbox::append(&mut tx, std::slice::from_ref(&appended)).await
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let seen = view.next().await.unwrap();
        let mut tx = world.owner.read().await.unwrap();
        assert_eq!(seen.id, bus::replay::read(&mut tx, aggregate, 1, 1).await.unwrap()[0].id);
        assert_eq!(seen.aggregate, aggregate);
        assert_eq!(seen.sequence, 1);
        assert_eq!(seen.event_type, appended.event_type);
        assert_eq!(seen.aggregate_type, appended.aggregate_type);
        assert_eq!(seen.payload, appended.payload);
        assert_eq!(seen.occurred_at, appended.occurred_at);
        assert_eq!(seen.actor, appended.actor);
        assert!(seen.traceparent.as_deref().unwrap().starts_with("00-0af7"));
        if world.label.ends_with("local") {
            assert_eq!(world.effects("beside", aggregate).await, [1]);
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_published_as_its_row_says() {
    for world in worlds().await {
        let running = world.start(&[Recorder::new("beside")]);
        let mut view = running.bus.subscribe(&[Topic::Orders]);
        view.ready().await.unwrap();
        let aggregate = Uuid::new_v4();
        // enough of them that some surely follow the first turn of the relay, in which it learns that it leads
        for sequence in 1..=5 {
            let finer = bus::Event {
                occurred_at: "2026-11-21T10:00:00.123456789Z".parse().unwrap(),
                ..event(aggregate, sequence)
            };
            let mut tx = world.owner.begin().await.unwrap();
            outbox::append(&mut tx, &[finer]).await.unwrap();
            tx.commit().await.unwrap();
            let seen = view.next().await.unwrap();
            let mut tx = world.owner.read().await.unwrap();
            let rows = bus::replay::read(&mut tx, aggregate, sequence, 1).await.unwrap();
            assert_eq!([(*seen).clone()], rows[..], "{}", world.label);
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn events_of_several_requests_in_one_batch_keep_their_own_traces() {
    for db in db::testing::engines(SETS).await {
        let traces = [Some("00-aa-bb-01"), None, Some("00-cc-dd-01")];
        let events: Vec<outbox::Traced> =
            traces.iter().map(|trace| (event(Uuid::new_v4(), 1), trace.map(ToOwned::to_owned))).collect();
        let mut tx = db.begin().await.unwrap();
        let append = outbox::append_traced(&mut tx, &events);
        trace::scope(Some("00-of-the-batch-01".to_owned()), append).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = db.read().await.unwrap();
        for (event, trace) in &events {
            let kept = bus::replay::read(&mut tx, event.aggregate, 1, 1).await.unwrap();
            assert_eq!(kept[0].traceparent, *trace);
        }
        assert_eq!(outbox::count(&mut tx).await.unwrap(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_request_is_in_force_where_its_event_is_handled() {
    for world in worlds().await {
        let recorder = Recorder::new("traced");
        let running = world.start(std::slice::from_ref(&recorder));
        let mut tx = world.owner.begin().await.unwrap();
        let (with, without) = (Uuid::new_v4(), Uuid::new_v4());
        trace::scope(Some("00-aa-bb-01".to_owned()), async {
            outbox::append(&mut tx, &[event(with, 1), event(with, 2)]).await
        })
        .await
        .unwrap();
        outbox::append(&mut tx, &[event(without, 1)]).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("traced", with, &[1, 2]).await;
        world.wait_for_effects("traced", without, &[1]).await;
        let mut traces = recorder.traces.lock().unwrap().clone();
        traces.sort();
        let trace = Some("00-aa-bb-01".to_owned());
        assert_eq!(traces, [None, trace.clone(), trace]);
        running.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_kept_or_sent_of_a_transaction_that_is_rolled_back() {
    for world in worlds().await {
        let aggregate = Uuid::new_v4();
        let mut tx = world.owner.begin().await.unwrap();
        outbox::append(&mut tx, &[event(aggregate, 1), event(aggregate, 2)]).await.unwrap();
        drop(tx);
        until("rolled back", async || bus::idle(&world.owner).await.unwrap()).await;
        let mut tx = world.owner.read().await.unwrap();
        assert!(bus::replay::read(&mut tx, aggregate, 1, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_event_too_large_or_without_a_version_is_refused_where_it_is_appended() {
    for world in worlds().await {
        let mut tx = world.owner.begin().await.unwrap();
        let large = bus::Event { payload: vec![0; MAX_PAYLOAD + 1], ..event(Uuid::new_v4(), 1) };
        assert!(matches!(outbox::append(&mut tx, &[large]).await, Err(Error::TooLarge { .. })));
        let unversioned = event(Uuid::new_v4(), 0);
        assert!(matches!(outbox::append(&mut tx, &[unversioned]).await, Err(Error::BadSequence { .. })));
        let largest = bus::Event { payload: vec![7; MAX_PAYLOAD], ..event(Uuid::new_v4(), 1) };
        let small = event(Uuid::new_v4(), 1);
        outbox::append(&mut tx, &[largest, small]).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn two_events_of_the_same_version_are_a_duplicate() {
    for world in worlds().await {
        let aggregate = Uuid::new_v4();
        for many in [false, true] {
            let mut tx = world.owner.begin().await.unwrap();
            outbox::append(&mut tx, &[event(aggregate, 1)]).await.unwrap();
            let mut again = vec![event(aggregate, 1)];
            again.extend(many.then(|| event(aggregate, 2)));
            let outcome = outbox::append(&mut tx, &again).await;
            assert!(matches!(outcome, Err(Error::Db(db::Error::Duplicate(_)))), "{outcome:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_local_bus_is_idle_every_effect_is_there() {
    for world in worlds().await {
        if !world.label.ends_with("local") {
            continue;
        }
        let running = world.start(&[Recorder::new("lockstep")]);
        let aggregate = some_aggregates(1)[0];
        for round in 1..=30 {
            write(&world.owner, &[aggregate], 1).await;
            world.wait_until_idle(&running).await;
            let wanted: Vec<i64> = (1..=round).collect();
            assert_eq!(world.effects("lockstep", aggregate).await, wanted, "{}", world.label);
        }
        running.stop().await;
    }
}

const BOTH: &[(Topic, &[&str])] = &[(Topic::Orders, &[]), (Topic::Inventory, &[])];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_of_two_topics_may_share_an_id() {
    for world in worlds().await {
        let recorder = std::sync::Arc::new(Recorder::following("both", BOTH));
        let shared = Uuid::new_v4();
        // the reader's database is an owner here too, and consumer of both
        let mut tx = world.reader.begin().await.unwrap();
        let other = |sequence| bus::Event { topic: Topic::Inventory, ..event(shared, sequence) };
        outbox::append(&mut tx, &[other(1), other(2)]).await.unwrap();
        tx.commit().await.unwrap();
        write(&world.owner, &[shared], 3).await;
        let running = world.start(&[recorder]);
        let stop = tokio_util::sync::CancellationToken::new();
        let second = tokio::spawn(running.bus.relay(&world.reader, "inventory").run(stop.clone()));
        until("all five arrived", async || {
            let mut effects = world.effects("both", shared).await;
            effects.sort_unstable();
            effects == [1, 1, 2, 2, 3]
        })
        .await;
        stop.cancel();
        second.await.unwrap();
        running.stop().await;
        assert!(world.parked().await.is_empty());
    }
}
