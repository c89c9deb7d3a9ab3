//! The terms of nodes: cut-offs by weekday, capacity in units, tags, and pop-up nodes.

use contract::fulfillment::v1 as pb;
use contract::google::r#type::{Date, DayOfWeek, TimeOfDay};
use futures_util::future::join_all;
use test_world::wire::{place, time};
use test_world::{at, by, reason, stamp};
use tonic::Status;

use crate::support::{World, cart, group, hold, option, promises, store, units, worlds};

const SHOPPER: &str = "customer/1";

/// When a cart of that many pieces of A could be ready at lon-1, and until when it is kept; else why not.
async fn window(world: &World, pieces: i64) -> Result<(String, String), pb::ReasonCode> {
    let request = pb::GetPromiseRequest {
        lines: cart(&[("A", pieces)]),
        node_id: "lon-1".to_owned(),
        ..Default::default()
    };
    let answer = world.promises().get_promise(by(SHOPPER, request)).await.unwrap().into_inner();
    let Some(option) = answer.options.first() else {
        return Err(answer.refusals[0].reasons().next().unwrap());
    };
    let window = option.window.unwrap();
    Ok((window.start_time.unwrap().to_string(), window.end_time.unwrap().to_string()))
}

async fn ready(world: &World, now: &str) -> Result<String, pb::ReasonCode> {
    world.clock.advance_to(at(now));
    Ok(window(world, 1).await?.0)
}

async fn held(world: &World, pieces: i64) -> Result<pb::Promise, Status> {
    let request = by(SHOPPER, hold("lon-1", &[("A", pieces)]));
    Ok(world.promises().hold_promise(request).await?.into_inner().promise.unwrap())
}

/// When the slot of the only leg begins, and how much of it the leg takes.
fn taken(promise: &pb::Promise) -> (prost_types::Timestamp, i64) {
    let [place] = promise.legs[0].places.as_slice() else { panic!("{promise:?}") };
    (place.slot_start_time.unwrap(), place.amount)
}

fn cut_off(day: DayOfWeek, time: TimeOfDay) -> pb::CutOff {
    pb::CutOff { day: day.into(), time: Some(time) }
}

#[tokio::test]
async fn saturday_has_a_cut_off_of_its_own() {
    for world in worlds().await {
        let mut shop = store("lon-1", 51.5, -0.1);
        shop.services[0].cut_offs =
            vec![cut_off(DayOfWeek::Saturday, time(12, 0)), cut_off(DayOfWeek::Unspecified, time(16, 0))];
        world.put(vec![shop.clone()]).await;
        world.stock(&[("lon-1", "A", 5)]).await;
        for (now, expected) in [
            ("2026-01-16T15:59:00Z", "2026-01-16T16:29:00Z"),
            ("2026-01-16T16:00:00Z", "2026-01-17T09:30:00Z"),
            ("2026-01-17T11:59:00Z", "2026-01-17T12:29:00Z"),
            ("2026-01-17T12:00:00Z", "2026-01-18T09:30:00Z"),
            ("2026-01-18T12:00:00Z", "2026-01-18T12:30:00Z"),
        ] {
            assert_eq!(ready(&world, now).await.as_deref(), Ok(expected), "{now}");
        }
        // A bar: the night from Saturday to Sunday goes by Saturday's cut-off, and only Saturday has one.
        for day in &mut shop.hours {
            (day.open_time, day.close_time) = (Some(time(18, 0)), Some(time(2, 0)));
        }
        shop.services[0].cut_offs = vec![cut_off(DayOfWeek::Saturday, time(1, 0))];
        world.put(vec![shop]).await;
        for (now, expected) in [
            ("2026-01-24T01:10:00Z", "2026-01-24T01:40:00Z"),
            ("2026-01-25T00:59:00Z", "2026-01-25T01:29:00Z"),
            ("2026-01-25T01:00:00Z", "2026-01-25T18:30:00Z"),
            ("2026-01-26T01:10:00Z", "2026-01-26T01:40:00Z"),
        ] {
            assert_eq!(ready(&world, now).await.as_deref(), Ok(expected), "{now}");
        }
    }
}

