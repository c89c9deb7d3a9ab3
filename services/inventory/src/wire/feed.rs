//! Rows of feeds and imports. Each row is read by itself, so that a bad one does not refuse the others.

use std::collections::HashMap;
use std::time::Duration;

use contract::inventory::v1 as pb;
use domain::id::{IdError, NodeId, Sku, check_text};
use domain::stock::Key;
use domain::stock::movement::Kind;
use domain::time::{self, micros};
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields};

use super::stock::KINDS;
use super::{MAX_LINES, call, complete};
use crate::command::{Change, Close, Verdict};
use crate::error::Error;
use crate::rights::own_node;
use crate::store::feeds::{FeedKey, FeedRow};

/// The most units that a feed may report of one position.
const MAX_REPORTED: i64 = 1_000_000_000;
/// The longest name of a source.
const MAX_SOURCE: usize = 64;
/// The longest reference.
const MAX_REFERENCE: usize = 200;

/// A row of a call, or its verdict where it cannot be read.
pub(crate) type Row = Result<Change, pb::RowResult>;

/// What all rows of one call have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) who: &'a Principal,
    pub(crate) source: &'a str,
    pub(crate) now: Timestamp,
    /// How far ahead of `now` a source time may be.
    pub(crate) tolerance: Duration,
}

/// Why a row cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    field: &'static str,
    reason: &'static str,
    text: String,
}

impl Fault {
    pub(crate) fn new(field: &'static str, text: impl Into<String>) -> Self {
        Self { field, reason: "MALFORMED", text: text.into() }
    }

    /// The verdict of the row with this number.
    pub(crate) fn result(self, row: i64) -> pb::RowResult {
        let message = format!("{}: {}", self.field, self.text);
        let verdict = pb::RowVerdict::Refused.into();
        pb::RowResult { row, verdict, reason: self.reason.to_owned(), message, field: self.field.to_owned() }
    }
}

fn of(field: &'static str) -> impl FnOnce(IdError) -> Fault {
    move |error| Fault::new(field, error.to_string())
}

/// What became of a row that was read, on the wire.
pub(crate) fn result(row: i64, verdict: Verdict) -> pb::RowResult {
    let (verdict, reason, field, message) = match verdict {
        Verdict::Applied => (pb::RowVerdict::Applied, "", "", String::new()),
        Verdict::Duplicate => {
            let text = "this row was applied before; nothing was done";
            (pb::RowVerdict::Duplicate, "", "", text.to_owned())
        }
        Verdict::Reused { before } => {
            let text = format!("reference: was used before for {before}; give each row its own reference");
            (pb::RowVerdict::Refused, "REFERENCE_REUSED", "reference", text)
        }
        Verdict::Stale(stale) => {
            (pb::RowVerdict::Stale, "STALE", "source_time", format!("{stale}; send a newer figure"))
        }
        Verdict::UnknownSku => {
            let text = "sku: does not exist; create it with PutSkus, then send the row again";
            (pb::RowVerdict::Refused, "UNKNOWN_SKU", "sku", text.to_owned())
        }
        Verdict::Damaged(damage) => {
            (pb::RowVerdict::Refused, "DAMAGED_CODE", "sku", format!("sku: does not exist; {damage}"))
        }
        Verdict::IsKit => {
            let text = "sku: a kit has no stock of its own; report its parts";
            (pb::RowVerdict::Refused, "SKU_IS_KIT", "sku", text.to_owned())
        }
        Verdict::Refused(refusal) => (pb::RowVerdict::Refused, "RULE_REFUSED", "", refusal.to_string()),
    };
    pb::RowResult {
        row,
        verdict: verdict.into(),
        reason: reason.to_owned(),
        message,
        field: field.to_owned(),
    }
}

