//! Feeds of outside systems: snapshots and deltas, a verdict per row.

use contract::inventory::v1 as pb;
use domain::id::check_text;
use domain::stock::movement::Kind;
use jiff::Timestamp;
use prost::Message;
use server::Principal;
use service::{Call, Fields, Turn, once};

use crate::Inventory;
use crate::error::Error;
use crate::goods::{self, Change, Verdict};
use crate::store::feeds::FeedRow;
use crate::wire::{self, KINDS, MAX_LINES};

/// The most units that a feed may report of one position.
pub(crate) const MAX_REPORTED: i64 = 1_000_000_000;

impl Inventory {
    pub(crate) async fn apply_snapshot(
        &self,
        principal: &Principal,
        message: pb::ApplySnapshotRequest,
    ) -> Result<pb::ApplySnapshotResponse, Error> {
        let now = self.clock.business();
        let (request, changes) = snapshot(principal, message, now)?;
        let answer = |results| pb::ApplySnapshotResponse { results };
        let work = || self.feed(principal, &request, &changes, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    pub(crate) async fn apply_deltas(
        &self,
        principal: &Principal,
        message: pb::ApplyDeltasRequest,
    ) -> Result<pb::ApplyDeltasResponse, Error> {
        let now = self.clock.business();
        let (request, changes) = deltas(principal, message, now)?;
        let answer = |results| pb::ApplyDeltasResponse { results };
        let work = || self.feed(principal, &request, &changes, now, answer);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn feed<M: Message + Default>(
        &self,
        principal: &Principal,
        request: &Call,
        changes: &[Change],
        now: Timestamp,
        answer: impl Fn(Vec<pb::RowResult>) -> M,
    ) -> Result<M, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let (verdicts, _) = goods::apply(&mut tx, changes, &principal.as_str().into(), now).await?;
        let answer = answer((0_i64..).zip(verdicts).map(|(row, verdict)| result(row, verdict)).collect());
        request.finish(tx, &answer).await?;
        Ok(answer)
    }
}

/// A verdict on the wire, with the way out.
pub(crate) fn result(row: i64, verdict: Verdict) -> pb::RowResult {
    let (verdict, reason, message) = match verdict {
        Verdict::Applied => (pb::RowVerdict::Applied, "", String::new()),
        Verdict::Duplicate => {
            let text = "this source and reference was applied before, nothing was done";
            (pb::RowVerdict::Duplicate, "", text.to_owned())
        }
        Verdict::Stale(stale) => (pb::RowVerdict::Stale, "STALE", format!("{stale}; send a newer picture")),
        Verdict::UnknownSku => {
            let text = "the sku does not exist, create it with PutSkus and send the row again";
            (pb::RowVerdict::Refused, "UNKNOWN_SKU", text.to_owned())
        }
        Verdict::IsKit => {
            let text = "a kit has no stock of its own, report its parts";
            (pb::RowVerdict::Refused, "SKU_IS_KIT", text.to_owned())
        }
        Verdict::Refused(refusal) => (pb::RowVerdict::Refused, "RULE_REFUSED", refusal.to_string()),
    };
    pb::RowResult { row, verdict: verdict.into(), reason: reason.to_owned(), message }
}

fn snapshot(
    principal: &Principal,
    message: pb::ApplySnapshotRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Change>), Error> {
    let mut fields = Fields::default();
    let request = wire::request(&mut fields, principal, "snapshot", &message.request_id, &message);
    fields.take("source", check_text(&message.source, 64));
    fields.take("reference", check_text(&message.reference, 200));
    let at = wire::past(&mut fields, "source_time", message.source_time.as_ref(), now);
    fields.count("rows", message.rows.len(), MAX_LINES);
    let mut changes = Vec::with_capacity(message.rows.len().min(MAX_LINES));
    for (index, row) in message.rows.into_iter().take(MAX_LINES).enumerate() {
        let prefix = format_args!("rows[{index}].");
        let is_sane = (0..=MAX_REPORTED).contains(&row.on_hand);
        fields.check(is_sane, format_args!("{prefix}on_hand"), "must be between 0 and 1,000,000,000");
        let Some(key) = wire::key(&mut fields, prefix, row.node_id, row.sku) else { continue };
        let feed = FeedRow {
            source: message.source.clone(),
            reference: message.reference.clone(),
            row_key: format!("{}\n{}", key.node, key.sku),
        };
        changes.push(Change {
            key,
            kind: Kind::Snapshot,
            quantity: row.on_hand,
            reason: String::new(),
            reference: format!("{}:{}", message.source, message.reference),
            at: at.unwrap_or(now),
            feed: Some(feed),
        });
    }
    twice(&mut fields, &changes);
    fields.done()?;
    changes.iter().try_for_each(|change| wire::own_node(principal, &change.key.node))?;
    Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, changes))
}

/// One snapshot can't say two things of one position.
fn twice(fields: &mut Fields, changes: &[Change]) {
    let mut seen = std::collections::HashSet::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        if !seen.insert(&change.key) {
            fields.refuse(format!("rows[{index}]"), "this node and sku is there twice");
        }
    }
}

fn deltas(
    principal: &Principal,
    message: pb::ApplyDeltasRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Change>), Error> {
    let mut fields = Fields::default();
    let request = wire::request(&mut fields, principal, "deltas", &message.request_id, &message);
    fields.take("source", check_text(&message.source, 64));
    fields.count("rows", message.rows.len(), MAX_LINES);
    let mut changes = Vec::with_capacity(message.rows.len().min(MAX_LINES));
    for (index, row) in message.rows.into_iter().take(MAX_LINES).enumerate() {
        let prefix = format_args!("rows[{index}].");
        let is_sane = row.delta != 0 && row.delta.unsigned_abs() <= MAX_REPORTED.unsigned_abs();
        fields.check(
            is_sane,
            format_args!("{prefix}delta"),
            "must not be 0 and at most 1,000,000,000 either way",
        );
        fields.take(format_args!("{prefix}reference"), check_text(&row.reference, 200));
        let at =
            wire::past(&mut fields, format_args!("rows[{index}].source_time"), row.source_time.as_ref(), now);
        let kind = KINDS.iter().find(|(_, word)| i32::from(*word) == row.kind).map(|(kind, _)| *kind);
        let kind = kind.filter(|kind| kind.is_reported());
        fields.check(
            kind.is_some(),
            format_args!("{prefix}kind"),
            "must be RECEIPT, SALE, ADJUSTMENT or WRITE_OFF",
        );
        let key = wire::key(&mut fields, prefix, row.node_id, row.sku);
        let (Some(kind), Some(key)) = (kind, key) else { continue };
        let has_sign = match kind {
            Kind::Receipt => row.delta > 0,
            Kind::Sale | Kind::WriteOff => row.delta < 0,
            _ => true,
        };
        fields.check(
            has_sign,
            format_args!("{prefix}delta"),
            "a receipt is positive, a sale or write-off negative",
        );
        changes.push(Change {
            key,
            kind,
            quantity: if kind == Kind::WriteOff { row.delta.saturating_neg() } else { row.delta },
            reason: String::new(),
            reference: format!("{}:{}", message.source, row.reference),
            at: at.unwrap_or(now),
            feed: Some(FeedRow {
                source: message.source.clone(),
                reference: row.reference,
                row_key: String::new(),
            }),
        });
    }
    fields.done()?;
    changes.iter().try_for_each(|change| wire::own_node(principal, &change.key.node))?;
    Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, changes))
}
