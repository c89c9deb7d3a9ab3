//! What a store could not do: it is looked for elsewhere, else the customer is asked, and nothing is lost or held twice.

use contract::fulfillment::v1 as ful;
use contract::google::r#type::LatLng;
use contract::orders::v1 as ord;
use contract::r#type::v1::{Consent, Place};
use entrepot::clients::minor;
use flows::people::{group_at, legs, order_at, part_at};
use flows::stage::Stage;
use flows::world::{NODE, People};

/// Two more stores, at the same place as the first.
const SECOND: &str = "sha-02";
const THIRD: &str = "sha-03";

everywhere! {
    (embedded, kafka, three_processes)
    a_rejected_part_goes_to_another_store_and_the_other_part_is_untouched,
    where_the_platform_chose_the_store_it_chooses_another_one,
    a_customer_who_did_not_consent_is_asked_and_takes_another_store,
    a_customer_who_drops_what_is_missing_gets_its_price_back_and_the_rest_goes_on,
    an_empty_shelf_sends_the_work_of_other_orders_to_another_store,
}

/// A group whose customer takes other stores within that many meters.
fn near(group: ord::NewGroup, radius_m: i64) -> ord::NewGroup {
    ord::NewGroup { consent: Some(Consent { other_node_radius_m: radius_m, ..Consent::default() }), ..group }
}

/// An order of one line, at the first store.
fn one_line(sku: &str, pieces: i64, radius_m: i64) -> ord::PlaceOrderRequest {
    let mut request = order_at(NODE, &[(sku, pieces, 500)]);
    request.groups = vec![near(group_at(NODE), radius_m)];
    request
}

/// The order once its need stands there.
async fn need_is(web: &People, order: &ord::Order, state: ord::NeedState) -> (ord::Order, ord::Need) {
    let stands = |order: &ord::Order| order.needs.last().is_some_and(|need| need.state() == state);
    let order = web.order_when(&order.order_id, stands).await;
    let need = order.needs.last().cloned().unwrap_or_default();
    (order, need)
}

/// The leg that serves a need, once its node has the work.
async fn rerouted(web: &People, order: &ord::Order) -> (ord::Order, ord::Leg) {
    let (order, need) = need_is(web, order, ord::NeedState::Sourced).await;
    let serves = |leg: &ord::Leg| leg.need_id == need.need_id;
    let is_offered =
        |order: &ord::Order| legs(order).into_iter().any(|leg| serves(leg) && leg.work_version > 0);
    let order = web.order_when(&order.order_id, is_offered).await;
    let leg = legs(&order).into_iter().find(|leg| serves(leg)).cloned().unwrap_or_default();
    (order, leg)
}

async fn a_rejected_part_goes_to_another_store_and_the_other_part_is_untouched(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    for node in [SECOND, THIRD] {
        ops.put_node(node).await;
        ops.stock(node, &[("TEA", 10), ("CUP", 5)]).await;
    }
    ops.stock(NODE, &[("TEA", 10)]).await;
    let mut request = order_at(NODE, &[("TEA", 3, 250), ("CUP", 1, 1_200)]);
    request.groups = vec![near(part_at(NODE, &[(1, 1)]), 0), near(part_at(SECOND, &[(1, 2), (2, 1)]), 5_000)];
    let order = web.place(request).await;
    let order = web.offered(&order.order_id).await;
    let failed = legs(&order)[1].clone();
    stage
        .clients("store/sha-02")
        .reject(&failed.fulfillment_id, ful::RejectReason::TooBusy)
        .await
        .expect("rejected");

    let (order, leg) = rerouted(&web, &order).await;
    assert_eq!(leg.node_id, THIRD, "the first store is nearer by its code, and has no cups");
    let need = &order.needs[0];
    assert_eq!(
        (need.reason.as_str(), need.fulfillment_id.as_str()),
        ("REJECTED_TOO_BUSY", &*failed.fulfillment_id)
    );
    assert!(need.excluded.iter().any(|node| node.node_id == SECOND), "{need:#?}");
    assert_eq!((order.status(), minor(order.refund_requested.as_ref())), (ord::OrderStatus::Confirmed, 0));
    let first = legs(&order)[0];
    assert_eq!((first.node_id.as_str(), first.lines[0].quantity), (NODE, 1));
    stage.settle().await;
    for (sku, reserved) in [("TEA", 2), ("CUP", 1)] {
        assert_eq!(ops.position(SECOND, sku).await.reserved, 0, "the old claim is gone");
        assert_eq!(ops.position(THIRD, sku).await.reserved, reserved, "claimed once");
    }
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 1);

    stage.complete(first).await;
    stage.complete(&leg).await;
    let is_over = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    let order = web.order_when(&order.order_id, is_over).await;
    let delivered: Vec<i64> =
        order.lines.iter().map(|line| line.buckets.unwrap_or_default().delivered).collect();
    assert_eq!((delivered, minor(order.refund_requested.as_ref())), (vec![3, 1], 0));
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn where_the_platform_chose_the_store_it_chooses_another_one(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node(SECOND).await;
    for node in [NODE, SECOND] {
        ops.stock(node, &[("TEA", 5)]).await;
    }
    let mut request = one_line("TEA", 2, 0);
    let place = Some(Place { point: Some(LatLng { latitude: 31.23, longitude: 121.47 }) });
    let address = ord::Address { address_ref: "home".to_owned(), place };
    request.groups[0].r#where = Some(ord::new_group::Where::Address(address));
    request.groups[0].consent = None;
    let order = web.place(request).await;
    let order = web.offered(&order.order_id).await;
    let first = legs(&order)[0].clone();
    let store = stage.clients(&format!("store/{}", first.node_id));
    store.reject(&first.fulfillment_id, ful::RejectReason::NodeClosed).await.expect("rejected");
    let (order, leg) = rerouted(&web, &order).await;
    assert_ne!(leg.node_id, first.node_id);
    assert_eq!(minor(order.refund_requested.as_ref()), 0);
    stage.settle().await;
    assert_eq!(ops.position(&first.node_id, "TEA").await.reserved, 0);
    assert_eq!(ops.position(&leg.node_id, "TEA").await.reserved, 2);
    ops.audit().await;
    stage.stop().await;
}

