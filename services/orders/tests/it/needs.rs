//! Pieces that a node could not do: looked for as far as the consent goes, else the customer is asked.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::r#type::v1::{Consent, Method};
use domain::time::{Timestamp, after_ms};
use ful::{FulfillmentState as State, RejectReason, fulfillment_event::Body};
use pb::{Block, NeedState, OptionKind, OrderStatus, TenderState};
use test_world::stamp;
use tonic::{Code, Status};

use crate::world::{World, leg, line, minor, refunds, request, worlds};

/// An order of 3 x 1.00 and 2 x 0.55 at store-1, paid, with this consent: 7.60 in all.
pub(crate) async fn placed_with(world: &World, consent: Consent) -> pb::Order {
    let lines = vec![line("a", 3, 100), line("b", 2, 55)];
    let mut asked = request(&world.number(), lines, TenderState::Captured);
    asked.groups[0].consent = Some(consent);
    world.try_place(asked).await.unwrap()
}

/// Any node within 5 km.
pub(crate) fn near() -> Consent {
    Consent { other_node_radius_m: 5_000, ..Consent::default() }
}

/// The one need of an order.
pub(crate) fn need(order: &pb::Order) -> &pb::Need {
    let [need] = order.needs.as_slice() else { panic!("{:?}", order.needs) };
    need
}

/// All pieces of the last leg are refused, and what is due happens.
pub(crate) async fn refused(world: &World, order: &pb::Order) -> pb::Order {
    world.reject(order, RejectReason::NotFound).await;
    world.run_due().await;
    world.get(order).await
}

