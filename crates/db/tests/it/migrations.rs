//! The migrations runner.

use db::{Error, Migration, params, testing};
use tokio::task::JoinSet;

const fn step(version: u32, name: &'static str, text: &'static str) -> Migration {
    Migration { version, name, postgres: text, sqlite: text }
}

const ONE: Migration = Migration {
    version: 1,
    name: "first",
    postgres: "CREATE TABLE a (id BIGINT PRIMARY KEY); -- a comment; with a semicolon
        INSERT INTO a (id) VALUES (1); INSERT INTO a (id) VALUES (2);",
    sqlite: "CREATE TABLE a (id INTEGER PRIMARY KEY) STRICT; -- a comment; with a semicolon
        INSERT INTO a (id) VALUES (1); INSERT INTO a (id) VALUES (2);",
};
const TWO: Migration = step(2, "second", "UPDATE a SET id = id + 10; INSERT INTO a (id) VALUES (3)");

async fn rows(db: &db::Db) -> i64 {
    let mut tx = db.read().await.unwrap();
    tx.fetch_one("SELECT COUNT(*) AS c FROM a", params![]).await.unwrap().get("c").unwrap()
}

#[tokio::test]
async fn steps_apply_once_and_in_order() {
    for db in testing::engines(&[]).await {
        assert_eq!(db.migrate("s", &[ONE]).await.unwrap(), 1);
        assert_eq!(db.migrate("s", &[ONE, TWO]).await.unwrap(), 1);
        assert_eq!(db.migrate("s", &[ONE, TWO]).await.unwrap(), 0);
        assert_eq!(rows(&db).await, 3);
        assert_eq!(db.migrate("other", &[step(1, "x", "INSERT INTO a (id) VALUES (99)")]).await.unwrap(), 1);
        assert_eq!(rows(&db).await, 4);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    for db in testing::engines(&[("s", &[ONE, TWO])]).await {
        let refused = db.migrate("s", &[ONE]).await.unwrap_err();
        assert_eq!(refused, Error::NewerSchema { set: "s".into(), found: 2, known: 1 });
    }
}

#[tokio::test]
async fn a_changed_step_is_refused() {
    for db in testing::engines(&[("s", &[ONE])]).await {
        let changed = Migration { postgres: "SELECT 1", sqlite: "SELECT 1", ..ONE };
        let refused = db.migrate("s", &[changed, TWO]).await.unwrap_err();
        assert_eq!(refused, Error::ChangedMigration { set: "s".into(), version: 1 });
        assert_eq!(rows(&db).await, 2);
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_of_itself() {
    for db in testing::engines(&[("s", &[ONE])]).await {
        let bad = step(2, "bad", "INSERT INTO a (id) VALUES (50); INSERT INTO nowhere VALUES (1)");
        assert!(db.migrate("s", &[ONE, bad]).await.is_err());
        assert_eq!(rows(&db).await, 2);
        assert_eq!(db.migrate("s", &[ONE, TWO]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn wrong_numbers_are_refused() {
    for db in testing::engines(&[]).await {
        for set in [&[TWO][..], &[ONE, ONE]] {
            assert!(matches!(db.migrate("s", set).await, Err(Error::Engine(_))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_may_migrate_at_once() {
    for db in testing::engines(&[]).await {
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let process = db.reopen().await;
            tasks.spawn(async move { process.migrate("s", &[ONE, TWO]).await.unwrap() });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<u32>(), 2);
        assert_eq!(rows(&db).await, 3);
    }
}
