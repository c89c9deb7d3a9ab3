//! Reading.

use contract::orders::v1 as pb;
use domain::id::OrderId;
use pb::{OrderStatus, TenderState};
use test_world::{fields, reason, v7};
use tonic::Code;

use crate::world::{World, line, request, worlds};

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
        let unknown =
            pb::ListOrderTimelineRequest { order_id: OrderId::new(v7()).to_string(), ..Default::default() };
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
        let client = OrderEventsServiceClient::new(world.service.peer());
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

/// More orders than a page reads, written straight into the table: all of one customer and node, placed in the shop.
async fn many_orders(world: &World, count: i64) {
    let mut tx = world.db.begin().await.unwrap();
    let rows = (0..count).map(|n| db::params![v7(), format!("many-{n}"), v7(), 1_000 + n]);
    tx.batch(
        "INSERT INTO orders (order_id, version, status, channel, channel_order_id, body_hash, customer_ref, member_ref,
                journey_id, attribution, currency, tax_included, terms, acceptance, cancel_code, total, blocks, promise_token,
                placed_at, updated_at, cancels, line_count, group_count, leg_count, leg_line_count, charge_count, refund_count, money_count,
                step_count, need_count, payment_policy)
         SELECT r.id, 1, 'COMPLETED', 'shop', r.number, r.id_bytes, 'guest', '', '', r.no_bytes, 'GBP', true, 'PREPAID',
                'CHECKED', '', 0, '', r.token, r.at, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0 FROM {rows}",
        &[
            ("id", db::Type::Uuid),
            ("number", db::Type::Text),
            ("token", db::Type::Uuid),
            ("at", db::Type::BigInt),
            ("id_bytes", db::Type::Bytes),
            ("no_bytes", db::Type::Bytes),
        ],
        rows.map(|mut row| {
            row.extend([vec![0_u8].into(), Vec::new().into()]);
            row
        })
        .collect(),
    )
    .await
    .unwrap();
    tx.execute(
        "INSERT INTO order_legs (order_id, leg_no, fulfillment_id, group_no, method, node_id, status, placed_at, ready_at,
                keep_until, held_until, is_accepted, work_version, work_actor)
         SELECT o.order_id, 1, o.order_id, 1, 'PICKUP', 'store-1', o.status, o.placed_at, 0, 0, 0, true, 1, 'store/store-1'
           FROM orders o WHERE o.channel = 'shop'",
        Vec::new(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// Every filter alone and every pair.
fn filters() -> Vec<pb::OrderFilter> {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let fields: [fn(&mut pb::OrderFilter); 6] = [
        |f| f.statuses = vec![OrderStatus::Expired.into()],
        |f| f.statuses = vec![OrderStatus::Completed.into(), OrderStatus::Expired.into()],
        |f| f.channel = "web".to_owned(),
        |f| f.channel = "nowhere".to_owned(),
        |f| f.customer_ref = "guest".to_owned(),
        |f| f.node_id = "store-1".to_owned(),
    ];
    let mut all = vec![pb::OrderFilter::default()];
    for first in fields {
        for second in fields {
            let mut filter = pb::OrderFilter::default();
            first(&mut filter);
            second(&mut filter);
            all.push(filter.clone());
            filter.placed_before_time = time(1);
            filter.placed_from_time = time(0);
            all.push(filter);
        }
    }
    all
}

#[tokio::test]
async fn no_page_of_orders_reads_a_whole_table() {
    for world in worlds().await {
        many_orders(&world, 6_000).await;
        world.db.watch_plans();
        for filter in filters() {
            let first = list(&world, filter.clone(), 200, "").await;
            if !first.next_page_token.is_empty() {
                list(&world, filter.clone(), 200, &first.next_page_token).await;
            }
            for plan in world.db.plans() {
                assert_eq!(plan.whole_read(), None, "{filter:?}: {plan:?}");
                assert!(plan.rows_read() <= 5_000, "{filter:?}: {plan:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_reads_much_for_little_is_short_and_the_next_one_goes_on() {
    for world in worlds().await {
        many_orders(&world, 6_000).await;
        let mut wanted = request("old", vec![line("a", 1, 100)], TenderState::Due);
        wanted.customer_ref = "guest".to_owned();
        let order = world.try_place(wanted).await.unwrap();
        let mut tx = world.db.begin().await.unwrap();
        let oldest = "UPDATE orders SET placed_at = 1 WHERE order_id = $1";
        tx.execute(oldest, db::params![crate::world::id(&order)]).await.unwrap();
        let oldest = "UPDATE order_legs SET placed_at = 1 WHERE order_id = $1";
        tx.execute(oldest, db::params![crate::world::id(&order)]).await.unwrap();
        tx.commit().await.unwrap();
        let node = pb::OrderFilter { node_id: "store-1".to_owned(), ..Default::default() };
        let customer = pb::OrderFilter { customer_ref: "guest".to_owned(), ..Default::default() };
        for filter in [node, customer] {
            let filter = pb::OrderFilter { channel: "web".to_owned(), ..filter };
            let (mut pages, mut found, mut token) = (0, Vec::new(), String::new());
            loop {
                let page = list(&world, filter.clone(), 50, &token).await;
                pages += 1;
                found.extend(page.orders.into_iter().map(|order| order.channel_order_id));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, ["old"]);
            assert!(pages > 1, "one page read {filter:?} through 6,000 orders");
        }
    }
}
