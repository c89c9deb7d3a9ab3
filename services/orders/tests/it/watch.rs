//! Watching.

use contract::orders::v1 as pb;
use domain::id::OrderId;
use orders::Config;
use pb::{OrderStatus, TenderState};
use test_world::{reason, soon, v7};
use tonic::{Code, Streaming};

use crate::world::{World, worlds, worlds_with};

async fn watch(world: &World, order: &pb::Order, after_version: i64) -> Streaming<pb::WatchOrderResponse> {
    let request = pb::WatchOrderRequest { order_id: order.order_id.clone(), after_version };
    world.client.clone().watch_order(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::WatchOrderResponse>) -> Option<pb::Order> {
    soon(stream.message()).await.unwrap().map(|message| message.order.unwrap())
}

#[tokio::test]
async fn a_watcher_sees_the_order_as_it_is_and_after_each_change() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let mut stream = watch(&world, &order, 0).await;
        assert_eq!(next(&mut stream).await.unwrap(), order);
        world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap().version, 3);
        world.confirm(&order).await;
        assert_eq!(next(&mut stream).await.unwrap().status(), OrderStatus::Confirmed);
    }
}

#[tokio::test]
async fn a_watcher_goes_on_from_the_version_it_has_seen_until_the_order_is_over() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let mut stream = watch(&world, &order, 1).await;
        world.try_cancel(&order, &[]).await.unwrap();
        let end = next(&mut stream).await.unwrap();
        assert_eq!((end.version, end.status()), (2, OrderStatus::Cancelled));
        assert!(next(&mut stream).await.is_none());
        assert!(next(&mut watch(&world, &order, 2).await).await.is_none(), "nothing is left to be seen");
        assert_eq!(next(&mut watch(&world, &order, 0).await).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn a_watcher_sees_changes_made_by_time_and_by_another_process() {
    for world in worlds_with(Config { watch_poll_ms: 50, ..Config::default() }).await {
        let order = world.unpaid().await;
        let mut stream = watch(&world, &order, 1).await;
        world.pass(15).await;
        assert_eq!(next(&mut stream).await.unwrap().status(), OrderStatus::PaymentLapsed);
        // SQLite belongs to one process.
        if world.db.engine() == db::Engine::Postgres {
            let other = world.another_process().await;
            world.clock.advance_to(domain::time::after_ms(world.now(), 300_000));
            other.run_due(world.now()).await.unwrap();
            assert_eq!(next(&mut stream).await.unwrap().status(), OrderStatus::Expired);
        }
    }
}

#[tokio::test]
async fn watchers_are_counted_and_make_room_when_they_leave() {
    let world = worlds_with(Config { max_watchers: 2, ..Config::default() }).await.remove(0);
    let order = world.unpaid().await;
    let (one, two) = (watch(&world, &order, 0).await, watch(&world, &order, 0).await);
    let request = || pb::WatchOrderRequest { order_id: order.order_id.clone(), after_version: 0 };
    let refused = world.client.clone().watch_order(request()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    drop((one, two));
    let mut third = watch(&world, &order, 0).await;
    assert_eq!(next(&mut third).await.unwrap().version, 1);
    let unknown = pb::WatchOrderRequest { order_id: OrderId::new(v7()).to_string(), after_version: 0 };
    assert_eq!(world.client.clone().watch_order(unknown).await.unwrap_err().code(), Code::NotFound);
}
