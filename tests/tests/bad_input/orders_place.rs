//! `PlaceOrder`: every field with every bad value that it can have.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use contract::orders::v1::new_group::Where;
use contract::r#type::v1::{Attribution, LineQuantity, Method, Packaging, Recipient, Window};
use entrepot::clients::money;
use flows::people::{group_at, order_at};
use flows::world::{NODE, People, fresh};
use tonic::{Code, Status};

use super::Said::{Fields, No};
use super::{Census, FULFILLMENT, NOBODY, ORDERS, Row, at, good_order, is_refused, nobody, refused, shop};

type Place = ord::PlaceOrderRequest;

async fn place(people: &People, order: Place) -> Result<ord::Order, Status> {
    people.try_place(order).await
}

/// Who orders, under which number, how it is held.
const HEADS: &[Row<Place>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    (
        "nil request id",
        |r| r.request_id = "0".repeat(8) + "-0000-0000-0000-" + &"0".repeat(12),
        Fields(&["request_id"]),
    ),
    ("request id in braces", |r| r.request_id = format!("{{{NOBODY}}}"), Fields(&["request_id"])),
    ("request id without hyphens", |r| r.request_id = NOBODY.replace('-', ""), Fields(&["request_id"])),
    ("request id as a URN", |r| r.request_id = format!("urn:uuid:{NOBODY}"), Fields(&["request_id"])),
    ("request id that is text", |r| r.request_id = "x".repeat(36), Fields(&["request_id"])),
    ("request id of 100 kB", |r| r.request_id = "a".repeat(100_000), Fields(&["request_id"])),
    ("no channel", |r| r.channel.clear(), Fields(&["channel"])),
    ("channel in upper case", |r| r.channel = "Web".to_owned(), Fields(&["channel"])),
    ("channel of 33", |r| r.channel = "w".repeat(33), Fields(&["channel"])),
    ("channel with a path", |r| r.channel = "../web".to_owned(), Fields(&["channel"])),
    ("channel with NUL", |r| r.channel = "web\0".to_owned(), Fields(&["channel"])),
    ("no number", |r| r.channel_order_id.clear(), Fields(&["channel_order_id"])),
    ("number of 65", |r| r.channel_order_id = "1".repeat(65), Fields(&["channel_order_id"])),
    ("number with NUL", |r| r.channel_order_id = "a\0b".to_owned(), Fields(&["channel_order_id"])),
    ("customer of 65", |r| r.customer_ref = "c".repeat(65), Fields(&["customer_ref"])),
    ("customer with CRLF", |r| r.customer_ref = "c\r\nadmin: yes".to_owned(), Fields(&["customer_ref"])),
    ("a mail address as member", |r| r.member_ref = "ann@example.com".to_owned(), Fields(&["member_ref"])),
    ("member of 65", |r| r.member_ref = "m".repeat(65), Fields(&["member_ref"])),
    ("journey with a path", |r| r.journey_id = "../1".to_owned(), Fields(&["journey_id"])),
    (
        "attribution of names",
        |r| {
            let name = || "Ann Lee".to_owned();
            let (guide, campaign, content, session) = (name(), name(), name(), name());
            r.attribution = Some(Attribution { guide, campaign, content, session });
        },
        Fields(&["attribution.guide", "attribution.campaign", "attribution.content", "attribution.session"]),
    ),
    ("no terms", |r| r.payment_terms = 0, Fields(&["payment_terms"])),
    ("terms that nobody knows", |r| r.payment_terms = 99, Fields(&["payment_terms"])),
    ("negative terms", |r| r.payment_terms = i32::MIN, Fields(&["payment_terms"])),
    ("no groups", |r| r.groups.clear(), Fields(&["groups"])),
    ("21 groups", |r| r.groups = vec![r.groups[0].clone(); 21], Fields(&["groups"])),
    ("token of an order", |r| token(r, &nobody("ord_")), Fields(&["promise_token"])),
    ("token in upper case", |r| token(r, &nobody("prm_").to_uppercase()), Fields(&["promise_token"])),
    ("token in braces", |r| token(r, &format!("prm_{{{NOBODY}}}")), Fields(&["promise_token"])),
    ("token of nobody", |r| token(r, &nobody("prm_")), Fields(&["promise_token"])),
    ("nil token", |r| token(r, "prm_00000000-0000-0000-0000-000000000000"), Fields(&["promise_token"])),
    ("no node", |r| hold(r, 1, ""), Fields(&["groups[0].node_id"])),
    ("node of 65", |r| hold(r, 1, &"n".repeat(65)), Fields(&["groups[0].node_id"])),
    ("unknown node", |r| hold(r, 1, "nowhere"), No(Code::FailedPrecondition, "UNKNOWN_NODE")),
    ("no method", |r| hold(r, 0, NODE), Fields(&["groups[0].method"])),
    ("unknown method", |r| hold(r, 99, NODE), Fields(&["groups[0].method"])),
    ("method of later", |r| hold(r, Method::Parcel as i32, NODE), Fields(&["groups[0].method"])),
];

