//! `reservations` and `reservation_lines`: who has a claim on what.

use std::collections::HashMap;
use std::sync::Arc;

use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::id::{OrderId, ReservationId, Sku, Uuid};
use domain::stock::Key;
use domain::stock::reservation::{Line, Reservation, State};
use domain::time::micros;
use jiff::Timestamp;

use super::{key, maybe_time, sku, time, unreadable};
use crate::error::Error;

const IDS: &[(&str, Type)] = &[("reservation_id", Type::Uuid)];

fn id_rows(ids: &[ReservationId]) -> Vec<Vec<Value>> {
    ids.iter().map(|id| params![id.uuid()]).collect()
}

fn reservation(row: &Row) -> Result<Reservation, Error> {
    let state: String = row.get("state")?;
    let until = maybe_time(row, "until_at")?;
    Ok(Reservation {
        id: ReservationId::new(row.get("reservation_id")?),
        state: State::named(&state, until).ok_or_else(|| unreadable(format!("reservation state {state}")))?,
        lines: Vec::new(),
        order: row.get::<Option<Uuid>>("order_id")?.map(OrderId::new),
        channel: row.get::<Option<String>>("channel")?.map(Arc::from),
        promised: maybe_time(row, "promised_at")?,
        tier: row.get("tier")?,
        is_started: row.get("is_started")?,
        version: row.get("version")?,
        created_at: time(row, "created_at")?,
    })
}

fn line(row: &Row) -> Result<Line, Error> {
    let kit = match row.get::<Option<String>>("kit_sku")? {
        Some(_) => Some(sku(row, "kit_sku")?),
        None => None,
    };
    Ok(Line {
        line: row.get("line_no")?,
        position: key(row)?,
        kit,
        per_unit: row.get("per_unit")?,
        held: row.get("held")?,
        consumed: row.get("consumed")?,
        released: row.get("released")?,
    })
}

/// Reads those of `ids` (sorted, each once) that exist.
pub(crate) async fn read(
    tx: &mut Tx,
    ids: &[ReservationId],
) -> Result<HashMap<ReservationId, Reservation>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT t.* FROM reservations t JOIN {rows} ON t.reservation_id = r.reservation_id",
            IDS,
            id_rows(ids),
        )
        .await?;
    with_lines(tx, &found).await
}

/// Whether any of `ids` exists.
pub(crate) async fn any(tx: &mut Tx, ids: &[ReservationId]) -> Result<bool, Error> {
    let found = tx
        .batch_fetch(
            "SELECT t.reservation_id FROM reservations t JOIN {rows} ON t.reservation_id = r.reservation_id LIMIT 1",
            IDS,
            id_rows(ids),
        )
        .await?;
    Ok(!found.is_empty())
}

/// The same as [`read`], locked in the order of the ids. The lines are read after the locks, so they are the newest.
pub(crate) async fn lock(
    tx: &mut Tx,
    ids: &[ReservationId],
) -> Result<HashMap<ReservationId, Reservation>, Error> {
    let found = tx
        .batch_fetch(
            "SELECT t.* FROM reservations t JOIN {rows} ON t.reservation_id = r.reservation_id
              ORDER BY t.reservation_id {lock:t}",
            IDS,
            id_rows(ids),
        )
        .await?;
    with_lines(tx, &found).await
}

/// Those of `ids` (each once) that hold something of this position.
pub(crate) async fn holding(
    tx: &mut Tx,
    ids: &[ReservationId],
    key: &Key,
) -> Result<HashMap<ReservationId, Reservation>, Error> {
    let rows = ids.iter().map(|id| params![id.uuid(), key.node.as_str(), key.sku.as_str()]).collect();
    let found = tx
        .batch_fetch(
            "SELECT t.* FROM reservations t JOIN {rows} ON t.reservation_id = r.reservation_id
              WHERE EXISTS (SELECT 1 FROM reservation_lines l
                             WHERE l.reservation_id = t.reservation_id AND l.node_id = r.node_id AND l.sku = r.sku
                               AND l.held > 0)",
            &[("reservation_id", Type::Uuid), ("node_id", Type::Text), ("sku", Type::Text)],
            rows,
        )
        .await?;
    with_lines(tx, &found).await
}

async fn with_lines(tx: &mut Tx, found: &[Row]) -> Result<HashMap<ReservationId, Reservation>, Error> {
    let mut known = HashMap::with_capacity(found.len());
    for row in found {
        let reservation = reservation(row)?;
        known.insert(reservation.id, reservation);
    }
    let ids = known.keys().map(|id| params![id.uuid()]).collect();
    let lines = tx
        .batch_fetch(
            "SELECT l.* FROM reservation_lines l JOIN {rows} ON l.reservation_id = r.reservation_id
              ORDER BY l.reservation_id, l.line_index",
            IDS,
            ids,
        )
        .await?;
    for row in &lines {
        let id = ReservationId::new(row.get("reservation_id")?);
        if let Some(reservation) = known.get_mut(&id) {
            reservation.lines.push(line(row)?);
        }
    }
    Ok(known)
}

