//! Promises: what is offered and why not, and the life of a token that holds stock and capacity.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::get_sourcing_decision_request::Key;
use contract::r#type::v1 as common;
use domain::id::OrderId;
use futures_util::future::join_all;
use jiff::SignedDuration;
use test_world::wire::place;
use test_world::{at, by, minutes, reason, stamp, v7};
use tonic::Code;

use crate::support::{World, cart, group, hold, option, orders, promises, reservations, store, worlds};

const SHOPPER: &str = "customer/1";
const ORDERS: &str = "service/orders";

/// Two stores in London, A in both, B in the second only.
async fn two_stores() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store("lon-1", 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-1", "A", 10), ("lon-2", "A", 10), ("lon-2", "B", 10)]).await;
    }
    worlds
}

async fn held(world: &World, request: &pb::HoldPromiseRequest) -> pb::Promise {
    let answer = world.promises().hold_promise(by(SHOPPER, request.clone())).await.unwrap();
    answer.into_inner().promise.unwrap()
}

async fn refused(world: &World, request: pb::HoldPromiseRequest) -> tonic::Status {
    world.promises().hold_promise(by(SHOPPER, request)).await.unwrap_err()
}

async fn get(world: &World, promise: &pb::Promise) -> pb::Promise {
    let request = pb::GetPromiseTokenRequest { promise_token: promise.promise_token.clone() };
    let answer = world.promises().get_promise_token(by(SHOPPER, request)).await.unwrap();
    answer.into_inner().promise.unwrap()
}

async fn ask(world: &World, request: pb::GetPromiseRequest) -> pb::GetPromiseResponse {
    world.promises().get_promise(by(SHOPPER, request)).await.unwrap().into_inner()
}

fn reservation(promise: &pb::Promise) -> String {
    let [only] = reservations(promise).try_into().unwrap();
    only
}

fn extend(promise: &pb::Promise, until: jiff::Timestamp) -> pb::ExtendPromiseRequest {
    pb::ExtendPromiseRequest {
        request_id: v7().to_string(),
        promise_token: promise.promise_token.clone(),
        expire_time: Some(stamp(until)),
    }
}

fn release(promise: &pb::Promise) -> pb::ReleasePromiseRequest {
    pb::ReleasePromiseRequest { request_id: v7().to_string(), promise_token: promise.promise_token.clone() }
}

fn confirm(promise: &pb::Promise, order: OrderId) -> pb::ConfirmPromiseRequest {
    pb::ConfirmPromiseRequest {
        request_id: v7().to_string(),
        promise_token: promise.promise_token.clone(),
        order_id: order.to_string(),
    }
}

#[tokio::test]
async fn options_come_best_first_and_each_no_has_its_reason() {
    for world in two_stores().await {
        let request = pb::GetPromiseRequest {
            lines: cart(&[("A", 2)]),
            place: Some(place(51.59, -0.1)),
            methods: vec![common::Method::Pickup.into(), common::Method::Express.into()],
            ..Default::default()
        };
        let answer = ask(&world, request.clone()).await;
        let nodes: Vec<&str> = answer.options.iter().map(|option| option.node_id.as_str()).collect();
        assert_eq!(nodes, ["lon-2", "lon-1"]);
        assert_eq!(answer.options[0].window.unwrap().start_time, Some(stamp(at("2026-01-12T10:30:00Z"))));
        assert_eq!(answer.refusals.len(), 1);
        assert_eq!(answer.refusals[0].method, i32::from(common::Method::Express));
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::MethodNotOffered)]);

        let too_many = pb::GetPromiseRequest { lines: cart(&[("A", 11), ("B", 1)]), ..request.clone() };
        let answer = ask(&world, too_many).await;
        assert!(answer.options.is_empty());
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::NoStock)]);
        assert_eq!(answer.refusals[0].skus, ["A"]);

        let only = pb::GetPromiseRequest {
            lines: cart(&[("A", 1), ("B", 1)]),
            node_id: "lon-1".to_owned(),
            ..Default::default()
        };
        let answer = ask(&world, only.clone()).await;
        assert!(answer.options.is_empty());
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::NoStock)]);
        assert_eq!(answer.refusals[0].skus, ["B"]);
        assert_eq!(answer.refusals[0].alternatives[0].node_id, "lon-2");

        let nowhere = pb::GetPromiseRequest { node_id: "lon-9".to_owned(), ..only };
        let answer = ask(&world, nowhere).await;
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::UnknownNode)]);
        assert_eq!(answer.refusals[0].alternatives[0].node_id, "lon-2");

        let unknown = pb::GetPromiseRequest { lines: cart(&[("A", 1), ("Z", 1)]), ..request };
        let answer = ask(&world, unknown).await;
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::UnknownSku)]);
        assert_eq!(answer.refusals[0].skus, ["Z"]);
    }
}

