//! Which nodes may serve a group, and groups that several nodes serve together.

use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use contract::r#type::v1 as common;
use test_world::wire::place;
use test_world::{by, fields, reason};
use tonic::{Code, Status};

use crate::support::{World, cart, group, hold, orders, store, worlds};

const SHOPPER: &str = "customer/1";

/// Three stores: the second is a kilometre north of the first, the third eleven.
async fn three_stores() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        let places = [("a", 51.50), ("b", 51.51), ("c", 51.60)];
        world.put(places.map(|(id, lat)| store(id, lat, -0.1)).into()).await;
        world.stock(&[("a", "A", 9), ("b", "A", 9), ("c", "A", 9)]).await;
    }
    worlds
}

fn near(node: &str, radius_m: i64, without: &[&str]) -> pb::CartGroup {
    pb::CartGroup {
        near_node_id: node.to_owned(),
        radius_m,
        without_node_ids: without.iter().map(|&node| node.to_owned()).collect(),
        ..group(1, "")
    }
}

fn wanted(lines: &[(&str, i64)], group: pb::CartGroup) -> pb::HoldPromiseRequest {
    pb::HoldPromiseRequest { groups: vec![group], ..hold("", lines) }
}

async fn try_hold(world: &World, who: &str, request: pb::HoldPromiseRequest) -> Result<pb::Promise, Status> {
    Ok(world.promises().hold_promise(by(who, request)).await?.into_inner().promise.unwrap())
}

/// The node of each leg with its pieces, or the reason why there is none.
async fn served(
    world: &World,
    request: pb::HoldPromiseRequest,
) -> Result<Vec<(String, Vec<(u32, i64)>)>, String> {
    let promise = try_hold(world, SHOPPER, request).await.map_err(|no| reason(&no))?;
    let leg = |leg: &pb::PromiseLeg| {
        assert_eq!((leg.group, leg.places.len()), (1, 1));
        let pieces = leg.lines.iter().map(|pieces| (pieces.line, pieces.quantity)).collect();
        (leg.option.as_ref().unwrap().node_id.clone(), pieces)
    };
    Ok(promise.legs.iter().map(leg).collect())
}

#[tokio::test]
async fn a_hold_names_nodes_that_must_not_serve_and_one_to_be_near_to() {
    for world in three_stores().await {
        let table: [(pb::CartGroup, Result<&str, &str>); 11] = [
            (near("", 0, &[]), Ok("a")),
            (near("", 0, &["a", "NOWHERE"]), Ok("b")),
            (near("", 0, &["a", "b", "c"]), Err("NO_STOCK")),
            (near("c", 0, &[]), Ok("c")),
            (near("c", 0, &["c"]), Ok("b")),
            (near("a", 2_000, &["a"]), Ok("b")),
            (near("a", 2_000, &["a", "b"]), Err("OUT_OF_RADIUS")),
            (near("a", 12_000, &["a", "b"]), Ok("c")),
            (near("NOWHERE", 0, &[]), Err("UNKNOWN_NODE")),
            // the customer's place says which is best, the radius goes from the node
            (pb::CartGroup { place: Some(place(51.6, -0.1)), ..near("a", 2_000, &[]) }, Ok("b")),
            (pb::CartGroup { place: Some(place(51.6, -0.1)), ..near("a", 0, &[]) }, Ok("c")),
        ];
        for (group, expected) in table {
            let request = wanted(&[("A", 1)], group);
            let expected = expected.map(|node| vec![(node.to_owned(), vec![(1, 1)])]).map_err(str::to_owned);
            assert_eq!(served(&world, request.clone()).await, expected, "{request:?}");
        }
        let none = wanted(&[("A", 10)], near("", 0, &["b"]));
        let no = try_hold(&world, SHOPPER, none).await.unwrap_err();
        assert_eq!(reason(&no), "NO_STOCK");
        // A node that is full is refused, and what is shown instead respects the limits too.
        world.put(vec![pb::Node { capacity: orders(0), ..store("a", 51.5, -0.1) }]).await;
        let full = pb::CartGroup { without_node_ids: vec!["b".to_owned()], ..group(1, "a") };
        let no = try_hold(&world, SHOPPER, wanted(&[("A", 1)], full)).await.unwrap_err();
        let alternatives = server::status::facts(&no).remove("alternatives");
        assert_eq!((reason(&no).as_str(), alternatives.as_deref()), ("CAPACITY_FULL", Some("c")));
    }
}

