//! Numbers that an enum does not have.

use contract::inventory::v1 as inv;
use flows::world::fresh;
use tonic::{Code, Status};

use super::shop;

/// The refusal names the field and the number.
fn names<A>(field: &str, answer: Result<A, Status>) -> String {
    let Err(status) = answer else { panic!("{field}: 99 was taken") };
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
    let bad = server::status::violations(&status).into_iter().find(|bad| bad.field == field);
    let text = bad.unwrap_or_else(|| panic!("{field} is not named: {status:?}")).description;
    assert!(text.starts_with("99 is not a known "), "{field}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_an_enum_does_not_have_is_refused_by_field() {
    let (world, ops) = shop().await;
    let clients = ops.clients.clone();
    let adjust = inv::AdjustStockRequest { request_id: fresh(), adjustment: 99, ..Default::default() };
    let text = names("adjustment", clients.inventory.clone().adjust_stock(adjust).await);
    assert!(text.contains("ADJUSTMENT_COUNT"), "{text}");
    let skus = vec![inv::Sku { sku: "S".to_owned(), unit: 99, ..Default::default() }];
    let put = inv::PutSkusRequest { request_id: fresh(), skus };
    names("skus[0].unit", clients.inventory.clone().put_skus(put).await);

    world.stop().await;
}
