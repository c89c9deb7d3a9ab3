//! One process of a service.

use std::ops::Deref;
use std::sync::Arc;

use bus::{Delivered, HandleError};
use clock::Clock;
use db::testing::{self, Schema, Sets, TestDb};
use db::{Row, params};
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use server::Peer;
use service::Service;

use crate::{Appended, at};

/// A database and a clock that only the test moves. Clones are the same ones.
#[derive(Clone)]
pub struct Ground {
    /// The database, gone after the test.
    pub db: Arc<TestDb>,
    /// The clock.
    pub clock: Clock,
}

impl Ground {
    /// One on each engine. A missing PostgreSQL fails the test.
    pub async fn all(sets: Sets<'_>, start: &str) -> Vec<Self> {
        Self::of(testing::engines(sets).await, start)
    }

    /// The same where transactions wait for locks as long as it takes.
    pub async fn all_patient(sets: Sets<'_>, start: &str) -> Vec<Self> {
        Self::of(testing::patient_engines(sets).await, start)
    }

    fn of(databases: Vec<TestDb>, start: &str) -> Vec<Self> {
        databases.into_iter().map(|db| Self::new(db, start)).collect()
    }

    /// One on this database.
    pub fn new(db: TestDb, start: &str) -> Self {
        Self { db: Arc::new(db), clock: Clock::virtual_at(at(start)) }
    }

    /// The tables, the same on all engines.
    pub async fn same_tables(sets: Sets<'_>) -> Schema {
        let databases = testing::engines(sets).await;
        let first = testing::schema(&databases[0]).await;
        for other in &databases[1..] {
            assert_eq!(first, testing::schema(other).await, "{}", other.engine().name());
        }
        first
    }

    /// The time of the test.
    pub fn now(&self) -> Timestamp {
        self.clock.business()
    }

    /// Lets time pass.
    pub fn pass(&self, span: SignedDuration) {
        assert!(self.clock.advance_to(self.now() + span));
    }

    /// What a statement counts, as `n`.
    pub async fn count(&self, sql: &'static str) -> i64 {
        self.rows(sql).await[0].get("n").unwrap()
    }

    /// What a statement reads.
    pub async fn rows(&self, sql: &'static str) -> Vec<Row> {
        let mut tx = self.db.read().await.unwrap();
        let rows = tx.fetch_all(sql, params![]).await.unwrap();
        tx.commit().await.unwrap();
        rows
    }

    /// Runs a statement behind the back of the service.
    pub async fn alter(&self, sql: &'static str) {
        let mut tx = self.db.begin().await.unwrap();
        tx.execute(sql, params![]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// All events that were appended, in their order.
    pub async fn appended<M: Message + Default>(&self) -> Vec<Appended<M>> {
        let sql = "SELECT aggregate, sequence, event_type, actor, traceparent, payload FROM events
                    ORDER BY event_id";
        self.rows(sql).await.iter().map(Appended::from_row).collect()
    }
}

/// One process of a service.
pub struct Process<S> {
    /// The service.
    pub service: Arc<S>,
    /// What it runs on.
    pub ground: Ground,
}

impl<S> Clone for Process<S> {
    fn clone(&self) -> Self {
        Self { service: Arc::clone(&self.service), ground: self.ground.clone() }
    }
}

impl<S> Deref for Process<S> {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl<S: Service> Process<S> {
    /// A service on its ground.
    pub fn new(ground: Ground, service: Arc<S>) -> Self {
        Self { service, ground }
    }

    /// The service for callers in this process.
    pub fn peer(&self) -> Peer {
        service::shape::peer(Arc::clone(&self.service))
    }

    /// Does what is due; answers how much that was.
    pub async fn run_due(&self) -> usize {
        self.service.run_due(self.now()).await.unwrap()
    }

    /// When something is due next.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.service.next_due().await.unwrap()
    }

    /// An event of another service arrives.
    pub async fn hear(&self, event: &Delivered) -> Result<(), HandleError> {
        let mut tx = self.db.begin().await.unwrap();
        self.service.handle(&mut tx, event).await?;
        tx.commit().await.unwrap();
        self.service.committed();
        Ok(())
    }

    /// Events arrive in one transaction, as the bus brings them.
    pub async fn hear_all(&self, events: &[Delivered]) -> Result<(), HandleError> {
        let mut tx = self.db.begin().await.unwrap();
        self.service.handle_batch(&mut tx, events).await?;
        tx.commit().await.unwrap();
        self.service.committed();
        Ok(())
    }
}