async fn a_customer_who_did_not_consent_is_asked_and_takes_another_store(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node(SECOND).await;
    for node in [NODE, SECOND] {
        ops.stock(node, &[("TEA", 5)]).await;
    }
    let order = web.place(one_line("TEA", 2, 0)).await;
    let order = web.offered(&order.order_id).await;
    let first = legs(&order)[0].clone();
    let store = stage.clients("store/sha-01");
    store.reject(&first.fulfillment_id, ful::RejectReason::TooBusy).await.expect("rejected");
    let (order, need) = need_is(&web, &order, ord::NeedState::Asked).await;
    assert_eq!(order.blocks().collect::<Vec<_>>(), [ord::Block::Stock]);
    assert!(need.resolve_by_time.is_some());
    assert_eq!(minor(order.refund_requested.as_ref()), 0, "nothing is paid back while it is asked");
    let offered = web.options(&order.order_id).await.expect("options are listed");
    let other = offered.iter().find(|option| option.kind() == ord::OptionKind::OtherNode);
    let other = other.unwrap_or_else(|| panic!("no other store: {offered:#?}"));
    assert_eq!((other.node_id.as_str(), other.lines[0].quantity), (SECOND, 2));
    let last = offered.last().map(|option| (option.kind(), minor(option.difference.as_ref())));
    assert_eq!(last, Some((ord::OptionKind::Drop, -1_000)));

    let order = web.choose(&order.order_id, other).await.expect("the option is taken");
    assert!(order.blocks.is_empty(), "{order:#?}");
    let (order, leg) = rerouted(&web, &order).await;
    assert_eq!(leg.node_id, SECOND);
    assert!(web.options(&order.order_id).await.expect("options are listed").is_empty());
    stage.complete(&leg).await;
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 0);
    ops.audit().await;
    stage.stop().await;
}

async fn a_customer_who_drops_what_is_missing_gets_its_price_back_and_the_rest_goes_on(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 5)]).await;
    let order = web.place(one_line("TEA", 3, 5_000)).await;
    let order = web.offered(&order.order_id).await;
    let id = legs(&order)[0].fulfillment_id.clone();
    store.accept(&id).await.expect("accepted");
    store.start(&id).await.expect("started");
    store.pick(&id, &[(1, 2, 1)]).await.expect("one is short");
    let (order, _) = need_is(&web, &order, ord::NeedState::Asked).await;
    let offered = web.options(&order.order_id).await.expect("options are listed");
    let drop = offered.last().expect("there is always a way out");
    assert_eq!((drop.kind(), drop.lines[0].quantity), (ord::OptionKind::Drop, 1));
    let order = web.choose(&order.order_id, drop).await.expect("the option is taken");
    assert_eq!(minor(order.refund_requested.as_ref()), 500);
    store.ready(&id).await.expect("ready");
    let code = web.issue_code(&id).await.expect("a code");
    store.hand_over(&id, &code, &[]).await.expect("handed over");
    let order = web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    let buckets = order.lines[0].buckets.unwrap_or_default();
    assert_eq!((buckets.delivered, buckets.cancelled), (2, 1));
    assert_eq!(minor(order.refund_requested.as_ref()), 500);
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 0);
    ops.audit().await;
    stage.stop().await;
}

async fn an_empty_shelf_sends_the_work_of_other_orders_to_another_store(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.put_node(SECOND).await;
    for node in [NODE, SECOND] {
        ops.stock(node, &[("TEA", 6)]).await;
    }
    let mut orders = Vec::new();
    for _ in 0..3 {
        let order = web.place(one_line("TEA", 1, 5_000)).await;
        orders.push(web.offered(&order.order_id).await);
    }
    let begun = legs(&orders[0])[0].fulfillment_id.clone();
    store.accept(&begun).await.expect("accepted");
    store.start(&begun).await.expect("started");
    store.reject(&legs(&orders[1])[0].fulfillment_id, ful::RejectReason::NotFound).await.expect("rejected");
    for order in &orders[1..] {
        let (order, leg) = rerouted(&web, order).await;
        assert_eq!((leg.node_id.as_str(), minor(order.refund_requested.as_ref())), (SECOND, 0));
    }
    stage.settle().await;
    assert_eq!(ops.position(SECOND, "TEA").await.reserved, 2);
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 1, "what was begun goes on");
    let shown = store.get(&begun).await.expect("the work is there");
    assert_eq!(shown.doubtful_skus, ["TEA"]);
    ops.audit().await;
    stage.stop().await;
}