#[tokio::test]
async fn a_kit_is_promised_where_its_parts_are() {
    for world in two_stores().await {
        world.inventory.put_kit("K", &[("A", 2), ("B", 1)]);
        let request = pb::GetPromiseRequest { lines: cart(&[("K", 5)]), ..Default::default() };
        let answer = ask(&world, request.clone()).await;
        assert_eq!(answer.options.len(), 1, "{answer:?}");
        assert_eq!(answer.options[0].node_id, "lon-2");
        let answer = ask(&world, pb::GetPromiseRequest { lines: cart(&[("K", 6)]), ..request }).await;
        assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::NoStock)]);
    }
}

#[tokio::test]
async fn every_bad_field_of_a_cart_is_named() {
    let world = worlds().await.remove(0);
    let mut lines = cart(&[("A", 0), (" ", 1), ("A", 2_000_000)]);
    lines[2].line = 1;
    let request = pb::GetPromiseRequest { lines, max_options: 51, ..Default::default() };
    let refused = world.promises().get_promise(by(SHOPPER, request)).await.unwrap_err();
    let fields: Vec<String> = server::status::violations(&refused).into_iter().map(|v| v.field).collect();
    assert_eq!(
        fields,
        ["lines[0].quantity", "lines[1].sku", "lines[2].line", "lines[2].quantity", "max_options"]
    );
    let nothing = pb::HoldPromiseRequest { request_id: v7().to_string(), ..Default::default() };
    let refused = world.promises().hold_promise(by(SHOPPER, nothing)).await.unwrap_err();
    let fields: Vec<String> = server::status::violations(&refused).into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["lines", "groups"]);
    let odd_id = pb::HoldPromiseRequest { request_id: "1".to_owned(), ..hold("lon-1", &[("A", 1)]) };
    let refused = world.promises().hold_promise(by(SHOPPER, odd_id)).await.unwrap_err();
    assert_eq!(server::status::violations(&refused)[0].field, "request_id");
}

#[tokio::test]
async fn a_hold_takes_stock_and_capacity_under_one_token() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        assert_eq!(promise.state(), pb::PromiseState::Live);
        assert_eq!(promise.expire_time, Some(stamp(at("2026-01-12T10:15:00Z"))));
        assert_eq!(promise.lines, cart(&[("A", 3)]));
        assert_eq!(option(&promise).node_id, "lon-1");
        assert_eq!(get(&world, &promise).await, promise);
        assert_eq!(world.inventory.reserved("lon-1", "A"), 3);
        assert_eq!(world.taken().await, 1);
    }
}

