//! The questions of the audit. Each is asked on one snapshot and answered by the database, so the size of the ledger
//! never is the size of our memory.

use db::{Tx, params};
use domain::id::{ReservationId, Uuid};

use crate::error::Error;

/// What is wrong with one law.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rows: i64,
    pub(crate) first: Option<String>,
}

/// What the positions say, against the ledger and the reservations.
pub(crate) struct Sums {
    pub(crate) positions: i64,
    pub(crate) overclaimed: i64,
    pub(crate) on_hand: Broken,
    pub(crate) reserved: Broken,
    pub(crate) quarantine: Broken,
    pub(crate) head: Broken,
    pub(crate) held: Broken,
    pub(crate) consumed: Broken,
}

/// Compares each position with the sums of its ledger and of the reservation lines on it.
pub(crate) async fn sums(tx: &mut Tx) -> Result<Sums, Error> {
    let row = tx
        .fetch_one(
            "WITH ledger AS (
               SELECT node_id, sku, SUM(delta_on_hand) AS on_hand, SUM(delta_reserved) AS reserved,
                      SUM(CASE WHEN kind IN ('QUARANTINE', 'RELEASE_QUARANTINE') THEN -delta_on_hand ELSE 0 END)
                        AS quarantine,
                      SUM(CASE WHEN kind = 'CONSUME' THEN -delta_on_hand ELSE 0 END) AS consumed,
                      COUNT(*) AS entries, MAX(movement_no) AS last_no
                 FROM movements GROUP BY node_id, sku),
             claims AS (
               SELECT node_id, sku, SUM(held) AS held, SUM(consumed) AS consumed
                 FROM reservation_lines GROUP BY node_id, sku),
             compared AS (
               SELECT p.node_id || ' ' || p.sku || ': ' AS place, p.on_hand, p.reserved, p.quarantine, p.last_movement,
                      COALESCE(l.on_hand, 0) AS l_on_hand, COALESCE(l.reserved, 0) AS l_reserved,
                      COALESCE(l.quarantine, 0) AS l_quarantine, COALESCE(l.consumed, 0) AS l_consumed,
                      COALESCE(l.entries, 0) AS entries, COALESCE(l.last_no, 0) AS last_no,
                      COALESCE(c.held, 0) AS held, COALESCE(c.consumed, 0) AS consumed
                 FROM positions p
                 LEFT JOIN ledger l ON l.node_id = p.node_id AND l.sku = p.sku
                 LEFT JOIN claims c ON c.node_id = p.node_id AND c.sku = p.sku)
             SELECT COUNT(*) AS positions,
                    COUNT(*) FILTER (WHERE reserved > 0 AND reserved > on_hand) AS overclaimed,
                    COUNT(*) FILTER (WHERE on_hand <> l_on_hand) AS on_hand_rows,
                    MIN(CASE WHEN on_hand <> l_on_hand THEN place || 'on_hand ' || CAST(on_hand AS TEXT)
                        || ', ledger ' || CAST(l_on_hand AS TEXT) END) AS on_hand_first,
                    COUNT(*) FILTER (WHERE reserved <> l_reserved) AS reserved_rows,
                    MIN(CASE WHEN reserved <> l_reserved THEN place || 'reserved ' || CAST(reserved AS TEXT)
                        || ', ledger ' || CAST(l_reserved AS TEXT) END) AS reserved_first,
                    COUNT(*) FILTER (WHERE quarantine <> l_quarantine) AS quarantine_rows,
                    MIN(CASE WHEN quarantine <> l_quarantine THEN place || 'quarantine ' || CAST(quarantine AS TEXT)
                        || ', ledger ' || CAST(l_quarantine AS TEXT) END) AS quarantine_first,
                    COUNT(*) FILTER (WHERE last_movement <> last_no OR entries <> last_no) AS head_rows,
                    MIN(CASE WHEN last_movement <> last_no OR entries <> last_no THEN place || 'last movement '
                        || CAST(last_movement AS TEXT) || ', ledger has ' || CAST(entries AS TEXT)
                        || ' rows up to number ' || CAST(last_no AS TEXT) END) AS head_first,
                    COUNT(*) FILTER (WHERE reserved <> held) AS held_rows,
                    MIN(CASE WHEN reserved <> held THEN place || 'reserved ' || CAST(reserved AS TEXT)
                        || ', open reservation lines ' || CAST(held AS TEXT) END) AS held_first,
                    COUNT(*) FILTER (WHERE consumed <> l_consumed) AS consumed_rows,
                    MIN(CASE WHEN consumed <> l_consumed THEN place || 'consumed by reservations '
                        || CAST(consumed AS TEXT) || ', ledger ' || CAST(l_consumed AS TEXT) END) AS consumed_first
               FROM compared",
            params![],
        )
        .await?;
    Ok(Sums {
        positions: row.get("positions")?,
        overclaimed: row.get("overclaimed")?,
        on_hand: Broken { rows: row.get("on_hand_rows")?, first: row.get("on_hand_first")? },
        reserved: Broken { rows: row.get("reserved_rows")?, first: row.get("reserved_first")? },
        quarantine: Broken { rows: row.get("quarantine_rows")?, first: row.get("quarantine_first")? },
        head: Broken { rows: row.get("head_rows")?, first: row.get("head_first")? },
        held: Broken { rows: row.get("held_rows")?, first: row.get("held_first")? },
        consumed: Broken { rows: row.get("consumed_rows")?, first: row.get("consumed_first")? },
    })
}

