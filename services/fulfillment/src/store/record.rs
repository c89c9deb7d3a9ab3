//! What is kept for later inquiries and appears in no event.

use db::{Tx, params};
use domain::time::micros;

use super::work::Stored;
use crate::Error;

/// Keeps who collected, for later inquiries.
pub(crate) async fn handover(
    tx: &mut Tx,
    stored: &Stored,
    collector: &str,
    collector_ref: &str,
    actor: &str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO handovers (fulfillment_id, version, collector, collector_ref, actor, handed_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            stored.order.id.uuid(),
            stored.order.version,
            collector,
            collector_ref,
            actor,
            micros(stored.updated)
        ],
    )
    .await?;
    Ok(())
}

/// Keeps what somebody said in their own words about a change.
pub(crate) async fn note(tx: &mut Tx, stored: &Stored, note: &str, actor: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO work_notes (fulfillment_id, version, note, actor, noted_at) VALUES ($1, $2, $3, $4, $5)",
        params![stored.order.id.uuid(), stored.order.version, note, actor, micros(stored.updated)],
    )
    .await?;
    Ok(())
}
