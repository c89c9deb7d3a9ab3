//! Many reservations under one request: all of them or none.

use std::collections::BTreeMap;

use contract::inventory::v1 as pb;
use db::params;
use futures_util::future::join_all;
use inventory::Config;
use pb::ReservationState::{Held, Released};
use test_world::{Ground, fields, fresh, reason, stamp};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::world::{
    Client, Line, SETS, START, Service, World, after, claim, kit, line, reserve_all, rsv, worlds,
};

const ORDER: &str = "ord_0195d000-0000-7000-8000-000000000001";

async fn take(mut client: Client, request: pb::ReserveRequest) -> Result<Vec<pb::Reservation>, Status> {
    Ok(client.reserve(request).await?.into_inner().reservations)
}

/// A reservation of one line under an id of its own.
fn one(node: &str, sku: &str, units: i64) -> pb::NewReservation {
    claim(&rsv(), vec![line(1, node, sku, units)])
}

fn release(ids: &[String]) -> pb::ReleaseReservationRequest {
    let reservation_ids = ids.to_vec();
    pb::ReleaseReservationRequest { request_id: fresh(), reservation_ids, reason: "TEST".to_owned() }
}

fn extend(ids: &[String], seconds: i64) -> pb::ExtendReservationRequest {
    let expire_time = Some(stamp(after(seconds)));
    pb::ExtendReservationRequest { request_id: fresh(), reservation_ids: ids.to_vec(), expire_time }
}

#[tokio::test]
async fn all_are_taken_in_the_order_of_the_request_or_none() {
    for world in worlds().await {
        world.stock("n1", &[("A", 30)]).await;
        world.stock("n2", &[("A", 1), ("B", 25)]).await;
        let second = claim(&rsv(), vec![line(3, "n2", "B", 1), line(7, "n2", "A", 2)]);
        let request = reserve_all(vec![one("n1", "A", 4), second.clone()]);
        let refused = take(world.client(), request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NO_STOCK"));
        let facts = server::status::facts(&refused);
        let named =
            ["reservation_id", "line", "sku", "node", "wanted", "available"].map(|name| facts[name].as_str());
        assert_eq!(named, [second.reservation_id.as_str(), "7", "A", "n2", "2", "1"]);
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "B").await), ((30, 0), (25, 0)));

        let ids: Vec<String> = (0..50).map(|_| rsv()).collect();
        let all = ids.iter().enumerate().map(|(n, id)| {
            let (node, sku) = if n % 2 == 0 { ("n1", "A") } else { ("n2", "B") };
            claim(id, vec![line(1, node, sku, 1)])
        });
        let taken = take(world.client(), reserve_all(all.collect())).await.unwrap();
        let order: Vec<_> = taken.iter().map(|taken| taken.reservation_id.clone()).collect();
        assert_eq!(order, ids);
        assert!(taken.iter().all(|taken| (taken.state(), taken.version) == (Held, 1)));
        assert_eq!((taken[0].node_id.as_str(), taken[1].node_id.as_str()), ("n1", "n2"));
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "B").await), ((30, 25), (25, 25)));
        world.check().await;
    }
}

#[tokio::test]
async fn claims_of_one_position_add_up_over_the_reservations_of_a_request() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5), ("B", 9)]).await;
        let skus = vec![kit("K", &[("A", 2), ("B", 1)])];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        let request = reserve_all(vec![one("n1", "A", 2), one("n1", "K", 2)]);
        let refused = take(world.client(), request).await.unwrap_err();
        let facts = server::status::facts(&refused);
        assert_eq!(
            (facts["sku"].as_str(), facts["wanted"].as_str(), facts["available"].as_str()),
            ("A", "6", "5")
        );
        take(world.client(), reserve_all(vec![one("n1", "A", 3), one("n1", "K", 1)])).await.unwrap();
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((5, 5), (9, 1)));
        world.check().await;
    }
}

#[tokio::test]
async fn a_repetition_is_answered_and_a_part_that_is_held_already_is_not_taken_twice() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        world.stock("n2", &[("A", 3)]).await;
        let (first, second) = (one("n1", "A", 2), one("n2", "A", 2));
        let request = reserve_all(vec![first.clone(), second.clone()]);
        let answer = take(world.client(), request.clone()).await.unwrap();
        assert_eq!(take(world.client(), request.clone()).await.unwrap(), answer);
        let other = pb::ReserveRequest { reservations: vec![second.clone(), first.clone()], ..request };
        assert_eq!(reason(&take(world.client(), other).await.unwrap_err()), "REQUEST_ID_REUSED");

        // one is held, the other is new: together they are granted or refused
        let third = one("n1", "A", 2);
        let refused = take(world.client(), reserve_all(vec![first.clone(), third])).await.unwrap_err();
        assert_eq!(
            (reason(&refused).as_str(), server::status::facts(&refused)["wanted"].as_str()),
            ("NO_STOCK", "2")
        );
        let third = one("n1", "A", 1);
        let both = take(world.client(), reserve_all(vec![third, first.clone()])).await.unwrap();
        assert_eq!(both[1], answer[0]);
        let changed = claim(&second.reservation_id, vec![line(1, "n2", "A", 1)]);
        let refused = take(world.client(), reserve_all(vec![one("n2", "A", 1), changed])).await.unwrap_err();
        assert_eq!(reason(&refused), "RESERVATION_EXISTS");
        assert_eq!(server::status::facts(&refused)["reservation_id"], second.reservation_id);
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "A").await), ((3, 3), (3, 2)));
        world.check().await;
    }
}