/// Ledger rows whose number or balances do not follow from the row before.
pub(crate) async fn chain(tx: &mut Tx) -> Result<Broken, Error> {
    let row = tx
        .fetch_optional(
            "SELECT node_id || ' ' || sku || ': movement ' || CAST(movement_no AS TEXT) AS first,
                    COUNT(*) OVER () AS broken
               FROM (SELECT node_id, sku, movement_no, delta_on_hand, delta_reserved, on_hand_after, reserved_after,
                            COALESCE(LAG(movement_no) OVER w, 0) AS no_before,
                            COALESCE(LAG(on_hand_after) OVER w, 0) AS on_hand_before,
                            COALESCE(LAG(reserved_after) OVER w, 0) AS reserved_before
                       FROM movements WINDOW w AS (PARTITION BY node_id, sku ORDER BY movement_no)) AS m
              WHERE movement_no <> no_before + 1 OR on_hand_after <> on_hand_before + delta_on_hand
                 OR reserved_after <> reserved_before + delta_reserved
              ORDER BY node_id, sku, movement_no LIMIT 1",
            params![],
        )
        .await?;
    row.map_or(Ok(Broken::default()), |row| Ok(Broken { rows: row.get("broken")?, first: row.get("first")? }))
}

/// Reservations whose state does not follow from their lines: open ones hold something, ended ones nothing.
pub(crate) async fn states(tx: &mut Tx) -> Result<Broken, Error> {
    let row = tx
        .fetch_optional(
            "SELECT t.reservation_id, t.state, COALESCE(l.held, 0) AS held, COUNT(*) OVER () AS broken
               FROM reservations t
               LEFT JOIN (SELECT reservation_id, CAST(SUM(held) AS BIGINT) AS held,
                                 CAST(SUM(consumed) AS BIGINT) AS consumed
                            FROM reservation_lines GROUP BY reservation_id) l ON l.reservation_id = t.reservation_id
              WHERE (t.state IN ('HELD', 'CONFIRMED')) <> (COALESCE(l.held, 0) > 0)
                 OR (t.state = 'CONSUMED' AND COALESCE(l.consumed, 0) = 0)
              ORDER BY t.reservation_id LIMIT 1",
            params![],
        )
        .await?;
    row.map_or(Ok(Broken::default()), |row| {
        let id = ReservationId::new(row.get::<Uuid>("reservation_id")?);
        let (state, held): (String, i64) = (row.get("state")?, row.get("held")?);
        Ok(Broken { rows: row.get("broken")?, first: Some(format!("{id}: {state} with {held} units held")) })
    })
}

/// Ledger rows and reservation lines whose position does not exist.
pub(crate) async fn orphans(tx: &mut Tx) -> Result<Broken, Error> {
    let row = tx
        .fetch_optional(
            "SELECT o.node_id || ' ' || o.sku || ': ' || o.what AS first, COUNT(*) OVER () AS broken
               FROM (SELECT DISTINCT node_id, sku, 'ledger' AS what FROM movements
                     UNION ALL
                     SELECT DISTINCT node_id, sku, 'reservation' AS what FROM reservation_lines) AS o
               LEFT JOIN positions p ON p.node_id = o.node_id AND p.sku = o.sku
              WHERE p.sku IS NULL
              ORDER BY o.node_id, o.sku, o.what LIMIT 1",
            params![],
        )
        .await?;
    row.map_or(Ok(Broken::default()), |row| Ok(Broken { rows: row.get("broken")?, first: row.get("first")? }))
}

/// How many reservations and ledger rows there are.
pub(crate) async fn counts(tx: &mut Tx) -> Result<(i64, i64), Error> {
    let row = tx
        .fetch_one(
            "SELECT (SELECT COUNT(*) FROM reservations) AS reservations, (SELECT COUNT(*) FROM movements) AS movements",
            params![],
        )
        .await?;
    Ok((row.get("reservations")?, row.get("movements")?))
}
