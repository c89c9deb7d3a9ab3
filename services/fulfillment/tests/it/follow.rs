//! The view of the stock: a snapshot, and then what inventory's topic tells.

use std::time::Duration;

use bus::{Bus, Event, Topic};
use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use domain::id::derived;
use prost::Message as _;
use test_world::{by, until};
use tokio_util::sync::CancellationToken;

use crate::support::{World, cart, store, worlds};

async fn can_be_had(world: &World, quantity: i64) -> bool {
    let request = pb::GetPromiseRequest { lines: cart(&[("A", quantity)]), ..Default::default() };
    let answer = world.promises().get_promise(by("customer/1", request)).await.unwrap();
    !answer.into_inner().options.is_empty()
}

async fn shows(world: &World, quantity: i64, wanted: bool) {
    until("the view follows", async || can_be_had(world, quantity).await == wanted).await;
}

async fn tell(world: &World, atp: i64, version: i64) {
    let position = stock::Position {
        node_id: "lon-1".to_owned(),
        sku: "A".to_owned(),
        on_hand: atp,
        atp,
        version,
        ..Default::default()
    };
    let changed = stock::PositionChanged { position: Some(position), occurred_time: None };
    let body = Some(stock::inventory_event::Body::PositionChanged(changed));
    let event = Event {
        topic: Topic::Inventory,
        aggregate_type: "position",
        aggregate: derived("position", "lon-1|A"),
        sequence: version,
        event_type: "entrepot.inventory.v1.PositionChanged",
        payload: stock::InventoryEvent { body }.encode_to_vec(),
        occurred_at: world.clock.business(),
        actor: "service/inventory".to_owned(),
    };
    let mut tx = world.db.begin().await.unwrap();
    bus::outbox::append(&mut tx, &[event]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn the_view_of_the_stock_follows_the_positions() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.inventory.put("lon-1", "A", 3);
        let bus = Bus::local(world.clock.clone());
        let stop = CancellationToken::new();
        let relay = tokio::spawn(bus.relay(&world.db, "inventory").run(stop.clone()));
        let follow = tokio::spawn({
            let (service, stop) = (world.service.clone(), stop.clone());
            let subscription = bus.subscribe(fulfillment::STOCK_TOPICS);
            async move { service.follow_stock(stop, subscription).await }
        });
        shows(&world, 3, true).await;
        assert!(!can_be_had(&world, 4).await);
        tell(&world, 9, 2).await;
        shows(&world, 9, true).await;
        tell(&world, 1, 3).await;
        shows(&world, 2, false).await;
        assert!(can_be_had(&world, 1).await);
        stop.cancel();
        follow.await.unwrap();
        relay.await.unwrap();
    }
}

#[tokio::test]
async fn the_view_is_read_as_soon_as_inventory_is_there() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.inventory.put("lon-1", "A", 3);
        world.inventory.go_down(true);
        let bus = Bus::local(world.clock.clone());
        let stop = CancellationToken::new();
        let follow = tokio::spawn({
            let (service, stop) = (world.service.clone(), stop.clone());
            let subscription = bus.subscribe(fulfillment::STOCK_TOPICS);
            async move { service.follow_stock(stop, subscription).await }
        });
        world.clock.pause(Duration::from_millis(50)).await;
        world.inventory.go_down(false);
        shows(&world, 3, true).await;
        stop.cancel();
        follow.await.unwrap();
    }
}

#[tokio::test]
async fn events_are_applied_while_a_new_snapshot_is_read() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.inventory.put("lon-1", "A", 3);
        let config = fulfillment::Config { stock_view_rebuild_s: 1, ..Default::default() };
        let world = world.with(config).await;
        assert!(world.service.stock_view().unwrap().starts_with("read "));
        let bus = Bus::local(world.clock.clone());
        let stop = CancellationToken::new();
        let relay = tokio::spawn(bus.relay(&world.db, "inventory").run(stop.clone()));
        let follow = tokio::spawn({
            let (service, stop) = (world.service.clone(), stop.clone());
            let subscription = bus.subscribe(fulfillment::STOCK_TOPICS);
            async move { service.follow_stock(stop, subscription).await }
        });
        shows(&world, 3, true).await;
        world.inventory.go_silent();
        // Long enough for the next snapshot to begin.
        world.clock.pause(Duration::from_millis(1_200)).await;
        tell(&world, 9, 2).await;
        shows(&world, 9, true).await;
        stop.cancel();
        follow.await.unwrap();
        relay.await.unwrap();
    }
}
