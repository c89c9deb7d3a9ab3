//! Pieces whose hold was lost while they waited for their payment: paid in time, they are looked for as what a node could
//! not do is.

use contract::orders::v1 as pb;
use contract::r#type::v1::Consent;
use pb::{Block, NeedState, OptionKind, OrderStatus, TenderState};

use crate::needs::{near, need};
use crate::world::{World, leg, line, refunds, request, worlds_with};

/// Worlds in which an order has an hour to be paid.
async fn patient() -> Vec<World> {
    worlds_with(orders::Config { payment_s: 3_600, hold_margin_s: 60, ..Default::default() }).await
}

/// An unpaid order at store-1, 6.50 in all, whose hold is lost: store-1 has nothing left.
async fn lost(world: &World, consent: Consent) -> pb::Order {
    let mut asked = request(&world.number(), vec![line("a", 3, 100)], TenderState::Due);
    asked.groups[0].consent = Some(consent);
    let order = world.try_place(asked).await.unwrap();
    world.fake.expire(&leg(&order).promise_token);
    world.fake.refuse_at("store-1", "NO_STOCK");
    world.end_hold_early().await;
    world.pass(10).await;
    let order = world.get(&order).await;
    assert_eq!(order.blocks().collect::<Vec<_>>(), [Block::Payment, Block::Stock]);
    order
}

#[tokio::test]
async fn what_is_paid_after_its_hold_was_lost_is_held_elsewhere_as_the_consent_allows() {
    for world in patient().await {
        let order = lost(&world, near()).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), refunds(&paid), paid.blocks.len()), (OrderStatus::Placed, (0, 0), 0));
        let opened = need(&paid);
        assert_eq!((opened.state(), opened.reason.as_str()), (NeedState::Seeking, "NO_STOCK"));
        assert_eq!((opened.fulfillment_id.as_str(), opened.offers, opened.excluded.len()), ("", 0, 0));
        assert!(paid.payment_due_time.is_none());
        world.run_due().await;
        let now = world.get(&order).await;
        assert_eq!((leg(&now).node_id.as_str(), need(&now).state()), ("store-2", NeedState::Sourced));
        let happened = world.happened(&order).await;
        // A release without work would be none.
        assert_eq!(happened, ["placed", "progressed", "paid", "need_opened", "rerouted"]);
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Rerouted(rerouted)) = &events[4].body else { panic!("{events:?}") };
        assert_eq!((rerouted.work.len(), rerouted.work[0].offer_number, rerouted.let_go.len()), (1, 1, 0));
        world.confirm(&now).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Confirmed, (0, 0)));
    }
}

#[tokio::test]
async fn without_consent_it_is_looked_for_at_its_node_and_the_customer_is_asked() {
    for world in patient().await {
        let order = lost(&world, Consent::default()).await;
        world.try_pay(&order, TenderState::Captured).await.unwrap();
        world.run_due().await;
        let asked = world.get(&order).await;
        assert_eq!((asked.status(), refunds(&asked)), (OrderStatus::Placed, (0, 0)));
        assert_eq!(asked.blocks().collect::<Vec<_>>(), [Block::Stock]);
        assert_eq!(need(&asked).state(), NeedState::Asked);
        let options = world.options(&order).await;
        let nodes: Vec<_> = options.iter().map(|o| (o.kind(), o.node_id.as_str())).collect();
        assert_eq!(nodes[0], (OptionKind::OtherNode, "store-2"));
        assert!(world.fake.holds().iter().all(|hold| hold.groups[0].node_id == "store-1"));
        // A delivery comes to the node that was named: nothing has to be answered.
        world.fake.grant_at("store-1");
        world.pass(1).await;
        let now = world.get(&order).await;
        assert_eq!((leg(&now).node_id.as_str(), need(&now).state()), ("store-1", NeedState::Sourced));
        assert!(now.blocks.is_empty());
    }
}

#[tokio::test]
async fn who_paid_and_does_not_answer_is_paid_back() {
    for world in patient().await {
        let silent = lost(&world, near()).await;
        world.fake.refuse_everywhere();
        world.try_pay(&silent, TenderState::Captured).await.unwrap();
        world.run_due().await;
        assert_eq!(need(&world.get(&silent).await).state(), NeedState::Asked);
        world.pass(24 * 60).await;
        let end = world.get(&silent).await;
        assert_eq!((end.status(), refunds(&end), end.blocks.len()), (OrderStatus::Cancelled, (650, 650), 0));
        assert_eq!(
            (need(&end).state(), end.lines[0].cancel_reason.as_str()),
            (NeedState::Dropped, "NO_STOCK")
        );
    }
}
