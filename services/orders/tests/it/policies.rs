//! Orders keeps a copy of the policies, and asks it.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::policy::Body;
use domain::policy::{Asked, Field};
use jiff::SignedDuration;
use test_world::policy::{policy, policy_event, until};

use crate::world::{World, worlds};

/// Clocks in which prepaid orders are paid within some minutes.
fn payment(minutes: i64) -> Body {
    let payment = Some(test_world::minutes(minutes));
    Body::Clocks(ful::ClocksPolicy { payment, ..ful::ClocksPolicy::default() })
}

/// A version is in force from now on, and the process knows it.
async fn put_in_force(world: &World, number: i64, scope: ful::PolicyScope, body: Body) {
    world.hear(&policy_event(policy(number, scope, body, world.now()), 1, world.now())).await.unwrap();
    world.service.policies().refresh().await.unwrap();
}

#[tokio::test]
async fn a_version_is_known_to_every_process_of_orders() {
    for world in worlds().await {
        put_in_force(&world, 7, ful::PolicyScope::default(), payment(30)).await;
        let said = |orders: &orders::Orders| {
            let clocks = orders.policies().book().clocks(&Asked::default(), world.now());
            clocks.payment
        };
        let expected = Some(Field { value: SignedDuration::from_mins(30), version: 7 });
        assert_eq!(said(&world.service), expected);
        let other = world.another_process().await;
        assert_eq!(said(&other), expected, "read at its start");
        let over = until(policy(7, ful::PolicyScope::default(), payment(30), world.now()), world.now());
        world.hear(&policy_event(over, 2, world.now())).await.unwrap();
        other.policies().refresh().await.unwrap();
        assert_eq!(said(&other), None);
    }
}
