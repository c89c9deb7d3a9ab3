//! How promises end: what is given back when, and to whom it belongs meanwhile.

use contract::fulfillment::v1 as pb;
use domain::id::{OrderId, PromiseToken};
use jiff::SignedDuration;
use test_world::{at, by, reason, stamp, v7};
use tonic::Code;

use crate::react::{batch, deliver, of_order, of_orders, placed, shop};
use crate::support::{World, hold, reservations};

const SHOPPER: &str = "customer/1";
const ORDERS: &str = "service/orders";
const TASKS: &str = "SELECT COUNT(*) AS n FROM tasks";

async fn held(world: &World) -> pb::Promise {
    let answer = world.promises().hold_promise(by(SHOPPER, hold("lon-1", &[("A", 3)]))).await.unwrap();
    answer.into_inner().promise.unwrap()
}

async fn turned_away(world: &World, request: &pb::HoldPromiseRequest) {
    let no = world.promises().hold_promise(by(SHOPPER, request.clone())).await.unwrap_err();
    assert_eq!((no.code(), reason(&no).as_str()), (Code::Unavailable, "INVENTORY_UNAVAILABLE"));
}

async fn release(world: &World, actor: &'static str, promise: &pb::Promise) -> Result<(), tonic::Status> {
    let request = pb::ReleasePromiseRequest {
        request_id: v7().to_string(),
        promise_token: promise.promise_token.clone(),
    };
    world.promises().release_promise(by(actor, request)).await.map(drop)
}

#[tokio::test]
async fn a_release_that_is_late_does_not_touch_the_stock_of_an_order() {
    for world in shop().await {
        let promise = held(&world).await;
        world.inventory.go_down(true);
        release(&world, SHOPPER, &promise).await.unwrap();
        world.inventory.go_down(false);
        assert_eq!((world.count(TASKS).await, world.inventory.held()), (1, 1), "to be given back later");
        // The order was placed before, and its word comes now: inventory has confirmed the claim for it.
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        assert_eq!(world.count(TASKS).await, 0);
        world.pass(SignedDuration::from_mins(1));
        world.run_due().await;
        assert_eq!((world.inventory.reserved("lon-1", "A"), world.taken().await), (3, 1));
    }
}

