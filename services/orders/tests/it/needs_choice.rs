//! What a customer chooses when pieces are not to be had as asked.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::r#type::v1::{Consent, Method};
use domain::id::OptionId;
use domain::time::after_ms;
use pb::{NeedState, OptionKind, OrderStatus};
use server::status::facts;
use test_world::{by, fields, fresh, reason, refusal, stamp, v7};
use tonic::Code;

use crate::needs::{need, placed_with, refused};
use crate::needs_window::wait_at;
use crate::world::{World, chosen, leg, refunds, worlds};

/// A paid order whose pieces were refused, and what may be chosen.
pub(crate) async fn asked(world: &World) -> (pb::Order, Vec<pb::NeedOption>) {
    let order = placed_with(world, Consent::default()).await;
    let order = refused(world, &order).await;
    let options = world.options(&order).await;
    (order, options)
}

#[tokio::test]
async fn another_node_is_held_when_it_is_chosen_and_the_same_call_again_changes_nothing() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        assert_eq!(world.fake.made(), 1, "an option is a quote");
        let choose = chosen(&order, &options[1]);
        let now = world.client.clone().choose_option(choose.clone()).await.unwrap().into_inner();
        let again = world.client.clone().choose_option(choose).await.unwrap().into_inner();
        assert_eq!(now, again);
        let now = now.order.unwrap();
        assert_eq!((leg(&now).node_id.as_str(), now.blocks.len()), ("store-3", 0));
        assert_eq!((need(&now).state(), refunds(&now)), (NeedState::Sourced, (0, 0)));
        assert_eq!((world.fake.made(), world.fake.live()), (2, 2));
        let hold = world.fake.holds().pop().unwrap();
        assert_eq!(hold.groups[0].node_id, "store-3");
        let happened = world.happened(&order).await;
        assert_eq!(happened, ["placed", "need_opened", "options_offered", "rerouted"]);
        let steps = world.timeline(&order).await;
        let step = steps.iter().find(|entry| entry.step == "OPTION_CHOSEN").unwrap();
        assert!(step.text.starts_with("pickup at store-3, ready at "), "{}", step.text);
        let over = world.try_choose(&order, &options[4]).await.unwrap_err();
        assert_eq!((reason(&over).as_str(), facts(&over)["state"].as_str()), ("NEED_OVER", "SOURCED"));
    }
}

#[tokio::test]
async fn methods_that_are_not_offered_are_no_way_out() {
    for world in worlds().await {
        world.fake.offer(&[Method::Pickup, Method::Express, Method::Parcel]);
        let (_, options) = asked(&world).await;
        assert!(options.iter().all(|option| option.kind() != OptionKind::OtherMethod), "{options:?}");
        let questions = world.fake.done::<ful::GetPromiseRequest>("GetPromise");
        let (there, elsewhere): (Vec<_>, Vec<_>) = questions.iter().partition(|q| !q.node_id.is_empty());
        let ([there], [question]) = (&there[..], &elsewhere[..]) else { panic!() };
        assert_eq!((there.node_id.as_str(), &there.without_node_ids[..]), ("store-1", &[][..]));
        assert_eq!(question.methods, [i32::from(Method::Pickup)]);
        assert_eq!(
            (question.near_node_id.as_str(), &question.without_node_ids[..]),
            ("store-1", &["store-1".to_owned()][..])
        );
    }
}

#[tokio::test]
async fn dropping_cancels_and_pays_back_the_pieces_of_the_need() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        let drop = options.last().unwrap();
        assert_eq!(drop.kind(), OptionKind::Drop);
        let end = world.try_choose(&order, drop).await.unwrap();
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)));
        assert_eq!(need(&end).state(), NeedState::Dropped);
        assert_eq!(end.lines[0].cancel_reason, "REJECTED_NOT_FOUND");
    }
}

#[tokio::test]
async fn who_waits_gets_as_much_time_again_also_by_an_old_link() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        let hours = |n: i64| Some(stamp(after_ms(world.now(), n * 3_600_000)));
        let waiting = |options: &[pb::NeedOption]| {
            options.iter().find(|o| o.kind() == OptionKind::Wait && o.node_id.is_empty()).unwrap().clone()
        };
        assert_eq!(need(&order).resolve_by_time, hours(24));
        world.pass(12 * 60).await;
        let again = world.options(&order).await;
        let now = world.try_choose(&order, &waiting(&again)).await.unwrap();
        assert_eq!((need(&now).state(), need(&now).resolve_by_time), (NeedState::Asked, hours(24)));
        assert_eq!(waiting(&again).option_id, waiting(&options).option_id);
        world.pass(12 * 60).await;
        let now = world.try_choose(&order, &waiting(&options)).await.unwrap();
        assert_eq!(need(&now).resolve_by_time, hours(24));
        world.pass(24 * 60).await;
        assert_eq!(refunds(&world.get(&order).await), (760, 760));
    }
}

