//! What orders and inventory tell, and what becomes of promises and work.

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body;
use contract::r#type::v1 as common;
use domain::id::{OrderId, PromiseToken};
use jiff::SignedDuration;
use prost::Message as _;
use test_world::{at, by, stamp, v7};

use crate::support::{World, hold, store, worlds};

pub(crate) async fn shop() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 10)]).await;
    }
    worlds
}

async fn held(world: &World) -> pb::Promise {
    let answer = world.promises().hold_promise(by("service/orders", hold("lon-1", &[("A", 3)]))).await;
    answer.unwrap().into_inner().promise.unwrap()
}

async fn state(world: &World, promise: &pb::Promise) -> pb::PromiseState {
    let request = pb::GetPromiseTokenRequest { promise_token: promise.promise_token.clone() };
    let answer = world.promises().get_promise_token(by("service/orders", request)).await.unwrap();
    answer.into_inner().promise.unwrap().state()
}

/// The leg of a promise; of one that nobody held, some leg.
pub(crate) fn leg(promise: &pb::Promise) -> String {
    assert!(promise.legs.len() <= 1);
    let unknown = || promise.promise_token.replace("prm_", "ful_");
    promise.legs.first().map_or_else(unknown, |leg| leg.fulfillment_id.clone())
}

pub(crate) fn work(promise: &pb::Promise) -> orders::WorkRequest {
    let window = common::Window {
        start_time: Some(stamp(at("2026-01-12T10:30:00Z"))),
        end_time: Some(stamp(at("2026-01-14T10:30:00Z"))),
    };
    orders::WorkRequest {
        fulfillment_id: leg(promise),
        promise_token: promise.promise_token.clone(),
        group: 1,
        method: common::Method::Pickup.into(),
        node_id: "lon-1".to_owned(),
        lines: vec![orders::WorkLine {
            line: 1,
            sku: "A".to_owned(),
            name: "An A".to_owned(),
            quantity: 3,
            due: None,
        }],
        window: Some(window),
        channel: "web".to_owned(),
        channel_order_id: "1".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn cancelling(promise: &pb::Promise, cancel_number: i64) -> Body {
    let lines = vec![common::LineQuantity { line: 1, quantity: 3 }];
    let leg = orders::LegCancel { fulfillment_id: leg(promise), lines };
    Body::CancelRequested(orders::OrderCancelRequested {
        cancel_number,
        legs: vec![leg],
        reason: "CUSTOMER".to_owned(),
    })
}

pub(crate) fn placed(promise: &pb::Promise, is_blocked: bool) -> Body {
    let blocks = if is_blocked { vec![orders::Block::Payment.into()] } else { Vec::new() };
    Body::Placed(orders::OrderPlaced { work: vec![work(promise)], blocks, ..Default::default() })
}

async fn tell(
    world: &World,
    topic: Topic,
    aggregate_type: &str,
    payload: Vec<u8>,
) -> Result<(), bus::HandleError> {
    batch(world, &[delivered(world, topic, aggregate_type, payload)]).await
}

fn delivered(world: &World, topic: Topic, aggregate_type: &str, payload: Vec<u8>) -> Delivered {
    test_world::delivered(topic, aggregate_type, payload, world.now())
}

/// Events in one transaction, as the bus brings them.
pub(crate) async fn batch(world: &World, events: &[Delivered]) -> Result<(), bus::HandleError> {
    match events {
        [event] => world.hear(event).await,
        events => world.hear_all(events).await,
    }
}

pub(crate) async fn deliver(world: &World, order: OrderId, body: Body) {
    batch(world, &[of_orders(world, order, body)]).await.unwrap();
}

/// What an order tells.
pub(crate) fn of_orders(world: &World, order: OrderId, body: Body) -> Delivered {
    let event = orders::OrderEvent {
        order_id: order.to_string(),
        version: 1,
        body: Some(body),
        ..Default::default()
    };
    delivered(world, Topic::Orders, "order", event.encode_to_vec())
}

const WORK: &str = "SELECT COUNT(*) AS n FROM fulfillment_orders";

#[tokio::test]
async fn an_order_without_blocks_takes_its_promise_and_becomes_work() {
    for world in shop().await {
        let (promise, order) = (held(&world).await, OrderId::new(v7()));
        deliver(&world, order, placed(&promise, false)).await;
        assert_eq!(state(&world, &promise).await, pb::PromiseState::Confirmed);
        assert_eq!(world.count(WORK).await, 1);
        deliver(&world, order, placed(&promise, false)).await;
        assert_eq!((world.count(WORK).await, world.taken().await), (1, 1));
    }
}

#[tokio::test]
async fn an_order_that_has_no_legs_yet_is_no_work_and_no_fault() {
    for world in shop().await {
        let (promise, order) = (held(&world).await, OrderId::new(v7()));
        deliver(&world, order, Body::Placed(orders::OrderPlaced::default())).await;
        deliver(&world, order, Body::Unblocked(orders::OrderUnblocked::default())).await;
        assert_eq!(world.count(WORK).await, 0);
        // Its leg comes later, when goods are found.
        let found = orders::OrderRerouted { work: vec![work(&promise)], ..Default::default() };
        deliver(&world, order, Body::Rerouted(found)).await;
        assert_eq!(world.count(WORK).await, 1);
        let nothing = of_orders(&world, order, Body::Rerouted(orders::OrderRerouted::default()));
        assert!(batch(&world, &[nothing]).await.is_err(), "a reroute names its legs");
    }
}

#[tokio::test]
async fn an_order_with_two_legs_becomes_work_at_two_nodes_once() {
    for world in shop().await {
        world.put(vec![store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-2", "A", 10)]).await;
        let (first, order) = (held(&world).await, OrderId::new(v7()));
        let second = world.promises().hold_promise(by("service/orders", hold("lon-2", &[("A", 3)]))).await;
        let second = second.unwrap().into_inner().promise.unwrap();
        let there = orders::WorkRequest { group: 2, node_id: "lon-2".to_owned(), ..work(&second) };
        let both = || {
            let work = vec![work(&first), there.clone()];
            Body::Placed(orders::OrderPlaced { work, ..Default::default() })
        };
        deliver(&world, order, both()).await;
        deliver(&world, order, both()).await;
        assert_eq!(world.count(WORK).await, 2);
        for promise in [&first, &second] {
            assert_eq!(state(&world, promise).await, pb::PromiseState::Confirmed);
        }
        // A cancel of one leg leaves the other one's work alone.
        deliver(&world, order, cancelling(&second, 1)).await;
        let ended =
            "SELECT COUNT(*) AS n FROM fulfillment_orders WHERE ended_at IS NOT NULL AND node_id = 'lon-2'";
        let open =
            "SELECT COUNT(*) AS n FROM fulfillment_orders WHERE ended_at IS NULL AND node_id = 'lon-1'";
        assert_eq!((world.count(ended).await, world.count(open).await), (1, 1));
    }
}

#[tokio::test]
async fn a_blocked_order_becomes_work_when_its_last_block_is_gone() {
    for world in shop().await {
        let (promise, order) = (held(&world).await, OrderId::new(v7()));
        deliver(&world, order, placed(&promise, true)).await;
        assert_eq!(state(&world, &promise).await, pb::PromiseState::Live);
        assert_eq!(world.count(WORK).await, 0);
        deliver(&world, order, Body::Unblocked(orders::OrderUnblocked { work: vec![work(&promise)] })).await;
        assert_eq!(state(&world, &promise).await, pb::PromiseState::Confirmed);
        assert_eq!(world.count(WORK).await, 1);
    }
}

#[tokio::test]
async fn an_order_that_lapses_or_is_cancelled_before_work_gives_its_promise_up() {
    for world in shop().await {
        let first = held(&world).await;
        let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&first)] };
        deliver(&world, OrderId::new(v7()), Body::PaymentLapsed(lapsed)).await;
        let second = held(&world).await;
        let cancelled = orders::OrderCancelled { fulfillment_ids: vec![leg(&second)], ..Default::default() };
        deliver(&world, OrderId::new(v7()), Body::Cancelled(cancelled)).await;
        for promise in [&first, &second] {
            assert_eq!(state(&world, promise).await, pb::PromiseState::Released);
        }
        assert_eq!(world.taken().await, 0);
        let expired = orders::OrderExpired { fulfillment_ids: vec![leg(&first)], ..Default::default() };
        deliver(&world, OrderId::new(v7()), Body::Expired(expired)).await;
        assert_eq!(world.taken().await, 0, "given up once");
    }
}

#[tokio::test]
async fn an_order_that_comes_after_its_promise_ended_takes_its_capacity_again() {
    for world in shop().await {
        let (promise, order) = (held(&world).await, OrderId::new(v7()));
        world.pass(SignedDuration::from_mins(16));
        world.run_due().await;
        assert_eq!((state(&world, &promise).await, world.taken().await), (pb::PromiseState::Expired, 0));
        deliver(&world, order, placed(&promise, false)).await;
        assert_eq!((state(&world, &promise).await, world.taken().await), (pb::PromiseState::Confirmed, 1));
        assert_eq!(world.count(WORK).await, 1);
    }
}

#[tokio::test]
async fn a_promise_serves_one_order_only() {
    for world in shop().await {
        let (promise, order, other) = (held(&world).await, OrderId::new(v7()), OrderId::new(v7()));
        deliver(&world, order, placed(&promise, false)).await;
        deliver(&world, other, placed(&promise, false)).await;
        assert_eq!(world.taken().await, 1);
        // The other order hears at once that it gets nothing, and nothing of it can touch the promise.
        let nothing = of_order(&world, other).await;
        assert_eq!(
            (nothing.state(), nothing.end_reason.as_str()),
            (pb::FulfillmentState::Cancelled, "STOCK_LOST")
        );
        assert_ne!(nothing.promise_token, promise.promise_token);
        assert_eq!((nothing.lines[0].given_up, nothing.lines[0].cancelled), (3, 0));
        deliver(&world, other, placed(&promise, false)).await;
        assert_eq!(world.count(WORK).await, 2, "one work each");
        // A cancel of the other order names the same leg; that must not touch the first one's work either.
        deliver(&world, other, cancelling(&promise, 1)).await;
        // Inventory refuses the other order; that must not touch the first one's work.
        let reservation = stock::Reservation {
            reservation_id: leg(&promise).replace("ful_", "rsv_"),
            ..Default::default()
        };
        let refused = stock::ReservationRefused {
            reservation: Some(reservation),
            order_id: other.to_string(),
            reason: "NO_STOCK".to_owned(),
            sku: "A".to_owned(),
        };
        let body = Some(stock::inventory_event::Body::ReservationRefused(refused));
        let event = stock::InventoryEvent { body };
        tell(&world, Topic::Inventory, "reservation", event.encode_to_vec()).await.unwrap();
        assert_eq!(of_order(&world, order).await.state(), pb::FulfillmentState::Offered);
    }
}

#[tokio::test]
async fn a_cancel_of_a_leg_without_work_is_answered_and_its_work_ends_when_it_comes() {
    for world in shop().await {
        let (promise, order) = (held(&world).await, OrderId::new(v7()));
        for cancel_number in 1..=2 {
            deliver(&world, order, cancelling(&promise, cancel_number)).await;
        }
        let answers = events(&world, "entrepot.fulfillment.v1.FulfillmentCancelled").await;
        let numbers = answers.iter().map(|event| {
            let work = event.fulfillment_order.clone().unwrap();
            assert_eq!((work.order_id, work.lines[0].cancelled), (order.to_string(), 3));
            assert!(work.promise_token.parse::<PromiseToken>().is_ok());
            match &event.body {
                Some(pb::fulfillment_event::Body::Cancelled(answer)) => {
                    (answer.cancel_number, answer.lines[0].quantity)
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [(1, 3), (2, 3)]);
        let same = |event: &pb::FulfillmentEvent| event.fulfillment_order.clone().unwrap().fulfillment_id;
        assert_eq!([same(&answers[0]), same(&answers[1])], [leg(&promise), leg(&promise)]);
        deliver(&world, order, placed(&promise, false)).await;
        let work = of_order(&world, order).await;
        assert_eq!((work.fulfillment_id, work.end_reason.as_str()), (leg(&promise), "STOCK_LOST"));
    }
}

/// The newest fulfillment order of an order.
pub(crate) async fn of_order(world: &World, order: OrderId) -> pb::FulfillmentOrder {
    let request = pb::ListFulfillmentOrdersRequest { order_id: order.to_string(), ..Default::default() };
    let mut client =
        contract::fulfillment::v1::work_service_client::WorkServiceClient::new(world.service.peer());
    let work = client.list_fulfillment_orders(by("ops/1", request)).await.unwrap().into_inner();
    work.fulfillment_orders.into_iter().next().unwrap()
}

/// The events of a type, as they were appended.
async fn events(world: &World, event_type: &str) -> Vec<pb::FulfillmentEvent> {
    let all = world.appended::<pb::FulfillmentEvent>().await.into_iter();
    all.filter(|event| event.event_type == event_type).map(|event| event.body).collect()
}

#[tokio::test]
async fn an_order_whose_promise_is_not_known_here_is_worked_on_all_the_same() {
    for world in shop().await {
        let promise =
            pb::Promise { promise_token: PromiseToken::new(v7()).to_string(), ..Default::default() };
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        assert_eq!(world.count(WORK).await, 1);
    }
}

#[tokio::test]
async fn an_event_that_can_not_be_read_is_poison() {
    for world in shop().await {
        let poison = tell(&world, Topic::Orders, "order", vec![0xff, 0xff]).await.unwrap_err();
        assert_eq!(poison.kind, bus::HandleErrorKind::Poison);
        let event = orders::OrderEvent {
            order_id: "ord_?".to_owned(),
            body: Some(placed(&pb::Promise::default(), false)),
            ..Default::default()
        };
        let poison = tell(&world, Topic::Orders, "order", event.encode_to_vec()).await.unwrap_err();
        assert_eq!(poison.kind, bus::HandleErrorKind::Poison);
    }
}

#[tokio::test]
async fn a_promise_whose_claim_loses_units_ends_unless_an_order_has_it() {
    for world in shop().await {
        let (cart, taken) = (held(&world).await, held(&world).await);
        deliver(&world, OrderId::new(v7()), placed(&taken, false)).await;
        let broken = |promise: &pb::Promise| {
            let reservation_id = leg(promise).replace("ful_", "rsv_");
            let reservation = Some(stock::Reservation { reservation_id, ..Default::default() });
            let given_up = stock::ReservationGivenUp { reservation, ..Default::default() };
            let body = Some(stock::inventory_event::Body::ReservationGivenUp(given_up));
            delivered(&world, Topic::Inventory, "reservation", stock::InventoryEvent { body }.encode_to_vec())
        };
        batch(&world, &[broken(&cart), broken(&taken)]).await.unwrap();
        assert_eq!(state(&world, &cart).await, pb::PromiseState::Released);
        assert_eq!(state(&world, &taken).await, pb::PromiseState::Confirmed);
        assert_eq!(world.taken().await, 1, "its capacity is free");
        let tasks = "SELECT COUNT(*) AS n FROM tasks WHERE kind = 'RELEASE_RESERVATION'";
        assert_eq!(world.count(tasks).await, 1, "its stock will be");
        batch(&world, &[broken(&cart)]).await.unwrap();
        assert_eq!(world.count(tasks).await, 1, "once");
    }
}
