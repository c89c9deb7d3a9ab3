//! `bench place`: orders of two lines in one group or in two, held at placement, against one hand-written transaction per
//! order.

use std::sync::Arc;

use contract::orders::v1 as ord;
use contract::r#type::v1::{LineQuantity, Method};
use tonic::Status;
use uuid::Uuid;

use super::in_turn;
use super::outcome::Outcome;
use super::reserve::pick;
use super::stage::{NODE, Stage};
use crate::clients::money;

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.node().await?;
    stage.stock().await?;
    let bare = Arc::new(stage.bare().await?);
    let (skus, groups) = (stage.args.skus, usize::from(stage.args.groups));
    let reference = move |caller, number| {
        let bare = Arc::clone(&bare);
        async move { bare.place(&parts(&basket(caller, number, skus), groups)).await }
    };
    let clients: Arc<[_]> = stage.clients.iter().map(|clients| clients.orders.clone()).collect();
    let ours = move |caller: usize, number| {
        let mut client = clients[caller % clients.len()].clone();
        async move { client.place_order(request(caller, number, skus, groups)).await.map(drop) }
    };
    in_turn("place", stage, reference, ours).await
}

/// Two SKUs, or the only one twice.
fn basket(caller: usize, number: u64, skus: usize) -> Vec<String> {
    let mut basket = vec![pick(caller, number, skus), pick(caller + 1, number, skus)];
    basket.dedup();
    basket
}

/// A basket in one group, or each SKU in its own.
fn parts(basket: &[String], groups: usize) -> Vec<Vec<String>> {
    let each = if groups > 1 { 1 } else { basket.len() };
    basket.chunks(each).map(<[String]>::to_vec).collect()
}

/// The groups of an order, each with its lines where there are several.
fn asked(basket: &[String], groups: usize) -> Vec<ord::NewGroup> {
    let parts = parts(basket, groups);
    let is_only = parts.len() == 1;
    let mut line = 0;
    let group = |part: Vec<String>| {
        let lines = part.iter().map(|_| {
            line += 1;
            LineQuantity { line, quantity: 1 }
        });
        ord::NewGroup {
            method: i32::from(Method::Pickup),
            r#where: Some(ord::new_group::Where::NodeId(NODE.to_owned())),
            lines: lines.filter(|_| !is_only).collect(),
            ..ord::NewGroup::default()
        }
    };
    parts.into_iter().map(group).collect()
}

/// An order of one piece of each SKU of the basket.
pub(crate) fn request(caller: usize, number: u64, skus: usize, groups: usize) -> ord::PlaceOrderRequest {
    let basket = basket(caller, number, skus);
    let groups = asked(&basket, groups);
    let pence = 1_000 * i64::try_from(basket.len()).unwrap_or_default();
    let gbp = |pence| Some(money(pence, "GBP"));
    let lines = basket.into_iter().map(|sku| ord::NewLine {
        sku,
        name: "Bench".to_owned(),
        quantity: 1,
        unit_price: gbp(1_000),
        discount: None,
        tax: None,
        promotions: Vec::new(),
        line: 0,
    });
    ord::PlaceOrderRequest {
        request_id: Uuid::now_v7().to_string(),
        channel: "bench".to_owned(),
        channel_order_id: Uuid::now_v7().to_string(),
        customer_ref: "bench".to_owned(),
        lines: lines.collect(),
        charges: Vec::new(),
        tenders: vec![ord::Tender {
            tender_id: "card".to_owned(),
            kind: "card".to_owned(),
            amount: gbp(pence),
            state: i32::from(ord::TenderState::Captured),
            ..ord::Tender::default()
        }],
        payment_terms: i32::from(ord::PaymentTerms::Prepaid),
        tax_included: true,
        total: gbp(pence),
        groups,
        ..ord::PlaceOrderRequest::default()
    }
}
