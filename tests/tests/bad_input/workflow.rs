//! Commands at the wrong time, twice, after the end, and by the wrong people.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use entrepot::clients::money;
use flows::people::{is_asked, order_at};
use flows::world::{NODE, People, World, fresh};
use tonic::{Code, Status};

use super::Said::{self, No};
use super::{Census, FULFILLMENT, INVENTORY, ORDERS, flaw, is_refused, shop};

/// All that a store can do to a fulfillment order.
const VERBS: [&str; 7] = ["accept", "reject", "start", "pick", "ready", "hand over", "put back"];

/// How far the work has come, and what may happen there. Everything else is refused.
const STAGES: [(&str, &[&str]); 8] = [
    ("offered", &["accept", "reject"]),
    ("accepted", &["start"]),
    ("picking", &["pick"]),
    ("picked", &["ready"]),
    ("ready", &["hand over"]),
    ("done", &[]),
    ("rejected", &[]),
    ("cancelled", &[]),
];

async fn act(store: &People, verb: &str, id: &str, code: &str) -> Result<ful::FulfillmentOrder, Status> {
    let mut work = store.clients.work.clone();
    let (request_id, fulfillment_id) = (fresh(), id.to_owned());
    match verb {
        "accept" => store.accept(id).await,
        "start" => store.start(id).await,
        "pick" => store.pick(id, &[(1, 1, 0)]).await,
        "ready" => store.ready(id).await,
        "hand over" => store.hand_over(id, code, &[]).await,
        "reject" => {
            let reason = ful::RejectReason::TooBusy.into();
            let request = ful::RejectWorkRequest { request_id, fulfillment_id, reason, ..Default::default() };
            Ok(work.reject_work(request).await?.into_inner().fulfillment_order.unwrap_or_default())
        }
        _ => {
            let request = ful::ConfirmPutBackRequest { request_id, fulfillment_id };
            Ok(work.confirm_put_back(request).await?.into_inner().fulfillment_order.unwrap_or_default())
        }
    }
}

