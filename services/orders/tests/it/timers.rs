//! Holds that are kept alive until the stock is confirmed.

use contract::orders::v1::{Block, OrderStatus};
use domain::time::after_ms;
use orders::Config;
use tonic::Code;

use crate::world::{leg, worlds, worlds_with};

#[tokio::test]
async fn a_hold_is_extended_until_the_stock_is_confirmed() {
    for world in worlds().await {
        let order = world.paid().await;
        let due = world.next_due().await.unwrap();
        assert_eq!(due, after_ms(world.now(), 17 * 60_000));
        for extended in 1..=3 {
            world.pass(17).await;
            assert_eq!(world.fake.extensions(), extended);
        }
        world.confirm(&order).await;
        assert!(world.is_quiet().await);
    }
}

#[tokio::test]
async fn a_hold_is_extended_also_when_the_node_works_before_inventory_has_heard_of_the_order() {
    use contract::fulfillment::v1 as ful;
    for world in worlds().await {
        let order = world.paid().await;
        let accepted = ful::fulfillment_event::Body::Accepted(ful::FulfillmentAccepted {});
        let order = world.work(&order, ful::FulfillmentState::Accepted, accepted, |_| ()).await;
        assert_eq!(order.lines[0].buckets.unwrap().allocated, 3);
        world.fake.confirm(&leg(&order).promise_token);
        for extended in 1..=2 {
            world.pass(17).await;
            assert_eq!(world.fake.extensions(), extended);
        }
        world.confirm(&order).await;
        assert!(world.is_quiet().await);
    }
}

#[tokio::test]
async fn an_extension_that_fails_is_tried_again_and_one_that_is_refused_waits() {
    for world in worlds().await {
        let order = world.paid().await;
        world.fake.refuse(Code::Unavailable, "PEER_UNREACHABLE");
        world.pass(17).await;
        assert_eq!(world.next_due().await, Some(after_ms(world.now(), 10_000)));
        world.fake.grant();
        world.pass(1).await;
        assert_eq!(world.fake.extensions(), 1);
        world.fake.refuse(Code::FailedPrecondition, "PROMISE_NOT_LIVE");
        world.pass(17).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::Placed);
        assert!(world.next_due().await.unwrap() > world.now());
    }
}

#[tokio::test]
async fn the_lost_hold_of_an_unpaid_order_is_taken_again_before_it_lapses() {
    let config = orders::Config { payment_s: 3_600, hold_margin_s: 60, ..Default::default() };
    for world in crate::world::worlds_with(config).await {
        let order = world.unpaid().await;
        // A promise of the caller's own may end long before the payment is due; here it is lost outright.
        world.fake.expire(&leg(&order).promise_token);
        world.end_hold_early().await;
        world.pass(10).await;
        let now = world.get(&order).await;
        assert_ne!(leg(&now).promise_token, leg(&order).promise_token);
        assert_eq!((now.version, now.lines[0].buckets.unwrap().reserved), (2, 3));
        assert_eq!(world.happened(&order).await, ["placed", "moved"], "the goods are ready later");
        assert_eq!(world.steps(&order).await, ["PLACED", "HELD_AGAIN", "PROMISE_MOVED"]);
    }
}

#[tokio::test]
async fn a_hold_that_can_not_be_taken_again_leaves_the_pieces_open() {
    let config = orders::Config { payment_s: 3_600, hold_margin_s: 60, ..Default::default() };
    for world in crate::world::worlds_with(config).await {
        let order = world.unpaid().await;
        world.end_hold_early().await;
        world.fake.refuse(Code::FailedPrecondition, "NO_STOCK");
        world.pass(10).await;
        let now = world.get(&order).await;
        assert_eq!((now.status(), now.lines[0].buckets.unwrap().open), (OrderStatus::Placed, 3));
        assert_eq!(world.happened(&order).await, ["placed", "progressed"]);
        assert_eq!(now.blocks, [i32::from(Block::Payment), i32::from(Block::Stock)]);
        let timeline = world.timeline(&order).await;
        let lost = timeline.last().unwrap();
        assert_eq!(lost.step, "HOLD_LOST");
        assert!(lost.text.contains("NO_STOCK"), "{}", lost.text);
        world.pass(50).await;
        let lapsed = world.get(&order).await;
        assert_eq!(lapsed.status(), OrderStatus::PaymentLapsed);
        assert_eq!(lapsed.blocks, [i32::from(Block::Payment)]);
    }
}

