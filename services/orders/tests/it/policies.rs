//! Orders keeps a copy of the policies, and asks it.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::policy::Body;
use contract::orders::v1 as pb;
use contract::r#type::v1::{LineQuantity, Method};
use domain::policy::{Asked, Field};
use domain::time::after_ms;
use jiff::SignedDuration;
use test_world::policy::{policy, policy_event, until};
use test_world::stamp;

use crate::world::{World, group, line, request, worlds};

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

fn of_channel(channel: &str) -> ful::PolicyScope {
    ful::PolicyScope { channel: channel.to_owned(), ..ful::PolicyScope::default() }
}

/// In how many minutes an order is to be paid, and which version says so.
fn due(order: &pb::Order) -> (i64, i64) {
    let seconds = order.payment_due_time.unwrap().seconds - order.place_time.unwrap().seconds;
    (seconds / 60, order.payment_policy_version)
}

#[tokio::test]
async fn the_time_for_the_payment_is_that_of_the_channel_when_the_order_was_placed() {
    for world in worlds().await {
        let clocks = Body::Clocks(ful::ClocksPolicy {
            payment: Some(test_world::minutes(5)),
            payment_grace: Some(test_world::minutes(1)),
            ..ful::ClocksPolicy::default()
        });
        put_in_force(&world, 3, of_channel("web"), clocks).await;
        let order = world.unpaid().await;
        assert_eq!(due(&order), (5, 3));
        let mut app = request(&world.number(), vec![line("a", 1, 100)], pb::TenderState::Due);
        app.channel = "app".to_owned();
        assert_eq!(
            due(&world.try_place(app).await.unwrap()),
            (15, 0),
            "the settings speak for other channels"
        );
        let row = &world.rows("SELECT payment_policy FROM orders WHERE channel = 'web'").await[0];
        assert_eq!(row.get::<i64>("payment_policy").unwrap(), 3);

        // A version that gives more time, and one that gives none of it, move nothing.
        put_in_force(&world, 4, of_channel("web"), payment(60)).await;
        assert_eq!(due(&world.get(&order).await), (5, 3));
        assert_eq!(due(&world.unpaid().await), (60, 4));
        assert_eq!(world.service.overdue(after_ms(world.now(), 5 * 60_000), 9).await.unwrap(), 1);
        world.pass(5).await;
        assert_eq!(world.get(&order).await.status(), pb::OrderStatus::PaymentLapsed);
        world.pass(1).await;
        assert_eq!(world.get(&order).await.status(), pb::OrderStatus::Expired, "a minute of grace");
    }
}

#[tokio::test]
async fn an_order_that_has_long_to_be_paid_keeps_its_stock_all_that_time() {
    for world in worlds().await {
        put_in_force(&world, 3, of_channel("web"), payment(120)).await;
        let order = world.unpaid().await;
        // The settings hold stock for 19 minutes, and extend it two minutes before that.
        for _ in 0..59 {
            world.pass(2).await;
        }
        let order = world.get(&order).await;
        assert_eq!((order.status(), due(&order)), (pb::OrderStatus::Placed, (120, 3)));
        let legs = world.rows("SELECT held_until FROM order_legs").await;
        let held: i64 = legs[0].get("held_until").unwrap();
        assert!(legs.len() == 1 && held > world.now().as_microsecond(), "its hold was extended");
        world.try_pay(&order, pb::TenderState::Captured).await.unwrap();
        assert!(world.get(&order).await.blocks.is_empty());
    }
}

#[tokio::test]
async fn a_version_for_a_node_is_asked_where_the_whole_order_is_there() {
    for world in worlds().await {
        let of_node = ful::PolicyScope { node_id: "store-1".to_owned(), ..ful::PolicyScope::default() };
        put_in_force(&world, 3, of_node, payment(7)).await;
        assert_eq!(due(&world.unpaid().await), (7, 3));
        let lines = vec![line("a", 1, 100), line("b", 1, 100)];
        let mut two = request(&world.number(), lines, pb::TenderState::Due);
        two.groups = ["store-1", "store-2"].map(|node| group(Method::Pickup.into(), node)).to_vec();
        for (i, group) in (1..).zip(&mut two.groups) {
            group.lines = vec![LineQuantity { line: i, quantity: 1 }];
        }
        assert_eq!(due(&world.try_place(two).await.unwrap()), (15, 0), "half of it is elsewhere");
    }
}

#[tokio::test]
async fn the_time_for_an_answer_is_that_of_the_policy_when_the_customer_was_asked() {
    for world in worlds().await {
        let answer = |minutes| {
            let need_answer = Some(test_world::minutes(minutes));
            Body::Clocks(ful::ClocksPolicy { need_answer, ..ful::ClocksPolicy::default() })
        };
        put_in_force(&world, 5, of_channel("web"), answer(30)).await;
        let order = world.paid().await;
        world.confirm(&order).await;
        world.reject(&order, ful::RejectReason::TooBusy).await;
        world.run_due().await;
        let asked = world.get(&order).await.needs[0].clone();
        let until = stamp(after_ms(world.now(), 30 * 60_000));
        assert_eq!((asked.resolve_by_time, asked.policy_version), (Some(until), 5));
        put_in_force(&world, 6, of_channel("web"), answer(600)).await;
        world.run_due().await;
        let same = world.get(&order).await.needs[0].clone();
        assert_eq!((same.resolve_by_time, same.policy_version), (Some(until), 5));
    }
}
