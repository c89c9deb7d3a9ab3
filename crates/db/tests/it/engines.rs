//! How the engines are set up.

use std::sync::Arc;

use db::params;
use tokio::sync::Semaphore;

use crate::fixture::{add, count, engines, has, postgres, sqlite};

async fn setting(tx: &mut db::Tx, sql: &'static str) -> String {
    tx.fetch_one(sql, params![]).await.unwrap().get::<String>("v").unwrap()
}

#[tokio::test]
async fn sqlite_is_durable_strict_and_new_enough() {
    let db = sqlite().await;
    let mut tx = db.begin().await.unwrap();
    for (sql, wanted) in [
        ("SELECT journal_mode AS v FROM pragma_journal_mode", "wal"),
        ("SELECT CAST(synchronous AS TEXT) AS v FROM pragma_synchronous", "2"),
        ("SELECT CAST(foreign_keys AS TEXT) AS v FROM pragma_foreign_keys", "1"),
        ("SELECT CAST(trusted_schema AS TEXT) AS v FROM pragma_trusted_schema", "0"),
        ("SELECT CAST(timeout AS TEXT) AS v FROM pragma_busy_timeout", "5000"),
    ] {
        assert_eq!(setting(&mut tx, sql).await, wanted, "{sql}");
    }
    let version = setting(&mut tx, "SELECT sqlite_version() AS v").await;
    let version: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version.as_slice() >= [3, 51, 3].as_slice(), "{version:?}");
}

