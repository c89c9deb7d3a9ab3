//! Policies in every process: in force, rolled back, explained, and refused where they would be ambiguous.

use std::time::{Duration, Instant};

use contract::fulfillment::v1 as ful;
use contract::r#type::v1::Method;
use entrepot::clients::instant;
use flows::people::{order_at, unpaid};
use flows::policies::{at_node, clocks, everything, group_of, in_group, safety_stock};
use flows::stage::Stage;
use flows::world::{NODE, People, fresh};
use test_world::until;
use tonic::{Code, Status};

everywhere! {
    (embedded, kafka, three_processes)
    a_version_is_in_force_in_every_process_until_it_is_rolled_back,
    a_storm_over_a_group_of_nodes_pauses_what_they_promise_and_passes,
    of_two_callers_at_once_one_is_refused_as_ambiguous,
}

const CLOCKS: ful::PolicyKind = ful::PolicyKind::Clocks;

/// In how many minutes a new order that is not paid yet must be paid.
async fn minutes_to_pay(web: &People) -> i64 {
    let order = web.place(unpaid(order_at(NODE, &[("TEA", 1, 250)]))).await;
    let [due, placed] = [order.payment_due_time, order.place_time].map(|at| instant(at.as_ref()));
    due.expect("it is to be paid").duration_since(placed.expect("it was placed")).as_mins()
}

/// How many pieces can be claimed of all that is there.
async fn kept_back(ops: &People) -> i64 {
    let position = ops.position(NODE, "TEA").await;
    position.on_hand - position.reserved - position.atp
}

async fn a_version_is_in_force_in_every_process_until_it_is_rolled_back(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 1_000)]).await;
    stage.settle().await;
    let before = (minutes_to_pay(&web).await, kept_back(&ops).await);
    let (pay, accept) = (before.0 + 7, 9);
    let of_all = ops.in_force(everything(), clocks(pay + 1, 11)).await;
    let of_node = ops.in_force(at_node(NODE), clocks(pay, accept)).await;
    let stock = ops.in_force(at_node(NODE), safety_stock(40)).await;
    assert_eq!([of_all.version, of_node.version, stock.version], [1, 2, 3]);
    let activated = Instant::now();
    let mut took: Vec<(&str, Duration)> = Vec::new();
    until("fulfillment has it", async || ops.version_of(CLOCKS, at_node(NODE), "accept").await == 2).await;
    took.push(("fulfillment", activated.elapsed()));
    until("inventory has it", async || kept_back(&ops).await == 40).await;
    took.push(("inventory", activated.elapsed()));
    until("orders has it", async || minutes_to_pay(&web).await == pay).await;
    took.push(("orders", activated.elapsed()));
    eprintln!("in force after {took:?}");

    // Who wins and who loses, field by field.
    let explained = ops.explain(CLOCKS, at_node(NODE)).await;
    let ids: Vec<&str> = explained.candidates.iter().map(|policy| policy.policy_id.as_str()).collect();
    assert_eq!(ids, [of_node.policy_id.as_str(), of_all.policy_id.as_str()]);
    let origin = explained.origins.iter().find(|origin| origin.field == "accept").expect("it is explained");
    assert_eq!((&origin.policy_id, &origin.loser_ids), (&of_node.policy_id, &vec![of_all.policy_id.clone()]));

    // A clock that runs keeps its end.
    let paid = web.place(order_at(NODE, &[("TEA", 1, 250)])).await;
    let work = web.work_of(&paid.order_id).await;
    ops.roll_back(CLOCKS, at_node(NODE)).await;
    ops.roll_back(CLOCKS, everything()).await;
    ops.roll_back(ful::PolicyKind::SafetyStock, at_node(NODE)).await;
    until("inventory is back", async || kept_back(&ops).await == before.1).await;
    until("orders is back", async || minutes_to_pay(&web).await == before.0).await;
    assert_eq!(ops.version_of(CLOCKS, at_node(NODE), "accept").await, 0);
    stage.settle().await;
    let same = ops.work_of(&paid.order_id).await;
    assert_eq!(same.accept_due_time, work.accept_due_time);
    ops.audit().await;
    stage.stop().await;
}

