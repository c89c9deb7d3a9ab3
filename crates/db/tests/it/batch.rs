//! Many rows in one statement.

use db::{Error, Part, Type, Value, params};
use uuid::Uuid;

use crate::fixture::engines;

const ALL: &[(&str, Type)] = &[
    ("id", Type::BigInt),
    ("n", Type::BigInt),
    ("t", Type::Text),
    ("b", Type::Bytes),
    ("f", Type::Bool),
    ("u", Type::Uuid),
    ("x", Type::Double),
];
const INSERT: &str =
    "INSERT INTO things (id, n, t, b, f, u, x) SELECT r.id, r.n, r.t, r.b, r.f, r.u, r.x FROM {rows}";

#[tokio::test]
async fn a_batch_keeps_every_type_its_extremes_and_its_nulls() {
    let id = Uuid::from_u128(u128::MAX - 1);
    let bytes: Vec<u8> = (0..=255).collect();
    let nasty = "'\"\\/\u{1}\u{7f}\r\n\u{2028}\u{1F6D2}[],{}null";
    let rows = vec![
        params![1_i64, i64::MIN, nasty, &bytes, true, id, f64::MIN_POSITIVE],
        params![2_i64, i64::MAX, "", Vec::<u8>::new(), false, Uuid::nil(), 5.0_f64],
        params![3_i64, None::<i64>, None::<&str>, None::<Vec<u8>>, None::<bool>, None::<Uuid>, None::<f64>],
        params![4_i64, 0_i64, "null", [0_u8], true, id, -55.123_456_789_f64],
        params![5_i64, -1_i64, "12", [0_u8], true, id, 0.0_f64],
    ];
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.batch(INSERT, ALL, rows.clone()).await.unwrap(), 5);
        let read = tx.fetch_all("SELECT * FROM things ORDER BY id", params![]).await.unwrap();
        for (row, wanted) in read.iter().zip(&rows) {
            let got = vec![
                Value::I64(row.get("id").unwrap()),
                Value::I64(row.get("n").unwrap()),
                Value::Text(row.get("t").unwrap()),
                Value::Bytes(row.get("b").unwrap()),
                Value::Bool(row.get("f").unwrap()),
                Value::Uuid(row.get("u").unwrap()),
                Value::F64(row.get("x").unwrap()),
            ];
            assert_eq!(&got, wanted, "{:?}", db.engine());
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_of_nulls_only_is_typed() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let columns = [("id", Type::BigInt), ("u", Type::Uuid), ("b", Type::Bytes)];
        let rows = vec![params![1_i64, None::<Uuid>, None::<Vec<u8>>]];
        let sql = "INSERT INTO things (id, u, b) SELECT r.id, r.u, r.b FROM {rows}";
        assert_eq!(tx.batch(sql, &columns, rows).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn no_rows_means_no_statement() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.batch("not even SQL {rows}", ALL, vec![]).await.unwrap(), 0);
        assert!(tx.batch_fetch("not even SQL {rows}", ALL, vec![]).await.unwrap().is_empty());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn misuse_of_a_batch_is_refused_before_it_is_sent() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let columns = [("id", Type::BigInt)];
        let sql = "INSERT INTO things (id) SELECT r.id FROM {rows}";
        tx.savepoint().await.unwrap();
        for (sql, columns, rows) in [
            (sql, &columns[..], vec![params!["1"]]),
            (sql, &columns, vec![params![1_i64, 2_i64]]),
            ("SELECT 1", &columns, vec![params![1_i64]]),
            (sql, &[], vec![params![1_i64]]),
            (sql, &[("id) SELECT", Type::BigInt)], vec![params![1_i64]]),
        ] {
            assert!(tx.batch(sql, columns, rows).await.is_err());
            if tx.execute("UPDATE things SET n = 0", params![]).await.is_err() {
                tx.rollback_to().await.unwrap();
                tx.savepoint().await.unwrap();
            }
        }
    }
}

