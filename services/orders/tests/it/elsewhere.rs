//! Orders that were sold elsewhere: refused for their shape alone, held as far as that goes, and looked for else.

use contract::orders::v1 as pb;
use contract::r#type::v1::{LineQuantity, Method};
use futures_util::future::join_all;
use orders::Config;
use pb::{Acceptance, NeedState, OrderStatus, TenderState, order_event::Body};
use test_world::{by, fields, fresh, reason, stamp};
use tonic::{Code, Status};

use crate::world::{World, group, leg, line, minor, refunds, request, worlds, worlds_with};

/// Three lines of a marketplace, 3 x 1.00, 2 x 0.55 and 1 x 2.00: 9.60 in all, at store-1.
fn sold() -> pb::PlaceOrderRequest {
    let lines = vec![line("a", 3, 100), line("b", 2, 55), line("c", 1, 200)];
    pb::PlaceOrderRequest {
        acceptance: Acceptance::SoldElsewhere.into(),
        cancel_code: "MKT_NO_STOCK".to_owned(),
        ..request("m-1", lines, TenderState::Captured)
    }
}

/// The same in two groups: the first line at store-1, the others at store-2.
fn in_two_groups() -> pb::PlaceOrderRequest {
    let pieces = |line, quantity| LineQuantity { line, quantity };
    let at = |node, lines| pb::NewGroup { lines, ..group(Method::Pickup.into(), node) };
    let groups = vec![at("store-1", vec![pieces(1, 3)]), at("store-2", vec![pieces(2, 2), pieces(3, 1)])];
    pb::PlaceOrderRequest { groups, ..sold() }
}

fn legs(order: &pb::Order) -> Vec<&pb::Leg> {
    order.groups.iter().flat_map(|group| &group.legs).collect()
}

/// Group, reason, state and lines of each need.
fn needs(order: &pb::Order) -> Vec<(u32, &str, NeedState, Vec<u32>)> {
    let lines = |need: &pb::Need| need.lines.iter().map(|line| line.line).collect();
    order.needs.iter().map(|need| (need.group, need.reason.as_str(), need.state(), lines(need))).collect()
}

async fn orders(world: &World) -> i64 {
    world.count("SELECT COUNT(*) AS n FROM orders").await
}

#[tokio::test]
async fn one_group_is_held_and_the_other_is_a_need_at_once_that_is_held_when_its_node_opens() {
    for world in worlds().await {
        world.fake.refuse_at("store-2", "NODE_CLOSED");
        let order = world.try_place(in_two_groups()).await.unwrap();
        assert_eq!(
            (order.acceptance(), order.cancel_code.as_str()),
            (Acceptance::SoldElsewhere, "MKT_NO_STOCK")
        );
        assert_eq!((order.status(), order.blocks.len(), legs(&order).len()), (OrderStatus::Placed, 0, 1));
        assert_eq!((leg(&order).node_id.as_str(), leg(&order).lines[0].quantity), ("store-1", 3));
        assert_eq!(needs(&order), [(2, "NODE_CLOSED", NeedState::Seeking, vec![2, 3])]);
        assert_eq!(order, world.get(&order).await, "it is read as it was answered");
        assert_eq!(world.happened(&order).await, ["placed", "need_opened"]);
        let holds = world.fake.holds();
        assert_eq!((holds.len(), world.fake.live()), (2, 1));
        assert!(holds.iter().all(|hold| hold.on_behalf_of.is_empty() && hold.channel == "web"));
        assert_eq!(holds[1].groups.iter().map(|group| group.group).collect::<Vec<_>>(), [1]);
        world.confirm(&order).await;
        world.fake.grant_at("store-2");
        world.run_due().await;
        let found = world.get(&order).await;
        assert_eq!(needs(&found), [(2, "NODE_CLOSED", NeedState::Sourced, vec![2, 3])]);
        assert_eq!((leg(&found).node_id.as_str(), leg(&found).lines.len()), ("store-2", 2));
        world.confirm(&found).await;
        assert_eq!((world.get(&order).await.status(), refunds(&found)), (OrderStatus::Confirmed, (0, 0)));
    }
}