/// What is asked together.
const GROUPS: &[Row<Place>] = &[
    (
        "a line that is not there",
        |r| split(r, &[(1, 1), (2, 2), (7, 1)], &[]),
        Fields(&["groups[0].lines[2].line"]),
    ),
    ("a line twice", |r| split(r, &[(1, 1), (2, 1), (2, 1)], &[]), Fields(&["groups[0].lines[2].line"])),
    ("line 0", |r| split(r, &[(0, 1), (1, 1), (2, 2)], &[]), Fields(&["groups[0].lines[0].line"])),
    ("nothing of a line", |r| split(r, &[(1, 0), (2, 2)], &[]), Fields(&["groups[0].lines[0].quantity"])),
    ("too few pieces", |r| split(r, &[(1, 1), (2, 1)], &[]), Fields(&["groups"])),
    ("too many pieces over two groups", |r| split(r, &[(1, 1), (2, 2)], &[(2, 1)]), Fields(&["groups"])),
    (
        "a group without lines among two",
        |r| {
            split(r, &[(1, 1), (2, 2)], &[]);
            r.groups.push(group_at(NODE));
        },
        Fields(&["groups[1].lines"]),
    ),
    (
        "an address without a handle and a place",
        |r| r.groups[0].r#where = Some(Where::Address(ord::Address::default())),
        Fields(&["groups[0].address.address_ref", "groups[0].address.place.point"]),
    ),
    (
        "a window that ends before it begins",
        |r| r.groups[0].wanted_window = Some(Window { start_time: at(9, 0), end_time: at(8, 0) }),
        Fields(&["groups[0].wanted_window.end_time"]),
    ),
    (
        "a consent that cannot be",
        |r| {
            let other_methods = vec![99; 2];
            r.groups[0].consent = Some(contract::r#type::v1::Consent {
                other_node_radius_m: -1,
                other_methods,
                ..contract::r#type::v1::Consent::default()
            });
        },
        Fields(&[
            "groups[0].consent.other_node_radius_m",
            "groups[0].consent.other_methods[0]",
            "groups[0].consent.other_methods[1]",
        ]),
    ),
    (
        "six recipients of an unknown kind",
        |r| r.groups[0].recipient = Some(Recipient { kind: 99, recipient_refs: vec!["r".to_owned(); 6] }),
        Fields(&["groups[0].recipient.kind", "groups[0].recipient.recipient_refs"]),
    ),
    (
        "a recipient by mail address and one without a handle",
        |r| {
            let recipient_refs = vec!["bob@example.com".to_owned(), String::new()];
            r.groups[0].recipient = Some(Recipient { kind: 3, recipient_refs });
        },
        Fields(&["groups[0].recipient.recipient_refs[0]", "groups[0].recipient.recipient_refs[1]"]),
    ),
    (
        "a message instead of its handle",
        |r| {
            let message = || "Happy birthday, Bob!".to_owned();
            r.groups[0].packaging = Some(Packaging { code: message(), message_ref: message() });
        },
        Fields(&["groups[0].packaging.code", "groups[0].packaging.message_ref"]),
    ),
    (
        "a package of 33 characters",
        |r| r.groups[0].packaging = Some(Packaging { code: "p".repeat(33), message_ref: String::new() }),
        Fields(&["groups[0].packaging.code"]),
    ),
    ("lines with and without a number", |r| r.lines[1].line = 2, Fields(&["lines[0].line"])),
    ("a number twice", |r| r.lines.iter_mut().for_each(|line| line.line = 4), Fields(&["lines[1].line"])),
];

/// One group of these lines, and another one if it has some.
fn split(order: &mut Place, first: &[(u32, i64)], second: &[(u32, i64)]) {
    let group = |lines: &[(u32, i64)]| {
        let line = |(line, quantity): &(u32, i64)| LineQuantity { line: *line, quantity: *quantity };
        ord::NewGroup { lines: lines.iter().map(line).collect(), ..group_at(NODE) }
    };
    order.groups = vec![group(first)];
    order.groups.extend((!second.is_empty()).then(|| group(second)));
}

fn token(order: &mut Place, token: &str) {
    order.groups.clear();
    token.clone_into(&mut order.promise_token);
}