const KEYS: &[(&str, Type)] = &[("node", Type::Text), ("sku", Type::Text), ("reserved", Type::BigInt)];

#[tokio::test]
async fn rows_are_joined_locked_updated_and_ignored_on_conflict() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let upsert = "INSERT INTO positions (node, sku, on_hand, reserved)
             SELECT r.node, r.sku, 10, r.reserved FROM {rows} WHERE true ON CONFLICT (node, sku) DO NOTHING";
        let rows =
            |from: i64, to: i64| (from..to).map(|n| params!["n", format!("s{n:04}"), n]).collect::<Vec<_>>();
        assert_eq!(tx.batch(upsert, KEYS, rows(0, 300)).await.unwrap(), 300);
        assert_eq!(tx.batch(upsert, KEYS, rows(250, 350)).await.unwrap(), 50);
        let lock =
            "SELECT p.sku, p.reserved FROM positions AS p JOIN {rows} ON p.node = r.node AND p.sku = r.sku
             ORDER BY p.node, p.sku {lock:p}";
        let mut wanted = rows(5, 9);
        wanted.reverse();
        wanted.push(params!["n", "missing", 0_i64]);
        let locked = tx.batch_fetch(lock, KEYS, wanted).await.unwrap();
        let skus: Vec<String> = locked.iter().map(|row| row.get("sku").unwrap()).collect();
        assert_eq!(skus, ["s0005", "s0006", "s0007", "s0008"]);
        let update = "UPDATE positions AS p SET reserved = p.reserved + r.reserved FROM {rows}
             WHERE p.node = r.node AND p.sku = r.sku";
        assert_eq!(tx.batch(update, KEYS, rows(5, 9)).await.unwrap(), 4);
        let sum = "SELECT CAST(SUM(reserved) AS BIGINT) AS s FROM positions WHERE sku < 's0010'";
        let row = tx.fetch_one(sum, params![]).await.unwrap();
        assert_eq!(row.get::<i64>("s").unwrap(), 45 + 5 + 6 + 7 + 8);
        let delete = "DELETE FROM positions WHERE EXISTS
             (SELECT 1 FROM {rows} WHERE r.node = positions.node AND r.sku = positions.sku) RETURNING sku";
        assert_eq!(tx.batch_fetch(delete, KEYS, rows(0, 7)).await.unwrap().len(), 7);
        let update = "UPDATE positions SET reserved = positions.reserved + r.reserved FROM {rows}
             WHERE positions.node = r.node AND positions.sku = r.sku RETURNING positions.sku, positions.reserved";
        let rows = tx.batch_fetch(update, KEYS, rows(100, 102)).await.unwrap();
        let mut reserved: Vec<i64> = rows.iter().map(|row| row.get("reserved").unwrap()).collect();
        reserved.sort_unstable();
        assert_eq!(reserved, [200, 202]);
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_looks_rows_up_by_key_and_does_not_scan() {
    let db = crate::fixture::sqlite().await;
    let mut tx = db.read().await.unwrap();
    for sql in [
        "EXPLAIN QUERY PLAN SELECT p.sku FROM positions AS p JOIN {rows} ON p.node = r.node AND p.sku = r.sku
         ORDER BY p.node, p.sku {lock:p}",
        "EXPLAIN QUERY PLAN UPDATE positions AS p SET reserved = r.reserved FROM {rows}
         WHERE p.node = r.node AND p.sku = r.sku",
    ] {
        let plan = tx.batch_fetch(sql, KEYS, vec![params!["n", "s", 1_i64]]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail").unwrap()).collect();
        assert!(plan.iter().any(|step| step.starts_with("SEARCH p USING")), "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN p")), "{plan:?}");
    }
}

#[tokio::test]
async fn a_large_batch_is_one_statement() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let rows: Vec<Vec<Value>> = (0..5_000_i64)
            .map(|n| params![n, -n, "text", vec![7_u8; 300], n % 2 == 0, Uuid::from_u128(9), 0.5_f64])
            .collect();
        assert_eq!(tx.batch(INSERT, ALL, rows).await.unwrap(), 5_000);
        tx.commit().await.unwrap();
        assert_eq!(crate::fixture::count(&db).await, 5_000);
    }
}

