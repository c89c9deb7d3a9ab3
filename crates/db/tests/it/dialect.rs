//! Each construct of the portable dialect, run on both engines.

use std::sync::{Arc, Mutex};

use db::{Row, Tx, params};
use uuid::Uuid;

use crate::fixture::engines;

async fn orders(tx: &mut Tx) {
    for (no, channel, reference, state, due) in [
        (1_i64, "web", Some("a"), "PLACED", Some(30_i64)),
        (2, "web", Some("b"), "PLACED", None),
        (3, "app", Some("a"), "READY", Some(10)),
        (4, "app", None, "CANCELLED", Some(20)),
    ] {
        tx.execute(
            "INSERT INTO orders (order_no, channel, ref, state, due) VALUES ($1, $2, $3, $4, $5)",
            params![no, channel, reference, state, due],
        )
        .await
        .unwrap();
    }
}

fn numbers(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.get("order_no").unwrap()).collect()
}

#[tokio::test]
async fn an_upsert_returns_the_row_and_do_nothing_changes_none() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let upsert = "INSERT INTO positions (node, sku, on_hand, reserved) VALUES ($1, $2, $3, 0)
            ON CONFLICT (node, sku) DO UPDATE SET on_hand = positions.on_hand + excluded.on_hand
            RETURNING on_hand";
        for expected in [5_i64, 10] {
            let row = tx.fetch_one(upsert, params!["n", "s", 5_i64]).await.unwrap();
            assert_eq!(row.get::<i64>("on_hand").unwrap(), expected);
        }
        let nothing = "INSERT INTO positions (node, sku, on_hand, reserved) VALUES ($1, $2, 1, 0) ON CONFLICT DO NOTHING";
        assert_eq!(tx.execute(nothing, params!["n", "s"]).await.unwrap(), 0);
        assert_eq!(tx.execute(nothing, params!["n", "t"]).await.unwrap(), 1);
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_guarded_update_tells_whether_it_found_room() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        tx.execute("INSERT INTO positions VALUES ('n', 's', 5, 0)", params![]).await.unwrap();
        let take = "UPDATE positions SET reserved = reserved + $3
             WHERE node = $1 AND sku = $2 AND on_hand - reserved >= $3 RETURNING on_hand - reserved AS left_over";
        let row = tx.fetch_optional(take, params!["n", "s", 4_i64]).await.unwrap().unwrap();
        assert_eq!(row.get::<i64>("left_over").unwrap(), 1);
        assert!(tx.fetch_optional(take, params!["n", "s", 4_i64]).await.unwrap().is_none());
        let plain =
            "UPDATE positions SET reserved = reserved + 1 WHERE node = $1 AND reserved + 1 <= on_hand";
        assert_eq!(tx.execute(plain, params!["n"]).await.unwrap(), 1);
        assert_eq!(tx.execute(plain, params!["n"]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_update_takes_from_another_table_and_a_delete_returns() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        tx.execute("INSERT INTO lines VALUES (1, 1, 3), (2, 1, 4)", params![]).await.unwrap();
        let changed = tx
            .execute(
                "UPDATE orders AS o SET due = l.quantity FROM lines AS l WHERE l.order_no = o.order_no AND l.line = $1",
                params![1_i64],
            )
            .await
            .unwrap();
        assert_eq!(changed, 2);
        let gone = tx
            .fetch_all("DELETE FROM lines WHERE quantity > $1 RETURNING order_no, quantity", params![3_i64])
            .await
            .unwrap();
        assert_eq!(numbers(&gone), [2]);
    }
}

#[tokio::test]
async fn pages_go_by_row_values_and_nulls_come_last() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        let page = "SELECT order_no FROM orders WHERE (channel, order_no) > ($1, $2)
             ORDER BY channel, order_no LIMIT $3";
        let rows = tx.fetch_all(page, params!["app", 3_i64, 2_i64]).await.unwrap();
        assert_eq!(numbers(&rows), [4, 1]);
        let due = tx
            .fetch_all(
                "SELECT order_no FROM orders ORDER BY due NULLS LAST, order_no LIMIT $1",
                params![9_i64],
            )
            .await
            .unwrap();
        assert_eq!(numbers(&due), [3, 4, 1, 2]);
    }
}

