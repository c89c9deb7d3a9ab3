//! Buy online, pick up in store, from the order to the last late customer.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::minor;
use flows::people::{is_asked, order_at, unpaid};
use flows::stage::Stage;
use flows::world::{NODE, fresh};
use tonic::Code;

everywhere! {
    (embedded, kafka, three_processes)
    an_order_goes_all_the_way,
    a_short_pick_is_refunded_to_the_cent_once_dropped_and_the_position_waits_to_be_counted,
    a_rejected_order_is_refunded_once_it_is_dropped_and_its_stock_is_free,
    a_cancel_at_each_step_pays_back_once_and_returns_the_stock,
    a_partial_handover_needs_a_new_code_for_the_rest_and_wrong_codes_are_counted,
    an_unpaid_order_waits_for_its_money_and_gives_it_back_when_it_comes_too_late,
}

/// PostgreSQL with the local bus, the one pair that the others leave out.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_all_the_way_on_postgres_without_a_broker() {
    if let Some(stage) = Stage::postgres().await {
        Box::pin(an_order_goes_all_the_way(stage)).await;
    }
}

/// Steps of an order's timeline.
async fn steps(stage: &Stage, order_id: &str) -> Vec<String> {
    let request = ord::ListOrderTimelineRequest { order_id: order_id.to_owned(), ..Default::default() };
    let mut orders = stage.clients("ops/test").clients.orders;
    let answer = orders.list_order_timeline(request).await.expect("the timeline is there").into_inner();
    for entry in &answer.entries {
        assert!(entry.occurred_time.is_some() && entry.actor.contains('/'), "{entry:?}");
    }
    answer.entries.into_iter().map(|entry| entry.step).collect()
}

/// The whole way on one platform: placed, seen, accepted, picked, ready, collected; stock and timeline right.
async fn an_order_goes_all_the_way(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    let store = stage.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 10), ("CUP", 5)]).await;
    let request = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    let mut stream = store.clients.work.clone().watch_work(request).await.expect("watched").into_inner();

    let order = web.place(order_at(NODE, &[("TEA", 3, 250), ("CUP", 1, 1_200)])).await;
    assert_eq!(minor(order.total.as_ref()), 1_950);
    let work = loop {
        let change = stream.message().await.expect("the stream is open").expect("the stream goes on");
        if let Some(work) = change.item.and_then(|item| item.fulfillment_order) {
            break work;
        }
    };
    assert_eq!(work.order_id, order.order_id);
    assert_eq!(work.state(), ful::FulfillmentState::Offered);
    let confirmed =
        web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    assert!(confirmed.blocks.is_empty());
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 3);

    let ready = store.prepare(&work).await;
    assert_eq!(ready.state(), ful::FulfillmentState::ReadyForPickup);
    assert!(ready.keep_until_time.is_some());
    let code = web.code(&order.order_id).await;
    assert!(code.chars().filter(char::is_ascii_alphanumeric).count() >= 8);
    let done = store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    assert_eq!(done.state(), ful::FulfillmentState::Done);

    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    assert_eq!(minor(order.refund_requested.as_ref()), 0);
    stage.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved, tea.atp), (7, 0, 7));
    ops.audit().await;
    let steps = steps(&stage, &order.order_id).await;
    for wanted in ["PLACED", "CONFIRMED", "ACCEPTED", "READY"] {
        assert!(steps.iter().any(|step| step == wanted), "{wanted} is missing in {steps:?}");
    }
    drop(stream);
    stage.stop().await;
}

async fn a_short_pick_is_refunded_to_the_cent_once_dropped_and_the_position_waits_to_be_counted(
    stage: Stage,
) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10), ("CUP", 5)]).await;
    let mut request = order_at(NODE, &[("TEA", 3, 333), ("CUP", 1, 1_000)]);
    // 100 off a line of three: shares of 300, 300 and 299.
    request.lines[0].discount = Some(entrepot::clients::money(100, "USD"));
    let total = entrepot::clients::money(1_899, "USD");
    request.total = Some(total.clone());
    request.tenders[0].amount = Some(total);
    let order = web.place(request).await;
    let work = web.work_of(&order.order_id).await;
    store.accept(&work.fulfillment_id).await.expect("accepted");
    store.start(&work.fulfillment_id).await.expect("started");
    store.pick(&work.fulfillment_id, &[(1, 2, 1), (2, 1, 0)]).await.expect("picked");
    store.ready(&work.fulfillment_id).await.expect("ready");
    let code = web.code(&order.order_id).await;
    store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    web.order_when(&order.order_id, is_asked).await;
    web.drop_missing(&order.order_id).await.expect("the missing piece is dropped");
    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    let refund = minor(order.refund_requested.as_ref());
    assert_eq!(refund, 299, "the first pieces are the dearer ones, so the last one is missing");
    let buckets = order.lines[0].buckets.expect("a line has buckets");
    assert_eq!((buckets.delivered, buckets.cancelled), (2, 1));
    stage.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert!(tea.count_blocked && tea.atp == 0 && tea.reserved == 0, "{tea:?}");
    ops.audit().await;
    stage.stop().await;
}