/// An order whose work has come that far: its id, that of the work, and its code.
async fn work_at(world: &World, stage: &str) -> (String, String, String) {
    let (web, store) = (world.clients("channel/web"), world.clients("store/sha-01"));
    let order_id = web.place(order_at(NODE, &[("TEA", 1, 100)])).await.order_id;
    let id = web.work_of(&order_id).await.fulfillment_id;
    let steps: &[&str] = match stage {
        "accepted" => &["accept"],
        "picking" => &["accept", "start"],
        "picked" => &["accept", "start", "pick"],
        "ready" | "done" => &["accept", "start", "pick", "ready"],
        "rejected" => &["reject"],
        _ => &[],
    };
    for step in steps {
        act(&store, step, &id, "").await.expect("the way there is open");
    }
    let mut code = "0000-0000".to_owned();
    if matches!(stage, "ready" | "done") {
        code = web.code(&order_id).await;
    }
    if stage == "done" {
        act(&store, "hand over", &id, &code).await.expect("handed over");
    }
    if stage == "cancelled" {
        web.cancel(&order_id, &[]).await.expect("asked");
        web.order_when(&order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
    }
    if stage == "rejected" {
        web.order_when(&order_id, is_asked).await;
    }
    world.settle().await;
    (order_id, id, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_do_nothing_out_of_turn() {
    let (world, ops) = shop().await;
    let store = world.clients("store/sha-01");
    for (stage, allowed) in STAGES {
        let (_, id, code) = work_at(&world, stage).await;
        let before = Census::of(&ops).await;
        for verb in VERBS.iter().filter(|verb| !allowed.contains(verb)) {
            let status = act(&store, verb, &id, &code).await.expect_err("out of turn");
            let reason = match (stage, *verb) {
                ("picked", "pick") => "TOO_MANY_UNITS",
                ("picking", "ready") => "STILL_TO_PICK",
                _ => "WRONG_STATE",
            };
            let said = No(Code::FailedPrecondition, reason);
            assert_eq!(flaw(FULFILLMENT, said, &status), None, "{verb} when {stage}");
        }
        assert_eq!(Census::of(&ops).await, before, "{stage}");
        if let Some(verb) = allowed.last() {
            act(&store, verb, &id, &code).await.unwrap_or_else(|status| panic!("{verb}: {status:?}"));
        }
    }
    world.settle().await;
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_over_takes_no_more_commands() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    for stage in ["done", "rejected", "cancelled"] {
        let (order_id, id, _) = work_at(&world, stage).await;
        if stage == "rejected" {
            web.drop_missing(&order_id).await.expect("all is dropped");
            world.settle().await;
        }
        let before = Census::of(&ops).await;
        let said = No(Code::FailedPrecondition, "ORDER_OVER");
        is_refused(stage, ORDERS, said, web.cancel(&order_id, &[]).await);
        is_refused(stage, ORDERS, said, web.cancel(&order_id, &[(1, 1)]).await);
        let pay = ord::PayOrderRequest {
            request_id: fresh(),
            order_id: order_id.clone(),
            tender_id: "card".to_owned(),
            state: ord::TenderState::Voided.into(),
            amount: Some(money(100, "USD")),
            provider_ref: String::new(),
        };
        let answer = web.clients.orders.clone().pay_order(pay).await;
        is_refused(stage, ORDERS, No(Code::FailedPrecondition, "TENDER_STATE"), answer);
        let code = ful::IssuePickupCodeRequest { request_id: fresh(), fulfillment_id: id };
        let answer = web.clients.work.clone().issue_pickup_code(code).await;
        is_refused(stage, FULFILLMENT, No(Code::FailedPrecondition, "WRONG_STATE"), answer);
        assert_eq!(Census::of(&ops).await, before, "{stage}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_another_store_the_work_does_not_exist() {
    let (world, ops) = shop().await;
    ops.put_node("sha-02").await;
    let other = world.clients("store/sha-02");
    for (stage, _) in STAGES {
        let (order_id, id, code) = work_at(&world, stage).await;
        let before = Census::of(&ops).await;
        let said = No(Code::NotFound, "FULFILLMENT_NOT_FOUND");
        for verb in VERBS {
            is_refused(
                &format!("{verb} when {stage}"),
                FULFILLMENT,
                said,
                act(&other, verb, &id, &code).await,
            );
        }
        let request = ful::GetFulfillmentOrderRequest { fulfillment_id: id };
        let answer = other.clients.work.clone().get_fulfillment_order(request).await;
        is_refused(stage, FULFILLMENT, said, answer);
        assert!(other.of_order(&order_id).await.expect("listed").is_empty(), "{stage}");
        let find = ful::FindByPickupCodeRequest { node_id: NODE.to_owned(), code: code.clone() };
        let answer = other.clients.work.clone().find_by_pickup_code(find).await;
        is_refused(stage, FULFILLMENT, No(Code::NotFound, "PICKUP_CODE_NOT_FOUND"), answer);
        let find = ful::FindByPickupCodeRequest { node_id: "sha-02".to_owned(), code };
        let answer = other.clients.work.clone().find_by_pickup_code(find).await;
        is_refused(stage, FULFILLMENT, No(Code::NotFound, "PICKUP_CODE_NOT_FOUND"), answer);
        assert_eq!(Census::of(&ops).await, before, "{stage}");
    }
    let said = No(Code::NotFound, "NODE_NOT_FOUND");
    let list = ful::ListWorkRequest { node_id: NODE.to_owned(), ..Default::default() };
    is_refused("list", FULFILLMENT, said, other.clients.work.clone().list_work(list).await);
    let watch = ful::WatchWorkRequest { node_id: NODE.to_owned(), ..Default::default() };
    is_refused("watch", FULFILLMENT, said, other.clients.work.clone().watch_work(watch).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_corrects_its_own_stock_alone() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let other = world.clients("store/sha-02");
    let said = No(Code::PermissionDenied, "NOT_YOUR_NODE");
    let adjust = inv::AdjustStockRequest {
        request_id: fresh(),
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        adjustment: inv::Adjustment::Delta.into(),
        quantity: -1,
        reason: "gone".to_owned(),
    };
    let answer = other.clients.inventory.clone().adjust_stock(adjust.clone()).await;
    is_refused("adjust", INVENTORY, said, answer);
    let setting = |node: &str| inv::SafetyStock {
        node_id: node.to_owned(),
        sku: "TEA".to_owned(),
        safety_stock: Some(1),
    };
    let settings =
        inv::SetSafetyStockRequest { request_id: fresh(), settings: vec![setting("sha-02"), setting(NODE)] };
    let answer = other.clients.inventory.clone().set_safety_stock(settings).await;
    is_refused("safety stock", INVENTORY, said, answer);
    assert_eq!(Census::of(&ops).await, before);
    let own = world.clients("store/sha-01").clients.inventory.clone().adjust_stock(adjust).await;
    own.expect("its own stock");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_twice_has_one_effect_and_one_answer() {
    let (world, ops) = shop().await;
    let (web, store) = (world.clients("channel/web"), world.clients("store/sha-01"));
    let (order_id, id, _) = work_at(&world, "offered").await;
    let mut work = store.clients.work.clone();
    let accept = ful::AcceptWorkRequest { request_id: fresh(), fulfillment_id: id.clone() };
    let first = work.accept_work(accept.clone()).await.expect("accepted").into_inner();
    store.start(&id).await.expect("started");
    assert_eq!(work.accept_work(accept.clone()).await.expect("again").into_inner(), first);
    let other = ful::AcceptWorkRequest { fulfillment_id: super::nobody("ful_"), ..accept.clone() };
    let reused: Said = No(Code::InvalidArgument, "REQUEST_ID_REUSED");
    is_refused("another body", FULFILLMENT, reused, work.accept_work(other).await);
    let mut others = world.clients("ops/test").clients.work;
    let said = No(Code::FailedPrecondition, "WRONG_STATE");
    is_refused("another caller's id is another id", FULFILLMENT, said, others.accept_work(accept).await);

    let cancel = ord::CancelOrderRequest {
        request_id: fresh(),
        order_id: order_id.clone(),
        lines: Vec::new(),
        reason: "CHANGED".to_owned(),
    };
    let mut orders = web.clients.orders.clone();
    let first = orders.cancel_order(cancel.clone()).await.expect("asked").into_inner();
    web.order_when(&order_id, |order| order.status() == ord::OrderStatus::Cancelled).await;
    assert_eq!(orders.cancel_order(cancel.clone()).await.expect("again").into_inner(), first);
    let other = ord::CancelOrderRequest { reason: "OTHER".to_owned(), ..cancel };
    is_refused("another body", ORDERS, reused, orders.cancel_order(other).await);
    let order = web.order(&order_id).await;
    assert_eq!(order.refunds.len(), 1, "{:?}", order.refunds);
    ops.audit().await;
    world.stop().await;
}
