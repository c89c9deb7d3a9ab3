//! Notes on claims: the event of a lost claim may arrive before the order that it belongs to, and the row of its promise
//! is where both meet.

use std::collections::HashMap;

use db::{Tx, insert_rows, params};
use domain::id::PromiseToken;
use uuid::Uuid;

use crate::Error;

/// What is known of a claim when its order is released.
pub(crate) struct Claim {
    /// The SKU that was lost, when inventory said so before the order came.
    pub(crate) lost: Option<String>,
    /// Its work was offered already.
    pub(crate) is_offered: bool,
}

/// Meets what inventory may have said about claims before their orders came. Each token must be given once.
pub(crate) async fn meet(
    tx: &mut Tx,
    tokens: impl Iterator<Item = PromiseToken>,
) -> Result<HashMap<PromiseToken, Claim>, Error> {
    let (text, columns) = insert_rows!(
        "claim_notes",
        [promise_token: Uuid, is_lost: Bool],
        and "sku" = "''",
        "WHERE true ORDER BY r.promise_token
         ON CONFLICT (promise_token) DO UPDATE SET is_lost = claim_notes.is_lost
         RETURNING promise_token, is_lost, sku,
            (SELECT w.fulfillment_id FROM fulfillment_orders w
              WHERE w.promise_token = claim_notes.promise_token) AS offered"
    );
    let rows =
        tx.batch_fetch(text, columns, tokens.map(|token| params![token.uuid(), false]).collect()).await?;
    let mut claims = HashMap::with_capacity(rows.len());
    for row in rows {
        let lost = if row.get::<bool>("is_lost")? { Some(row.get("sku")?) } else { None };
        let is_offered = row.get::<Option<Uuid>>("offered")?.is_some();
        claims.insert(PromiseToken::new(row.get("promise_token")?), Claim { lost, is_offered });
    }
    Ok(claims)
}

/// Notes that a claim was lost, for the order that may come later.
pub(crate) async fn note_lost(tx: &mut Tx, token: PromiseToken, sku: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO claim_notes (promise_token, is_lost, sku) VALUES ($1, $2, $3)
         ON CONFLICT (promise_token) DO UPDATE SET is_lost = $2, sku = $3",
        params![token.uuid(), true, sku],
    )
    .await?;
    Ok(())
}

/// Forgets notes on claims whose orders came: their fulfillment orders tell what the notes did. At most `limit`.
pub(crate) async fn prune(tx: &mut Tx, limit: i64) -> Result<u64, Error> {
    Ok(tx
        .execute(
            "DELETE FROM claim_notes WHERE promise_token IN
               (SELECT n.promise_token FROM claim_notes n
                  JOIN fulfillment_orders w ON w.promise_token = n.promise_token LIMIT $1)",
            params![limit],
        )
        .await?)
}
