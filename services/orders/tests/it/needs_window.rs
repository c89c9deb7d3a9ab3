//! When pieces of needs are offered: within the window that was wanted, and at the node that failed once it has them.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::r#type::v1::Window;
use domain::time::after_ms;
use ful::RejectReason;
use pb::{NeedState, OptionKind, TenderState};
use test_world::stamp;

use crate::needs::{need, picked_short, refused};
use crate::world::{leg, line, request, worlds};

/// The option to wait for goods at a node.
pub(crate) fn wait_at(options: &[pb::NeedOption]) -> Option<&pb::NeedOption> {
    options.iter().find(|option| option.kind() == OptionKind::Wait && !option.node_id.is_empty())
}

#[tokio::test]
async fn the_first_node_is_waited_for_whatever_it_failed_for_once_it_has_the_goods() {
    for world in worlds().await {
        let order = world.paid().await;
        world.confirm(&order).await;
        picked_short(&world, &order, ful::ShortReason::Damaged).await;
        world.run_due().await;
        let options = world.options(&order).await;
        assert_eq!(wait_at(&options).unwrap().node_id, "store-1", "it has others of them");
        // Not found: it has none until they are counted.
        let order = world.paid().await;
        refused(&world, &order).await;
        assert_eq!(wait_at(&world.options(&order).await), None);
        world.fake.end_counts();
        world.pass(1).await;
        let options = world.options(&order).await;
        let now = world.try_choose(&order, wait_at(&options).unwrap()).await.unwrap();
        assert_eq!((leg(&now).node_id.as_str(), need(&now).state()), ("store-1", NeedState::Sourced));
        // The same node again is no other node.
        let again = refused(&world, &now).await;
        assert_eq!(again.needs.iter().map(|need| need.offers).collect::<Vec<_>>(), [1, 1]);
    }
}

#[tokio::test]
async fn options_are_ready_when_the_goods_are_wanted_and_never_before() {
    for world in worlds().await {
        let hours = |hours: i64| Some(stamp(after_ms(world.now(), hours * 3_600_000)));
        let lines = vec![line("a", 3, 100), line("b", 2, 55)];
        let mut asked = request(&world.number(), lines, TenderState::Captured);
        let wanted = Window { start_time: hours(24), end_time: hours(26) };
        asked.groups[0].wanted_window = Some(wanted);
        let order = world.try_place(asked.clone()).await.unwrap();
        world.reject(&order, RejectReason::TooBusy).await;
        world.run_due().await;
        let options = world.options(&order).await;
        let ready = |options: &[pb::NeedOption]| -> Vec<_> {
            let windows = options.iter().filter_map(|option| option.window);
            windows.map(|window| window.start_time).collect()
        };
        assert_eq!(ready(&options), vec![wanted.start_time; 4]);
        for question in world.fake.done::<ful::GetPromiseRequest>("GetPromise") {
            assert_eq!(question.wanted_window, Some(wanted));
        }
        let now = world.try_choose(&order, wait_at(&options).unwrap()).await.unwrap();
        assert_eq!(leg(&now).window.unwrap().start_time, wanted.start_time);
        let held = world.fake.holds().pop().unwrap().groups[0].wanted_window.unwrap();
        assert_eq!(held.start_time, wanted.start_time, "and not an hour before");
        // What is never ready in the window is offered later, and not sooner.
        asked.channel_order_id = world.number();
        asked.request_id = test_world::fresh();
        let order = world.try_place(asked).await.unwrap();
        world.fake.ready_after(30);
        world.reject(&order, RejectReason::TooBusy).await;
        world.run_due().await;
        assert_eq!(ready(&world.options(&order).await), vec![hours(30); 4]);
    }
}
