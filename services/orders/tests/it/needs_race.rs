//! Choices, silence, cancels and timers that meet at one need, in two processes: one of them decides, and no hold is left.

use std::sync::Arc;

use contract::orders::v1 as pb;
use contract::orders::v1::order_service_client::OrderServiceClient;
use contract::r#type::v1::Consent;
use domain::time::after_ms;
use orders::Orders;
use pb::NeedState;
use server::Peer;
use test_world::{by, fresh, reason};

use crate::needs::{near, need, placed_with, refused};
use crate::needs_choice::asked;
use crate::world::{World, chosen, refunds, worlds};

/// How often each race is run.
const ROUNDS: usize = 12;

/// The worlds on PostgreSQL, each with another process on the same database.
async fn raced() -> Vec<(World, Arc<Orders>)> {
    let mut all = Vec::new();
    for world in worlds().await {
        if world.db.engine() == db::Engine::Postgres {
            let other = world.another_process().await;
            all.push((world, other));
        }
    }
    all
}

fn client(of: &Arc<Orders>) -> OrderServiceClient<Peer> {
    OrderServiceClient::new(of.peer())
}

/// The order is consistent: the sums of its needs and legs agree, each piece is once somewhere, and what is not delivered any
/// more was paid back once.
async fn settled(world: &World, order: &pb::Order) -> pb::Order {
    let now = world.get(order).await;
    for line in &now.lines {
        let b = line.buckets.unwrap();
        let sum = b.open + b.reserved + b.allocated + b.cancelled;
        assert_eq!(sum, line.quantity, "{now:?}");
    }
    let is_gone = now.lines.iter().all(|line| line.buckets.unwrap().cancelled == line.quantity);
    assert_eq!(refunds(&now).1, if is_gone { 760 } else { 0 });
    let broken = "SELECT COUNT(*) AS n FROM (
            SELECT l.order_id, l.leg_no, l.line_no, l.short + l.given_up AS failed,
                   COALESCE((SELECT CAST(SUM(p.quantity) AS BIGINT) FROM order_needs n JOIN order_need_lines p
                               ON p.order_id = n.order_id AND p.need_no = n.need_no
                              WHERE n.order_id = l.order_id AND n.leg_no = l.leg_no AND p.line_no = l.line_no), 0) AS needed
              FROM order_leg_lines l) AS s WHERE s.failed <> s.needed";
    assert_eq!(world.count(broken).await, 0);
    now
}

/// As many holds are live as legs were ever made with them.
async fn no_hold_is_left(world: &World) {
    let legs = "SELECT COUNT(DISTINCT promise_token) AS n FROM order_legs";
    assert_eq!(i64::try_from(world.fake.live()).unwrap(), world.count(legs).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_meets_silence() {
    for (world, other) in raced().await {
        for round in 0..ROUNDS {
            let (order, options) = asked(&world).await;
            let due = after_ms(world.now(), 24 * 3_600_000);
            // Every second round the choice comes a moment before the clock.
            let early = i64::from(round % 2 == 0);
            world.clock.advance_to(after_ms(due, -early));
            let option = options.iter().find(|o| o.kind() == pb::OptionKind::Drop).unwrap();
            let choose = world.try_choose(&order, option);
            let (choice, due) = tokio::join!(choose, other.run_due(due));
            due.unwrap();
            let end = settled(&world, &order).await;
            assert_eq!(need(&end).state(), NeedState::Dropped);
            if let Err(late) = choice {
                assert_eq!(reason(&late), "NEED_OVER");
            }
        }
        no_hold_is_left(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_meets_a_cancel() {
    for (world, other) in raced().await {
        for _ in 0..ROUNDS {
            let (order, options) = asked(&world).await;
            let cancel = pb::CancelOrderRequest {
                request_id: fresh(),
                order_id: order.order_id.clone(),
                lines: Vec::new(),
                reason: "CHANGED_MIND".to_owned(),
            };
            let mut tab = client(&other);
            let cancel = tab.cancel_order(by("channel/web", cancel));
            let (choice, cancelled) = tokio::join!(world.try_choose(&order, &options[0]), cancel);
            let now = settled(&world, &order).await;
            match choice {
                // The cancel is asked of the new node, or it took the order as a whole.
                Ok(_) => {
                    assert_eq!(need(&now).state(), NeedState::Sourced);
                    cancelled.unwrap();
                }
                Err(late) => {
                    assert!(["NEED_OVER", "ORDER_CHANGED"].contains(&reason(&late).as_str()), "{late}");
                    assert_eq!(need(&now).state(), NeedState::Dropped);
                }
            }
        }
        no_hold_is_left(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_choose_at_once() {
    for (world, other) in raced().await {
        for round in 0..ROUNDS {
            let (order, options) = asked(&world).await;
            let second = if round % 2 == 0 { &options[1] } else { options.last().unwrap() };
            let mut tab = client(&other);
            let second = tab.choose_option(by("channel/web", chosen(&order, second)));
            let (first, second) = tokio::join!(world.try_choose(&order, &options[0]), second);
            let (first, second) = (first.map(|_| ()), second.map(|_| ()));
            assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "{first:?} {second:?}");
            let late = first.and(second).unwrap_err();
            assert_eq!(reason(&late), "NEED_OVER");
            settled(&world, &order).await;
        }
        no_hold_is_left(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_timers_look_for_the_same_pieces() {
    for (world, other) in raced().await {
        for _ in 0..ROUNDS {
            let order = placed_with(&world, near()).await;
            world.reject(&order, contract::fulfillment::v1::RejectReason::NotFound).await;
            let now = world.now();
            let (one, two) = tokio::join!(world.service.run_due(now), other.run_due(now));
            one.and(two).unwrap();
            let end = settled(&world, &order).await;
            assert_eq!((need(&end).state(), end.groups[0].legs.len()), (NeedState::Sourced, 2));
        }
        no_hold_is_left(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_meets_the_new_leg() {
    for (world, other) in raced().await {
        for _ in 0..ROUNDS {
            let order = placed_with(&world, near()).await;
            world.reject(&order, contract::fulfillment::v1::RejectReason::NotFound).await;
            let (cancel, sought) = tokio::join!(world.try_cancel(&order, &[]), other.run_due(world.now()));
            sought.unwrap();
            let (_, outcome) = cancel.unwrap();
            let now = settled(&world, &order).await;
            let is_new = now.groups[0].legs.len() == 2;
            assert_eq!(outcome == pb::CancelOutcome::Pending, is_new, "{now:?}");
        }
        no_hold_is_left(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_and_a_round_of_looking_meet() {
    for (world, other) in raced().await {
        for _ in 0..ROUNDS {
            let order = placed_with(&world, Consent { other_node_radius_m: 1, ..Consent::default() }).await;
            let order = refused(&world, &order).await;
            let option = &world.options(&order).await[0];
            let later = after_ms(world.now(), 60_000);
            world.clock.advance_to(later);
            let (choice, sought) = tokio::join!(world.try_choose(&order, option), other.run_due(later));
            sought.unwrap();
            choice.unwrap();
            assert_eq!(need(&settled(&world, &order).await).state(), NeedState::Sourced);
        }
        no_hold_is_left(&world).await;
    }
}
