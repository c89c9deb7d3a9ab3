//! Orders that a marketplace has sold already: none is refused for want of goods, and what nobody has is dropped in the
//! words of the marketplace.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::{minor, timestamp};
use flows::people::{group_at, is_asked, legs, order_at, part_at};
use flows::stage::Stage;
use flows::world::{NODE, People, fresh};

/// Another store, which has what the first has not.
const SECOND: &str = "sha-02";

everywhere! {
    (embedded_in_no_time, kafka_in_no_time, three_processes)
    goods_that_nobody_has_are_looked_for_and_silence_pays_them_back_for_the_reason_of_the_marketplace,
    goods_that_arrive_meanwhile_are_handed_over_with_what_was_there,
    a_closed_store_refuses_no_order_of_a_marketplace,
}

/// An order of these lines, sold and paid by a marketplace, for pickup at the first store.
fn sold(lines: &[(&str, i64, i64)]) -> ord::PlaceOrderRequest {
    ord::PlaceOrderRequest {
        acceptance: ord::Acceptance::SoldElsewhere.into(),
        cancel_code: "MKT_OUT_OF_STOCK".to_owned(),
        ..order_at(NODE, lines)
    }
}

/// Shuts a store until somebody opens it.
async fn close(ops: &People, node: &str) {
    let from_time = Some(timestamp(jiff::Timestamp::UNIX_EPOCH));
    let closing = ful::TemporaryClosing { from_time, reason: "FLOOD".to_owned(), ..Default::default() };
    let (request_id, node_id) = (fresh(), node.to_owned());
    let request = ful::CloseNodeRequest { request_id, node_id, closing: Some(closing) };
    ops.clients.network.clone().close_node(request).await.expect("the store is shut");
}

async fn goods_that_nobody_has_are_looked_for_and_silence_pays_them_back_for_the_reason_of_the_marketplace(
    stage: Stage,
) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 1)]).await;
    let request = sold(&[("TEA", 2, 500)]);
    let plain = ord::PlaceOrderRequest {
        acceptance: ord::Acceptance::Checked.into(),
        cancel_code: String::new(),
        ..request.clone()
    };
    let refused = web.try_place(plain).await.expect_err("there is one piece of two");
    assert_eq!(test_world::reason(&refused), "NO_STOCK", "{refused:?}");
    let order = web.place(ord::PlaceOrderRequest { request_id: fresh(), ..request }).await;
    assert_eq!((order.status(), legs(&order).len()), (ord::OrderStatus::Placed, 0), "{order:#?}");
    stage.pass(0, 1).await;
    let asked = web.order_when(&order.order_id, is_asked).await;
    let need = &asked.needs[0];
    assert_eq!((need.reason.as_str(), need.fulfillment_id.as_str()), ("NO_STOCK", ""));
    assert_eq!(minor(asked.refund_requested.as_ref()), 0, "the customer is asked first");
    assert_eq!(ops.position(NODE, "TEA").await.atp, 1, "nothing is held for what is asked");
    stage.pass(24, 1).await;
    let is_over = |order: &ord::Order| order.status() == ord::OrderStatus::Cancelled;
    let end = web.order_when(&order.order_id, is_over).await;
    assert_eq!(minor(end.refund_requested.as_ref()), 1_000);
    assert_eq!(end.lines[0].cancel_reason, "MKT_OUT_OF_STOCK");
    assert_eq!(end.refunds[0].reason, "MKT_OUT_OF_STOCK");
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn goods_that_arrive_meanwhile_are_handed_over_with_what_was_there(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node(SECOND).await;
    ops.stock(NODE, &[("TEA", 5)]).await;
    ops.stock(SECOND, &[("CUP", 1)]).await;
    let order = web.place(sold(&[("TEA", 2, 250), ("CUP", 3, 1_000)])).await;
    let held = legs(&order);
    assert_eq!((held.len(), held[0].lines[0].line, held[0].lines[0].quantity), (1, 1, 2), "{order:#?}");
    assert_eq!(order.needs[0].lines[0].line, 2);
    let order = web.offered(&order.order_id).await;
    stage.pass(0, 1).await;
    let order = web.order_when(&order.order_id, is_asked).await;
    stage.complete(legs(&order)[0]).await;
    ops.stock(NODE, &[("CUP", 4)]).await;
    stage.pass(0, 10).await;
    let is_found = |order: &ord::Order| {
        legs(order).len() == 2 && legs(order).iter().all(|leg| leg.work_version > 0) && !is_asked(order)
    };
    let order = web.order_when(&order.order_id, is_found).await;
    assert_eq!(order.needs[0].state(), ord::NeedState::Sourced);
    assert_eq!((legs(&order)[1].node_id.as_str(), legs(&order)[1].lines[0].quantity), (NODE, 3));
    stage.complete(legs(&order)[1]).await;
    let is_over = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    let end = web.order_when(&order.order_id, is_over).await;
    assert_eq!(minor(end.refund_requested.as_ref()), 0);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "CUP").await.on_hand, 1);
    ops.audit().await;
    stage.stop().await;
}

async fn a_closed_store_refuses_no_order_of_a_marketplace(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node(SECOND).await;
    for node in [NODE, SECOND] {
        ops.stock(node, &[("TEA", 5)]).await;
    }
    close(&ops, SECOND).await;
    let groups = vec![part_at(NODE, &[(1, 1)]), part_at(SECOND, &[(1, 2)])];
    let order = web.place(ord::PlaceOrderRequest { groups, ..sold(&[("TEA", 3, 500)]) }).await;
    assert_eq!((legs(&order).len(), legs(&order)[0].node_id.as_str()), (1, NODE), "{order:#?}");
    assert_eq!((order.needs[0].group, order.needs[0].reason.as_str()), (2, "NODE_CLOSED"));
    let all =
        web.place(ord::PlaceOrderRequest { groups: vec![group_at(SECOND)], ..sold(&[("TEA", 1, 500)]) });
    let all = all.await;
    assert_eq!((legs(&all).len(), all.needs[0].reason.as_str()), (0, "NODE_CLOSED"));
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 1);
    ops.audit().await;
    stage.stop().await;
}
