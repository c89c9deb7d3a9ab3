//! Claims: taken, confirmed, extended, consumed, given back, run out.

use contract::{inventory::v1 as pb, orders::v1 as orders};
use pb::ReservationState::{Confirmed, Consumed, Expired, Held, Released};
use test_world::{fields, fresh, reason, seconds, stamp};
use tonic::Code;

use crate::world::{after, claim, kit, leg, line, reserve, reserve_all, rsv, worlds};

const ORDER: &str = "ord_0195d000-0000-7000-8000-000000000001";
const OTHER: &str = "ord_0195d000-0000-7000-8000-000000000002";

#[tokio::test]
async fn a_claim_goes_from_held_to_consumed_and_takes_the_goods_along() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let held = world.hold(vec![line(1, "n1", "A", 4)]).await.unwrap();
        assert_eq!((held.state(), held.version), (Held, 1));
        assert_eq!(held.expire_time, Some(stamp(after(900))));
        assert_eq!((world.stands("n1", "A").await, world.atp("n1", "A").await), ((10, 4), 6));

        let id = held.reservation_id.as_str();
        let confirmed = world.confirm(id, ORDER).await;
        assert_eq!((confirmed.state(), confirmed.expire_time), (Confirmed, None));
        let partly = world.hand_over(id, &[(1, 4, 3)]).await;
        assert_eq!((partly.state(), partly.lines[0].held, partly.lines[0].consumed), (Confirmed, 1, 3));
        assert_eq!(world.stands("n1", "A").await, (7, 1));
        let whole = world.hand_over(id, &[(1, 4, 4)]).await;
        assert_eq!((whole.state(), whole.version), (Consumed, 4));
        assert_eq!(world.stands("n1", "A").await, (6, 0));
        assert_eq!(world.reservation(id).await, whole);
        world.check().await;
    }
}

#[tokio::test]
async fn a_basket_is_taken_as_a_whole_or_not_at_all() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10), ("B", 1)]).await;
        let refused = world.hold(vec![line(1, "n1", "A", 2), line(2, "n1", "B", 2)]).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NO_STOCK"));
        let facts = server::status::facts(&refused);
        let fact = |name: &str| facts[name].as_str();
        assert_eq!((fact("sku"), fact("node"), fact("wanted"), fact("available")), ("B", "n1", "2", "1"));
        assert_eq!(world.stands("n1", "A").await, (10, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn the_same_sku_twice_in_a_basket_is_summed() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5)]).await;
        let refused = world.hold(vec![line(1, "n1", "A", 3), line(2, "n1", "A", 3)]).await.unwrap_err();
        assert_eq!(server::status::facts(&refused)["wanted"], "6");
        world.hold(vec![line(1, "n1", "A", 3), line(2, "n1", "A", 2)]).await.unwrap();
        assert_eq!(world.stands("n1", "A").await, (5, 5));
        world.check().await;
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_also_when_the_stock_is_gone() {
    for world in worlds().await {
        world.stock("n1", &[("A", 1)]).await;
        let id = rsv();
        let request = reserve(&id, vec![line(1, "n1", "A", 1)]);
        let first = world.client().reserve(request.clone()).await.unwrap().into_inner();
        let again = world.client().reserve(request.clone()).await.unwrap().into_inner();
        assert_eq!(first, again);
        assert_eq!(world.stands("n1", "A").await, (1, 1));

        let other = vec![claim(&id, vec![line(1, "n1", "A", 2)])];
        let other = pb::ReserveRequest { reservations: other, ..request.clone() };
        let refused = world.client().reserve(other).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));

        // the claim goes on, the answer stays what it was
        world.release(&id).await.unwrap();
        assert_eq!(world.client().reserve(request).await.unwrap().into_inner(), first);
        world.check().await;
    }
}