#[tokio::test]
async fn an_option_that_cannot_be_had_any_more_is_gone_and_others_are_offered() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        world.fake.refuse_at("store-2", "CAPACITY_FULL");
        let gone = world.try_choose(&order, &options[0]).await.unwrap_err();
        assert_eq!((gone.code(), reason(&gone).as_str()), (Code::FailedPrecondition, "OPTION_GONE"));
        let facts = facts(&gone);
        assert_eq!((facts["reason"].as_str(), &facts["need_id"]), ("CAPACITY_FULL", &need(&order).need_id));
        world.run_due().await;
        let nodes: Vec<_> = world.options(&order).await.into_iter().map(|o| o.node_id).collect();
        assert_eq!(nodes, ["store-3", "store-4", "store-5", "", ""]);
        assert_eq!(world.fake.live(), 1);
    }
}

#[tokio::test]
async fn a_quote_is_gone_when_its_time_is_over() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        // Ready in an hour, and an hour later is in time still.
        world.clock.advance_to(after_ms(world.now(), 2 * 3_600_000));
        let gone = world.try_choose(&order, &options[0]).await.unwrap_err();
        assert_eq!((reason(&gone).as_str(), facts(&gone)["reason"].as_str()), ("OPTION_GONE", "EXPIRED"));
        let kinds: Vec<_> = world.options(&order).await.iter().map(pb::NeedOption::kind).collect();
        assert_eq!(kinds, [OptionKind::Wait, OptionKind::Drop]);
        world.run_due().await;
        assert_eq!(world.options(&order).await.len(), 5);
    }
}

#[tokio::test]
async fn an_option_that_was_never_offered_is_not_found_and_bad_ids_are_named() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        let never = pb::NeedOption { option_id: OptionId::new(v7()).to_string(), ..options[0].clone() };
        let unknown = world.try_choose(&order, &never).await.unwrap_err();
        assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "OPTION_NOT_FOUND"));
        let (other, _) = asked(&world).await;
        let of_another = world.try_choose(&other, &options[0]).await.unwrap_err();
        assert_eq!(reason(&of_another), "OPTION_NOT_FOUND");
        let bad = world.client.clone().choose_option(pb::ChooseOptionRequest::default()).await.unwrap_err();
        assert_eq!(fields(&bad), ["request_id", "order_id", "option_id"]);
        let bad = world.client.clone().list_options(pb::ListOptionsRequest::default()).await.unwrap_err();
        assert_eq!(fields(&bad), ["order_id"]);
    }
}

#[tokio::test]
async fn a_customer_sees_and_takes_the_options_of_its_own_orders_alone() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        let missing = (Code::NotFound, "ORDER_NOT_FOUND".to_owned());
        let list = pb::ListOptionsRequest { order_id: order.order_id.clone() };
        let mut client = world.client.clone();
        assert_eq!(refusal(client.list_options(by("customer/c-2", list.clone())).await), missing);
        let choose = || pb::ChooseOptionRequest { request_id: fresh(), ..chosen(&order, &options[0]) };
        assert_eq!(refusal(client.choose_option(by("customer/c-2", choose())).await), missing);
        client.list_options(by("customer/c-1", list)).await.unwrap();
        client.choose_option(by("customer/c-1", choose())).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_held_for_a_choice_goes_back_when_the_order_changed_meanwhile() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        let pause = world.fake.pause_answer("HoldPromise");
        let choice = world.try_choose(&order, &options[0]);
        let cancel = async {
            pause.reached().await;
            world.try_cancel(&order, &[]).await.unwrap();
            pause.go_on();
        };
        let (choice, ()) = tokio::join!(choice, cancel);
        assert_eq!(reason(&choice.unwrap_err()), "NEED_OVER");
        assert_eq!((world.fake.made(), world.fake.live()), (2, 1), "only the first leg's");
    }
}

#[tokio::test]
async fn a_choice_whose_answer_from_fulfillment_is_lost_holds_once() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        world.fake.lose_answers("HoldPromise", 1);
        let choose = chosen(&order, &options[0]);
        let away = world.client.clone().choose_option(choose.clone()).await.unwrap_err();
        assert_eq!(away.code(), Code::Unavailable);
        world.pass(2).await;
        world.client.clone().choose_option(choose).await.unwrap();
        assert_eq!((world.fake.made(), world.fake.live()), (2, 2));
    }
}

#[tokio::test]
async fn who_does_not_answer_in_time_chooses_nothing_any_more() {
    for world in worlds().await {
        let (order, options) = asked(&world).await;
        world.clock.advance_to(after_ms(world.now(), 24 * 3_600_000));
        let late = world.try_choose(&order, options.last().unwrap()).await.unwrap_err();
        assert_eq!((reason(&late).as_str(), facts(&late)["state"].as_str()), ("NEED_OVER", "DROPPED"));
        assert_eq!(refunds(&world.get(&order).await), (760, 760), "silence came first");
    }
}

#[tokio::test]
async fn a_busy_node_can_be_waited_for() {
    for world in worlds().await {
        let order = placed_with(&world, Consent::default()).await;
        world.reject(&order, ful::RejectReason::TooBusy).await;
        world.run_due().await;
        let options = world.options(&order).await;
        let now = world.try_choose(&order, wait_at(&options).unwrap()).await.unwrap();
        assert_eq!((leg(&now).node_id.as_str(), need(&now).state()), ("store-1", NeedState::Sourced));
        assert_ne!(leg(&now).fulfillment_id, leg(&order).fulfillment_id);
    }
}
