//! Feeds of outside systems: snapshots and deltas, a verdict per row.

use contract::inventory::v1 as pb;
use jiff::Timestamp;
use prost::Message;
use server::Principal;
use service::{Call, Turn, once};

use crate::Inventory;
use crate::change;
use crate::command::Change;
use crate::error::Error;
use crate::wire::feed::{Row, results};

impl Inventory {
    pub(crate) async fn apply_snapshot(
        &self,
        who: &Principal,
        (call, rows): (Call, Vec<Row>),
    ) -> Result<pb::ApplySnapshotResponse, Error> {
        let now = self.clock.business();
        let answer = |results| pb::ApplySnapshotResponse { results };
        let work = || self.feed(who, &call, &rows, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    pub(crate) async fn apply_deltas(
        &self,
        who: &Principal,
        (call, rows): (Call, Vec<Row>),
    ) -> Result<pb::ApplyDeltasResponse, Error> {
        let now = self.clock.business();
        let answer = |results| pb::ApplyDeltasResponse { results };
        let work = || self.feed(who, &call, &rows, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn feed<M: Message + Default>(
        &self,
        who: &Principal,
        call: &Call,
        rows: &[Row],
        now: Timestamp,
        answer: impl Fn(Vec<pb::RowResult>) -> M,
    ) -> Result<M, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let changes: Vec<Change> = rows.iter().flatten().cloned().collect();
        let (verdicts, _) =
            change::apply(&mut tx, &changes, &who.actor().into(), &self.policies.book(), now).await?;
        let answer = answer(results(rows, 0, verdicts));
        call.finish(tx, &answer).await?;
        Ok(answer)
    }
}
