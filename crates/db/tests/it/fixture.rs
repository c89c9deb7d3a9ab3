//! Tables and small helpers of these tests.

use std::pin::Pin;
use std::task::{Context, Poll};

use db::testing::{self, TestDb};
use db::{Db, Migration, Migrations, Result, params};

pub(crate) const MIGRATIONS: &Migrations = &[Migration {
    version: 1,
    name: "things",
    postgres: r#"
        CREATE TABLE things (
            id BIGINT PRIMARY KEY, n BIGINT, t TEXT COLLATE "C", b BYTEA, f BOOLEAN, u UUID, x DOUBLE PRECISION);
        CREATE TABLE positions (
            node TEXT COLLATE "C" NOT NULL, sku TEXT COLLATE "C" NOT NULL,
            on_hand BIGINT NOT NULL, reserved BIGINT NOT NULL CHECK (reserved >= 0),
            PRIMARY KEY (node, sku));
        CREATE TABLE orders (
            order_no BIGINT PRIMARY KEY, channel TEXT NOT NULL, ref TEXT, state TEXT NOT NULL, due BIGINT);
        CREATE UNIQUE INDEX orders_open_ref ON orders (channel, ref) WHERE state <> 'CANCELLED';
        CREATE TABLE lines (
            order_no BIGINT NOT NULL REFERENCES orders (order_no), line BIGINT NOT NULL, quantity BIGINT NOT NULL,
            PRIMARY KEY (order_no, line));
    "#,
    sqlite: r"
        CREATE TABLE things (
            id INTEGER PRIMARY KEY, n INTEGER, t TEXT, b BLOB, f INTEGER, u BLOB, x REAL) STRICT;
        CREATE TABLE positions (
            node TEXT NOT NULL, sku TEXT NOT NULL,
            on_hand INTEGER NOT NULL, reserved INTEGER NOT NULL CHECK (reserved >= 0),
            PRIMARY KEY (node, sku)) STRICT;
        CREATE TABLE orders (
            order_no INTEGER PRIMARY KEY, channel TEXT NOT NULL, ref TEXT, state TEXT NOT NULL, due INTEGER) STRICT;
        CREATE UNIQUE INDEX orders_open_ref ON orders (channel, ref) WHERE state <> 'CANCELLED';
        CREATE TABLE lines (
            order_no INTEGER NOT NULL REFERENCES orders (order_no), line INTEGER NOT NULL, quantity INTEGER NOT NULL,
            PRIMARY KEY (order_no, line)) STRICT;
    ",
}];

pub(crate) async fn engines() -> Vec<TestDb> {
    testing::engines(&[("things", MIGRATIONS)]).await
}

/// The same, where a transaction that fails was in a circle of others.
pub(crate) async fn patient_engines() -> Vec<TestDb> {
    testing::patient_engines(&[("things", MIGRATIONS)]).await
}

pub(crate) async fn sqlite() -> TestDb {
    testing::sqlite(&[("things", MIGRATIONS)]).await
}

pub(crate) async fn postgres() -> Option<TestDb> {
    testing::postgres(&[("things", MIGRATIONS)]).await
}

pub(crate) async fn add(db: &Db, id: i64) -> Result<()> {
    let mut tx = db.begin().await?;
    tx.execute("INSERT INTO things (id, n) VALUES ($1, 0)", params![id]).await?;
    tx.commit().await
}

pub(crate) async fn has(db: &Db, id: i64) -> bool {
    let mut tx = db.read().await.unwrap();
    tx.fetch_optional("SELECT id FROM things WHERE id = $1", params![id]).await.unwrap().is_some()
}

pub(crate) async fn count(db: &Db) -> i64 {
    let mut tx = db.read().await.unwrap();
    tx.fetch_one("SELECT COUNT(*) AS c FROM things", params![]).await.unwrap().get("c").unwrap()
}

/// Runs a future for some polls, then drops it unfinished: a caller that went away.
pub(crate) struct Abandoned<F> {
    work: Option<Pin<Box<F>>>,
    polls: u32,
}

pub(crate) fn abandoned<F: Future>(polls: u32, work: F) -> Abandoned<F> {
    Abandoned { work: Some(Box::pin(work)), polls }
}

impl<F: Future> Future for Abandoned<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.work = None;
        }
        let Some(work) = self.work.as_mut() else { return Poll::Ready(None) };
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => {
                self.polls -= 1;
                if self.polls == 0 {
                    // drop it right after this poll, with its question on the way
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}
