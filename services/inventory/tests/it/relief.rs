//! Fewer goods than claims: who loses, in the transaction of the fact itself, and what the owners hear.

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as ff;
use contract::inventory::v1 as pb;
use contract::orders::v1 as orders;
use contract::r#type::v1::Window;
use ff::FulfillmentState as Work;
use ff::fulfillment_event::Body;
use futures_util::future::join_all;
use pb::inventory_event::Body as Said;
use pb::{Adjustment, MovementKind, ReservationState};
use prost::Message as _;
use test_world::{Ground, fresh, reason, stamp};
use uuid::Uuid;

use crate::world::{
    Line, SETS, START, World, after, claim, delivered, kit, leg, line, on_all, reserve, reserve_all, rsv,
    snapshot, worlds,
};

/// A leg of an order that was placed.
struct Leg {
    id: String,
    order: String,
    units: i64,
}

impl World {
    /// A leg whose order has taken its claim on SKU A, promised this number of minutes from now.
    async fn placed(&self, units: i64, minutes: i64, tier: i32) -> Leg {
        self.placed_at(&rsv(), vec![line(1, "n1", "A", units)], minutes, tier).await
    }

    async fn placed_at(&self, id: &str, lines: Vec<Line>, minutes: i64, tier: i32) -> Leg {
        let units = lines.iter().map(|(_, line)| line.quantity).sum();
        self.client().reserve(reserve(id, lines)).await.unwrap();
        let order = format!("ord_{}", Uuid::new_v4());
        let start_time = Some(stamp(after(minutes * 60)));
        let work = orders::WorkRequest {
            fulfillment_id: leg(id),
            node_id: "n1".to_owned(),
            window: Some(Window { start_time, ..Default::default() }),
            tier,
            ..Default::default()
        };
        let placed = orders::OrderPlaced { work: vec![work], ..Default::default() };
        let body = Some(orders::order_event::Body::Placed(placed));
        let event = orders::OrderEvent { order_id: order.clone(), body, ..Default::default() };
        self.tell(&[delivered(Topic::Orders, event.encode_to_vec())]).await;
        Leg { id: id.to_owned(), order, units }
    }

    async fn cart(&self, units: i64) -> String {
        self.hold(vec![line(1, "n1", "A", units)]).await.unwrap().reservation_id
    }

    /// A till sale that is reported late.
    async fn sold(&self, sku: &str, units: i64) {
        let row = pb::DeltaRow {
            node_id: "n1".to_owned(),
            sku: sku.to_owned(),
            delta: -units,
            kind: MovementKind::Sale.into(),
            reference: fresh(),
            source_time: Some(stamp(self.now() + jiff::SignedDuration::from_secs(1))),
        };
        let request =
            pb::ApplyDeltasRequest { request_id: fresh(), source: "till".to_owned(), rows: vec![row] };
        let results = self.client().apply_deltas(request).await.unwrap().into_inner().results;
        assert_eq!(results[0].verdict(), pb::RowVerdict::Applied);
    }

    /// Pieces that a reservation holds of SKU A.
    async fn held_of(&self, id: &str) -> i64 {
        let lines = self.reservation(id).await.lines;
        lines.iter().filter(|line| line.sku == "A").map(|line| line.held).sum()
    }

    /// What the owner of a reservation heard last.
    async fn heard(&self, id: &str) -> Said {
        let id = Uuid::parse_str(id.trim_start_matches("rsv_")).unwrap();
        let events = self.appended::<pb::InventoryEvent>().await;
        let last =
            events.into_iter().filter(|event| event.aggregate == id).max_by_key(|event| event.sequence);
        last.unwrap().body.body.unwrap()
    }

    /// Positions that claim more than they have.
    async fn overclaimed(&self) -> i64 {
        self.check().await;
        self.audit().await.overclaimed
    }
}

/// What the work of a leg of one line reports.
fn report(of: &Leg, state: Work, line: ff::FulfillmentLine, body: Body) -> Delivered {
    let (consumed, released) = (line.done, line.short + line.cancelled - line.put_back);
    let held = of.units - consumed - released;
    let line = ff::FulfillmentLine { line: 1, quantity: of.units, held, consumed, released, ..line };
    let fulfillment_order = Some(ff::FulfillmentOrder {
        fulfillment_id: leg(&of.id),
        order_id: of.order.clone(),
        node_id: "n1".to_owned(),
        state: state.into(),
        lines: vec![line],
        ..Default::default()
    });
    let event = ff::FulfillmentEvent { fulfillment_order, body: Some(body) };
    delivered(Topic::Fulfillment, event.encode_to_vec())
}

