//! Rows of versions.

use contract::fulfillment::v1 as pb;
use db::{Row, Tx, Type, params};
use domain::id::Uuid;
use domain::policy::{Kind, Version};
use domain::time::{Timestamp, micros};
use prost::Message as _;
use service::Fault;

use crate::wire;

/// The most versions of a kind that may still apply.
pub const MOST_OF_KIND: i64 = 2_000;

/// A version as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// As the wire has it, with its times in force.
    pub policy: pb::Policy,
    /// Of the last event about it; the owner counts from 1.
    pub sequence: i64,
}

impl Stored {
    /// The version as the domain knows it.
    pub fn version(&self) -> Result<Version, Fault> {
        wire::version(&self.policy)
    }
}

/// From when on a version does not apply any more: the end of its last time in force, or of the time in which it could be in
/// force when it never was; none: it may still apply.
pub fn over_at(version: &Version) -> Option<Timestamp> {
    version.in_force.last().map_or(version.valid.until, |last| last.until)
}

/// Writes a version, unless the row has a newer sequence. Answers whether it was written.
pub async fn put(tx: &mut Tx, stored: &Stored) -> Result<bool, Fault> {
    let version = stored.version()?;
    let written = tx
        .execute(
            "INSERT INTO policies
                    (policy_id, version, kind, scope_key, node_group, over_at, sequence, body, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {now})
             ON CONFLICT (policy_id) DO UPDATE
                SET over_at = excluded.over_at, sequence = excluded.sequence, body = excluded.body,
                    updated_at = excluded.updated_at
              WHERE policies.sequence < excluded.sequence",
            params![
                version.id,
                version.version,
                version.kind().name(),
                version.scope.key(),
                version.scope.group.as_deref(),
                over_at(&version).map(micros),
                stored.sequence,
                stored.policy.encode_to_vec(),
            ],
        )
        .await?;
    Ok(written > 0)
}

fn read(row: &Row) -> Result<Stored, Fault> {
    let body: Vec<u8> = row.get("body")?;
    let policy = pb::Policy::decode(body.as_slice())
        .map_err(|error| Fault::unreadable(format!("a stored policy: {error}")))?;
    Ok(Stored { policy, sequence: row.get("sequence")? })
}

/// One version.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Option<Stored>, Fault> {
    let row =
        tx.fetch_optional("SELECT body, sequence FROM policies WHERE policy_id = $1", params![id]).await?;
    row.as_ref().map(read).transpose()
}

/// Those of these versions that exist, in no order.
pub async fn many(tx: &mut Tx, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<Stored>, Fault> {
    let rows = tx
        .batch_fetch(
            "SELECT p.body, p.sequence FROM policies p JOIN {rows} ON p.policy_id = r.policy_id",
            &[("policy_id", Type::Uuid)],
            ids.into_iter().map(|id| params![id]).collect(),
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Versions of a kind (none: of all) that may still apply at an instant (none: all), with lower numbers than `before`,
/// newest first.
pub async fn page(
    tx: &mut Tx,
    kind: Option<Kind>,
    at: Option<Timestamp>,
    before: i64,
    limit: i64,
) -> Result<Vec<Stored>, Fault> {
    let at = at.map_or(i64::MIN, micros);
    let rows = match kind {
        Some(kind) => {
            tx.fetch_all(
                "SELECT body, sequence FROM policies
                  WHERE kind = $1 AND version < $2 AND (over_at IS NULL OR over_at > $3)
                  ORDER BY version DESC LIMIT $4",
                params![kind.name(), before, at, limit],
            )
            .await?
        }
        None => {
            tx.fetch_all(
                "SELECT body, sequence FROM policies
                  WHERE version < $1 AND (over_at IS NULL OR over_at > $2)
                  ORDER BY version DESC LIMIT $3",
                params![before, at, limit],
            )
            .await?
        }
    };
    rows.iter().map(read).collect()
}

/// How many versions of a kind may still apply at an instant.
pub async fn count(tx: &mut Tx, kind: Kind, at: Timestamp) -> Result<i64, Fault> {
    let row = tx
        .fetch_one(
            "SELECT COUNT(*) AS n FROM policies WHERE kind = $1 AND (over_at IS NULL OR over_at > $2)",
            params![kind.name(), micros(at)],
        )
        .await?;
    Ok(row.get("n")?)
}

/// Versions that name a group of nodes and may still apply at an instant, newest first.
pub async fn of_groups(tx: &mut Tx, at: Timestamp) -> Result<Vec<Stored>, Fault> {
    let most = MOST_OF_KIND.saturating_mul(i64::try_from(Kind::ALL.len()).unwrap_or(i64::MAX));
    let rows = tx
        .fetch_all(
            "SELECT body, sequence FROM policies
              WHERE node_group IS NOT NULL AND (over_at IS NULL OR over_at > $1)
              ORDER BY version DESC LIMIT $2",
            params![micros(at), most],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The newest version that names a group of nodes and may still apply at an instant.
pub async fn newest_of_group(tx: &mut Tx, code: &str, at: Timestamp) -> Result<Option<Stored>, Fault> {
    let row = tx
        .fetch_optional(
            "SELECT body, sequence FROM policies
              WHERE node_group = $1 AND (over_at IS NULL OR over_at > $2) ORDER BY version DESC LIMIT 1",
            params![code, micros(at)],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// A change of a row: when, in microseconds, and its key.
pub(crate) type Mark = (i64, Uuid);

/// Changes after a mark, oldest first, each with its sequence; without those that are over since long, at `over`.
pub(crate) async fn changed_after(
    tx: &mut Tx,
    mark: Mark,
    over: Timestamp,
    limit: i64,
) -> Result<Vec<(Mark, i64)>, Fault> {
    let rows = tx
        .fetch_all(
            "SELECT policy_id, sequence, updated_at FROM policies
              WHERE (updated_at, policy_id) > ($1, $2) AND (over_at IS NULL OR over_at > $3)
              ORDER BY updated_at, policy_id LIMIT $4",
            params![mark.0, mark.1, micros(over), limit],
        )
        .await?;
    let change = |row: &Row| Ok(((row.get("updated_at")?, row.get("policy_id")?), row.get("sequence")?));
    rows.iter().map(change).collect()
}
