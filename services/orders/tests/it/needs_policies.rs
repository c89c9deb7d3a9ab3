//! Pieces that a node could not do are looked for as the SOURCING policies say.

use contract::fulfillment::v1 as ful;
use contract::orders::v1::NeedState;
use contract::r#type::v1::{Consent, Method};
use domain::time::after_ms;
use ful::RejectReason;
use ful::policy::Body;
use test_world::minutes;
use test_world::policy::{policy, policy_event, until};

use crate::needs::{climbed, near, need, placed_with, refused};
use crate::world::{World, leg, worlds};

/// A version about the channel `web`, in force for this number of minutes.
async fn put(world: &World, body: ful::SourcingPolicy, minutes: i64) {
    let scope = ful::PolicyScope { channel: "web".to_owned(), ..Default::default() };
    let version = policy(3, scope, Body::Sourcing(body), world.now());
    let version = until(version, after_ms(world.now(), minutes * 60_000));
    world.hear(&policy_event(version, 1, world.now())).await.unwrap();
    world.service.policies().refresh().await.unwrap();
}

#[tokio::test]
async fn pieces_are_looked_for_in_as_many_legs_and_as_much_later_as_a_policy_says() {
    for world in worlds().await {
        let slack = Some(minutes(10));
        put(&world, ful::SourcingPolicy { max_parts: Some(2), slack, ..Default::default() }, 60).await;
        let placed = world.now();
        let order = placed_with(&world, Consent { split: true, ..near() }).await;
        world.fake.refuse_everywhere();
        let now = refused(&world, &order).await;
        // Promised in an hour.
        let latest = 3_600 + 600;
        assert_eq!(climbed(&world, placed), [(Method::Pickup, latest, 1), (Method::Pickup, latest, 2)]);
        assert_eq!(need(&now).state(), NeedState::Asked);
    }
}

#[tokio::test]
async fn each_round_goes_by_the_policy_of_its_time() {
    for world in worlds().await {
        put(&world, ful::SourcingPolicy { max_offers: Some(1), ..Default::default() }, 3).await;
        let order = placed_with(&world, near()).await;
        world.confirm(&order).await;
        world.reject(&order, RejectReason::TooBusy).await;
        world.run_due().await;
        assert_eq!(need(&world.get(&order).await).state(), NeedState::Asked, "one node had them");
        assert_eq!(world.fake.holds().len(), 1, "no other one is asked");
        world.pass(6).await;
        let now = world.get(&order).await;
        assert_eq!((need(&now).state(), leg(&now).node_id.as_str()), (NeedState::Sourced, "store-2"));
    }
}