const KEY: &[(&str, Type)] = &[("id", Type::BigInt), ("n", Type::BigInt)];
const ADD: &str =
    "INSERT INTO things (id, n) SELECT r.id, r.n FROM {rows} WHERE true ON CONFLICT (id) DO NOTHING";
const STATED: &[(&str, Type)] = &[("order_no", Type::BigInt), ("state", Type::Text)];
const STATE: &str = "UPDATE orders AS o SET state = r.state FROM {rows} WHERE o.order_no = r.order_no";

#[tokio::test]
async fn batches_together_count_each_for_itself() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        tx.execute("INSERT INTO things (id, n) VALUES (2, 7)", params![]).await.unwrap();
        tx.execute("INSERT INTO orders (order_no, channel, state) VALUES (1, 'web', 'PLACED')", params![])
            .await
            .unwrap();
        let parts = vec![
            Part::new(ADD, KEY, vec![params![1_i64, 1_i64], params![2_i64, 2_i64], params![3_i64, 3_i64]]),
            Part::new("DELETE FROM lines WHERE line IN (SELECT r.id FROM {rows})", KEY, Vec::new()),
            Part::new(STATE, STATED, vec![params![1_i64, "DONE"], params![9_i64, "DONE"]]),
        ];
        assert_eq!(tx.together(parts).await.unwrap(), [2, 0, 1], "{:?}", db.engine());
        let row = tx
            .fetch_one("SELECT state, (SELECT SUM(n) FROM things) AS n FROM orders", params![])
            .await
            .unwrap();
        assert_eq!(row.get::<String>("state").unwrap(), "DONE");
        assert_eq!(tx.together(Vec::new()).await.unwrap(), [0_u64; 0]);
        tx.commit().await.unwrap();
        let mut tx = db.read().await.unwrap();
        let n: i64 = tx
            .fetch_one("SELECT CAST(SUM(n) AS BIGINT) AS n FROM things", params![])
            .await
            .unwrap()
            .get("n")
            .unwrap();
        assert_eq!(n, 11);
    }
}

#[tokio::test]
async fn only_batches_with_rows_count_towards_the_most_that_go_together() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let add = |n: i64| Part::new(ADD, KEY, vec![params![n, n]]);
        let empty = || Part::new(ADD, KEY, Vec::new());
        let parts = (0..60).map(|n| if n % 3 == 0 { add(n) } else { empty() }).collect();
        let counts = tx.together(parts).await.unwrap();
        assert_eq!((counts.len(), counts.iter().sum::<u64>(), counts[57]), (60, 20, 1));
        let most = (100..124).map(add).collect();
        assert_eq!(tx.together(most).await.unwrap(), [1; 24]);
        let too_many = tx.together((200..225).map(add).collect()).await;
        assert!(matches!(too_many, Err(Error::Engine(_))), "{too_many:?}");
    }
}

#[tokio::test]
async fn one_bad_batch_undoes_those_beside_it() {
    for db in engines().await {
        crate::fixture::add(&db, 5).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let plain = "INSERT INTO things (id, n) SELECT r.id, r.n FROM {rows}";
        let lines =
            "INSERT INTO orders (order_no, channel, state) SELECT r.order_no, 'web', r.state FROM {rows}";
        let parts = vec![
            Part::new(lines, STATED, vec![params![1_i64, "PLACED"]]),
            Part::new(plain, KEY, vec![params![5_i64, 1_i64]]),
        ];
        assert!(matches!(tx.together(parts).await, Err(Error::Duplicate(_))), "{:?}", db.engine());
        assert!(tx.commit().await.is_err());
        let mut tx = db.read().await.unwrap();
        assert!(tx.fetch_optional("SELECT order_no FROM orders", params![]).await.unwrap().is_none());
    }
}
