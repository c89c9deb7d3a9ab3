//! Calls to make later: what needs a peer and was decided inside a transaction.

use db::{Row, Tx, Type, insert_rows, params};
use domain::time::micros;
use jiff::Timestamp;
use uuid::Uuid;

use crate::error::Error;

/// A call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Who.
    pub(crate) id: Uuid,
    /// What to do.
    pub(crate) kind: String,
    /// With what.
    pub(crate) subject: Uuid,
    /// How often it was tried in vain.
    pub(crate) attempts: i64,
}

/// The id of a call: one per kind and subject.
pub(crate) fn id(kind: &str, subject: Uuid) -> Uuid {
    domain::id::derived("task", &format!("{kind}|{subject}"))
}

/// Adds calls of one kind; a call that is already there stays as it is.
pub(crate) async fn add(tx: &mut Tx, kind: &str, subjects: &[Uuid], due: Timestamp) -> Result<(), Error> {
    let rows = subjects
        .iter()
        .map(|subject| params![self::id(kind, *subject), kind, *subject, micros(due)])
        .collect();
    let (text, columns) = insert_rows!(
        "tasks",
        [task_id: Uuid, kind: Text, subject: Uuid, due_at: BigInt],
        and "attempts" = "0",
        "WHERE true ON CONFLICT (task_id) DO NOTHING"
    );
    tx.batch(text, columns, rows).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Task, Error> {
    Ok(Task {
        id: row.get("task_id")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        attempts: row.get("attempts")?,
    })
}

/// Calls that are due, longest due first.
pub(crate) async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<Task>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT task_id, kind, subject, attempts FROM tasks WHERE due_at <= $1 ORDER BY due_at, task_id LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// When the next call is due.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<i64>, Error> {
    Ok(tx.fetch_one("SELECT MIN(due_at) AS due_at FROM tasks", params![]).await?.get("due_at")?)
}

/// Takes calls off the list that must not be made any more.
pub(crate) async fn cancel(tx: &mut Tx, kind: &str, subjects: &[Uuid]) -> Result<u64, Error> {
    let tasks: Vec<Uuid> = subjects.iter().map(|subject| id(kind, *subject)).collect();
    done(tx, &tasks).await
}

/// Takes calls that were made off the list.
pub(crate) async fn done(tx: &mut Tx, tasks: &[Uuid]) -> Result<u64, Error> {
    let rows = tasks.iter().map(|task| params![*task]).collect();
    Ok(tx
        .batch("DELETE FROM tasks WHERE task_id IN (SELECT r.id FROM {rows})", &[("id", Type::Uuid)], rows)
        .await?)
}

/// A call that was made in vain comes again later.
pub(crate) async fn again(tx: &mut Tx, task: Uuid, due: Timestamp, error: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE tasks SET attempts = attempts + 1, due_at = $2, last_error = $3 WHERE task_id = $1",
        params![task, micros(due), error],
    )
    .await?;
    Ok(())
}
