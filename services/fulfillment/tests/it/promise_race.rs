//! Many at once: buyers of the last units, and orders that come and go in batches while the stores of the same slots work.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body;
use domain::id::OrderId;
use futures_util::future::join_all;
use test_world::{by, reason, v7};

use crate::react::{batch, deliver, leg, of_order, of_orders, placed};
use crate::support::{World, hold, orders, patient_worlds, promises, store, worlds};

async fn held(world: &World) -> pb::Promise {
    let answer = world.promises().hold_promise(by("service/orders", hold("lon-1", &[("A", 1)]))).await;
    answer.unwrap().into_inner().promise.unwrap()
}

async fn reject(world: &World, order: OrderId) {
    let request = pb::RejectWorkRequest {
        request_id: v7().to_string(),
        fulfillment_id: of_order(world, order).await.fulfillment_id,
        reason: pb::RejectReason::TooBusy.into(),
        ..Default::default()
    };
    let mut client = WorkServiceClient::new(world.service.peer());
    client.reject_work(by("store/lon-1", request)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_are_locked_last_so_that_batches_and_stores_do_not_wait_in_a_circle() {
    for world in patient_worlds().await {
        let node = pb::Node { capacity: orders(200), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![node]).await;
        world.stock(&[("lon-1", "A", 1_000)]).await;
        let mut rounds = Vec::new();
        for _ in 0..20 {
            let begun = OrderId::new(v7());
            deliver(&world, begun, placed(&held(&world).await, false)).await;
            rounds.push((begun, held(&world).await, held(&world).await));
        }
        for (begun, ended, fresh) in &rounds {
            // The batch frees a place in the slot and then offers work at the node; the store refuses work, which
            // frees a place in the same slot.
            let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(ended)] };
            let events = [
                of_orders(&world, OrderId::new(v7()), Body::PaymentLapsed(lapsed)),
                of_orders(&world, OrderId::new(v7()), placed(fresh, false)),
            ];
            let (applied, ()) = tokio::join!(batch(&world, &events), reject(&world, *begun));
            applied.expect("nobody waits in a circle");
        }
        assert_eq!(world.taken().await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_buyers_of_fifty_units_leave_exactly_fifty_promises() {
    for world in worlds().await {
        let node = pb::Node { capacity: orders(7), ..store("lon-1", 51.5, -0.1) };
        world.put(vec![node]).await;
        world.stock(&[("lon-1", "A", 50)]).await;
        let another = world.another().await;
        let calls = (0..200).map(|i| {
            let mut client = if i % 2 == 0 { world.promises() } else { promises(&another) };
            let request = hold("lon-1", &[("A", 1)]);
            tokio::spawn(async move { client.hold_promise(by(&format!("customer/{i}"), request)).await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        for no in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(reason(no), "NO_STOCK", "{no:?}");
        }
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 50);
        assert_eq!((world.inventory.held(), world.inventory.reserved("lon-1", "A")), (50, 50));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises WHERE state = 'LIVE'").await, 50);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM promises").await, 50);
        assert_eq!(world.taken().await, 50);
        assert!(world.slots().await.values().all(|used| *used <= 7));
    }
}
