//! What an order asks of fulfillment is asked for the channel that it came by.

use contract::fulfillment::v1 as ful;
use contract::orders::v1::TenderState;
use ful::RejectReason;
use test_world::fields;

use crate::needs::{near, placed_with};
use crate::world::{line, request, worlds};

#[tokio::test]
async fn holds_and_questions_name_the_channel_and_pieces_of_an_order_count_for_nobody_again() {
    for world in worlds().await {
        let order = placed_with(&world, near()).await;
        world.confirm(&order).await;
        world.reject(&order, RejectReason::TooBusy).await;
        // None of those that the consent allows; farther ones are options.
        world.fake.refuse_at("store-2", "NO_STOCK");
        world.fake.refuse_at("store-3", "NO_STOCK");
        world.run_due().await;
        let option = world.options(&world.get(&order).await).await.remove(0);
        world.try_choose(&order, &option).await.unwrap();
        let holds = world.fake.holds();
        assert!(holds.len() >= 3, "placed, sought and chosen: {holds:?}");
        assert!(holds.iter().all(|hold| hold.channel == "web"), "{holds:?}");
        let counted: Vec<bool> = holds.iter().map(|hold| !hold.on_behalf_of.is_empty()).collect();
        let (first, again) = counted.split_first().unwrap();
        assert!(
            *first && !again.contains(&true),
            "what is the order's already is no new hold of its customer"
        );
        let questions = world.fake.done::<ful::GetPromiseRequest>("GetPromise");
        assert!(!questions.is_empty() && questions.iter().all(|asked| asked.channel == "web"));
    }
}

#[tokio::test]
async fn an_order_is_placed_on_what_is_held_for_its_own_channel_or_for_none() {
    for world in worlds().await {
        let token = world.fake.hold_for(&[(1, "a", 3)]);
        let mut asked = request("x1", vec![line("a", 3, 100)], TenderState::Captured);
        asked.promise_token.clone_from(&token);
        asked.groups.clear();
        world.fake.sell_through(&token, "app");
        let no = world.try_place(asked.clone()).await.unwrap_err();
        assert_eq!(fields(&no), ["promise_token"]);
        assert!(no.message().contains("is held for channel app"), "{}", no.message());
        assert_eq!(world.fake.extensions(), 0, "it lives no longer for it");
        world.fake.sell_through(&token, "web");
        world.try_place(asked).await.unwrap();
    }
}
