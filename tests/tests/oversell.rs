//! No unit is ever sold twice: races through the public API on PostgreSQL.

use std::collections::HashMap;

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::config::Config;
use flows::people::{hold_at, order_at};
use flows::world::{NODE, World, fresh};
use tokio::task::JoinSet;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_buyers_and_a_hundred_units_make_exactly_a_hundred_orders() {
    let Some(world) = World::postgres().await else { return };
    let ops = world.clients("ops/test");
    ops.stock(NODE, &[("HOT", 100)]).await;
    let mut buyers = JoinSet::new();
    // Ten to a connection: a shell allows 1,024 open files where nobody asked for more.
    let shops: Vec<_> = (0..50).map(|_| world.clients("channel/web")).collect();
    for buyer in 0..500 {
        let web = shops[buyer % shops.len()].clone();
        buyers.spawn(async move { web.insist(order_at(NODE, &[("HOT", 1, 990)])).await });
    }
    let (mut sold, mut refused) = (0, 0);
    while let Some(answer) = buyers.join_next().await {
        match answer.expect("no buyer panics") {
            Ok(_) => sold += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
                assert_eq!(server::status::reason(&status).as_deref(), Some("NO_STOCK"));
                refused += 1;
            }
        }
    }
    assert_eq!((sold, refused), (100, 400));
    world.settle().await;
    let hot = ops.position(NODE, "HOT").await;
    assert_eq!((hot.on_hand, hot.reserved, hot.atp), (100, 100, 0));
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_customer_who_asks_for_everything_leaves_the_rest_to_the_others() {
    let Some(world) = World::postgres().await else { return };
    let ops = world.clients("ops/test");
    ops.stock(NODE, &[("HOT", 1_000)]).await;
    let hold = |quantity| hold_at(NODE, "HOT", quantity);
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let (greedy, request) = (world.clients("customer/greedy"), hold(10));
        calls.spawn(async move { greedy.clients.promise.clone().hold_promise(request).await });
    }
    let mut tokens = Vec::new();
    while let Some(answer) = calls.join_next().await {
        match answer.expect("no caller panics") {
            Ok(answer) => tokens.push(answer.into_inner().promise.expect("a promise").promise_token),
            Err(status) => {
                assert_eq!(server::status::reason(&status).as_deref(), Some("HOLD_QUOTA"), "{status:?}");
                let facts = server::status::facts(&status);
                assert_eq!((facts["used"].as_str(), facts["limit"].as_str()), ("100", "100"));
            }
        }
    }
    assert_eq!(tokens.len(), 10, "ten times ten pieces");
    assert_eq!(ops.position(NODE, "HOT").await.reserved, 100);
    // Nor does it get any further with orders that it does not pay.
    let unpaid = |name: &str| {
        let mut order = order_at(NODE, &[("HOT", 40, 990)]);
        order.tenders[0].state = i32::from(ord::TenderState::Due);
        ord::PlaceOrderRequest { customer_ref: name.to_owned(), channel_order_id: String::new(), ..order }
    };
    let no = world
        .clients("customer/greedy")
        .try_place(unpaid("greedy"))
        .await
        .expect_err("nothing is left for it");
    assert_eq!(server::status::reason(&no).as_deref(), Some("HOLD_QUOTA"), "{no:?}");
    let slow = world.clients("customer/slow");
    let first = slow.place(unpaid("slow")).await;
    slow.place(unpaid("slow")).await;
    let no = slow.try_place(unpaid("slow")).await.expect_err("a third one that waits for its money");
    let facts = server::status::facts(&no);
    assert_eq!((facts["what"].as_str(), facts["used"].as_str()), ("UNITS_PER_SKU", "80"));
    ops.pay(&first).await;
    world.settle().await;
    slow.place(unpaid("slow")).await;
    let other = world.clients("customer/other");
    other.clients.promise.clone().hold_promise(hold(10)).await.expect("the others buy");
    world.clients("channel/web").place(order_at(NODE, &[("HOT", 500, 990)])).await;
    let release = ful::ReleasePromiseRequest { request_id: fresh(), promise_token: tokens.remove(0) };
    let greedy = world.clients("customer/greedy");
    greedy.clients.promise.clone().release_promise(release).await.expect("it is its own");
    greedy.clients.promise.clone().hold_promise(hold(10)).await.expect("what was released counts no more");
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn baskets_in_any_order_never_deadlock() {
    // Small batches of several writers, so that many transactions want the same positions at once.
    let rush = |config: &mut Config| (config.inventory.writers, config.inventory.batch) = (8, 2);
    let Some(world) = World::postgres_with(rush).await else { return };
    let ops = world.clients("ops/test");
    let names: Vec<String> = (0..20).map(|index| format!("SKU-{index:02}")).collect();
    let stock: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 40)).collect();
    ops.stock(NODE, &stock).await;
    let mut buyers = JoinSet::new();
    let shops: Vec<_> = (0..50).map(|_| world.clients("channel/web")).collect();
    for seed in 0..200 {
        let web = shops[usize::try_from(seed).expect("a small number") % shops.len()].clone();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut names = names.clone();
        rng.shuffle(&mut names);
        buyers.spawn(async move {
            let lines: Vec<(&str, i64, i64)> =
                names[..5].iter().map(|name| (name.as_str(), 1, 100)).collect();
            web.insist(order_at(NODE, &lines)).await
        });
    }
    let mut sold = 0;
    while let Some(answer) = buyers.join_next().await {
        match answer.expect("no buyer panics") {
            Ok(_) => sold += 1,
            Err(status) => {
                assert_eq!(server::status::reason(&status).as_deref(), Some("NO_STOCK"), "{status:?}");
            }
        }
    }
    world.settle().await;
    let mut claimed = 0;
    for name in &names {
        let position = ops.position(NODE, name).await;
        assert!(position.reserved <= 40, "{position:?}");
        claimed += position.reserved;
    }
    assert_eq!(claimed, sold * 5);
    ops.audit().await;
    assert_eq!(world.stop_and_count_deadlocks().await, 0, "none, not even one that was retried");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_sku_twice_in_a_basket_is_summed() {
    let Some(world) = World::postgres().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 3)]).await;
    let refused =
        web.try_place(order_at(NODE, &[("TEA", 2, 100), ("TEA", 2, 100)])).await.expect_err("four of three");
    assert_eq!(server::status::reason(&refused).as_deref(), Some("NO_STOCK"), "{refused:?}");
    web.place(order_at(NODE, &[("TEA", 2, 100), ("TEA", 1, 100)])).await;
    assert_eq!(ops.position(NODE, "TEA").await.atp, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_id_thirty_two_ways_at_once_has_one_effect_and_equal_answers() {
    let Some(world) = World::postgres().await else { return };
    let ops = world.clients("ops/test");
    ops.stock(NODE, &[("TEA", 100)]).await;
    let request = order_at(NODE, &[("TEA", 2, 100)]);
    let mut buyers = JoinSet::new();
    for _ in 0..32 {
        let (web, request) = (world.clients("channel/web"), request.clone());
        buyers.spawn(async move {
            // A duplicate may be refused with a time to retry; then it retries.
            loop {
                match web.insist(request.clone()).await {
                    Err(status) if status.code() == Code::Aborted => {
                        flows::people::pause().await;
                    }
                    answer => break answer,
                }
            }
        });
    }
    let mut answers: HashMap<String, usize> = HashMap::new();
    while let Some(answer) = buyers.join_next().await {
        let order = answer.expect("no buyer panics").expect("each gets the answer");
        *answers.entry(format!("{order:?}")).or_default() += 1;
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    world.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2);
    let mut other = order_at(NODE, &[("TEA", 1, 100)]);
    other.request_id.clone_from(&request.request_id);
    let refused = world.clients("channel/web").try_place(other).await.expect_err("another body");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(server::status::reason(&refused).as_deref(), Some("REQUEST_ID_REUSED"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_who_vanishes_leaves_a_whole_order_or_none() {
    let Some(world) = World::postgres().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 1_000)]).await;
    let mut rng = fastrand::Rng::with_seed(11);
    let mut asked = Vec::new();
    for _ in 0..150 {
        let request = order_at(NODE, &[("TEA", 1, 100)]);
        asked.push(request.clone());
        let caller = web.clone();
        let patience = std::time::Duration::from_micros(rng.u64(50..15_000));
        let _ = tokio::time::timeout(patience, caller.try_place(request)).await;
    }
    // Each asks again with the same id: there is one order per request, whether the first call came through or not.
    for request in asked {
        let channel_order_id = request.channel_order_id.clone();
        let order = web.insist(request).await.expect("the second try gets its answer");
        assert_eq!(order.channel_order_id, channel_order_id);
    }
    world.settle().await;
    let tea = ops.position(NODE, "TEA").await;
    assert_eq!(tea.reserved, 150, "{tea:?}");
    ops.audit().await;
    let probe = web.place(order_at(NODE, &[("TEA", 1, 100)])).await;
    assert_eq!(web.order(&probe.order_id).await.order_id, probe.order_id, "an acknowledged order exists");
    world.stop().await;
}
