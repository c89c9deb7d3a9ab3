//! Buy online, pick up in store, from the order to the last late customer.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::minor;
use flows::people::{order_at, unpaid};
use flows::world::{NODE, World};
use tonic::Code;

/// Each flow on SQLite and the local bus, and again on PostgreSQL and Kafka.
macro_rules! on_both_worlds {
    ($($flow:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $flow() {
                    super::$flow(super::World::embedded().await).await;
                }
            )+
        }

        mod postgres_and_kafka {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $flow() {
                    if let Some(world) = super::World::kafka().await {
                        super::$flow(world).await;
                    }
                }
            )+
        }
    };
}

on_both_worlds! {
    an_order_goes_all_the_way,
    a_short_pick_is_refunded_to_the_cent_and_the_position_waits_to_be_counted,
    a_rejected_order_is_cancelled_refunded_and_its_stock_is_free,
    a_cancel_at_each_step_pays_back_once_and_returns_the_stock,
    a_partial_handover_needs_a_new_code_for_the_rest_and_wrong_codes_are_counted,
    an_unpaid_order_waits_for_its_money_and_gives_it_back_when_it_comes_too_late,
}

/// PostgreSQL with the local bus, the one pair that the others leave out.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_all_the_way_on_postgres_without_a_broker() {
    if let Some(world) = World::postgres().await {
        an_order_goes_all_the_way(world).await;
    }
}

/// Steps of an order's timeline.
async fn steps(world: &World, order_id: &str) -> Vec<String> {
    let request = ord::ListOrderTimelineRequest { order_id: order_id.to_owned(), ..Default::default() };
    let mut orders = world.clients("ops/test").clients.orders;
    let answer = orders.list_order_timeline(request).await.expect("the timeline is there").into_inner();
    for entry in &answer.entries {
        assert!(entry.occurred_time.is_some() && entry.actor.contains('/'), "{entry:?}");
    }
    answer.entries.into_iter().map(|entry| entry.step).collect()
}

/// The whole way on one platform: placed, seen, accepted, picked, ready, collected; stock and timeline right.
async fn an_order_goes_all_the_way(world: World) {
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    let store = world.clients("store/sha-01");
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
    world.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved, tea.atp), (7, 0, 7));
    ops.audit().await;
    let steps = steps(&world, &order.order_id).await;
    for wanted in ["PLACED", "CONFIRMED", "ACCEPTED", "READY"] {
        assert!(steps.iter().any(|step| step == wanted), "{wanted} is missing in {steps:?}");
    }
    drop(stream);
    world.stop().await;
}

async fn a_short_pick_is_refunded_to_the_cent_and_the_position_waits_to_be_counted(world: World) {
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10), ("CUP", 5)]).await;
    let mut request = order_at(NODE, &[("TEA", 3, 333), ("CUP", 1, 1_000)]);
    // 100 off a line of three: shares of 300, 300 and 299 in some order.
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
    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    let refund = minor(order.refund_requested.as_ref());
    assert!((299..=300).contains(&refund), "{refund}");
    let buckets = order.lines[0].buckets.expect("a line has buckets");
    assert_eq!((buckets.delivered, buckets.cancelled), (2, 1));
    world.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert!(tea.count_blocked && tea.atp == 0 && tea.reserved == 0, "{tea:?}");
    ops.audit().await;
    world.stop().await;
}

async fn a_rejected_order_is_cancelled_refunded_and_its_stock_is_free(world: World) {
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 4, 250)])).await;
    let work = web.work_of(&order.order_id).await;
    let request = ful::RejectWorkRequest {
        request_id: flows::world::fresh(),
        fulfillment_id: work.fulfillment_id.clone(),
        reason: i32::from(ful::RejectReason::TooBusy),
        note: String::new(),
    };
    store.clients.work.clone().reject_work(request).await.expect("rejected");
    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
    assert_eq!(minor(order.refund_requested.as_ref()), 1_000);
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 10);
    let again = store.accept(&work.fulfillment_id).await.expect_err("what is over stays over");
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert_eq!(server::status::reason(&again).as_deref(), Some("WRONG_STATE"), "{again:?}");
    ops.audit().await;
    world.stop().await;
}

async fn a_cancel_at_each_step_pays_back_once_and_returns_the_stock(world: World) {
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
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
        world.settle().await;
        if step >= 3 {
            assert_eq!(ops.position(NODE, "TEA").await.reserved, 2, "picked goods wait to be put back");
            let request =
                ful::ConfirmPutBackRequest { request_id: flows::world::fresh(), fulfillment_id: id.clone() };
            store.clients.work.clone().confirm_put_back(request).await.expect("put back");
            world.settle().await;
        }
        let tea = ops.position(NODE, "TEA").await;
        assert_eq!((tea.on_hand, tea.reserved, tea.atp), (100, 0, 100), "step {step}");
        let twice = web.cancel(&order.order_id, &[]).await.expect_err("nothing is left to cancel");
        assert_eq!(twice.code(), Code::FailedPrecondition, "step {step}");
    }
    ops.audit().await;
    world.stop().await;
}

async fn a_partial_handover_needs_a_new_code_for_the_rest_and_wrong_codes_are_counted(world: World) {
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
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
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.on_hand, 7);
    ops.audit().await;
    world.stop().await;
}