fn hold(order: &mut Place, method: i32, node_id: &str) {
    order.groups = vec![ord::NewGroup { method, ..group_at(node_id) }];
}

/// What is ordered.
const LINES: &[Row<Place>] = &[
    ("no lines", |r| r.lines.clear(), Fields(&["lines"])),
    ("1,001 lines", |r| r.lines = vec![r.lines[0].clone(); 1_001], Fields(&["lines"])),
    ("no SKU", |r| r.lines[0].sku.clear(), Fields(&["lines[0].sku"])),
    ("SKU of 65", |r| r.lines[1].sku = "s".repeat(65), Fields(&["lines[1].sku"])),
    ("SKU of 100 kB", |r| r.lines[1].sku = "s".repeat(100_000), Fields(&["lines[1].sku"])),
    ("SKU that is not there", |r| r.lines[1].sku = "NONE".to_owned(), Fields(&["lines[1].sku"])),
    ("SKU in the other case", |r| r.lines[0].sku = "tea".to_owned(), Fields(&["lines[0].sku"])),
    ("SKU in full width", |r| r.lines[0].sku = "ＴＥＡ".to_owned(), Fields(&["lines[0].sku"])),
    ("name of 201", |r| r.lines[0].name = "n".repeat(201), Fields(&["lines[0].name"])),
    ("name with NUL", |r| r.lines[0].name = "a\0".to_owned(), Fields(&["lines[0].name"])),
    ("nothing of it", |r| r.lines[0].quantity = 0, Fields(&["lines[0].quantity"])),
    ("minus one", |r| r.lines[0].quantity = -1, Fields(&["lines[0].quantity"])),
    ("least quantity", |r| r.lines[1].quantity = i64::MIN, Fields(&["lines[1].quantity"])),
    ("greatest quantity", |r| r.lines[1].quantity = i64::MAX, Fields(&["lines[1].quantity"])),
    ("a million and one", |r| r.lines[1].quantity = 1_000_001, Fields(&["lines[1].quantity"])),
    (
        "all at once",
        |r| {
            r.request_id.clear();
            price(r, -1, 0);
            r.lines[1].sku.clear();
            r.lines[1].quantity = -5;
            r.lines[1].discount = money(-1, "USD").into();
            r.tenders[0].tender_id.clear();
        },
        Fields(&[
            "request_id",
            "lines[0].unit_price",
            "lines[1].sku",
            "lines[1].quantity",
            "lines[1].discount",
            "tenders[0].tender_id",
        ]),
    ),
    (
        "nothing at all",
        |r| *r = Place::default(),
        Fields(&["request_id", "channel", "channel_order_id", "lines", "payment_terms", "total", "groups"]),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_a_bad_head_or_line_is_refused_and_leaves_nothing() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let web = world.clients("channel/web");
    let call = async |order| place(&web, order).await;
    super::refused_only(ORDERS, &good_order(), LINES, &call).await;
    let unknown = HEADS.iter().filter(|(what, ..)| *what == "unknown node").copied().collect::<Vec<_>>();
    super::refused_only(FULFILLMENT, &good_order(), &unknown, &call).await;
    let heads: Vec<Row<Place>> = HEADS.iter().filter(|(what, ..)| *what != "unknown node").copied().collect();
    super::refused_only(ORDERS, &good_order(), &heads, &call).await;
    super::refused_only(ORDERS, &good_order(), GROUPS, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(ORDERS, good_order(), &[], call).await;
    world.stop().await;
}

/// What it costs.
const PRICES: &[Row<Place>] = &[
    ("no price", |r| r.lines[0].unit_price = None, Fields(&["lines[0].unit_price"])),
    ("negative price", |r| price(r, -1, 0), Fields(&["lines[0].unit_price"])),
    ("a tenth of a cent", |r| price(r, 1, 1_000_000), Fields(&["lines[0].unit_price"])),
    ("mixed signs", |r| price(r, 1, -10_000_000), Fields(&["lines[0].unit_price"])),
    ("a whole unit of nanos", |r| price(r, 1, 1_000_000_000), Fields(&["lines[0].unit_price"])),
    ("least nanos", |r| price(r, -1, i32::MIN), Fields(&["lines[0].unit_price"])),
    ("greatest price", |r| price(r, i64::MAX, 0), Fields(&["lines[0].unit_price"])),
    ("least price", |r| price(r, i64::MIN, 0), Fields(&["lines[0].unit_price"])),
    ("price x quantity overflows", overflows, Fields(&["lines[0].unit_price"])),
    ("more than an order may cost", |r| price(r, 100_000_000_000_000, 0), Fields(&["lines[0].unit_price"])),
    ("two lines cost more than an order may", dear, Fields(&["lines"])),
    ("no currency", |r| currency(r, ""), Fields(&["lines[0].unit_price.currency_code"])),
    ("currency in lower case", |r| currency(r, "usd"), Fields(&["lines[0].unit_price.currency_code"])),
    ("currency that is none", |r| currency(r, "XXX"), Fields(&["lines[0].unit_price.currency_code"])),
    ("currency of the neighbours", |r| currency(r, "EUR"), Fields(&["lines[0].unit_price.currency_code"])),
    ("currency in full width", |r| currency(r, "ＵＳＤ"), Fields(&["lines[0].unit_price.currency_code"])),
    ("negative discount", |r| r.lines[0].discount = money(-1, "USD").into(), Fields(&["lines[0].discount"])),
    (
        "discount above the line",
        |r| r.lines[0].discount = money(101, "USD").into(),
        Fields(&["lines[0].discount"]),
    ),
    (
        "discount in another currency",
        |r| r.lines[0].discount = money(1, "GBP").into(),
        Fields(&["lines[0].discount.currency_code"]),
    ),
    ("negative tax", |r| r.lines[1].tax = money(-1, "USD").into(), Fields(&["lines[1].tax"])),
    ("more tax than price", |r| r.lines[1].tax = money(501, "USD").into(), Fields(&["lines[1].tax"])),
    ("21 charges", |r| r.charges = vec![charge("POST", 0); 21], Fields(&["charges"])),
    ("charge without a code", |r| r.charges = vec![charge("", 0)], Fields(&["charges[0].code"])),
    (
        "charge without an amount",
        |r| r.charges = vec![ord::Charge { amount: None, ..charge("P", 0) }],
        Fields(&["charges[0].amount"]),
    ),
    ("negative charge", |r| r.charges = vec![charge("P", -1)], Fields(&["charges[0].amount"])),
    ("charge that the total lacks", |r| r.charges = vec![charge("P", 1)], Fields(&["total"])),
    ("no total", |r| r.total = None, Fields(&["total"])),
    ("total of another sum", |r| r.total = money(601, "USD").into(), Fields(&["total", "tenders"])),
    ("negative total", |r| r.total = money(-600, "USD").into(), Fields(&["total", "tenders"])),
    ("total finer than a cent", |r| total(r, 6, 1), Fields(&["total"])),
    ("least total", |r| total(r, i64::MIN, 0), Fields(&["total"])),
    ("total without currency", |r| r.total = money(600, "").into(), Fields(&["total.currency_code"])),
    ("no tenders", |r| r.tenders.clear(), Fields(&["tenders"])),
    ("11 tenders", |r| r.tenders = vec![r.tenders[0].clone(); 11], Fields(&["tenders"])),
    ("tender twice", |r| r.tenders.push(r.tenders[0].clone()), Fields(&["tenders[1].tender_id", "tenders"])),
    ("tender of nothing", |r| r.tenders[0].amount = money(0, "USD").into(), Fields(&["tenders[0].amount"])),
    ("negative tender", |r| r.tenders[0].amount = money(-600, "USD").into(), Fields(&["tenders[0].amount"])),
    ("tender of too little", |r| r.tenders[0].amount = money(599, "USD").into(), Fields(&["tenders"])),
    ("tender without a kind", |r| r.tenders[0].kind.clear(), Fields(&["tenders[0].kind"])),
    (
        "tender with a long reference",
        |r| r.tenders[0].provider_ref = "p".repeat(129),
        Fields(&["tenders[0].provider_ref"]),
    ),
    ("tender that was given up", |r| r.tenders[0].state = 4, Fields(&["tenders[0].state"])),
    ("tender that failed", |r| r.tenders[0].state = 5, Fields(&["tenders[0].state"])),
    ("tender in a state that nobody knows", |r| r.tenders[0].state = 99, Fields(&["tenders[0].state"])),
];

fn price(order: &mut Place, units: i64, nanos: i32) {
    if let Some(price) = &mut order.lines[0].unit_price {
        (price.units, price.nanos) = (units, nanos);
    }
}

fn total(order: &mut Place, units: i64, nanos: i32) {
    if let Some(total) = &mut order.total {
        (total.units, total.nanos) = (units, nanos);
    }
}

fn currency(order: &mut Place, code: &str) {
    if let Some(price) = &mut order.lines[0].unit_price {
        code.clone_into(&mut price.currency_code);
    }
}

fn overflows(order: &mut Place) {
    price(order, 90_000_000_000_000_000, 0);
    order.lines[0].quantity = 1_000_000;
}

fn dear(order: &mut Place) {
    price(order, 10_000_000_000_000, 0);
    order.lines = vec![order.lines[0].clone(); 2];
}

fn charge(code: &str, minor: i64) -> ord::Charge {
    ord::Charge { code: code.to_owned(), amount: Some(money(minor, "USD")), ..ord::Charge::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_bad_money_is_refused_and_leaves_nothing() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let web = world.clients("channel/web");
    let call = async |order| place(&web, order).await;
    super::refused_only(ORDERS, &good_order(), PRICES, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(ORDERS, good_order(), &[], call).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_lines_are_answered_in_headers_that_every_client_takes() {
    let (world, _) = shop().await;
    let mut order = good_order();
    order.lines = vec![ord::NewLine { sku: "\u{200b}".repeat(20), ..ord::NewLine::default() }; 1_000];
    let web = world.clients("channel/web");
    let status = web.try_place(order).await.expect_err("nothing of it is right");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.details().len() <= super::MOST_DETAILS, "{} bytes of details", status.details().len());
    let named = server::status::violations(&status);
    assert_eq!(named[0].field, "lines[0].sku");
    assert!(named.len() > 10, "{named:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_token_holds_for_its_own_lines_and_for_one_order() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let line = |line, sku: &str, quantity| ful::CartLine { line, sku: sku.to_owned(), quantity };
    let request = ful::HoldPromiseRequest {
        request_id: super::REQUEST_ID.to_owned(),
        lines: vec![line(1, "TEA", 1), line(2, "CUP", 2)],
        groups: vec![ful::CartGroup {
            group: 1,
            method: Method::Pickup.into(),
            node_id: NODE.to_owned(),
            ..ful::CartGroup::default()
        }],
        ttl: None,
        instead_of: Vec::new(),
        on_behalf_of: String::new(),
        channel: String::new(),
    };
    let mut promises = web.clients.promise.clone();
    let another = ful::HoldPromiseRequest { request_id: fresh(), ..request.clone() };
    let released = promises.hold_promise(another).await.expect("held").into_inner();
    let released = released.promise.unwrap_or_default().promise_token;
    let release = ful::ReleasePromiseRequest { request_id: fresh(), promise_token: released.clone() };
    promises.release_promise(release).await.expect("released");
    let held = promises.hold_promise(request).await.expect("held").into_inner();
    let held = held.promise.unwrap_or_default().promise_token;
    let with = |mut order: Place| {
        token(&mut order, &held);
        order
    };
    let other = with(order_at(NODE, &[("TEA", 1, 100), ("CUP", 3, 250)]));
    is_refused("other lines", ORDERS, Fields(&["promise_token"]), web.try_place(other).await);
    let fewer = with(order_at(NODE, &[("TEA", 1, 100)]));
    is_refused("fewer lines", ORDERS, Fields(&["promise_token"]), web.try_place(fewer).await);
    let mut over = order_at(NODE, &[("TEA", 1, 100), ("CUP", 2, 250)]);
    token(&mut over, &released);
    let said = No(Code::FailedPrecondition, "PROMISE_NOT_LIVE");
    let over = is_refused("a released one", ORDERS, said, web.try_place(over).await);
    assert_eq!(over.message(), "the promise has ended (released); hold a new one");
    web.place(with(good_order())).await;
    world.settle().await;
    let again = with(order_at(NODE, &[("TEA", 1, 100), ("CUP", 2, 250)]));
    let said = No(Code::FailedPrecondition, "PROMISE_TAKEN");
    is_refused("a second order", ORDERS, said, web.try_place(again).await);
    world.settle().await;
    assert_eq!(Census::of(&ops).await.orders.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_one_request_however_it_is_written_and_refuses_another_body() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let first = web.place(good_order()).await;
    let order = good_order();
    let same = Place {
        request_id: order.request_id.to_uppercase(),
        channel_order_id: first.channel_order_id.clone(),
        ..order
    };
    assert_eq!(web.place(same.clone()).await.order_id, first.order_id);
    let mut other = same;
    other.customer_ref = "somebody else".to_owned();
    let said = No(Code::InvalidArgument, "REQUEST_ID_REUSED");
    is_refused("another body", ORDERS, said, web.try_place(other.clone()).await);
    other.request_id = NOBODY.to_owned();
    let said = No(Code::AlreadyExists, "CHANNEL_ORDER_ID_TAKEN");
    is_refused("another request with the number", ORDERS, said, web.try_place(other).await);
    assert_eq!(Census::of(&ops).await.orders.len(), 1);
    world.stop().await;
}