/// The verdicts of rows in their order, those that could not be read among them.
pub(crate) fn results<T>(
    rows: &[Result<T, pb::RowResult>],
    first: i64,
    verdicts: Vec<Verdict>,
) -> Vec<pb::RowResult> {
    let mut verdicts = verdicts.into_iter();
    let one = |(number, row): (i64, &Result<T, pb::RowResult>)| match row {
        Ok(_) => verdicts.next().map(|verdict| result(number, verdict)),
        Err(refused) => Some(refused.clone()),
    };
    (first..).zip(rows).filter_map(one).collect()
}

impl Feed<'_> {
    /// A row of a snapshot that was taken at `at`.
    pub(crate) fn snapshot(
        &self,
        reference: &str,
        at: Timestamp,
        row: pb::SnapshotRow,
    ) -> Result<Change, Fault> {
        let key = self.key(row.node_id, row.sku)?;
        self.figure(reference, at, key, row.on_hand)
    }

    /// A row of an import.
    pub(crate) fn import(&self, row: pb::ImportStockRequest) -> Result<Change, Fault> {
        check_text(&row.source, MAX_SOURCE).map_err(of("source"))?;
        check_text(&row.reference, MAX_REFERENCE).map_err(of("reference"))?;
        let key = self.key(row.node_id, row.sku)?;
        let at = self.source_time(row.source_time.as_ref())?;
        self.figure(&row.reference, at, key, row.on_hand)
    }

    /// A row of changes.
    pub(crate) fn delta(&self, row: pb::DeltaRow) -> Result<Change, Fault> {
        check_text(&row.reference, MAX_REFERENCE).map_err(of("reference"))?;
        let key = self.key(row.node_id, row.sku)?;
        let word = contract::enums::known::<pb::MovementKind>(row.kind)
            .map_err(|unknown| Fault::new("kind", unknown.to_string()))?;
        let kind = KINDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind);
        let kind = kind
            .filter(|kind| kind.is_reported())
            .ok_or_else(|| Fault::new("kind", "must be RECEIPT, SALE, ADJUSTMENT or WRITE_OFF"))?;
        if row.delta == 0 || row.delta.unsigned_abs() > MAX_REPORTED.unsigned_abs() {
            return Err(Fault::new("delta", "must be -1,000,000,000 to 1,000,000,000 and not 0"));
        }
        let is_signed_so = match kind {
            Kind::Receipt => row.delta > 0,
            Kind::Sale | Kind::WriteOff => row.delta < 0,
            _ => true,
        };
        if !is_signed_so {
            return Err(Fault::new(
                "delta",
                "must be positive for a receipt, negative for a sale or write-off",
            ));
        }
        let at = self.source_time(row.source_time.as_ref())?;
        let content = format!("{} {:+} of {}", kind.name(), row.delta, key.sku);
        Ok(Change {
            kind,
            quantity: if kind == Kind::WriteOff { row.delta.saturating_neg() } else { row.delta },
            reason: String::new(),
            reference: format!("{}:{}", self.source, row.reference),
            at,
            feed: Some(self.row(row.reference, &key.node, String::new(), content)),
            key,
        })
    }

    /// A figure is known again by its time too: the same figure of a later time is news, because stock may have moved
    /// in between.
    fn figure(&self, reference: &str, at: Timestamp, key: Key, on_hand: i64) -> Result<Change, Fault> {
        if !(0..=MAX_REPORTED).contains(&on_hand) {
            return Err(Fault::new("on_hand", "must be 0 to 1,000,000,000"));
        }
        let row_key = format!("{}\n{}", key.sku, micros(at));
        let content = format!("{on_hand} of {} at {at}", key.sku);
        Ok(Change {
            kind: Kind::Snapshot,
            quantity: on_hand,
            reason: String::new(),
            reference: format!("{}:{reference}", self.source),
            at,
            feed: Some(self.row(reference.to_owned(), &key.node, row_key, content)),
            key,
        })
    }

    fn row(&self, reference: String, node: &NodeId, row_key: String, content: String) -> FeedRow {
        let key = FeedKey {
            feeder: self.who.as_str().to_owned(),
            source: self.source.to_owned(),
            reference,
            node: node.as_str().to_owned(),
            row_key,
        };
        FeedRow { key, content }
    }

    fn key(&self, node: String, sku: String) -> Result<Key, Fault> {
        let node = NodeId::new(node).map_err(of("node_id"))?;
        own_node(self.who, &node)
            .map_err(|error| Fault { reason: "NOT_YOUR_NODE", ..Fault::new("node_id", error.to_string()) })?;
        Ok(Key { node, sku: Sku::new(sku).map_err(of("sku"))? })
    }

    /// When the source saw it. A time ahead of our clock would make everything stale that is reported until then, so
    /// only what two clocks may differ by is taken.
    pub(crate) fn source_time(&self, value: Option<&prost_types::Timestamp>) -> Result<Timestamp, Fault> {
        let fault = |text: String| Fault::new("source_time", text);
        let value = value.ok_or_else(|| fault("is required".to_owned()))?;
        let at = time::from_parts(value.seconds, value.nanos).map_err(|error| fault(error.to_string()))?;
        if at < Timestamp::UNIX_EPOCH {
            return Err(fault(format!("{at} is before 1970")));
        }
        let tolerance = i64::try_from(self.tolerance.as_millis()).unwrap_or(i64::MAX);
        if at > time::after_ms(self.now, tolerance) {
            return Err(fault(format!(
                "{at} is ahead of the platform's clock, which says {}; set the clock of the source (at most {} s \
                 ahead are taken)",
                self.now,
                self.tolerance.as_secs()
            )));
        }
        Ok(at)
    }
}

