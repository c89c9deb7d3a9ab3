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
    pub(crate) movements: i64,
    pub(crate) overclaimed: i64,
    pub(crate) on_hand: Broken,
    pub(crate) reserved: Broken,
    pub(crate) quarantine: Broken,
    pub(crate) head: Broken,
    pub(crate) held: Broken,
    pub(crate) consumed: Broken,
    pub(crate) orphans: Broken,
}

/// Compares each position with the sums of its ledger and of the reservation lines on it. One pass and no join: rows
/// of all three tables are laid side by side and summed, so the planner can't choose badly on tables that it has no
/// statistics of.
pub(crate) async fn sums(tx: &mut Tx) -> Result<Sums, Error> {
    let row = tx
        .fetch_one(
            "WITH rows_of_all AS (
               SELECT node_id, sku, 1 AS is_position, on_hand, reserved, quarantine, last_movement,
                      0 AS l_on_hand, 0 AS l_reserved, 0 AS l_quarantine, 0 AS l_consumed, 0 AS entries, 0 AS last_no,
                      0 AS held, 0 AS consumed
                 FROM positions
               UNION ALL
               SELECT node_id, sku, 0, 0, 0, 0, 0, delta_on_hand, delta_reserved,
                      CASE WHEN kind IN ('QUARANTINE', 'RELEASE_QUARANTINE') THEN -delta_on_hand ELSE 0 END,
                      CASE WHEN kind = 'CONSUME' THEN -delta_on_hand ELSE 0 END, 1, movement_no, 0, 0
                 FROM movements
               UNION ALL
               SELECT node_id, sku, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, held, consumed FROM reservation_lines),
             compared AS (
               SELECT node_id || ' ' || sku || ': ' AS place, SUM(is_position) AS is_position, SUM(on_hand) AS on_hand,
                      SUM(reserved) AS reserved, SUM(quarantine) AS quarantine, SUM(last_movement) AS last_movement,
                      SUM(l_on_hand) AS l_on_hand, SUM(l_reserved) AS l_reserved, SUM(l_quarantine) AS l_quarantine,
                      SUM(l_consumed) AS l_consumed, SUM(entries) AS entries, MAX(last_no) AS last_no,
                      SUM(held) AS held, SUM(consumed) AS consumed
                 FROM rows_of_all GROUP BY node_id, sku)
             SELECT COUNT(*) FILTER (WHERE is_position = 1) AS positions,
                    CAST(COALESCE(SUM(entries), 0) AS BIGINT) AS movements,
                    COUNT(*) FILTER (WHERE reserved > 0 AND reserved > on_hand) AS overclaimed,
                    COUNT(*) FILTER (WHERE is_position = 0) AS orphans_rows,
                    MIN(CASE WHEN is_position = 0 THEN place || 'ledger rows ' || CAST(entries AS TEXT)
                        || ', units held ' || CAST(held AS TEXT) END) AS orphans_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND on_hand <> l_on_hand) AS on_hand_rows,
                    MIN(CASE WHEN is_position = 1 AND on_hand <> l_on_hand THEN place || 'on_hand '
                        || CAST(on_hand AS TEXT) || ', ledger ' || CAST(l_on_hand AS TEXT) END) AS on_hand_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND reserved <> l_reserved) AS reserved_rows,
                    MIN(CASE WHEN is_position = 1 AND reserved <> l_reserved THEN place || 'reserved '
                        || CAST(reserved AS TEXT) || ', ledger ' || CAST(l_reserved AS TEXT) END) AS reserved_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND quarantine <> l_quarantine) AS quarantine_rows,
                    MIN(CASE WHEN is_position = 1 AND quarantine <> l_quarantine THEN place || 'quarantine '
                        || CAST(quarantine AS TEXT) || ', ledger ' || CAST(l_quarantine AS TEXT) END)
                      AS quarantine_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND (last_movement <> last_no OR entries <> last_no))
                      AS head_rows,
                    MIN(CASE WHEN is_position = 1 AND (last_movement <> last_no OR entries <> last_no)
                        THEN place || 'last movement ' || CAST(last_movement AS TEXT) || ', ledger has '
                        || CAST(entries AS TEXT) || ' rows up to number ' || CAST(last_no AS TEXT) END) AS head_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND reserved <> held) AS held_rows,
                    MIN(CASE WHEN is_position = 1 AND reserved <> held THEN place || 'reserved '
                        || CAST(reserved AS TEXT) || ', open reservation lines ' || CAST(held AS TEXT) END)
                      AS held_first,
                    COUNT(*) FILTER (WHERE is_position = 1 AND consumed <> l_consumed) AS consumed_rows,
                    MIN(CASE WHEN is_position = 1 AND consumed <> l_consumed THEN place
                        || 'consumed by reservations ' || CAST(consumed AS TEXT) || ', ledger '
                        || CAST(l_consumed AS TEXT) END) AS consumed_first
               FROM compared",
            params![],
        )
        .await?;
    Ok(Sums {
        positions: row.get("positions")?,
        movements: row.get("movements")?,
        overclaimed: row.get("overclaimed")?,
        on_hand: Broken { rows: row.get("on_hand_rows")?, first: row.get("on_hand_first")? },
        reserved: Broken { rows: row.get("reserved_rows")?, first: row.get("reserved_first")? },
        quarantine: Broken { rows: row.get("quarantine_rows")?, first: row.get("quarantine_first")? },
        head: Broken { rows: row.get("head_rows")?, first: row.get("head_first")? },
        held: Broken { rows: row.get("held_rows")?, first: row.get("held_first")? },
        consumed: Broken { rows: row.get("consumed_rows")?, first: row.get("consumed_first")? },
        orphans: Broken { rows: row.get("orphans_rows")?, first: row.get("orphans_first")? },
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

/// Reservations whose state does not follow from their lines: open ones hold something, ended ones nothing. Also
/// lines without a reservation. Summed side by side, as in [`sums`].
pub(crate) async fn states(tx: &mut Tx) -> Result<Broken, Error> {
    let row = tx
        .fetch_optional(
            "SELECT reservation_id, state, held, COUNT(*) OVER () AS broken
               FROM (SELECT reservation_id, MAX(state) AS state, CAST(SUM(held) AS BIGINT) AS held,
                            CAST(SUM(consumed) AS BIGINT) AS consumed
                       FROM (SELECT reservation_id, state, 0 AS held, 0 AS consumed FROM reservations
                             UNION ALL
                             SELECT reservation_id, '', held, consumed FROM reservation_lines) AS rows_of_both
                      GROUP BY reservation_id) AS t
              WHERE (state IN ('HELD', 'CONFIRMED')) <> (held > 0) OR (state = 'CONSUMED' AND consumed = 0)
                 OR state = ''
              ORDER BY reservation_id LIMIT 1",
            params![],
        )
        .await?;
    row.map_or(Ok(Broken::default()), |row| {
        let id = ReservationId::new(row.get::<Uuid>("reservation_id")?);
        let (state, held): (String, i64) = (row.get("state")?, row.get("held")?);
        let state = if state.is_empty() { "lines without a reservation" } else { state.as_str() };
        Ok(Broken { rows: row.get("broken")?, first: Some(format!("{id}: {state} with {held} units held")) })
    })
}

/// What channels have claimed where units are kept for them, against the reservation lines.
pub(crate) async fn channel_claims(tx: &mut Tx) -> Result<Broken, Error> {
    let row = tx
        .fetch_optional(
            "SELECT node_id || ' ' || sku || ': claimed through ' || channel || ' ' || CAST(counted AS TEXT)
                    || ', open reservation lines ' || CAST(held AS TEXT) AS first, COUNT(*) OVER () AS broken
               FROM (SELECT node_id, sku, channel, SUM(is_row) AS is_row, CAST(SUM(counted) AS BIGINT) AS counted,
                            CAST(SUM(held) AS BIGINT) AS held
                       FROM (SELECT node_id, sku, channel, 1 AS is_row, reserved AS counted, 0 AS held
                               FROM channel_claims
                             UNION ALL
                             SELECT l.node_id, l.sku, t.channel, 0, 0, l.held
                               FROM reservation_lines l JOIN reservations t ON t.reservation_id = l.reservation_id
                              WHERE l.held > 0 AND t.channel IS NOT NULL) AS rows_of_both
                      GROUP BY node_id, sku, channel) AS t
              WHERE is_row > 0 AND counted <> held
              ORDER BY node_id, sku, channel LIMIT 1",
            params![],
        )
        .await?;
    row.map_or(Ok(Broken::default()), |row| Ok(Broken { rows: row.get("broken")?, first: row.get("first")? }))
}

/// How many reservations there are.
pub(crate) async fn reservations(tx: &mut Tx) -> Result<i64, Error> {
    Ok(tx
        .fetch_one("SELECT COUNT(*) AS reservations FROM reservations", params![])
        .await?
        .get("reservations")?)
}
