//! Promises of several groups: legs at several nodes under one token, all or none.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use contract::r#type::v1 as common;
use domain::id::OrderId;
use futures_util::future::join_all;
use jiff::SignedDuration;
use test_world::wire::place;
use test_world::{at, by, fresh, reason, stamp, v7};
use tonic::Status;

use crate::support::{World, cart, group, hold, orders, promises, reservations, store, worlds};

const SHOPPER: &str = "customer/1";
const ORDERS: &str = "service/orders";

async fn two_stores() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store("lon-1", 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-1", "A", 10), ("lon-2", "A", 10), ("lon-2", "B", 10)]).await;
    }
    worlds
}

/// Pieces of a group.
fn of(number: u32, node: &str, lines: &[(u32, i64)]) -> pb::CartGroup {
    let lines =
        lines.iter().map(|(line, quantity)| common::LineQuantity { line: *line, quantity: *quantity });
    pb::CartGroup { lines: lines.collect(), ..group(number, node) }
}

/// Three of A at one store, and one of A and two of B at the other.
fn split() -> pb::HoldPromiseRequest {
    let groups = vec![of(1, "lon-1", &[(1, 3)]), of(2, "lon-2", &[(1, 1), (2, 2)])];
    pb::HoldPromiseRequest { lines: cart(&[("A", 4), ("B", 2)]), groups, ..hold("", &[]) }
}

async fn try_hold(world: &World, request: pb::HoldPromiseRequest) -> Result<pb::Promise, Status> {
    Ok(world.promises().hold_promise(by(SHOPPER, request)).await?.into_inner().promise.unwrap())
}

fn node(leg: &pb::PromiseLeg) -> &str {
    &leg.option.as_ref().unwrap().node_id
}

/// Units of A at each store and of B at the second, and orders in all slots.
async fn taken(world: &World) -> (i64, i64, i64, i64) {
    let reserved = |node, sku| world.inventory.reserved(node, sku);
    (reserved("lon-1", "A"), reserved("lon-2", "A"), reserved("lon-2", "B"), world.taken().await)
}

#[tokio::test]
async fn each_group_has_a_leg_with_its_own_id_lines_and_places() {
    for world in two_stores().await {
        let request = split();
        let promise = try_hold(&world, request.clone()).await.unwrap();
        assert_eq!((promise.state(), promise.lines.len()), (pb::PromiseState::Live, 2));
        let legs: Vec<_> = promise.legs.iter().map(|leg| (leg.group, node(leg), &leg.lines)).collect();
        assert_eq!(legs, [(1, "lon-1", &request.groups[0].lines), (2, "lon-2", &request.groups[1].lines)]);
        for leg in &promise.legs {
            let [place] = leg.places.as_slice() else { panic!("{:?}", leg.places) };
            assert_eq!((place.kind(), place.resource.as_str()), (pb::ResourceKind::Node, node(leg)));
            assert_eq!((place.amount, place.slot_start_time), (1, Some(stamp(at("2026-01-12T10:00:00Z")))));
        }
        let ids: BTreeSet<_> = promise.legs.iter().map(|leg| &leg.fulfillment_id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(taken(&world).await, (3, 1, 2, 2));
        let calls = world.inventory.done::<stock::ReserveRequest>("Reserve");
        assert_eq!((calls.len(), calls[0].reservations.len()), (1, 2), "one call for all legs");
        assert_eq!(try_hold(&world, request).await.unwrap(), promise);
    }
}

#[tokio::test]
async fn a_group_without_stock_or_room_refuses_all_of_them_and_is_named() {
    for world in two_stores().await {
        let mut short = split();
        short.lines[1].quantity = 11;
        short.groups[1].lines[1].quantity = 11;
        let no = try_hold(&world, short.clone()).await.unwrap_err();
        let facts = server::status::facts(&no);
        let named = ["group", "node_id", "sku", "wanted", "available"].map(|name| facts[name].as_str());
        assert_eq!((reason(&no).as_str(), named), ("NO_STOCK", ["2", "lon-2", "B", "11", "10"]));
        assert_eq!(taken(&world).await, (0, 0, 0, 0));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises").await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promise_legs").await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promise_places").await, 0);
        // both claims of one position count
        let groups = vec![of(1, "lon-1", &[(1, 6)]), of(2, "lon-1", &[(1, 5)])];
        let both = pb::HoldPromiseRequest { lines: cart(&[("A", 11)]), groups, ..hold("", &[]) };
        assert_eq!(server::status::facts(&try_hold(&world, both).await.unwrap_err())["wanted"], "11");

        let full = pb::Node { capacity: orders(0), ..store("lon-2", 51.6, -0.1) };
        world.put(vec![full]).await;
        let no = try_hold(&world, split()).await.unwrap_err();
        assert_eq!(
            (reason(&no).as_str(), server::status::facts(&no)["group"].as_str()),
            ("CAPACITY_FULL", "2")
        );
        assert_eq!(taken(&world).await, (0, 0, 0, 0));
    }
}