#[tokio::test]
async fn a_slot_in_units_takes_exactly_the_units_that_are_left() {
    for world in worlds().await {
        world.put(vec![pb::Node { capacity: units(5), ..store("lon-1", 51.5, -0.1) }]).await;
        world.stock(&[("lon-1", "A", 50)]).await;
        let (ten, eleven) = (stamp(at("2026-01-12T10:00:00Z")), stamp(at("2026-01-12T11:00:00Z")));
        let first = held(&world, 3).await.unwrap();
        assert_eq!(taken(&first), (ten, 3));
        assert_eq!(taken(&held(&world, 3).await.unwrap()), (eleven, 3), "of five two are left");
        assert_eq!(taken(&held(&world, 2).await.unwrap()), (ten, 2), "and two take them");
        assert_eq!(taken(&held(&world, 1).await.unwrap()), (eleven, 1));
        assert_eq!(world.slots().await.into_values().collect::<Vec<_>>(), [5, 4]);
        let (request_id, promise_token) = (test_world::fresh(), first.promise_token);
        let release = pb::ReleasePromiseRequest { request_id, promise_token };
        world.promises().release_promise(by(SHOPPER, release)).await.unwrap();
        assert_eq!(world.slots().await.into_values().collect::<Vec<_>>(), [2, 4]);
        // Another process reads the slots at its start.
        let mut other = promises(&world.another().await);
        let again = other.hold_promise(by(SHOPPER, hold("lon-1", &[("A", 3)]))).await.unwrap();
        assert_eq!(taken(&again.into_inner().promise.unwrap()), (ten, 3), "what is released is free again");
    }
}

