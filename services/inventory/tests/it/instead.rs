//! A reservation in the place of others: theirs go back in the same step, or nothing changes.

use contract::inventory::v1 as pb;
use futures_util::future::join_all;
use inventory::Config;
use pb::ReservationState::{Held, Released};
use test_world::{fields, fresh, reason};
use tonic::{Code, Status};

use crate::world::{
    Client, Line, Service, World, claim, kit, line, reserve, reserve_all, rsv, single, worlds,
};

async fn take(mut client: Client, request: pb::ReserveRequest) -> Result<pb::Reservation, Status> {
    Ok(single(client.reserve(request).await?.into_inner().reservations))
}

fn instead(of: &[&str], id: &str, lines: Vec<Line>) -> pb::ReserveRequest {
    let instead_of = of.iter().map(ToString::to_string).collect();
    pb::ReserveRequest { instead_of, ..reserve_all(vec![claim(id, lines)]) }
}

async fn state(world: &World, id: &str) -> pb::ReservationState {
    let request = pb::GetReservationRequest { reservation_id: id.to_owned() };
    world.client().get_reservation(request).await.unwrap().into_inner().reservation.unwrap().state()
}

#[tokio::test]
async fn a_claim_takes_the_units_of_the_one_whose_place_it_takes() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        let (old, new) = (rsv(), rsv());
        take(world.client(), reserve(&old, vec![line(1, "n1", "A", 3)])).await.unwrap();
        let request = instead(&[&old], &new, vec![line(1, "n1", "A", 3)]);
        let taken = take(world.client(), request.clone()).await.unwrap();
        assert_eq!((taken.reservation_id.as_str(), taken.state()), (new.as_str(), Held));
        assert_eq!((state(&world, &old).await, world.stands("n1", "A").await), (Released, (3, 3)));
        // The same call again, and under another id: nothing moves any more.
        assert_eq!(take(world.client(), request.clone()).await.unwrap(), taken);
        let again = pb::ReserveRequest { request_id: fresh(), ..request };
        assert_eq!(take(world.client(), again).await.unwrap(), taken);
        assert_eq!(world.stands("n1", "A").await, (3, 3));
        world.check().await;
    }
}

#[tokio::test]
async fn what_is_refused_leaves_the_old_claim_as_it_was() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3), ("B", 1)]).await;
        let (old, other) = (rsv(), rsv());
        take(world.client(), reserve(&old, vec![line(1, "n1", "A", 3)])).await.unwrap();
        let too_much = instead(&[&old], &rsv(), vec![line(1, "n1", "A", 4)]);
        let refused = take(world.client(), too_much).await.unwrap_err();
        let facts = server::status::facts(&refused);
        assert_eq!((reason(&refused).as_str(), facts["available"].as_str()), ("NO_STOCK", "3"));
        // A unit of another position helps nothing.
        take(world.client(), reserve(&other, vec![line(1, "n1", "B", 1)])).await.unwrap();
        let elsewhere = instead(&[&old], &rsv(), vec![line(1, "n1", "B", 1)]);
        assert_eq!(reason(&take(world.client(), elsewhere).await.unwrap_err()), "NO_STOCK");
        assert_eq!((state(&world, &old).await, world.stands("n1", "A").await), (Held, (3, 3)));
        // One that never was leaves a tombstone; one that has ended gives nothing.
        let never = rsv();
        let request = instead(&[&never, &other], &rsv(), vec![line(1, "n1", "B", 1)]);
        take(world.client(), request).await.unwrap();
        assert_eq!(state(&world, &never).await, Released);
        let late = reserve(&never, vec![line(1, "n1", "A", 1)]);
        assert_eq!(take(world.client(), late).await.unwrap_err().code(), Code::FailedPrecondition);
        let ended = instead(&[&other], &rsv(), vec![line(1, "n1", "B", 1)]);
        assert_eq!(reason(&take(world.client(), ended).await.unwrap_err()), "NO_STOCK");
        world.check().await;
    }
}

#[tokio::test]
async fn parts_of_kits_and_several_old_claims_add_up() {
    for world in worlds().await {
        world.stock("n1", &[("A", 6), ("B", 2)]).await;
        let skus = vec![kit("K", &[("A", 2), ("B", 1)])];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        let (kits, single, new) = (rsv(), rsv(), rsv());
        take(world.client(), reserve(&kits, vec![line(1, "n1", "K", 2)])).await.unwrap();
        take(world.client(), reserve(&single, vec![line(1, "n1", "A", 2)])).await.unwrap();
        let request = instead(&[&kits, &single], &new, vec![line(1, "n1", "A", 6), line(2, "n1", "B", 2)]);
        take(world.client(), request).await.unwrap();
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((6, 6), (2, 2)));
        world.check().await;
    }
}

#[tokio::test]
async fn bad_names_of_old_claims_are_refused_by_field() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        let (new, old) = (rsv(), rsv());
        let request = instead(&["rsv_x", &old, &old, &new], &new, vec![line(1, "n1", "A", 1)]);
        let refused = take(world.client(), request).await.unwrap_err();
        assert_eq!(fields(&refused), ["instead_of[0]", "instead_of[2]", "instead_of[3]"]);
        let many: Vec<String> = (0..51).map(|_| rsv()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refused =
            take(world.client(), instead(&many, &new, vec![line(1, "n1", "A", 1)])).await.unwrap_err();
        assert_eq!(fields(&refused), ["instead_of"]);
        world.check().await;
    }
}

/// Everybody wants the last unit; its holder can change the claim, and nobody gets it in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_unit_between_the_old_claim_and_the_new_one() {
    for world in worlds().await {
        world.stock("n1", &[("LAST", 1)]).await;
        let config = Config { batch: 64, writers: 2, ..Config::default() };
        let other = Service::start(world.db.reopen().await, &world.clock, &config).await;
        let clients = [world.client(), other.client.clone()];
        let mut held = rsv();
        take(world.client(), reserve(&held, vec![line(1, "n1", "LAST", 1)])).await.unwrap();
        for round in 0..12 {
            let next = rsv();
            let swap = instead(&[&held], &next, vec![line(1, "n1", "LAST", 1)]);
            let buyers = (0..32).map(|n| {
                let request = reserve(&rsv(), vec![line(1, "n1", "LAST", 1)]);
                tokio::spawn(take(clients[n % 2].clone(), request))
            });
            let buyers: Vec<_> = buyers.collect();
            let swapped = take(clients[round % 2].clone(), swap).await.unwrap();
            assert_eq!(swapped.state(), Held);
            for buyer in join_all(buyers).await {
                assert_eq!(reason(&buyer.unwrap().unwrap_err()), "NO_STOCK");
            }
            held = next;
        }
        assert_eq!(world.stands("n1", "LAST").await, (1, 1));
        world.check().await;
        other.stop().await;
    }
}