#[tokio::test]
async fn every_verb_answers_a_repetition_alike_and_refuses_another_body() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let id = world.hold(vec![line(1, "n1", "A", 4)]).await.unwrap().reservation_id;
        let mut client = world.client();

        let extend = pb::ExtendReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![id.clone()],
            expire_time: Some(stamp(after(2_000))),
        };
        let first = client.extend_reservation(extend.clone()).await.unwrap().into_inner();
        assert_eq!(client.extend_reservation(extend.clone()).await.unwrap().into_inner(), first);
        let other = pb::ExtendReservationRequest { expire_time: Some(stamp(after(3_000))), ..extend };
        assert_eq!(reason(&client.extend_reservation(other).await.unwrap_err()), "REQUEST_ID_REUSED");

        let id = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        let release = pb::ReleaseReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![id.clone()],
            reason: "TEST".to_owned(),
        };
        let first = client.release_reservation(release.clone()).await.unwrap().into_inner();
        assert_eq!(client.release_reservation(release.clone()).await.unwrap().into_inner(), first);
        let other = pb::ReleaseReservationRequest { reason: "OTHER".to_owned(), ..release };
        assert_eq!(reason(&client.release_reservation(other).await.unwrap_err()), "REQUEST_ID_REUSED");
        assert_eq!(world.stands("n1", "A").await, (10, 4));
        world.check().await;
    }
}

#[tokio::test]
async fn the_same_claim_under_another_request_id_is_the_same_claim() {
    for world in worlds().await {
        world.stock("n1", &[("A", 4)]).await;
        let id = rsv();
        let first = world.client().reserve(reserve(&id, vec![line(1, "n1", "A", 3)])).await.unwrap();
        let again = world.client().reserve(reserve(&id, vec![line(1, "n1", "A", 3)])).await.unwrap();
        assert_eq!(first.into_inner(), again.into_inner());
        assert_eq!(world.stands("n1", "A").await, (4, 3));
        let other = world.client().reserve(reserve(&id, vec![line(1, "n1", "A", 2)])).await.unwrap_err();
        assert_eq!((other.code(), reason(&other).as_str()), (Code::AlreadyExists, "RESERVATION_EXISTS"));
        world.check().await;
    }
}

#[tokio::test]
async fn a_claim_keeps_the_channel_that_it_was_taken_for() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let (id, order_only) = (rsv(), rsv());
        let through = |channel: &str| pb::NewReservation {
            channel: channel.to_owned(),
            ..claim(&id, vec![line(1, "n1", "A", 1)])
        };
        let held = world.client().reserve(reserve_all(vec![through("web")])).await.unwrap().into_inner();
        assert_eq!(held.reservations[0].channel, "web");
        let other = world.client().reserve(reserve_all(vec![through("app")])).await.unwrap_err();
        assert_eq!(reason(&other), "RESERVATION_EXISTS");
        let confirmed = world.confirm(&id, ORDER).await;
        assert_eq!((confirmed.state(), confirmed.channel.as_str()), (Confirmed, "web"));

        // nothing was held: the order claims what it needs for its own channel
        let line = orders::WorkLine { line: 1, sku: "A".to_owned(), quantity: 2, ..Default::default() };
        let work = orders::WorkRequest {
            fulfillment_id: leg(&order_only),
            node_id: "n1".to_owned(),
            channel: "till".to_owned(),
            lines: vec![line],
            ..Default::default()
        };
        world.order_placed(OTHER, work).await;
        let taken = world.reservation(&order_only).await;
        assert_eq!((taken.state(), taken.channel.as_str()), (Confirmed, "till"));
        world.check().await;
    }
}

#[tokio::test]
async fn a_release_before_its_reserve_wins() {
    for world in worlds().await {
        world.stock("n1", &[("A", 4)]).await;
        let id = rsv();
        let tombstone = world.release(&id).await.unwrap();
        assert_eq!((tombstone.state(), tombstone.lines.len(), tombstone.version), (Released, 0, 1));
        let late = world.client().reserve(reserve(&id, vec![line(1, "n1", "A", 1)])).await.unwrap_err();
        assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "RESERVATION_RELEASED"));
        assert_eq!(world.stands("n1", "A").await, (4, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn a_claim_runs_out_at_its_time_unless_it_was_extended_or_confirmed() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let one = || vec![line(1, "n1", "A", 2)];
        let runs_out = world.hold(one()).await.unwrap().reservation_id;
        let extended = world.hold(one()).await.unwrap().reservation_id;
        let confirmed = world.hold(one()).await.unwrap().reservation_id;
        let extend = pb::ExtendReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![extended.clone()],
            expire_time: Some(stamp(after(1_000))),
        };
        world.client().extend_reservation(extend).await.unwrap();
        world.confirm(&confirmed, ORDER).await;
        assert_eq!(world.next_due().await, Some(after(900)));
        assert_eq!(world.at(899).await, 0);
        assert_eq!(world.stands("n1", "A").await, (9, 6));
        assert_eq!(world.at(900).await, 1);
        assert_eq!(world.reservation(&runs_out).await.state(), Expired);
        assert_eq!(world.stands("n1", "A").await, (9, 4));
        assert_eq!(world.at(1_000).await, 1);
        assert_eq!(world.reservation(&confirmed).await.state(), Confirmed);
        assert_eq!(world.next_due().await, None);
        world.check().await;
    }
}

