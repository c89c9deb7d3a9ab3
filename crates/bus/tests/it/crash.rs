//! Relays that die, come twice, or meet a frozen one.

use std::time::Duration;

use bus::Settings;
use db::testing::TestDb;
use db::{Db, params};
use test_world::until;
use uuid::Uuid;

use crate::world::{Recorder, SETS, Wire, World, change, some_aggregates, worlds, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_at_any_moment_loses_nothing_and_repeats_no_effect() {
    for world in worlds().await {
        let aggregates = some_aggregates(4);
        let rounds = if world.label.ends_with("local") { 12 } else { 3 };
        for round in 0..rounds {
            let running = world.start(&[Recorder::new("killed")]);
            write(&world.owner, &aggregates, 3).await;
            world.clock.pause(Duration::from_millis(round * 3)).await;
            running.kill().await;
        }
        let running = world.start(&[Recorder::new("killed")]);
        let last = i64::try_from(rounds).unwrap() * 3;
        let wanted: Vec<i64> = (1..=last).collect();
        for aggregate in &aggregates {
            world.wait_for_effects("killed", *aggregate, &wanted).await;
        }
        world.wait_until_idle(&running).await;
        running.stop().await;
        assert!(world.parked().await.is_empty(), "{}", world.label);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_that_both_believe_to_lead_are_harmless() {
    for world in worlds().await {
        let aggregates = some_aggregates(6);
        let first = world.start(&[Recorder::new("twice")]);
        let second = world.start(&[Recorder::new("twice")]);
        for _ in 0..25 {
            write(&world.owner, &aggregates, 1).await;
            // the process that does not lead may now take over, while the other does not know it yet
            let mut tx = world.owner.begin().await.unwrap();
            tx.execute("UPDATE leases SET until_at = 0", params![]).await.unwrap();
            tx.commit().await.unwrap();
        }
        let wanted: Vec<i64> = (1..=25).collect();
        for aggregate in &aggregates {
            world.wait_for_effects("twice", *aggregate, &wanted).await;
        }
        first.stop().await;
        second.stop().await;
        for aggregate in &aggregates {
            assert_eq!(world.effects("twice", *aggregate).await, wanted, "{}", world.label);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_takes_over_when_the_leader_stops() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        let settings = Settings { lease_ms: 60_000, ..Settings::default() };
        let first = world.start_with(&[Recorder::new("heir")], &world.owners(), settings.clone());
        write(&world.owner, &[aggregate], 1).await;
        world.wait_for_effects("heir", aggregate, &[1]).await;
        let second = world.start_with(&[Recorder::new("heir")], &world.owners(), settings);
        first.stop().await;
        write(&world.owner, &[aggregate], 1).await;
        world.wait_for_effects("heir", aggregate, &[1, 2]).await;
        second.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_bus_has_given_up_its_lease_and_deleted_what_was_acknowledged() {
    for world in worlds().await {
        let aggregate = some_aggregates(1)[0];
        let running = world.start(&[Recorder::new("tidy")]);
        write(&world.owner, &[aggregate], 5).await;
        world.wait_for_effects("tidy", aggregate, &[1, 2, 3, 4, 5]).await;
        until("acknowledged", async || bus::idle(&world.owner).await.unwrap()).await;
        running.stop().await;
        let mut tx = world.owner.read().await.unwrap();
        let row = tx.fetch_one("SELECT until_at FROM leases WHERE name = 'relay'", params![]).await.unwrap();
        assert_eq!(row.get::<i64>("until_at").unwrap(), 0);
    }
}

/// The same tables through connections that no other test has.
async fn marked(database: &TestDb, mark: &str) -> Db {
    let join = if database.url().contains('?') { '&' } else { '?' };
    Db::open(&format!("{}{join}application_name={mark}", database.url()), database.options()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_at_any_moment_lose_nothing_and_repeat_no_effect() {
    let Some(owner) = db::testing::postgres(SETS).await else { return };
    let reader = db::testing::postgres(SETS).await.unwrap();
    let mark = format!("cut_{}", Uuid::new_v4().simple());
    let (cut_owner, cut_reader) = (marked(&owner, &mark).await, marked(&reader, &mark).await);
    let knife = owner.db();
    let mut world = World::new(owner, reader, Wire::Local);
    (world.owner, world.reader) = (cut_owner, cut_reader);
    let aggregates = some_aggregates(5);
    let running = world.start(&[Recorder::new("cut")]);
    let mut committed = 0;
    while committed < 60 {
        let outcome = async {
            let mut tx = world.owner.begin().await?;
            change(&mut tx, &aggregates).await?;
            Ok::<_, bus::Error>(tx.commit().await?)
        };
        if outcome.await.is_ok() {
            committed += 1;
        }
        if committed % 6 == 0 {
            let mut tx = knife.begin().await.unwrap();
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
            tx.fetch_all(cut, params![mark.as_str()]).await.unwrap();
        }
    }
    // a commit whose connection was cut may or may not have happened: ask
    for aggregate in &aggregates {
        let mut tx = knife.read().await.unwrap();
        let row = tx
            .fetch_one("SELECT version FROM aggregates WHERE aggregate = $1", params![*aggregate])
            .await
            .unwrap();
        let wanted: Vec<i64> = (1..=row.get("version").unwrap()).collect();
        world.wait_for_effects("cut", *aggregate, &wanted).await;
    }
    running.stop().await;
    assert!(world.parked().await.is_empty());
}