/// Somebody has begun to pick.
fn picking(of: &Leg) -> Delivered {
    let line = ff::FulfillmentLine { to_pick: of.units, ..Default::default() };
    report(of, Work::Picking, line, Body::Moved(ff::FulfillmentMoved::default()))
}

/// The node refuses a leg.
fn rejected(of: &Leg, reason: ff::RejectReason) -> Delivered {
    let line = ff::FulfillmentLine { cancelled: of.units, ..Default::default() };
    let body = Body::Rejected(ff::FulfillmentRejected { reason: reason.into(), ..Default::default() });
    report(of, Work::Rejected, line, body)
}

fn given_up(said: Said) -> (String, String, Vec<(u32, i64)>, String) {
    let Said::ReservationGivenUp(event) = said else { panic!("{said:?}") };
    let lines = event.lines.iter().map(|line| (line.line, line.quantity)).collect();
    (event.order_id, event.reason, lines, event.sku)
}

#[tokio::test]
async fn a_late_sale_costs_the_newest_cart_first_then_orders_by_tier_and_promise_and_never_picked_goods() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let old_cart = world.cart(1).await;
        world.at(1).await;
        let cart = world.cart(2).await;
        let started = world.placed(2, 500, 0).await;
        let (soon, late) = (world.placed(1, 10, 0).await, world.placed(1, 90, 0).await);
        let (gold, silver) = (world.placed(1, 90, 2).await, world.placed(1, 10, 1).await);
        world.tell(&[picking(&started)]).await;
        assert_eq!(world.stands("n1", "A").await, (9, 9));

        world.sold("A", 1).await;
        assert_eq!(world.stands("n1", "A").await, (8, 8));
        assert_eq!((world.held_of(&cart).await, world.held_of(&old_cart).await), (1, 1));
        let part = (String::new(), "OVERCLAIMED".to_owned(), vec![(1, 1)], "A".to_owned());
        assert_eq!(given_up(world.heard(&cart).await), part);
        world.sold("A", 2).await;
        assert_eq!((world.held_of(&cart).await, world.held_of(&old_cart).await), (0, 0));
        for (loser, others) in [
            (&late, vec![&soon, &silver, &gold]),
            (&soon, vec![&silver, &gold]),
            (&silver, vec![&gold]),
            (&gold, vec![]),
        ] {
            world.sold("A", 1).await;
            let expected = (loser.order.clone(), "OVERCLAIMED".to_owned(), vec![(1, 1)], "A".to_owned());
            assert_eq!(given_up(world.heard(&loser.id).await), expected);
            assert_eq!(world.reservation(&loser.id).await.state(), ReservationState::Released);
            for other in others {
                assert_eq!(world.held_of(&other.id).await, 1);
            }
            assert_eq!(world.overclaimed().await, 0);
        }
        // what is being picked stays, whatever the till says
        world.sold("A", 3).await;
        assert_eq!(world.stands("n1", "A").await, (-1, 2));
        assert_eq!(world.events_of(&started.id).await, ["Held", "Confirmed", "Doubtful"]);
        assert_eq!(world.overclaimed().await, 1);
        world.at(2).await;
        assert!(world.rows("SELECT * FROM relief_due").await.is_empty());
    }
}

#[tokio::test]
async fn an_empty_shelf_costs_all_claims_but_those_that_are_picked_which_are_doubtful() {
    for world in worlds().await {
        world.stock("n1", &[("A", 20), ("B", 20)]).await;
        let finder = world.placed(2, 10, 0).await;
        let (other, cart) = (world.placed(3, 10, 5).await, world.cart(4).await);
        let started = world.placed(1, 10, 0).await;
        let elsewhere = world.placed_at(&rsv(), vec![line(1, "n1", "B", 2)], 10, 0).await;
        world.tell(&[picking(&started), rejected(&finder, ff::RejectReason::NotFound)]).await;
        let position = world.availability("n1", "A").await.position.unwrap();
        assert_eq!((position.on_hand, position.reserved, position.count_blocked), (20, 1, true));
        let lost = (other.order.clone(), "NOT_FOUND".to_owned(), vec![(1, 3)], "A".to_owned());
        assert_eq!(given_up(world.heard(&other.id).await), lost);
        assert_eq!(given_up(world.heard(&cart).await).0, "");
        let Said::ReservationDoubtful(doubt) = world.heard(&started.id).await else { panic!("not doubtful") };
        assert_eq!((&doubt.order_id, doubt.sku.as_str()), (&started.order, "A"));
        assert!(doubt.reservation.unwrap().lines.is_empty());
        assert_eq!(world.events_of(&finder.id).await, ["Held", "Confirmed", "Settled"]);
        assert_eq!(world.events_of(&elsewhere.id).await, ["Held", "Confirmed"]);
        // what the owners do about it changes nothing any more
        world.tell(&[rejected(&other, ff::RejectReason::Other)]).await;
        assert_eq!(world.stands("n1", "A").await, (20, 1));
        assert_eq!(world.overclaimed().await, 0);
    }
}

