//! Notes on claims: the event of a lost claim may arrive before the order that it belongs to, and the row of its leg is
//! where both meet.

use std::collections::HashMap;

use db::{Row, Tx, insert_rows, params};
use domain::fulfillment::Units;
use domain::id::FulfillmentId;
use uuid::Uuid;

use crate::Error;
use crate::wire::event::{packed_loss, unpacked_loss};

/// What is known of a claim when its order is released.
pub(crate) struct Claim {
    /// What was lost, when inventory said so before the order came.
    pub(crate) lost: Option<Loss>,
    /// Its work was offered already.
    pub(crate) is_offered: bool,
}

/// What a claim lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The SKU that ran out; empty: not known.
    pub(crate) sku: String,
    /// Units per line; none: all of the claim.
    pub(crate) lines: Option<Vec<Units>>,
}

impl Loss {
    /// All of a claim.
    pub(crate) const fn whole(sku: String) -> Self {
        Self { sku, lines: None }
    }

    /// Both of them.
    fn and(self, later: Self) -> Self {
        let (Some(mut lines), Some(more)) = (self.lines, later.lines) else { return Self::whole(later.sku) };
        for unit in more {
            match lines.iter_mut().find(|known| known.line == unit.line) {
                Some(known) => known.quantity = known.quantity.saturating_add(unit.quantity),
                None => lines.push(unit),
            }
        }
        Self { sku: later.sku, lines: Some(lines) }
    }
}

/// Meets what inventory may have said about claims before their orders came. Each leg must be named once.
pub(crate) async fn meet(
    tx: &mut Tx,
    legs: impl Iterator<Item = FulfillmentId>,
) -> Result<HashMap<FulfillmentId, Claim>, Error> {
    let (text, columns) = insert_rows!(
        "claim_notes",
        [fulfillment_id: Uuid, is_lost: Bool, lines: Bytes],
        and "sku" = "''",
        "WHERE true ORDER BY r.fulfillment_id
         ON CONFLICT (fulfillment_id) DO UPDATE SET is_lost = claim_notes.is_lost
         RETURNING fulfillment_id, is_lost, sku, lines,
            (SELECT w.fulfillment_id FROM fulfillment_orders w
              WHERE w.fulfillment_id = claim_notes.fulfillment_id) AS offered"
    );
    let new = legs.map(|leg| params![leg.uuid(), false, Vec::<u8>::new()]).collect();
    let rows = tx.batch_fetch(text, columns, new).await?;
    let mut claims = HashMap::with_capacity(rows.len());
    for row in rows {
        let lost = loss(&row)?;
        let is_offered = row.get::<Option<Uuid>>("offered")?.is_some();
        claims.insert(FulfillmentId::new(row.get("fulfillment_id")?), Claim { lost, is_offered });
    }
    Ok(claims)
}

/// Notes that a claim was lost, or a part of it, for the order that may come later.
pub(crate) async fn note_lost(tx: &mut Tx, leg: FulfillmentId, lost: Loss) -> Result<(), Error> {
    let known = meet(tx, std::iter::once(leg)).await?.remove(&leg);
    let all = match known.and_then(|claim| claim.lost) {
        Some(known) => known.and(lost),
        None => lost,
    };
    tx.execute(
        "UPDATE claim_notes SET is_lost = $2, sku = $3, lines = $4 WHERE fulfillment_id = $1",
        params![leg.uuid(), true, all.sku.as_str(), all.lines.as_deref().map_or_else(Vec::new, packed_loss)],
    )
    .await?;
    Ok(())
}

fn loss(row: &Row) -> Result<Option<Loss>, Error> {
    if !row.get::<bool>("is_lost")? {
        return Ok(None);
    }
    let packed: Vec<u8> = row.get("lines")?;
    let strange = || Error::corrupt("a note on a lost claim".to_owned());
    let lines = (!packed.is_empty()).then(|| unpacked_loss(&packed).ok_or_else(strange)).transpose()?;
    Ok(Some(Loss { sku: row.get("sku")?, lines }))
}

/// Forgets notes on claims whose orders came: their fulfillment orders tell what the notes did. At most `limit`.
pub(crate) async fn prune(tx: &mut Tx, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM claim_notes WHERE fulfillment_id IN
               (SELECT n.fulfillment_id FROM claim_notes n
                  JOIN fulfillment_orders w ON w.fulfillment_id = n.fulfillment_id LIMIT $1)",
            params![limit],
        )
        .await?)
}