#[tokio::test]
async fn postgres_has_its_schema_isolation_and_limits() {
    let Some(db) = postgres().await else { return };
    let schema = db.options().schema.clone().unwrap();
    for (write, mut tx) in [(true, db.begin().await.unwrap()), (false, db.read().await.unwrap())] {
        for (sql, wanted) in [
            ("SELECT CAST(current_schema() AS TEXT) AS v", schema.as_str()),
            ("SELECT current_setting('search_path') AS v", schema.as_str()),
            ("SELECT current_setting('transaction_isolation') AS v", "read committed"),
            ("SELECT current_setting('lock_timeout') AS v", "2s"),
            ("SELECT current_setting('statement_timeout') AS v", "10s"),
            ("SELECT current_setting('idle_in_transaction_session_timeout') AS v", "10s"),
            ("SELECT current_setting('synchronous_commit') AS v", "on"),
            ("SELECT current_setting('transaction_read_only') AS v", if write { "off" } else { "on" }),
        ] {
            assert_eq!(setting(&mut tx, sql).await, wanted, "{sql}");
        }
    }
    let mut tx = db.snapshot().await.unwrap();
    assert_eq!(
        setting(&mut tx, "SELECT current_setting('transaction_isolation') AS v").await,
        "repeatable read"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.db");
    let db = db::Db::open(&format!("sqlite://{}", path.display()), &db::Options::default()).await.unwrap();
    db.ping().await.unwrap();
    for file in ["new.db", "new.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
    db.close().await;
    assert!(!folder.path().join("new.db-wal").exists(), "closing folds the log in");
}

#[tokio::test]
async fn a_schema_change_by_another_process_is_survived() {
    for db in engines().await {
        let select = "SELECT * FROM things ORDER BY id";
        let old = db::Db::open(db.url(), &db::Options { max_connections: 1, ..db.options().clone() })
            .await
            .unwrap();
        old.read().await.unwrap().fetch_all(select, params![]).await.unwrap();
        old.begin().await.unwrap().fetch_all(select, params![]).await.unwrap();
        let alter = match db.engine() {
            db::Engine::Postgres => "ALTER TABLE things ADD COLUMN extra BIGINT",
            db::Engine::Sqlite => "ALTER TABLE things ADD COLUMN extra INTEGER",
        };
        let mut tx = db.begin().await.unwrap();
        tx.execute(alter, params![]).await.unwrap();
        tx.execute("INSERT INTO things (id, extra) VALUES (1, 5)", params![]).await.unwrap();
        tx.commit().await.unwrap();
        for writing in [false, true] {
            let mut seen = Err(db::Error::Unavailable(String::new()));
            for _ in 0..2 {
                let tx = if writing { old.begin().await } else { old.read().await };
                seen = tx.unwrap().fetch_all(select, params![]).await;
                match &seen {
                    Ok(_) => break,
                    Err(error) => assert!(matches!(error, db::Error::Unavailable(_)), "{error:?}"),
                }
            }
            assert_eq!(seen.unwrap()[0].get::<i64>("extra").unwrap(), 5);
        }
        add(&old, 2).await.unwrap();
    }
}

#[tokio::test]
async fn test_databases_do_not_see_each_other() {
    let (first, second) = (engines().await, engines().await);
    for (first, second) in first.iter().zip(&second) {
        add(first, 1).await.unwrap();
        assert_eq!(count(second).await, 0);
    }
}

#[tokio::test]
async fn a_backup_is_whole_and_taken_beside_the_writer() {
    let db = sqlite().await;
    add(&db, 1).await.unwrap();
    let mut open = db.begin().await.unwrap();
    open.execute("INSERT INTO things (id) VALUES (2)", params![]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    db.backup_to(&copy).await.unwrap();
    open.commit().await.unwrap();
    let url = format!("sqlite://{}", copy.display());
    let restored = db::Db::open(&url, &db::Options::default()).await.unwrap();
    assert!(has(&restored, 1).await);
    assert!(!has(&restored, 2).await);
    assert!(db.backup_to(&copy).await.is_err(), "it does not overwrite");
    restored.close().await;
    let Some(db) = postgres().await else { return };
    assert!(db.backup_to(&folder.path().join("pg")).await.is_err());
}

#[tokio::test]
async fn a_server_connection_that_died_is_replaced() {
    let Some(db) = postgres().await else { return };
    let mut tx = db.begin().await.unwrap();
    let pid = "SELECT pg_backend_pid() AS pid";
    let victim: i64 = tx.fetch_one(pid, params![]).await.unwrap().get("pid").unwrap();
    let other = db.reopen().await;
    let mut killer = other.begin().await.unwrap();
    let kill = "SELECT pg_terminate_backend(CAST($1 AS INTEGER)) AS done";
    assert!(killer.fetch_one(kill, params![victim]).await.unwrap().get::<bool>("done").unwrap());
    let lost = tx.execute("INSERT INTO things (id) VALUES (1)", params![]).await.unwrap_err();
    assert!(matches!(lost, db::Error::Unavailable(_)), "{lost:?}");
    assert!(tx.commit().await.is_err());
    add(&db, 2).await.unwrap();
    assert!(has(&db, 2).await);
}

#[tokio::test]
async fn a_table_that_has_grown_is_analyzed_once() {
    for db in engines().await {
        assert!(db.analyze_new_tables().await.unwrap().is_empty(), "an empty table has nothing to tell");
        let mut tx = db.begin().await.unwrap();
        tx.execute(
            "INSERT INTO things (id, n) WITH RECURSIVE ids AS (SELECT CAST(1 AS BIGINT) AS id UNION ALL
                 SELECT id + 1 FROM ids WHERE id < 5000) SELECT id, 0 FROM ids",
            params![],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let wanted: &[&str] = if db.engine() == db::Engine::Postgres { &["things"] } else { &[] };
        assert_eq!(db.analyze_new_tables().await.unwrap(), wanted);
        assert!(db.analyze_new_tables().await.unwrap().is_empty(), "the database knows it now");
    }
}

#[tokio::test]
async fn reads_of_one_share_take_turns_and_leave_the_readers_to_others() {
    for db in engines().await {
        let turns = Arc::new(Semaphore::new(1));
        let read = || Box::pin(db::within_share(Arc::clone(&turns), db.read()));
        let first = read().await.unwrap();
        let mut second = Box::pin(db::within_share(Arc::clone(&turns), db.snapshot()));
        assert!(futures_util::poll!(&mut second).is_pending(), "both would read at once");
        drop(db.read().await.unwrap());
        drop(first);
        drop(second.await.unwrap());
        // an ended read gives its turn back
        drop(read().await.unwrap());
    }
}