#[tokio::test]
async fn the_same_request_many_times_at_once_has_one_effect() {
    for world in two_stores().await {
        let request = hold("lon-1", &[("A", 3)]);
        let another = world.another().await;
        let calls =
            (0..32).map(|i| {
                let mut client = if i % 2 == 0 { world.promises() } else { promises(&another) };
                let request = request.clone();
                async move {
                    client.hold_promise(by(SHOPPER, request)).await.unwrap().into_inner().promise.unwrap()
                }
            });
        let answers = join_all(calls).await;
        for answer in &answers {
            assert_eq!(*answer, answers[0]);
        }
        assert_eq!((world.inventory.held(), world.taken().await), (1, 1));
        let other_body = pb::HoldPromiseRequest { lines: cart(&[("A", 4)]), ..request.clone() };
        assert_eq!(reason(&refused(&world, other_body).await), "REQUEST_ID_REUSED");
        let somebody_else = world.promises().hold_promise(by("customer/2", request)).await.unwrap();
        assert_ne!(somebody_else.into_inner().promise.unwrap().promise_token, answers[0].promise_token);
    }
}

#[tokio::test]
async fn a_refused_reserve_leaves_nothing_and_names_what_lacks() {
    for world in two_stores().await {
        let request = hold("lon-1", &[("A", 11)]);
        world.inventory.put("lon-2", "A", 20);
        world.service.load_stock().await.unwrap();
        let no = refused(&world, request.clone()).await;
        assert_eq!((no.code(), reason(&no).as_str()), (Code::FailedPrecondition, "NO_STOCK"));
        let facts = server::status::facts(&no);
        assert_eq!((facts["sku"].as_str(), facts["available"].as_str()), ("A", "10"));
        assert_eq!(facts["alternatives"], "lon-2");
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises").await, 0);
        assert_eq!((world.taken().await, world.inventory.held()), (0, 0));
        // A "no" is not kept: the same request may succeed later.
        world.inventory.put("lon-1", "A", 11);
        assert_eq!(held(&world, &request).await.state(), pb::PromiseState::Live);
    }
}

#[tokio::test]
async fn an_unknown_sku_is_named_by_its_line() {
    for world in two_stores().await {
        let no = refused(&world, hold("lon-1", &[("A", 1), ("Z", 1)])).await;
        assert_eq!(no.code(), Code::InvalidArgument);
        assert_eq!(server::status::violations(&no)[0].field, "lines[1].sku");
        assert_eq!(world.taken().await, 0);
    }
}

#[tokio::test]
async fn a_hold_that_can_not_be_says_why() {
    for world in two_stores().await {
        let no = refused(&world, hold("lon-9", &[("A", 1)])).await;
        assert_eq!((no.code(), reason(&no).as_str()), (Code::FailedPrecondition, "UNKNOWN_NODE"));
        let express = pb::CartGroup { method: common::Method::Express.into(), ..group(1, "lon-1") };
        let express = pb::HoldPromiseRequest { groups: vec![express], ..hold("lon-1", &[("A", 1)]) };
        assert_eq!(reason(&refused(&world, express).await), "METHOD_NOT_OFFERED");
        let long = pb::HoldPromiseRequest { ttl: Some(minutes(61)), ..hold("lon-1", &[("A", 1)]) };
        assert_eq!(server::status::violations(&refused(&world, long.clone()).await)[0].field, "ttl");
        let by_orders = world.promises().hold_promise(by(ORDERS, long)).await;
        assert!(by_orders.is_ok(), "a service may hold for longer");
    }
}

#[tokio::test]
async fn no_slot_takes_more_than_its_node_allows() {
    for world in worlds().await {
        // Open until noon and then never again: two slots of four.
        let mut node = store("lon-1", 51.5, -0.1);
        node.closing = Some(pb::TemporaryClosing {
            from_time: Some(stamp(at("2026-01-12T12:00:00Z"))),
            ..Default::default()
        });
        world.put(vec![node]).await;
        world.stock(&[("lon-1", "A", 100)]).await;
        let another = world.another().await;
        let calls = (0..24).map(|i| {
            let mut client = if i % 2 == 0 { world.promises() } else { promises(&another) };
            async move { client.hold_promise(by(SHOPPER, hold("lon-1", &[("A", 1)]))).await }
        });
        let answers = join_all(calls).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 8);
        for no in answers.into_iter().filter_map(Result::err) {
            assert_eq!(reason(&no), "CAPACITY_FULL", "{no:?}");
        }
        assert!(world.slots().await.values().all(|used| *used == 4));
        assert_eq!(world.inventory.held(), 8);
    }
}

