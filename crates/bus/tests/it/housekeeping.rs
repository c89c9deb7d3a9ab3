//! Leases, pruning, schema.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bus::lease::{self, Keeper};
use bus::{Admission, Settings, Used, admit, heads, missed, outbox};
use clock::Clock;
use jiff::Timestamp;
use uuid::Uuid;

use crate::world::{Recorder, SETS, event, lose, some_aggregates, worlds, write};

const TERM: Duration = Duration::from_secs(10);

/// The holder has died: the database's clock passes the end of its term.
async fn run_out(tx: &mut db::Tx) {
    tx.execute("UPDATE leases SET until_at = {now} - 1 WHERE name = 'x'", db::params![]).await.unwrap();
}

#[tokio::test]
async fn a_lease_has_one_holder_and_a_new_epoch_with_each_new_one() {
    for db in db::testing::engines(SETS).await {
        let mut tx = db.begin().await.unwrap();
        let a = lease::take(&mut tx, "x", "a", TERM).await.unwrap().unwrap();
        assert_eq!(a.epoch, 1);
        assert!(lease::is_held(&mut tx, "x").await.unwrap());
        assert!(lease::take(&mut tx, "x", "b", TERM).await.unwrap().is_none());
        let renewed = lease::take(&mut tx, "x", "a", TERM).await.unwrap().unwrap();
        assert!(renewed.epoch == 1 && renewed.until >= a.until, "{renewed:?} after {a:?}");
        run_out(&mut tx).await;
        assert!(!lease::is_held(&mut tx, "x").await.unwrap());
        assert_eq!(lease::take(&mut tx, "x", "b", TERM).await.unwrap().unwrap().epoch, 2);
        lease::give_up(&mut tx, "x", "a").await.unwrap();
        assert!(lease::take(&mut tx, "x", "a", TERM).await.unwrap().is_none());
        lease::give_up(&mut tx, "x", "b").await.unwrap();
        assert_eq!(lease::take(&mut tx, "x", "a", TERM).await.unwrap().unwrap().epoch, 3);
        assert!(lease::take(&mut tx, "y", "b", TERM).await.unwrap().is_some());
        lease::take_over(&mut tx, "y", "c", TERM).await.unwrap();
        assert!(lease::take(&mut tx, "y", "b", TERM).await.unwrap().is_none());
        assert!(lease::take(&mut tx, "y", "c", TERM).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_lease_of_a_process_whose_clock_is_an_hour_ahead_ends_like_any_other() {
    for db in db::testing::engines(SETS).await {
        let ahead = Clock::shifted(Arc::new(AtomicI64::new(3_600_000_000)));
        let mut keeper = Keeper::new(db.db(), ahead, "x", "ahead", TERM);
        keeper.renew().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let row = tx.fetch_one("SELECT until_at - {now} AS rest FROM leases", db::params![]).await.unwrap();
        let left: i64 = row.get("rest").unwrap();
        assert!(left <= 10_000_000, "it would hold for {left} us after its holder died");
    }
}

#[tokio::test]
async fn of_three_keepers_one_holds_until_it_releases() {
    for db in db::testing::engines(SETS).await {
        let keeper =
            |name: &str| Keeper::new(db.db(), Clock::system(), "sweeper", name, Duration::from_mins(5));
        let (mut a, mut b, mut c) = (keeper("a"), keeper("b"), keeper("c"));
        assert_eq!(a.hold().await.unwrap(), Some(1));
        assert_eq!(b.hold().await.unwrap(), None);
        assert_eq!(a.hold().await.unwrap(), Some(1));
        a.release().await.unwrap();
        assert_eq!(c.hold().await.unwrap(), Some(2));
        assert_eq!(b.hold().await.unwrap(), None);
        b.seize().await.unwrap();
        assert_eq!(b.hold().await.unwrap(), Some(3));
        assert_eq!(c.renew().await.unwrap(), None);
    }
}

#[tokio::test]
async fn old_events_are_pruned_unless_they_are_still_to_be_published() {
    for db in db::testing::engines(SETS).await {
        let clock = Clock::virtual_at("2030-03-01T00:00:00Z".parse().unwrap());
        let day = |text: &str| text.parse::<Timestamp>().unwrap();
        let (old, pending) = (Uuid::new_v4(), Uuid::new_v4());
        let mut tx = db.begin().await.unwrap();
        let events = [
            bus::Event { occurred_at: day("2030-01-01T00:00:00Z"), ..event(old, 1) },
            bus::Event { occurred_at: day("2030-02-20T00:00:00Z"), ..event(old, 2) },
            bus::Event { occurred_at: day("2030-01-01T00:00:00Z"), ..event(pending, 1) },
        ];
        outbox::append(&mut tx, &events).await.unwrap();
        tx.execute("DELETE FROM outbox WHERE aggregate = $1", db::params![old]).await.unwrap();
        tx.commit().await.unwrap();
        let more = bus::prune(&db, &clock, &Settings::default()).await.unwrap();
        assert!(!more);
        let mut tx = db.read().await.unwrap();
        let kept = bus::replay::read(&mut tx, old, 1, 10).await.unwrap();
        assert_eq!(kept.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(bus::replay::read(&mut tx, pending, 1, 10).await.unwrap().len(), 1);
        assert!(!bus::idle(&db).await.unwrap());
    }
}

#[tokio::test]
async fn an_owner_replays_its_events_in_order_from_where_it_is_asked() {
    for db in db::testing::engines(SETS).await {
        let aggregate = Uuid::new_v4();
        let events: Vec<_> = (1..=9).map(|sequence| event(aggregate, sequence)).collect();
        let mut tx = db.begin().await.unwrap();
        outbox::append(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = db.read().await.unwrap();
        let page = bus::replay::read(&mut tx, aggregate, 4, 3).await.unwrap();
        assert_eq!(page.iter().map(|event| event.sequence).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(page[0].payload, events[3].payload);
        assert!(bus::replay::read(&mut tx, aggregate, 10, 3).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let Some(postgres) = db::testing::postgres(SETS).await else { return };
    let sqlite = db::testing::sqlite(SETS).await;
    let (left, right) = (db::testing::schema(&postgres).await, db::testing::schema(&sqlite).await);
    assert_eq!(left, right);
}

#[tokio::test]
async fn a_database_remembers_its_transport_and_leaves_kafka_only_when_it_may() {
    for db in db::testing::engines(SETS).await {
        let (local, kafka, other) = (Used::local(), Used::new("kafka", ""), Used::new("kafka", "other."));
        let refused = |used: &Used| Admission::Refused { used: used.clone() };
        let switched = |from: &Used| Admission::Switched { from: from.clone() };
        assert_eq!(admit(&db, &local, false).await.unwrap(), Admission::Admitted);
        assert_eq!(admit(&db, &local, false).await.unwrap(), Admission::Admitted);
        assert_eq!(admit(&db, &kafka, false).await.unwrap(), switched(&local));
        assert_eq!(admit(&db, &local, false).await.unwrap(), refused(&kafka));
        assert_eq!(admit(&db, &other, false).await.unwrap(), refused(&kafka), "those are other topics");
        assert_eq!(admit(&db, &kafka, false).await.unwrap(), Admission::Admitted, "it is as before");
        assert_eq!(admit(&db, &other, true).await.unwrap(), switched(&kafka));
        assert_eq!(admit(&db, &kafka, false).await.unwrap(), refused(&other));
        assert_eq!(admit(&db, &local, true).await.unwrap(), switched(&other));
        assert_eq!(admit(&db, &local, false).await.unwrap(), Admission::Admitted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_published_once_more_portion_by_portion_and_skipped_by_who_has_them() {
    for world in worlds().await {
        let aggregates = some_aggregates(3);
        write(&world.owner, &aggregates, 3).await;
        lose(&world.owner, aggregates[1], 3).await;
        let recorder = Recorder::new("resent");
        let running = world.start(std::slice::from_ref(&recorder));
        world.wait_for_effects("resent", aggregates[0], &[1, 2, 3]).await;
        world.wait_for_effects("resent", aggregates[1], &[1, 2]).await;
        world.wait_until_idle(&running).await;
        let (mut count, mut after) = (0, None);
        loop {
            let mut tx = world.owner.begin().await.unwrap();
            let resent =
                bus::outbox::resend(&mut tx, Timestamp::UNIX_EPOCH, after, 2, world.clock.business())
                    .await
                    .unwrap();
            tx.commit().await.unwrap();
            count += resent.count;
            after = resent.last;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(count, 9, "{}", world.label);
        for aggregate in &aggregates {
            world.wait_for_effects("resent", *aggregate, &[1, 2, 3]).await;
        }
        world.wait_until_idle(&running).await;
        running.stop().await;
        assert!(world.parked().await.is_empty());
    }
}

#[tokio::test]
async fn events_that_are_published_once_more_wait_from_then_on_and_not_since_they_happened() {
    for db in db::testing::engines(SETS).await {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (long_ago, now) = (at("2030-01-01T00:00:00Z"), at("2030-01-09T00:00:00Z"));
        let mut tx = db.begin().await.unwrap();
        outbox::append(&mut tx, &[bus::Event { occurred_at: long_ago, ..event(Uuid::new_v4(), 1) }])
            .await
            .unwrap();
        assert_eq!(outbox::oldest(&mut tx).await.unwrap(), Some(long_ago));
        tx.execute("DELETE FROM outbox", db::params![]).await.unwrap();
        assert_eq!(outbox::oldest(&mut tx).await.unwrap(), None);
        outbox::resend(&mut tx, long_ago, None, 10, now).await.unwrap();
        assert_eq!(outbox::oldest(&mut tx).await.unwrap(), Some(now));
    }
}

#[tokio::test]
async fn what_still_waits_in_the_outbox_is_not_sent_again() {
    for db in db::testing::engines(SETS).await {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (lost, other) = (Uuid::new_v4(), Uuid::new_v4());
        let happened = |aggregate, sequence| bus::Event {
            occurred_at: at("2030-01-01T00:00:00Z"),
            ..event(aggregate, sequence)
        };
        let mut tx = db.begin().await.unwrap();
        outbox::append(&mut tx, &[happened(lost, 1), happened(lost, 2)]).await.unwrap();
        let later = at("2030-01-01T00:05:00Z");
        assert_eq!(missed::send_again(&mut tx, lost, later).await.unwrap(), None);
        assert_eq!(outbox::count(&mut tx).await.unwrap(), 2);
        tx.execute("DELETE FROM outbox", db::params![]).await.unwrap();
        assert_eq!(
            missed::send_again(&mut tx, lost, later).await.unwrap(),
            Some(2),
            "the transport lost them"
        );
        assert_eq!(outbox::count(&mut tx).await.unwrap(), 2);
        let much_later = at("2030-01-01T00:10:00Z");
        for aggregate in [lost, other] {
            let sent = missed::send_again(&mut tx, aggregate, much_later).await.unwrap();
            assert_eq!(sent, None, "they wait where they were queued once more");
        }
    }
}

#[tokio::test]
async fn an_event_queued_after_one_that_happened_later_is_not_yet_listed_as_published() {
    for db in db::testing::engines(SETS).await {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (old, second) = (Uuid::new_v4(), Uuid::new_v4());
        let happened = |aggregate, time: &str| bus::Event { occurred_at: at(time), ..event(aggregate, 1) };
        let mut tx = db.begin().await.unwrap();
        outbox::append(&mut tx, &[happened(old, "2030-01-01T00:00:00Z")]).await.unwrap();
        tx.execute("DELETE FROM outbox", db::params![]).await.unwrap();
        let pending =
            [happened(Uuid::new_v4(), "2030-01-01T01:00:01Z"), happened(second, "2030-01-01T01:00:00Z")];
        outbox::append(&mut tx, &pending).await.unwrap();
        let asked = heads::Asked::since(Timestamp::UNIX_EPOCH);
        let page = heads::read(&mut tx, asked, at("2030-01-02T00:00:00Z")).await.unwrap();
        let listed: Vec<Uuid> = page.heads.iter().map(|head| head.aggregate).collect();
        assert_eq!(listed, [old]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pointers_without_an_event_do_not_stop_the_relay() {
    for world in worlds().await {
        let mut tx = world.owner.begin().await.unwrap();
        let gone: Vec<_> = (1..=600).map(|sequence| event(Uuid::new_v4(), sequence)).collect();
        outbox::append(&mut tx, &gone).await.unwrap();
        tx.execute("DELETE FROM events", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        let aggregates = some_aggregates(2);
        write(&world.owner, &aggregates, 2).await;
        let running = world.start(&[Recorder::new("unharmed")]);
        for aggregate in &aggregates {
            world.wait_for_effects("unharmed", *aggregate, &[1, 2]).await;
        }
        world.wait_until_idle(&running).await;
        running.stop().await;
    }
}
