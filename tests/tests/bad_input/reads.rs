//! Reads with bad keys, sizes, filters and instants.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::fulfillment_events_service_client::FulfillmentEventsServiceClient;
use contract::fulfillment::v1::get_sourcing_decision_request::Key;
use contract::google::r#type::LatLng;
use contract::inventory::v1 as inv;
use contract::inventory::v1::inventory_events_service_client::InventoryEventsServiceClient;
use contract::orders::v1 as ord;
use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
use contract::r#type::v1::Place;
use flows::world::{NODE, People};
use tonic::Code;

use super::Said::{Fields, No};
use super::{
    FULFILLMENT, INVENTORY, NOBODY, ORDERS, Row, YEAR_10000, at, good_order, is_refused, nobody, refused,
    refused_only, shop,
};

const FILTERS: &[Row<ord::ListOrdersRequest>] = &[
    ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
    ("least size", |r| r.page_size = i32::MIN, Fields(&["page_size"])),
    ("no status", |r| filter(r).statuses = vec![1, 0], Fields(&["filter.statuses[1]"])),
    ("status that nobody knows", |r| filter(r).statuses = vec![1, 99], Fields(&["filter.statuses[1]"])),
    ("negative status", |r| filter(r).statuses = vec![-1], Fields(&["filter.statuses[0]"])),
    ("channel of capitals", |r| filter(r).channel = "WEB".to_owned(), Fields(&["filter.channel"])),
    ("customer of 65", |r| filter(r).customer_ref = "c".repeat(65), Fields(&["filter.customer_ref"])),
    ("node with NUL", |r| filter(r).node_id = "\0".to_owned(), Fields(&["filter.node_id"])),
    ("nanos -1", |r| filter(r).placed_from_time = at(1, -1), Fields(&["filter.placed_from_time"])),
    (
        "a second of nanos",
        |r| filter(r).placed_from_time = at(1, 1_000_000_000),
        Fields(&["filter.placed_from_time"]),
    ),
    (
        "year 10000",
        |r| filter(r).placed_before_time = at(YEAR_10000, 0),
        Fields(&["filter.placed_before_time"]),
    ),
    (
        "greatest second",
        |r| filter(r).placed_before_time = at(i64::MAX, 0),
        Fields(&["filter.placed_before_time"]),
    ),
    (
        "least second",
        |r| filter(r).placed_before_time = at(i64::MIN, 0),
        Fields(&["filter.placed_before_time"]),
    ),
    ("a span that turns back", |r| span(r, 2, 1), Fields(&["filter.placed_before_time"])),
    ("a span of nothing", |r| span(r, 1, 1), Fields(&["filter.placed_before_time"])),
];

fn filter(list: &mut ord::ListOrdersRequest) -> &mut ord::OrderFilter {
    list.filter.get_or_insert_default()
}

