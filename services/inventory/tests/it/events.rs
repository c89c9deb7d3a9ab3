//! What inventory does when orders and fulfillment orders tell it something, and what it tells itself.

use bus::{Consumer as _, Delivered, Topic};
use contract::fulfillment::v1 as ff;
use contract::inventory::v1 as pb;
use contract::orders::v1 as orders;
use db::params;
use domain::id::Uuid;
use futures_util::future::join_all;
use pb::ReservationState::{Confirmed, Consumed, Expired, Released};
use prost::Message as _;
use test_world::{Appended, reason};

use crate::world::{World, delivered, leg, line, reserve, rsv, worlds};

const ORDER: &str = "ord_0195d000-0000-7000-8000-000000000001";

fn of_order(body: orders::order_event::Body) -> Delivered {
    let event = orders::OrderEvent { order_id: ORDER.to_owned(), body: Some(body), ..Default::default() };
    delivered(Topic::Orders, event.encode_to_vec())
}

fn work(reservation: &str, lines: &[(u32, &str, i64)]) -> orders::WorkRequest {
    let line = |(line, sku, quantity): &(u32, &str, i64)| orders::WorkLine {
        line: *line,
        sku: (*sku).to_owned(),
        quantity: *quantity,
        ..Default::default()
    };
    orders::WorkRequest {
        fulfillment_id: leg(reservation),
        node_id: "n1".to_owned(),
        lines: lines.iter().map(line).collect(),
        ..Default::default()
    }
}

fn placed(reservation: &str, lines: &[(u32, &str, i64)]) -> Delivered {
    let placed = orders::OrderPlaced { work: vec![work(reservation, lines)], ..Default::default() };
    of_order(orders::order_event::Body::Placed(placed))
}

/// A fulfillment order of one line, whose goods leave the node when the customer gets them.
fn fo(reservation: &str, line: ff::FulfillmentLine, body: ff::fulfillment_event::Body) -> Delivered {
    let (consumed, released) =
        (line.done, line.short + line.given_up + line.cancelled - line.put_back - line.kept);
    let held = line.quantity - consumed - released;
    let line = ff::FulfillmentLine { line: 1, held, consumed, released, ..line };
    let is_picked = line.short + line.picked > 0 && line.to_pick + line.picked > 0;
    let state = if is_picked { ff::FulfillmentState::Picking } else { ff::FulfillmentState::Offered };
    let fulfillment_order = Some(ff::FulfillmentOrder {
        fulfillment_id: leg(reservation),
        order_id: ORDER.to_owned(),
        node_id: "n1".to_owned(),
        lines: vec![line],
        state: state.into(),
        ..Default::default()
    });
    delivered(
        Topic::Fulfillment,
        ff::FulfillmentEvent { fulfillment_order, body: Some(body) }.encode_to_vec(),
    )
}

impl World {
    async fn events(&self, reservation: &str) -> Vec<Appended<pb::InventoryEvent>> {
        let id = Uuid::parse_str(reservation.trim_start_matches("rsv_")).unwrap();
        let mut events = self.appended().await;
        events.retain(|event| event.aggregate == id);
        events.sort_by_key(|event| event.sequence);
        events
    }

    /// The types of the events of one reservation.
    pub(crate) async fn events_of(&self, reservation: &str) -> Vec<String> {
        let events = self.events(reservation).await.into_iter();
        events.map(|event| event.event_type.replace("entrepot.inventory.v1.Reservation", "")).collect()
    }