/// Two pieces of the first line are found, one is short.
pub(crate) async fn picked_short(world: &World, order: &pb::Order, reason: ful::ShortReason) -> pb::Order {
    let body = Body::Moved(ful::FulfillmentMoved {
        to: ful::FulfillmentStage::Picked.into(),
        lines: vec![ful::MovedLine {
            line: 1,
            quantity: 2,
            short: 1,
            short_reason: reason.into(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let picked = |line: &mut ful::FulfillmentLine| {
        if line.line == 1 {
            (line.to_pick, line.picked, line.short) = (0, 2, 1);
        }
    };
    world.work(order, State::Picking, body, picked).await
}

#[tokio::test]
async fn refused_pieces_are_held_at_the_nearest_other_node_that_the_consent_allows() {
    for world in worlds().await {
        let order = placed_with(&world, near()).await;
        world.confirm(&order).await;
        let failed = world.reject(&order, RejectReason::TooBusy).await;
        assert_eq!((failed.status(), refunds(&failed)), (OrderStatus::Confirmed, (0, 0)));
        assert_eq!((need(&failed).state(), failed.lines[0].buckets.unwrap().open), (NeedState::Seeking, 3));
        world.run_due().await;
        let now = world.get(&order).await;
        assert_eq!((leg(&now).node_id.as_str(), &leg(&now).need_id), ("store-2", &need(&now).need_id));
        assert_eq!((now.status(), refunds(&now), now.blocks.len()), (OrderStatus::Confirmed, (0, 0), 0));
        assert_eq!(now.lines[0].buckets.unwrap().reserved, 3);
        let need = need(&now);
        assert_eq!(
            (need.state(), need.reason.as_str(), need.offers),
            (NeedState::Sourced, "REJECTED_TOO_BUSY", 1)
        );
        assert_eq!(need.fulfillment_id, leg(&order).fulfillment_id);
        let out: Vec<_> =
            need.excluded.iter().map(|node| (node.node_id.as_str(), node.reason.as_str())).collect();
        assert_eq!(out, [("store-1", "REJECTED_TOO_BUSY")]);
        let asked = world.fake.holds().pop().unwrap();
        let group = &asked.groups[0];
        assert_eq!((group.node_id.as_str(), group.near_node_id.as_str()), ("", "store-1"));
        assert_eq!(
            (group.radius_m, group.max_parts, &group.without_node_ids[..]),
            (5_000, 1, &["store-1".to_owned()][..])
        );
        assert_eq!(world.happened(&order).await, ["placed", "confirmed", "need_opened", "rerouted"]);
        let steps = world.timeline(&order).await;
        let said = |name: &str| steps.iter().find(|entry| entry.step == name).unwrap().text.clone();
        assert_eq!(said("NEED_OPENED"), "5 pieces are looked for elsewhere: the node refused: too busy");
        assert!(said("REROUTED").starts_with("5 pieces to store-2, ready at "), "{}", said("REROUTED"));
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Rerouted(rerouted)) = &events[3].body else { panic!("{events:?}") };
        assert_eq!((rerouted.work.len(), rerouted.work[0].offer_number), (1, 2));
        assert_eq!(rerouted.work[0].fulfillment_id, leg(&now).fulfillment_id);
        let pieces: Vec<_> = rerouted.work[0].lines.iter().map(|l| (l.line, l.quantity)).collect();
        assert_eq!(pieces, [(1, 3), (2, 2)]);
        assert_eq!(rerouted.let_go[0].fulfillment_id, leg(&order).fulfillment_id);
    }
}

/// What each hold after the first was asked with: method, seconds from the placing to the end of the window, legs.
pub(crate) fn climbed(world: &World, placed: Timestamp) -> Vec<(Method, i64, i32)> {
    let ladder = world.fake.holds().into_iter().skip(1).map(|hold| {
        let group = &hold.groups[0];
        let ends = group.wanted_window.unwrap().end_time.unwrap().seconds;
        (group.method(), ends - stamp(placed).seconds, group.max_parts)
    });
    ladder.collect()
}

#[tokio::test]
async fn the_ladder_is_climbed_as_the_consent_says_and_then_the_customer_is_asked() {
    for world in worlds().await {
        let placed = world.now();
        let consent =
            Consent { delay_until_time: Some(stamp(after_ms(placed, 6 * 3_600_000))), split: true, ..near() };
        let order = placed_with(&world, consent).await;
        world.fake.refuse_everywhere();
        let now = refused(&world, &order).await;
        // Promised in an hour, and an hour later is in time still; until six hours by consent.
        let hour = 3_600;
        let pickup = Method::Pickup;
        assert_eq!(
            climbed(&world, placed),
            [(pickup, 2 * hour, 1), (pickup, 6 * hour, 1), (pickup, 2 * hour, 3), (pickup, 6 * hour, 3)]
        );
        assert_eq!((need(&now).state(), blocks(&now)), (NeedState::Asked, vec![Block::Stock]));
    }
}

fn blocks(order: &pb::Order) -> Vec<Block> {
    order.blocks().collect()
}

#[tokio::test]
async fn without_consent_the_customer_is_asked_at_once_and_silence_pays_all_back() {
    for world in worlds().await {
        let order = world.paid().await;
        let now = refused(&world, &order).await;
        assert_eq!(world.fake.made(), 1, "nothing is held without consent");
        assert_eq!(
            (now.status(), blocks(&now), refunds(&now)),
            (OrderStatus::Placed, vec![Block::Stock], (0, 0))
        );
        let day = stamp(after_ms(world.now(), 24 * 3_600_000));
        assert_eq!((need(&now).state(), need(&now).resolve_by_time), (NeedState::Asked, Some(day)));
        let options = world.options(&order).await;
        let kinds: Vec<_> = options.iter().map(|o| (o.kind(), o.node_id.as_str())).collect();
        assert_eq!(
            kinds,
            [
                (OptionKind::OtherNode, "store-2"),
                (OptionKind::OtherNode, "store-3"),
                (OptionKind::OtherNode, "store-4"),
                (OptionKind::Wait, ""),
                (OptionKind::Drop, "")
            ],
            "goods that are not there are not waited for there"
        );
        assert_eq!((minor(&options[0].difference), minor(&options[4].difference)), (0, -760));
        world.pass(24 * 60 - 1).await;
        assert_eq!(need(&world.get(&order).await).state(), NeedState::Asked);
        assert_eq!(world.service.overdue(after_ms(world.now(), 60_000), 9).await.unwrap(), 1);
        world.clock.advance_to(after_ms(world.now(), 60_000));
        world.service.run_upkeep(world.now()).await.unwrap();
        assert_eq!(need(&world.get(&order).await).state(), NeedState::Asked, "upkeep ends nothing");
        world.pass(0).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), refunds(&end), end.blocks.len()), (OrderStatus::Cancelled, (760, 760), 0));
        assert_eq!(need(&end).state(), NeedState::Dropped);
        assert_eq!(end.lines[0].cancel_reason, "REJECTED_NOT_FOUND");
        let happened = world.happened(&order).await;
        assert_eq!(
            happened,
            // again when the first quotes are over
            [
                "placed",
                "need_opened",
                "options_offered",
                "options_offered",
                "need_closed",
                "cancelled",
                "refund"
            ]
        );
        assert_eq!(world.options(&order).await, []);
    }
}

#[tokio::test]
async fn a_short_piece_is_asked_about_while_the_rest_goes_on_and_silence_pays_back_that_piece_alone() {
    for world in worlds().await {
        let order = world.paid().await;
        world.confirm(&order).await;
        picked_short(&world, &order, ful::ShortReason::NotFound).await;
        world.run_due().await;
        let now = world.get(&order).await;
        assert_eq!((now.status(), blocks(&now)), (OrderStatus::InFulfillment, vec![Block::Stock]));
        assert_eq!((need(&now).state(), need(&now).reason.as_str()), (NeedState::Asked, "SHORT_NOT_FOUND"));
        let buckets = now.lines[0].buckets.unwrap();
        assert_eq!((buckets.picked, buckets.open, buckets.cancelled), (2, 1, 0));
        world.pass(24 * 60).await;
        let now = world.get(&order).await;
        assert_eq!((now.status(), refunds(&now)), (OrderStatus::InFulfillment, (100, 100)));
        let (first, second) = (now.lines[0].buckets.unwrap(), now.lines[1].buckets.unwrap());
        assert_eq!((first.picked, first.cancelled, second.allocated), (2, 1, 2));
        let collected = Body::Moved(ful::FulfillmentMoved {
            to: ful::FulfillmentStage::Done.into(),
            ..Default::default()
        });
        let done = |l: &mut ful::FulfillmentLine| {
            l.short = i64::from(l.line == 1);
            (l.to_pick, l.done) = (0, l.quantity - l.short);
        };
        let end = world.work(&order, State::Done, collected, done).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Completed, (100, 100)));
    }
}

