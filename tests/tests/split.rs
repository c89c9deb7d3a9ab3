//! One order, many pieces of work: groups at several stores, each in its own hands.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::minor;
use flows::people::{is_asked, legs, order_at, part_at};
use flows::stage::Stage;
use flows::world::NODE;

/// The second store.
const OTHER: &str = "sha-02";

everywhere! {
    (embedded, kafka, three_processes)
    what_one_store_rejects_and_the_customer_drops_leaves_the_other_stores_part_as_it_was,
}

async fn what_one_store_rejects_and_the_customer_drops_leaves_the_other_stores_part_as_it_was(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node(OTHER).await;
    ops.stock(NODE, &[("TEA", 10)]).await;
    ops.stock(OTHER, &[("TEA", 10), ("CUP", 5)]).await;
    let mut request = order_at(NODE, &[("TEA", 3, 250), ("CUP", 1, 1_200)]);
    request.groups = vec![part_at(NODE, &[(1, 1)]), part_at(OTHER, &[(1, 2), (2, 1)])];
    let order = web.place(request).await;
    let order = web.offered(&order.order_id).await;
    let ids: Vec<String> = legs(&order).iter().map(|leg| leg.fulfillment_id.clone()).collect();
    let nodes: Vec<&str> = legs(&order).iter().map(|leg| leg.node_id.as_str()).collect();
    assert_eq!(nodes, [NODE, OTHER]);

    let other = stage.clients("store/sha-02");
    other.reject(&ids[1], ful::RejectReason::TooBusy).await.expect("rejected");
    let order = web.order_when(&order.order_id, is_asked).await;
    let order = web.drop_missing(&order.order_id).await.unwrap_or(order);
    let cancelled = order.lines.iter().map(|line| line.buckets.unwrap_or_default().cancelled);
    assert!(cancelled.eq([2, 1]), "{order:#?}");
    assert_eq!(minor(order.refund_requested.as_ref()), 2 * 250 + 1_200);
    let untouched = legs(&order)[0].lines[0].buckets.unwrap_or_default();
    assert_eq!((untouched.reserved, untouched.cancelled), (1, 0));
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved), (10, 1));

    let store = stage.clients("store/sha-01");
    let request = ful::GetFulfillmentOrderRequest { fulfillment_id: ids[0].clone() };
    let work = store.clients.work.clone().get_fulfillment_order(request).await.expect("there").into_inner();
    store.prepare(&work.fulfillment_order.unwrap_or_default()).await;
    let is_ready = |order: &ord::Order| order.lines[0].buckets.unwrap_or_default().ready == 1;
    web.order_when(&order.order_id, is_ready).await;
    stage.settle().await;
    let (tea, cup) = (ops.position(OTHER, "TEA").await, ops.position(OTHER, "CUP").await);
    assert_eq!((tea.reserved, cup.reserved), (0, 0));
    ops.audit().await;
    stage.stop().await;
}
