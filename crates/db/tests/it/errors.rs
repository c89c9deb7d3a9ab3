//! Errors by what the caller can do, and without values in their texts.

use std::time::Duration;

use db::{Error, params};

use crate::fixture::{add, engines, postgres, sqlite};

#[tokio::test]
async fn a_taken_key_is_a_duplicate_of_its_table() {
    for db in engines().await {
        add(&db, 1).await.unwrap();
        let again = add(&db, 1).await.unwrap_err();
        assert!(again.is_duplicate_in("things"), "{again}");
        assert!(!again.is_retry());
        let mut tx = db.begin().await.unwrap();
        let insert =
            "INSERT INTO orders (order_no, channel, ref, state) VALUES ($1, 'secret-channel', $2, 'PLACED')";
        tx.execute(insert, params![1_i64, "secret-ref"]).await.unwrap();
        let duplicate = tx.execute(insert, params![2_i64, "secret-ref"]).await.unwrap_err();
        assert!(duplicate.is_duplicate_in("orders"), "{duplicate}");
        assert!(!duplicate.to_string().contains("secret"), "{duplicate}");
    }
}

#[tokio::test]
async fn broken_constraints_are_engine_errors_that_name_no_value() {
    for db in engines().await {
        for sql in [
            "INSERT INTO positions (node, sku, on_hand, reserved) VALUES ('n', $1, 1, -4711)",
            "INSERT INTO positions (node, on_hand, reserved) VALUES ($1, 1, 4711)",
            "INSERT INTO lines (order_no, line, quantity) SELECT 4711, 1, 1 WHERE $1 = $1",
            "INSERT INTO nowhere VALUES ($1)",
            "SELECT $1 FROM WHERE",
        ] {
            let mut tx = db.begin().await.unwrap();
            let Err(error) = tx.execute(sql, params!["secret"]).await else {
                panic!("{:?}: {sql}", db.engine())
            };
            assert!(matches!(error, Error::Engine(_)), "{error:?}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("secret") && !text.contains("4711"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_failed_statement_aborts_the_transaction_on_both_engines() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
        assert!(tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.is_err());
        assert!(tx.execute("INSERT INTO things (id) VALUES (2)", params![]).await.is_err());
        assert!(tx.fetch_all("SELECT id FROM things", params![]).await.is_err());
        assert!(tx.commit().await.is_err());
        assert_eq!(crate::fixture::count(&db).await, 0);
    }
}

#[tokio::test]
async fn readers_cannot_write() {
    for db in engines().await {
        let insert = "INSERT INTO things (id) VALUES (1)";
        let mut tx = db.read().await.unwrap();
        assert!(matches!(tx.execute(insert, params![]).await, Err(Error::Engine(_) | Error::Unavailable(_))));
        assert!(tx.fetch_all("SELECT 1 AS one", params![]).await.is_ok(), "a read goes on");
        tx.commit().await.unwrap();
        let mut tx = db.snapshot().await.unwrap();
        assert!(matches!(tx.execute(insert, params![]).await, Err(Error::Engine(_) | Error::Unavailable(_))));
        drop(tx);
        assert_eq!(crate::fixture::count(&db).await, 0);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_a_bad_url_is_not_repeated() {
    let options = db::Options { acquire_timeout_ms: 1_000, ..db::Options::default() };
    let closed = db::Db::open("postgres://nobody:hunter2@127.0.0.1:1/none", &options).await.unwrap_err();
    assert!(matches!(closed, Error::Unavailable(_)), "{closed:?}");
    assert!(!closed.to_string().contains("hunter2"));
    for url in ["mysql://a", "sqlite://relative.db", "sqlite::memory:", ""] {
        assert!(matches!(db::Db::open(url, &options).await, Err(Error::Engine(_))), "{url}");
    }
    let schema = db::Options { schema: Some("a; DROP SCHEMA b".into()), ..options };
    assert!(matches!(db::Db::open("postgres://a@127.0.0.1:1/b", &schema).await, Err(Error::Engine(_))));
}

#[tokio::test]
async fn a_full_pool_says_unavailable_in_time() {
    let Some(db) = postgres().await else { return };
    let options = db::Options { max_connections: 1, acquire_timeout_ms: 4_000, ..db.options().clone() };
    let small = db::Db::open(db.url(), &options).await.unwrap();
    let held = small.begin().await.unwrap();
    assert!(matches!(small.begin().await, Err(Error::Unavailable(_))));
    drop(held);
    add(&small, 1).await.unwrap();
}

#[tokio::test]
async fn a_busy_file_is_a_retry() {
    let db = sqlite().await;
    let other = db.reopen().await;
    let held = db.begin().await.unwrap();
    let options = db::Options { acquire_timeout_ms: 60_000, ..db.options().clone() };
    let patient = db::Db::open(db.url(), &options).await.unwrap();
    let busy = patient.begin().await.unwrap_err();
    assert!(busy.is_retry(), "{busy:?}");
    drop(held);
    add(&other, 1).await.unwrap();
    add(&patient, 2).await.unwrap();
}

#[tokio::test]
async fn an_idle_write_transaction_is_rolled_back_and_others_go_on() {
    for db in engines().await {
        let options = db::Options { idle_in_tx_timeout_ms: 3_000, ..db.options().clone() };
        let short = db::Db::open(db.url(), &options).await.unwrap();
        let mut idle = short.begin().await.unwrap();
        idle.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap();
        let waiting = tokio::spawn({
            let short = short.clone();
            async move { add(&short, 2).await }
        });
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap().unwrap();
        if db.engine() == db::Engine::Postgres {
            wait(6_000).await;
        }
        assert!(idle.execute("INSERT INTO things (id) VALUES (3)", params![]).await.is_err());
        assert!(idle.commit().await.is_err());
        assert_eq!(crate::fixture::count(&db).await, 1);
        add(&short, 4).await.unwrap();
    }
}

#[tokio::test]
async fn a_long_statement_ends_in_time() {
    let Some(db) = postgres().await else { return };
    let options = db::Options { statement_timeout_ms: 2_000, ..db.options().clone() };
    let short = db::Db::open(db.url(), &options).await.unwrap();
    let mut tx = short.begin().await.unwrap();
    let error = tx.fetch_all("SELECT 1 AS one FROM (SELECT pg_sleep(60)) AS s", params![]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    drop(tx);
    add(&short, 1).await.unwrap();
}

#[tokio::test]
async fn a_survey_may_take_longer_and_the_next_reader_may_not() {
    let Some(db) = postgres().await else { return };
    let options = db::Options { statement_timeout_ms: 1_500, max_connections: 1, ..db.options().clone() };
    let short = db::Db::open(db.url(), &options).await.unwrap();
    let sleep = "SELECT 1 AS one, current_setting('enable_seqscan') AS plan FROM (SELECT pg_sleep(3)) AS s";
    let mut tx = short.survey(Duration::from_secs(30)).await.unwrap();
    assert_eq!(tx.fetch_one(sleep, params![]).await.unwrap().get::<String>("plan").unwrap(), "on");
    drop(tx);
    let mut tx = short.read().await.unwrap();
    assert!(matches!(tx.fetch_one(sleep, params![]).await, Err(Error::Unavailable(_))));
    drop(tx);
    let mut tx = short.survey(Duration::from_secs(2)).await.unwrap();
    assert!(matches!(tx.fetch_one(sleep, params![]).await, Err(Error::Unavailable(_))), "it has a limit too");
}

#[tokio::test]
async fn only_retries_are_repeated_and_only_so_often() {
    for (fails, error, runs) in [
        (2_u32, Error::Retry("x".into()), 3_u32),
        (9, Error::Retry("x".into()), 3),
        (1, Error::Engine("x".into()), 1),
    ] {
        let mut ran = 0;
        let done = db::retry(3, Error::is_retry, || {
            ran += 1;
            let answer = if ran <= fails { Err(error.clone()) } else { Ok(ran) };
            async move { answer }
        })
        .await;
        assert_eq!(ran, runs);
        assert_eq!(done.is_ok(), fails < 3 && runs == 3);
    }
}

async fn wait(ms: u64) {
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn a_full_disk_of_a_server_is_remembered_until_a_write_succeeds() {
    let Some(db) = postgres().await else { return };
    assert_eq!(db.out_of_space(), None);
    let mut tx = db.begin().await.unwrap();
    let full = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$";
    let full = tx.execute(full, params![]).await.unwrap_err();
    assert!(matches!(full, Error::Unavailable(_)), "{full:?}");
    assert_eq!(db.out_of_space(), Some(full));
    drop(tx);
    let mut id = 1_000;
    while db.out_of_space().is_some() {
        add(&db, id).await.unwrap();
        id += 1;
    }
}

#[tokio::test]
async fn a_full_disk_is_remembered_until_a_write_succeeds() {
    let db = sqlite().await;
    let fill = async |pages: &'static str| {
        let mut tx = db.begin().await?;
        tx.fetch_all(pages, params![]).await?;
        for id in 0..64_i64 {
            let goods = "INSERT INTO things (id, b) VALUES ($1, $2)";
            tx.execute(goods, params![id, vec![7_u8; 64 * 1_024]]).await?;
        }
        tx.commit().await
    };
    assert_eq!(db.out_of_space(), None);
    // as small as the file is: it cannot grow
    let full = fill("PRAGMA max_page_count = 1").await.unwrap_err();
    assert!(matches!(full, Error::Unavailable(_)), "{full:?}");
    assert_eq!(db.out_of_space(), Some(full));
    assert_eq!(crate::fixture::count(&db).await, 0, "reads go on");
    fill("PRAGMA max_page_count = 1000000").await.unwrap();
    let mut id = 1_000;
    while db.out_of_space().is_some() {
        add(&db, id).await.unwrap();
        id += 1;
    }
}
