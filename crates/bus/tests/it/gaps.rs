//! Events that never came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bus::parked::{Decision, Reason};
use bus::{Error, Replay, Settings, parked, replay};
use futures_util::FutureExt as _;
use test_world::until;

use crate::world::{Recorder, lose, some_aggregates, worlds, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_events_are_asked_from_their_owner_and_applied_first() {
    for world in worlds().await {
        let aggregates = some_aggregates(4);
        write(&world.owner, &aggregates, 6).await;
        lose(&world.owner, aggregates[0], 1).await;
        lose(&world.owner, aggregates[1], 3).await;
        lose(&world.owner, aggregates[1], 4).await;
        lose(&world.owner, aggregates[2], 2).await;
        lose(&world.owner, aggregates[2], 5).await;
        let running = world.start(&[Recorder::new("healed")]);
        for aggregate in &aggregates {
            world.wait_for_effects("healed", *aggregate, &[1, 2, 3, 4, 5, 6]).await;
        }
        running.stop().await;
        assert!(world.parked().await.is_empty(), "{}", world.label);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_gap_is_healed_page_by_page() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        write(&world.owner, &[aggregate], 251).await;
        for sequence in 1..=250 {
            lose(&world.owner, aggregate, sequence).await;
        }
        let running = world.start(&[Recorder::new("paged")]);
        let wanted: Vec<i64> = (1..=251).collect();
        world.wait_for_effects("paged", aggregate, &wanted).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_nobody_can_fill_parks_its_aggregate_and_no_other() {
    for world in worlds().await {
        let aggregates = some_aggregates(3);
        let broken = aggregates[1];
        write(&world.owner, &aggregates, 5).await;
        lose(&world.owner, broken, 2).await;
        let running = world.start_with(&[Recorder::new("gapped")], &replay::nobody(), Settings::default());
        world.wait_for_effects("gapped", aggregates[0], &[1, 2, 3, 4, 5]).await;
        world.wait_for_effects("gapped", aggregates[2], &[1, 2, 3, 4, 5]).await;
        until("three are parked", async || world.parked().await.len() == 3).await;
        let parked = world.parked().await;
        let seen: Vec<(i64, Reason)> = parked.iter().map(|p| (p.event.sequence, p.reason)).collect();
        assert_eq!(seen, [(3, Reason::Gap), (4, Reason::Behind), (5, Reason::Behind)], "{}", world.label);
        assert_eq!(world.effects("gapped", broken).await, [1]);
        assert!(parked[0].retry_at.is_none(), "the owner has not got it, so only an operator can help");

        let decision = Decision {
            consumer: "gapped",
            aggregate: broken,
            actor: "ops/7",
            note: "version 2 was lost in the fire",
            at: world.clock.wall(),
        };
        let mut tx = world.reader.begin().await.unwrap();
        let wrong = parked::accept_gap(&mut tx, &decision, 4).await;
        assert!(matches!(wrong, Err(Error::NotHead { head: 3, .. })), "{wrong:?}");
        drop(tx);
        let mut tx = world.reader.begin().await.unwrap();
        parked::accept_gap(&mut tx, &decision, 3).await.unwrap();
        let twice = parked::accept_gap(&mut tx, &decision, 3).await;
        assert!(matches!(twice, Err(Error::NoGap { .. })), "{twice:?}");
        tx.commit().await.unwrap();
        world.wait_for_effects("gapped", broken, &[1, 3, 4, 5]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        write(&world.owner, &[broken], 1).await;
        world.wait_for_effects("gapped", broken, &[1, 3, 4, 5, 6]).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_whose_owner_was_away_heals_when_it_is_back() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        write(&world.owner, &[aggregate], 4).await;
        lose(&world.owner, aggregate, 1).await;
        let away = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicUsize::new(0));
        let owners = world.owners();
        let (gone, count) = (away.clone(), asked.clone());
        let replay: Replay = Arc::new(move |topic, aggregate, from| {
            count.fetch_add(1, Ordering::SeqCst);
            if gone.load(Ordering::SeqCst) {
                async { Err("connection refused".into()) }.boxed()
            } else {
                owners(topic, aggregate, from)
            }
        });
        let running = world.start_with(&[Recorder::new("patient")], &replay, Settings::default());
        until("all are parked", async || world.parked().await.len() == 3).await;
        assert!(asked.load(Ordering::SeqCst) >= 3);
        let head = world.parked().await.remove(0);
        assert_eq!((head.event.sequence, head.reason), (2, Reason::Gap));
        assert!(head.retry_at.is_some(), "it is tried again without being asked");
        away.store(false, Ordering::SeqCst);
        world.wait_for_effects("patient", aggregate, &[1, 2, 3, 4]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisonous_event_that_fills_a_gap_waits_for_an_operator_with_all_that_is_behind_it() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        write(&world.owner, &[aggregate], 5).await;
        lose(&world.owner, aggregate, 3).await;
        lose(&world.owner, aggregate, 4).await;
        let is_away = Arc::new(AtomicBool::new(true));
        let (owners, gone) = (world.owners(), is_away.clone());
        let replay: Replay = Arc::new(move |topic, aggregate, from| {
            if gone.load(Ordering::SeqCst) {
                async { Err("connection refused".into()) }.boxed()
            } else {
                owners(topic, aggregate, from)
            }
        });
        let recorder = Recorder::failing("filled", &[(aggregate, 3)]);
        let running = world.start_with(std::slice::from_ref(&recorder), &replay, Settings::default());
        until("the gap is parked", async || {
            world.parked().await.first().is_some_and(|head| head.retry_at.is_some())
        })
        .await;
        is_away.store(false, Ordering::SeqCst);
        until("the missing events are parked and the first one failed", async || {
            world.parked().await.iter().any(|parked| parked.reason == Reason::Handler)
        })
        .await;
        let mut parked = world.parked().await;
        parked.sort_by_key(|parked| parked.event.sequence);
        let seen: Vec<_> = parked.iter().map(|p| (p.event.sequence, p.reason, p.retry_at)).collect();
        let waits = |sequence| (sequence, Reason::Behind, None);
        assert_eq!(seen, [(3, Reason::Handler, None), waits(4), waits(5)], "{}", world.label);

        recorder.heal();
        let decision = Decision {
            consumer: "filled",
            aggregate,
            actor: "ops/7",
            note: "mended",
            at: world.clock.wall(),
        };
        let mut tx = world.reader.begin().await.unwrap();
        parked::retry(&mut tx, &decision).await.unwrap();
        tx.commit().await.unwrap();
        world.wait_for_effects("filled", aggregate, &[1, 2, 3, 4, 5]).await;
        until("none is parked", async || world.parked().await.is_empty()).await;
        running.stop().await;
    }
}
