//! What happens when nobody does anything: nobody pays, nobody accepts, nobody collects.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::minor;
use flows::people::{is_asked, order_at, unpaid};
use flows::stage::Stage;
use flows::world::{NODE, fresh};
use test_world::eventually;

everywhere! {
    (embedded_in_no_time, kafka_in_no_time, three_processes)
    an_unpaid_order_lapses_takes_its_stock_again_when_paid_late_and_expires_for_good,
    a_store_that_stays_silent_loses_the_order_and_a_customer_who_does_not_answer_is_refunded,
    a_store_that_lets_three_offers_run_out_gets_no_promises_until_it_answers,
    goods_that_nobody_collects_go_back_on_the_shelf_unless_the_customer_comes_first,
    payments_just_after_their_time_keep_the_last_units,
}

async fn an_unpaid_order_lapses_takes_its_stock_again_when_paid_late_and_expires_for_good(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let late = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    let never = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    assert_eq!(late.status(), ord::OrderStatus::Placed);
    assert_eq!(late.blocks().collect::<Vec<_>>(), [ord::Block::Payment]);
    assert_eq!(ops.position(NODE, "TEA").await.atp, 0);
    stage.pass(0, 14).await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 0, "held until payment is due");
    stage.pass(0, 2).await;
    assert_eq!(web.order(&late.order_id).await.status(), ord::OrderStatus::PaymentLapsed);
    assert_eq!(ops.position(NODE, "TEA").await.atp, 4, "given back");
    let paid = web.pay(&late).await;
    stage.settle().await;
    let paid = web.order(&paid.order_id).await;
    assert_eq!(paid.status(), ord::OrderStatus::Confirmed, "{paid:#?}");
    assert_eq!(ops.position(NODE, "TEA").await.atp, 2);
    stage.pass(0, 10).await;
    assert_eq!(web.order(&never.order_id).await.status(), ord::OrderStatus::Expired);
    let too_late = web.pay(&never).await;
    assert_eq!(minor(too_late.refund_requested.as_ref()), 1_000, "later money only goes back");
    assert_eq!(too_late.status(), ord::OrderStatus::Expired);
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn a_store_that_stays_silent_loses_the_order_and_a_customer_who_does_not_answer_is_refunded(
    stage: Stage,
) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 2, 500)])).await;
    stage.pass(0, 16).await;
    let order = web.order_when(&order.order_id, is_asked).await;
    stage.settle().await;
    assert_eq!(minor(order.refund_requested.as_ref()), 0, "the customer is asked first");
    assert_eq!(ops.position(NODE, "TEA").await.atp, 4, "nothing is held for what is asked");
    stage.pass(24, 1).await;
    let is_over = |order: &ord::Order| order.status() == ord::OrderStatus::Cancelled;
    let order = web.order_when(&order.order_id, is_over).await;
    assert_eq!(minor(order.refund_requested.as_ref()), 1_000);
    let work = web.work_of(&order.order_id).await;
    assert_eq!(work.state(), ful::FulfillmentState::TimedOut);
    ops.audit().await;
    stage.stop().await;
}

async fn a_store_that_lets_three_offers_run_out_gets_no_promises_until_it_answers(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 9)]).await;
    for _ in 0..3 {
        web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
        stage.pass(0, 16).await;
    }
    let refused = web.try_place(order_at(NODE, &[("TEA", 1, 500)])).await.expect_err("the store is silent");
    assert_eq!(test_world::reason(&refused), "NODE_SILENT", "{refused:?}");
    // One more chance once the time is over, which it takes.
    stage.pass(4, 1).await;
    let order = eventually(async || web.try_place(order_at(NODE, &[("TEA", 1, 500)])).await).await;
    store.accept(&web.work_of(&order.order_id).await.fulfillment_id).await.expect("accepted");
    web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    stage.pass(0, 16).await;
    web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    ops.audit().await;
    stage.stop().await;
}

async fn goods_that_nobody_collects_go_back_on_the_shelf_unless_the_customer_comes_first(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let gone = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let late = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let gone_work = store.prepare(&web.work_of(&gone.order_id).await).await;
    let late_work = store.prepare(&web.work_of(&late.order_id).await).await;
    stage.pass(73, 0).await;
    assert!(web.work_of(&gone.order_id).await.is_expired);
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2, "claimed until it is put back");
    let code = web.code(&late.order_id).await;
    store.hand_over(&late_work.fulfillment_id, &code, &[]).await.expect("a late customer may still collect");
    let request =
        ful::ConfirmPutBackRequest { request_id: fresh(), fulfillment_id: gone_work.fulfillment_id.clone() };
    store.clients.work.clone().confirm_put_back(request).await.expect("put back");
    stage.settle().await;
    let gone = web.order(&gone.order_id).await;
    assert_eq!((gone.status(), minor(gone.refund_requested.as_ref())), (ord::OrderStatus::Cancelled, 500));
    let late = web.order(&late.order_id).await;
    assert_eq!((late.status(), minor(late.refund_requested.as_ref())), (ord::OrderStatus::Completed, 0));
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved, tea.atp), (3, 0, 3));
    ops.audit().await;
    stage.stop().await;
}

/// The payments come a moment after their time, while the claims of their own orders are being given up.
async fn payments_just_after_their_time_keep_the_last_units(stage: Stage) {
    const ORDERS: i64 = 24;
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", ORDERS)]).await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(web.place(unpaid(order_at(NODE, &[("TEA", 1, 500)]))).await);
    }
    stage.skip(15).await;
    let paid = orders.iter().map(|order| web.pay(order));
    let paid = futures_util::future::join_all(paid).await;
    stage.settle().await;
    for order in paid {
        let order = web.order(&order.order_id).await;
        assert_eq!(
            (order.status(), minor(order.refund_requested.as_ref())),
            (ord::OrderStatus::Confirmed, 0)
        );
    }
    assert_eq!(ops.position(NODE, "TEA").await.reserved, ORDERS);
    ops.audit().await;
    stage.stop().await;
}
