//! The person who acts for a caller is kept with what was done, and the journey of an order with all that follows it.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::fulfillment_events_service_client::FulfillmentEventsServiceClient;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
use contract::r#type::v1::{Attribution, Packaging, Recipient, RecipientKind};
use flows::people::{group_at, legs, order_at};
use flows::world::{NODE, World, fresh};
use prost::Message as _;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

const MEMBER: &str = "member-12";
const JOURNEY: &str = "visit:81";

fn by_ann<T>(message: T) -> Request<T> {
    by("ann-7", message)
}

/// A call that a member of staff makes.
fn by<T>(staff: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-entrepot-staff", staff.parse().expect("it is ASCII"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_timeline_and_work_name_the_person_of_the_store() {
    let world = World::embedded().await;
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    let store = world.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(order_at(NODE, &[("TEA", 1, 250)])).await;
    let work = store.work_of(&order.order_id).await;
    let accept = ful::AcceptWorkRequest { request_id: fresh(), fulfillment_id: work.fulfillment_id };
    store.clients.work.clone().accept_work(by_ann(accept)).await.expect("accepted");
    web.order_when(&order.order_id, |order| order.status() == ord::OrderStatus::InFulfillment).await;
    let timeline = ord::ListOrderTimelineRequest { order_id: order.order_id.clone(), ..Default::default() };
    let timeline = ops.clients.orders.clone().list_order_timeline(timeline).await.expect("read").into_inner();
    let accepted = timeline.entries.iter().find(|entry| entry.step == "ACCEPTED").expect("it is a step");
    assert_eq!(accepted.actor, "store/sha-01#ann-7");

    let count = inv::AdjustStockRequest {
        request_id: fresh(),
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        adjustment: inv::Adjustment::Delta.into(),
        quantity: -1,
        reason: "broken in the store room".to_owned(),
    };
    store.clients.inventory.clone().adjust_stock(by_ann(count)).await.expect("counted");
    let movements =
        inv::ListMovementsRequest { node_id: NODE.to_owned(), sku: "TEA".to_owned(), ..Default::default() };
    let movements = ops.clients.inventory.clone().list_movements(movements).await.expect("read").into_inner();
    assert!(movements.movements.iter().any(|row| row.actor == "store/sha-01#ann-7"), "{movements:?}");
    world.stop().await;
}

fn attribution() -> Attribution {
    Attribution { guide: "guide-7".to_owned(), content: "live:4".to_owned(), ..Attribution::default() }
}

/// A gift that a member buys in a journey which a guide began.
fn gift() -> ord::PlaceOrderRequest {
    let recipient_refs = vec!["friend-1".to_owned()];
    let group = ord::NewGroup {
        recipient: Some(Recipient { kind: RecipientKind::Gift.into(), recipient_refs }),
        packaging: Some(Packaging { code: "GIFT_BOX".to_owned(), message_ref: "message-7".to_owned() }),
        ..group_at(NODE)
    };
    ord::PlaceOrderRequest {
        member_ref: MEMBER.to_owned(),
        journey_id: JOURNEY.to_owned(),
        attribution: Some(attribution()),
        groups: vec![group],
        ..order_at(NODE, &[("TEA", 1, 250)])
    }
}

/// The id of an aggregate without the prefix of the API.
fn bare(id: &str) -> String {
    id.split_once('_').map_or(id, |(_, uuid)| uuid).to_owned()
}

/// All events of an order, and of its work.
async fn events(
    world: &World,
    order: &str,
    work: &str,
) -> (Vec<ord::OrderEvent>, Vec<ful::FulfillmentEvent>) {
    let channel = Endpoint::from_shared(world.platform.address()).expect("an address").connect_lazy();
    let ops = |mut request: Request<()>| {
        request.metadata_mut().insert("x-entrepot-actor", "ops/test".parse().expect("it is ASCII"));
        Ok::<_, Status>(request)
    };
    let mut orders = OrderEventsServiceClient::with_interceptor(channel.clone(), ops);
    let mut fulfillment = FulfillmentEventsServiceClient::with_interceptor(channel, ops);
    let (aggregate_id, from_sequence, page_size) = (bare(order), 1, 0);
    let request = ord::ReplayEventsRequest { aggregate_id, from_sequence, page_size };
    let of_order = orders.replay_events(request).await.expect("kept").into_inner().events;
    let request = ful::ReplayEventsRequest { aggregate_id: bare(work), from_sequence, page_size };
    let of_work = fulfillment.replay_events(request).await.expect("kept").into_inner().events;
    let of_order = of_order.iter().map(|event| ord::OrderEvent::decode(event.payload.clone()));
    let of_work = of_work.iter().map(|event| ful::FulfillmentEvent::decode(event.payload.clone()));
    (
        of_order.map(|event| event.expect("read")).collect(),
        of_work.map(|event| event.expect("read")).collect(),
    )
}