#[tokio::test]
async fn a_call_to_release_looks_at_the_promise_first() {
    for world in shop().await {
        let promise = held(&world).await;
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        let token: PromiseToken = promise.promise_token.parse().unwrap();
        let mut tx = world.db.begin().await.unwrap();
        tx.execute(
            "INSERT INTO tasks (task_id, kind, subject, due_at, attempts) VALUES ($1, 'RELEASE_RESERVATION', $2, 0, 0)",
            db::params![v7(), token.uuid()],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        world.run_due().await;
        assert_eq!((world.count(TASKS).await, world.inventory.reserved("lon-1", "A")), (0, 3));
    }
}

#[tokio::test]
async fn what_an_order_relies_on_is_not_the_shoppers_any_more() {
    for world in shop().await {
        let promise = held(&world).await;
        let mut extend = pb::ExtendPromiseRequest {
            request_id: v7().to_string(),
            promise_token: promise.promise_token.clone(),
            expire_time: Some(stamp(at("2026-01-12T10:10:00Z"))),
        };
        // It lives longer than that; what counts is who asks.
        let same = world.promises().extend_promise(by(ORDERS, extend.clone())).await.unwrap().into_inner();
        assert_eq!(same.promise.unwrap().expire_time, promise.expire_time);
        extend.expire_time = Some(stamp(at("2026-01-12T10:20:00Z")));
        for (actor, code, why) in [
            (SHOPPER, Code::FailedPrecondition, "PROMISE_TAKEN"),
            ("customer/2", Code::NotFound, "PROMISE_NOT_FOUND"),
        ] {
            let no = release(&world, actor, &promise).await.unwrap_err();
            assert_eq!((no.code(), reason(&no).as_str()), (code, why), "{actor}");
            extend.request_id = v7().to_string();
            let no = world.promises().extend_promise(by(actor, extend.clone())).await.unwrap_err();
            assert_eq!((no.code(), reason(&no).as_str()), (code, why), "{actor}");
        }
        assert_eq!((world.inventory.held(), world.taken().await), (1, 1));
        release(&world, ORDERS, &promise).await.unwrap();
        assert_eq!((world.inventory.held(), world.taken().await), (0, 0));
        release(&world, SHOPPER, &promise).await.unwrap();
    }
}

#[tokio::test]
async fn the_stock_of_an_order_is_held_until_inventory_hears_of_it() {
    for world in shop().await {
        let promise = held(&world).await;
        let extend = |until: &str| pb::ExtendPromiseRequest {
            request_id: v7().to_string(),
            promise_token: promise.promise_token.clone(),
            expire_time: Some(stamp(at(until))),
        };
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        let longer = extend("2026-01-12T10:40:00Z");
        let same = world.promises().extend_promise(by(ORDERS, longer)).await.unwrap().into_inner();
        assert_eq!(same.promise.unwrap().state(), pb::PromiseState::Confirmed);
        let [reservation] = reservations(&promise).try_into().unwrap();
        let until = at("2026-01-12T10:41:00Z").as_second();
        assert_eq!(world.inventory.expires(&reservation), Some(until));
        let no = world.promises().extend_promise(by(SHOPPER, extend("2026-01-12T11:01:00Z"))).await;
        assert_eq!(reason(&no.unwrap_err()), "PROMISE_TAKEN");
    }
}

/// What callers who may read a promise get; for others it does not exist.
async fn is_told(world: &World, promise: &pb::Promise, wanted: pb::PromiseState) {
    for actor in [SHOPPER, ORDERS, "ops/it", "customer/2", "channel/app", "store/lon-1"] {
        let request = pb::GetPromiseTokenRequest { promise_token: promise.promise_token.clone() };
        let answer = world.promises().get_promise_token(by(actor, request)).await;
        let answer = answer.map(|answer| answer.into_inner().promise.unwrap()).map_err(|no| reason(&no));
        if let Ok(shown) = &answer {
            let owner = if actor == SHOPPER { "" } else { SHOPPER };
            assert_eq!(shown.owner, owner, "who holds it is the business of services and operators: {actor}");
        }
        let answer = answer.map(|shown| shown.state());
        let known = [SHOPPER, ORDERS, "ops/it"].contains(&actor);
        let wanted = if known { Ok(wanted) } else { Err("PROMISE_NOT_FOUND".to_owned()) };
        assert_eq!(answer, wanted, "{actor}");
    }
}

#[tokio::test]
async fn a_promise_is_told_to_who_asked_for_it_to_services_and_to_operators() {
    for world in shop().await {
        let promise = held(&world).await;
        is_told(&world, &promise, pb::PromiseState::Live).await;
        let extend = pb::ExtendPromiseRequest {
            request_id: v7().to_string(),
            promise_token: promise.promise_token.clone(),
            expire_time: Some(stamp(at("2026-01-12T10:20:00Z"))),
        };
        world.promises().extend_promise(by(ORDERS, extend)).await.unwrap();
        is_told(&world, &promise, pb::PromiseState::Live).await;
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        is_told(&world, &promise, pb::PromiseState::Confirmed).await;
        assert_eq!(reason(&release(&world, SHOPPER, &promise).await.unwrap_err()), "PROMISE_TAKEN");
    }
}

#[tokio::test]
async fn a_service_may_hold_as_long_as_its_settings_and_inventory_allow() {
    for world in shop().await {
        let most = 6 * 24 * 3_600;
        let ask = |seconds| {
            let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
            by(ORDERS, pb::HoldPromiseRequest { ttl, ..hold("lon-1", &[("A", 1)]) })
        };
        world.promises().hold_promise(ask(most)).await.unwrap();
        let no = world.promises().hold_promise(ask(most + 1)).await.unwrap_err();
        assert_eq!(server::status::violations(&no)[0].field, "ttl");
    }
}

#[tokio::test]
async fn an_order_that_is_late_still_finds_the_stock_of_its_promise() {
    for world in shop().await {
        let promise = held(&world).await;
        let taken = by(ORDERS, longer(&promise, "2026-01-12T10:15:00Z"));
        world.promises().extend_promise(taken).await.unwrap();
        world.pass(SignedDuration::from_mins(20));
        world.run_due().await;
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        world.run_due().await;
        assert_eq!((world.inventory.reserved("lon-1", "A"), world.taken().await), (3, 1));
    }
}

#[tokio::test]
async fn a_hold_that_inventory_turns_away_leaves_its_slot_free() {
    for world in shop().await {
        world.inventory.shed(1);
        let request = hold("lon-1", &[("A", 3)]);
        turned_away(&world, &request).await;
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises").await, 0);
        assert_eq!((world.taken().await, world.inventory.held()), (0, 0));
        world.promises().hold_promise(by(SHOPPER, request)).await.unwrap();
        assert_eq!((world.taken().await, world.inventory.held()), (1, 1));
    }
}

#[tokio::test]
async fn a_hold_of_which_nobody_knows_the_end_keeps_its_slot_for_half_a_minute() {
    for world in shop().await {
        // The first call reserved and its answer was lost; the second is turned away.
        world.inventory.lose_answers("Reserve", 1);
        world.inventory.shed(1);
        let request = hold("lon-1", &[("A", 3)]);
        turned_away(&world, &request).await;
        assert_eq!((world.taken().await, world.inventory.held()), (1, 1));
        world.inventory.shed(1);
        turned_away(&world, &request).await;
        assert_eq!((world.taken().await, world.inventory.held()), (1, 1), "asked again: still nobody knows");
        assert_eq!(world.next_due().await, Some(at("2026-01-12T10:00:30Z")));
        world.pass(SignedDuration::from_secs(10));
        let held = world.promises().hold_promise(by(SHOPPER, request)).await.unwrap().into_inner();
        let promise = held.promise.unwrap();
        assert_eq!(
            promise.expire_time,
            Some(stamp(at("2026-01-12T10:15:00Z"))),
            "and then it lives its time"
        );
        world.pass(SignedDuration::from_mins(1));
        assert_eq!(world.run_due().await, 0);
    }
}

fn confirm(promise: &pb::Promise, order: OrderId) -> pb::ConfirmPromiseRequest {
    pb::ConfirmPromiseRequest {
        request_id: v7().to_string(),
        promise_token: promise.promise_token.clone(),
        order_id: order.to_string(),
    }
}

async fn state(world: &World, promise: &pb::Promise) -> pb::PromiseState {
    let request = pb::GetPromiseTokenRequest { promise_token: promise.promise_token.clone() };
    let answer = world.promises().get_promise_token(by(ORDERS, request)).await.unwrap();
    answer.into_inner().promise.unwrap().state()
}

#[tokio::test]
async fn a_confirmed_promise_belongs_to_its_order_and_does_not_end() {
    for world in shop().await {
        let promise = held(&world).await;
        let (order, other) = (OrderId::new(v7()), OrderId::new(v7()));
        let request = confirm(&promise, order);
        let mut client = world.promises();
        world.pass(SignedDuration::from_mins(10));
        let confirmed = client.confirm_promise(by(ORDERS, request.clone())).await.unwrap().into_inner();
        assert_eq!(confirmed.promise.as_ref().unwrap().state(), pb::PromiseState::Confirmed);
        let again = client.confirm_promise(by(ORDERS, request)).await.unwrap().into_inner();
        assert_eq!(confirmed, again);
        let [reservation] = reservations(&promise).try_into().unwrap();
        let until = at("2026-01-12T10:26:00Z").as_second();
        assert_eq!(world.inventory.expires(&reservation), Some(until), "its stock waits for the order");
        let no = client.confirm_promise(by(ORDERS, confirm(&promise, other))).await.unwrap_err();
        assert_eq!(reason(&no), "PROMISE_TAKEN");
        assert_eq!(reason(&release(&world, SHOPPER, &promise).await.unwrap_err()), "PROMISE_TAKEN");
        deliver(&world, order, placed(&promise, false)).await;
        world.pass(SignedDuration::from_mins(15));
        world.run_due().await;
        assert_eq!(state(&world, &promise).await, pb::PromiseState::Confirmed);
        assert_eq!(world.count(TASKS).await, 0);
    }
}

#[tokio::test]
async fn an_order_that_exists_goes_before_one_that_a_call_spoke_of() {
    for world in shop().await {
        let promise = held(&world).await;
        let (spoken_of, order) = (OrderId::new(v7()), OrderId::new(v7()));
        let mut client = world.promises();
        client.confirm_promise(by(ORDERS, confirm(&promise, spoken_of))).await.unwrap();
        // Inventory has confirmed the claim for it, too.
        deliver(&world, order, placed(&promise, false)).await;
        assert_eq!(of_order(&world, order).await.state(), pb::FulfillmentState::Offered);
        deliver(&world, spoken_of, placed(&promise, false)).await;
        assert_eq!(of_order(&world, spoken_of).await.end_reason, "STOCK_LOST");
        world.pass(SignedDuration::from_mins(10));
        world.run_due().await;
        assert_eq!((world.taken().await, world.inventory.held()), (1, 1));
    }
}

#[tokio::test]
async fn two_orders_of_one_batch_do_not_take_each_others_promise() {
    for world in shop().await {
        let promise = held(&world).await;
        let (first, second) = (OrderId::new(v7()), OrderId::new(v7()));
        let events = [first, second].map(|order| of_orders(&world, order, placed(&promise, false)));
        batch(&world, &events).await.unwrap();
        assert_eq!(of_order(&world, first).await.state(), pb::FulfillmentState::Offered);
        assert_eq!(of_order(&world, second).await.end_reason, "STOCK_LOST");
    }
}

#[tokio::test]
async fn a_confirmed_promise_whose_order_never_comes_ends() {
    for world in shop().await {
        let promise = held(&world).await;
        let request = confirm(&promise, OrderId::new(v7()));
        world.promises().confirm_promise(by(ORDERS, request)).await.unwrap();
        assert_eq!(world.next_due().await, Some(at("2026-01-12T10:15:00Z")));
        world.pass(SignedDuration::from_mins(14));
        world.run_due().await;
        assert_eq!((state(&world, &promise).await, world.taken().await), (pb::PromiseState::Confirmed, 1));
        world.pass(SignedDuration::from_mins(1));
        world.run_due().await;
        assert_eq!((state(&world, &promise).await, world.taken().await), (pb::PromiseState::Released, 0));
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn work_that_ends_when_its_slot_is_forgotten_gives_nothing_back() {
    for world in shop().await {
        let promise = held(&world).await;
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        // A long holiday went by before the node could have answered.
        let mut tx = world.db.begin().await.unwrap();
        tx.execute("DELETE FROM capacity_slots", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        world.pass(SignedDuration::from_mins(20));
        world.run_due().await;
        let timed_out = "SELECT COUNT(*) AS n FROM fulfillment_orders WHERE state = 'TIMED_OUT'";
        assert_eq!((world.count(timed_out).await, world.slots().await.len()), (1, 0));
    }
}

#[tokio::test]
async fn a_request_id_stays_with_its_request_also_when_its_promise_has_ended() {
    for world in shop().await {
        let first = hold("lon-1", &[("A", 3)]);
        let promise = world.promises().hold_promise(by(SHOPPER, first.clone())).await.unwrap().into_inner();
        let promise = promise.promise.unwrap();
        release(&world, SHOPPER, &promise).await.unwrap();
        let other =
            pb::HoldPromiseRequest { request_id: first.request_id.clone(), ..hold("lon-1", &[("A", 1)]) };
        let no = world.promises().hold_promise(by(SHOPPER, other)).await.unwrap_err();
        assert_eq!(reason(&no), "REQUEST_ID_REUSED");
        let again = world.promises().hold_promise(by(SHOPPER, first)).await.unwrap().into_inner();
        assert_ne!(again.promise.unwrap().promise_token, promise.promise_token);
        assert_eq!((world.inventory.reserved("lon-1", "A"), world.taken().await), (3, 1));
    }
}

#[tokio::test]
async fn a_promise_that_can_not_be_read_does_not_stop_the_clocks_of_the_stores() {
    for world in shop().await {
        let promise = held(&world).await;
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        held(&world).await;
        let mut tx = world.db.begin().await.unwrap();
        tx.execute("UPDATE promises SET body = body_hash WHERE state = 'LIVE'", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        world.pass(SignedDuration::from_mins(20));
        assert!(world.service.run_due(world.clock.business()).await.is_err());
        let timed_out = "SELECT COUNT(*) AS n FROM fulfillment_orders WHERE state = 'TIMED_OUT'";
        assert_eq!(world.count(timed_out).await, 1);
    }
}

/// The end of a promise comes while its stock is being held for longer, and no timer has run: the call is refused.
async fn refused_at_its_end<T: Send + 'static>(
    world: &World,
    call: impl Future<Output = Result<T, tonic::Status>> + Send + 'static,
) {
    let pause = world.inventory.pause_answer("ExtendReservation");
    let asked = tokio::spawn(async move { call.await.map(drop) });
    pause.reached().await;
    world.pass(SignedDuration::from_mins(15));
    pause.go_on();
    let no = asked.await.unwrap().unwrap_err();
    assert_eq!(reason(&no), "PROMISE_EXPIRED");
}

fn longer(promise: &pb::Promise, until: &str) -> pb::ExtendPromiseRequest {
    pb::ExtendPromiseRequest {
        request_id: v7().to_string(),
        promise_token: promise.promise_token.clone(),
        expire_time: Some(stamp(at(until))),
    }
}

#[tokio::test]
async fn a_promise_that_is_refused_at_its_end_holds_nothing_from_then_on() {
    for world in shop().await {
        for is_confirmed in [false, true] {
            let promise = held(&world).await;
            let mut client = world.promises();
            if is_confirmed {
                let request = by(ORDERS, confirm(&promise, OrderId::new(v7())));
                refused_at_its_end(&world, async move { client.confirm_promise(request).await }).await;
            } else {
                let request = by(ORDERS, longer(&promise, "2026-01-12T10:35:00Z"));
                refused_at_its_end(&world, async move { client.extend_promise(request).await }).await;
            }
            assert_eq!((world.inventory.held(), world.taken().await, world.count(TASKS).await), (0, 0, 0));
            assert_eq!(state(&world, &promise).await, pb::PromiseState::Expired);
        }
    }
}

#[tokio::test]
async fn the_stock_of_an_order_on_its_way_outlives_a_refusal_by_the_margin() {
    for world in shop().await {
        let promise = held(&world).await;
        let mut client = world.promises();
        client.extend_promise(by(ORDERS, longer(&promise, "2026-01-12T10:10:00Z"))).await.unwrap();
        let again = by(ORDERS, longer(&promise, "2026-01-12T10:35:00Z"));
        refused_at_its_end(&world, async move { client.extend_promise(again).await }).await;
        world.run_due().await;
        assert_eq!((world.inventory.held(), world.taken().await), (1, 0));
        world.pass(SignedDuration::from_mins(1));
        world.run_due().await;
        assert_eq!(world.inventory.held(), 0);
    }
}

#[tokio::test]
async fn a_promise_that_ends_while_its_stock_is_held_for_longer_leaves_no_stock_behind() {
    for world in shop().await {
        let promise = held(&world).await;
        let pause = world.inventory.pause_answer("ExtendReservation");
        let extend = pb::ExtendPromiseRequest {
            request_id: v7().to_string(),
            promise_token: promise.promise_token.clone(),
            expire_time: Some(stamp(at("2026-01-12T10:25:00Z"))),
        };
        let mut client = world.promises();
        let asked = tokio::spawn(async move { client.extend_promise(by(ORDERS, extend)).await });
        pause.reached().await;
        world.pass(SignedDuration::from_mins(60));
        world.run_due().await;
        pause.go_on();
        let no = asked.await.unwrap().unwrap_err();
        assert_eq!(no.code(), tonic::Code::FailedPrecondition);
        world.run_due().await;
        assert_eq!(world.inventory.held(), 0, "nobody else would free it");
    }
}