#[tokio::test]
async fn a_question_names_nodes_that_must_not_serve_and_one_to_be_near_to() {
    for world in three_stores().await {
        let nodes = async |near: &str, without: &[&str], node: &str| {
            let request = pb::GetPromiseRequest {
                lines: cart(&[("A", 1)]),
                methods: vec![common::Method::Pickup.into()],
                near_node_id: near.to_owned(),
                without_node_ids: without.iter().map(|&node| node.to_owned()).collect(),
                node_id: node.to_owned(),
                ..Default::default()
            };
            let answer = world.promises().get_promise(by(SHOPPER, request)).await.unwrap().into_inner();
            let shown = answer.refusals.iter().flat_map(|refusal| &refusal.alternatives);
            let options = answer.options.iter().chain(shown);
            let nodes: Vec<_> = options.map(|option| option.node_id.clone()).collect();
            (nodes, answer.refusals.first().map(|refusal| refusal.reasons().next().unwrap()))
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(nodes("c", &[], "").await, (names(&["c", "b", "a"]), None));
        assert_eq!(nodes("c", &["b"], "").await, (names(&["c", "a"]), None));
        let none = nodes("", &["a", "b", "c"], "").await;
        assert_eq!(none, (Vec::new(), Some(pb::ReasonCode::NoStock)));
        assert_eq!(nodes("NOWHERE", &[], "").await, (Vec::new(), Some(pb::ReasonCode::UnknownNode)));
        world.put(vec![pb::Node { capacity: orders(0), ..store("a", 51.5, -0.1) }]).await;
        let instead = nodes("", &["b"], "a").await;
        assert_eq!(instead, (names(&["c"]), Some(pb::ReasonCode::CapacityFull)));
    }
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_by_field() {
    for world in three_stores().await {
        let many: Vec<String> = (0..51).map(|n| format!("n-{n}")).collect();
        let bad = [
            (pb::CartGroup { without_node_ids: many.clone(), ..group(1, "") }, "without_node_ids"),
            (near("", 0, &["b", "b"]), "without_node_ids[1]"),
            (near("", 0, &["b", ""]), "without_node_ids[1]"),
            (pb::CartGroup { without_node_ids: vec!["a".to_owned()], ..group(1, "a") }, "without_node_ids"),
            (near(" ", 0, &[]), "near_node_id"),
            (near("", 100, &[]), "radius_m"),
            (near("a", -1, &[]), "radius_m"),
            (near("a", 20_100_001, &[]), "radius_m"),
            (pb::CartGroup { max_parts: -1, ..group(1, "") }, "max_parts"),
            (pb::CartGroup { max_parts: 6, ..group(1, "") }, "max_parts"),
            (pb::CartGroup { max_parts: 2, ..group(1, "a") }, "max_parts"),
        ];
        for (group, field) in bad {
            let no = try_hold(&world, SHOPPER, wanted(&[("A", 1)], group)).await.unwrap_err();
            assert_eq!((no.code(), fields(&no)), (Code::InvalidArgument, vec![format!("groups[0].{field}")]));
        }
        let part = |number| pb::CartGroup {
            group: number,
            max_parts: 5,
            lines: vec![common::LineQuantity { line: 1, quantity: 1 }],
            ..group(1, "")
        };
        let groups = (1..=11).map(part).collect();
        let request = pb::HoldPromiseRequest { groups, ..hold("", &[("A", 11)]) };
        assert_eq!(fields(&try_hold(&world, SHOPPER, request).await.unwrap_err()), ["groups"]);
        let request = pb::GetPromiseRequest {
            lines: cart(&[("A", 1)]),
            without_node_ids: many,
            near_node_id: " ".to_owned(),
            ..Default::default()
        };
        let no = world.promises().get_promise(by(SHOPPER, request)).await.unwrap_err();
        assert_eq!(fields(&no), ["without_node_ids", "near_node_id"]);
    }
}

#[tokio::test]
async fn a_group_that_no_node_has_whole_is_shared_by_several_or_refused() {
    for world in three_stores().await {
        world.stock(&[("a", "A", 2), ("b", "A", 3), ("c", "A", 5), ("a", "B", 1)]).await;
        let parts = |max_parts| pb::CartGroup { max_parts, ..near("a", 0, &[]) };
        let request = |max_parts, lines: &[(&str, i64)]| wanted(lines, parts(max_parts));
        assert_eq!(served(&world, request(0, &[("A", 6)])).await, Err("NO_STOCK".to_owned()));
        assert_eq!(served(&world, request(1, &[("A", 6)])).await, Err("NO_STOCK".to_owned()));
        assert_eq!(served(&world, request(2, &[("A", 9)])).await, Err("NO_STOCK".to_owned()));
        let held = (world.inventory.held(), world.taken().await);
        assert_eq!(held, (0, 0), "all or none");
        let alone = served(&world, request(5, &[("A", 2)])).await.unwrap();
        assert_eq!(alone, [("a".to_owned(), vec![(1, 2)])], "the nearest that has all");
        world.inventory.put("a", "A", 4);
        world.service.load_stock().await.unwrap();
        let before = world.inventory.done::<stock::ReserveRequest>("Reserve").len();
        let shared = request(2, &[("A", 6), ("B", 1)]);
        let promise = try_hold(&world, SHOPPER, shared.clone()).await.unwrap();
        assert_eq!(try_hold(&world, SHOPPER, shared.clone()).await.unwrap(), promise);
        let legs = promise.legs.iter().map(|leg| {
            let pieces: Vec<_> = leg.lines.iter().map(|pieces| (pieces.line, pieces.quantity)).collect();
            (leg.option.as_ref().unwrap().node_id.as_str(), pieces)
        });
        assert_eq!(legs.collect::<Vec<_>>(), [("c", vec![(1, 5)]), ("a", vec![(1, 1), (2, 1)])]);
        let calls = world.inventory.done::<stock::ReserveRequest>("Reserve");
        assert_eq!((calls.len() - before, calls.last().unwrap().reservations.len()), (1, 2));
        let reserved = |node| world.inventory.reserved(node, "A");
        assert_eq!((reserved("a"), reserved("c"), world.taken().await), (3, 5, 3));
        for leg in &promise.legs {
            let key = pb::get_sourcing_decision_request::Key::FulfillmentId(leg.fulfillment_id.clone());
            let request = pb::GetSourcingDecisionRequest { key: Some(key) };
            let answer = world.promises().get_sourcing_decision(by("ops/1", request)).await.unwrap();
            let decision = answer.into_inner().decision.unwrap();
            assert_eq!(decision.chosen_node_id, leg.option.as_ref().unwrap().node_id);
            let able = decision.candidates.iter().filter(|candidate| candidate.exclusions.is_empty());
            assert!(able.count() >= 1 && decision.candidates.len() == 3, "{decision:?}");
        }
    }
}

#[tokio::test]
async fn a_shared_group_is_planned_again_without_a_node_that_has_less_than_it_seemed() {
    for world in three_stores().await {
        world.stock(&[("a", "A", 2), ("b", "A", 3), ("c", "A", 5)]).await;
        // the view does not know yet
        world.inventory.put("b", "A", 0);
        let request = wanted(&[("A", 7)], pb::CartGroup { max_parts: 3, ..near("b", 0, &[]) });
        let legs = served(&world, request).await.unwrap();
        assert_eq!(legs, [("c".to_owned(), vec![(1, 5)]), ("a".to_owned(), vec![(1, 2)])]);
        world.inventory.put("a", "A", 2);
        let request = wanted(&[("A", 8)], pb::CartGroup { max_parts: 3, ..near("b", 0, &[]) });
        assert_eq!(served(&world, request).await, Err("NO_STOCK".to_owned()));
        assert_eq!((world.inventory.held(), world.taken().await), (2, 2));
    }
}

#[tokio::test]
async fn what_orders_holds_by_itself_counts_for_nobody() {
    for world in three_stores().await {
        for _ in 0..3 {
            let request = wanted(&[("A", 2)], near("a", 0, &[]));
            try_hold(&world, "service/orders", request).await.unwrap();
        }
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM hold_counts").await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises WHERE counted_for IS NULL").await, 3);
    }
}