    async fn held(&self, units: i64) -> String {
        self.hold(vec![line(1, "n1", "A", units)]).await.unwrap().reservation_id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_batch_keeps_its_own_trace() {
    server::trace::carry_with(|trace, work| Box::pin(bus::trace::scope(Some(trace), work)));
    let trace = |n: u32| format!("00-{:032x}-{:016x}-01", n + 1, 7);
    for world in worlds().await {
        world.stock("n1", &[("A", 100)]).await;
        let buyers = (0..20).map(|n| {
            let mut client = world.client();
            let id = rsv();
            let mut request = tonic::Request::new(reserve(&id, vec![line(1, "n1", "A", 1)]));
            request.metadata_mut().insert("traceparent", trace(n).parse().unwrap());
            tokio::spawn(async move { client.reserve(request).await.map(|_| id) })
        });
        let ids = join_all(buyers.collect::<Vec<_>>()).await.into_iter().map(|id| id.unwrap().unwrap());
        let confirmed: Vec<(u32, String)> = (0..).zip(ids).collect();
        let events = confirmed
            .iter()
            .map(|(n, id)| Delivered { traceparent: Some(trace(n + 100)), ..placed(id, &[(1, "A", 1)]) });
        world.tell(&events.collect::<Vec<_>>()).await;
        for (n, id) in &confirmed {
            let traces: Vec<_> = world.events(id).await.into_iter().map(|event| event.trace).collect();
            assert_eq!(traces, [Some(trace(*n)), Some(trace(n + 100))]);
        }
    }
}

#[tokio::test]
async fn a_placed_order_takes_its_claims_and_gives_back_what_it_does_not_want() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10), ("B", 10)]).await;
        let id = world.hold(vec![line(1, "n1", "A", 5), line(2, "n1", "B", 2)]).await.unwrap().reservation_id;
        let blocked = orders::OrderPlaced {
            work: vec![work(&id, &[(1, "A", 5)])],
            blocks: vec![orders::Block::Payment.into()],
            ..Default::default()
        };
        world.tell(&[of_order(orders::order_event::Body::Placed(blocked))]).await;
        assert_eq!(world.reservation(&id).await.version, 1, "a blocked order waits");
        world.tell(&[placed(&id, &[(1, "A", 3)])]).await;
        let confirmed = world.reservation(&id).await;
        assert_eq!((confirmed.state(), confirmed.version), (Confirmed, 2));
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((10, 3), (10, 0)));
        world.tell(&[placed(&id, &[(1, "A", 3)])]).await;
        assert_eq!(world.events_of(&id).await, ["Held", "Confirmed"]);
        world.at(10_000).await;
        assert_eq!(world.reservation(&id).await.state(), Confirmed);
        world.check().await;
    }
}

#[tokio::test]
async fn an_order_that_has_no_legs_yet_claims_nothing() {
    use orders::order_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let id = world.held(2).await;
        let nothing = [
            Body::Placed(orders::OrderPlaced::default()),
            Body::Unblocked(orders::OrderUnblocked::default()),
        ];
        world.tell(&nothing.map(of_order)).await;
        assert_eq!(world.reservation(&id).await.version, 1);
        // Its leg comes later, when goods are found.
        let found = orders::OrderRerouted { work: vec![work(&id, &[(1, "A", 2)])], ..Default::default() };
        world.tell(&[of_order(Body::Rerouted(found))]).await;
        assert_eq!(world.reservation(&id).await.state(), Confirmed);
        world.check().await;
    }
}

#[tokio::test]
async fn work_that_ends_before_its_order_is_heard_of_loses_no_claim() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let (given_up, short) = (world.held(2).await, world.held(3).await);
        let line = |quantity, short| ff::FulfillmentLine { quantity, short, ..Default::default() };
        let body = || ff::fulfillment_event::Body::TimedOut(ff::FulfillmentTimedOut::default());
        world.tell(&[fo(&given_up, line(2, 2), body()), fo(&short, line(3, 1), body())]).await;
        world.tell(&[placed(&given_up, &[(1, "A", 2)]), placed(&short, &[(1, "A", 3)])]).await;
        assert_eq!(world.events_of(&given_up).await, ["Held", "Settled"]);
        assert_eq!(world.reservation(&given_up).await.state(), Released);
        assert_eq!(world.events_of(&short).await, ["Held", "Settled", "Confirmed"]);
        assert_eq!(world.stands("n1", "A").await, (10, 2));
        world.check().await;
    }
}

