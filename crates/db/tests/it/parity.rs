//! The schema reader that parity tests of services rely on.

use db::testing::{self, schema};
use db::{Engine, Kind, Migration, Migrations};

use crate::fixture::engines;

#[tokio::test]
async fn both_engines_show_the_same_schema() {
    let all = engines().await;
    let sqlite = schema(&all[0]).await;
    assert_eq!(sqlite.tables.len(), 5, "{:?}", sqlite.tables.keys());
    let orders = &sqlite.tables["orders"];
    assert_eq!(orders.columns["due"].kind, Kind::Integer);
    assert!(orders.columns["due"].nullable && !orders.columns["order_no"].nullable);
    assert!(orders.unique.contains(&vec!["channel".into(), "ref".into(), "(partial)".into()]));
    assert!(orders.unique.contains(&vec!["order_no".to_owned()]));
    assert!(sqlite.tables["positions"].unique.contains(&vec!["node".to_owned(), "sku".to_owned()]));
    for other in &all[1..] {
        assert_eq!(other.engine(), Engine::Postgres);
        assert_eq!(schema(other).await, sqlite);
    }
}

#[tokio::test]
async fn a_difference_between_the_engines_is_seen() {
    const LOPSIDED: &Migrations = &[Migration {
        version: 1,
        name: "lopsided",
        postgres: "CREATE TABLE t (id UUID PRIMARY KEY, a TEXT NOT NULL, b BIGINT UNIQUE)",
        sqlite: "CREATE TABLE t (id BLOB PRIMARY KEY, a TEXT, b INTEGER) STRICT",
    }];
    let all = testing::engines(&[("t", LOPSIDED)]).await;
    let sqlite = schema(&all[0]).await;
    for other in &all[1..] {
        let other = schema(other).await;
        assert_ne!(other.tables["t"].columns["a"], sqlite.tables["t"].columns["a"]);
        assert_ne!(other.tables["t"].unique, sqlite.tables["t"].unique);
        assert_eq!(other.tables["t"].columns["b"], sqlite.tables["t"].columns["b"]);
    }
}
