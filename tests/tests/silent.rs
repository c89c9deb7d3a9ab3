//! Orders while connections go silent: nothing is closed, nothing answers.

use std::time::{Duration, Instant};

use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::processes::Processes;
use flows::proxy::Proxy;
use flows::world::{NODE, People, World};

/// How soon an order is placed after any one kind of connection went silent: 5 s, and room for a machine that runs
/// other tests. It bounds an outage, not the speed of the program.
const SOON: Duration = Duration::from_secs(8);

/// Places an order and answers how long that took, over all tries.
async fn placed_after(web: &People, silent: Instant) -> ord::Order {
    let order = web.insist(order_at(NODE, &[("TEA", 1, 500)])).await.expect("the order is placed");
    assert!(silent.elapsed() < SOON, "placed after {:?}", silent.elapsed());
    order
}

async fn confirmed(web: &People, order: &ord::Order) {
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_soon_after_all_connections_to_the_database_went_silent() {
    let Some((world, proxy)) = World::postgres_behind_proxy().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    world.settle().await;
    for _ in 0..2 {
        proxy.forget();
        let order = placed_after(&web, Instant::now()).await;
        // nothing that waits on one of the old connections holds the order up
        confirmed(&web, &order).await;
        world.settle().await;
    }
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_soon_after_all_connections_between_services_went_silent() {
    let Some((processes, between)) = Processes::behind_proxies().await else { return };
    let (ops, web) = (processes.people("ops/test"), processes.people("channel/web"));
    ops.put_node(NODE).await;
    ops.stock(NODE, &[("TEA", 10)]).await;
    processes.settle().await;
    web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    for _ in 0..2 {
        for asked in ["inventory", "fulfillment"] {
            assert!(between[asked].accepted() > 0, "{asked} is called through its proxy");
        }
        between.values().for_each(Proxy::forget);
        let order = placed_after(&web, Instant::now()).await;
        confirmed(&web, &order).await;
    }
    processes.settle().await;
    ops.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_at_once_while_the_broker_is_silent_and_confirmed_after_it() {
    let Some((world, path)) = World::kafka_behind_proxy().await else { return };
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let before = web.place(order_at(NODE, &[("TEA", 1, 500)])).await;
    confirmed(&web, &before).await;
    path.proxy.freeze();
    let order = placed_after(&web, Instant::now()).await;
    assert_eq!(web.order(&order.order_id).await.status(), ord::OrderStatus::Placed, "no event gets through");
    path.proxy.heal();
    confirmed(&web, &order).await;
    // and after connections that stay silent
    path.proxy.forget();
    let order = placed_after(&web, Instant::now()).await;
    confirmed(&web, &order).await;
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
    confirmed(&web, &order).await;
    ops.audit().await;
    world.stop().await;
}