fn doubtful(said: Said) -> (String, String, bool) {
    let Said::ReservationDoubtful(event) = said else { panic!("{said:?}") };
    (event.order_id, event.sku, event.is_over)
}

#[tokio::test]
async fn where_only_picked_goods_are_claimed_beyond_what_is_there_they_are_doubtful_until_the_count_covers_them()
 {
    for world in worlds().await {
        world.stock("n1", &[("A", 6)]).await;
        let (first, second) = (world.placed(2, 10, 0).await, world.placed(2, 20, 0).await);
        let unstarted = world.placed(2, 30, 0).await;
        world.tell(&[picking(&first), picking(&second)]).await;
        // What has not begun covers the first sale alone.
        world.sold("A", 2).await;
        assert_eq!(given_up(world.heard(&unstarted.id).await).0, unstarted.order);
        let version = world.reservation(&first.id).await.version;
        world.sold("A", 1).await;
        for leg in [&first, &second] {
            assert_eq!(doubtful(world.heard(&leg.id).await), (leg.order.clone(), "A".to_owned(), false));
        }
        assert_eq!(world.reservation(&first.id).await.version, version + 1);
        world.adjust("n1", "A", Adjustment::Count, 3).await.unwrap();
        assert!(!doubtful(world.heard(&first.id).await).2, "three pieces do not cover four");
        world.adjust("n1", "A", Adjustment::Count, 4).await.unwrap();
        for leg in [&first, &second] {
            assert_eq!(doubtful(world.heard(&leg.id).await), (leg.order.clone(), "A".to_owned(), true));
        }
        let version = world.reservation(&first.id).await.version;
        world.adjust("n1", "A", Adjustment::Count, 9).await.unwrap();
        assert_eq!(world.reservation(&first.id).await.version, version, "it was not in doubt");
        assert_eq!((world.held_of(&first.id).await, world.held_of(&second.id).await), (2, 2));
        world.check().await;
    }
}

#[tokio::test]
async fn the_doubt_of_an_empty_shelf_is_over_with_its_count() {
    for world in worlds().await {
        world.stock("n1", &[("A", 6)]).await;
        let (finder, picked) = (world.placed(2, 10, 0).await, world.placed(2, 20, 0).await);
        world.tell(&[picking(&picked)]).await;
        world.tell(&[rejected(&finder, ff::RejectReason::NotFound)]).await;
        assert!(!doubtful(world.heard(&picked.id).await).2);
        world.sold("A", 1).await;
        assert!(!doubtful(world.heard(&picked.id).await).2, "nobody has counted");
        world.adjust("n1", "A", Adjustment::Count, 2).await.unwrap();
        assert_eq!(doubtful(world.heard(&picked.id).await), (picked.order.clone(), "A".to_owned(), true));
        world.check().await;
    }
}