/// Whether a node promises tea for pickup.
async fn promises(who: &People, node_id: &str) -> bool {
    let request = ful::GetPromiseRequest {
        lines: vec![ful::CartLine { line: 1, sku: "TEA".to_owned(), quantity: 1 }],
        node_id: node_id.to_owned(),
        methods: vec![Method::Pickup.into()],
        ..ful::GetPromiseRequest::default()
    };
    let answer = who.clients.promise.clone().get_promise(request).await.expect("an answer").into_inner();
    !answer.options.is_empty()
}

async fn a_storm_over_a_group_of_nodes_pauses_what_they_promise_and_passes(stage: Stage) {
    let (ops, web) = (stage.clients("ops/test"), stage.clients("channel/web"));
    ops.put_node("inland").await;
    for node in [NODE, "inland"] {
        ops.stock(node, &[("TEA", 10)]).await;
    }
    stage.settle().await;
    for node in [NODE, "inland"] {
        until("the stock is known", async || promises(&web, node).await).await;
    }
    ops.put_group(group_of("coast", &[NODE])).await.expect("the group is made");
    let storm = ful::ScenarioPolicy {
        name: "STORM".to_owned(),
        paused_methods: vec![Method::Pickup.into()],
        ..ful::ScenarioPolicy::default()
    };
    let storm = ful::policy::Body::Scenario(storm);
    let version = ops.in_force(in_group("coast"), storm).await.version;
    until("the storm is there", async || !promises(&web, NODE).await).await;
    assert!(promises(&web, "inland").await);
    let kind = ful::PolicyKind::Scenario;
    assert_eq!(ops.version_of(kind, at_node(NODE), "paused_methods").await, version);
    assert_eq!(ops.version_of(kind, at_node("inland"), "paused_methods").await, 0);
    ops.roll_back(kind, in_group("coast")).await;
    until("the storm has passed", async || promises(&web, NODE).await).await;
    stage.stop().await;
}

async fn of_two_callers_at_once_one_is_refused_as_ambiguous(stage: Stage) {
    let ops = stage.clients("ops/test");
    let mut refusals: Vec<Status> = Vec::new();
    for round in 0..10 {
        let [a, b] = ["a", "b"].map(|name| format!("{name}-{round}"));
        for group in [&a, &b] {
            ops.put_group(group_of(group, &[NODE])).await.expect("the group is made");
        }
        let of = |group: &str| ful::PolicyScope { channel: format!("web-{round}"), ..in_group(group) };
        let (one, two) =
            tokio::join!(ops.put_policy(of(&a), clocks(10, 5)), ops.put_policy(of(&b), clocks(10, 6)),);
        refusals.extend([one.err(), two.err()].into_iter().flatten());
        assert_eq!(refusals.len(), round + 1, "{refusals:?}");
    }
    for refused in refusals {
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(test_world::reason(&refused), "POLICY_AMBIGUOUS");
    }
    // A group cannot grow into another one either, no matter who asks.
    let [c, d] = ["c", "d"].map(|name| format!("{name}-{}", fresh()));
    ops.put_group(group_of(&c, &[NODE])).await.expect("the group is made");
    ops.put_group(group_of(&d, &[])).await.expect("the group is made");
    ops.put_policy(in_group(&c), clocks(10, 5)).await.expect("the version is kept");
    ops.put_policy(in_group(&d), clocks(10, 6)).await.expect("the version is kept");
    let refused = ops.put_group(group_of(&d, &[NODE])).await.expect_err("both would name the node");
    assert_eq!(test_world::reason(&refused), "POLICY_AMBIGUOUS");
    stage.stop().await;
}
