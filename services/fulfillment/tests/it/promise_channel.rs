//! The channel that a cart is sold through: said by its caller, kept with the token, and passed on to inventory.

use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use contract::r#type::v1 as common;
use test_world::{by, fields, fresh, refusal};
use tonic::{Code, Status};

use crate::quota::ask;
use crate::support::{World, cart, hold, store, worlds};

const NODE: &str = "lon-1";

async fn shops() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store(NODE, 51.5, -0.1)]).await;
        world.stock(&[(NODE, "A", 100)]).await;
    }
    worlds
}

fn through(channel: &str) -> pb::HoldPromiseRequest {
    pb::HoldPromiseRequest { channel: channel.to_owned(), ..hold(NODE, &[("A", 1)]) }
}

async fn quote(world: &World, actor: &str, channel: &str) -> Result<pb::GetPromiseResponse, Status> {
    let channel = channel.to_owned();
    let request = pb::GetPromiseRequest { lines: cart(&[("A", 1)]), channel, ..Default::default() };
    world.promises().get_promise(by(actor, request)).await.map(tonic::Response::into_inner)
}

/// The channels of the claims that inventory was last asked for.
fn claimed(world: &World) -> Vec<String> {
    let asked = world.inventory.done::<stock::ReserveRequest>("Reserve").pop().unwrap();
    asked.reservations.into_iter().map(|claim| claim.channel).collect()
}

#[tokio::test]
async fn the_channel_of_a_cart_is_its_caller_or_what_the_caller_says() {
    for world in shops().await {
        for (actor, said, channel) in [
            ("channel/web", "", "web"),
            ("channel/web", "web", "web"),
            ("service/orders", "app", "app"),
            ("service/orders", "", ""),
            ("ops/1", "app", "app"),
            ("store/lon-1", "app", "app"),
            ("store/lon-1", "", ""),
            ("customer/1", "", ""),
        ] {
            let held = ask(&world, actor, &through(said)).await.unwrap();
            assert_eq!(
                (held.channel.as_str(), claimed(&world)),
                (channel, vec![channel.to_owned()]),
                "{actor} {said}"
            );
            let request = pb::GetPromiseTokenRequest { promise_token: held.promise_token.clone() };
            let kept = world.promises().get_promise_token(by("ops/1", request)).await.unwrap().into_inner();
            assert_eq!(kept.promise.unwrap().channel, channel);
            assert_eq!(quote(&world, actor, said).await.unwrap().options.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_channel_sells_through_itself_alone_and_a_channel_is_a_code() {
    for world in shops().await {
        let no = (Code::PermissionDenied, "NOT_YOUR_CHANNEL".to_owned());
        assert_eq!(refusal(ask(&world, "channel/web", &through("app")).await), no);
        assert_eq!(refusal(quote(&world, "channel/web", "app").await), no);
        assert_eq!(world.inventory.held(), 0);
        for bad in ["x".repeat(65), "a\u{200B}b".to_owned()] {
            let no = ask(&world, "ops/1", &through(&bad)).await.unwrap_err();
            assert_eq!(fields(&no), ["channel"]);
            assert_eq!(fields(&quote(&world, "ops/1", &bad).await.unwrap_err()), ["channel"]);
        }
        ask(&world, "ops/1", &through(&"x".repeat(64))).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_kept_for_another_channel_is_neither_quoted_nor_planned() {
    for world in worlds().await {
        world.put(vec![store(NODE, 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.inventory.keep(NODE, "A", "app", 2);
        world.stock(&[(NODE, "A", 3), ("lon-2", "A", 3)]).await;
        let point = contract::google::r#type::LatLng { latitude: 51.5, longitude: -0.1 };
        let place = Some(common::Place { point: Some(point) });
        let question = |pieces, channel: &str| pb::GetPromiseRequest {
            lines: cart(&[("A", pieces)]),
            channel: channel.to_owned(),
            max_options: 2,
            place,
            ..Default::default()
        };
        let nodes = async |actor: &str, pieces, channel: &str| {
            let request = by(actor, question(pieces, channel));
            let answer = world.promises().get_promise(request).await.unwrap().into_inner();
            answer.options.into_iter().map(|option| option.node_id).collect::<Vec<_>>()
        };
        assert_eq!(nodes("ops/1", 1, "web").await, [NODE, "lon-2"]);
        for (actor, said) in [("ops/1", "web"), ("channel/web", ""), ("customer/1", "")] {
            assert_eq!(nodes(actor, 2, said).await, ["lon-2"], "{actor} {said}");
        }
        assert_eq!(nodes("channel/app", 3, "").await, [NODE, "lon-2"]);

        let nearby = async |actor: &str| {
            let skus = vec!["A".to_owned()];
            let request = pb::ListNearbyAvailabilityRequest { place, skus, ..Default::default() };
            let answer = world.promises().list_nearby_availability(by(actor, request)).await.unwrap();
            answer.into_inner().nodes[0].skus[0].atp
        };
        assert_eq!((nearby("channel/web").await, nearby("channel/app").await), (1, 3));

        let held = async |channel: &str| {
            let group = pb::CartGroup { place, ..crate::support::group(1, "") };
            let request = pb::HoldPromiseRequest {
                request_id: fresh(),
                lines: cart(&[("A", 2)]),
                groups: vec![group],
                ..through(channel)
            };
            ask(&world, "ops/1", &request).await.unwrap().legs[0].option.clone().unwrap().node_id
        };
        assert_eq!((held("web").await.as_str(), held("app").await.as_str()), ("lon-2", NODE));
    }
}
