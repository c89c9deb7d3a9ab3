//! Many at once, also from two processes on one database. SQLite has one writer, so these prove nothing there; they
//! run there all the same.

use std::collections::HashMap;

use contract::inventory::v1 as pb;
use futures_util::future::join_all;
use inventory::Config;
use test_world::{fresh, reason, seconds};
use tonic::{Code, Status};

use crate::world::{Client, Service, World, claim, line, reserve, rsv, single, worlds};

/// The service a second time on the same data, as in another process.
pub(crate) async fn second(world: &World) -> Service {
    Service::start(
        world.db.reopen().await,
        &world.clock,
        &Config { batch: 64, writers: 2, ..Config::default() },
    )
    .await
}

async fn call(mut client: Client, request: pb::ReserveRequest) -> Result<pb::Reservation, Status> {
    Ok(single(client.reserve(request).await?.into_inner().reservations))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_buyers_get_exactly_the_hundred_units() {
    for world in worlds().await {
        world.stock("n1", &[("HOT", 100)]).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let buyers = (0..500).map(|n| {
            let request = reserve(&rsv(), vec![line(1, "n1", "HOT", 1)]);
            tokio::spawn(call(clients[n % 2].clone(), request))
        });
        let mut outcomes: HashMap<String, usize> = HashMap::new();
        for outcome in join_all(buyers.collect::<Vec<_>>()).await {
            let word = outcome.unwrap().map_or_else(|refused| reason(&refused), |_| "granted".to_owned());
            *outcomes.entry(word).or_default() += 1;
        }
        assert_eq!(outcomes, HashMap::from([("granted".to_owned(), 100), ("NO_STOCK".to_owned(), 400)]));
        assert_eq!(world.stands("n1", "HOT").await, (100, 100));
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baskets_in_any_order_never_deadlock() {
    for world in worlds().await {
        let skus: Vec<String> = (0..12).map(|n| format!("S{n:02}")).collect();
        let stock: Vec<(&str, i64)> = skus.iter().map(|sku| (sku.as_str(), 100_000)).collect();
        world.stock("n1", &stock).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let baskets = (0..300_usize).map(|n| {
            // five of twelve, in an order that differs from basket to basket
            let pick = |k: usize| &skus[(n * 7 + k * (n % 5 + 1) * 5) % 12];
            let mut lines: Vec<_> =
                (0..5).map(|k| line(u32::try_from(k).unwrap() + 1, "n1", pick(k), 1)).collect();
            if n % 2 == 0 {
                lines.reverse();
            }
            let client = clients[n % 2].clone();
            tokio::spawn(async move {
                let held = call(client.clone(), reserve(&rsv(), lines)).await?;
                if n % 3 == 0 {
                    let request = pb::ReleaseReservationRequest {
                        request_id: fresh(),
                        reservation_ids: vec![held.reservation_id],
                        reason: "TEST".to_owned(),
                    };
                    client.clone().release_reservation(request).await?;
                }
                Ok::<_, Status>(())
            })
        });
        for outcome in join_all(baskets.collect::<Vec<_>>()).await {
            outcome.unwrap().unwrap();
        }
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_many_times_at_once_has_one_effect_and_one_answer() {
    for world in worlds().await {
        world.stock("n1", &[("A", 100)]).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        for _ in 0..5 {
            let request = reserve(&rsv(), vec![line(1, "n1", "A", 1)]);
            let duplicates = (0..32).map(|n| tokio::spawn(call(clients[n % 2].clone(), request.clone())));
            let answers = join_all(duplicates.collect::<Vec<_>>()).await;
            let first = answers[0].as_ref().unwrap().as_ref().unwrap();
            assert!(answers.iter().all(|answer| answer.as_ref().unwrap().as_ref().unwrap() == first));
        }
        // the same id with another body, at once: one of them is served, the others are refused
        let id = rsv();
        let ours = reserve(&id, vec![line(1, "n1", "A", 1)]);
        let bodies = (1..=8).map(|units| pb::ReserveRequest {
            reservations: vec![claim(&id, vec![line(1, "n1", "A", units)])],
            ..ours.clone()
        });
        let answers = bodies.enumerate().map(|(n, body)| tokio::spawn(call(clients[n % 2].clone(), body)));
        let answers = join_all(answers.collect::<Vec<_>>()).await;
        let (served, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().map(Result::unwrap).partition(Result::is_ok);
        assert_eq!(served.len(), 1);
        for refused in refused {
            let refused = refused.unwrap_err();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::InvalidArgument, "REQUEST_ID_REUSED")
            );
        }
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_served_fails_alone() {
    for world in worlds().await {
        world.stock("n1", &[("A", 100), ("B", 100)]).await;
        let poison = world.hold(vec![line(1, "n1", "B", 5)]).await.unwrap().reservation_id;
        // rows that contradict each other: this claim cannot be given back
        let mut tx = world.db.begin().await.unwrap();
        tx.execute("UPDATE positions SET reserved = 0 WHERE sku = 'B'", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        let good =
            (0..20).map(|_| tokio::spawn(call(world.client(), reserve(&rsv(), vec![line(1, "n1", "A", 1)]))));
        let good: Vec<_> = good.collect();
        let refused = world.release(&poison).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Internal, "internal error"));
        for answer in join_all(good).await {
            answer.unwrap().unwrap();
        }
        assert_eq!(world.stands("n1", "A").await, (100, 20));
        assert!(!world.audit().await.ok);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_has_its_claim_whole_or_not_at_all() {
    for world in worlds().await {
        world.stock("n1", &[("A", 100)]).await;
        for n in 0..30_u64 {
            let request = reserve(&rsv(), vec![line(1, "n1", "A", 1)]);
            let caller = tokio::spawn(call(world.client(), request.clone()));
            let leaves = caller.abort_handle();
            tokio::time::timeout(std::time::Duration::from_micros(n * 150), caller).await.ok();
            leaves.abort();
            // the answer to the same request is the same, whatever became of the first call
            call(world.client(), request).await.unwrap();
        }
        assert_eq!(world.stands("n1", "A").await, (100, 30));
        world.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_staff_timers_and_buyers_share_the_stock_in_peace() {
    for world in worlds().await {
        world.stock("n1", &[("A", 50), ("B", 50), ("C", 50)]).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let mut tasks = Vec::new();
        for n in 0..120_usize {
            let mut client = clients[n % 2].clone();
            let sku = ["A", "B", "C"][n % 3];
            tasks.push(tokio::spawn(async move {
                let answer = match n % 4 {
                    0 => client
                        .adjust_stock(pb::AdjustStockRequest {
                            request_id: fresh(),
                            node_id: "n1".to_owned(),
                            sku: sku.to_owned(),
                            adjustment: pb::Adjustment::Delta.into(),
                            quantity: 1,
                            reason: "found".to_owned(),
                        })
                        .await
                        .map(drop),
                    1 => {
                        let mut request = reserve(&rsv(), vec![line(1, "n1", sku, 1)]);
                        request.ttl = Some(seconds(1));
                        client.reserve(request).await.map(drop)
                    }
                    _ => {
                        let lines = vec![line(1, "n1", "C", 1), line(2, "n1", "A", 1), line(3, "n1", "B", 1)];
                        client.reserve(reserve(&rsv(), lines)).await.map(drop)
                    }
                };
                match answer {
                    Err(refused) if reason(&refused) != "NO_STOCK" => panic!("{refused}"),
                    Ok(()) | Err(_) => {}
                }
            }));
            if n % 30 == 29 {
                world.clock.advance_to(crate::world::after(i64::try_from(n).unwrap()));
                world.run_due().await;
                other.inventory.run_due(world.clock.business()).await.unwrap();
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        world.check().await;
        other.stop().await;
    }
}
