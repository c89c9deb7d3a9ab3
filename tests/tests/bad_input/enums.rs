//! Numbers that an enum does not have.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use flows::world::{NODE, fresh};
use tonic::{Code, Status};

use super::{good_order, nobody, shop};

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

    let web = world.clients("channel/web");
    let terms = ord::PlaceOrderRequest { payment_terms: 99, ..good_order() };
    names("payment_terms", web.try_place(terms).await);
    let mut tender = good_order();
    tender.tenders[0].state = 99;
    names("tenders[0].state", web.try_place(tender).await);
    let pay = ord::PayOrderRequest { request_id: fresh(), state: 99, ..Default::default() };
    names("state", web.clients.orders.clone().pay_order(pay).await);
    let filter = Some(ord::OrderFilter { statuses: vec![99], ..Default::default() });
    let list = ord::ListOrdersRequest { filter, ..Default::default() };
    names("filter.statuses[0]", clients.orders.clone().list_orders(list).await);

    let node = ful::Node { node_id: "n".to_owned(), kind: 99, ..Default::default() };
    let put = ful::PutNodesRequest { request_id: fresh(), nodes: vec![node] };
    names("nodes[0].kind", clients.network.clone().put_nodes(put).await);
    let hold = ful::HoldPromiseRequest { request_id: fresh(), method: 99, ..Default::default() };
    names("method", web.clients.promise.clone().hold_promise(hold).await);
    let store = world.clients(&format!("store/{NODE}")).clients;
    let reject = ful::RejectWorkRequest {
        request_id: fresh(),
        fulfillment_id: nobody("ful_"),
        reason: 99,
        ..Default::default()
    };
    names("reason", store.work.clone().reject_work(reject).await);
    let list = ful::ListWorkRequest { node_id: NODE.to_owned(), states: vec![99], ..Default::default() };
    names("states[0]", store.work.clone().list_work(list).await);
    world.stop().await;
}
