//! What is kept for later inquiries and appears in no event.

use db::{Tx, params};
use domain::time::micros;

use super::work::Stored;
use crate::Error;
use crate::work::command::HandOver;

/// Keeps who collected and what was paid, for later inquiries.
pub(crate) async fn handover(
    tx: &mut Tx,
    stored: &Stored,
    command: &HandOver,
    actor: &str,
) -> Result<(), Error> {
    let paid = command.payment.as_ref();
    tx.execute(
        "INSERT INTO handovers (fulfillment_id, version, collector, collector_ref, actor, handed_at,
            payment_kind, payment_minor, payment_currency, payment_ref)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            stored.order.id.uuid(),
            stored.order.version,
            command.collector.name(),
            command.collector_ref.as_str(),
            actor,
            micros(stored.updated),
            paid.map(|paid| paid.kind.as_str()),
            paid.map(|paid| paid.amount.minor),
            paid.map(|paid| paid.amount.currency.code()),
            paid.map(|paid| paid.provider_ref.as_str()),
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
