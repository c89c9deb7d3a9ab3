//! `bench place`: orders of two lines, held at placement, against one hand-written transaction per order.

use std::sync::Arc;

use contract::orders::v1 as ord;
use contract::r#type::v1::Method;
use domain::id;
use tonic::Status;

use super::load::closed;
use super::outcome::{Outcome, Pairs};
use super::reserve::pick;
use super::stage::{NODE, Stage};
use crate::clients::money;

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.node().await?;
    stage.stock().await?;
    let bare = Arc::new(stage.bare().await?);
    let (callers, skus) = (stage.args.clients, stage.args.skus);
    let mut pairs = Pairs::default();
    for _ in 0..super::ROUNDS {
        let bare = Arc::clone(&bare);
        let reference = closed(callers, stage.round(), move |caller, number| {
            let bare = Arc::clone(&bare);
            async move { bare.place(&basket(caller, number, skus)).await }
        });
        pairs.reference.push(reference.await);
        let clients: Vec<_> = stage.clients.iter().map(|clients| clients.orders.clone()).collect();
        let ours = closed(callers, stage.round(), move |caller, number| {
            let mut client = clients[caller % clients.len()].clone();
            let request = request(caller, number, skus);
            async move { client.place_order(request).await.map(drop) }
        });
        pairs.ours.push(ours.await);
        stage.drained().await?;
    }
    let mut outcome = Outcome::of("place", stage.on(), callers, skus, &pairs);
    outcome.audit_ok = Some(stage.audit().await?);
    Ok(outcome)
}

/// Two SKUs, or the only one twice.
fn basket(caller: usize, number: u64, skus: usize) -> Vec<String> {
    let mut basket = vec![pick(caller, number, skus), pick(caller + 1, number, skus)];
    basket.dedup();
    basket
}

/// An order of one piece of each SKU of the basket.
pub(crate) fn request(caller: usize, number: u64, skus: usize) -> ord::PlaceOrderRequest {
    let basket = basket(caller, number, skus);
    let pence = 1_000 * i64::try_from(basket.len()).unwrap_or_default();
    let gbp = |pence| Some(money(pence, "GBP"));
    let lines = basket.into_iter().map(|sku| ord::NewLine {
        sku,
        name: "Bench".to_owned(),
        quantity: 1,
        unit_price: gbp(1_000),
        discount: None,
        tax: None,
    });
    ord::PlaceOrderRequest {
        request_id: id::v7().to_string(),
        channel: "bench".to_owned(),
        channel_order_id: id::v7().to_string(),
        customer_ref: "bench".to_owned(),
        lines: lines.collect(),
        charges: Vec::new(),
        tenders: vec![ord::Tender {
            tender_id: "card".to_owned(),
            kind: "card".to_owned(),
            amount: gbp(pence),
            state: i32::from(ord::TenderState::Captured),
            provider_ref: String::new(),
        }],
        payment_terms: i32::from(ord::PaymentTerms::Prepaid),
        tax_included: true,
        total: gbp(pence),
        fulfillment: Some(ord::place_order_request::Fulfillment::Destination(ord::Destination {
            method: i32::from(Method::Pickup),
            node_id: NODE.to_owned(),
        })),
    }
}