#[tokio::test]
async fn a_peer_that_is_away_is_asked_once_a_turn_and_payments_lapse_meanwhile() {
    for world in worlds().await {
        let mut released = Vec::new();
        for _ in 0..5 {
            released.push(world.paid().await);
        }
        world.clock.advance_to(after_ms(world.now(), 2 * 60_000));
        let unpaid = world.unpaid().await;
        world.fake.refuse(Code::Unavailable, "PEER_UNREACHABLE");
        world.pass(15).await;
        assert_eq!(world.fake.calls("ExtendPromise"), 1);
        assert_eq!(world.get(&unpaid).await.status(), OrderStatus::PaymentLapsed);
        assert_eq!(world.next_due().await, Some(after_ms(world.now(), 10_000)));
        world.fake.grant();
        world.pass(1).await;
        assert_eq!(world.fake.extensions(), released.len());
    }
}

#[tokio::test]
async fn an_order_that_fulfillment_never_heard_of_is_sent_again_until_it_has_work() {
    for world in worlds_with(Config::default()).await {
        let order = world.paid().await;
        world.confirm(&order).await;
        let waiting = || world.count("SELECT COUNT(*) AS n FROM outbox");
        let publish = || async {
            world.alter("DELETE FROM outbox").await;
        };
        let before = waiting().await;
        world.pass(6).await;
        assert_eq!(waiting().await, before, "the transport is away, and they wait for it");
        publish().await;
        world.pass(4).await;
        assert_eq!(waiting().await, 0, "it is not yet time to ask");
        world.pass(2).await;
        let all = i64::try_from(world.events(&order).await.len()).unwrap();
        assert_eq!(waiting().await, all, "all its events, once");
        publish().await;
        world.pass(11).await;
        assert_eq!(waiting().await, 0, "it waits as long as it has waited by then");
        world.pass(2).await;
        assert_eq!(waiting().await, all, "and again, as long as there is no work");
        let due = "SELECT COUNT(*) AS n FROM orders WHERE due_at IS NOT NULL";
        assert_eq!(world.count(due).await, 1);
    }
}

#[tokio::test]
async fn an_order_finds_the_events_of_its_work_that_were_lost() {
    use contract::fulfillment::v1 as ful;
    use contract::fulfillment::v1::fulfillment_event::Body;
    for world in worlds_with(Config::default()).await {
        let order = world.paid().await;
        world.confirm(&order).await;
        let accepted = Body::Accepted(ful::FulfillmentAccepted {});
        let event = world.work_event(&order, ful::FulfillmentState::Accepted, accepted, |_| ());
        world.fake.keep(&event);
        world.pass(6).await;
        let found = world.get(&order).await;
        assert_eq!(found.status(), OrderStatus::InFulfillment);
        let steps = world.steps(&order).await;
        // Nothing more is there, and what was applied is not applied twice.
        world.pass(6 * 60 + 1).await;
        assert_eq!((world.get(&order).await, world.steps(&order).await), (found, steps));
    }
}

#[tokio::test]
async fn only_lapses_and_expiries_count_as_endings_and_a_hold_is_extended_while_they_wait() {
    for world in worlds().await {
        let paid = world.paid().await;
        let unpaid = world.unpaid().await;
        let ends = async |minutes: i64| {
            world.service.overdue(after_ms(world.now(), minutes * 60_000), 9).await.unwrap()
        };
        assert_eq!(ends(14).await, 0);
        assert_eq!(ends(18).await, 1, "the payment lapses; the hold of the paid order only must be extended");
        assert_eq!(ends(600).await, 1, "the order without news only asks");
        world.clock.advance_to(after_ms(world.now(), 18 * 60_000));
        assert_eq!(world.service.run_upkeep(world.now()).await.unwrap(), 1);
        assert_eq!(world.fake.extensions(), 1);
        assert_eq!(world.get(&unpaid).await.status(), OrderStatus::Placed, "its end waits");
        world.pass(0).await;
        assert_eq!(world.get(&unpaid).await.status(), OrderStatus::PaymentLapsed);
        assert_eq!((ends(1).await, ends(3).await), (0, 1), "it expires when the grace is over");
        assert_eq!(world.get(&paid).await.status(), OrderStatus::Placed);
    }
}
