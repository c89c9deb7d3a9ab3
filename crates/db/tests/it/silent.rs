//! Connections that a network loses without a word, against a real PostgreSQL behind a proxy.

use std::time::Duration;

use db::testing::TestDb;
use db::{Db, Error, Options, params};

use crate::fixture::{add, has, postgres};
use crate::proxy::Proxy;

/// How long a test waits before it fails: no test asserts on time.
const PATIENCE: Duration = Duration::from_mins(2);

/// The same database through a proxy.
async fn behind(db: &TestDb, options: Options) -> (Proxy, Db) {
    let (start, rest) = db.url().split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let proxy = Proxy::to(server).await;
    let url = format!("{start}@{}/{database}", proxy.address());
    let behind = Db::open(&url, &options).await.unwrap();
    (proxy, behind)
}

/// Connections that rest on both shelves.
async fn warm(db: &Db) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut tx = db.read().await.unwrap();
        tx.fetch_one("SELECT 1 AS one", params![]).await.unwrap();
        reads.push(tx);
        writes.push(db.begin().await.unwrap());
    }
    for tx in writes {
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn one_silent_connection_empties_the_shelves_and_work_goes_on() {
    let Some(db) = postgres().await else { return };
    let (proxy, behind) = behind(&db, db.options().clone()).await;
    warm(&behind).await;
    let before = proxy.accepted();
    proxy.forget();
    tokio::time::timeout(PATIENCE, add(&behind, 1)).await.unwrap().unwrap();
    assert!(tokio::time::timeout(PATIENCE, has(&behind, 1)).await.unwrap());
    for id in 2..6 {
        tokio::time::timeout(PATIENCE, add(&behind, id)).await.unwrap().unwrap();
    }
    assert!(proxy.accepted() > before, "new connections were made");
    assert!(has(&db, 5).await);
}

#[tokio::test]
async fn a_plain_read_on_a_silent_connection_is_asked_again_on_a_new_one() {
    let Some(db) = postgres().await else { return };
    let (proxy, behind) = behind(&db, db.options().clone()).await;
    warm(&behind).await;
    let mut tx = behind.read().await.unwrap();
    proxy.forget();
    let row = tx.fetch_one("SELECT 7 AS seven", params![]).await.unwrap();
    assert_eq!(row.get::<i64>("seven").unwrap(), 7);
}

#[tokio::test]
async fn locks_of_a_silent_connection_are_free_before_others_give_up() {
    let Some(db) = postgres().await else { return };
    add(&db, 1).await.unwrap();
    let patient = Options { lock_timeout_ms: 60_000, statement_timeout_ms: 60_000, ..db.options().clone() };
    let patient = Db::open(db.url(), &patient).await.unwrap();
    // the server's own limit is out of reach: what frees the lock is that we noticed
    let options = Options { idle_in_tx_timeout_ms: 3_600_000, ..db.options().clone() };
    let (proxy, behind) = behind(&db, options).await;
    let change = "UPDATE things SET n = n + 1 WHERE id = 1";
    let mut tx = behind.begin().await.unwrap();
    tx.execute(change, params![]).await.unwrap();
    proxy.forget();
    let lost = tx.execute(change, params![]).await.unwrap_err();
    assert!(matches!(lost, Error::Unavailable(_)), "{lost:?}");
    let mut other = patient.begin().await.unwrap();
    assert_eq!(other.execute(change, params![]).await.unwrap(), 1);
    other.commit().await.unwrap();
}

#[tokio::test]
async fn a_long_statement_is_not_taken_for_a_silent_connection() {
    let Some(db) = postgres().await else { return };
    let options = Options { answer_timeout_ms: 1_000, ..db.options().clone() };
    let (_proxy, behind) = behind(&db, options).await;
    let mut tx = behind.begin().await.unwrap();
    tx.fetch_all("SELECT CAST(pg_sleep(3.5) AS TEXT) AS slept", params![]).await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(has(&db, 1).await);
}

#[tokio::test]
async fn a_commit_without_an_answer_ends_with_an_unknown_outcome() {
    let Some(db) = postgres().await else { return };
    let (proxy, behind) = behind(&db, db.options().clone()).await;
    let mut tx = behind.begin().await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
    proxy.forget();
    let lost = tokio::time::timeout(PATIENCE, tx.commit()).await.unwrap().unwrap_err();
    assert!(matches!(lost, Error::Unavailable(_)), "{lost:?}");
    assert!(!has(&db, 1).await, "the server never heard of it");
}

#[tokio::test]
async fn while_the_database_is_away_callers_are_refused_at_once_and_served_after_it() {
    let Some(db) = postgres().await else { return };
    let options = Options { answer_timeout_ms: 1_000, ..db.options().clone() };
    let (proxy, behind) = behind(&db, options).await;
    warm(&behind).await;
    proxy.freeze();
    add(&behind, 1).await.unwrap_err();
    // one caller at a time tries to connect, callers that come meanwhile are refused
    let trying = tokio::spawn({
        let behind = behind.clone();
        async move {
            while behind.ping().await.is_err_and(|error| error.to_string().contains("cannot be reached")) {
                tokio::task::yield_now().await;
            }
        }
    });
    let refused = loop {
        match behind.ping().await.unwrap_err() {
            Error::Unavailable(text) if text.contains("cannot be reached") => break text,
            Error::Unavailable(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(refused.contains(&proxy.address().to_string()), "{refused}");
    trying.abort();
    proxy.heal();
    let served = async {
        while add(&behind, 2).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    assert!(has(&db, 2).await);
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced() {
    let Some(db) = postgres().await else { return };
    let (proxy, behind) = behind(&db, db.options().clone()).await;
    warm(&behind).await;
    proxy.cut();
    for id in 0..8 {
        add(&behind, id).await.unwrap();
        assert!(has(&behind, id).await);
    }
}

#[tokio::test]
async fn the_statement_of_a_caller_that_left_ends_on_the_server() {
    let Some(db) = postgres().await else { return };
    // the server's own limit is out of reach: what ends the statement is that its caller left
    let patient = Options { statement_timeout_ms: 3_600_000, ..db.options().clone() };
    let patient = Db::open(db.url(), &patient).await.unwrap();
    let mut tx = patient.read().await.unwrap();
    let pid = "SELECT pg_backend_pid() AS pid";
    let pid: i64 = tx.fetch_one(pid, params![]).await.unwrap().get("pid").unwrap();
    let at_work =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE pid = CAST($1 AS INTEGER) AND state = 'active'";
    let running = async |wanted: i64| {
        let mut tx = db.read().await.unwrap();
        while tx.fetch_one(at_work, params![pid]).await.unwrap().get::<i64>("n").unwrap() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let left =
        tokio::spawn(
            async move { tx.fetch_all("SELECT CAST(pg_sleep(3600) AS TEXT) AS slept", params![]).await },
        );
    tokio::time::timeout(PATIENCE, running(1)).await.unwrap();
    left.abort();
    tokio::time::timeout(PATIENCE, running(0)).await.unwrap();
}
