//! Callers that go away: whole or absent, and nothing stays stuck.

use std::time::Duration;

use db::{Db, params};

use crate::fixture::{abandoned, add, engines, has};

/// A probe that has not cut off enough callers by then can't.
const MOST_ROUNDS: i64 = 20_000;

/// One connection, so that anything left behind meets the next caller.
async fn narrow(url: &str, options: &db::Options) -> Db {
    Db::open(url, &db::Options { max_connections: 1, ..options.clone() }).await.unwrap()
}

#[tokio::test]
async fn after_a_cancelled_begin_the_next_insert_is_really_there() {
    for db in engines().await {
        let narrow = narrow(db.url(), db.options()).await;
        let mut cancelled = 0;
        let mut round = 0_i64;
        // How often a caller is cut off depends on how fast the other threads are: go on until there were enough.
        while round < 200 || cancelled <= 20 {
            assert!(round < MOST_ROUNDS, "the probe cancelled only {cancelled} of {round}");
            let polls = u32::try_from(round % 5).unwrap() + 1;
            if abandoned(polls, narrow.begin()).await.is_none() {
                cancelled += 1;
            }
            add(&narrow, round).await.unwrap();
            assert!(has(&db, round).await, "{:?}: the insert said OK and is gone", db.engine());
            round += 1;
        }
    }
}

#[tokio::test]
async fn after_a_cancelled_snapshot_readers_see_the_newest() {
    for db in engines().await {
        let narrow = narrow(db.url(), db.options()).await;
        for round in 0..60_i64 {
            let polls = u32::try_from(round % 5).unwrap() + 1;
            drop(abandoned(polls, narrow.snapshot()).await);
            add(&db, round).await.unwrap();
            assert!(has(&narrow, round).await, "{:?}: a stale view stayed open", db.engine());
        }
    }
}

#[tokio::test]
async fn work_cancelled_at_any_point_is_whole_or_absent() {
    for db in engines().await {
        let narrow = narrow(db.url(), db.options()).await;
        let mut finished = 0;
        let mut cancelled = 0;
        let mut round = 0_i64;
        while round < 300 || finished <= 10 || cancelled <= 10 {
            assert!(round < MOST_ROUNDS, "{finished} finished, {cancelled} cancelled of {round}");
            let work = async {
                let mut tx = narrow.begin().await?;
                tx.execute("INSERT INTO things (id, n) VALUES ($1, 0)", params![round * 2]).await?;
                tx.execute("INSERT INTO things (id, n) VALUES ($1, 0)", params![round * 2 + 1]).await?;
                tx.commit().await
            };
            let polls = u32::try_from(round % 12).unwrap() + 1;
            match abandoned(polls, work).await {
                Some(done) => {
                    done.unwrap();
                    finished += 1;
                    assert!(has(&db, round * 2).await);
                }
                None => cancelled += 1,
            }
            let probe = tokio::time::timeout(Duration::from_secs(30), add(&narrow, 1_000_000 + round));
            probe.await.expect("the writer is stuck").unwrap();
            assert!(has(&db, 1_000_000 + round).await);
            assert_eq!(has(&db, round * 2).await, has(&db, round * 2 + 1).await, "half a transaction");
            round += 1;
        }
    }
}

#[tokio::test]
async fn a_commit_once_called_goes_on_without_its_caller() {
    for db in engines().await {
        let mut wakeups = db.committed();
        for id in 0..40_i64 {
            let mut tx = db.begin().await.unwrap();
            tx.execute("INSERT INTO things (id) VALUES ($1)", params![id]).await.unwrap();
            tx.wake_on_commit();
            drop(abandoned(1, tx.commit()).await);
            tokio::time::timeout(Duration::from_secs(30), wakeups.changed()).await.unwrap().unwrap();
            assert!(has(&db, id).await);
        }
    }
}

#[tokio::test]
async fn a_transaction_whose_statement_was_abandoned_cannot_be_committed() {
    for db in engines().await {
        let (mut round, mut cut_off) = (0, 0);
        // An answer may be quicker than the first look at it: go on until some were not.
        while round < 200 || cut_off == 0 {
            assert!(round < MOST_ROUNDS, "each of {round} statements was answered before it was abandoned");
            round += 1;
            let mut tx = db.begin().await.unwrap();
            tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
            let cut = abandoned(1, tx.execute("INSERT INTO things (id) VALUES (2)", params![])).await;
            if cut.is_none() {
                cut_off += 1;
                assert!(tx.execute("INSERT INTO things (id) VALUES (3)", params![]).await.is_err());
                assert!(tx.commit().await.is_err());
            }
        }
        add(&db, 4).await.unwrap();
        assert_eq!(crate::fixture::count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_caller_that_gave_up_waiting_takes_no_turn() {
    for db in engines().await {
        let narrow = narrow(db.url(), db.options()).await;
        let held = narrow.begin().await.unwrap();
        for _ in 0..20 {
            assert!(abandoned(1, narrow.begin()).await.is_none());
        }
        drop(held);
        tokio::time::timeout(Duration::from_secs(30), add(&narrow, 1)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn only_commits_that_asked_for_it_wake() {
    for db in engines().await {
        let mut wakeups = db.committed();
        add(&db, 1).await.unwrap();
        assert!(!wakeups.has_changed().unwrap());
        let mut tx = db.begin().await.unwrap();
        tx.wake_on_commit();
        drop(tx);
        add(&db, 2).await.unwrap();
        assert!(!wakeups.has_changed().unwrap());
        let mut tx = db.begin().await.unwrap();
        tx.wake_on_commit();
        tx.commit().await.unwrap();
        assert!(wakeups.has_changed().unwrap());
        wakeups.mark_unchanged();
    }
}
