//! What only the owner of policies keeps: their lock, and each time for which one was put in force. The versions, groups and
//! facts of nodes are rows of `crates/policy`.

use db::{Tx, params};
use domain::policy::{Activation, Kind, Scope, Span};
use domain::time::{Timestamp, from_micros, micros};

use crate::error::Error;

/// Locks what decides about policies, until the end of the transaction. Answers the number of the last version.
pub(crate) async fn lock(tx: &mut Tx) -> Result<i64, Error> {
    let row = tx
        .fetch_one(
            "INSERT INTO policy_lock (one, last_version) VALUES (1, 0)
             ON CONFLICT (one) DO UPDATE SET last_version = policy_lock.last_version
             RETURNING last_version",
            params![],
        )
        .await?;
    Ok(row.get("last_version")?)
}

/// Keeps the number of the last version; the lock is held.
pub(crate) async fn set_last(tx: &mut Tx, version: i64) -> Result<(), Error> {
    tx.execute("UPDATE policy_lock SET last_version = $1 WHERE one = 1", params![version]).await?;
    Ok(())
}

/// Activations of a kind and scope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Those that are not over.
    pub(crate) left: Vec<Activation>,
    /// The highest number of all.
    pub(crate) last_number: i64,
}

/// The activations of a kind and scope at an instant.
pub(crate) async fn activations(
    tx: &mut Tx,
    kind: Kind,
    scope: &Scope,
    now: Timestamp,
) -> Result<Made, Error> {
    let key = scope.key();
    let last = tx
        .fetch_one(
            "SELECT COALESCE(MAX(activation_no), 0) AS last FROM policy_activations
              WHERE kind = $1 AND scope_key = $2",
            params![kind.name(), key.as_str()],
        )
        .await?;
    let rows = tx
        .fetch_all(
            "SELECT activation_no, policy_id, from_at, until_at FROM policy_activations
              WHERE kind = $1 AND scope_key = $2 AND (until_at IS NULL OR until_at > $3)
              ORDER BY activation_no",
            params![kind.name(), key.as_str(), micros(now)],
        )
        .await?;
    let mut left = Vec::with_capacity(rows.len());
    for row in &rows {
        let until: Option<i64> = row.get("until_at")?;
        let span = Span { from: from_micros(row.get("from_at")?), until: until.map(from_micros) };
        left.push(Activation { policy: row.get("policy_id")?, number: row.get("activation_no")?, span });
    }
    Ok(Made { left, last_number: last.get("last")? })
}

/// Keeps a new activation.
pub(crate) async fn activate(
    tx: &mut Tx,
    (kind, scope): (Kind, &Scope),
    made: &Activation,
    actor: &str,
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO policy_activations
                (kind, scope_key, activation_no, policy_id, from_at, until_at, actor, activated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            kind.name(),
            scope.key(),
            made.number,
            made.policy,
            micros(made.span.from),
            made.span.until.map(micros),
            actor,
            micros(now),
        ],
    )
    .await?;
    Ok(())
}

/// Ends an activation; `why`: who rolled it back and why, unless it only makes room.
pub(crate) async fn end(
    tx: &mut Tx,
    (kind, scope): (Kind, &Scope),
    number: i64,
    at: Timestamp,
    why: Option<(&str, &str)>,
) -> Result<(), Error> {
    tx.execute(
        "UPDATE policy_activations SET until_at = $4, ended_by = $5, end_reason = $6
          WHERE kind = $1 AND scope_key = $2 AND activation_no = $3",
        params![
            kind.name(),
            scope.key(),
            number,
            micros(at),
            why.map(|(actor, _)| actor),
            why.map(|(_, reason)| reason),
        ],
    )
    .await?;
    Ok(())
}
