//! Clocks that leap, and far more that is due than usual: nothing ends by mistake.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clock::Clock;
use contract::orders::v1 as ord;
use domain::time::after_ms;
use entrepot::config::Service;
use flows::people::{order_at, unpaid};
use flows::processes::binary;
use flows::world::{NODE, World};
use test_world::until;

const HOUR: i64 = 3_600_000_000;

/// Until another process may, or may not, take over what is due in orders.
async fn until_free(world: &World, free: bool) {
    let db = world.platform.database(Service::Orders).expect("orders runs here");
    let is_held = async || {
        let mut tx = db.read().await.expect("the database answers");
        bus::lease::is_held(&mut tx, "timers").await.expect("the database answers")
    };
    until(&format!("the lease of the timers is free: {free}"), async || is_held().await != free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaping_clock_ends_nothing_and_its_return_goes_on() {
    let shift = Arc::new(AtomicI64::new(0));
    let world = World::on_clock(Clock::shifted(Arc::clone(&shift)), |config| {
        config.orders.payment_s = 600;
        config.orders.payment_grace_s = 600;
    })
    .await;
    let clock = world.platform.clock().clone();
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 4)]).await;
    let order = web.place(unpaid(order_at(NODE, &[("TEA", 2, 500)]))).await;
    let placed = clock.business();
    shift.store(HOUR, Ordering::SeqCst);
    until("the leap is seen", async || clock.leap().is_some()).await;
    assert!(clock.business().as_microsecond() - placed.as_microsecond() < HOUR / 12, "time did not leap");
    let paused = || world.platform.paused(Service::Orders).is_some();
    until("the timers wait for the clock", async || paused()).await;
    until_free(&world, true).await;
    world.settle().await;
    assert_eq!(web.order(&order.order_id).await.status(), ord::OrderStatus::Placed);
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 2);
    shift.store(0, Ordering::SeqCst);
    until("the clock is back", async || clock.leap().is_none()).await;
    until_free(&world, false).await;
    let paid = web.pay(&order).await;
    web.order_when(&paid.order_id, |order| order.status() == ord::OrderStatus::Confirmed).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_waits_for_the_clock_and_a_surge_waits_for_an_operator() {
    let shift = Arc::new(AtomicI64::new(0));
    let world = World::on_clock(Clock::shifted(Arc::clone(&shift)), |config| {
        config.orders.payment_s = 1;
        config.timers.most_at_once = 2;
    })
    .await;
    let clock = world.platform.clock().clone();
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 9)]).await;
    shift.store(-HOUR, Ordering::SeqCst);
    until("the leap is seen", async || clock.leap().is_some()).await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(web.place(unpaid(order_at(NODE, &[("TEA", 1, 500)]))).await);
    }
    let why = || world.platform.paused(Service::Orders).unwrap_or_default();
    until("the timers wait for the clock", async || why().contains("the clock of this machine leapt back"))
        .await;
    let due = after_ms(clock.business(), 1_100);
    until("all are due", async || clock.business() > due).await;
    shift.store(0, Ordering::SeqCst);
    until("the timers wait for an operator", async || why().contains("more than 2 are due at once")).await;
    for order in &orders {
        assert_eq!(web.order(&order.order_id).await.status(), ord::OrderStatus::Placed);
    }
    let resume = |actor: &str| {
        let data = world.platform.data_directory();
        let mut command = Command::new(binary());
        command.args(["timers", "resume", "--actor", actor, "--data"]).arg(data).output().unwrap()
    };
    let refused = resume("somebody");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--actor somebody"), "{refused:?}");
    assert!(why().contains("more than 2 are due at once"), "nobody has said that they may go on");
    let resumed = resume("ops/test");
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(String::from_utf8_lossy(&resumed.stdout).contains("go on within a second"), "{resumed:?}");
    for order in &orders {
        web.order_when(&order.order_id, |order| order.status() != ord::OrderStatus::Placed).await;
    }
    until("the timers go on", async || world.platform.paused(Service::Orders).is_none()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_due_while_the_clock_runs_on_is_ended_however_much_it_is() {
    let world = World::on_clock(Clock::system(), |config| {
        config.orders.payment_s = 2;
        config.timers.most_at_once = 1;
    })
    .await;
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    ops.stock(NODE, &[("TEA", 9)]).await;
    let lines = [("TEA", 1, 500)];
    let placing = (0..6).map(|_| web.place(unpaid(order_at(NODE, &lines))));
    for order in futures_util::future::join_all(placing).await {
        web.order_when(&order.order_id, |order| order.status() != ord::OrderStatus::Placed).await;
    }
    assert_eq!(world.platform.paused(Service::Orders), None);
    world.stop().await;
}
