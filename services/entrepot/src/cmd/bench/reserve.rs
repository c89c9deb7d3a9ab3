//! `bench reserve`: reservations through gRPC against one hand-written transaction per request.

use std::sync::Arc;

use contract::inventory::v1 as inv;
use tonic::Status;
use uuid::Uuid;

use super::in_turn;
use super::outcome::Outcome;
use super::stage::{NODE, Stage};

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.stock().await?;
    let bare = Arc::new(stage.bare().await?);
    let skus = stage.args.skus;
    let reference = move |caller, number| {
        let bare = Arc::clone(&bare);
        async move { bare.reserve(&pick(caller, number, skus)).await }
    };
    let clients: Arc<[_]> = stage.clients.iter().map(|clients| clients.inventory.clone()).collect();
    let ours = move |caller: usize, number| {
        let mut client = clients[caller % clients.len()].clone();
        async move { client.reserve(request(&pick(caller, number, skus))).await.map(drop) }
    };
    in_turn("reserve", stage, reference, ours).await
}

/// A SKU: each caller walks through all of them from a place of its own.
pub(crate) fn pick(caller: usize, number: u64, skus: usize) -> String {
    let step = usize::try_from(number).unwrap_or_default().wrapping_mul(7_919);
    Stage::sku(caller.wrapping_mul(104_729).wrapping_add(step) % skus.max(1))
}

fn request(sku: &str) -> inv::ReserveRequest {
    let reservation = inv::NewReservation {
        reservation_id: format!("rsv_{}", Uuid::now_v7()),
        node_id: NODE.to_owned(),
        lines: vec![inv::ReserveLine { line: 1, sku: sku.to_owned(), quantity: 1 }],
        promised_time: None,
        channel: String::new(),
    };
    inv::ReserveRequest {
        request_id: Uuid::now_v7().to_string(),
        reservations: vec![reservation],
        ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        instead_of: Vec::new(),
    }
}