#[tokio::test]
async fn a_promise_that_no_order_has_taken_ends_and_its_stock_is_free_at_once() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        assert_eq!(world.next_due().await, Some(at("2026-01-12T10:15:00Z")));
        world.pass(SignedDuration::from_secs(899));
        assert_eq!(world.run_due().await, 0);
        world.pass(SignedDuration::from_secs(1));
        assert!(world.run_due().await > 0);
        assert_eq!(get(&world, &promise).await.state(), pb::PromiseState::Expired);
        assert_eq!(world.taken().await, 0);
        assert_eq!(world.inventory.held(), 0);
        assert_eq!(world.run_due().await, 0);
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn the_stock_of_a_promise_that_a_service_holds_ends_by_itself_a_little_later() {
    for world in two_stores().await {
        // One that the service holds itself, and one that it has taken.
        let request = hold("lon-1", &[("A", 1)]);
        let own = world.promises().hold_promise(by(ORDERS, request)).await.unwrap().into_inner();
        let taken = held(&world, &hold("lon-1", &[("A", 1)])).await;
        let same = by(ORDERS, extend(&taken, at("2026-01-12T10:15:00Z")));
        world.promises().extend_promise(same).await.unwrap();
        world.pass(SignedDuration::from_mins(15));
        world.run_due().await;
        for promise in [own.promise.unwrap(), taken] {
            assert_eq!(world.inventory.ttl(&reservation(&promise)), Some(15 * 60 + 60));
        }
        // Given back, it would be lost to an order that was placed in time and is on its way.
        assert_eq!((world.inventory.held(), world.taken().await), (2, 0));
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn a_hold_whose_answer_was_lost_goes_on_when_it_is_asked_again() {
    for world in two_stores().await {
        world.inventory.lose_answers("Reserve", 3);
        let request = hold("lon-1", &[("A", 3)]);
        let lost = refused(&world, request.clone()).await;
        assert_eq!((lost.code(), reason(&lost).as_str()), (Code::Unavailable, "INVENTORY_UNAVAILABLE"));
        world.pass(SignedDuration::from_secs(5));
        let promise = held(&world, &request).await;
        assert_eq!(promise.state(), pb::PromiseState::Live);
        assert_eq!((world.inventory.held(), world.taken().await), (1, 1));
        assert_eq!(world.inventory.reserved("lon-1", "A"), 3);
    }
}

#[tokio::test]
async fn a_crash_between_capacity_and_stock_is_undone_by_time() {
    for world in two_stores().await {
        world.inventory.lose_answers("Reserve", 3);
        let request = hold("lon-1", &[("A", 3)]);
        refused(&world, request.clone()).await;
        assert_eq!((world.inventory.held(), world.taken().await), (1, 1), "half done");
        world.pass(SignedDuration::from_secs(30));
        world.run_due().await;
        assert_eq!((world.inventory.held(), world.taken().await), (0, 0));
        // The hold undid itself, so the same request holds again, under a new token.
        assert_eq!(held(&world, &request).await.state(), pb::PromiseState::Live);
        assert_eq!((world.inventory.held(), world.taken().await), (1, 1));
    }
}

#[tokio::test]
async fn stock_is_given_back_when_inventory_is_there_again() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        world.inventory.go_down(true);
        let released = world.promises().release_promise(by(SHOPPER, release(&promise))).await.unwrap();
        assert_eq!(released.into_inner().promise.unwrap().state(), pb::PromiseState::Released);
        assert_eq!((world.taken().await, world.inventory.held()), (0, 1));
        world.inventory.go_down(false);
        let due = world.next_due().await.unwrap();
        world.clock.advance_to(due);
        assert_eq!(world.run_due().await, 1);
        assert_eq!(world.inventory.held(), 0);
    }
}