#[tokio::test]
async fn a_kit_is_claimed_by_its_parts() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5), ("B", 11)]).await;
        let skus = vec![kit("K", &[("A", 1), ("B", 4)])];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        assert_eq!(world.atp("n1", "K").await, 2);
        let held = world.hold(vec![line(7, "n1", "K", 2), line(8, "n1", "A", 3)]).await.unwrap();
        let parts: Vec<_> =
            held.lines.iter().map(|l| (l.line, l.sku.as_str(), l.held, l.kit_sku.as_str())).collect();
        assert_eq!(parts, [(7, "A", 2, "K"), (7, "B", 8, "K"), (8, "A", 3, "")]);
        assert_eq!(world.atp("n1", "K").await, 0);
        let short = world.hold(vec![line(1, "n1", "K", 1)]).await.unwrap_err();
        assert_eq!(server::status::facts(&short)["sku"], "A");
        world.hand_over(&held.reservation_id, &[(7, 2, 1), (8, 3, 0)]).await;
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((4, 4), (7, 4)));
        world.check().await;
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_names_every_field() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        let bad = pb::ReserveRequest {
            request_id: "no".to_owned(),
            reservations: vec![claim(
                "rsv_no",
                vec![line(0, "", "A", 1), line(1, "", "A\u{200b}", 0), line(1, "", "A", i64::MAX)],
            )],
            ttl: Some(seconds(0)),
            instead_of: Vec::new(),
        };
        let refused = fields(&world.client().reserve(bad).await.unwrap_err());
        for field in [
            "request_id",
            "ttl",
            "reservations[0].reservation_id",
            "reservations[0].node_id",
            "reservations[0].lines[0].line",
            "reservations[0].lines[1].sku",
            "reservations[0].lines[1].quantity",
            "reservations[0].lines[2].quantity",
        ] {
            assert!(refused.iter().any(|known| known == field), "{field} of {refused:?}");
        }
        let mut empty = reserve(&rsv(), vec![line(1, "n1", "A", 1)]);
        empty.reservations[0].lines.clear();
        assert_eq!(fields(&world.client().reserve(empty).await.unwrap_err()), ["reservations[0].lines"]);
        let none = reserve_all(Vec::new());
        assert_eq!(fields(&world.client().reserve(none).await.unwrap_err()), ["reservations"]);
        let many = reserve(&rsv(), (1..=1_001).map(|n| line(n, "n1", "A", 1)).collect());
        assert_eq!(fields(&world.client().reserve(many).await.unwrap_err()), ["reservations[0].lines"]);
        let twice = reserve(&rsv(), vec![line(1, "n1", "A", 1), line(1, "n1", "A", 1)]);
        assert_eq!(
            fields(&world.client().reserve(twice).await.unwrap_err()),
            ["reservations[0].lines[1].line"]
        );
        let unknown =
            reserve(&rsv(), vec![line(1, "n1", "A", 1), line(2, "n1", "X", 1), line(3, "n1", "a", 1)]);
        let refused = fields(&world.client().reserve(unknown).await.unwrap_err());
        assert_eq!(refused, ["reservations[0].lines[1].sku", "reservations[0].lines[2].sku"]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_claim_too_large_for_its_events_is_refused() {
    for world in worlds().await {
        let parts: Vec<String> = (0..20).map(|n| format!("{n:x>60}")).collect();
        let stock: Vec<(&str, i64)> = parts.iter().map(|part| (part.as_str(), 1_000_000)).collect();
        world.stock("n1", &stock).await;
        let of: Vec<(&str, i64)> = parts.iter().map(|part| (part.as_str(), 1)).collect();
        let skus = vec![kit("K", &of)];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        let lines = |count: u32| (1..=count).map(|n| line(n, "n1", "K", 1)).collect();
        assert_eq!(fields(&world.hold(lines(1_000)).await.unwrap_err()), ["reservations[0].lines"]);
        assert_eq!(world.hold(lines(100)).await.unwrap().lines.len(), 2_000);
        world.check().await;
    }
}

#[tokio::test]
async fn a_reservation_that_is_over_cannot_be_extended() {
    for world in worlds().await {
        world.items(&["A"]).await;
        world.stock("n1", &[("A", 9)]).await;
        let gone = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        world.confirm(&gone, ORDER).await;
        world.hand_over(&gone, &[(1, 2, 2)]).await;
        let lapsed = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        world.at(900).await;
        for (id, expected) in [(gone, "RESERVATION_CONSUMED"), (lapsed, "RESERVATION_EXPIRED")] {
            let extend = pb::ExtendReservationRequest {
                request_id: fresh(),
                reservation_ids: vec![id],
                expire_time: Some(stamp(after(2_000))),
            };
            let refused = world.client().extend_reservation(extend).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, expected));
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    for world in worlds().await {
        let extend = pb::ExtendReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![rsv()],
            expire_time: Some(stamp(after(1_000))),
        };
        let missing = world.client().extend_reservation(extend).await.unwrap_err();
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "RESERVATION_NOT_FOUND"));
        let get = pb::GetReservationRequest { reservation_id: rsv() };
        assert_eq!(world.client().get_reservation(get).await.unwrap_err().code(), Code::NotFound);
        let strange = pb::GetReservationRequest { reservation_id: "prm_x".to_owned() };
        assert_eq!(fields(&world.client().get_reservation(strange).await.unwrap_err()), ["reservation_id"]);
        let unknown = pb::GetAvailabilityRequest { node_id: "n1".to_owned(), sku: "X".to_owned() };
        let missing = world.client().get_availability(unknown).await.unwrap_err();
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "SKU_NOT_FOUND"));
        // a node without a position of a known sku can give nothing
        world.items(&["A"]).await;
        assert_eq!(world.atp("nowhere", "A").await, 0);
        let short = world.hold(vec![line(1, "nowhere", "A", 1)]).await.unwrap_err();
        assert_eq!(
            (reason(&short).as_str(), server::status::facts(&short)["available"].as_str()),
            ("NO_STOCK", "0")
        );
    }
}