#[tokio::test]
async fn what_nobody_has_is_an_order_without_legs_and_silence_drops_it_for_the_reason_of_its_channel() {
    for world in worlds().await {
        world.fake.refuse_everywhere();
        let order = world.try_place(in_two_groups()).await.unwrap();
        assert_eq!((order.status(), legs(&order).len(), world.fake.live()), (OrderStatus::Placed, 0, 0));
        let each = |line, group| (group, "NO_STOCK", NeedState::Seeking, vec![line]);
        assert_eq!(needs(&order), [each(1, 1), each(2, 2), each(3, 2)]);
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        assert_eq!((placed.work.len(), placed.blocks.len()), (0, 0));
        assert_eq!(world.service.next_due().await.unwrap(), Some(world.now()), "it is looked for at once");
        let steps = world.timeline(&order).await;
        assert_eq!(steps[0].text, "placed for 9.60 GBP");
        assert_eq!(steps[1].text, "3 pieces are looked for elsewhere: no stock");
        world.run_due().await;
        let asked = world.get(&order).await;
        assert!(asked.needs.iter().all(|need| need.state() == NeedState::Asked), "{:?}", asked.needs);
        let options = world.options(&order).await;
        let drop = options.iter().rfind(|option| option.kind() == pb::OptionKind::Drop).unwrap();
        let dropped = world.try_choose(&order, drop).await.unwrap();
        assert_eq!(dropped.lines.iter().filter(|line| line.cancel_reason == "MKT_NO_STOCK").count(), 1);
        world.pass(24 * 60).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), minor(&end.refund_requested)), (OrderStatus::Cancelled, 960));
        assert!(end.lines.iter().all(|line| line.cancel_reason == "MKT_NO_STOCK"), "{:?}", end.lines);
        assert!(end.refunds.iter().all(|refund| refund.reason == "MKT_NO_STOCK"), "{:?}", end.refunds);
        assert!(end.needs.iter().all(|need| need.reason == "NO_STOCK"), "why it was missing is still known");
        for event in world.events(&order).await {
            match event.body.unwrap() {
                Body::Cancelled(cancelled) => assert_eq!(cancelled.reason, "MKT_NO_STOCK"),
                Body::NeedClosed(closed) => assert_eq!(closed.need.unwrap().reason, "MKT_NO_STOCK"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn of_a_group_only_the_lines_that_are_missing_are_looked_for_each_by_itself() {
    for names_skus in [false, true] {
        for world in worlds().await {
            if names_skus {
                world.fake.name_skus();
            }
            for sku in ["a", "c"] {
                world.fake.lack(sku);
            }
            let order = world.try_place(pb::PlaceOrderRequest { cancel_code: String::new(), ..sold() }).await;
            let order = order.unwrap();
            assert_eq!(order.cancel_code, "NOT_AVAILABLE");
            let held: Vec<_> = leg(&order).lines.iter().map(|line| (line.line, line.quantity)).collect();
            assert_eq!((legs(&order).len(), held), (1, vec![(2, 2)]));
            let lacks = |line, state| (1, "NO_STOCK", state, vec![line]);
            assert_eq!(needs(&order), [lacks(1, NeedState::Seeking), lacks(3, NeedState::Seeking)]);
            world.fake.supply();
            world.fake.lack("c");
            world.run_due().await;
            let found = world.get(&order).await;
            assert_eq!(needs(&found), [lacks(1, NeedState::Sourced), lacks(3, NeedState::Asked)]);
            assert_eq!(legs(&found).len(), 2, "what is there does not wait for what is not");
        }
    }
}

#[tokio::test]
async fn where_the_platform_chooses_the_node_it_may_divide_a_group_and_a_promise_that_is_too_late_is_none() {
    for world in worlds().await {
        let mut asked = sold();
        asked.groups[0].r#where = None;
        let order = world.try_place(asked.clone()).await.unwrap();
        assert_eq!(legs(&order).len(), 1);
        assert_eq!(world.fake.holds()[0].groups[0].max_parts, 3);
        asked.channel_order_id = "m-2".to_owned();
        asked.request_id = fresh();
        asked.groups[0].not_later_than_time = Some(stamp(world.now()));
        let late = world.try_place(asked).await.unwrap();
        assert_eq!(needs(&late), [(1, "LATER_THAN_WANTED", NeedState::Seeking, vec![1, 2, 3])]);
        assert_eq!(world.fake.live(), 1, "what came too late was released");
    }
}

#[tokio::test]
async fn an_outage_or_a_bad_shape_refuses_it_and_the_same_request_is_placed_afterwards() {
    for world in worlds().await {
        let refused = async |code: Code, name: &str| {
            let no: Status = world.try_place(sold()).await.unwrap_err();
            assert_eq!((no.code(), reason(&no).as_str()), (code, name), "{no:?}");
            assert_eq!((orders(&world).await, world.fake.live()), (0, 0));
        };
        for (code, name) in [
            (Code::Unavailable, "INVENTORY_UNAVAILABLE"),
            (Code::ResourceExhausted, "OVERLOADED"),
            // Not about a group: no node will ever do it.
            (Code::FailedPrecondition, "METHOD_NOT_OFFERED"),
        ] {
            world.fake.refuse(code, name);
            refused(code, name).await;
        }
        world.fake.grant();
        world.fake.refuse_at("store-1", "UNKNOWN_NODE");
        refused(Code::FailedPrecondition, "UNKNOWN_NODE").await;
        world.fake.grant_at("store-1");
        let ghost = pb::PlaceOrderRequest { lines: vec![line("a", 3, 100), line("ghost", 3, 103)], ..sold() };
        let ghost = pb::PlaceOrderRequest { total: crate::world::gbp(959), ..ghost };
        let ghost = pb::PlaceOrderRequest {
            tenders: vec![crate::world::tender("t1", 959, TenderState::Captured)],
            ..ghost
        };
        world.fake.forget("ghost");
        assert_eq!(fields(&world.try_place(ghost).await.unwrap_err()), ["lines[1].sku"]);
        world.fake.lack("b");
        world.fake.lose_a_question();
        let no = world.try_place(sold()).await.unwrap_err();
        assert_eq!((no.code(), orders(&world).await), (Code::Unavailable, 0), "{no:?}");
        world.fake.supply();
        let request = sold();
        world.fake.lose_answers("HoldPromise", 1);
        let lost = world.try_place(request.clone()).await.unwrap_err();
        assert_eq!((lost.code(), orders(&world).await), (Code::Unavailable, 0));
        let made = world.fake.made();
        let order = world.try_place(request).await.unwrap();
        assert_eq!((legs(&order).len(), world.fake.made(), world.fake.live()), (1, made, made));
    }
}

#[tokio::test]
async fn only_its_channel_and_operators_hand_it_over_paid_and_without_a_promise() {
    for world in worlds().await {
        let place = async |actor: &str, request: pb::PlaceOrderRequest| {
            world.client.clone().place_order(by(actor, request)).await
        };
        let due = || pb::PlaceOrderRequest {
            tenders: vec![crate::world::tender("t1", 960, TenderState::Due)],
            ..sold()
        };
        for actor in ["store/store-1", "service/shop", "anonymous/anonymous"] {
            assert_eq!(fields(&place(actor, on_account()).await.unwrap_err()), ["acceptance"], "{actor}");
        }
        let customers = pb::PlaceOrderRequest { channel_order_id: String::new(), ..on_account() };
        assert_eq!(fields(&place("customer/c-1", customers).await.unwrap_err()), ["acceptance"]);
        assert_eq!(fields(&place("channel/app", sold()).await.unwrap_err()), ["channel"]);
        assert_eq!(fields(&place("channel/web", due()).await.unwrap_err()), ["tenders[0].state"]);
        let bad: [(Change, &str); 4] = [
            (|order| order.cancel_code = "no stock".to_owned(), "cancel_code"),
            (|order| order.acceptance = Acceptance::Checked.into(), "cancel_code"),
            (|order| order.acceptance = 9, "acceptance"),
            (|order| order.promise_token = format!("prm_{}", fresh()), "promise_token"),
        ];
        for (change, field) in bad {
            let mut request = sold();
            change(&mut request);
            assert_eq!(fields(&place("channel/web", request).await.unwrap_err()), [field]);
        }
        assert_eq!((orders(&world).await, world.fake.made()), (0, 0));
        place("channel/web", on_account()).await.unwrap();
        let other = pb::PlaceOrderRequest { channel_order_id: "m-2".to_owned(), ..sold() };
        place("ops/anna", other).await.unwrap();
    }
}

type Change = fn(&mut pb::PlaceOrderRequest);

/// Paid by invoice.
fn on_account() -> pb::PlaceOrderRequest {
    let terms = pb::PaymentTerms::OnAccount.into();
    pb::PlaceOrderRequest { payment_terms: terms, tenders: Vec::new(), ..sold() }
}

#[tokio::test]
async fn the_same_order_many_times_at_once_and_later_is_one_order_with_one_hold() {
    for world in worlds().await {
        world.fake.lack("b");
        let request = sold();
        let others = (0..8).map(|n| match n % 2 {
            0 => request.clone(),
            _ => pb::PlaceOrderRequest { request_id: fresh(), ..request.clone() },
        });
        let calls: Vec<_> = others.map(|request| world.try_place(request)).collect();
        let answers = join_all(calls).await;
        let id = &answers[0].as_ref().unwrap().order_id;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|order| &order.order_id == id)));
        assert_eq!((orders(&world).await, world.fake.live()), (1, 1));
        world.fake.refuse_everywhere();
        let nothing = pb::PlaceOrderRequest { channel_order_id: "m-2".to_owned(), ..sold() };
        let calls: Vec<_> = (0..8).map(|_| world.try_place(nothing.clone())).collect();
        let answers = join_all(calls).await;
        let first = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|order| order == first)));
        world.run_due().await;
        let again = world.try_place(nothing).await.unwrap();
        assert_eq!((&again, orders(&world).await, world.fake.live()), (first, 2, 1));
    }
}