#[tokio::test]
async fn an_order_whose_work_is_over_takes_no_claim_again() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let (expired, unseen) = (world.held(2).await, rsv());
        world.at(900).await;
        assert_eq!(world.reservation(&expired).await.state(), Expired);
        let ended = ff::FulfillmentLine { quantity: 2, cancelled: 2, ..Default::default() };
        let body = || ff::fulfillment_event::Body::TimedOut(ff::FulfillmentTimedOut::default());
        for id in [&expired, &unseen] {
            let event = fo(id, ended.clone(), body());
            world.tell(&[event.clone(), event]).await;
            assert_eq!(world.reservation(id).await.state(), Released);
            // the word of the order comes last
            world.tell(&[placed(id, &[(1, "A", 2)])]).await;
            assert_eq!(world.reservation(id).await.state(), Released);
        }
        assert_eq!(world.events_of(&expired).await, ["Held", "Expired", "Settled"]);
        assert_eq!(world.events_of(&unseen).await, ["Settled"]);
        assert_eq!(world.stands("n1", "A").await, (10, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn a_kept_claim_that_ran_out_is_over_when_its_order_lets_it_go() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let kept = world.held(2).await;
        world.at(900).await;
        let line = |kept| ff::FulfillmentLine { quantity: 2, given_up: 2, kept, ..Default::default() };
        let timed_out = ff::fulfillment_event::Body::TimedOut(ff::FulfillmentTimedOut::default());
        world.tell(&[fo(&kept, line(2), timed_out)]).await;
        assert_eq!(world.reservation(&kept).await.state(), Expired);
        let let_go = ff::fulfillment_event::Body::ClaimLetGo(ff::ClaimLetGo::default());
        world.tell(&[fo(&kept, line(0), let_go), placed(&kept, &[(1, "A", 2)])]).await;
        assert_eq!(world.events_of(&kept).await, ["Held", "Expired", "Settled"]);
        assert_eq!(world.stands("n1", "A").await, (10, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn an_order_whose_claims_ran_out_gets_them_again_or_is_told_that_they_are_lost() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        let (lucky, late) = (world.held(2).await, world.held(1).await);
        world.at(900).await;
        world.tell(&[placed(&lucky, &[(1, "A", 2)])]).await;
        world.held(1).await;
        world.tell(&[placed(&late, &[(1, "A", 1)])]).await;
        assert_eq!(world.events_of(&lucky).await, ["Held", "Expired", "Confirmed"]);
        assert_eq!(world.events_of(&late).await, ["Held", "Expired", "Refused"]);
        assert_eq!(world.reservation(&late).await.state(), Expired);

        // one that nobody has ever seen is claimed at once, if the stock is there
        let unseen = crate::world::rsv();
        world.tell(&[placed(&unseen, &[(1, "A", 1)])]).await;
        assert_eq!(world.events_of(&unseen).await, ["Refused"]);
        // its fulfillment order is cancelled, and there is nothing to give back
        let cancelled = ff::FulfillmentLine { quantity: 1, cancelled: 1, ..Default::default() };
        let body = || ff::fulfillment_event::Body::Cancelled(ff::FulfillmentCancelled::default());
        world.tell(&[fo(&unseen, cancelled.clone(), body()), fo(&late, cancelled, body())]).await;
        assert_eq!((world.events_of(&unseen).await.len(), world.events_of(&late).await.len()), (1, 4));
        assert_eq!(world.reservation(&late).await.state(), Released);
        let cancelled = orders::OrderCancelled { fulfillment_ids: vec![leg(&lucky)], ..Default::default() };
        world.tell(&[of_order(orders::order_event::Body::Cancelled(cancelled))]).await;
        let unseen = crate::world::rsv();
        world.tell(&[placed(&unseen, &[(1, "A", 1)])]).await;
        assert_eq!(world.events_of(&unseen).await, ["Held", "Confirmed"]);
        // what its order gave up is not lost to it
        world.tell(&[placed(&lucky, &[(1, "A", 2)])]).await;
        assert_eq!(world.events_of(&lucky).await.last().unwrap(), "Released");
        world.check().await;
    }
}

#[tokio::test]
async fn a_lapsed_a_cancelled_and_an_expired_order_give_their_claims_up() {
    use orders::order_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let (a, b, c) = (world.held(1).await, world.held(1).await, world.held(1).await);
        let kept = world.held(1).await;
        world
            .tell(&[
                of_order(Body::PaymentLapsed(orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&a)] })),
                of_order(Body::Expired(orders::OrderExpired {
                    fulfillment_ids: vec![leg(&a)],
                    ..Default::default()
                })),
                of_order(Body::Cancelled(orders::OrderCancelled {
                    fulfillment_ids: vec![leg(&b)],
                    ..Default::default()
                })),
                of_order(Body::Expired(orders::OrderExpired {
                    fulfillment_ids: vec![leg(&c)],
                    ..Default::default()
                })),
                of_order(Body::Cancelled(orders::OrderCancelled::default())),
            ])
            .await;
        for id in [a, b, c] {
            assert_eq!(world.reservation(&id).await.state(), Released);
            assert_eq!(world.events_of(&id).await, ["Held", "Released"]);
        }
        assert_eq!(world.stands("n1", "A").await, (9, 1));
        assert_eq!(world.reservation(&kept).await.version, 1);
        world.check().await;
    }
}