#[tokio::test]
async fn pieces_are_still_looked_for_while_the_customer_is_asked_and_found_without_an_answer() {
    for world in worlds().await {
        let order = placed_with(&world, near()).await;
        world.fake.refuse_everywhere();
        let asked = refused(&world, &order).await;
        let rounds = world.fake.calls("HoldPromise");
        assert_eq!((need(&asked).state(), world.options(&order).await.len()), (NeedState::Asked, 2));
        let version = asked.version;
        world.pass(1).await;
        assert_eq!(world.fake.calls("HoldPromise"), rounds + 1, "a minute later, under another id");
        assert_eq!(world.get(&order).await.version, version, "nothing new is nothing to tell");
        world.fake.grant_at("store-3");
        world.pass(4).await;
        assert_eq!(world.get(&order).await.version, version, "not yet");
        world.pass(1).await;
        let now = world.get(&order).await;
        assert_eq!((leg(&now).node_id.as_str(), need(&now).state()), ("store-3", NeedState::Sourced));
        assert_eq!((now.blocks.len(), refunds(&now)), (0, (0, 0)));
    }
}

#[tokio::test]
async fn what_is_offered_again_keeps_its_id_and_what_is_not_is_gone() {
    for world in worlds().await {
        let order = world.paid().await;
        let asked = refused(&world, &order).await;
        let before = world.options(&order).await;
        world.fake.refuse_at("store-2", "NO_STOCK");
        world.pass(1).await;
        let now = world.get(&order).await;
        assert_eq!(
            (now.version, need(&now).resolve_by_time),
            (asked.version + 1, need(&asked).resolve_by_time)
        );
        let after = world.options(&order).await;
        let nodes: Vec<_> = after.iter().map(|o| o.node_id.as_str()).collect();
        assert_eq!(nodes, ["store-3", "store-4", "store-5", "", ""]);
        let ids =
            |options: &[pb::NeedOption]| options.iter().map(|o| o.option_id.clone()).collect::<Vec<_>>();
        assert_eq!(
            [&ids(&before)[1..3], &ids(&before)[3..]].concat(),
            [&ids(&after)[..2], &ids(&after)[3..]].concat()
        );
        let gone = world.try_choose(&order, &before[0]).await.unwrap_err();
        let facts = server::status::facts(&gone);
        assert_eq!(
            (test_world::reason(&gone).as_str(), facts["reason"].as_str()),
            ("OPTION_GONE", "NOT_OFFERED_ANY_MORE")
        );
        assert!(gone.message().contains("not offered any more"), "{gone:?}");
        // A link that was sent with the first options works as long as what it names is offered.
        let end = world.try_choose(&order, before.last().unwrap()).await.unwrap();
        assert_eq!((need(&end).state(), refunds(&end)), (NeedState::Dropped, (760, 760)));
    }
}