async fn the_leg_names_who_worked_on_it_last_and_every_event_has_the_journey(world: World) {
    let (ops, web) = (world.clients("ops/test"), world.clients("channel/web"));
    let store = world.clients("store/sha-01");
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(gift()).await.order_id;
    let work = store.work_of(&order).await;
    let id = work.fulfillment_id.clone();
    assert_eq!((work.member_ref.as_str(), work.journey_id.as_str()), (MEMBER, JOURNEY));
    assert_eq!(work.packaging.unwrap_or_default().message_ref, "message-7");
    assert_eq!(work.recipient.unwrap_or_default().recipient_refs, ["friend-1"]);
    let last = async |actor: &str| {
        web.order_when(&order, |order| legs(order)[0].work_actor == actor).await;
        let request = ful::GetFulfillmentOrderRequest { fulfillment_id: id.clone() };
        let work = store.clients.work.clone().get_fulfillment_order(request).await.expect("there");
        assert_eq!(work.into_inner().fulfillment_order.unwrap_or_default().update_actor, actor);
    };
    let (request_id, fulfillment_id) = (fresh(), id.clone());
    let accept = ful::AcceptWorkRequest { request_id, fulfillment_id };
    store.clients.work.clone().accept_work(by_ann(accept)).await.expect("accepted");
    last("store/sha-01#ann-7").await;
    store.start(&id).await.expect("started");
    store.pick(&id, &[(1, 1, 0)]).await.expect("picked");
    store.ready(&id).await.expect("made ready");
    last("store/sha-01").await;
    let hand_over = ful::HandOverRequest {
        request_id: fresh(),
        fulfillment_id: id.clone(),
        code: web.code(&order).await,
        collector: ful::CollectorKind::Buyer.into(),
        ..ful::HandOverRequest::default()
    };
    store.clients.work.clone().hand_over(by("bob-2", hand_over)).await.expect("handed over");
    last("store/sha-01#bob-2").await;
    web.order_when(&order, |order| order.status() == ord::OrderStatus::Completed).await;
    world.settle().await;
    let timeline = ord::ListOrderTimelineRequest { order_id: order.clone(), ..Default::default() };
    let timeline = ops.clients.orders.clone().list_order_timeline(timeline).await.expect("read").into_inner();
    let collected = timeline.entries.iter().find(|entry| entry.step == "HANDED_OVER").expect("it is a step");
    assert_eq!(collected.actor, "store/sha-01#bob-2");

    let (of_order, of_work) = events(&world, &order, &id).await;
    assert!(of_order.len() > 4 && of_work.len() > 6, "{of_order:?} {of_work:?}");
    for event in of_order {
        let found = (event.member_ref.as_str(), event.journey_id.as_str(), event.attribution.clone());
        assert_eq!(found, (MEMBER, JOURNEY, Some(attribution())), "{event:?}");
    }
    for event in of_work {
        let work = event.fulfillment_order.unwrap_or_default();
        assert_eq!(
            (work.member_ref.as_str(), work.journey_id.as_str()),
            (MEMBER, JOURNEY),
            "{:?}",
            event.body
        );
        assert!(!work.update_actor.is_empty(), "{:?}", event.body);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_name_their_staff_and_events_their_journey_on_sqlite() {
    let world = World::embedded().await;
    Box::pin(the_leg_names_who_worked_on_it_last_and_every_event_has_the_journey(world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_name_their_staff_and_events_their_journey_over_postgres_and_kafka() {
    let Some(world) = World::kafka().await else { return };
    Box::pin(the_leg_names_who_worked_on_it_last_and_every_event_has_the_journey(world)).await;
}
