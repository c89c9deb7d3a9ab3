//! Fewer goods than claims: an empty shelf and a late till sale, over the public API. Who loses is exact, and everybody who
//! is concerned hears of it.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use entrepot::clients::{minor, timestamp};
use flows::people::{hold_at, is_asked, order_at};
use flows::stage::Stage;
use flows::world::{NODE, People, fresh};
use test_world::eventually;

everywhere! {
    (embedded, kafka, three_processes)
    an_empty_shelf_ends_other_work_that_has_not_begun_and_is_shown_where_it_has,
    a_late_sale_costs_a_cart_and_an_offered_order_but_not_what_is_being_picked,
}

/// The order's work, once inventory has confirmed its claim.
async fn placed(web: &People, pieces: i64) -> (ord::Order, ful::FulfillmentOrder) {
    let order = web.place(order_at(NODE, &[("TEA", pieces, 250)])).await;
    let is_confirmed = |order: &ord::Order| order.status() == ord::OrderStatus::Confirmed;
    web.order_when(&order.order_id, is_confirmed).await;
    let work = web.work_of(&order.order_id).await;
    (order, work)
}

/// Somebody begins to pick, and inventory has heard of it.
async fn start(stage: &Stage, store: &People, work: &ful::FulfillmentOrder) {
    store.accept(&work.fulfillment_id).await.expect("accepted");
    store.start(&work.fulfillment_id).await.expect("started");
    stage.settle().await;
}

/// No other store has them and the customer does without.
async fn lost(web: &People, order: &ord::Order, pieces: i64) {
    web.order_when(&order.order_id, is_asked).await;
    let order = web.drop_missing(&order.order_id).await.expect("all is dropped");
    assert_eq!(order.status(), ord::OrderStatus::Cancelled, "{order:#?}");
    assert_eq!(minor(order.refund_requested.as_ref()), pieces * 250);
    assert_eq!(order.lines[0].buckets.unwrap_or_default().cancelled, pieces);
}

async fn an_empty_shelf_ends_other_work_that_has_not_begun_and_is_shown_where_it_has(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    let store = stage.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 20)]).await;
    let (finder, refused) = placed(&web, 1).await;
    let (other, _) = placed(&web, 2).await;
    let (started, work) = placed(&web, 3).await;
    start(&stage, &store, &work).await;
    let watch = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    let mut stream = store.clients.work.clone().watch_work(watch).await.expect("watched").into_inner();

    store.reject(&refused.fulfillment_id, ful::RejectReason::NotFound).await.expect("rejected");
    lost(&web, &finder, 1).await;
    lost(&web, &other, 2).await;
    let shown = loop {
        let change = stream.message().await.expect("the stream is open").expect("the stream goes on");
        let order = change.item.and_then(|item| item.fulfillment_order);
        if let Some(order) = order.filter(|order| !order.doubtful_skus.is_empty()) {
            break order;
        }
    };
    assert_eq!((&shown.fulfillment_id, shown.doubtful_skus), (&work.fulfillment_id, vec!["TEA".to_owned()]));
    stage.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved, tea.count_blocked), (20, 3, true));

    store.pick(&work.fulfillment_id, &[(1, 3, 0)]).await.expect("they were there after all");
    store.ready(&work.fulfillment_id).await.expect("made ready");
    let is_ready = |order: &ord::Order| order.lines[0].buckets.unwrap_or_default().ready == 3;
    web.order_when(&started.order_id, is_ready).await;
    ops.audit().await;
    stage.stop().await;
}

async fn a_late_sale_costs_a_cart_and_an_offered_order_but_not_what_is_being_picked(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    let store = stage.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 6)]).await;
    let (started, work) = placed(&web, 2).await;
    start(&stage, &store, &work).await;
    let (offered, _) = placed(&web, 2).await;
    let hold = hold_at(NODE, "TEA", 2);
    let cart = web.clients.promise.clone().hold_promise(hold).await.expect("held").into_inner().promise;
    let token = cart.unwrap_or_default().promise_token;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 6);

    let sale = inv::DeltaRow {
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        delta: -7,
        kind: i32::from(inv::MovementKind::Sale),
        reference: fresh(),
        source_time: Some(timestamp(jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24))),
    };
    let request =
        inv::ApplyDeltasRequest { request_id: fresh(), source: "till".to_owned(), rows: vec![sale] };
    ops.clients.inventory.clone().apply_deltas(request).await.expect("booked");
    // the claims are gone with the sale, not later
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved), (-1, 2));
    lost(&web, &offered, 2).await;
    let token_is_over = async || {
        let request = ful::GetPromiseTokenRequest { promise_token: token.clone() };
        let answer =
            web.clients.promise.clone().get_promise_token(request).await.expect("there").into_inner();
        match answer.promise.unwrap_or_default().state() {
            ful::PromiseState::Released => Ok(()),
            state => Err(format!("the promise is {state:?}")),
        }
    };
    eventually(token_is_over).await;
    let mut late = order_at(NODE, &[("TEA", 2, 250)]);
    late.groups.clear();
    late.promise_token = token;
    web.try_place(late).await.expect_err("its promise is over");

    store.pick(&work.fulfillment_id, &[(1, 2, 0)]).await.expect("the goods are in hand");
    store.ready(&work.fulfillment_id).await.expect("made ready");
    let code = web.code(&started.order_id).await;
    store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    let is_over = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    web.order_when(&started.order_id, is_over).await;
    stage.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!((tea.on_hand, tea.reserved), (-3, 0));
    ops.audit().await;
    stage.stop().await;
}