#[tokio::test]
async fn a_later_group_sees_the_capacity_that_an_earlier_one_takes() {
    for world in worlds().await {
        world.put(vec![pb::Node { capacity: orders(1), ..store("lon-1", 51.5, -0.1) }]).await;
        world.stock(&[("lon-1", "A", 100)]).await;
        let groups = (1..=3).map(|number| of(number, "lon-1", &[(1, 1)])).collect();
        let request = pb::HoldPromiseRequest { lines: cart(&[("A", 3)]), groups, ..hold("", &[]) };
        let promise = try_hold(&world, request).await.unwrap();
        let starts: Vec<_> =
            promise.legs.iter().map(|leg| leg.places[0].slot_start_time.unwrap().seconds).collect();
        assert_eq!((starts[1] - starts[0], starts[2] - starts[1]), (3_600, 3_600));
        assert_eq!(world.slots().await.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    }
}

#[tokio::test]
async fn a_token_is_extended_released_and_ended_with_all_its_legs_in_one_call() {
    for world in two_stores().await {
        let promise = try_hold(&world, split()).await.unwrap();
        let [first, second] = reservations(&promise).try_into().unwrap();
        let until = at("2026-01-12T10:40:00Z");
        let extend = pb::ExtendPromiseRequest {
            request_id: fresh(),
            promise_token: promise.promise_token.clone(),
            expire_time: Some(stamp(until)),
        };
        world.promises().extend_promise(by(SHOPPER, extend)).await.unwrap();
        for id in [&first, &second] {
            assert_eq!(world.inventory.expires(id), Some(until.as_second() + 60));
        }
        assert_eq!(world.inventory.calls("ExtendReservation"), 1);
        let (request_id, promise_token) = (fresh(), promise.promise_token.clone());
        let release = pb::ReleasePromiseRequest { request_id, promise_token };
        let released = world.promises().release_promise(by(SHOPPER, release)).await.unwrap().into_inner();
        assert!(released.promise.unwrap().legs.iter().all(|leg| leg.places.is_empty()));
        assert_eq!((taken(&world).await, world.inventory.calls("ReleaseReservation")), ((0, 0, 0, 0), 1));

        try_hold(&world, split()).await.unwrap();
        assert_eq!(world.taken().await, 2);
        world.pass(SignedDuration::from_mins(16));
        world.run_due().await;
        assert_eq!(world.taken().await, 0, "places of all legs are free again");
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promise_places WHERE is_held").await, 0);
    }
}

#[tokio::test]
async fn a_group_without_a_node_gets_the_nearest_that_has_the_goods() {
    for world in two_stores().await {
        let near = |lat| pb::CartGroup { place: Some(place(lat, -0.1)), ..group(1, "") };
        for (lat, nearest) in [(51.49, "lon-1"), (51.61, "lon-2")] {
            let request = pb::HoldPromiseRequest { groups: vec![near(lat)], ..hold("", &[("A", 1)]) };
            assert_eq!(node(&try_hold(&world, request).await.unwrap().legs[0]), nearest);
        }
        let both = pb::HoldPromiseRequest { groups: vec![near(51.49)], ..hold("", &[("A", 1), ("B", 1)]) };
        assert_eq!(node(&try_hold(&world, both).await.unwrap().legs[0]), "lon-2");
        // The view is behind: inventory has none left at the nearest.
        let left = 10 - world.inventory.reserved("lon-1", "A");
        world.inventory.put("lon-1", "A", 10 - left);
        let request = pb::HoldPromiseRequest { groups: vec![near(51.49)], ..hold("", &[("A", 2)]) };
        let promise = try_hold(&world, request).await.unwrap();
        assert_eq!(node(&promise.legs[0]), "lon-2");
        assert_eq!(world.inventory.reserved("lon-2", "A"), 4);
        let many = pb::HoldPromiseRequest { groups: vec![near(51.49)], ..hold("", &[("A", 99)]) };
        let no = try_hold(&world, many).await.unwrap_err();
        assert_eq!((reason(&no).as_str(), server::status::facts(&no).get("node_id")), ("NO_STOCK", None));
        let unknown = pb::HoldPromiseRequest { groups: vec![near(51.49)], ..hold("", &[("A", 1), ("X", 1)]) };
        let no = try_hold(&world, unknown).await.unwrap_err();
        assert_eq!(server::status::violations(&no)[0].field, "lines[1].sku");
    }
}

#[tokio::test]
async fn a_group_is_ready_within_the_window_in_which_it_is_wanted_or_refused() {
    for world in two_stores().await {
        let wanted = |from: &str, until: &str| {
            let (start_time, end_time) = (Some(stamp(at(from))), Some(stamp(at(until))));
            let wanted_window = Some(common::Window { start_time, end_time });
            let groups = vec![pb::CartGroup { wanted_window, ..group(1, "lon-1") }];
            pb::HoldPromiseRequest { groups, ..hold("", &[("A", 1)]) }
        };
        let tomorrow = wanted("2026-01-13T12:00:00Z", "2026-01-13T13:00:00Z");
        let promise = try_hold(&world, tomorrow).await.unwrap();
        let window = promise.legs[0].option.as_ref().unwrap().window.unwrap();
        assert_eq!(window.start_time, Some(stamp(at("2026-01-13T12:00:00Z"))));
        let too_soon = wanted("2026-01-12T10:00:00Z", "2026-01-12T10:20:00Z");
        assert_eq!(reason(&try_hold(&world, too_soon).await.unwrap_err()), "PAST_CUT_OFF");
    }
}

#[tokio::test]
async fn a_question_is_answered_within_the_window_in_which_the_goods_are_wanted() {
    for world in two_stores().await {
        let window = |from: &str, until: Option<&str>| common::Window {
            start_time: Some(stamp(at(from))),
            end_time: until.map(|until| stamp(at(until))),
        };
        let ask = async |node: &str, wanted_window: Option<common::Window>| {
            let request = pb::GetPromiseRequest {
                lines: cart(&[("A", 1)]),
                methods: vec![common::Method::Pickup.into()],
                node_id: node.to_owned(),
                wanted_window,
                ..Default::default()
            };
            let answer = world.promises().get_promise(by("customer/1", request)).await.unwrap().into_inner();
            let ready = |option: &pb::PromiseOption| option.window.unwrap().start_time.unwrap();
            let refused = answer.refusals.first().map(|refusal| refusal.reasons().next().unwrap());
            (answer.options.iter().map(ready).collect::<Vec<_>>(), refused)
        };
        let noon = "2026-01-13T12:00:00Z";
        for node in ["lon-1", ""] {
            let (soon, none) = ask(node, None).await;
            assert!(!soon.is_empty() && none.is_none());
            let stores = soon.len();
            let (ready, none) = ask(node, Some(window(noon, Some("2026-01-13T13:00:00Z")))).await;
            assert_eq!((ready, none), (vec![stamp(at(noon)); stores], None));
            let (ready, _) = ask(node, Some(window(noon, None))).await;
            assert_eq!(ready, vec![stamp(at(noon)); stores], "a start is a lower bound");
            let (ready, _) = ask(node, Some(window("2026-01-11T12:00:00Z", None))).await;
            assert_eq!(ready, soon, "one that is over is none");
            let too_soon = window("2026-01-12T10:00:00Z", Some("2026-01-12T10:20:00Z"));
            assert_eq!(ask(node, Some(too_soon)).await, (Vec::new(), Some(pb::ReasonCode::PastCutOff)));
        }
    }
}

#[tokio::test]
async fn every_leg_has_its_decision_and_those_of_an_order_are_listed() {
    for world in two_stores().await {
        let promise = try_hold(&world, split()).await.unwrap();
        let order = OrderId::new(v7());
        let confirm = pb::ConfirmPromiseRequest {
            request_id: fresh(),
            promise_token: promise.promise_token.clone(),
            order_id: order.to_string(),
        };
        let mut client = world.promises();
        client.confirm_promise(by(ORDERS, confirm)).await.unwrap();
        let list = pb::ListSourcingDecisionsRequest { order_id: order.to_string() };
        let listed = client.list_sourcing_decisions(by("ops/1", list)).await.unwrap().into_inner().decisions;
        let chosen: Vec<_> =
            listed.iter().map(|one| (one.fulfillment_id.as_str(), one.chosen_node_id.as_str())).collect();
        let legs: Vec<_> = promise.legs.iter().map(|leg| (leg.fulfillment_id.as_str(), node(leg))).collect();
        assert_eq!(chosen, legs);
        let key = pb::get_sourcing_decision_request::Key::FulfillmentId(legs[1].0.to_owned());
        let one = pb::GetSourcingDecisionRequest { key: Some(key) };
        let one = client.get_sourcing_decision(by("ops/1", one)).await.unwrap().into_inner();
        assert_eq!(one.decision.as_ref(), Some(&listed[1]));
    }
}

#[tokio::test]
async fn fields_of_inventory_name_the_lines_of_the_cart() {
    for world in two_stores().await {
        let groups = vec![of(1, "lon-1", &[(1, 1)]), of(2, "lon-2", &[(2, 1), (3, 1)])];
        let lines = cart(&[("A", 1), ("B", 1), ("X", 1)]);
        let no =
            try_hold(&world, pb::HoldPromiseRequest { lines, groups, ..hold("", &[]) }).await.unwrap_err();
        let fields: Vec<_> = server::status::violations(&no).into_iter().map(|one| one.field).collect();
        assert_eq!(fields, ["lines[2].sku"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_callers_for_the_last_pairs_get_both_legs_or_none() {
    for world in worlds().await {
        let roomy = |id, lat| pb::Node { capacity: orders(12), ..store(id, lat, -0.1) };
        world.put(vec![roomy("lon-1", 51.5), roomy("lon-2", 51.6)]).await;
        world.stock(&[("lon-1", "A", 10), ("lon-2", "A", 10)]).await;
        let another = world.another().await;
        let calls = (0..64).map(|n: u32| {
            let mut groups = vec![of(1, "lon-1", &[(1, 1)]), of(2, "lon-2", &[(1, 1)])];
            if n.is_multiple_of(2) {
                groups.reverse();
            }
            let request = pb::HoldPromiseRequest { lines: cart(&[("A", 2)]), groups, ..hold("", &[]) };
            let mut client = if n.is_multiple_of(3) { promises(&another) } else { world.promises() };
            tokio::spawn(async move { client.hold_promise(by(&format!("customer/{n}"), request)).await })
        });
        let mut held = 0;
        for answer in join_all(calls.collect::<Vec<_>>()).await {
            match answer.unwrap() {
                Ok(_) => held += 1,
                Err(no) => assert_eq!(reason(&no), "NO_STOCK", "{no:?}"),
            }
        }
        assert_eq!(held, 10);
        assert_eq!(
            (world.inventory.reserved("lon-1", "A"), world.inventory.reserved("lon-2", "A")),
            (10, 10)
        );
        assert_eq!(world.taken().await, 20);
        let places = "SELECT COUNT(*) AS n FROM promise_places WHERE is_held";
        assert_eq!((world.count(places).await, world.inventory.held()), (20, 20));
    }
}
