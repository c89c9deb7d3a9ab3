//! Carts and promise tokens with every bad value.

use contract::fulfillment::v1 as ful;
use contract::google::r#type::LatLng;
use contract::r#type::v1::{LineQuantity, Method, Place, Window};
use flows::world::{NODE, fresh};
use prost_types::Duration;
use tonic::Code;

use super::Said::{Fields, No};
use super::{
    Census, FULFILLMENT, NOBODY, Odd, REQUEST_ID, Row, YEAR_10000, at, nobody, refused, refused_only, shop,
};

const CARTS: &[Row<ful::GetPromiseRequest>] = &[
    ("no lines", |r| r.lines.clear(), Fields(&["lines"])),
    ("1,001 lines", |r| r.lines = (1..=1_001).map(|line| cart(line, "TEA", 1)).collect(), Fields(&["lines"])),
    ("line 0", |r| r.lines[0].line = 0, Fields(&["lines[0].line"])),
    ("line twice", |r| r.lines.push(cart(1, "CUP", 1)), Fields(&["lines[1].line"])),
    ("no SKU", |r| r.lines[0].sku.clear(), Fields(&["lines[0].sku"])),
    ("nothing of it", |r| r.lines[0].quantity = 0, Fields(&["lines[0].quantity"])),
    ("greatest quantity", |r| r.lines[0].quantity = i64::MAX, Fields(&["lines[0].quantity"])),
    ("no method", |r| r.methods = vec![1, 0], Fields(&["methods[1]"])),
    ("method that nobody knows", |r| r.methods = vec![99], Fields(&["methods[0]"])),
    ("negative method", |r| r.methods = vec![-1], Fields(&["methods[0]"])),
    ("place without a point", |r| r.place = Some(Place { point: None }), Fields(&["place"])),
    ("place that is no number", |r| r.place = point(f64::NAN), Fields(&["place"])),
    ("place off the globe", |r| r.place = point(-90.5), Fields(&["place"])),
    ("node with NUL", |r| r.node_id = "\0".to_owned(), Fields(&["node_id"])),
    (
        "a window without a start",
        |r| r.wanted_window = window(None, at(2_000, 0)),
        Fields(&["wanted_window"]),
    ),
    ("an empty window", |r| r.wanted_window = window(at(2_000, 0), at(2_000, 0)), Fields(&["wanted_window"])),
    (
        "a window beyond time",
        |r| r.wanted_window = window(at(YEAR_10000, 0), None),
        Fields(&["wanted_window"]),
    ),
    ("minus one option", |r| r.max_options = -1, Fields(&["max_options"])),
    ("51 options", |r| r.max_options = 51, Fields(&["max_options"])),
    ("greatest options", |r| r.max_options = i32::MAX, Fields(&["max_options"])),
];

