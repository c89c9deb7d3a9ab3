//! The clocks that run for fulfillment orders, one row each. A row says when the timer looks at it next, so that one index
//! finds whatever is due, of any method.

use std::collections::{BTreeSet, HashMap};

use db::{Row, Tx, Type, Value, insert_rows, params};
use domain::fulfillment::{Order, Running, Step};
use domain::id::FulfillmentId;
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use uuid::Uuid;

use super::work::Stored;
use crate::Error;

/// Adds to fulfillment orders the clocks that run for them.
pub(super) async fn attach(tx: &mut Tx, all: &mut [Stored]) -> Result<(), Error> {
    let rows = tx
        .batch_fetch(
            "SELECT c.* FROM fulfillment_clocks c JOIN {rows} ON c.fulfillment_id = r.id",
            &[("id", Type::Uuid)],
            all.iter().map(|stored| params![stored.order.id.uuid()]).collect(),
        )
        .await?;
    let mut running: HashMap<Uuid, Vec<Running>> = HashMap::with_capacity(all.len());
    for row in &rows {
        running.entry(row.get("fulfillment_id")?).or_default().push(clock(row)?);
    }
    for stored in all {
        stored.order.running = running.remove(&stored.order.id.uuid()).unwrap_or_default();
    }
    Ok(())
}

/// Stores the clocks of fulfillment orders that are new.
pub(super) async fn insert(tx: &mut Tx, new: &[&Stored]) -> Result<(), Error> {
    let rows =
        new.iter().flat_map(|stored| stored.order.running.iter().map(|clock| row(&stored.order, clock)));
    put(tx, rows.collect()).await
}

/// Writes which clocks run now, of those that ran before.
pub(super) async fn update(tx: &mut Tx, before: &Order, order: &Order) -> Result<(), Error> {
    for stopped in before.running.iter().filter(|clock| order.clock(clock.step).is_none()) {
        tx.execute(
            "DELETE FROM fulfillment_clocks WHERE fulfillment_id = $1 AND step = $2",
            params![order.id.uuid(), stopped.step.name()],
        )
        .await?;
    }
    let changed = order.running.iter().filter(|clock| before.clock(clock.step) != Some(clock));
    put(tx, changed.map(|clock| row(order, clock)).collect()).await
}

/// Works out again when the timer looks at each clock of a fulfillment order.
pub(crate) async fn rewrite(tx: &mut Tx, order: &Order) -> Result<(), Error> {
    put(tx, order.running.iter().map(|clock| row(order, clock)).collect()).await
}

/// The timer looks at a fulfillment order that could not be moved no sooner than this.
pub(crate) async fn postpone(tx: &mut Tx, id: FulfillmentId, until: Timestamp) -> Result<(), Error> {
    tx.execute(
        "UPDATE fulfillment_clocks SET next_at = $2 WHERE fulfillment_id = $1 AND next_at < $2",
        params![id.uuid(), micros(until)],
    )
    .await?;
    Ok(())
}

/// Fulfillment orders for which something is due, the oldest first.
pub(crate) async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<FulfillmentId>, Error> {
    let rows = tx
        .fetch_all(
            "SELECT fulfillment_id FROM fulfillment_clocks
              WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    let (mut due, mut seen) = (Vec::with_capacity(rows.len()), BTreeSet::new());
    for row in &rows {
        let id: Uuid = row.get("fulfillment_id")?;
        if seen.insert(id) {
            due.push(FulfillmentId::new(id));
        }
    }
    Ok(due)
}

/// How many clocks end now, counted up to `limit`. Warnings and reminders end nothing.
pub(crate) async fn overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS due FROM (SELECT 1 AS one FROM fulfillment_clocks
                WHERE next_at IS NOT NULL AND next_at <= $1 AND ends_at <= $1 LIMIT $2) AS d";
    Ok(tx.fetch_one(sql, params![micros(now), limit]).await?.get("due")?)
}

/// When something is due next.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT next_at FROM fulfillment_clocks WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1",
            params![],
        )
        .await?;
    row.map(|row| Ok(from_micros(row.get("next_at")?))).transpose()
}

async fn put(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    let (text, columns) = insert_rows!(
        "fulfillment_clocks",
        [
            fulfillment_id: Uuid, step: Text, started_at: BigInt, due_at: BigInt, ends_at: BigInt, warn_at: BigInt,
            is_at_risk: Bool, first_reminder_at: BigInt, second_reminder_at: BigInt, reminded: BigInt,
            policy_version: BigInt, next_at: BigInt
        ],
        "WHERE true ON CONFLICT (fulfillment_id, step) DO UPDATE
            SET started_at = excluded.started_at, due_at = excluded.due_at, ends_at = excluded.ends_at,
                warn_at = excluded.warn_at, is_at_risk = excluded.is_at_risk,
                first_reminder_at = excluded.first_reminder_at, second_reminder_at = excluded.second_reminder_at,
                reminded = excluded.reminded, policy_version = excluded.policy_version, next_at = excluded.next_at"
    );
    tx.batch(text, columns, rows).await?;
    Ok(())
}

fn row(order: &Order, clock: &Running) -> Vec<Value> {
    let [first, second] = clock.reminders;
    params![
        order.id.uuid(),
        clock.step.name(),
        micros(clock.started),
        micros(clock.due),
        clock.ends.map(micros),
        clock.warn.map(micros),
        clock.is_at_risk,
        first.map(micros),
        second.map(micros),
        i64::try_from(clock.reminded).unwrap_or(i64::MAX),
        clock.policy,
        order.next_of(clock).map(|(at, _)| micros(at)),
    ]
}

fn clock(row: &Row) -> Result<Running, Error> {
    let step: String = row.get("step")?;
    let reminded: u32 = row.get("reminded")?;
    let corrupt = |what: &str| Error::corrupt(format!("a clock of a fulfillment order: {what}"));
    let at = |name: &'static str| Ok::<_, Error>(row.get::<Option<i64>>(name)?.map(from_micros));
    Ok(Running {
        step: Step::parse(&step).ok_or_else(|| corrupt("step"))?,
        started: from_micros(row.get("started_at")?),
        due: from_micros(row.get("due_at")?),
        ends: at("ends_at")?,
        warn: at("warn_at")?,
        is_at_risk: row.get("is_at_risk")?,
        reminders: [at("first_reminder_at")?, at("second_reminder_at")?],
        reminded: usize::try_from(reminded).map_err(|_| corrupt("reminded"))?,
        policy: row.get("policy_version")?,
    })
}