#[tokio::test]
async fn a_cart_that_no_slot_holds_is_refused_with_the_reason() {
    for world in worlds().await {
        let small = pb::Node { capacity: units(5), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![small, store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-1", "A", 50), ("lon-2", "A", 50)]).await;
        assert_eq!(window(&world, 6).await, Err(pb::ReasonCode::CapacityFull));
        assert!(window(&world, 5).await.is_ok());
        let no = held(&world, 6).await.unwrap_err();
        let facts = server::status::facts(&no);
        assert_eq!((reason(&no).as_str(), facts["alternatives"].as_str()), ("CAPACITY_FULL", "lon-2"));
        assert_eq!(world.taken().await, 0);
        // Two groups of one cart do not get more than one.
        let lines = |pieces| vec![contract::r#type::v1::LineQuantity { line: 1, quantity: pieces }];
        let of = |number, pieces| pb::CartGroup { lines: lines(pieces), ..group(number, "lon-1") };
        let request = pb::HoldPromiseRequest { groups: vec![of(1, 3), of(2, 3)], ..hold("", &[("A", 6)]) };
        let promise = world.promises().hold_promise(by(SHOPPER, request)).await.unwrap().into_inner().promise;
        assert_eq!(promise.unwrap().legs.len(), 2);
        assert_eq!(world.slots().await.into_values().collect::<Vec<_>>(), [3, 3]);
    }
}

#[tokio::test]
async fn nodes_share_a_group_as_their_units_allow() {
    for world in worlds().await {
        let small = |id, lat, most| pb::Node { capacity: units(most), ..store(id, lat, -0.1) };
        world.put(vec![small("lon-1", 51.5, 5), small("lon-2", 51.6, 4), small("lon-3", 51.7, 0)]).await;
        world.stock(&[("lon-1", "A", 50), ("lon-2", "A", 50), ("lon-3", "A", 50)]).await;
        let shared = |pieces, max_parts| pb::HoldPromiseRequest {
            groups: vec![pb::CartGroup { max_parts, place: Some(place(51.5, -0.1)), ..group(1, "") }],
            ..hold("", &[("A", pieces)])
        };
        let promise = world.promises().hold_promise(by(SHOPPER, shared(8, 3))).await.unwrap();
        let legs = promise.into_inner().promise.unwrap().legs;
        let of = |leg: &pb::PromiseLeg| (leg.option.as_ref().unwrap().node_id.clone(), leg.places[0].amount);
        let legs: Vec<_> = legs.iter().map(of).collect();
        assert_eq!(legs, [("lon-1".to_owned(), 5), ("lon-2".to_owned(), 3)]);
        for request in [shared(8, 1), shared(10, 3)] {
            let no = world.promises().hold_promise(by(SHOPPER, request)).await.unwrap_err();
            assert_eq!(reason(&no), "CAPACITY_FULL");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_holds_at_once_never_take_more_units_than_a_slot_has() {
    for world in worlds().await {
        // Open until noon and then never again: two slots of 50 units.
        let closing =
            pb::TemporaryClosing { from_time: Some(stamp(at("2026-01-12T12:00:00Z"))), ..Default::default() };
        let shop = pb::Node { capacity: units(50), closing: Some(closing), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![shop]).await;
        world.stock(&[("lon-1", "A", 1_000)]).await;
        let another = world.another().await;
        let calls = (0..100_i64).map(|n| {
            let mut client = if n % 2 == 0 { world.promises() } else { promises(&another) };
            let request = by(&format!("customer/{n}"), hold("lon-1", &[("A", 1 + n % 4)]));
            tokio::spawn(async move { client.hold_promise(request).await })
        });
        let mut held = 0;
        for answer in join_all(calls.collect::<Vec<_>>()).await {
            match answer.unwrap() {
                Ok(promise) => held += taken(&promise.into_inner().promise.unwrap()).1,
                Err(no) => assert_eq!(reason(&no), "CAPACITY_FULL", "{no:?}"),
            }
        }
        let slots: Vec<i64> = world.slots().await.into_values().collect();
        assert!(slots.len() == 2 && slots.iter().all(|used| *used <= 50), "{slots:?}");
        assert_eq!((world.taken().await, slots.iter().sum::<i64>()), (held, held));
        assert_eq!(world.inventory.reserved("lon-1", "A"), held);
        assert!(held >= 94, "at most three units of each slot stay free: {held}");
    }
}

#[tokio::test]
async fn tags_and_days_of_a_node_are_stored_and_returned() {
    for world in worlds().await {
        let day = |day| Some(Date { year: 2026, month: 1, day });
        let node = pb::Node {
            tags: vec!["mall".to_owned(), "city-centre".to_owned()],
            first_day: day(13),
            last_day: day(15),
            capacity: units(7),
            ..store("lon-1", 51.5, -0.1)
        };
        let stored = world.put(vec![node.clone()]).await.remove(0);
        assert_eq!(pb::Node { etag: String::new(), update_time: None, ..stored.clone() }, node);
        let listed = world.network().list_nodes(pb::ListNodesRequest::default()).await.unwrap();
        assert_eq!(listed.into_inner().nodes, [stored]);
    }
}

#[tokio::test]
async fn a_pop_up_node_is_shut_before_its_first_day_and_after_its_last() {
    for world in worlds().await {
        let day = |day| Some(Date { year: 2026, month: 1, day });
        let pop_up = pb::Node { first_day: day(21), last_day: day(23), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![pop_up]).await;
        world.stock(&[("lon-1", "A", 9)]).await;
        let closed = Err(pb::ReasonCode::NodeClosed);
        assert_eq!(ready(&world, "2026-01-12T10:00:00Z").await, closed, "more than a week before");
        assert_eq!(ready(&world, "2026-01-20T10:00:00Z").await.as_deref(), Ok("2026-01-21T09:30:00Z"));
        let last = "2026-01-23T18:00:00Z";
        world.clock.advance_to(at("2026-01-21T10:00:00Z"));
        assert_eq!(window(&world, 1).await, Ok(("2026-01-21T10:30:00Z".to_owned(), last.to_owned())));
        let promise = held(&world, 1).await.unwrap();
        assert_eq!(option(&promise).window.unwrap().end_time, Some(stamp(at(last))));
        assert_eq!(ready(&world, "2026-01-23T17:29:00Z").await.as_deref(), Ok("2026-01-23T17:59:00Z"));
        for late in ["2026-01-23T17:30:00Z", last, "2026-01-24T10:00:00Z"] {
            assert_eq!(ready(&world, late).await, closed, "{late}");
            assert_eq!(reason(&held(&world, 1).await.unwrap_err()), "NODE_CLOSED", "{late}");
        }
        let near = pb::ListNearbyAvailabilityRequest {
            place: Some(place(51.5, -0.1)),
            skus: vec!["A".to_owned()],
            ..Default::default()
        };
        let near = world.promises().list_nearby_availability(by(SHOPPER, near)).await.unwrap().into_inner();
        assert!(!near.nodes[0].is_open);
    }
}
