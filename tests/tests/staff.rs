//! The person who acts for a caller is kept with what was done.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::world::{NODE, World, fresh};
use tonic::Request;

fn by_ann<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-entrepot-staff", "ann-7".parse().expect("it is ASCII"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_timeline_and_work_name_the_person_of_the_store() {
    let world = World::embedded().await;
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    let store = world.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 1, 250)])).await;
    let work = store.work_of(&order.order_id).await;
    let accept = ful::AcceptWorkRequest { request_id: fresh(), fulfillment_id: work.fulfillment_id };
    store.clients.work.clone().accept_work(by_ann(accept)).await.expect("accepted");
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::InFulfillment).await;
    let timeline = ord::ListOrderTimelineRequest { order_id: order.order_id.clone(), ..Default::default() };
    let timeline = ops.clients.orders.clone().list_order_timeline(timeline).await.expect("read").into_inner();
    let accepted = timeline.entries.iter().find(|entry| entry.step == "ACCEPTED").expect("it is a step");
    assert_eq!(accepted.actor, "store/sha-01#ann-7");

    let count = inv::AdjustStockRequest {
        request_id: fresh(),
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        adjustment: inv::Adjustment::Delta.into(),
        quantity: -1,
        reason: "broken in the store room".to_owned(),
    };
    store.clients.inventory.clone().adjust_stock(by_ann(count)).await.expect("counted");
    let movements =
        inv::ListMovementsRequest { node_id: NODE.to_owned(), sku: "TEA".to_owned(), ..Default::default() };
    let movements = ops.clients.inventory.clone().list_movements(movements).await.expect("read").into_inner();
    assert!(movements.movements.iter().any(|row| row.actor == "store/sha-01#ann-7"), "{movements:?}");
    world.stop().await;
}