#[tokio::test]
async fn an_ended_claim_takes_no_more_commands() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let id = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        let released = world.release(&id).await.unwrap();
        assert_eq!(world.release(&id).await.unwrap(), released);
        let extend = pb::ExtendReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![id.clone()],
            expire_time: Some(stamp(after(1_000))),
        };
        let refused = world.client().extend_reservation(extend).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "RESERVATION_RELEASED")
        );
        assert_eq!(world.confirm(&id, ORDER).await.state(), Released);
        world.check().await;
    }
}

#[tokio::test]
async fn the_claim_of_an_order_is_not_given_back_by_the_end_of_its_promise() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let id = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        world.confirm(&id, ORDER).await;
        world.confirm(&id, OTHER).await;
        assert_eq!(
            world.events_of(&id).await,
            ["Held", "Confirmed", "Refused"],
            "another order cannot take it"
        );
        let kept = world.release(&id).await.unwrap_err();
        assert_eq!(
            (kept.code(), reason(&kept).as_str()),
            (Code::FailedPrecondition, "RESERVATION_CONFIRMED")
        );
        assert_eq!(world.stands("n1", "A").await, (9, 2));
        world.check().await;
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    use tonic_types::StatusExt as _;
    let db = db::testing::sqlite(crate::world::SETS).await;
    let clock = clock::Clock::virtual_at(test_world::at(crate::world::START));
    // nobody serves this queue
    let config = inventory::Config { queue: 1, batch: 1, ..Default::default() };
    let inventory = inventory::Inventory::new(db.db(), clock, &config).await.unwrap();
    let peer = server::peer::acting(inventory.peer(), &server::Principal::service("fulfillment"));
    let client = pb::inventory_service_client::InventoryServiceClient::new(peer);
    let mut waits = client.clone();
    let first =
        tokio::spawn(async move { waits.reserve(reserve(&rsv(), vec![line(1, "n1", "A", 1)])).await });
    loop {
        let mut caller = client.clone();
        let answer = caller.reserve(reserve(&rsv(), vec![line(1, "n1", "A", 1)]));
        let Ok(answer) = tokio::time::timeout(std::time::Duration::from_millis(200), answer).await else {
            continue;
        };
        let full = answer.unwrap_err();
        assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
        assert!(full.get_details_retry_info().is_some());
        break;
    }
    first.abort();
}