async fn a_rejected_order_is_refunded_once_it_is_dropped_and_its_stock_is_free(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 4, 250)])).await;
    let work = web.work_of(&order.order_id).await;
    store.reject(&work.fulfillment_id, ful::RejectReason::TooBusy).await.expect("rejected");
    web.order_when(&order.order_id, is_asked).await;
    let order = web.drop_missing(&order.order_id).await.expect("all is dropped");
    assert_eq!(order.status(), ord::OrderStatus::Cancelled, "{order:#?}");
    assert_eq!(minor(order.refund_requested.as_ref()), 1_000);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 10);
    let again = store.accept(&work.fulfillment_id).await.expect_err("what is over stays over");
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert_eq!(server::status::reason(&again).as_deref(), Some("WRONG_STATE"), "{again:?}");
    ops.audit().await;
    stage.stop().await;
}

async fn a_cancel_at_each_step_pays_back_once_and_returns_the_stock(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 100)]).await;
    for step in 0..5 {
        let order = web.place(order_at(NODE, &[("TEA", 2, 500)])).await;
        let work = web.work_of(&order.order_id).await;
        let id = &work.fulfillment_id;
        if step >= 1 {
            store.accept(id).await.expect("accepted");
        }
        if step >= 2 {
            store.start(id).await.expect("started");
        }
        if step >= 3 {
            store.pick(id, &[(1, 2, 0)]).await.expect("picked");
        }
        if step >= 4 {
            store.ready(id).await.expect("ready");
        }
        web.cancel(&order.order_id, &[]).await.expect("asked");
        let order =
            web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
        assert_eq!(minor(order.refund_requested.as_ref()), 1_000, "step {step}");
        stage.settle().await;
        if step >= 3 {
            assert_eq!(ops.position(NODE, "TEA").await.reserved, 2, "picked goods wait to be put back");
            let request = ful::ConfirmPutBackRequest { request_id: fresh(), fulfillment_id: id.clone() };
            store.clients.work.clone().confirm_put_back(request).await.expect("put back");
            stage.settle().await;
        }
        let tea = ops.position(NODE, "TEA").await;
        assert_eq!((tea.on_hand, tea.reserved, tea.atp), (100, 0, 100), "step {step}");
        let twice = web.cancel(&order.order_id, &[]).await.expect_err("nothing is left to cancel");
        assert_eq!(twice.code(), Code::FailedPrecondition, "step {step}");
    }
    ops.audit().await;
    stage.stop().await;
}

async fn a_partial_handover_needs_a_new_code_for_the_rest_and_wrong_codes_are_counted(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 3, 500)])).await;
    let work = store.prepare(&web.work_of(&order.order_id).await).await;
    let id = &work.fulfillment_id;
    let first = web.code(&order.order_id).await;
    let partly = store.hand_over(id, &first, &[(1, 2)]).await.expect("two of three");
    assert_eq!(partly.state(), ful::FulfillmentState::PartlyCollected);
    let reused = store.hand_over(id, &first, &[]).await.expect_err("a code opens once");
    assert_eq!(reused.code(), Code::FailedPrecondition, "{reused:?}");
    assert_eq!(server::status::reason(&reused).as_deref(), Some("NO_PICKUP_CODE"), "{reused:?}");
    let second = web.code(&order.order_id).await;
    for _ in 0..5 {
        let wrong = store.hand_over(id, "AAAA-AAAA", &[]).await.expect_err("a wrong code");
        assert_eq!(server::status::reason(&wrong).as_deref(), Some("WRONG_PICKUP_CODE"), "{wrong:?}");
    }
    let locked = store.hand_over(id, &second, &[]).await.expect_err("five wrong tries lock the code");
    assert_eq!(locked.code(), Code::FailedPrecondition, "{locked:?}");
    assert_eq!(server::status::reason(&locked).as_deref(), Some("PICKUP_CODE_LOCKED"), "{locked:?}");
    let third = web.code(&order.order_id).await;
    let done = store.hand_over(id, &third, &[]).await.expect("the rest");
    assert_eq!(done.state(), ful::FulfillmentState::Done);
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.on_hand, 7);
    ops.audit().await;
    stage.stop().await;
}

async fn an_unpaid_order_waits_for_its_money_and_gives_it_back_when_it_comes_too_late(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let paid = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    let given_up = web.place(unpaid(order_at(NODE, &[("TEA", 3, 500)]))).await;
    assert_eq!(paid.blocks().collect::<Vec<_>>(), [ord::Block::Payment]);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 5, "held for both");
    let cancelled = web.cancel(&given_up.order_id, &[]).await.expect("no store has it yet");
    assert_eq!(cancelled.outcome(), ord::CancelOutcome::Cancelled);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 8, "given back");
    let too_late = web.pay(&given_up).await;
    assert_eq!(minor(too_late.refund_requested.as_ref()), 1_500);
    web.pay(&paid).await;
    let work = stage.clients("store/sha-01").work_of(&paid.order_id).await;
    let paid = web.order_when(&paid.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    assert_eq!((paid.blocks.len(), minor(paid.refund_requested.as_ref())), (0, 0));
    assert_eq!(work.state(), ful::FulfillmentState::Offered);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2);
    ops.audit().await;
    stage.stop().await;
}