#[tokio::test]
async fn a_promise_is_changed_only_by_who_holds_it() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        let mut client = world.promises();
        let no = client.release_promise(by("customer/2", release(&promise))).await.unwrap_err();
        assert_eq!((no.code(), reason(&no).as_str()), (Code::NotFound, "PROMISE_NOT_FOUND"));
        let longer = extend(&promise, at("2026-01-12T10:30:00Z"));
        let no = client.extend_promise(by("customer/2", longer)).await.unwrap_err();
        assert_eq!(no.code(), Code::NotFound);
        client.release_promise(by("ops/1", release(&promise))).await.unwrap();
    }
}

#[tokio::test]
async fn a_short_loss_of_an_answer_is_not_felt() {
    for world in two_stores().await {
        world.inventory.lose_answers("Reserve", 2);
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        assert_eq!(promise.state(), pb::PromiseState::Live);
        assert_eq!(world.inventory.reserved("lon-1", "A"), 3);
    }
}

#[tokio::test]
async fn a_process_that_does_not_know_how_full_a_node_is_finds_the_free_slot() {
    for world in worlds().await {
        let node = pb::Node { capacity: orders(1), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![node]).await;
        world.stock(&[("lon-1", "A", 100)]).await;
        let another = world.another().await;
        for _ in 0..7 {
            held(&world, &hold("lon-1", &[("A", 1)])).await;
        }
        let eighth = promises(&another).hold_promise(by(SHOPPER, hold("lon-1", &[("A", 1)]))).await.unwrap();
        let eighth = eighth.into_inner().promise.unwrap();
        let option = option(&eighth);
        assert_eq!(option.window.unwrap().start_time, Some(stamp(at("2026-01-12T17:30:00Z"))));
    }
}

#[tokio::test]
async fn a_release_is_told_the_same_when_it_is_repeated() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        let request = release(&promise);
        let first = world.promises().release_promise(by(SHOPPER, request.clone())).await.unwrap();
        let again = world.promises().release_promise(by(SHOPPER, request)).await.unwrap();
        assert_eq!(first.into_inner(), again.into_inner());
        let again = world.promises().release_promise(by(SHOPPER, release(&promise))).await.unwrap();
        assert_eq!(again.into_inner().promise.unwrap().state(), pb::PromiseState::Released);
        assert_eq!((world.taken().await, world.inventory.held()), (0, 0));
    }
}

#[tokio::test]
async fn a_shopper_may_extend_to_an_hour_in_all_and_the_stock_outlives_it() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        world.pass(SignedDuration::from_mins(10));
        let hour = at("2026-01-12T11:00:00Z");
        let longer = world.promises().extend_promise(by(SHOPPER, extend(&promise, hour))).await.unwrap();
        assert_eq!(longer.into_inner().promise.unwrap().expire_time, Some(stamp(hour)));
        assert_eq!(world.inventory.expires(&reservation(&promise)), Some(hour.as_second() + 60));
        let more = hour + SignedDuration::from_secs(1);
        let no = world.promises().extend_promise(by(SHOPPER, extend(&promise, more))).await.unwrap_err();
        assert_eq!(reason(&no), "PROMISE_TOO_LONG");
        world.promises().extend_promise(by(ORDERS, extend(&promise, more))).await.unwrap();
        let earlier = extend(&promise, at("2026-01-12T10:20:00Z"));
        let same = world.promises().extend_promise(by(ORDERS, earlier)).await.unwrap();
        assert_eq!(same.into_inner().promise.unwrap().expire_time, Some(stamp(more)));
        world.pass(SignedDuration::from_mins(51));
        let late = extend(&promise, more + SignedDuration::from_mins(20));
        let no = world.promises().extend_promise(by(ORDERS, late)).await.unwrap_err();
        assert_eq!(reason(&no), "PROMISE_EXPIRED", "also before the timer saw it");
    }
}