#[tokio::test]
async fn the_same_pieces_are_offered_to_five_nodes_and_then_the_customer_is_asked() {
    for world in worlds().await {
        let order = placed_with(&world, Consent { other_node_radius_m: 100_000, ..near() }).await;
        let mut now = order.clone();
        for node in 2..=5 {
            now = refused(&world, &now).await;
            assert_eq!(leg(&now).node_id, format!("store-{node}"));
        }
        now = refused(&world, &now).await;
        let last = now.needs.last().unwrap();
        assert_eq!((now.needs.len(), last.offers, last.state()), (5, 5, NeedState::Asked));
        assert_eq!((last.excluded.len(), refunds(&now)), (5, (0, 0)));
        world.pass(24 * 60).await;
        assert_eq!(refunds(&world.get(&order).await), (760, 760));
    }
}

#[tokio::test]
async fn nothing_is_looked_for_while_another_block_holds_the_order_back() {
    for world in worlds().await {
        let lines = vec![line("a", 3, 100), line("b", 2, 55)];
        let mut asked = request(&world.number(), lines, TenderState::Authorized);
        asked.groups[0].consent = Some(near());
        let order = world.try_place(asked).await.unwrap();
        world.try_pay(&order, TenderState::Failed).await.unwrap();
        let now = refused(&world, &order).await;
        assert_eq!((need(&now).state(), blocks(&now)), (NeedState::Seeking, vec![Block::Payment]));
        assert_eq!(world.fake.made(), 1);
        world.try_pay(&order, TenderState::Captured).await.unwrap();
        world.run_due().await;
        let now = world.get(&order).await;
        assert_eq!((leg(&now).node_id.as_str(), now.blocks.len()), ("store-2", 0));
    }
}

#[tokio::test]
async fn a_hold_whose_answer_is_lost_is_found_again_by_the_next_try_and_none_is_left() {
    for world in worlds().await {
        let order = placed_with(&world, near()).await;
        world.fake.lose_answers("HoldPromise", 1);
        world.reject(&order, RejectReason::NotFound).await;
        world.run_due().await;
        assert_eq!(need(&world.get(&order).await).state(), NeedState::Seeking);
        world.pass(1).await;
        let now = world.get(&order).await;
        assert_eq!(need(&now).state(), NeedState::Sourced);
        assert_eq!((world.fake.made(), world.fake.live()), (2, 2), "one for each leg");
        let holds = world.fake.holds();
        assert_eq!(holds[1], holds[2], "the same request, although the clock moved");
    }
}

#[tokio::test]
async fn an_outage_asks_nobody_at_once_and_after_ten_minutes_offers_what_needs_no_answer() {
    for world in worlds().await {
        let order = world.paid().await;
        world.reject(&order, RejectReason::NotFound).await;
        world.fake.refuse(Code::Unavailable, "PEER_UNREACHABLE");
        world.run_due().await;
        for _ in 0..9 {
            world.pass(1).await;
            assert_eq!(need(&world.get(&order).await).state(), NeedState::Seeking);
        }
        world.pass(1).await;
        assert_eq!(need(&world.get(&order).await).state(), NeedState::Asked);
        let kinds: Vec<_> = world.options(&order).await.iter().map(pb::NeedOption::kind).collect();
        assert_eq!(kinds, [OptionKind::Wait, OptionKind::Drop]);
        world.fake.grant();
        world.pass(1).await;
        assert_eq!(world.options(&order).await.len(), 5, "the places are offered once they are known");
    }
}

