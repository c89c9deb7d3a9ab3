//! `SQLite`: one writer, shared commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db::{Db, Error, params};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::task::JoinSet;

use crate::fixture::{add, count, has, sqlite};

/// Counts flushes and transactions of this thread (the test's runtime has only one).
#[derive(Clone, Default)]
struct Counts {
    commits: Arc<AtomicU64>,
    transactions: Arc<AtomicU64>,
    slow: Arc<AtomicU64>,
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "entrepot_db_commits_total" => Counter::from_arc(Arc::clone(&self.commits)),
            "entrepot_db_transactions_total" => Counter::from_arc(Arc::clone(&self.transactions)),
            "entrepot_db_slow_statements_total" => Counter::from_arc(Arc::clone(&self.slow)),
            _ => Counter::noop(),
        }
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

async fn many(db: &Db, ids: std::ops::Range<i64>) -> Vec<(i64, Result<(), Error>)> {
    let mut tasks = JoinSet::new();
    for id in ids {
        let db = db.clone();
        tasks.spawn(async move { (id, add(&db, id).await) });
    }
    tasks.join_all().await
}

#[tokio::test]
async fn concurrent_commits_share_a_flush() {
    let db = sqlite().await;
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    let before = (counts.commits.load(Ordering::SeqCst), counts.transactions.load(Ordering::SeqCst));
    for (_, done) in many(&db, 0..300).await {
        done.unwrap();
    }
    let commits = counts.commits.load(Ordering::SeqCst) - before.0;
    let transactions = counts.transactions.load(Ordering::SeqCst) - before.1;
    assert_eq!(transactions, 300);
    assert!(commits >= 5, "at most 64 share one: {commits}");
    assert!(commits <= 60, "they do share: {commits}");
    assert_eq!(count(&db).await, 300);
}

#[tokio::test]
async fn one_failure_among_many_hurts_nobody_else() {
    let db = sqlite().await;
    add(&db, 50).await.unwrap();
    for (id, done) in many(&db, 0..100).await {
        assert_eq!(done.is_err(), id == 50, "{id}");
    }
    assert_eq!(count(&db).await, 100);
}

#[tokio::test]
async fn dropped_transactions_leave_nothing_and_their_neighbours_everything() {
    let db = sqlite().await;
    let mut tasks = JoinSet::new();
    for id in 0..200_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            let mut tx = db.begin().await.unwrap();
            tx.execute("INSERT INTO things (id, n) VALUES ($1, $2)", params![id, id]).await.unwrap();
            if id % 3 == 0 {
                drop(tx);
            } else {
                tx.commit().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    for id in 0..200 {
        assert_eq!(has(&db, id).await, id % 3 != 0, "{id}");
    }
}

#[tokio::test]
async fn what_commit_confirmed_is_seen_by_another_process() {
    let db = sqlite().await;
    let other = db.reopen().await;
    for id in 0..20 {
        add(&db, id).await.unwrap();
        assert!(has(&other, id).await);
    }
}

#[tokio::test]
async fn a_member_sees_what_earlier_members_wrote_and_readers_see_only_what_is_committed() {
    let db = sqlite().await;
    let mut first = db.begin().await.unwrap();
    first.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
    assert!(!has(&db, 1).await, "a reader does not wait and does not see it");
    let second = tokio::spawn({
        let db = db.clone();
        async move {
            let mut tx = db.begin().await.unwrap();
            let row = tx.fetch_one("SELECT COUNT(*) AS c FROM things", params![]).await.unwrap();
            row.get::<i64>("c").unwrap()
        }
    });
    tokio::task::yield_now().await;
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), 1);
    assert!(has(&db, 1).await);
}

#[tokio::test]
async fn turns_are_taken_first_come_first_served() {
    let db = sqlite().await;
    let held = db.begin().await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for id in 0..50_i64 {
        let (db, order) = (db.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let tx = db.begin().await.unwrap();
            order.lock().unwrap().push(id);
            tx.commit().await.unwrap();
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_its_members_and_the_writer_goes_on() {
    let db = sqlite().await;
    let mut tx = db.begin().await.unwrap();
    tx.execute(
        "CREATE TABLE late (id INTEGER PRIMARY KEY,
            thing INTEGER REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED) STRICT",
        params![],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let mut bad = db.begin().await.unwrap();
    bad.execute("INSERT INTO late VALUES (1, 4711)", params![]).await.unwrap();
    let neighbour = tokio::spawn({
        let db = db.clone();
        async move { add(&db, 1).await }
    });
    tokio::task::yield_now().await;
    assert!(bad.commit().await.is_err());
    assert!(neighbour.await.unwrap().is_err(), "it shared that commit");
    assert_eq!(count(&db).await, 0);
    add(&db, 2).await.unwrap();
    assert!(has(&db, 2).await);
}

#[tokio::test]
async fn closing_lets_the_queue_finish_and_refuses_the_rest() {
    let db = sqlite().await;
    let held = db.begin().await.unwrap();
    let queued = tokio::spawn({
        let db = db.clone();
        async move { add(&db, 1).await }
    });
    tokio::task::yield_now().await;
    let closing = tokio::spawn({
        let db = db.clone();
        async move { db.close().await }
    });
    tokio::task::yield_now().await;
    drop(held);
    queued.await.unwrap().unwrap();
    closing.await.unwrap();
    assert!(matches!(add(&db, 2).await, Err(Error::Unavailable(_))));
    assert!(matches!(db.read().await, Err(Error::Unavailable(_))));
    assert_eq!(count(&db.reopen().await).await, 1);
}

#[tokio::test]
async fn slow_statements_are_counted() {
    let db = sqlite().await;
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    add(&db, 1).await.unwrap();
    assert_eq!(counts.slow.load(Ordering::SeqCst), 0);
    let options = db::Options { slow_statement_ms: 0, ..db.options().clone() };
    add(&Db::open(db.url(), &options).await.unwrap(), 2).await.unwrap();
    assert_eq!(counts.slow.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_disk_fails_whole_transactions_and_the_writer_recovers() {
    let db = sqlite().await;
    add(&db, 0).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.fetch_all("PRAGMA max_page_count = 60", params![]).await.unwrap();
    tx.commit().await.unwrap();
    let held = db.begin().await.unwrap();
    let mut tasks = JoinSet::new();
    for id in 1..40_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            let size = if id % 4 == 0 { 100_000 } else { 1_000 };
            let work = async {
                let mut tx = db.begin().await?;
                tx.execute("INSERT INTO things (id, b) VALUES ($1, $2)", params![id, vec![1_u8; size]])
                    .await?;
                tx.execute("INSERT INTO things (id, b) VALUES ($1, $2)", params![-id, vec![1_u8; size]])
                    .await?;
                tx.commit().await
            };
            (id, work.await)
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    let done = tasks.join_all().await;
    let (mut stored, mut refused) = (0, 0);
    for (id, done) in done {
        match &done {
            Ok(()) => stored += 1,
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(has(&db, id).await, done.is_ok(), "{id}");
        assert_eq!(has(&db, -id).await, done.is_ok(), "{id}");
    }
    assert!(stored > 0 && refused > 0, "{stored} stored, {refused} refused");
    let mut tx = db.begin().await.unwrap();
    tx.fetch_all("PRAGMA max_page_count = 100000", params![]).await.unwrap();
    tx.commit().await.unwrap();
    add(&db, 100).await.unwrap();
    assert!(has(&db, 100).await && has(&db, 0).await);
}