impl Fault {
    /// Names the field of the request.
    pub(crate) fn refuse(self, fields: &mut Fields) {
        fields.refuse(self.field, self.text);
    }
}

/// Reads a snapshot.
pub(crate) fn apply_snapshot(
    who: &Principal,
    message: pb::ApplySnapshotRequest,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(Call, Vec<Row>), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, who, "snapshot", &message.request_id, &message);
    fields.take("source", check_text(&message.source, MAX_SOURCE));
    fields.take("reference", check_text(&message.reference, MAX_REFERENCE));
    let feed = Feed { who, source: &message.source, now, tolerance };
    let at = feed.source_time(message.source_time.as_ref());
    let at = at.map_err(|fault| fault.refuse(&mut fields)).unwrap_or(now);
    fields.count("rows", message.rows.len(), MAX_LINES);
    fields.done()?;
    let read = message.rows.into_iter().map(|row| feed.snapshot(&message.reference, at, row));
    let mut rows = numbered(read);
    refuse_repeated(&mut rows);
    complete(call, Some(rows))
}

/// Reads changes.
pub(crate) fn apply_deltas(
    who: &Principal,
    message: pb::ApplyDeltasRequest,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(Call, Vec<Row>), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, who, "deltas", &message.request_id, &message);
    fields.take("source", check_text(&message.source, MAX_SOURCE));
    fields.count("rows", message.rows.len(), MAX_LINES);
    fields.done()?;
    let feed = Feed { who, source: &message.source, now, tolerance };
    let rows = numbered(message.rows.into_iter().map(|row| feed.delta(row)));
    complete(call, Some(rows))
}

/// Reads the end of a full snapshot.
pub(crate) fn close_snapshot(
    who: &Principal,
    message: pb::CloseSnapshotRequest,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(Call, Close), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, who, "close", &message.request_id, &message);
    fields.take("source", check_text(&message.source, MAX_SOURCE));
    fields.take("reference", check_text(&message.reference, MAX_REFERENCE));
    let node = fields.take("node_id", NodeId::new(message.node_id));
    let feed = Feed { who, source: &message.source, now, tolerance };
    let at = feed.source_time(message.source_time.as_ref());
    let at = at.map_err(|fault| fault.refuse(&mut fields)).unwrap_or(now);
    fields.done()?;
    let (call, node) = complete(call, node)?;
    own_node(who, &node)?;
    let reference = format!("{}:{}", message.source, message.reference);
    Ok((call, Close { node, at, reference, force: message.force }))
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
