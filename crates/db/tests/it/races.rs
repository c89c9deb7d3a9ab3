//! PostgreSQL: several transactions at once.

use db::{Db, Engine, Error, Result, Type, params};
use tokio::task::JoinSet;

use crate::fixture::{add, postgres};

const KEYS: &[(&str, Type)] = &[("node", Type::Text), ("sku", Type::Text)];
const LOCK: &str = "SELECT p.sku, p.on_hand - p.reserved AS free FROM positions AS p
    JOIN {rows} ON p.node = r.node AND p.sku = r.sku ORDER BY p.node, p.sku {lock:p}";

async fn stock(db: &Db, skus: i64, on_hand: i64) {
    let mut tx = db.begin().await.unwrap();
    for n in 0..skus {
        let insert = "INSERT INTO positions (node, sku, on_hand, reserved) VALUES ('n', $1, $2, 0)";
        tx.execute(insert, params![format!("s{n:02}"), on_hand]).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Takes one of each, in the order given, after locking them all in the one order that everybody uses.
async fn take(db: &Db, skus: &[i64]) -> Result<bool> {
    let mut tx = db.begin().await?;
    let keys: Vec<_> = skus.iter().map(|n| params!["n", format!("s{n:02}")]).collect();
    let rows = tx.batch_fetch(LOCK, KEYS, keys.clone()).await?;
    for row in &rows {
        if row.get::<i64>("free")? < 1 {
            return Ok(false);
        }
    }
    let update = "UPDATE positions AS p SET reserved = p.reserved + 1 FROM {rows}
        WHERE p.node = r.node AND p.sku = r.sku";
    tx.batch(update, KEYS, keys).await?;
    tx.commit().await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn baskets_in_any_order_neither_deadlock_nor_oversell() {
    let Some(db) =
        crate::fixture::patient_engines().await.into_iter().find(|db| db.engine() == Engine::Postgres)
    else {
        return;
    };
    stock(&db, 8, 60).await;
    let mut tasks = JoinSet::new();
    for worker in 0..10_i64 {
        let db = db.db();
        tasks.spawn(async move {
            let mut taken = 0_i64;
            for round in 0..30 {
                let start = worker * 7 + round * 3;
                let step = if worker % 2 == 0 { 1 } else { 7 };
                let basket: Vec<i64> = (0..5).map(|n| (start + n * step) % 8).collect();
                if take(&db, &basket).await.unwrap() {
                    taken += 5;
                }
            }
            taken
        });
    }
    let taken: i64 = tasks.join_all().await.into_iter().sum();
    let mut tx = db.read().await.unwrap();
    let sum = "SELECT CAST(SUM(reserved) AS BIGINT) AS s, MAX(reserved) AS most FROM positions";
    let row = tx.fetch_one(sum, params![]).await.unwrap();
    assert_eq!(row.get::<i64>("s").unwrap(), taken);
    assert!(row.get::<i64>("most").unwrap() <= 60);
    // a basket is refused only when a SKU ran out, and 60 baskets of five had taken that
    assert!(taken >= 300, "{taken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_guarded_update_never_oversells() {
    for db in crate::fixture::patient_engines().await {
        stock(&db, 1, 100).await;
        let mut tasks = JoinSet::new();
        for _ in 0..250 {
            let db = db.db();
            tasks.spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let take =
                    "UPDATE positions SET reserved = reserved + 1 WHERE sku = $1 AND on_hand - reserved >= 1";
                let taken = tx.execute(take, params!["s00"]).await.unwrap();
                tx.commit().await.unwrap();
                taken
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 100, "{:?}", db.engine());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twins_of_a_key_wait_for_each_other_and_one_wins() {
    for db in crate::fixture::patient_engines().await {
        let mut tasks = JoinSet::new();
        for _ in 0..32 {
            let db = db.db();
            tasks.spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let claim = "INSERT INTO things (id, n) VALUES (7, 1) ON CONFLICT DO NOTHING";
                let first = tx.execute(claim, params![]).await.unwrap();
                let seen = tx.fetch_optional("SELECT n FROM things WHERE id = 7", params![]).await.unwrap();
                assert!(seen.is_some(), "the loser reads what the winner committed");
                tx.commit().await.unwrap();
                first
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 1, "{:?}", db.engine());
    }
}

/// Two transactions that lock two rows crosswise.
async fn crosswise(db: &Db) -> Vec<Result<()>> {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let mut tasks = JoinSet::new();
    for (first, second) in [(1_i64, 2_i64), (2, 1)] {
        let (db, barrier) = (db.clone(), barrier.clone());
        tasks.spawn(async move {
            let mut tx = db.begin().await?;
            let touch = "UPDATE things SET n = n + 1 WHERE id = $1";
            tx.execute(touch, params![first]).await?;
            barrier.wait().await;
            tx.execute(touch, params![second]).await?;
            tx.commit().await
        });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_a_retry() {
    let Some(db) = postgres().await else { return };
    add(&db, 1).await.unwrap();
    add(&db, 2).await.unwrap();
    let options = db::Options { lock_timeout_ms: 20_000, ..db.options().clone() };
    let patient = Db::open(db.url(), &options).await.unwrap();
    let done = crosswise(&patient).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    let lost = done.iter().find_map(|done| done.as_ref().err()).unwrap();
    assert_eq!(lost, &Error::Retry("deadlock".into()));
}

#[tokio::test]
async fn waiting_for_a_row_ends_in_a_retry() {
    let Some(db) = postgres().await else { return };
    add(&db, 1).await.unwrap();
    let options = db::Options { lock_timeout_ms: 300, ..db.options().clone() };
    let hasty = Db::open(db.url(), &options).await.unwrap();
    let mut held = db.begin().await.unwrap();
    held.lock_one("SELECT id FROM things WHERE id = 1 {lock:things}", params![]).await.unwrap();
    let mut tx = hasty.begin().await.unwrap();
    let error = tx.execute("UPDATE things SET n = 2 WHERE id = 1", params![]).await.unwrap_err();
    assert_eq!(error, Error::Retry("lock time-out".into()));
    drop(tx);
    held.commit().await.unwrap();
    let done = db::retry(3, Error::is_retry, || async {
        let mut tx = hasty.begin().await?;
        tx.execute("UPDATE things SET n = 2 WHERE id = 1", params![]).await?;
        tx.commit().await
    });
    done.await.unwrap();
}

#[tokio::test]
async fn a_snapshot_stays_at_its_moment_and_a_read_does_not() {
    for db in crate::fixture::engines().await {
        let count = "SELECT COUNT(*) AS c FROM things";
        let mut snapshot = db.snapshot().await.unwrap();
        let mut read = db.read().await.unwrap();
        for tx in [&mut snapshot, &mut read] {
            assert_eq!(tx.fetch_one(count, params![]).await.unwrap().get::<i64>("c").unwrap(), 0);
        }
        add(&db, 1).await.unwrap();
        assert_eq!(snapshot.fetch_one(count, params![]).await.unwrap().get::<i64>("c").unwrap(), 0);
        assert_eq!(read.fetch_one(count, params![]).await.unwrap().get::<i64>("c").unwrap(), 1);
    }
}

#[tokio::test]
async fn locking_a_parent_row_does_not_stop_new_children() {
    let Some(db) = postgres().await else { return };
    let mut tx = db.begin().await.unwrap();
    tx.execute("INSERT INTO orders (order_no, channel, state) VALUES (1, 'web', 'PLACED')", params![])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut held = db.begin().await.unwrap();
    held.lock_one("SELECT state FROM orders WHERE order_no = 1 {lock:orders}", params![]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.execute("INSERT INTO lines VALUES (1, 1, 1)", params![]).await.unwrap();
    tx.commit().await.unwrap();
    held.commit().await.unwrap();
}