#[tokio::test]
async fn many_are_extended_and_released_together_or_not_at_all() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        world.stock("n2", &[("A", 9)]).await;
        let claims = vec![one("n1", "A", 2), one("n2", "A", 3), one("n2", "A", 1)];
        let ids: Vec<String> = claims.iter().map(|claim| claim.reservation_id.clone()).collect();
        take(world.client(), reserve_all(claims)).await.unwrap();
        let mut client = world.client();

        let with_unknown = [ids[0].clone(), rsv()];
        let refused = client.extend_reservation(extend(&with_unknown, 2_000)).await.unwrap_err();
        assert_eq!(reason(&refused), "RESERVATION_NOT_FOUND");
        assert_eq!(world.reservation(&ids[0]).await.expire_time, Some(stamp(after(900))));
        let request = extend(&ids, 2_000);
        let extended = client.extend_reservation(request.clone()).await.unwrap().into_inner();
        assert!(extended.reservations.iter().all(|one| one.expire_time == Some(stamp(after(2_000)))));
        assert_eq!(client.extend_reservation(request).await.unwrap().into_inner(), extended);

        // an order has one of them: none is given back
        world.confirm(&ids[1], ORDER).await;
        let refused = client.release_reservation(release(&ids)).await.unwrap_err();
        assert_eq!(reason(&refused), "RESERVATION_CONFIRMED");
        assert_eq!(server::status::facts(&refused)["reservation_id"], ids[1]);
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "A").await), ((9, 2), (9, 4)));
        let unheard = rsv();
        let some = [ids[2].clone(), unheard.clone(), ids[0].clone()];
        let released = client.release_reservation(release(&some)).await.unwrap().into_inner().reservations;
        let shown: Vec<_> = released.iter().map(|one| (one.reservation_id.clone(), one.state())).collect();
        assert_eq!(shown, some.map(|id| (id, Released)));
        assert_eq!((released[0].node_id.as_str(), released[1].node_id.as_str()), ("n2", ""));
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "A").await), ((9, 0), (9, 3)));
        let late = reserve_all(vec![one("n1", "A", 1), claim(&unheard, vec![line(1, "n1", "A", 1)])]);
        assert_eq!(reason(&take(world.client(), late).await.unwrap_err()), "RESERVATION_RELEASED");
        assert_eq!(world.stands("n1", "A").await, (9, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn too_many_and_repeated_reservations_are_refused_by_field() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let many = reserve_all((0..51).map(|_| one("n1", "A", 1)).collect());
        assert_eq!(fields(&take(world.client(), many).await.unwrap_err()), ["reservations"]);
        let lines = || (1..=700).map(|n| line(n, "n1", "A", 1)).collect::<Vec<Line>>();
        let long = reserve_all((0..3).map(|_| claim(&rsv(), lines())).collect());
        assert_eq!(fields(&take(world.client(), long).await.unwrap_err()), ["reservations"]);
        let twice = one("n1", "A", 1);
        let twice = reserve_all(vec![twice.clone(), twice]);
        assert_eq!(
            fields(&take(world.client(), twice).await.unwrap_err()),
            ["reservations[1].reservation_id"]
        );
        let unknown = reserve_all(vec![one("n1", "A", 1), one("n1", "X", 1), one("n2", "a", 1)]);
        let refused = fields(&take(world.client(), unknown).await.unwrap_err());
        assert_eq!(refused, ["reservations[1].lines[0].sku", "reservations[2].lines[0].sku"]);
        let id = rsv();
        let refused = world.client().release_reservation(release(&[id.clone(), id])).await.unwrap_err();
        assert_eq!(fields(&refused), ["reservation_ids[1]"]);
        let refused = world.client().extend_reservation(extend(&[], 1_000)).await.unwrap_err();
        assert_eq!(fields(&refused), ["reservation_ids"]);
        world.check().await;
    }
}

/// Small numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % most).unwrap()
    }
}