#[tokio::test]
async fn a_fulfillment_order_settles_its_claims_by_absolute_quantities() {
    use ff::fulfillment_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let id = world.held(5).await;
        world.tell(&[placed(&id, &[(1, "A", 5)])]).await;
        let quantity = 5;
        let offered = ff::FulfillmentLine { quantity, to_pick: 5, ..Default::default() };
        world.tell(&[fo(&id, offered, Body::Offered(ff::FulfillmentOffered::default()))]).await;
        assert_eq!(world.reservation(&id).await.version, 2, "nothing has moved");
        // two picked units were cancelled and wait to be put back: still claimed
        let cancelled =
            ff::FulfillmentLine { quantity, ready: 3, cancelled: 2, put_back: 2, ..Default::default() };
        world.tell(&[fo(&id, cancelled, Body::Cancelled(ff::FulfillmentCancelled::default()))]).await;
        assert_eq!(world.stands("n1", "A").await, (10, 5));
        let restocked =
            ff::FulfillmentLine { quantity, ready: 3, cancelled: 2, restocked: 2, ..Default::default() };
        let event = fo(&id, restocked, Body::Moved(ff::FulfillmentMoved::default()));
        world.tell(&[event.clone(), event]).await;
        assert_eq!(world.stands("n1", "A").await, (10, 3));
        let done =
            ff::FulfillmentLine { quantity, done: 3, cancelled: 2, restocked: 2, ..Default::default() };
        world.tell(&[fo(&id, done, Body::Moved(ff::FulfillmentMoved::default()))]).await;
        assert_eq!(world.stands("n1", "A").await, (7, 0));
        assert_eq!(world.reservation(&id).await.state(), Consumed);
        assert_eq!(world.events_of(&id).await, ["Held", "Confirmed", "Settled", "Settled"]);
        world.check().await;
    }
}

