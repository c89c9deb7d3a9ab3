//! Pools: units that only one channel may claim.

use contract::inventory::v1 as pb;
use futures_util::future::join_all;
use pb::Adjustment::{Count, Delta};
use test_world::{reason, seconds};
use tonic::Status;

use crate::policy_world::{Scope, everything, of_sku, pools, version};
use crate::races::second;
use crate::world::{Client, World, claim, line, reserve_all, rsv, single, snapshot, worlds};

const ORDER: &str = "ord_0195d000-0000-7000-8000-000000000001";

/// A claim of a channel on a SKU at n1.
fn through(channel: &str, sku: &str, units: i64) -> pb::NewReservation {
    pb::NewReservation { channel: channel.to_owned(), ..claim(&rsv(), vec![line(1, "n1", sku, units)]) }
}

async fn take(mut client: Client, claim: pb::NewReservation) -> Result<pb::Reservation, Status> {
    Ok(single(client.reserve(reserve_all(vec![claim])).await?.into_inner().reservations))
}

async fn buy(world: &World, channel: &str, sku: &str, units: i64) -> Result<String, Status> {
    Ok(take(world.client(), through(channel, sku, units)).await?.reservation_id)
}

/// How many units are available to a channel, as a refusal says it.
async fn available(world: &World, channel: &str, sku: &str) -> i64 {
    let refused = buy(world, channel, sku, 1_000_000).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_STOCK");
    server::status::facts(&refused)["available"].parse().unwrap()
}

/// Each channel that units are kept for at a position, with what it has claimed and what is kept.
async fn claims(world: &World, sku: &str) -> Vec<(String, i64, i64)> {
    let position = world.availability("n1", sku).await.position.unwrap();
    position.channel_claims.into_iter().map(|claim| (claim.channel, claim.reserved, claim.kept)).collect()
}

fn is(channel: &str, reserved: i64, kept: i64) -> (String, i64, i64) {
    (channel.to_owned(), reserved, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_buyers_of_another_channel_do_not_get_the_last_unit_and_its_own_channel_does() {
    for world in worlds().await {
        world.stock("n1", &[("LAST", 3)]).await;
        world.in_force(1, of_sku("LAST"), pools(&[("app", 1)])).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let buyers = (0..32).map(|n| tokio::spawn(take(clients[n % 2].clone(), through("web", "LAST", 1))));
        let outcomes = join_all(buyers.collect::<Vec<_>>()).await;
        assert_eq!(outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count(), 2);
        assert_eq!((available(&world, "web", "LAST").await, available(&world, "", "LAST").await), (0, 0));
        let buyers = (0..8).map(|n| tokio::spawn(take(clients[n % 2].clone(), through("app", "LAST", 1))));
        let outcomes = join_all(buyers.collect::<Vec<_>>()).await;
        assert_eq!(outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count(), 1);
        assert_eq!(world.stands("n1", "LAST").await, (3, 3));
        assert_eq!(claims(&world, "LAST").await, [is("app", 1, 1)]);
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn a_pool_that_begins_counts_what_was_claimed_before() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20), ("B", 20)]).await;
        let first = buy(&world, "web", "A", 3).await.unwrap();
        world.confirm(&first, ORDER).await;
        buy(&world, "app", "A", 2).await.unwrap();
        buy(&world, "", "A", 1).await.unwrap();
        // a long history above the oldest claims
        for _ in 0..120 {
            let passing = buy(&world, "web", "A", 1).await.unwrap();
            world.release(&passing).await.unwrap();
        }
        world.in_force(1, of_sku("A"), pools(&[("till", 2), ("web", 5)])).await;
        assert_eq!(available(&world, "app", "A").await, 14 - 2 - 2);
        assert_eq!(available(&world, "web", "A").await, 14 - 2);
        world.run_due().await;
        assert_eq!(claims(&world, "A").await, [is("till", 0, 2), is("web", 3, 5)]);
        assert!(world.is_announced("n1", "A").await && claims(&world, "B").await.is_empty());
        world.check().await;
    }
}

#[tokio::test]
async fn each_claim_and_each_end_of_one_is_counted() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20)]).await;
        world.in_force(1, everything(), pools(&[("web", 10)])).await;
        let order = buy(&world, "web", "A", 4).await.unwrap();
        let cart = buy(&world, "web", "A", 3).await.unwrap();
        let other = buy(&world, "app", "A", 2).await.unwrap();
        assert_eq!(
            (claims(&world, "A").await, available(&world, "app", "A").await),
            (vec![is("web", 7, 10)], 8)
        );
        world.confirm(&order, ORDER).await;
        world.hand_over(&order, &[(1, 4, 1)]).await;
        assert_eq!(
            (claims(&world, "A").await, available(&world, "app", "A").await),
            (vec![is("web", 6, 10)], 7)
        );
        world.release(&cart).await.unwrap();
        world.release(&other).await.unwrap();
        assert_eq!(claims(&world, "A").await, [is("web", 3, 10)]);
        buy(&world, "web", "A", 5).await.unwrap();
        // fewer are there than are claimed: the cart loses them
        world.adjust("n1", "A", Count, 4).await.unwrap();
        assert_eq!(claims(&world, "A").await, [is("web", 4, 10)]);
        world.at(901).await;
        assert_eq!((claims(&world, "A").await, world.atp("n1", "A").await), (vec![is("web", 3, 10)], 1));
        assert_eq!((available(&world, "app", "A").await, available(&world, "web", "A").await), (0, 1));
        world.check().await;
    }
}