#[tokio::test]
async fn a_hold_that_was_not_used_before_it_ended_is_made_again_and_none_counts_for_long() {
    for world in worlds().await {
        let request = sold();
        // The process ends between the hold and the commit, again and again, and the holds run out.
        for _ in 0..3 {
            world.fake.lose_answers("HoldPromise", 1);
            world.try_place(request.clone()).await.unwrap_err();
            let token = world.fake.newest();
            world.fake.expire(&token);
        }
        let order = world.try_place(request).await.unwrap();
        assert_eq!((legs(&order).len(), world.fake.live()), (0, 0));
        assert_eq!(needs(&order), [(1, "NOT_HELD", NeedState::Seeking, vec![1, 2, 3])]);
        world.run_due().await;
        assert_eq!(legs(&world.get(&order).await).len(), 1);
    }
}

#[tokio::test]
async fn a_need_is_looked_for_in_time_while_nothing_is_heard_of_the_order() {
    // It asks for news every five minutes.
    for world in worlds_with(Config { watch_poll_ms: 60_000, ..Config::default() }).await {
        world.fake.refuse_everywhere();
        world.try_place(sold()).await.unwrap();
        world.run_due().await;
        let sought = async |minutes: i64| {
            world.pass(minutes).await;
            world.fake.calls("HoldPromise")
        };
        let (first, second) = (sought(1).await, sought(4).await);
        assert!(first > 1);
        assert_eq!(second, first, "the next round comes five minutes after the last");
        assert!(sought(1).await > second);
    }
}
