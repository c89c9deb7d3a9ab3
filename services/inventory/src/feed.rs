//! Feeds of outside systems: snapshots and deltas, a verdict per row.

use std::collections::HashMap;

use contract::inventory::v1 as pb;
use domain::id::check_text;
use domain::stock::Key;
use jiff::Timestamp;
use prost::Message;
use server::Principal;
use service::{Call, Fields, Turn, once};

use crate::Inventory;
use crate::error::Error;
use crate::goods::{self, Change};
use crate::row::{self, Fault, Feed, MAX_REFERENCE, MAX_SOURCE};
use crate::wire::{self, MAX_LINES};

/// A row of a call, or its verdict where it cannot be read.
type Row = Result<Change, pb::RowResult>;

impl Inventory {
    pub(crate) async fn apply_snapshot(
        &self,
        principal: &Principal,
        message: pb::ApplySnapshotRequest,
    ) -> Result<pb::ApplySnapshotResponse, Error> {
        let now = self.clock.business();
        let (request, rows) = self.snapshot(principal, message, now)?;
        let answer = |results| pb::ApplySnapshotResponse { results };
        let work = || self.feed(principal, &request, &rows, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    pub(crate) async fn apply_deltas(
        &self,
        principal: &Principal,
        message: pb::ApplyDeltasRequest,
    ) -> Result<pb::ApplyDeltasResponse, Error> {
        let now = self.clock.business();
        let (request, rows) = self.deltas(principal, message, now)?;
        let answer = |results| pb::ApplyDeltasResponse { results };
        let work = || self.feed(principal, &request, &rows, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn feed<M: Message + Default>(
        &self,
        principal: &Principal,
        request: &Call,
        rows: &[Row],
        now: Timestamp,
        answer: impl Fn(Vec<pb::RowResult>) -> M,
    ) -> Result<M, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let changes: Vec<Change> = rows.iter().flatten().cloned().collect();
        let (verdicts, _) = goods::apply(&mut tx, &changes, &principal.as_str().into(), now).await?;
        let answer = answer(row::results(rows, 0, verdicts));
        request.finish(tx, &answer).await?;
        Ok(answer)
    }

    fn snapshot(
        &self,
        principal: &Principal,
        message: pb::ApplySnapshotRequest,
        now: Timestamp,
    ) -> Result<(Call, Vec<Row>), Error> {
        let mut fields = Fields::default();
        let request = wire::request(&mut fields, principal, "snapshot", &message.request_id, &message);
        fields.take("source", check_text(&message.source, MAX_SOURCE));
        fields.take("reference", check_text(&message.reference, MAX_REFERENCE));
        let feed = Feed { who: principal, source: &message.source, now, tolerance: self.clock_tolerance };
        let at = feed.source_time(message.source_time.as_ref());
        let at = at.map_err(|fault| fault.refuse(&mut fields)).unwrap_or(now);
        fields.count("rows", message.rows.len(), MAX_LINES);
        fields.done()?;
        let read = message.rows.into_iter().map(|row| feed.snapshot(&message.reference, at, row));
        let mut rows = numbered(read);
        refuse_repeated(&mut rows);
        Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, rows))
    }

    fn deltas(
        &self,
        principal: &Principal,
        message: pb::ApplyDeltasRequest,
        now: Timestamp,
    ) -> Result<(Call, Vec<Row>), Error> {
        let mut fields = Fields::default();
        let request = wire::request(&mut fields, principal, "deltas", &message.request_id, &message);
        fields.take("source", check_text(&message.source, MAX_SOURCE));
        fields.count("rows", message.rows.len(), MAX_LINES);
        fields.done()?;
        let feed = Feed { who: principal, source: &message.source, now, tolerance: self.clock_tolerance };
        let rows = numbered(message.rows.into_iter().map(|row| feed.delta(row)));
        Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, rows))
    }
}

fn numbered(rows: impl Iterator<Item = Result<Change, Fault>>) -> Vec<Row> {
    (0..).zip(rows).map(|(number, row)| row.map_err(|fault| fault.result(number))).collect()
}

/// A snapshot cannot say two things of one position, and which of them is right is not ours to choose.
fn refuse_repeated(rows: &mut [Row]) {
    let mut counts: HashMap<Key, u32> = HashMap::with_capacity(rows.len());
    for change in rows.iter().flatten() {
        *counts.entry(change.key.clone()).or_default() += 1;
    }
    for (number, row) in (0..).zip(rows) {
        if row.as_ref().is_ok_and(|change| counts.get(&change.key).is_some_and(|rows| *rows > 1)) {
            let fault =
                Fault::new("sku", "duplicate: another row has the same node and sku; send their sum once");
            *row = Err(fault.result(number));
        }
    }
}
