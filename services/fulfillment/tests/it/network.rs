//! Nodes: put, read, shut, reopened; and the shape of the tables.

use contract::fulfillment::v1 as pb;
use contract::r#type::v1 as common;
use jiff::SignedDuration;
use test_world::wire::{cut_off, offers, place, time};
use test_world::{Ground, at, by, minutes, reason, stamp, until, v7};
use tonic::Code;

use crate::support::{SETS, World, cart, hold, option, orders, store, worlds};

fn put(nodes: Vec<pb::Node>) -> pb::PutNodesRequest {
    pb::PutNodesRequest { request_id: v7().to_string(), nodes }
}

async fn options(world: &World, node: &str) -> pb::GetPromiseResponse {
    let request =
        pb::GetPromiseRequest { lines: cart(&[("A", 1)]), node_id: node.to_owned(), ..Default::default() };
    world.promises().get_promise(by("customer/1", request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_node_reads_back_as_it_was_put() {
    for world in worlds().await {
        let node = store("lon-1", 51.5, -0.1);
        let stored = world.put(vec![node.clone()]).await.remove(0);
        assert_eq!(stored.etag, "v1");
        assert!(stored.update_time.is_some());
        assert_eq!(pb::Node { etag: String::new(), update_time: None, ..stored.clone() }, node);
        let read = pb::GetNodeRequest { node_id: "lon-1".to_owned() };
        let read = world.network().get_node(read).await.unwrap().into_inner().node.unwrap();
        assert_eq!(read, stored);
        let missing = pb::GetNodeRequest { node_id: "lon-2".to_owned() };
        let refused = world.network().get_node(missing).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NODE_NOT_FOUND"));
    }
}

#[tokio::test]
async fn nodes_come_by_page_in_the_order_of_their_codes() {
    for world in worlds().await {
        let nodes = ["b", "a", "B", "d", "c"].map(|id| store(id, 51.5, -0.1)).to_vec();
        let stored = world.put(nodes).await;
        let put: Vec<&str> = stored.iter().map(|node| node.node_id.as_str()).collect();
        assert_eq!(put, ["b", "a", "B", "d", "c"], "answered in the order asked");
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListNodesRequest { page_size: 2, page_token };
            let page = world.network().list_nodes(request).await.unwrap().into_inner();
            seen.extend(page.nodes.into_iter().map(|node| node.node_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ["B", "a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn a_node_that_changed_meanwhile_is_not_overwritten() {
    for world in worlds().await {
        let first = world.put(vec![store("lon-1", 51.5, -0.1)]).await.remove(0);
        let mine = pb::Node { name: "Mine".to_owned(), ..first.clone() };
        assert_eq!(world.put(vec![mine]).await[0].etag, "v2");
        let theirs = pb::Node { name: "Theirs".to_owned(), ..first };
        let other = store("lon-2", 51.6, -0.1);
        let refused = world.network().put_nodes(by("ops/it", put(vec![theirs.clone()]))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "NODE_CHANGED"));
        let both =
            world.network().put_nodes(by("ops/it", put(vec![other, theirs]))).await.unwrap().into_inner();
        let verdicts: Vec<_> = both.results.iter().map(|one| (one.verdict(), one.reason.as_str())).collect();
        assert_eq!(verdicts, [(pb::NodeVerdict::Created, ""), (pb::NodeVerdict::Refused, "NODE_CHANGED")]);
        let mine = pb::GetNodeRequest { node_id: "lon-1".to_owned() };
        let kept = world.network().get_node(by("ops/it", mine)).await.unwrap().into_inner().node.unwrap();
        assert_eq!((kept.name.as_str(), kept.etag.as_str()), ("Mine", "v2"));
    }
}

#[tokio::test]
async fn a_repeated_put_has_one_effect_and_another_body_is_refused() {
    for world in worlds().await {
        let request = put(vec![store("lon-1", 51.5, -0.1)]);
        let first = world.network().put_nodes(by("ops/it", request.clone())).await.unwrap().into_inner();
        let again = world.network().put_nodes(by("ops/it", request.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        let other = pb::PutNodesRequest { nodes: vec![store("lon-2", 51.5, -0.1)], ..request };
        let refused = world.network().put_nodes(by("ops/it", other)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    }
}

#[tokio::test]
async fn every_bad_field_of_a_node_is_named() {
    let world = worlds().await.remove(0);
    let mut bad = store("lon-1", 91.0, -0.1);
    bad.kind = 0;
    bad.time_zone = "Mars/Olympus".to_owned();
    bad.name = String::new();
    bad.hours[0].close_time = Some(time(24, 1));
    bad.hours[1].day = 8;
    bad.services = vec![pb::NodeService { method: 99, radius_m: -1, ..Default::default() }];
    bad.capacity[0].slot = Some(minutes(1));
    let duplicate = pb::Node { time_zone: "Nowhere".to_owned(), ..store("lon-1", 51.0, 0.0) };
    let nodes = vec![bad.clone(), duplicate];
    let refused = world.network().put_nodes(by("ops/it", put(nodes))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields: Vec<String> = server::status::violations(&refused).into_iter().map(|v| v.field).collect();
    for field in [
        "nodes[0].kind",
        "nodes[0].time_zone",
        "nodes[0].place",
        "nodes[0].hours[0].close_time",
        "nodes[0].hours[1].day",
        "nodes[0].services[0].method",
        "nodes[0].services[0].radius_m",
        "nodes[0].capacity[0].slot",
        "nodes[1].node_id",
    ] {
        assert!(fields.iter().any(|f| f == field), "{field} in {fields:?}");
    }
    assert_eq!(world.count("SELECT COUNT(*) AS n FROM nodes").await, 0);
    let good = store("ok", 51.0, 0.0);
    let answer = world.network().put_nodes(by("ops/it", put(vec![good, bad]))).await.unwrap().into_inner();
    assert_eq!(answer.nodes.len(), 1, "one bad node does not refuse the others");
    assert_eq!(answer.results[1].reason, "INVALID_NODE");
    assert!(answer.results[1].message.contains("nodes[1].kind"), "{}", answer.results[1].message);
    assert_eq!(world.count("SELECT COUNT(*) AS n FROM nodes").await, 1);
}

#[tokio::test]
async fn a_node_that_is_shut_promises_nothing_until_it_reopens() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-1", "A", 5), ("lon-2", "A", 5)]).await;
        assert_eq!(options(&world, "lon-1").await.options.len(), 1);
        let closing = pb::TemporaryClosing {
            from_time: Some(stamp(at("2026-01-12T00:00:00Z"))),
            until_time: None,
            reason: "flood".to_owned(),
        };
        let request = pb::CloseNodeRequest {
            request_id: v7().to_string(),
            node_id: "lon-1".to_owned(),
            closing: Some(closing),
        };
        world.network().close_node(by("store/lon-1", request.clone())).await.unwrap();
        let shut = options(&world, "lon-1").await;
        assert!(shut.options.is_empty());
        assert_eq!(shut.refusals[0].reasons, [i32::from(pb::ReasonCode::NodeClosed)]);
        assert_eq!(shut.refusals[0].alternatives[0].node_id, "lon-2");
        let request = pb::ReopenNodeRequest { request_id: v7().to_string(), node_id: "lon-1".to_owned() };
        world.network().reopen_node(by("store/lon-1", request)).await.unwrap();
        assert_eq!(options(&world, "lon-1").await.options.len(), 1);
    }
}

#[tokio::test]
async fn a_store_may_shut_only_itself() {
    let world = worlds().await.remove(0);
    world.put(vec![store("lon-1", 51.5, -0.1)]).await;
    let request = pb::ReopenNodeRequest { request_id: v7().to_string(), node_id: "lon-1".to_owned() };
    let refused = world.network().reopen_node(by("store/lon-2", request)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_YOUR_NODE"));
}

#[tokio::test]
async fn another_process_sees_what_changed() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 5), ("lon-2", "A", 5)]).await;
        let another = world.another().await;
        let stop = tokio_util::sync::CancellationToken::new();
        let follow = tokio::spawn({
            let (another, stop) = (another.clone(), stop.clone());
            async move { another.follow_network(stop).await }
        });
        world.put(vec![store("lon-2", 51.6, -0.1)]).await;
        let request = pb::GetPromiseRequest {
            lines: cart(&[("A", 1)]),
            node_id: "lon-2".to_owned(),
            ..Default::default()
        };
        let mut client = crate::support::promises(&another);
        until("the other process knows the node", async || {
            let answer = client.get_promise(by("customer/1", request.clone())).await.unwrap().into_inner();
            !answer.options.is_empty()
        })
        .await;
        stop.cancel();
        follow.await.unwrap();
    }
}

#[tokio::test]
async fn on_the_day_the_clocks_go_forward_a_promise_is_in_local_hours() {
    for world in worlds().await {
        let mut night = store("lon-1", 51.5, -0.1);
        for day in &mut night.hours {
            day.open_time = Some(time(1, 30));
            day.close_time = Some(time(5, 0));
        }
        world.put(vec![night]).await;
        world.stock(&[("lon-1", "A", 5)]).await;
        world.clock.advance_to(at("2026-03-29T00:10:00Z"));
        // 01:30 does not exist that night: the store opens at 02:30 BST, which is 01:30 UTC.
        let answer = options(&world, "lon-1").await;
        let window = answer.options[0].window.unwrap();
        assert_eq!(window.start_time, Some(stamp(at("2026-03-29T02:00:00Z"))));
        let kept = at("2026-03-29T02:00:00Z") + SignedDuration::from_hours(72);
        assert_eq!(window.end_time, Some(stamp(kept)));
    }
}

#[tokio::test]
async fn a_promise_keeps_goods_until_four_hours_after_the_holidays() {
    for world in worlds().await {
        let closed = |day| pb::HoursException {
            date: Some(contract::google::r#type::Date { year: 2026, month: 12, day }),
            ..Default::default()
        };
        let shop = pb::Node { exceptions: (24..=27).map(closed).collect(), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![shop]).await;
        world.stock(&[("lon-1", "A", 5)]).await;
        world.clock.advance_to(at("2026-12-23T14:00:00Z"));
        let kept = Some(stamp(at("2026-12-28T13:00:00Z")));
        assert_eq!(options(&world, "lon-1").await.options[0].window.unwrap().end_time, kept);
        let held = world.promises().hold_promise(by("customer/1", hold("lon-1", &[("A", 1)]))).await.unwrap();
        assert_eq!(option(&held.into_inner().promise.unwrap()).window.unwrap().end_time, kept);
    }
}

#[tokio::test]
async fn a_night_is_one_business_day_for_cut_off_and_capacity() {
    for world in worlds().await {
        let mut bar = store("lon-1", 51.5, -0.1);
        for day in &mut bar.hours {
            day.open_time = Some(time(18, 0));
            day.close_time = Some(time(2, 0));
        }
        bar.services[0].cut_offs = cut_off(time(21, 0));
        bar.capacity = orders(1);
        bar.capacity[0].slot = Some(minutes(24 * 60));
        world.put(vec![bar.clone()]).await;
        world.stock(&[("lon-1", "A", 5)]).await;
        let tomorrow = Some(stamp(at("2026-01-13T18:30:00Z")));
        for (now, ready) in [
            ("2026-01-12T20:00:00Z", Some(stamp(at("2026-01-12T20:30:00Z")))),
            ("2026-01-12T22:00:00Z", tomorrow),
            ("2026-01-13T01:00:00Z", tomorrow),
        ] {
            world.clock.advance_to(at(now));
            let window = options(&world, "lon-1").await.options[0].window.unwrap();
            assert_eq!(window.start_time, ready, "{now}");
        }
        // The hours as this process keeps them change with the node: 01:00 is a cut-off of the night that has begun.
        bar.services[0].cut_offs = cut_off(time(1, 0));
        world.put(vec![bar]).await;
        world.clock.advance_to(at("2026-01-13T22:00:00Z"));
        let first =
            world.promises().hold_promise(by("customer/1", hold("lon-1", &[("A", 1)]))).await.unwrap();
        let window = option(&first.into_inner().promise.unwrap()).window.unwrap();
        assert_eq!(window.start_time, Some(stamp(at("2026-01-13T22:30:00Z"))));
        world.clock.advance_to(at("2026-01-14T00:30:00Z"));
        let window = options(&world, "lon-1").await.options[0].window.unwrap();
        let next_evening = Some(stamp(at("2026-01-14T18:30:00Z")));
        assert_eq!(window.start_time, next_evening, "the one place of this night is taken");
    }
}

#[tokio::test]
async fn stock_near_a_place_comes_nearest_first_with_its_age() {
    for world in worlds().await {
        world.put(vec![store("far", 51.6, -0.1), store("near", 51.51, -0.1), store("off", 53.0, -0.1)]).await;
        world.inventory.put_kit("K", &[("A", 2), ("B", 1)]);
        world.stock(&[("far", "A", 5), ("near", "A", 3), ("near", "B", 9), ("off", "A", 1)]).await;
        let request = pb::ListNearbyAvailabilityRequest {
            place: Some(place(51.5, -0.1)),
            skus: vec!["A".to_owned(), "K".to_owned()],
            ..Default::default()
        };
        let answer = world.promises().list_nearby_availability(by("customer/1", request)).await.unwrap();
        let nodes = answer.into_inner().nodes;
        let ids: Vec<&str> = nodes.iter().map(|node| node.node_id.as_str()).collect();
        assert_eq!(ids, ["near", "far"]);
        assert!(nodes[0].is_open && nodes[0].distance_m > 1_000 && nodes[0].distance_m < 1_200);
        let figures: Vec<(&str, i64)> = nodes[0].skus.iter().map(|s| (s.sku.as_str(), s.atp)).collect();
        assert_eq!(figures, [("A", 3), ("K", 1)]);
        assert!(nodes[0].skus.iter().all(|sku| sku.update_time.is_some()));
    }
}

#[tokio::test]
async fn a_node_may_offer_methods_that_are_not_promised_yet() {
    let world = worlds().await.remove(0);
    let mut node = store("lon-1", 51.5, -0.1);
    node.services = vec![offers(common::Method::Parcel)];
    let stored = world.put(vec![node]).await.remove(0);
    assert_eq!(stored.services, [offers(common::Method::Parcel)]);
    world.stock(&[("lon-1", "A", 5)]).await;
    let answer = options(&world, "lon-1").await;
    assert_eq!(answer.refusals[0].reasons, [i32::from(pb::ReasonCode::MethodNotOffered)]);
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    Ground::same_tables(SETS).await;
}

#[tokio::test]
async fn a_zone_that_does_not_exist_is_refused_with_the_nearest() {
    let world = worlds().await.remove(0);
    for (wrong, right) in [
        ("Europe/Londn", "did you mean Europe/London?"),
        ("Shanghai", "did you mean Asia/Shanghai?"),
        ("america/new york", "did you mean America/New_York?"),
        ("???", "such as Europe/London"),
    ] {
        let node = pb::Node { time_zone: wrong.to_owned(), ..store("lon-1", 51.5, -0.1) };
        let refused = world.network().put_nodes(by("ops/it", put(vec![node]))).await.unwrap_err();
        let bad = server::status::violations(&refused).remove(0);
        assert_eq!(bad.field, "nodes[0].time_zone");
        assert!(bad.description.contains(right), "{wrong}: {}", bad.description);
    }
}

#[tokio::test]
async fn a_node_that_is_shut_is_held_in_no_process_once_that_is_answered() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 5)]).await;
        // It does not follow the network: what it knows of the node is old.
        let other = crate::support::promises(&world.another().await);
        let closing = pb::TemporaryClosing {
            from_time: Some(stamp(at("2026-01-12T00:00:00Z"))),
            until_time: None,
            reason: "flood".to_owned(),
        };
        let request = pb::CloseNodeRequest {
            request_id: v7().to_string(),
            node_id: "lon-1".to_owned(),
            closing: Some(closing),
        };
        world.network().close_node(by("ops/it", request)).await.unwrap();
        let request = by("channel/web", hold("lon-1", &[("A", 1)]));
        let refused = other.clone().hold_promise(request).await.unwrap_err();
        assert_eq!(reason(&refused), "NODE_CLOSED");
        assert_eq!(world.taken().await, 0);
    }
}