fn span(list: &mut ord::ListOrdersRequest, from: i64, before: i64) {
    filter(list).placed_from_time = at(from, 0);
    filter(list).placed_before_time = at(before, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_filter_of_orders_is_refused() {
    let (world, _) = shop().await;
    let web = world.clients("channel/web");
    web.place(good_order()).await;
    let list = async |list| web.clients.orders.clone().list_orders(list).await;
    refused(ORDERS, ord::ListOrdersRequest::default(), FILTERS, &list).await;
    let mut ancient = ord::ListOrdersRequest::default();
    filter(&mut ancient).placed_from_time = at(-62_135_596_800, 0);
    let found = list(ancient.clone()).await.expect("an instant before 1970 is one").into_inner();
    assert_eq!(found.orders.len(), 1);
    filter(&mut ancient).customer_ref = "customer-_".to_owned();
    assert!(list(ancient.clone()).await.expect("listed").into_inner().orders.is_empty(), "_ is no wildcard");
    filter(&mut ancient).customer_ref = "%".to_owned();
    assert!(list(ancient).await.expect("listed").into_inner().orders.is_empty(), "% is no wildcard");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_orders_name_the_bad_key() {
    let (world, _) = shop().await;
    let ops = world.clients("ops/test");
    let order_id = ops.place(good_order()).await.order_id;
    let orders = &ops.clients.orders;
    let get = async |request| orders.clone().get_order(request).await;
    let rows: &[Row<ord::GetOrderRequest>] = &[
        ("none", |r| r.order_id.clear(), Fields(&["order_id"])),
        ("another kind", |r| r.order_id = nobody("rsv_"), Fields(&["order_id"])),
        ("nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
    ];
    refused(ORDERS, ord::GetOrderRequest { order_id: order_id.clone() }, rows, get).await;

    let find = async |request| orders.clone().get_order_by_channel_id(request).await;
    let rows: &[Row<ord::GetOrderByChannelIdRequest>] = &[
        ("no channel", |r| r.channel.clear(), Fields(&["channel"])),
        ("no number", |r| r.channel_order_id.clear(), Fields(&["channel_order_id"])),
        (
            "a number of nobody",
            |r| r.channel_order_id = "0".to_owned(),
            No(Code::NotFound, "ORDER_NOT_FOUND"),
        ),
    ];
    let nobody_has =
        ord::GetOrderByChannelIdRequest { channel: "web".to_owned(), channel_order_id: "1".to_owned() };
    refused_only(ORDERS, &nobody_has, rows, &find).await;

    let timeline = async |request| orders.clone().list_order_timeline(request).await;
    let rows: &[Row<ord::ListOrderTimelineRequest>] = &[
        ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
        ("nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
        ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
    ];
    let good = ord::ListOrderTimelineRequest { order_id: order_id.clone(), ..Default::default() };
    refused(ORDERS, good, rows, timeline).await;

    let watch = async |request| orders.clone().watch_order(request).await;
    let rows: &[Row<ord::WatchOrderRequest>] = &[
        ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
        ("nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
        ("a version before the first", |r| r.after_version = -1, Fields(&["after_version"])),
    ];
    refused_only(ORDERS, &ord::WatchOrderRequest { order_id, after_version: 0 }, rows, &watch).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_stock_name_the_bad_key() {
    let (world, ops) = shop().await;
    let stock = &ops.clients.inventory;
    let get = async |request| stock.clone().get_availability(request).await;
    let rows: &[Row<inv::GetAvailabilityRequest>] = &[
        ("nothing", |r| *r = inv::GetAvailabilityRequest::default(), Fields(&["node_id", "sku"])),
        ("SKU of nobody", |r| r.sku = "NONE".to_owned(), No(Code::NotFound, "SKU_NOT_FOUND")),
        ("SKU in the other case", |r| r.sku = "tea".to_owned(), No(Code::NotFound, "SKU_NOT_FOUND")),
        ("SKU with a space", |r| r.sku = "TEA ".to_owned(), Fields(&["sku"])),
    ];
    let good = inv::GetAvailabilityRequest { node_id: NODE.to_owned(), sku: "TEA".to_owned() };
    refused(INVENTORY, good, rows, get).await;

    let batch = async |request| stock.clone().batch_get_availability(request).await;
    let rows: &[Row<inv::BatchGetAvailabilityRequest>] = &[
        ("no pairs", |r| r.pairs.clear(), Fields(&["pairs"])),
        ("1,001 pairs", |r| r.pairs = vec![r.pairs[0].clone(); 1_001], Fields(&["pairs"])),
        (
            "an empty pair",
            |r| r.pairs.push(inv::NodeSku::default()),
            Fields(&["pairs[1].node_id", "pairs[1].sku"]),
        ),
    ];
    let pair = inv::NodeSku { node_id: NODE.to_owned(), sku: "TEA".to_owned() };
    refused(INVENTORY, inv::BatchGetAvailabilityRequest { pairs: vec![pair] }, rows, batch).await;

    let list = async |request| stock.clone().list_availability(request).await;
    let rows: &[Row<inv::ListAvailabilityRequest>] = &[
        ("no SKU", |r| r.sku.clear(), Fields(&["sku"])),
        ("SKU of nobody", |r| r.sku = "NONE".to_owned(), No(Code::NotFound, "SKU_NOT_FOUND")),
        ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
    ];
    refused(
        INVENTORY,
        inv::ListAvailabilityRequest { sku: "TEA".to_owned(), ..Default::default() },
        rows,
        list,
    )
    .await;

    let moved = async |request| stock.clone().list_movements(request).await;
    let rows: &[Row<inv::ListMovementsRequest>] = &[
        ("no node", |r| r.node_id.clear(), Fields(&["node_id"])),
        ("size -1", |r| r.page_size = i32::MIN, Fields(&["page_size"])),
    ];
    let good =
        inv::ListMovementsRequest { node_id: NODE.to_owned(), sku: "TEA".to_owned(), ..Default::default() };
    refused(INVENTORY, good, rows, moved).await;

    let skus = stock.clone().list_skus(inv::ListSkusRequest { page_size: -1, ..Default::default() }).await;
    is_refused("size -1", INVENTORY, Fields(&["page_size"]), skus);
    let sku = stock.clone().get_sku(inv::GetSkuRequest { sku: "A\u{301}".to_owned() }).await;
    is_refused("SKU of nobody", INVENTORY, No(Code::NotFound, "SKU_NOT_FOUND"), sku);
    let claim = |id: String| inv::GetReservationRequest { reservation_id: id };
    let answer = stock.clone().get_reservation(claim(nobody("prm_"))).await;
    is_refused("a promise for a reservation", INVENTORY, Fields(&["reservation_id"]), answer);
    let answer = stock.clone().get_reservation(claim(nobody("rsv_"))).await;
    is_refused("reservation of nobody", INVENTORY, No(Code::NotFound, "RESERVATION_NOT_FOUND"), answer);
    world.stop().await;
}

const NEAR: &[Row<ful::ListNearbyAvailabilityRequest>] = &[
    ("no place", |r| r.place = None, Fields(&["place"])),
    ("place without a point", |r| r.place = Some(Place { point: None }), Fields(&["place"])),
    ("north of the pole", |r| r.place = point(90.1, 0.0), Fields(&["place"])),
    ("around the world", |r| r.place = point(0.0, 180.1), Fields(&["place"])),
    ("no number", |r| r.place = point(f64::NAN, 0.0), Fields(&["place"])),
    ("no end", |r| r.place = point(0.0, f64::NEG_INFINITY), Fields(&["place"])),
    ("negative radius", |r| r.radius_m = -1, Fields(&["radius_m"])),
    ("greatest radius", |r| r.radius_m = i64::MAX, Fields(&["radius_m"])),
    ("no SKUs", |r| r.skus.clear(), Fields(&["skus"])),
    ("51 SKUs", |r| r.skus = vec!["TEA".to_owned(); 51], Fields(&["skus"])),
    ("an empty SKU", |r| r.skus.push(String::new()), Fields(&["skus[1]"])),
    ("minus one node", |r| r.max_nodes = -1, Fields(&["max_nodes"])),
    ("101 nodes", |r| r.max_nodes = 101, Fields(&["max_nodes"])),
];

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn point(latitude: f64, longitude: f64) -> Option<Place> {
    Some(Place { point: Some(LatLng { latitude, longitude }) })
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_fulfillment_name_the_bad_key() {
    let (world, ops) = shop().await;
    let near = async |request| ops.clients.promise.clone().list_nearby_availability(request).await;
    let good = ful::ListNearbyAvailabilityRequest {
        place: point(31.2, 121.4),
        skus: vec!["TEA".to_owned()],
        ..Default::default()
    };
    refused(FULFILLMENT, good, NEAR, near).await;

    let decision = async |request| ops.clients.promise.clone().get_sourcing_decision(request).await;
    let rows: &[Row<ful::GetSourcingDecisionRequest>] = &[
        ("no key", |r| r.key = None, Fields(&["key"])),
        ("another kind", |r| r.key = Some(Key::DecisionId(nobody("ord_"))), Fields(&["decision_id"])),
        (
            "a leg that is none",
            |r| r.key = Some(Key::FulfillmentId(NOBODY.to_owned())),
            Fields(&["fulfillment_id"]),
        ),
        (
            "nobody",
            |r| r.key = Some(Key::FulfillmentId(nobody("ful_"))),
            No(Code::NotFound, "DECISION_NOT_FOUND"),
        ),
    ];
    refused_only(FULFILLMENT, &ful::GetSourcingDecisionRequest::default(), rows, &decision).await;
    let decisions = async |request| ops.clients.promise.clone().list_sourcing_decisions(request).await;
    let rows: &[Row<ful::ListSourcingDecisionsRequest>] =
        &[("an order that is none", |r| r.order_id = NOBODY.to_owned(), Fields(&["order_id"]))];
    let good = ful::ListSourcingDecisionsRequest { order_id: nobody("ord_") };
    refused(FULFILLMENT, good, rows, decisions).await;

    let work = async |request| ops.clients.work.clone().get_fulfillment_order(request).await;
    let rows: &[Row<ful::GetFulfillmentOrderRequest>] = &[
        ("no id", |r| r.fulfillment_id.clear(), Fields(&["fulfillment_id"])),
        ("another kind", |r| r.fulfillment_id = nobody("ord_"), Fields(&["fulfillment_id"])),
        ("nobody", |r| r.fulfillment_id = nobody("ful_"), No(Code::NotFound, "FULFILLMENT_NOT_FOUND")),
    ];
    refused_only(FULFILLMENT, &ful::GetFulfillmentOrderRequest::default(), rows, &work).await;
    let of_order = async |request| ops.clients.work.clone().list_fulfillment_orders(request).await;
    let rows: &[Row<ful::ListFulfillmentOrdersRequest>] = &[
        ("work for an order", |r| r.order_id = nobody("ful_"), Fields(&["order_id"])),
        ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
        ("a strange token", |r| r.page_token = "00".to_owned(), Fields(&["page_token"])),
    ];
    let good = ful::ListFulfillmentOrdersRequest { order_id: nobody("ord_"), ..Default::default() };
    refused(FULFILLMENT, good, rows, of_order).await;
    nodes_and_work(&ops).await;
    world.stop().await;
}

async fn nodes_and_work(ops: &People) {
    let node =
        async |node_id: String| ops.clients.network.clone().get_node(ful::GetNodeRequest { node_id }).await;
    is_refused("no node", FULFILLMENT, Fields(&["node_id"]), node(String::new()).await);
    is_refused("nobody", FULFILLMENT, No(Code::NotFound, "NODE_NOT_FOUND"), node("n".to_owned()).await);
    let nodes = ful::ListNodesRequest { page_size: -1, ..Default::default() };
    let nodes = ops.clients.network.clone().list_nodes(nodes).await;
    is_refused("size -1", FULFILLMENT, Fields(&["page_size"]), nodes);

    let list = async |request| ops.clients.work.clone().list_work(request).await;
    let rows: &[Row<ful::ListWorkRequest>] = &[
        ("no node", |r| r.node_id.clear(), Fields(&["node_id"])),
        ("nobody", |r| r.node_id = "n".to_owned(), No(Code::NotFound, "NODE_NOT_FOUND")),
        ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
        ("no state", |r| r.states = vec![2, 0], Fields(&["states[1]"])),
        ("state that nobody knows", |r| r.states = vec![99], Fields(&["states[0]"])),
        ("a hundred thousand states", |r| r.states = vec![2; 100_000], Fields(&["states"])),
    ];
    refused(FULFILLMENT, ful::ListWorkRequest { node_id: NODE.to_owned(), ..Default::default() }, rows, list)
        .await;

    let watch = async |request| ops.clients.work.clone().watch_work(request).await;
    let rows: &[Row<ful::WatchWorkRequest>] = &[
        ("no node", |r| r.node_id.clear(), Fields(&["node_id"])),
        ("nobody", |r| r.node_id = "n".to_owned(), No(Code::NotFound, "NODE_NOT_FOUND")),
        ("a token of no stream", |r| r.resume_token = "00".to_owned(), Fields(&["resume_token"])),
        ("a token in full width", |r| r.resume_token = "００".to_owned(), Fields(&["resume_token"])),
        ("a token of 100 kB", |r| r.resume_token = "0".repeat(100_000), Fields(&["resume_token"])),
    ];
    let good = ful::WatchWorkRequest { node_id: NODE.to_owned(), resume_token: String::new() };
    refused_only(FULFILLMENT, &good, rows, &watch).await;
}

macro_rules! refuses_bad_replays {
    ($domain:expr, $client:expr, $package:ident) => {{
        let client = $client;
        let replay = async |request| client.clone().replay_events(request).await;
        let rows: &[Row<$package::ReplayEventsRequest>] = &[
            ("no aggregate", |r| r.aggregate_id.clear(), Fields(&["aggregate_id"])),
            ("an id with its prefix", |r| r.aggregate_id = nobody("ord_"), Fields(&["aggregate_id"])),
            ("sequence 0", |r| r.from_sequence = 0, Fields(&["from_sequence"])),
            ("least sequence", |r| r.from_sequence = i64::MIN, Fields(&["from_sequence"])),
            ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
        ];
        let good = $package::ReplayEventsRequest {
            aggregate_id: NOBODY.to_owned(),
            from_sequence: i64::MAX,
            page_size: i32::MAX,
        };
        let none = refused($domain, good, rows, replay).await.into_inner();
        assert!(none.events.is_empty());
        let list = async |request| client.clone().list_heads(request).await;
        let rows: &[Row<$package::ListHeadsRequest>] = &[
            ("size -1", |r| r.page_size = -1, Fields(&["page_size"])),
            ("a token of no page", |r| r.page_token = "x".to_owned(), Fields(&["page_token"])),
            ("a token cut short", |r| r.page_token = "1.2".to_owned(), Fields(&["page_token"])),
            ("no time", |r| r.changed_since.as_mut().unwrap().seconds = i64::MAX, Fields(&["changed_since"])),
        ];
        let good = $package::ListHeadsRequest {
            changed_since: Some(Default::default()),
            page_size: i32::MAX,
            page_token: String::new(),
        };
        assert!(refused($domain, good, rows, list).await.into_inner().until_time.is_some());
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_name_the_bad_key() {
    let (world, _) = shop().await;
    let channel = super::raw::channel(&world);
    let named = |mut request: tonic::Request<()>| {
        request
            .metadata_mut()
            .insert("x-entrepot-actor", tonic::metadata::MetadataValue::from_static("ops/test"));
        Ok::<_, tonic::Status>(request)
    };
    refuses_bad_replays!(ORDERS, OrderEventsServiceClient::with_interceptor(channel.clone(), named), ord);
    refuses_bad_replays!(
        INVENTORY,
        InventoryEventsServiceClient::with_interceptor(channel.clone(), named),
        inv
    );
    refuses_bad_replays!(FULFILLMENT, FulfillmentEventsServiceClient::with_interceptor(channel, named), ful);
    world.stop().await;
}