#[tokio::test]
async fn the_place_of_an_old_claim_is_free_for_its_own_channel_alone() {
    for world in worlds().await {
        world.stock("n1", &[("A", 2)]).await;
        world.in_force(1, everything(), pools(&[("web", 2)])).await;
        let held = buy(&world, "web", "A", 2).await.unwrap();
        let instead = async |channel: &str| {
            let request = pb::ReserveRequest {
                instead_of: vec![held.clone()],
                ..reserve_all(vec![through(channel, "A", 2)])
            };
            world.client().reserve(request).await
        };
        assert_eq!(reason(&instead("app").await.unwrap_err()), "NO_STOCK");
        instead("web").await.unwrap();
        assert_eq!(claims(&world, "A").await, [is("web", 2, 2)]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_pool_that_ends_is_forgotten_and_a_later_one_counts_from_the_beginning() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20)]).await;
        let web = || pools(&[("web", 10)]);
        world.says(version(1, everything(), web(), &[(0, Some(60)), (120, None)]), 1).await;
        let first = buy(&world, "web", "A", 2).await.unwrap();
        world.run_due().await;
        assert_eq!(world.announced("n1", "A").await.channel_claims.len(), 1);
        world.at(60).await;
        assert_eq!(world.announced("n1", "A").await.channel_claims, []);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM channel_claims").await, 0);
        assert_eq!(available(&world, "app", "A").await, 18);
        world.release(&first).await.unwrap();
        buy(&world, "web", "A", 1).await.unwrap();
        world.at(120).await;
        assert_eq!(world.announced("n1", "A").await.channel_claims.len(), 1);
        assert_eq!(claims(&world, "A").await, [is("web", 1, 10)]);
        world.says(version(1, everything(), web(), &[(0, Some(60)), (120, Some(120))]), 2).await;
        assert_eq!(available(&world, "app", "A").await, 19, "it was rolled back");
        world.run_due().await;
        assert!(world.is_announced("n1", "A").await && claims(&world, "A").await.is_empty());
        world.check().await;
    }
}

#[tokio::test]
async fn the_audit_finds_a_claim_that_was_not_counted() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20)]).await;
        world.in_force(1, everything(), pools(&[("web", 10)])).await;
        buy(&world, "web", "A", 2).await.unwrap();
        world.alter("UPDATE channel_claims SET reserved = 1").await;
        let audit = world.audit().await;
        let broken: Vec<_> = audit.laws.into_iter().filter(|law| !law.ok).collect();
        assert_eq!((broken.len(), broken[0].law.as_str()), (1, "CHANNEL_CLAIMS_ARE_SUM_OF_CLAIMS"));
        assert_eq!(broken[0].first, "n1 A: claimed through web 1, open reservation lines 2");
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_after_anything_that_happens_while_pools_come_and_go() {
    const CHANNELS: [&str; 4] = ["", "app", "till", "web"];
    for world in worlds().await {
        world.stock("n1", &[("A", 40), ("B", 40)]).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let mut dice = Dice(7);
        let mut held: Vec<String> = Vec::new();
        for round in 1..=60_i64 {
            world.at(round * 30).await;
            if dice.roll(4) == 0 {
                let kept = i64::try_from(dice.roll(9) + 1).unwrap();
                let body = pools(&[(CHANNELS[1 + usize::try_from(dice.roll(3)).unwrap()], kept)]);
                let scope = if dice.roll(2) == 0 { everything() } else { of_sku("A") };
                let until = (round + i64::try_from(dice.roll(12)).unwrap()) * 30;
                world.says(version(round, scope, body, &[(round * 30, Some(until))]), 1).await;
            }
            let many: Vec<_> = (0..6)
                .map(|n| {
                    let channel = CHANNELS[usize::try_from(dice.roll(4)).unwrap()];
                    let units = i64::try_from(dice.roll(4) + 1).unwrap();
                    let claim = through(channel, ["A", "B"][n % 2], units);
                    let request = pb::ReserveRequest { ttl: Some(seconds(200)), ..reserve_all(vec![claim]) };
                    let mut client = clients[n % 2].clone();
                    tokio::spawn(async move { client.reserve(request).await })
                })
                .collect();
            for outcome in join_all(many).await {
                match outcome.unwrap() {
                    Ok(answer) => held.push(single(answer.into_inner().reservations).reservation_id),
                    Err(refused) => assert_eq!(reason(&refused), "NO_STOCK"),
                }
            }
            if !held.is_empty() {
                let id = held.swap_remove(usize::try_from(dice.roll(held.len() as u64)).unwrap());
                match dice.roll(3) {
                    0 => drop(world.release(&id).await),
                    1 => drop(world.confirm(&id, ORDER).await),
                    _ => {
                        let units = i64::try_from(dice.roll(60)).unwrap();
                        let figures = [("A", units), ("B", 60 - units)];
                        let snapshot = snapshot(&round.to_string(), round * 30, &figures);
                        world.client().apply_snapshot(snapshot).await.unwrap();
                    }
                }
            }
            if round % 10 == 0 {
                world.check().await;
            }
        }
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn pools_and_safety_stock_of_a_category_reach_new_goods() {
    for world in worlds().await {
        let tea = Scope { category: "tea".to_owned(), ..Scope::default() };
        world.in_force(1, tea, pools(&[("web", 3)])).await;
        let skus = vec![pb::Sku { category: "tea".to_owned(), ..crate::world::item("T") }];
        let request = pb::PutSkusRequest { request_id: test_world::fresh(), skus };
        world.client().put_skus(request).await.unwrap();
        world.adjust("n1", "T", Delta, 5).await.unwrap();
        assert_eq!(claims(&world, "T").await, [is("web", 0, 3)]);
        assert_eq!((available(&world, "app", "T").await, available(&world, "web", "T").await), (2, 5));
        world.check().await;
    }
}