async fn an_unpaid_order_waits_for_its_money_and_gives_it_back_when_it_comes_too_late(world: World) {
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let paid = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    let given_up = web.place(unpaid(order_at(NODE, &[("TEA", 3, 500)]))).await;
    assert_eq!(paid.blocks().collect::<Vec<_>>(), [ord::Block::Payment]);
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 5, "held for both");
    let cancelled = web.cancel(&given_up.order_id, &[]).await.expect("no store has it yet");
    assert_eq!(cancelled.outcome(), ord::CancelOutcome::Cancelled);
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 8, "given back");
    let too_late = pay(&world, &given_up).await;
    assert_eq!(minor(too_late.refund_requested.as_ref()), 1_500);
    pay(&world, &paid).await;
    let work = world.clients("store/sha-01").work_of(&paid.order_id).await;
    let paid = web.order_when(&paid.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    assert_eq!((paid.blocks.len(), minor(paid.refund_requested.as_ref())), (0, 0));
    assert_eq!(work.state(), ful::FulfillmentState::Offered);
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2);
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_order_lapses_takes_its_stock_again_when_paid_late_and_expires_for_good() {
    let world = World::virtual_at("2026-03-02T02:00:00Z").await;
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let late = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    let never = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    assert_eq!(late.status(), ord::OrderStatus::Placed);
    assert_eq!(late.blocks().collect::<Vec<_>>(), [ord::Block::Payment]);
    assert_eq!(ops.position(NODE, "TEA").await.atp, 0);
    world.pass(0, 14).await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 0, "held until payment is due");
    world.pass(0, 2).await;
    assert_eq!(web.order(&late.order_id).await.status(), ord::OrderStatus::PaymentLapsed);
    assert_eq!(ops.position(NODE, "TEA").await.atp, 4, "given back");
    let paid = pay(&world, &late).await;
    world.settle().await;
    let paid = web.order(&paid.order_id).await;
    assert_eq!(paid.status(), ord::OrderStatus::Confirmed, "{paid:#?}");
    assert_eq!(ops.position(NODE, "TEA").await.atp, 2);
    world.pass(0, 10).await;
    assert_eq!(web.order(&never.order_id).await.status(), ord::OrderStatus::Expired);
    let too_late = pay(&world, &never).await;
    assert_eq!(minor(too_late.refund_requested.as_ref()), 1_000, "later money only goes back");
    assert_eq!(too_late.status(), ord::OrderStatus::Expired);
    world.settle().await;
    ops.audit().await;
    world.stop().await;
}

async fn pay(world: &World, order: &ord::Order) -> ord::Order {
    let request = ord::PayOrderRequest {
        request_id: flows::world::fresh(),
        order_id: order.order_id.clone(),
        tender_id: "card".to_owned(),
        state: i32::from(ord::TenderState::Captured),
        amount: order.total.clone(),
        provider_ref: "late".to_owned(),
    };
    let mut orders = world.clients("channel/web").clients.orders;
    orders.pay_order(request).await.expect("the payment is taken").into_inner().order.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_silent_loses_the_order_and_the_customer_is_refunded() {
    let world = World::virtual_at("2026-03-02T02:00:00Z").await;
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 2, 500)])).await;
    world.pass(0, 16).await;
    let order = web.order(&order.order_id).await;
    assert_eq!(order.status(), ord::OrderStatus::Cancelled, "{order:#?}");
    assert_eq!(minor(order.refund_requested.as_ref()), 1_000);
    assert_eq!(ops.position(NODE, "TEA").await.atp, 4);
    let work = web.work_of(&order.order_id).await;
    assert_eq!(work.state(), ful::FulfillmentState::TimedOut);
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goods_that_nobody_collects_go_back_on_the_shelf_unless_the_customer_comes_first() {
    let world = World::virtual_at("2026-03-02T02:00:00Z").await;
    let (ops, web, store) =
        (world.clients("ops/test"), world.clients("channel/web"), world.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let gone = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let late = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    let gone_work = store.prepare(&web.work_of(&gone.order_id).await).await;
    let late_work = store.prepare(&web.work_of(&late.order_id).await).await;
    world.pass(73, 0).await;
    assert!(web.work_of(&gone.order_id).await.is_expired);
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2, "claimed until it is put back");
    let code = web.code(&late.order_id).await;
    store.hand_over(&late_work.fulfillment_id, &code, &[]).await.expect("a late customer may still collect");
    let request = ful::ConfirmPutBackRequest {
        request_id: flows::world::fresh(),
        fulfillment_id: gone_work.fulfillment_id.clone(),
    };
    store.clients.work.clone().confirm_put_back(request).await.expect("put back");
    world.settle().await;
    let gone = web.order(&gone.order_id).await;
    assert_eq!((gone.status(), minor(gone.refund_requested.as_ref())), (ord::OrderStatus::Cancelled, 500));
    let late = web.order(&late.order_id).await;
    assert_eq!((late.status(), minor(late.refund_requested.as_ref())), (ord::OrderStatus::Completed, 0));
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved, tea.atp), (3, 0, 3));
    ops.audit().await;
    world.stop().await;
}
