//! Promises that move: they are named, and never move beyond what was agreed.

use contract::fulfillment::v1::PromiseState;
use contract::orders::v1 as pb;
use domain::time::after_ms;
use orders::Config;
use pb::{NeedState, OptionKind, OrderStatus, TenderState};
use test_world::{reason, stamp};
use tonic::Code;

use crate::world::{World, leg, line, refunds, request, worlds, worlds_with};

/// The stand-in promises everything for an hour later.
const MINUTE_MS: i64 = 60_000;

/// An unpaid order whose goods must be ready so soon.
fn within(world: &World, minutes: i64) -> pb::PlaceOrderRequest {
    let mut asked = request(&world.number(), vec![line("a", 3, 100)], TenderState::Due);
    let limit = after_ms(world.clock.business(), minutes * MINUTE_MS);
    asked.groups[0].not_later_than_time = Some(stamp(limit));
    asked
}

#[tokio::test]
async fn a_promise_that_moves_with_a_late_payment_is_told() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let before = leg(&order).window;
        world.pass(16).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "paid", "moved", "unblocked"]);
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::PromiseMoved(moved)) = &events[3].body else { panic!() };
        assert_eq!(moved.moves.len(), 1);
        let to = &moved.moves[0];
        assert_eq!((to.group, to.node_id.as_str()), (1, "store-1"));
        assert_eq!((to.from, to.to), (before, leg(&paid).window));
        assert_ne!(to.from, to.to);
        assert!(world.steps(&order).await.contains(&"PROMISE_MOVED".to_owned()));
    }
}

#[tokio::test]
async fn a_late_payment_that_would_move_a_promise_too_far_is_asked_about() {
    for world in worlds().await {
        let order = world.try_place(within(&world, 65)).await.unwrap();
        world.pass(16).await;
        let live = world.fake.live();
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), refunds(&paid), paid.blocks.len()), (OrderStatus::Placed, (0, 0), 0));
        assert_eq!(paid.needs[0].reason, "LATER_THAN_WANTED");
        world.run_due().await;
        assert_eq!(world.fake.live(), live, "what was held for it is given back");
        let asked = world.get(&order).await;
        assert_eq!(asked.needs[0].state(), NeedState::Asked);
        let happened = world.happened(&order).await;
        assert_eq!(happened, ["placed", "lapsed", "paid", "need_opened", "options_offered"]);
        let text =
            &world.timeline(&order).await.iter().find(|e| e.step == "NEED_OPENED").unwrap().text.clone();
        assert!(text.contains("later than wanted"), "{text}");
        // The same node, later, is one of the ways out.
        let options = world.options(&order).await;
        let kinds: Vec<_> = options.iter().map(|o| (o.kind(), o.node_id.as_str())).collect();
        let other = OptionKind::OtherNode;
        let nodes = [(other, "store-2"), (other, "store-3"), (other, "store-4")];
        let rest = [(OptionKind::Wait, "store-1"), (OptionKind::Wait, ""), (OptionKind::Drop, "")];
        assert_eq!(kinds, [&nodes[..], &rest[..]].concat());
        let now = world.try_choose(&order, &options[3]).await.unwrap();
        assert_eq!((leg(&now).node_id.as_str(), refunds(&now)), ("store-1", (0, 0)));
        world.confirm(&now).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), end.blocks.len()), (OrderStatus::Confirmed, 0));
    }
}

#[tokio::test]
async fn an_order_is_not_placed_for_later_than_it_may_be() {
    for world in worlds().await {
        let asked = within(&world, 30);
        let refused = world.try_place(asked.clone()).await.unwrap_err();
        let facts = server::status::facts(&refused);
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "LATER_THAN_WANTED")
        );
        assert_eq!(facts["group"], "1");
        assert!(facts["ready_time"] > facts["not_later_than_time"], "{facts:?}");
        assert_eq!(world.fake.live(), 0);

        // On a promise of the shopper: it stays the shopper's, as long as it was.
        let token = world.fake.hold_for(&[(1, "a", 3)]);
        let on_promise = pb::PlaceOrderRequest { promise_token: token.clone(), ..asked };
        let refused = world.try_place(on_promise).await.unwrap_err();
        assert_eq!(reason(&refused), "LATER_THAN_WANTED");
        assert_eq!((world.fake.promise(&token).state(), world.fake.extensions()), (PromiseState::Live, 0));
    }
}

/// Worlds in which an order has two hours to be paid, and its goods are promised for one hour later.
async fn patient() -> Vec<World> {
    let never = 31_536_000;
    let config = Config { work_check_s: never, progress_check_s: never, ..Config::default() };
    worlds_with(Config { payment_s: 7_200, hold_s: 7_200, ..config }).await
}

#[tokio::test]
async fn a_promise_whose_time_passes_before_the_payment_moves_with_it() {
    for world in patient().await {
        let order = world.unpaid().await;
        let before = leg(&order).clone();
        world.pass(60).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        let happened = world.happened(&order).await;
        assert_eq!(happened[happened.len() - 3..], ["paid", "moved", "unblocked"], "{happened:?}");
        let now = leg(&paid);
        assert_eq!(
            now.window.and_then(|window| window.start_time),
            Some(stamp(after_ms(world.now(), 60 * MINUTE_MS)))
        );
        assert_eq!(now.node_id, before.node_id);
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::PromiseMoved(moved)) = &events[events.len() - 2].body else {
            panic!()
        };
        assert_eq!((moved.moves[0].from, moved.moves[0].to), (before.window, now.window));
        let Some(pb::order_event::Body::Unblocked(unblocked)) = &events[events.len() - 1].body else {
            panic!()
        };
        let work: Vec<_> = unblocked.work.iter().map(|work| work.fulfillment_id.as_str()).collect();
        assert_eq!(work, [now.fulfillment_id.as_str()]);
        assert!(world.steps(&order).await.contains(&"PROMISE_MOVED".to_owned()));
        let asked = world.fake.done::<contract::fulfillment::v1::HoldPromiseRequest>("HoldPromise");
        assert!(asked.last().unwrap().instead_of.contains(&before.fulfillment_id), "it takes the old place");
    }
}

#[tokio::test]
async fn a_payment_after_the_promised_time_is_asked_about_where_later_was_not_wanted() {
    for world in patient().await {
        let order = world.try_place(within(&world, 65)).await.unwrap();
        world.pass(61).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), refunds(&paid)), (OrderStatus::Placed, (0, 0)));
        world.run_due().await;
        let asked = world.get(&order).await;
        assert_eq!(
            (asked.needs[0].state(), asked.needs[0].reason.as_str()),
            (NeedState::Asked, "LATER_THAN_WANTED")
        );
        let asked_for = world.fake.holds().pop().unwrap();
        assert_eq!(
            asked_for.instead_of,
            [leg(&order).fulfillment_id.clone()],
            "the late leg may still have a claim"
        );
        world.pass(24 * 60).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (650, 650)));
        assert_eq!(end.refunds[0].reason, "LATER_THAN_WANTED");
    }
}
