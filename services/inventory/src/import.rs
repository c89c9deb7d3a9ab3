//! Import: rows in, a verdict per row out, in the same order, as many at a time as have arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use clock::Clock;
use contract::inventory::v1 as pb;
use db::Db;
use domain::id::{IdError, NodeId, Sku, check_text};
use domain::stock::Key;
use domain::stock::movement::Kind;
use domain::time;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use server::Principal;
use service::once;
use tonic::Status;

use crate::Inventory;
use crate::error::Error;
use crate::feed::{MAX_REPORTED, result};
use crate::goods::{self, Change};
use crate::store;
use crate::store::feeds::FeedRow;
use crate::wire;

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
        let import = Import { db: self.db.clone(), clock: self.clock.clone(), who: principal.clone() };
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
    who: Principal,
}

impl Import {
    async fn rows(&self, rows: Vec<pb::ImportStockRequest>, first: i64) -> Result<Vec<pb::RowResult>, Error> {
        let now = self.clock.business();
        let read: Vec<Result<Row, pb::RowResult>> =
            (first..).zip(rows).map(|(number, row)| read(number, row, &self.who, now)).collect();
        let good: Vec<&Row> = read.iter().flatten().collect();
        let changes: Vec<Change> = good.iter().map(|row| row.change.clone()).collect();
        let work = || self.once(&good, &changes, now);
        let mut verdicts = db::retry(once::ATTEMPTS, Error::is_retry, work).await?.into_iter();
        let results = read.into_iter().filter_map(|row| match row {
            Ok(row) => verdicts.next().map(|verdict| result(row.number, verdict)),
            Err(refused) => Some(refused),
        });
        Ok(results.collect())
    }

    async fn once(
        &self,
        rows: &[&Row],
        changes: &[Change],
        now: Timestamp,
    ) -> Result<Vec<goods::Verdict>, Error> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let named = rows.iter().filter_map(|row| Some((&row.change.key.sku, row.name.as_deref()?)));
        let named: BTreeMap<&Sku, &str> = named.collect();
        let named: Vec<(&Sku, &str)> = named.into_iter().collect();
        store::skus::create(&mut tx, &named, now).await?;
        let (verdicts, _) = goods::apply(&mut tx, changes, &Arc::from(self.who.as_str()), now).await?;
        tx.commit().await?;
        Ok(verdicts)
    }
}

/// A well-formed row.
struct Row {
    number: i64,
    change: Change,
    name: Option<String>,
}

fn read(
    number: i64,
    row: pb::ImportStockRequest,
    who: &Principal,
    now: Timestamp,
) -> Result<Row, pb::RowResult> {
    let refused = |field: &str, text: String| pb::RowResult {
        row: number,
        verdict: pb::RowVerdict::Refused.into(),
        reason: "MALFORMED".to_owned(),
        message: format!("{field}: {text}"),
    };
    let malformed = |field: &'static str| move |error: IdError| refused(field, error.to_string());
    check_text(&row.source, 64).map_err(malformed("source"))?;
    check_text(&row.reference, 200).map_err(malformed("reference"))?;
    let node = NodeId::new(row.node_id).map_err(malformed("node_id"))?;
    wire::own_node(who, &node).map_err(|error| pb::RowResult {
        reason: "NOT_YOUR_NODE".to_owned(),
        ..refused("node_id", error.to_string())
    })?;
    let sku = Sku::new(row.sku).map_err(malformed("sku"))?;
    if !(0..=MAX_REPORTED).contains(&row.on_hand) {
        return Err(refused("on_hand", format!("must be between 0 and {MAX_REPORTED}")));
    }
    if !row.name.is_empty() {
        check_text(&row.name, 200).map_err(malformed("name"))?;
    }
    let time = row.source_time.ok_or_else(|| refused("source_time", "is required".to_owned()))?;
    let at = time::from_parts(time.seconds, time.nanos).map_err(|e| refused("source_time", e.to_string()))?;
    if at > time::after_ms(now, 5 * 60 * 1_000) || at < Timestamp::UNIX_EPOCH {
        return Err(refused("source_time", "must be after 1970 and not in the future".to_owned()));
    }
    let change = Change {
        key: Key { node, sku },
        kind: Kind::Snapshot,
        quantity: row.on_hand,
        reason: String::new(),
        reference: format!("{}:{}", row.source, row.reference),
        at,
        feed: Some(FeedRow { source: row.source, reference: row.reference, row_key: String::new() }),
    };
    Ok(Row { number, change, name: Some(row.name).filter(|name| !name.is_empty()) })
}
