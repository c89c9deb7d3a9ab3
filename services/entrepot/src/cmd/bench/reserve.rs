//! `bench reserve`: reservations through gRPC against one hand-written transaction per request.

use std::sync::Arc;

use contract::inventory::v1 as inv;
use domain::id;
use tonic::Status;

use super::load::closed;
use super::outcome::{Outcome, Pairs};
use super::stage::{NODE, Stage};

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.stock().await?;
    let bare = Arc::new(stage.bare().await?);
    let (callers, skus) = (stage.args.clients, stage.args.skus);
    let mut pairs = Pairs::default();
    for _ in 0..super::ROUNDS {
        let bare = Arc::clone(&bare);
        let reference = closed(callers, stage.round(), move |caller, number| {
            let bare = Arc::clone(&bare);
            async move { bare.reserve(&pick(caller, number, skus)).await }
        });
        pairs.reference.push(reference.await);
        let clients: Vec<_> = stage.clients.iter().map(|clients| clients.inventory.clone()).collect();
        let ours = closed(callers, stage.round(), move |caller, number| {
            let mut client = clients[caller % clients.len()].clone();
            let request = request(&pick(caller, number, skus));
            async move { client.reserve(request).await.map(drop) }
        });
        pairs.ours.push(ours.await);
        stage.drained().await?;
    }
    let mut outcome = Outcome::of("reserve", stage.on(), callers, skus, &pairs);
    outcome.audit_ok = Some(stage.audit().await?);
    Ok(outcome)
}

/// A SKU: each caller walks through all of them from a place of its own.
pub(crate) fn pick(caller: usize, number: u64, skus: usize) -> String {
    let step = usize::try_from(number).unwrap_or_default().wrapping_mul(7_919);
    Stage::sku(caller.wrapping_mul(104_729).wrapping_add(step) % skus.max(1))
}

fn request(sku: &str) -> inv::ReserveRequest {
    inv::ReserveRequest {
        request_id: id::v7().to_string(),
        reservation_id: format!("rsv_{}", id::v7()),
        lines: vec![inv::ReserveLine { line: 1, node_id: NODE.to_owned(), sku: sku.to_owned(), quantity: 1 }],
        ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
    }
}