fn cart(line: u32, sku: &str, quantity: i64) -> ful::CartLine {
    ful::CartLine { line, sku: sku.to_owned(), quantity }
}

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
const fn window(
    start_time: Option<prost_types::Timestamp>,
    end_time: Option<prost_types::Timestamp>,
) -> Option<Window> {
    Some(Window { start_time, end_time })
}

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn point(latitude: f64) -> Option<Place> {
    Some(Place { point: Some(LatLng { latitude, longitude: 0.0 }) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_cart_is_refused_and_an_odd_one_gets_reasons() {
    let (world, ops) = shop().await;
    let good = ful::GetPromiseRequest { lines: vec![cart(1, "TEA", 1)], ..Default::default() };
    let ask = async |request| ops.clients.promise.clone().get_promise(request).await;
    refused(FULFILLMENT, good.clone(), CARTS, &ask).await;
    let odd: &[(Odd<ful::GetPromiseRequest>, ful::ReasonCode)] = &[
        (("SKU of nobody", |r| r.lines[0].sku = "NONE".to_owned()), ful::ReasonCode::UnknownSku),
        (("node of nobody", |r| r.node_id = "nowhere".to_owned()), ful::ReasonCode::UnknownNode),
        (("method of later", |r| r.methods = vec![Method::Parcel.into()]), ful::ReasonCode::MethodNotOffered),
        (("more than there is", |r| r.lines[0].quantity = 1_000_000), ful::ReasonCode::NoStock),
        (
            ("more than there is, over many lines", |r| {
                r.lines = (1..=1_000).map(|line| cart(line, "TEA", 1_000_000)).collect();
            }),
            ful::ReasonCode::NoStock,
        ),
    ];
    for ((what, change), reason) in odd {
        let mut request = good.clone();
        change(&mut request);
        let answer = ask(request).await.unwrap_or_else(|status| panic!("{what}: {status:?}")).into_inner();
        assert!(answer.options.is_empty(), "{what}: {answer:?}");
        let reasons: Vec<_> = answer.refusals.iter().flat_map(|refusal| refusal.reasons()).collect();
        assert!(reasons.contains(reason), "{what}: {answer:?}");
    }
    world.stop().await;
}

const HOLDS: &[Row<ful::HoldPromiseRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::HoldPromiseRequest::default(),
        Fields(&["request_id", "lines", "groups"]),
    ),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no method", |r| r.groups[0].method = 0, Fields(&["groups[0].method"])),
    ("for another customer", |r| r.on_behalf_of = "customer/ann".to_owned(), Fields(&["on_behalf_of"])),
    ("for a mail address", |r| r.on_behalf_of = "customer/a@b.example".to_owned(), Fields(&["on_behalf_of"])),
    ("unknown method", |r| r.groups[0].method = 99, Fields(&["groups[0].method"])),
    (
        "method of later",
        |r| r.groups[0].method = Method::Parcel.into(),
        No(Code::FailedPrecondition, "METHOD_NOT_OFFERED"),
    ),
    ("no groups", |r| r.groups.clear(), Fields(&["groups"])),
    ("21 groups", |r| r.groups = vec![r.groups[0].clone(); 21], Fields(&["groups"])),
    ("group 0", |r| r.groups[0].group = 0, Fields(&["groups[0].group"])),
    (
        "group twice",
        |r| {
            r.groups[0].lines = vec![pieces(1, 1)];
            r.groups.push(r.groups[0].clone());
        },
        Fields(&["groups[1].group"]),
    ),
    ("a node that is no code", |r| r.groups[0].node_id = " ".to_owned(), Fields(&["groups[0].node_id"])),
    ("a line of nobody", |r| r.groups[0].lines = vec![pieces(2, 1)], Fields(&["groups[0].lines[0].line"])),
    ("no pieces", |r| r.groups[0].lines = vec![pieces(1, 0)], Fields(&["groups[0].lines[0].quantity"])),
    (
        "a line twice in a group",
        |r| r.groups[0].lines = vec![pieces(1, 1), pieces(1, 1)],
        Fields(&["groups[0].lines[1].line"]),
    ),
    ("more pieces than the cart", |r| r.groups[0].lines = vec![pieces(1, 2)], Fields(&["lines[0].quantity"])),
    (
        "a line that no group has",
        |r| {
            r.lines.push(cart(2, "CUP", 1));
            r.groups[0].lines = vec![pieces(1, 1)];
        },
        Fields(&["lines[1].quantity"]),
    ),
    (
        "a window that ends before it starts",
        |r| {
            let (start_time, end_time) = (at(2_000, 0), at(1_000, 0));
            r.groups[0].wanted_window = Some(Window { start_time, end_time });
        },
        Fields(&["groups[0].wanted_window"]),
    ),
    ("nobody", |r| r.groups[0].node_id = "nowhere".to_owned(), No(Code::FailedPrecondition, "UNKNOWN_NODE")),
    ("no lines", |r| r.lines.clear(), Fields(&["lines"])),
    ("line twice", |r| r.lines.push(cart(1, "CUP", 1)), Fields(&["lines[1].line"])),
    ("SKU of nobody", |r| r.lines.push(cart(2, "NONE", 1)), Fields(&["lines[1].sku"])),
    ("least quantity", |r| r.lines[0].quantity = i64::MIN, Fields(&["lines[0].quantity"])),
    ("more than there is", |r| r.lines[0].quantity = 1_001, No(Code::FailedPrecondition, "NO_STOCK")),
    (
        "more than there is, over many lines",
        |r| r.lines = (1..=1_000).map(|line| cart(line, "TEA", 1_000_000)).collect(),
        No(Code::FailedPrecondition, "NO_STOCK"),
    ),
    ("no time at all", |r| r.ttl = length(0, 0), Fields(&["ttl"])),
    ("negative time", |r| r.ttl = length(-1, 0), Fields(&["ttl"])),
    ("mixed signs", |r| r.ttl = length(60, -1), Fields(&["ttl"])),
    ("an hour and a bit", |r| r.ttl = length(3_601, 0), Fields(&["ttl"])),
    ("greatest time", |r| r.ttl = length(i64::MAX, i32::MAX), Fields(&["ttl"])),
    ("least time", |r| r.ttl = length(i64::MIN, i32::MIN), Fields(&["ttl"])),
    ("ten thousand years", |r| r.ttl = length(315_576_000_000, 0), Fields(&["ttl"])),
];

fn pieces(line: u32, quantity: i64) -> LineQuantity {
    LineQuantity { line, quantity }
}

/// All of the cart at the shop.
fn whole() -> ful::CartGroup {
    let method = Method::Pickup.into();
    ful::CartGroup { group: 1, method, node_id: NODE.to_owned(), ..ful::CartGroup::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn length(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

const CONFIRM: &[Row<ful::ConfirmPromiseRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::ConfirmPromiseRequest::default(),
        Fields(&["request_id", "promise_token", "order_id"]),
    ),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no token", |r| r.promise_token.clear(), Fields(&["promise_token"])),
    ("reservation for a token", |r| r.promise_token = nobody("rsv_"), Fields(&["promise_token"])),
    ("nobody", |r| r.promise_token = nobody("prm_"), No(Code::NotFound, "PROMISE_NOT_FOUND")),
    ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
    ("an order in braces", |r| r.order_id = format!("ord_{{{NOBODY}}}"), Fields(&["order_id"])),
];

const RELEASE: &[Row<ful::ReleasePromiseRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("token in upper case", |r| r.promise_token = r.promise_token.to_uppercase(), Fields(&["promise_token"])),
    ("nobody", |r| r.promise_token = nobody("prm_"), No(Code::NotFound, "PROMISE_NOT_FOUND")),
];

const EXTEND: &[Row<ful::ExtendPromiseRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::ExtendPromiseRequest::default(),
        Fields(&["request_id", "promise_token", "expire_time"]),
    ),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no token", |r| r.promise_token.clear(), Fields(&["promise_token"])),
    ("nobody", |r| r.promise_token = nobody("prm_"), No(Code::NotFound, "PROMISE_NOT_FOUND")),
    ("no time", |r| r.expire_time = None, Fields(&["expire_time"])),
    ("nanos -1", |r| r.expire_time = at(1, -1), Fields(&["expire_time"])),
    ("year 10000", |r| r.expire_time = at(YEAR_10000, 0), Fields(&["expire_time"])),
    ("least second", |r| r.expire_time = at(i64::MIN, 0), Fields(&["expire_time"])),
    (
        "in a thousand years",
        |r| r.expire_time = at(32_503_680_000, 0),
        No(Code::FailedPrecondition, "PROMISE_TOO_LONG"),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_hold_is_refused_and_holds_nothing() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let before = Census::of(&ops).await;
    let good = ful::HoldPromiseRequest {
        request_id: REQUEST_ID.to_owned(),
        lines: vec![cart(1, "TEA", 1)],
        groups: vec![whole()],
        ttl: length(60, 0),
        ..ful::HoldPromiseRequest::default()
    };
    let hold = async |request| web.clients.promise.clone().hold_promise(request).await;
    refused_only(FULFILLMENT, &good, HOLDS, &hold).await;
    assert_eq!(Census::of(&ops).await, before);
    let held = refused(FULFILLMENT, good.clone(), &[], &hold).await.into_inner().promise.unwrap_or_default();
    let other: &[Row<ful::HoldPromiseRequest>] =
        &[("another body", |r| r.lines[0].quantity = 2, No(Code::InvalidArgument, "REQUEST_ID_REUSED"))];
    refused_only(FULFILLMENT, &good, other, &hold).await;
    world.settle().await;

    let before = Census::of(&ops).await;
    let token = held.promise_token.clone();
    let client = &ops.clients.promise;
    let extend = async |request| client.clone().extend_promise(request).await;
    let longer = ful::ExtendPromiseRequest {
        request_id: REQUEST_ID.to_owned(),
        promise_token: token.clone(),
        expire_time: held.expire_time,
    };
    refused(FULFILLMENT, longer.clone(), EXTEND, &extend).await;
    let earlier = ful::ExtendPromiseRequest { expire_time: at(-1, 0), ..longer };
    let same = extend(earlier).await.expect("an earlier end changes nothing").into_inner();
    assert_eq!(same.promise.unwrap_or_default().expire_time, held.expire_time);
    let confirm = async |request| client.clone().confirm_promise(request).await;
    let confirmed = ful::ConfirmPromiseRequest {
        request_id: REQUEST_ID.to_owned(),
        promise_token: token.clone(),
        order_id: nobody("ord_"),
    };
    refused_only(FULFILLMENT, &confirmed, CONFIRM, &confirm).await;
    let release = async |request| client.clone().release_promise(request).await;
    let released =
        ful::ReleasePromiseRequest { request_id: REQUEST_ID.to_owned(), promise_token: token.clone() };
    refused_only(FULFILLMENT, &released, RELEASE, &release).await;
    let get = async |promise_token| {
        client.clone().get_promise_token(ful::GetPromiseTokenRequest { promise_token }).await
    };
    super::is_refused(
        "an order for a token",
        FULFILLMENT,
        Fields(&["promise_token"]),
        get(nobody("ord_")).await,
    );
    let said = No(Code::NotFound, "PROMISE_NOT_FOUND");
    super::is_refused("nobody", FULFILLMENT, said, get(nobody("prm_")).await);
    assert_eq!(Census::of(&ops).await, before);

    refused(FULFILLMENT, confirmed.clone(), &[], &confirm).await;
    let taken: &[Row<ful::ConfirmPromiseRequest>] = &[(
        "for another order",
        |r| r.order_id = format!("ord_{}", fresh()),
        No(Code::FailedPrecondition, "PROMISE_TAKEN"),
    )];
    refused_only(
        FULFILLMENT,
        &ful::ConfirmPromiseRequest { request_id: fresh(), ..confirmed },
        taken,
        &confirm,
    )
    .await;
    ops.audit().await;
    world.stop().await;
}