#[tokio::test]
async fn the_decision_behind_a_promise_can_be_read_back() {
    for world in two_stores().await {
        let promise = held(&world, &hold("lon-1", &[("A", 3)])).await;
        let order = OrderId::new(v7());
        let mut client = world.promises();
        client.confirm_promise(by(ORDERS, confirm(&promise, order))).await.unwrap();
        let by_order = pb::ListSourcingDecisionsRequest { order_id: order.to_string() };
        let decisions = client.list_sourcing_decisions(by("ops/1", by_order)).await.unwrap();
        let [decision] = decisions.into_inner().decisions.try_into().unwrap();
        assert_eq!(decision.fulfillment_id, promise.legs[0].fulfillment_id);
        assert_eq!(decision.chosen_node_id, "lon-1");
        assert_eq!(decision.order_id, order.to_string());
        assert_eq!(decision.rule_version, fulfillment::SourcingConfig::default().version);
        let nodes: Vec<&str> = decision.candidates.iter().map(|c| c.node_id.as_str()).collect();
        assert_eq!(nodes, ["lon-1", "lon-2"]);
        assert!(decision.candidates[0].parts.contains_key("distance"));
        let leg = promise.legs[0].fulfillment_id.clone();
        for key in [Key::DecisionId(leg.replace("ful_", "src_")), Key::FulfillmentId(leg)] {
            let by_id = pb::GetSourcingDecisionRequest { key: Some(key) };
            let same = client.get_sourcing_decision(by("ops/1", by_id)).await.unwrap().into_inner();
            assert_eq!(same.decision.unwrap(), decision);
        }
        let leg = &promise.legs[0].fulfillment_id;
        for (reader, sees) in [("store/lon-1", true), ("store/lon-2", false), ("channel/web", false)] {
            let by_leg = pb::GetSourcingDecisionRequest { key: Some(Key::FulfillmentId(leg.clone())) };
            let one = client.get_sourcing_decision(by(reader, by_leg)).await;
            assert_eq!(one.is_ok(), sees, "{reader}: {one:?}");
            let all = pb::ListSourcingDecisionsRequest { order_id: order.to_string() };
            let all = client.list_sourcing_decisions(by(reader, all)).await.unwrap().into_inner();
            assert_eq!(all.decisions.len(), usize::from(sees), "{reader}");
        }
        // The channel whose order it is sees it when it holds the promise itself, or as soon as a node has the work.
        let mine =
            pb::HoldPromiseRequest { on_behalf_of: "channel/app".to_owned(), ..hold("lon-1", &[("A", 3)]) };
        let mine = client.hold_promise(by(ORDERS, mine)).await.unwrap().into_inner().promise.unwrap();
        crate::react::deliver(&world, OrderId::new(v7()), crate::react::placed(&mine, false)).await;
        let leg = &mine.legs[0].fulfillment_id;
        for (reader, sees) in [("channel/app", true), ("channel/web", true), ("channel/other", false)] {
            let by_leg = pb::GetSourcingDecisionRequest { key: Some(Key::FulfillmentId(leg.clone())) };
            assert_eq!(client.get_sourcing_decision(by(reader, by_leg)).await.is_ok(), sees, "{reader}");
        }
    }
}

#[tokio::test]
async fn promises_wait_for_the_view_of_the_stock() {
    let world = worlds().await.remove(0);
    world.put(vec![store("lon-1", 51.5, -0.1)]).await;
    world.inventory.go_down(true);
    let clock = world.clock.clone();
    let peers = fulfillment::Peers { inventory: world.inventory.peer() };
    let config = fulfillment::Config::default();
    let blind = fulfillment::Fulfillment::new(world.db.reopen().await, clock, config, peers).await.unwrap();
    let request = pb::GetPromiseRequest { lines: cart(&[("A", 1)]), ..Default::default() };
    let no = promises(&blind).get_promise(by(SHOPPER, request)).await.unwrap_err();
    assert_eq!((no.code(), reason(&no).as_str()), (Code::Unavailable, "STOCK_VIEW_LOADING"));
}