#[tokio::test]
async fn aggregates_windows_and_ctes_agree() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        let sums =
            "SELECT COUNT(*) FILTER (WHERE state = 'PLACED') AS placed, CAST(SUM(due) AS BIGINT) AS total,
                STRING_AGG(channel, ',' ORDER BY order_no) AS list, MAX(due) AS latest FROM orders";
        let row = tx.fetch_one(sums, params![]).await.unwrap();
        assert_eq!(row.get::<i64>("placed").unwrap(), 2);
        assert_eq!(row.get::<i64>("total").unwrap(), 60);
        assert_eq!(row.get::<String>("list").unwrap(), "web,web,app,app");
        assert_eq!(row.get::<Option<i64>>("latest").unwrap(), Some(30));
        let ranked = "WITH late AS (SELECT order_no, channel, due FROM orders WHERE due IS NOT NULL)
             SELECT order_no, ROW_NUMBER() OVER (PARTITION BY channel ORDER BY due) AS place FROM late
              WHERE EXISTS (SELECT 1 FROM orders o WHERE o.order_no = late.order_no AND o.state <> 'READY')
              ORDER BY order_no";
        let rows = tx.fetch_all(ranked, params![]).await.unwrap();
        assert_eq!(numbers(&rows), [1, 4]);
        assert_eq!(rows[1].get::<i64>("place").unwrap(), 1);
        let none =
            tx.fetch_one("SELECT CAST(SUM(due) AS BIGINT) AS s FROM orders WHERE order_no > 9", params![]);
        assert_eq!(none.await.unwrap().get::<Option<i64>>("s").unwrap(), None);
    }
}

#[tokio::test]
async fn a_typed_null_compares_as_not_distinct() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        let same = "SELECT order_no FROM orders WHERE ref IS NOT DISTINCT FROM $1 ORDER BY order_no";
        assert_eq!(numbers(&tx.fetch_all(same, params![None::<&str>]).await.unwrap()), [4]);
        assert_eq!(numbers(&tx.fetch_all(same, params![Some("a")]).await.unwrap()), [1, 3]);
        let any = "SELECT order_no FROM orders WHERE ($1 IS NULL OR channel = $1) ORDER BY order_no";
        assert_eq!(numbers(&tx.fetch_all(any, params![None::<String>]).await.unwrap()), [1, 2, 3, 4]);
        assert_eq!(numbers(&tx.fetch_all(any, params!["app"]).await.unwrap()), [3, 4]);
    }
}

#[tokio::test]
async fn a_partial_unique_index_guards_and_is_named_in_on_conflict() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        let insert = "INSERT INTO orders (order_no, channel, ref, state) VALUES ($1, $2, $3, $4)
             ON CONFLICT (channel, ref) WHERE state <> 'CANCELLED' DO NOTHING";
        assert_eq!(tx.execute(insert, params![5_i64, "web", "a", "PLACED"]).await.unwrap(), 0);
        assert_eq!(tx.execute(insert, params![5_i64, "web", "a", "CANCELLED"]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn text_is_ordered_and_compared_by_bytes() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        for (id, text) in ["b", "B", "a", "ä", "Z", "85123A", "85123a"].into_iter().enumerate() {
            let id = i64::try_from(id).unwrap();
            tx.execute("INSERT INTO things (id, t) VALUES ($1, $2)", params![id, text]).await.unwrap();
        }
        let rows = tx.fetch_all("SELECT t FROM things ORDER BY t", params![]).await.unwrap();
        let texts: Vec<String> = rows.iter().map(|row| row.get("t").unwrap()).collect();
        assert_eq!(texts, ["85123A", "85123a", "B", "Z", "a", "b", "ä"]);
        let one = tx.fetch_all("SELECT id FROM things WHERE t = $1", params!["85123a"]).await.unwrap();
        assert_eq!(one.len(), 1);
    }
}

