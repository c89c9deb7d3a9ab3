//! Notes on claims: the event of a lost claim may arrive before the order that it belongs to, and the row of its leg is
//! where both meet.

use std::collections::HashMap;

use db::{Tx, insert_rows, params};
use domain::id::FulfillmentId;
use uuid::Uuid;

use crate::Error;

/// What is known of a claim when its order is released.
pub(crate) struct Claim {
    /// The SKU that was lost, when inventory said so before the order came.
    pub(crate) lost: Option<String>,
    /// Its work was offered already.
    pub(crate) is_offered: bool,
}

/// Meets what inventory may have said about claims before their orders came. Each leg must be named once.
pub(crate) async fn meet(
    tx: &mut Tx,
    legs: impl Iterator<Item = FulfillmentId>,
) -> Result<HashMap<FulfillmentId, Claim>, Error> {
    let (text, columns) = insert_rows!(
        "claim_notes",
        [fulfillment_id: Uuid, is_lost: Bool],
        and "sku" = "''",
        "WHERE true ORDER BY r.fulfillment_id
         ON CONFLICT (fulfillment_id) DO UPDATE SET is_lost = claim_notes.is_lost
         RETURNING fulfillment_id, is_lost, sku,
            (SELECT w.fulfillment_id FROM fulfillment_orders w
              WHERE w.fulfillment_id = claim_notes.fulfillment_id) AS offered"
    );
    let rows = tx.batch_fetch(text, columns, legs.map(|leg| params![leg.uuid(), false]).collect()).await?;
    let mut claims = HashMap::with_capacity(rows.len());
    for row in rows {
        let lost = if row.get::<bool>("is_lost")? { Some(row.get("sku")?) } else { None };
        let is_offered = row.get::<Option<Uuid>>("offered")?.is_some();
        claims.insert(FulfillmentId::new(row.get("fulfillment_id")?), Claim { lost, is_offered });
    }
    Ok(claims)
}

/// Notes that a claim was lost, for the order that may come later.
pub(crate) async fn note_lost(tx: &mut Tx, leg: FulfillmentId, sku: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO claim_notes (fulfillment_id, is_lost, sku) VALUES ($1, $2, $3)
         ON CONFLICT (fulfillment_id) DO UPDATE SET is_lost = $2, sku = $3",
        params![leg.uuid(), true, sku],
    )
    .await?;
    Ok(())
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
