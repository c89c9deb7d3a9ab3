//! Orders while connections go silent: nothing is closed, nothing answers.

use std::time::{Duration, Instant};

use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::world::{NODE, World};

/// Far more than it takes (about 2.5 s), and less than any of the limits that would end the wait otherwise.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_soon_after_all_connections_to_the_database_went_silent() {
    let Some((world, proxy)) = World::postgres_behind_proxy().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    world.settle().await;
    for _ in 0..2 {
        proxy.forget();
        let silent = Instant::now();
        let order = web.insist(order_at(NODE, &[("TEA", 1, 500)])).await.expect("the order is placed");
        assert!(silent.elapsed() < SOON, "{:?}", silent.elapsed());
        // nothing that waits on one of the old connections holds the order up
        web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
        world.settle().await;
    }
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_refused_while_the_database_is_away_and_placed_once_it_is_back() {
    let Some((world, proxy)) = World::postgres_behind_proxy().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    proxy.freeze();
    let refused = web.try_place(order_at(NODE, &[("TEA", 1, 500)])).await.expect_err("no database answers");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    proxy.heal();
    let order = web.insist(order_at(NODE, &[("TEA", 1, 500)])).await.expect("the order is placed");
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    ops.audit().await;
    world.stop().await;
}