#[tokio::test]
async fn uuids_of_version_7_are_ordered_by_time() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let ids: Vec<Uuid> =
            (0..20).map(|ms| Uuid::from_u128((u128::from(ms * 7_u64) << 80) | 0xffff)).collect();
        for (place, id) in ids.iter().enumerate().rev() {
            let place = i64::try_from(place).unwrap();
            tx.execute("INSERT INTO things (id, u) VALUES ($1, $2)", params![place, id]).await.unwrap();
        }
        let rows = tx
            .fetch_all("SELECT u FROM things WHERE u > $1 ORDER BY u LIMIT 50", params![ids[4]])
            .await
            .unwrap();
        let read: Vec<Uuid> = rows.iter().map(|row| row.get("u").unwrap()).collect();
        assert_eq!(read, ids[5..]);
    }
}

#[tokio::test]
async fn every_type_comes_back_as_it_went_in_and_so_does_its_null() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let insert = "INSERT INTO things (id, n, t, b, f, u, x) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let id = Uuid::from_u128(7);
        let bytes = vec![0_u8, 255, 39, 92];
        tx.execute(insert, params![1_i64, i64::MIN, "it's", &bytes, true, id, -0.1_f64]).await.unwrap();
        tx.execute(insert, params![2_i64, i64::MAX, "", Vec::<u8>::new(), false, Uuid::nil(), 1e300_f64])
            .await
            .unwrap();
        tx.execute(
            insert,
            params![
                3_i64,
                None::<i64>,
                None::<String>,
                None::<Vec<u8>>,
                None::<bool>,
                None::<Uuid>,
                None::<f64>
            ],
        )
        .await
        .unwrap();
        let rows = tx.fetch_all("SELECT * FROM things ORDER BY id", params![]).await.unwrap();
        assert_eq!(rows[0].get::<i64>("n").unwrap(), i64::MIN);
        assert_eq!(rows[0].get::<String>("t").unwrap(), "it's");
        assert_eq!(rows[0].get::<Vec<u8>>("b").unwrap(), bytes);
        assert!(rows[0].get::<bool>("f").unwrap());
        assert_eq!(rows[0].get::<Uuid>("u").unwrap(), id);
        assert!((rows[0].get::<f64>("x").unwrap() + 0.1).abs() < f64::EPSILON);
        assert_eq!(rows[1].get::<i64>("n").unwrap(), i64::MAX);
        assert_eq!(rows[1].get::<Option<String>>("t").unwrap().as_deref(), Some(""));
        assert_eq!(rows[1].get::<Vec<u8>>("b").unwrap(), Vec::<u8>::new());
        assert_eq!(rows[2].get::<Option<i64>>("n").unwrap(), None);
        assert_eq!(rows[2].get::<Option<String>>("t").unwrap(), None);
        assert_eq!(rows[2].get::<Option<Vec<u8>>>("b").unwrap(), None);
        assert_eq!(rows[2].get::<Option<bool>>("f").unwrap(), None);
        assert_eq!(rows[2].get::<Option<Uuid>>("u").unwrap(), None);
        assert_eq!(rows[2].get::<Option<f64>>("x").unwrap(), None);
        assert_eq!(rows[0].get::<i32>("id").unwrap(), 1);
        assert_eq!(rows[0].get::<Option<u32>>("id").unwrap(), Some(1));
        assert!(rows[0].get::<i32>("n").is_err(), "out of range");
        assert!(rows[0].get::<String>("nowhere").is_err());
        assert!(rows[2].get::<i64>("n").is_err(), "null");
        assert!(rows[0].get::<i64>("t").is_err(), "another type");
    }
}

