//! A hold in the place of another one: what that had goes over to it, and nobody gets it in between.

use contract::fulfillment::v1 as pb;
use test_world::{by, fields, reason};

use crate::support::{World, hold, orders, reservations, store, worlds};

const ORDERS: &str = "service/orders";

async fn held(
    world: &World,
    who: &str,
    request: pb::HoldPromiseRequest,
) -> Result<pb::Promise, tonic::Status> {
    Ok(world.promises().hold_promise(by(who, request)).await?.into_inner().promise.unwrap())
}

fn instead(of: &pb::Promise, request: pb::HoldPromiseRequest) -> pb::HoldPromiseRequest {
    let instead_of = of.legs.iter().map(|leg| leg.fulfillment_id.clone()).collect();
    pb::HoldPromiseRequest { instead_of, ..request }
}

#[tokio::test]
async fn the_last_unit_and_the_last_place_go_over_to_the_new_hold() {
    for world in worlds().await {
        world.put(vec![pb::Node { capacity: orders(1), ..store("lon-1", 51.5, -0.1) }]).await;
        world.stock(&[("lon-1", "A", 1)]).await;
        let first = held(&world, ORDERS, hold("lon-1", &[("A", 1)])).await.unwrap();
        let none = held(&world, ORDERS, hold("lon-1", &[("A", 1)])).await.unwrap_err();
        assert_eq!(reason(&none), "NO_STOCK");
        let request = instead(&first, hold("lon-1", &[("A", 1)]));
        let second = held(&world, ORDERS, request.clone()).await.unwrap();
        assert_ne!(second.legs[0].fulfillment_id, first.legs[0].fulfillment_id);
        let slot = |promise: &pb::Promise| promise.legs[0].places[0].slot_start_time.unwrap().seconds;
        assert_eq!(slot(&second), slot(&first), "the same hour of the store");
        assert_eq!((world.inventory.held(), world.inventory.reserved("lon-1", "A")), (1, 1));
        let asked = pb::GetPromiseTokenRequest { promise_token: first.promise_token.clone() };
        let over = world.promises().get_promise_token(by(ORDERS, asked)).await.unwrap().into_inner();
        assert_eq!(over.promise.unwrap().state(), pb::PromiseState::Released);
        // The same call again finds what it did.
        assert_eq!(held(&world, ORDERS, request).await.unwrap(), second);
        assert_eq!(world.inventory.held(), 1);
        // The order gives up the first leg, as it was going to: nothing of the second goes with it.
        assert_eq!(reservations(&second).len(), 1);
        assert_eq!(world.slots().await.values().sum::<i64>(), 1);
    }
}

#[tokio::test]
async fn what_is_refused_leaves_the_stock_of_the_old_hold() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 2)]).await;
        let first = held(&world, ORDERS, hold("lon-1", &[("A", 1)])).await.unwrap();
        let no = held(&world, ORDERS, instead(&first, hold("lon-1", &[("A", 3)]))).await.unwrap_err();
        assert_eq!((reason(&no).as_str(), world.inventory.reserved("lon-1", "A")), ("NO_STOCK", 1));
    }
}

#[tokio::test]
async fn only_services_take_the_place_of_legs() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 2)]).await;
        let first = held(&world, "customer/1", hold("lon-1", &[("A", 1)])).await.unwrap();
        let request = instead(&first, hold("lon-1", &[("A", 1)]));
        for who in ["customer/2", "channel/web", "customer/1"] {
            let no = held(&world, who, request.clone()).await.unwrap_err();
            assert_eq!(fields(&no), ["instead_of"], "{who}");
        }
        let leg = first.legs[0].fulfillment_id.clone();
        let instead_of = vec!["ful_1".to_owned(), leg.clone(), leg];
        let bad = pb::HoldPromiseRequest { instead_of, ..hold("lon-1", &[("A", 1)]) };
        let no = held(&world, ORDERS, bad).await.unwrap_err();
        assert_eq!(fields(&no), ["instead_of[0]", "instead_of[2]"]);
        assert_eq!(world.inventory.held(), 1);
    }
}