#[tokio::test]
async fn goods_leave_the_stock_when_they_leave_the_node_and_claims_that_do_not_sum_are_parked() {
    use ff::fulfillment_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let id = world.held(2).await;
        world.tell(&[placed(&id, &[(1, "A", 2)])]).await;
        // On the way: not with the customer yet, and not at the node any more.
        let line =
            ff::FulfillmentLine { line: 1, quantity: 2, in_custody: 2, consumed: 2, ..Default::default() };
        let event = |line| {
            let fulfillment_order = Some(ff::FulfillmentOrder {
                fulfillment_id: leg(&id),
                order_id: ORDER.to_owned(),
                lines: vec![line],
                ..Default::default()
            });
            let body = Some(Body::Moved(ff::FulfillmentMoved::default()));
            delivered(Topic::Fulfillment, ff::FulfillmentEvent { fulfillment_order, body }.encode_to_vec())
        };
        let wrong = ff::FulfillmentLine { held: 1, ..line.clone() };
        let mut tx = world.db.begin().await.unwrap();
        let refused = world.service.handle(&mut tx, &event(wrong)).await.unwrap_err();
        drop(tx);
        assert!(format!("{refused:?}").contains("line 1 of 2 units has 1 held, 2 consumed"), "{refused:?}");
        assert_eq!(world.stands("n1", "A").await, (10, 2));
        world.tell(&[event(line)]).await;
        assert_eq!(world.stands("n1", "A").await, (8, 0));
        assert_eq!(world.reservation(&id).await.state(), Consumed);
    }
}

#[tokio::test]
async fn what_the_store_finds_out_changes_the_stock() {
    use ff::fulfillment_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let (missing, damaged, busy) = (world.held(2).await, world.held(3).await, world.held(1).await);
        let short = |quantity, short_reason: ff::ShortReason| {
            let line =
                ff::FulfillmentLine { quantity, to_pick: quantity - 1, short: 1, ..Default::default() };
            let row =
                ff::MovedLine { line: 1, short: 1, short_reason: short_reason.into(), ..Default::default() };
            (line, Body::Moved(ff::FulfillmentMoved { lines: vec![row], ..Default::default() }))
        };
        let (line, body) = short(3, ff::ShortReason::Damaged);
        world.tell(&[fo(&damaged, line, body)]).await;
        let position = world.availability("n1", "A").await.position.unwrap();
        assert_eq!((position.on_hand, position.quarantine, position.reserved, position.atp), (9, 1, 5, 4));

        let rejected = |reason: ff::RejectReason| {
            Body::Rejected(ff::FulfillmentRejected { reason: reason.into(), ..Default::default() })
        };
        let all = ff::FulfillmentLine { quantity: 1, cancelled: 1, ..Default::default() };
        world.tell(&[fo(&busy, all, rejected(ff::RejectReason::TooBusy))]).await;
        assert_eq!(world.atp("n1", "A").await, 5);

        let (line, body) = short(2, ff::ShortReason::NotFound);
        world.tell(&[fo(&missing, line, body)]).await;
        let position = world.availability("n1", "A").await.position.unwrap();
        assert_eq!(
            (position.on_hand, position.reserved, position.atp, position.count_blocked),
            (9, 3, 0, true)
        );
        let refused = world.hold(vec![crate::world::line(1, "n1", "A", 1)]).await.unwrap_err();
        assert_eq!(reason(&refused), "NO_STOCK");
        world.adjust("n1", "A", pb::Adjustment::Count, 8).await.unwrap();
        assert_eq!(world.atp("n1", "A").await, 5);

        let rest = ff::FulfillmentLine { quantity: 3, short: 1, cancelled: 2, ..Default::default() };
        world.tell(&[fo(&damaged, rest, rejected(ff::RejectReason::Damaged))]).await;
        let position = world.availability("n1", "A").await.position.unwrap();
        assert_eq!((position.on_hand, position.quarantine, position.reserved), (6, 3, 1));
        world.check().await;
    }
}