#[tokio::test]
async fn strings_that_look_like_sql_are_just_strings() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let nasty = [
            "'; DROP TABLE things; --",
            "\\",
            "$1",
            "{rows}",
            "\"",
            "%_",
            "\u{1F6D2}\u{301}",
            "a\r\nb\t\u{1}",
        ];
        for (id, text) in nasty.into_iter().enumerate() {
            let id = i64::try_from(id).unwrap();
            tx.execute("INSERT INTO things (id, t) VALUES ($1, $2)", params![id, text]).await.unwrap();
        }
        let rows = tx.fetch_all("SELECT t FROM things ORDER BY id", params![]).await.unwrap();
        let read: Vec<String> = rows.iter().map(|row| row.get("t").unwrap()).collect();
        assert_eq!(read, nasty);
        let refused = tx.execute("INSERT INTO things (id, t) VALUES (99, $1)", params!["a\0b"]).await;
        assert!(matches!(refused, Err(db::Error::Engine(_))));
    }
}

#[tokio::test]
async fn one_row_is_locked_and_read() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        orders(&mut tx).await;
        let row =
            tx.lock_one("SELECT state FROM orders AS o WHERE order_no = $1 {lock:o}", params![3_i64]).await;
        assert_eq!(row.unwrap().unwrap().get::<String>("state").unwrap(), "READY");
        assert!(tx.lock_one("SELECT 1 AS one FROM orders", params![]).await.is_err());
        let row =
            tx.lock_one("SELECT state FROM orders WHERE order_no = $1 {lock:orders}", params![9_i64]).await;
        assert!(row.unwrap().is_none());
    }
}

#[tokio::test]
async fn savepoints_nest_and_bring_an_aborted_transaction_back() {
    for db in engines().await {
        let mut tx = db.begin().await.unwrap();
        let insert = "INSERT INTO things (id) VALUES ($1)";
        tx.execute(insert, params![1_i64]).await.unwrap();
        tx.savepoint().await.unwrap();
        tx.execute(insert, params![2_i64]).await.unwrap();
        tx.savepoint().await.unwrap();
        assert!(tx.execute(insert, params![1_i64]).await.is_err());
        assert!(tx.execute(insert, params![3_i64]).await.is_err(), "aborted");
        tx.rollback_to().await.unwrap();
        tx.execute(insert, params![4_i64]).await.unwrap();
        tx.release().await.unwrap();
        tx.savepoint().await.unwrap();
        tx.execute(insert, params![5_i64]).await.unwrap();
        tx.rollback_to().await.unwrap();
        assert!(tx.rollback_to().await.is_err(), "no savepoint is left");
        tx.commit().await.unwrap();
        let mut tx = db.read().await.unwrap();
        let rows = tx.fetch_all("SELECT id FROM things ORDER BY id", params![]).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
        assert_eq!(ids, [1, 2, 4]);
    }
}

#[tokio::test]
async fn what_follows_a_commit_is_only_that_of_what_was_kept() {
    for db in engines().await {
        let followed = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let followed = Arc::clone(&followed);
            move || followed.lock().unwrap().push(what)
        };
        let mut tx = db.begin().await.unwrap();
        tx.after_commit(note("rolled back"));
        drop(tx);
        let mut committed = db.committed();
        let mut tx = db.begin().await.unwrap();
        tx.wake_on_commit();
        tx.after_commit(note("kept"));
        tx.savepoint().await.unwrap();
        tx.after_commit(note("undone"));
        tx.savepoint().await.unwrap();
        tx.after_commit(note("undone with the outer one"));
        tx.release().await.unwrap();
        tx.rollback_to().await.unwrap();
        tx.savepoint().await.unwrap();
        tx.after_commit(note("released"));
        tx.release().await.unwrap();
        assert!(followed.lock().unwrap().is_empty(), "nothing is committed yet");
        tx.commit().await.unwrap();
        committed.changed().await.unwrap();
        assert_eq!(*followed.lock().unwrap(), ["kept", "released"]);
    }
}