#[tokio::test]
async fn random_requests_are_granted_exactly_when_every_position_can_give_its_sum() {
    const NODES: [&str; 3] = ["n1", "n2", "n3"];
    const SKUS: [&str; 3] = ["A", "B", "C"];
    for world in worlds().await {
        let mut left: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for (n, node) in NODES.iter().enumerate() {
            world.stock(node, &SKUS.map(|sku| (sku, 40))).await;
            left.extend((0..SKUS.len()).map(|sku| ((n, sku), 40)));
        }
        let mut dice = Dice(7);
        for _ in 0..120 {
            let mut wanted: BTreeMap<(usize, usize), i64> = BTreeMap::new();
            let claims = (0..=dice.up_to(4)).map(|_| {
                let node = dice.up_to(3);
                let lines = (1..=1 + u32::try_from(dice.up_to(3)).unwrap()).map(|number| {
                    let (sku, units) = (dice.up_to(3), 1 + i64::try_from(dice.up_to(5)).unwrap());
                    *wanted.entry((node, sku)).or_default() += units;
                    line(number, NODES[node], SKUS[sku], units)
                });
                claim(&rsv(), lines.collect())
            });
            let request = reserve_all(claims.collect());
            let can = wanted.iter().all(|(position, units)| left[position] >= *units);
            match take(world.client(), request).await {
                Ok(_) => {
                    assert!(can, "{wanted:?} of {left:?}");
                    for (position, units) in wanted {
                        *left.get_mut(&position).unwrap() -= units;
                    }
                }
                Err(refused) => {
                    assert!(!can && reason(&refused) == "NO_STOCK", "{refused}: {wanted:?} of {left:?}");
                }
            }
        }
        for ((node, sku), units) in left {
            assert_eq!(world.atp(NODES[node], SKUS[sku]).await, units);
        }
        world.check().await;
    }
}

/// How many of the two reservations of a request exist.
async fn known(world: &World, request: &pb::ReserveRequest) -> i64 {
    let id =
        |n: usize| request.reservations[n].reservation_id.trim_start_matches("rsv_").parse::<Uuid>().unwrap();
    let sql = "SELECT COUNT(*) AS known FROM reservations WHERE reservation_id IN ($1, $2)";
    let mut tx = world.db.read().await.unwrap();
    tx.fetch_one(sql, params![id(0), id(1)]).await.unwrap().get("known").unwrap()
}

async fn second(world: &World) -> Service {
    let config = Config { batch: 8, writers: 4, ..Config::default() };
    Service::start(world.db.reopen().await, &world.clock, &config).await
}

/// Callers who all want one unit at each of two nodes; every other one names them the other way round.
fn pairs(callers: usize) -> Vec<pb::ReserveRequest> {
    let pair = |caller: usize| {
        let mut pair = vec![one("n1", "A", 1), one("n2", "B", 1)];
        if caller.is_multiple_of(2) {
            pair.reverse();
        }
        reserve_all(pair)
    };
    (0..callers).map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_at_two_nodes_get_the_last_units_in_pairs() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20)]).await;
        world.stock("n2", &[("B", 17)]).await;
        let other = second(&world).await;
        let clients = [world.client(), other.client.clone()];
        let requests = pairs(64);
        let calls = requests
            .iter()
            .enumerate()
            .map(|(n, request)| tokio::spawn(take(clients[n % 3 % 2].clone(), request.clone())));
        let mut granted = 0;
        for (outcome, request) in join_all(calls.collect::<Vec<_>>()).await.into_iter().zip(&requests) {
            let taken = match outcome.unwrap() {
                Ok(_) => 2,
                Err(refused) => {
                    assert_eq!(reason(&refused), "NO_STOCK");
                    assert_eq!(server::status::facts(&refused)["sku"], "B");
                    0
                }
            };
            granted += taken / 2;
            assert_eq!(known(&world, request).await, taken);
        }
        assert_eq!(granted, 17);
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "B").await), ((20, 17), (17, 17)));
        world.check().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_cut_off_leaves_both_reservations_or_none() {
    let Some(db) = db::testing::postgres(SETS).await else { return };
    let (start, rest) = db.url().split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let proxy = Proxy::to(server).await;
    let url = format!("{start}@{}/{database}", proxy.address());
    let behind = db::Db::open(&url, db.options()).await.unwrap();
    let world = World::on(Ground::new(db, START)).await;
    world.stock("n1", &[("A", 1_000)]).await;
    world.stock("n2", &[("B", 1_000)]).await;
    let config = Config { batch: 4, writers: 4, ..Config::default() };
    let other = Service::start(behind, &world.clock, &config).await;
    let requests = pairs(120);
    let calls = requests.iter().map(|request| tokio::spawn(take(other.client.clone(), request.clone())));
    let calls: Vec<_> = calls.collect();
    while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
        proxy.cut();
        // the database still answers whatever becomes of the other connections
        assert!([0, 2].contains(&known(&world, &requests[0]).await));
    }
    for (outcome, request) in join_all(calls).await.into_iter().zip(requests) {
        let known = known(&world, &request).await;
        assert!([0, 2].contains(&known), "half of a request was taken");
        assert!(outcome.unwrap().is_err() || known == 2);
        // a repetition finishes what was cut off
        take(world.client(), request).await.unwrap();
    }
    assert_eq!((world.stands("n1", "A").await.1, world.stands("n2", "B").await.1), (120, 120));
    world.check().await;
    other.stop().await;
}
