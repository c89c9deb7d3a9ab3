//! What an order says of its work beside the goods: how they are packed, who may receive them, who buys, in which journey;
//! and who worked on it last.

use bus::Delivered;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body as OrderBody;
use contract::r#type::v1::{Packaging, Recipient, RecipientKind};
use prost::Message as _;

use crate::work_world::{Shop, Work};

const MEMBER: &str = "member-12";
const JOURNEY: &str = "visit:81";

fn recipient() -> Recipient {
    let recipient_refs = vec!["friend-1".to_owned(), "friend-2".to_owned()];
    Recipient { kind: RecipientKind::Gift.into(), recipient_refs }
}

fn packaging() -> Packaging {
    Packaging { code: "GIFT_BOX".to_owned(), message_ref: "message-7".to_owned() }
}

/// The same event of a member's order, whose goods are a gift.
fn as_gift(event: Delivered) -> Delivered {
    let mut message = orders::OrderEvent::decode(event.payload.clone()).unwrap();
    MEMBER.clone_into(&mut message.member_ref);
    JOURNEY.clone_into(&mut message.journey_id);
    let work = match &mut message.body {
        Some(OrderBody::Placed(placed)) => placed.work.as_mut_slice(),
        Some(OrderBody::Rerouted(rerouted)) => rerouted.work.as_mut_slice(),
        _ => &mut [],
    };
    for work in work {
        let Recipient { kind, recipient_refs } = recipient();
        (work.recipient, work.recipient_refs) = (kind, recipient_refs);
        work.packaging = Some(packaging());
    }
    Delivered { payload: message.encode_to_vec().into(), ..event }
}

fn is_gift(order: &pb::FulfillmentOrder) -> bool {
    let origin = (order.member_ref.as_str(), order.journey_id.as_str());
    origin == (MEMBER, JOURNEY)
        && (&order.recipient, &order.packaging) == (&Some(recipient()), &Some(packaging()))
}

async fn streamed(shop: &Shop, work: &Work) -> pb::FulfillmentOrder {
    let mut stream = shop.watch("N1", "").await;
    loop {
        let item = stream.next().await.item.expect("it is on the stream");
        let order = item.fulfillment_order.unwrap();
        if order.fulfillment_id == work.id {
            return order;
        }
    }
}

#[tokio::test]
async fn the_node_sees_packaging_and_recipients_wherever_it_looks_and_each_event_has_the_journey() {
    for shop in Shop::all().await {
        let work = shop.plan("N1", &[2, 1]);
        shop.batch(&[as_gift(shop.released(&work))]).await;
        assert!(is_gift(&streamed(&shop, &work).await));
        assert!(is_gift(&shop.store("N1").get(&work.id).await.unwrap()));
        let listed = shop.store("N1").page("N1", &[], 10, "").await.unwrap().fulfillment_orders;
        assert!(listed.iter().all(is_gift) && listed.len() == 1, "{listed:?}");
        assert_eq!(shop.get(&work.id).await.update_actor, "channel/web");
        shop.prepare(&work).await;
        assert_eq!(shop.get(&work.id).await.update_actor, "store/N1");
        let code = shop.issue_code(&work.id).await.unwrap();
        shop.store("N1").hand_over(&work.id, &code, &[]).await.unwrap();
        let events = shop.events(&work.id).await;
        assert!(events.len() > 6);
        for event in events {
            let order = event.body.fulfillment_order.unwrap();
            assert!(is_gift(&order), "{} {order:?}", event.event_type);
            assert_eq!(order.update_actor, event.actor, "{}", event.event_type);
        }
    }
}

#[tokio::test]
async fn work_that_takes_the_place_of_other_work_is_packed_alike() {
    for shop in Shop::all().await {
        let first = shop.placed("N1", &[2]).await;
        shop.store("N1").reject(&first.id, pb::RejectReason::TooBusy).await.unwrap();
        let second = first.elsewhere("N2");
        shop.batch(&[as_gift(shop.rerouted(&second, 2, vec![first.units(2)]))]).await;
        assert!(is_gift(&shop.store("N2").get(&second.id).await.unwrap()));
    }
}

#[tokio::test]
async fn work_of_an_order_that_says_nothing_is_for_its_buyer_and_packed_as_usual() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        let order = shop.store("N1").get(&work.id).await.unwrap();
        assert_eq!((order.recipient, order.packaging), (None, None));
        assert_eq!((order.member_ref, order.journey_id), (String::new(), String::new()));
    }
}

#[tokio::test]
async fn the_answer_to_a_cancel_of_work_that_never_came_has_the_journey() {
    for shop in Shop::all().await {
        let work = shop.plan("N1", &[2]);
        shop.batch(&[as_gift(shop.cancelling(&work, 1, &[(1, 2)]))]).await;
        let answers = shop.appended::<pb::FulfillmentEvent>().await;
        let mut answers =
            answers.into_iter().filter(|event| matches!(event.body.body, Some(Body::Cancelled(_))));
        let answer = answers.next().unwrap();
        let order = answer.body.fulfillment_order.unwrap();
        assert_eq!(order.update_actor, answer.actor);
        assert_eq!((order.member_ref.as_str(), order.journey_id.as_str()), (MEMBER, JOURNEY));
        assert!(answers.next().is_none());
    }
}