#[tokio::test]
async fn what_a_cancel_takes_of_a_need_is_cancelled_at_once_and_not_looked_for() {
    for world in worlds().await {
        let order = placed_with(&world, near()).await;
        world.fake.refuse_everywhere();
        refused(&world, &order).await;
        let (now, outcome) = world.try_cancel(&order, &[(1, 2)]).await.unwrap();
        assert_eq!((outcome, refunds(&now)), (pb::CancelOutcome::Cancelled, (200, 200)));
        world.fake.grant_at("store-2");
        world.pass(1).await;
        let now = world.get(&order).await;
        let pieces: Vec<_> = leg(&now).lines.iter().map(|l| (l.line, l.quantity)).collect();
        assert_eq!((leg(&now).node_id.as_str(), pieces), ("store-2", vec![(1, 1), (2, 2)]));
        world.fake.grant_at("store-1");
        let order = placed_with(&world, Consent::default()).await;
        refused(&world, &order).await;
        let (end, _) = world.try_cancel(&order, &[]).await.unwrap();
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)));
        assert_eq!((need(&end).state(), end.blocks.len()), (NeedState::Dropped, 0));
        let closed = async |order: &pb::Order| {
            let steps = world.timeline(order).await;
            steps.into_iter().find(|entry| entry.step == "NEED_DROPPED").unwrap().text
        };
        let said = "5 pieces are not looked for any more: they were cancelled";
        assert_eq!(closed(&order).await, said);
        let order = world.paid().await;
        world.confirm(&order).await;
        picked_short(&world, &order, ful::ShortReason::NotFound).await;
        world.try_cancel(&order, &[(1, 1)]).await.unwrap();
        assert_eq!(closed(&order).await, "1 piece is not looked for any more: it was cancelled");
    }
}

#[tokio::test]
async fn the_orders_of_a_node_that_closes_find_others_in_one_turn() {
    for world in worlds().await {
        let mut orders = Vec::new();
        for _ in 0..40 {
            let order = placed_with(&world, near()).await;
            world.reject(&order, RejectReason::NodeClosed).await;
            orders.push(order);
        }
        world.run_due().await;
        for order in &orders {
            assert_eq!(leg(&world.get(order).await).node_id, "store-2");
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_away_is_asked_by_few_orders_in_a_turn() {
    for world in worlds().await {
        for _ in 0..40 {
            let order = placed_with(&world, near()).await;
            world.reject(&order, RejectReason::NodeClosed).await;
        }
        let before = world.fake.calls("HoldPromise");
        (*world.fake).refuse("HoldPromise", 1_000, &Status::unavailable("away"));
        world.run_due().await;
        assert_eq!(world.fake.calls("HoldPromise") - before, 16);
    }
}

#[tokio::test]
async fn the_claim_of_a_leg_that_failed_is_let_go_when_the_customer_is_asked() {
    for world in worlds().await {
        let order = world.paid().await;
        world.reject(&order, RejectReason::TooBusy).await;
        world.run_due().await;
        let events = world.events(&order).await;
        // The next rounds find the same, and nothing is offered again.
        world.pass(1).await;
        world.pass(5).await;
        world.pass(15).await;
        assert_eq!(world.happened(&order).await, ["placed", "need_opened", "options_offered"]);
        let Some(pb::order_event::Body::OptionsOffered(offered)) = &events[2].body else {
            panic!("{events:?}")
        };
        assert_eq!(offered.let_go[0].fulfillment_id, leg(&order).fulfillment_id);
        let kinds: Vec<_> = offered.options.iter().map(|o| (o.kind(), o.node_id.as_str())).collect();
        assert!(kinds.contains(&(OptionKind::Wait, "store-1")), "a busy node may do it later: {kinds:?}");
        assert_eq!(offered.options, world.options(&order).await);
    }
}

#[tokio::test]
async fn a_consent_that_cannot_be_meant_is_refused_by_field() {
    for world in worlds().await {
        let refused = async |consent: Consent| {
            let mut asked = request(&world.number(), vec![line("a", 1, 100)], TenderState::Captured);
            asked.groups[0].consent = Some(consent);
            world.try_place(asked).await.map_err(|no| test_world::fields(&no))
        };
        let until = |ms: i64| Consent {
            delay_until_time: Some(stamp(after_ms(world.now(), ms))),
            ..Consent::default()
        };
        let year = 366 * 24 * 3_600_000;
        let twice = vec![Method::Pickup.into(); 2];
        let bad = [
            (Consent { other_node_radius_m: 1_000_001, ..near() }, "other_node_radius_m"),
            (Consent { substitute: true, ..near() }, "substitute"),
            (Consent { other_methods: twice, ..near() }, "other_methods[1]"),
            (until(0), "delay_until_time"),
            (until(-1_000), "delay_until_time"),
            (until(year + 1), "delay_until_time"),
        ];
        for (consent, field) in bad {
            let expected = vec![format!("groups[0].consent.{field}")];
            assert_eq!(refused(consent.clone()).await.unwrap_err(), expected, "{consent:?}");
        }
        assert_eq!(world.fake.made(), 0);
        refused(until(year)).await.unwrap();
        refused(Consent { other_node_radius_m: 1_000_000, ..Consent::default() }).await.unwrap();
    }
}
