//! Import: rows in, a verdict per row out, in the same order, as many at a time as have arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use contract::inventory::v1 as pb;
use db::Db;
use domain::damage::{self, Damage};
use domain::id::Sku;
use domain::name::check_name;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use server::Principal;
use service::once;
use tonic::Status;

use crate::Inventory;
use crate::change;
use crate::command::{Change, Verdict};
use crate::error::Error;
use crate::store;
use crate::wire::MAX_NAME;
use crate::wire::feed::{Fault, Feed, results};

/// Rows of one transaction.
const CHUNK: usize = 500;

type Verdicts = BoxStream<'static, Result<pb::ImportStockResponse, Status>>;

impl Inventory {
    /// The verdicts of a stream of rows. The caller's pace is the pace: nothing is read ahead of the verdicts by more
    /// than one chunk.
    pub(crate) fn import(
        &self,
        principal: &Principal,
        rows: impl Stream<Item = Result<pb::ImportStockRequest, Status>> + Send + 'static,
    ) -> Verdicts {
        let import = Import {
            db: self.db.clone(),
            clock: self.clock.clone(),
            policies: self.policies.clone(),
            clock_tolerance: self.clock_tolerance,
            who: principal.clone(),
        };
        let start = Some((import, Box::pin(rows.ready_chunks(CHUNK)), 0_i64));
        let verdicts = stream::unfold(start, |state| async move {
            let (import, mut chunks, first) = state?;
            let (rows, broken) = until_broken(chunks.next().await?);
            let next = first.saturating_add(i64::try_from(rows.len()).unwrap_or(0));
            let (results, broken) = match import.rows(rows, first).await {
                Ok(results) => (results, broken),
                Err(error) => (Vec::new(), Some(error.into())),
            };
            let answer = |result| Ok(pb::ImportStockResponse { result: Some(result) });
            let mut answers: Vec<Result<_, Status>> = results.into_iter().map(answer).collect();
            let more = broken.is_none().then_some((import, chunks, next));
            answers.extend(broken.map(Err));
            Some((stream::iter(answers), more))
        });
        verdicts.flatten().boxed()
    }
}

/// The rows before the first that could not be read.
fn until_broken(
    chunk: Vec<Result<pb::ImportStockRequest, Status>>,
) -> (Vec<pb::ImportStockRequest>, Option<Status>) {
    let mut rows = Vec::with_capacity(chunk.len());
    for row in chunk {
        match row {
            Ok(row) => rows.push(row),
            Err(status) => return (rows, Some(status)),
        }
    }
    (rows, None)
}

/// What an import needs for as long as its stream lasts.
struct Import {
    db: Db,
    clock: Clock,
    policies: policy::View,
    clock_tolerance: Duration,
    who: Principal,
}

impl Import {
    async fn rows(&self, rows: Vec<pb::ImportStockRequest>, first: i64) -> Result<Vec<pb::RowResult>, Error> {
        let now = self.clock.business();
        let read = (first..).zip(rows).map(|(number, row)| self.read(row, now).map_err(|f| f.result(number)));
        let read: Vec<Result<Row, pb::RowResult>> = read.collect();
        let good: Vec<&Row> = read.iter().flatten().collect();
        let changes: Vec<Change> = good.iter().map(|row| row.change.clone()).collect();
        let work = || self.once(&good, &changes, now);
        let verdicts = db::retry(once::ATTEMPTS, Error::is_retry, work).await?;
        Ok(results(&read, first, verdicts))
    }

    fn read(&self, mut row: pb::ImportStockRequest, now: Timestamp) -> Result<Row, Fault> {
        let name = std::mem::take(&mut row.name);
        if !name.is_empty() {
            check_name(&name, MAX_NAME).map_err(|error| Fault::new("name", error.to_string()))?;
            if let Some(damage) = damage::of(&name).filter(|damage| *damage == Damage::Encoding) {
                return Err(Fault::new("name", damage.to_string()));
            }
        }
        let source = row.source.clone();
        let feed = Feed { who: &self.who, source: &source, now, tolerance: self.clock_tolerance };
        Ok(Row { change: feed.import(row)?, name: Some(name).filter(|name| !name.is_empty()) })
    }

    async fn once(&self, rows: &[&Row], changes: &[Change], now: Timestamp) -> Result<Vec<Verdict>, Error> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        // a damaged code makes no new item
        let whole = rows.iter().filter(|row| damage::of(row.change.key.sku.as_str()).is_none());
        let named = whole.filter_map(|row| Some((&row.change.key.sku, row.name.as_deref()?)));
        let named: BTreeMap<&Sku, &str> = named.collect();
        let named: Vec<(&Sku, &str)> = named.into_iter().collect();
        store::skus::create(&mut tx, &named, now).await?;
        let (actor, book) = (Arc::from(self.who.actor()), self.policies.book());
        let (verdicts, _) = change::apply(&mut tx, changes, &actor, &book, now).await?;
        tx.commit().await?;
        Ok(verdicts)
    }
}

/// A well-formed row.
struct Row {
    change: Change,
    name: Option<String>,
}