fn values(reservation: &Reservation) -> Vec<Value> {
    params![
        reservation.id.uuid(),
        reservation.state.name(),
        reservation.state.until().map(micros),
        reservation.order.map(OrderId::uuid),
        reservation.promised.map(micros),
        reservation.tier,
        reservation.is_started,
        reservation.version,
    ]
}

/// Adds reservations, and their lines. Fewer reservations inserted than asked: one of them exists.
pub(crate) fn insert(fresh: &[&Reservation], now: Timestamp) -> [Part; 2] {
    let mut rows = Vec::with_capacity(fresh.len());
    for reservation in fresh {
        for (index, line) in (0_i64..).zip(&reservation.lines) {
            rows.push(params![
                reservation.id.uuid(),
                index,
                line.line,
                line.position.node.as_str(),
                line.position.sku.as_str(),
                line.kit.as_ref().map(Sku::as_str),
                line.per_unit,
                line.held,
                line.consumed,
                line.released,
            ]);
        }
    }
    let row = |reservation: &&Reservation| {
        let mut row = values(reservation);
        row.extend(params![reservation.channel.as_deref(), micros(reservation.created_at), micros(now)]);
        row
    };
    let (text, columns) = insert_rows!(
        "reservations",
        [
            reservation_id: Uuid, state: Text, until_at: BigInt, order_id: Uuid, promised_at: BigInt, tier: BigInt,
            is_started: Bool, version: BigInt, channel: Text, created_at: BigInt, updated_at: BigInt
        ],
        "WHERE true ON CONFLICT (reservation_id) DO NOTHING"
    );
    let reservations = Part::new(text, columns, fresh.iter().map(row).collect());
    let (text, columns) = insert_rows!(
        "reservation_lines",
        [
            reservation_id: Uuid, line_index: BigInt, line_no: BigInt, node_id: Text, sku: Text, kit_sku: Text,
            per_unit: BigInt, held: BigInt, consumed: BigInt, released: BigInt
        ]
    );
    [reservations, Part::new(text, columns, rows)]
}

/// Writes locked reservations; `lines` are those whose quantities changed, as (reservation, index).
pub(crate) fn update(changed: &[&Reservation], lines: &[(&Reservation, usize)], now: Timestamp) -> [Part; 2] {
    let mut rows = Vec::with_capacity(lines.len());
    for (reservation, place) in lines {
        let line = &reservation.lines[*place];
        let index = i64::try_from(*place).unwrap_or(i64::MAX);
        rows.push(params![reservation.id.uuid(), index, line.held, line.consumed, line.released]);
    }
    let row = |reservation: &&Reservation| {
        let mut row = values(reservation);
        row.push(micros(now).into());
        row
    };
    let (text, columns) = update_rows!(
        "reservations",
        keys [reservation_id: Uuid],
        [
            state: Text, until_at: BigInt, order_id: Uuid, promised_at: BigInt, tier: BigInt, is_started: Bool,
            version: BigInt, updated_at: BigInt
        ]
    );
    let reservations = Part::new(text, columns, changed.iter().map(row).collect());
    let (text, columns) = update_rows!(
        "reservation_lines",
        keys [reservation_id: Uuid, line_index: BigInt],
        [held: BigInt, consumed: BigInt, released: BigInt]
    );
    [reservations, Part::new(text, columns, rows)]
}

/// The oldest claims that are due to expire, at most `limit`.
pub(crate) async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<ReservationId>, Error> {
    let found = tx
        .fetch_all(
            "SELECT reservation_id FROM reservations WHERE until_at <= $1 ORDER BY until_at LIMIT $2",
            params![micros(now), limit],
        )
        .await?;
    found.iter().map(|row| Ok(ReservationId::new(row.get("reservation_id")?))).collect()
}

/// How many claims are due to expire, counted up to `limit`.
pub(crate) async fn overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64, Error> {
    let sql =
        "SELECT COUNT(*) AS due FROM (SELECT 1 AS one FROM reservations WHERE until_at <= $1 LIMIT $2) AS d";
    Ok(tx.fetch_one(sql, params![micros(now), limit]).await?.get("due")?)
}

/// When the next claim is due to expire.
pub(crate) async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let found = tx
        .fetch_optional(
            "SELECT until_at FROM reservations WHERE until_at IS NOT NULL ORDER BY until_at LIMIT 1",
            params![],
        )
        .await?;
    found.map(|row| time(&row, "until_at")).transpose()
}