#[tokio::test]
async fn a_finder_that_goes_on_keeps_what_it_has() {
    for world in worlds().await {
        world.stock("n1", &[("A", 9)]).await;
        let (finder, other) = (world.placed(3, 10, 0).await, world.placed(2, 10, 0).await);
        let row = ff::MovedLine {
            line: 1,
            quantity: 2,
            short: 1,
            short_reason: ff::ShortReason::NotFound.into(),
            ..Default::default()
        };
        let line = ff::FulfillmentLine { picked: 2, short: 1, ..Default::default() };
        let body = Body::Moved(ff::FulfillmentMoved { lines: vec![row], ..Default::default() });
        world.tell(&[report(&finder, Work::Picking, line, body)]).await;
        assert_eq!((world.held_of(&finder.id).await, world.held_of(&other.id).await), (2, 0));
        assert_eq!(world.events_of(&finder.id).await, ["Held", "Confirmed", "Settled"]);
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test]
async fn kits_lose_whole_and_a_reservation_that_loses_at_one_position_spares_others_at_the_next() {
    for world in worlds().await {
        world.stock("n1", &[("A", 8), ("B", 4)]).await;
        let box_ = pb::PutSkusRequest { request_id: fresh(), skus: vec![kit("BOX", &[("A", 3), ("B", 1)])] };
        world.client().put_skus(box_).await.unwrap();
        let boxes = world.placed_at(&rsv(), vec![line(1, "n1", "BOX", 2)], 90, 0).await;
        let plain = world.placed_at(&rsv(), vec![line(1, "n1", "A", 1), line(2, "n1", "B", 1)], 10, 0).await;
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((8, 7), (4, 3)));
        // two pieces are missing: one kit of three
        world.sold("A", 3).await;
        assert_eq!(world.stands("n1", "A").await, (5, 4));
        let lost = (boxes.order.clone(), "OVERCLAIMED".to_owned(), vec![(1, 1)], "A".to_owned());
        assert_eq!(given_up(world.heard(&boxes.id).await), lost);
        // both positions at once: the leg that loses anyway spares the other one
        world.client().apply_snapshot(snapshot("s-1", 2, &[("A", 1), ("B", 1)])).await.unwrap();
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((1, 1), (1, 1)));
        assert_eq!(world.held_of(&plain.id).await, 1);
        assert_eq!(world.reservation(&boxes.id).await.state(), ReservationState::Released);
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test]
async fn a_claim_of_several_positions_loses_one_and_keeps_the_others_until_its_owner_decides() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5), ("B", 5)]).await;
        let both = world.placed_at(&rsv(), vec![line(1, "n1", "A", 2), line(2, "n1", "B", 2)], 10, 0).await;
        world.adjust("n1", "A", Adjustment::Count, 1).await.unwrap();
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((1, 1), (5, 2)));
        let Said::ReservationGivenUp(event) = world.heard(&both.id).await else { panic!("kept") };
        let shown = event.reservation.unwrap();
        assert_eq!((shown.lines.len(), shown.lines[0].held, shown.lines[0].released), (1, 1, 1));
        assert_eq!((shown.state(), shown.version), (ReservationState::Confirmed, 3));
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test]
async fn a_cart_that_lost_units_can_be_neither_extended_nor_taken_by_an_order() {
    for world in worlds().await {
        world.stock("n1", &[("A", 3)]).await;
        let cart = world.cart(3).await;
        world.sold("A", 1).await;
        let request = pb::ExtendReservationRequest {
            request_id: fresh(),
            reservation_ids: vec![cart.clone()],
            expire_time: Some(stamp(after(2_000))),
        };
        let refused = world.client().extend_reservation(request).await.unwrap_err();
        assert_eq!(reason(&refused), "RESERVATION_EXPIRED");
        let refused = world.client().reserve(reserve(&cart, vec![line(1, "n1", "A", 3)])).await.unwrap_err();
        assert_eq!(reason(&refused), "RESERVATION_EXPIRED");
        let order = format!("ord_{}", Uuid::new_v4());
        world.confirm(&cart, &order).await;
        let Said::ReservationRefused(refused) = world.heard(&cart).await else { panic!("confirmed") };
        assert_eq!(
            (refused.order_id, refused.reason, refused.sku),
            (order.clone(), "NO_STOCK".into(), "A".into())
        );
        // its order ends, and the rest is free
        let lost = Leg { id: cart, order, units: 3 };
        world.tell(&[rejected(&lost, ff::RejectReason::Other)]).await;
        assert_eq!(world.stands("n1", "A").await, (2, 0));
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test]
async fn goods_that_leave_without_a_claim_cost_claims_in_the_same_transaction() {
    for world in worlds().await {
        world.stock("n1", &[("A", 2)]).await;
        let gone = world.placed(1, 10, 0).await;
        let other = world.placed(1, 10, 0).await;
        world.adjust("n1", "A", Adjustment::Count, 1).await.unwrap();
        let loses_first = world.held_of(&gone.id).await == 0;
        let (first, second) = if loses_first { (gone, other) } else { (other, gone) };
        assert_eq!((world.held_of(&first.id).await, world.held_of(&second.id).await), (0, 1));
        // the one that lost its claim hands over all the same: the last piece is gone
        let line = ff::FulfillmentLine { done: 1, ..Default::default() };
        let moved = || Body::Moved(ff::FulfillmentMoved::default());
        world.tell(&[report(&first, Work::Done, line, moved())]).await;
        assert_eq!(world.stands("n1", "A").await, (0, 0));
        assert_eq!(given_up(world.heard(&second.id).await).1, "OVERCLAIMED");
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_claims_than_one_transaction_gives_up_are_given_up_by_the_timer() {
    for world in worlds().await {
        world.stock("n1", &[("A", 1_300), ("B", 1_300)]).await;
        for _ in 0..24 {
            let both = |_| claim(&rsv(), vec![line(1, "n1", "A", 1), line(2, "n1", "B", 1)]);
            world.client().reserve(reserve_all((0..50).map(both).collect())).await.unwrap();
        }
        let finder = world.placed(1, 10, 0).await;
        world.adjust("n1", "B", Adjustment::Count, 0).await.unwrap();
        assert_eq!(world.stands("n1", "B").await, (0, 700));
        world.tell(&[rejected(&finder, ff::RejectReason::NotFound)]).await;
        let (_, left) = world.stands("n1", "A").await;
        assert!((1..=701).contains(&left), "{left}");
        assert!(world.run_due().await > 0);
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((1_300, 0), (0, 0)));
        assert_eq!(world.overclaimed().await, 0);
        assert!(world.rows("SELECT * FROM relief_due").await.is_empty());
        assert_eq!(world.run_due().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_claims_race_with_sales_and_nothing_is_claimed_twice() {
    for world in worlds().await {
        world.stock("n1", &[("A", 64)]).await;
        let ids: Vec<String> = (0..64).map(|_| rsv()).collect();
        let callers = ids.iter().map(|id| {
            let mut client = world.client();
            let request = reserve(id, vec![line(1, "n1", "A", 1)]);
            tokio::spawn(async move { client.reserve(request).await.is_ok() })
        });
        let callers: Vec<_> = callers.collect();
        let sales = join_all((0..8).map(|_| world.sold("A", 5)));
        let (granted, _) = tokio::join!(join_all(callers), sales);
        let granted = granted.into_iter().filter(|granted| *granted.as_ref().unwrap()).count();
        world.run_due().await;
        let (on_hand, reserved) = world.stands("n1", "A").await;
        assert_eq!(on_hand, 24);
        assert!(reserved <= 24 && granted >= 24, "{granted} granted, {reserved} reserved");
        let mut lost = 0;
        for id in &ids {
            lost += usize::from(world.events_of(id).await.last().is_some_and(|last| last == "GivenUp"));
        }
        assert_eq!(i64::try_from(granted - lost).unwrap(), reserved);
        assert_eq!(world.overclaimed().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_take_their_claims_never_wait_in_a_circle_with_an_empty_shelf() {
    // each waits as long as it takes: only a circle fails
    for world in on_all(Ground::all_patient(SETS, START).await).await {
        world.stock("n1", &[("A", 1_000), ("B", 1_000)]).await;
        let mut work = Vec::new();
        for n in 0..8 {
            let finder = world.placed(1, 10, 0).await;
            let carts = (0..10).map(|_| claim(&rsv(), vec![line(1, "n1", "A", 1), line(2, "n1", "B", 1)]));
            let carts: Vec<_> = carts.collect();
            let ids: Vec<String> = carts.iter().map(|cart| cart.reservation_id.clone()).collect();
            world.client().reserve(reserve_all(carts)).await.unwrap();
            work.push((finder, ids));
            if n % 2 == 1 {
                world.adjust("n1", "A", Adjustment::Count, 1_000).await.unwrap();
            }
        }
        let finders = work.iter().map(|(finder, _)| async {
            world.tell(&[rejected(finder, ff::RejectReason::NotFound)]).await;
        });
        let world = &world;
        let confirms = work.iter().flat_map(|(_, ids)| ids).map(|id| async move {
            let order = format!("ord_{}", Uuid::new_v4());
            world.confirm(id, &order).await
        });
        tokio::join!(join_all(finders), join_all(confirms));
        while world.run_due().await > 0 {}
        assert_eq!(world.overclaimed().await, 0);
    }
}
