//! Reading.

use contract::orders::v1 as pb;
use pb::{OrderStatus, TenderState};
use tonic::Code;

use crate::world::{World, fields, line, reason, request, worlds};

async fn list(world: &World, filter: pb::OrderFilter, page_size: i32, token: &str) -> pb::ListOrdersResponse {
    let page_token = token.to_owned();
    let request = pb::ListOrdersRequest { page_size, page_token, filter: Some(filter) };
    world.client.clone().list_orders(request).await.unwrap().into_inner()
}

async fn numbers(world: &World, filter: pb::OrderFilter) -> Vec<String> {
    let found = list(world, filter, 0, "").await;
    found.orders.into_iter().map(|order| order.channel_order_id).collect()
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_page() {
    for world in worlds().await {
        for n in 1..=7 {
            world
                .try_place(request(&n.to_string(), vec![line("a", 1, 100)], TenderState::Due))
                .await
                .unwrap();
            if n % 2 == 0 {
                world.clock.advance_to(domain::time::after_ms(world.now(), 1_000));
            }
        }
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = list(&world, pb::OrderFilter::default(), 3, &token).await;
            assert!(page.orders.len() <= 3);
            seen.extend(page.orders.into_iter().map(|order| order.channel_order_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"]);
        let first = list(&world, pb::OrderFilter::default(), 3, "").await;
        let other = pb::ListOrdersRequest {
            page_token: first.next_page_token,
            filter: Some(pb::OrderFilter { channel: "web".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let refused = world.client.clone().list_orders(other).await.unwrap_err();
        assert_eq!(fields(&refused), ["page_token"]);
    }
}

#[tokio::test]
async fn orders_are_found_by_what_is_asked() {
    for world in worlds().await {
        for (number, channel, customer) in
            [("1", "web", "c-1"), ("2", "app", "c-1"), ("3", "web", ""), ("4", "web", "c-2")]
        {
            let mut request = request(number, vec![line("a", 1, 100)], TenderState::Due);
            request.channel = channel.to_owned();
            request.customer_ref = customer.to_owned();
            let order = world.try_place(request).await.unwrap();
            if number == "4" {
                world.try_cancel(&order, &[]).await.unwrap();
            }
        }
        let any = pb::OrderFilter::default;
        assert_eq!(
            numbers(&world, pb::OrderFilter { channel: "web".to_owned(), ..any() }).await,
            ["4", "3", "1"]
        );
        assert_eq!(
            numbers(&world, pb::OrderFilter { customer_ref: "c-1".to_owned(), ..any() }).await,
            ["2", "1"]
        );
        assert_eq!(
            numbers(&world, pb::OrderFilter { node_id: "store-1".to_owned(), ..any() }).await.len(),
            4
        );
        assert_eq!(
            numbers(&world, pb::OrderFilter { node_id: "store-2".to_owned(), ..any() }).await.len(),
            0
        );
        let with = |statuses: &[OrderStatus]| pb::OrderFilter {
            statuses: statuses.iter().map(|s| (*s).into()).collect(),
            ..any()
        };
        assert_eq!(numbers(&world, with(&[OrderStatus::Cancelled])).await, ["4"]);
        assert_eq!(numbers(&world, with(&[OrderStatus::Cancelled, OrderStatus::Placed])).await.len(), 4);
        assert_eq!(numbers(&world, with(&[OrderStatus::Expired, OrderStatus::Completed])).await.len(), 0);
        let (mut seen, mut token) = (Vec::new(), String::new());
        for _ in 0..4 {
            let page = list(&world, with(&[OrderStatus::Placed, OrderStatus::Cancelled]), 1, &token).await;
            seen.extend(page.orders.into_iter().map(|order| order.channel_order_id));
            token = page.next_page_token;
        }
        assert_eq!((seen, token.as_str()), (["4", "3", "2", "1"].map(String::from).to_vec(), ""));
        let time = |ms| {
            let (seconds, nanos) = domain::time::to_parts(domain::time::after_ms(world.now(), ms));
            Some(prost_types::Timestamp { seconds, nanos })
        };
        assert_eq!(numbers(&world, pb::OrderFilter { placed_from_time: time(0), ..any() }).await.len(), 4);
        assert_eq!(numbers(&world, pb::OrderFilter { placed_before_time: time(0), ..any() }).await.len(), 0);
    }
}

#[tokio::test]
async fn an_order_is_found_by_its_channels_number() {
    for world in worlds().await {
        let order = world.paid().await;
        let ask = |channel: &str| pb::GetOrderByChannelIdRequest {
            channel: channel.to_owned(),
            channel_order_id: order.channel_order_id.clone(),
        };
        let found = world.client.clone().get_order_by_channel_id(ask("web")).await.unwrap().into_inner();
        assert_eq!(found.order.unwrap(), order);
        let missing = world.client.clone().get_order_by_channel_id(ask("app")).await.unwrap_err();
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "ORDER_NOT_FOUND"));
        let facts = server::status::facts(&missing);
        assert_eq!(
            (&facts["channel"], &facts["channel_order_id"]),
            (&"app".to_owned(), &order.channel_order_id)
        );
    }
}

#[tokio::test]
async fn a_timeline_comes_by_page_with_actor_and_time() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(20).await;
        let ask = |page_token: String| pb::ListOrderTimelineRequest {
            order_id: order.order_id.clone(),
            page_size: 2,
            page_token,
        };
        let first = world.client.clone().list_order_timeline(ask(String::new())).await.unwrap().into_inner();
        assert_eq!(first.entries.len(), 2);
        assert_eq!((first.entries[0].actor.as_str(), first.entries[0].number), ("channel/web", 1));
        assert_eq!(first.entries[1].actor, "service/orders");
        let rest = world.client.clone().list_order_timeline(ask(first.next_page_token)).await.unwrap();
        let rest = rest.into_inner();
        assert_eq!((rest.entries[0].step.as_str(), rest.next_page_token.as_str()), ("EXPIRED", ""));
        let unknown = pb::ListOrderTimelineRequest {
            order_id: domain::id::OrderId::random().to_string(),
            ..Default::default()
        };
        assert_eq!(
            world.client.clone().list_order_timeline(unknown).await.unwrap_err().code(),
            Code::NotFound
        );
    }
}

#[tokio::test]
async fn events_are_replayed_from_a_sequence_on() {
    use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
    for world in worlds().await {
        let order = world.unpaid().await;
        world.try_pay(&order, TenderState::Captured).await.unwrap();
        let client = OrderEventsServiceClient::new(world.orders.peer());
        let ask = |aggregate_id: String, from_sequence, page_size| {
            let request = pb::ReplayEventsRequest { aggregate_id, from_sequence, page_size };
            let mut client = client.clone();
            async move { client.replay_events(request).await }
        };
        let id = crate::world::id(&order).to_string();
        let some = ask(id.clone(), 2, 1).await.unwrap().into_inner().events;
        assert_eq!((some.len(), some[0].sequence), (1, 2));
        assert_eq!(some[0].event_type, "entrepot.orders.v1.OrderPaid");
        assert!(ask(id.clone(), 9, 0).await.unwrap().into_inner().events.is_empty());
        assert_eq!(
            fields(&ask("x".to_owned(), 0, -1).await.unwrap_err()),
            ["aggregate_id", "from_sequence", "page_size"]
        );
    }
}
