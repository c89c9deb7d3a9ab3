//! Who buys, and what brought an order about.

use contract::orders::v1 as pb;
use contract::r#type::v1::Attribution;
use pb::TenderState;
use test_world::{by, fields};

use crate::world::{World, line, request, worlds};

type Change = fn(&mut pb::PlaceOrderRequest, String);

fn attribution() -> Attribution {
    Attribution {
        guide: "guide-7".to_owned(),
        campaign: "spring.2027".to_owned(),
        content: "live:81".to_owned(),
        session: "s_1+2".to_owned(),
    }
}

/// An order of a member, in the journey of a visit that a guide began.
fn guided(number: &str, state: TenderState) -> pb::PlaceOrderRequest {
    pb::PlaceOrderRequest {
        member_ref: "member-12".to_owned(),
        journey_id: "0190e0a2-5b1c-7000-8000-000000000000".to_owned(),
        attribution: Some(attribution()),
        ..request(number, vec![line("a", 3, 100), line("b", 2, 55)], state)
    }
}

fn origin(order: &pb::Order) -> (&str, &str, Option<Attribution>) {
    (&order.member_ref, &order.journey_id, order.attribution.clone())
}

async fn listed(world: &World) -> Vec<pb::Order> {
    let request = pb::ListOrdersRequest::default();
    world.client.clone().list_orders(request).await.unwrap().into_inner().orders
}

#[tokio::test]
async fn an_order_keeps_member_journey_and_attribution_and_each_of_its_events_carries_them() {
    for world in worlds().await {
        let asked = guided("1", TenderState::Due);
        let order = world.try_place(asked.clone()).await.unwrap();
        let wanted = ("member-12", asked.journey_id.as_str(), Some(attribution()));
        assert_eq!(origin(&order), wanted);
        assert_eq!(world.get(&order).await, order);
        assert_eq!(listed(&world).await, std::slice::from_ref(&order));
        assert_eq!(world.try_place(asked.clone()).await.unwrap(), order);
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(origin(&paid), wanted);
        let rejected = world.reject(&paid, contract::fulfillment::v1::RejectReason::TooBusy).await;
        world.try_cancel(&rejected, &[]).await.unwrap();
        let events = world.events(&order).await;
        assert_eq!(events.len(), usize::try_from(world.get(&order).await.version).unwrap());
        assert!(events.len() > 4, "{events:?}");
        for event in events {
            let found = (event.member_ref.as_str(), event.journey_id.as_str(), event.attribution.clone());
            assert_eq!(found, wanted, "{event:?}");
        }
    }
}

#[tokio::test]
async fn an_order_that_comes_from_nowhere_says_nothing_about_it() {
    for world in worlds().await {
        let asked = pb::PlaceOrderRequest {
            attribution: Some(Attribution::default()),
            ..request("1", vec![line("a", 1, 100)], TenderState::Captured)
        };
        let order = world.try_place(asked).await.unwrap();
        assert_eq!(origin(&order), ("", "", None));
        assert_eq!(world.get(&order).await, order);
        let events = world.events(&order).await;
        assert_eq!((events[0].member_ref.as_str(), &events[0].attribution), ("", &None));
    }
}

#[tokio::test]
async fn what_is_no_handle_is_named_by_field() {
    let world = worlds().await.remove(0);
    let table: &[(Change, &str)] = &[
        (|r, text| r.member_ref = text, "member_ref"),
        (|r, text| r.journey_id = text, "journey_id"),
        (|r, text| r.attribution.as_mut().unwrap().guide = text, "attribution.guide"),
        (|r, text| r.attribution.as_mut().unwrap().campaign = text, "attribution.campaign"),
        (|r, text| r.attribution.as_mut().unwrap().content = text, "attribution.content"),
        (|r, text| r.attribution.as_mut().unwrap().session = text, "attribution.session"),
    ];
    let long = "h".repeat(65);
    for (change, field) in table {
        for text in
            ["ann@example.com", "+44 7700 900123@sms", "Ann Lee", "\u{4ed3}", "a/b", " a", "a\0", &long]
        {
            let mut order = guided("1", TenderState::Due);
            change(&mut order, text.to_owned());
            let refused = world.try_place(order).await.unwrap_err();
            assert_eq!(fields(&refused), [*field], "{text:?}");
        }
        let mut order = guided(&world.number(), TenderState::Due);
        change(&mut order, "h".repeat(64));
        world.try_place(order).await.unwrap();
    }
    let mut order = guided("1", TenderState::Due);
    order.member_ref = "ann@example.com".to_owned();
    let refused = world.try_place(order).await.unwrap_err();
    assert!(refused.message().contains("opaque handle, not a mail address"), "{refused}");
}

#[tokio::test]
async fn a_customer_names_no_member_and_may_say_what_brought_it() {
    for world in worlds().await {
        let place = async |actor: &str, order: pb::PlaceOrderRequest| {
            let placed = world.client.clone().place_order(by(actor, order)).await?;
            Ok::<_, tonic::Status>(placed.into_inner().order.unwrap())
        };
        let own = guided("", TenderState::Due);
        let refused = place("customer/c-1", own.clone()).await.unwrap_err();
        assert_eq!(fields(&refused), ["member_ref"]);
        let unnamed = world.client.clone().place_order(guided("1", TenderState::Due)).await.unwrap_err();
        assert_eq!(fields(&unnamed), ["member_ref"]);
        let own = place("customer/c-1", pb::PlaceOrderRequest { member_ref: String::new(), ..own }).await;
        assert_eq!(
            origin(&own.unwrap()),
            ("", &*guided("", TenderState::Due).journey_id, Some(attribution()))
        );
        for actor in ["channel/web", "store/store-1", "ops/desk", "service/aftersales"] {
            let order = place(actor, guided(&world.number(), TenderState::Due)).await.unwrap();
            assert_eq!(order.member_ref, "member-12", "{actor}");
        }
    }
}