#[tokio::test]
async fn only_the_part_of_a_kit_that_is_named_is_unfit_or_counted() {
    use ff::fulfillment_event::Body;
    for world in worlds().await {
        world.stock("n1", &[("A", 20), ("B", 20)]).await;
        let kit = crate::world::kit("BOX", &[("A", 2), ("B", 1)]);
        let request = pb::PutSkusRequest { request_id: test_world::fresh(), skus: vec![kit] };
        world.client().put_skus(request).await.unwrap();
        let boxes = async || {
            let lines = vec![line(1, "n1", "BOX", 2)];
            world.hold(lines).await.unwrap().reservation_id
        };
        // What is in quarantine and what waits for a count, of A and of B.
        let stands = async || {
            let mut found = Vec::new();
            for sku in ["A", "B"] {
                let position = world.availability("n1", sku).await.position.unwrap();
                found.push((position.quarantine, position.count_blocked));
                world.adjust("n1", sku, pb::Adjustment::Count, 20).await.unwrap();
            }
            found
        };
        let short = |short_reason: ff::ShortReason, sku: &str| {
            let (short_reason, sku) = (short_reason.into(), sku.to_owned());
            let row = ff::MovedLine { line: 1, short: 1, short_reason, sku, ..Default::default() };
            let line = ff::FulfillmentLine { quantity: 2, to_pick: 1, short: 1, ..Default::default() };
            (line, Body::Moved(ff::FulfillmentMoved { lines: vec![row], ..Default::default() }))
        };
        let rejected = |reason: ff::RejectReason, sku: &str| {
            let lines = vec![ff::RejectedLine { line: 1, sku: sku.to_owned() }];
            let line = ff::FulfillmentLine { quantity: 2, cancelled: 2, ..Default::default() };
            (line, Body::Rejected(ff::FulfillmentRejected { reason: reason.into(), lines }))
        };
        for ((line, body), expected) in [
            (short(ff::ShortReason::Damaged, "A"), [(2, false), (0, false)]),
            (short(ff::ShortReason::NotFound, "B"), [(2, false), (0, true)]),
            (short(ff::ShortReason::Mismatch, "A"), [(2, true), (0, false)]),
            (rejected(ff::RejectReason::Damaged, "B"), [(2, false), (2, false)]),
            (rejected(ff::RejectReason::NotFound, "A"), [(2, true), (2, false)]),
            // Which part is unfit is not said, or the claim has no such part: all of them are counted.
            (short(ff::ShortReason::Damaged, ""), [(2, true), (2, true)]),
            (rejected(ff::RejectReason::Damaged, "C"), [(2, true), (2, true)]),
        ] {
            world.tell(&[fo(&boxes().await, line, body.clone())]).await;
            assert_eq!(stands().await, expected, "{body:?}");
            world.check().await;
        }
    }
}

#[tokio::test]
async fn each_change_is_told_and_can_be_read_again() {
    use pb::inventory_events_service_server::InventoryEventsService as _;
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        let id = world.held(2).await;
        world.release(&id).await.unwrap();
        let aggregate_id = id.trim_start_matches("rsv_").to_owned();
        let request = pb::ReplayEventsRequest { aggregate_id, from_sequence: 2, page_size: 0 };
        let replayed = world.service.replay_events(tonic::Request::new(request)).await.unwrap();
        let [event] = replayed.into_inner().events.try_into().unwrap();
        assert_eq!((event.sequence, event.aggregate_type.as_str()), (2, "reservation"));
        assert_eq!(event.event_type, "entrepot.inventory.v1.ReservationReleased");
        let body = pb::InventoryEvent::decode(event.payload).unwrap().body.unwrap();
        let pb::inventory_event::Body::ReservationReleased(released) = body else { panic!("{body:?}") };
        assert_eq!(released.reason, "TEST");
        assert_eq!(released.reservation.unwrap().lines[0].released, 2);

        let mut tx = world.db.read().await.unwrap();
        let rows = tx
            .fetch_all(
                "SELECT payload FROM events WHERE aggregate_type = 'position' ORDER BY sequence",
                params![],
            )
            .await
            .unwrap();
        let last: Vec<u8> = rows.last().unwrap().get("payload").unwrap();
        let body = pb::InventoryEvent::decode(last.as_slice()).unwrap().body.unwrap();
        let pb::inventory_event::Body::PositionChanged(changed) = body else { panic!("{body:?}") };
        assert_eq!(changed.position, world.availability("n1", "A").await.position);
    }
}
