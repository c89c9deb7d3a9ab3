//! The table of bad input: every entry is refused by its field, nothing is held, nothing is written.

use contract::orders::v1 as pb;
use contract::r#type::v1::{LineQuantity, Method};
use domain::id::OrderId;
use pb::TenderState;
use test_world::{fields, fresh, reason, v7};
use tonic::Code;

use crate::world::{World, gbp, group, line, money, request, tender, worlds};

type Change = fn(&mut pb::PlaceOrderRequest);
type PaymentChange = fn(&mut pb::PayOrderRequest);

const PROMOTION_IDS: [&str; 3] = [
    "lines[1].promotions[0].promotion_id",
    "lines[1].promotions[1].promotion_id",
    "lines[1].promotions[2].promotion_id",
];

/// Takes 20 off the second line, of which these promotions take so much.
fn promote(request: &mut pb::PlaceOrderRequest, promotions: &[(&str, i64)]) {
    let promotion =
        |(id, amount): &(&str, i64)| pb::Promotion { promotion_id: (*id).to_owned(), amount: gbp(*amount) };
    request.lines[1].discount = gbp(20);
    request.lines[1].promotions = promotions.iter().map(promotion).collect();
    (request.total, request.tenders[0].amount) = (gbp(740), gbp(740));
}

/// What is changed in a good request, and the fields that are then refused.
const TABLE: &[(Change, &[&str])] = &[
    // Quantities.
    (|r| r.lines[0].quantity = 0, &["lines[0].quantity"]),
    (|r| r.lines[0].quantity = -1, &["lines[0].quantity"]),
    (|r| r.lines[0].quantity = i64::MAX, &["lines[0].quantity"]),
    (|r| r.lines[0].quantity = i64::MIN, &["lines[0].quantity"]),
    (|r| r.lines[0].quantity = 1_000_001, &["lines[0].quantity"]),
    // Money.
    (|r| r.lines[0].unit_price = money("GBP", i64::MAX / 100, 0), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("GBP", i64::MAX, 0), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("GBP", -1, 0), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("GBP", 1, 5_000_000), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("GBP", 1, -10_000_000), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("GBP", 1, 1_000_000_000), &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = None, &["lines[0].unit_price"]),
    (|r| r.lines[0].unit_price = money("EUR", 1, 0), &["lines[0].unit_price.currency_code"]),
    (|r| r.lines[1].discount = money("EUR", 0, 0), &["lines[1].discount.currency_code"]),
    (|r| r.lines[1].discount = gbp(111), &["lines[1].discount"]),
    (|r| r.lines[1].discount = gbp(-1), &["lines[1].discount"]),
    (|r| r.lines[1].tax = gbp(-1), &["lines[1].tax"]),
    (|r| r.lines[1].tax = gbp(111), &["lines[1].tax"]),
    (|r| r.charges[0].amount = gbp(-1), &["charges[0].amount"]),
    (|r| r.charges[0].amount = None, &["charges[0].amount"]),
    (|r| r.total = None, &["total"]),
    (|r| r.total = gbp(761), &["total", "tenders"]),
    (|r| r.total = money("gbp", 7, 600_000_000), &["total.currency_code"]),
    (|r| r.total = money("XXX", 7, 600_000_000), &["total.currency_code"]),
    (|r| r.tenders[0].amount = gbp(0), &["tenders[0].amount"]),
    (|r| r.tenders[0].amount = gbp(759), &["tenders"]),
    (|r| r.tenders.clear(), &["tenders"]),
    (|r| r.tenders = vec![tender("t", 380, TenderState::Due); 2], &["tenders[1].tender_id"]),
    (|r| r.tenders = vec![tender("t", 1, TenderState::Due); 11], &["tenders"]),
    (|r| r.tenders[0].set_state(TenderState::Voided), &["tenders[0].state"]),
    (|r| r.tenders[0].tender_id.clear(), &["tenders[0].tender_id"]),
    (|r| r.tenders[0].tender_id = "handover-1-2".to_owned(), &["tenders[0].tender_id"]),
    (|r| r.tenders[0].kind = "x".repeat(33), &["tenders[0].kind"]),
    (|r| r.tenders[0].provider_ref = "x".repeat(129), &["tenders[0].provider_ref"]),
    // Charges and promotions.
    (|r| r.charges[0].return_rule = 9, &["charges[0].return_rule"]),
    (
        |r| {
            r.set_payment_terms(pb::PaymentTerms::PayAtHandover);
            r.charges[0].set_return_rule(pb::ReturnRule::WithLastPiece);
        },
        &["charges[0].return_rule"],
    ),
    (|r| promote(r, &[("a,b", 1), ("", 1), ("a:1", 1)]), &PROMOTION_IDS),
    (|r| promote(r, &[("a", 1), ("a", 1)]), &["lines[1].promotions[1].promotion_id"]),
    (|r| promote(r, &[("a", 0)]), &["lines[1].promotions[0].amount"]),
    (|r| promote(r, &[("a", 9), ("b", 12)]), &["lines[1].promotions"]),
    (|r| promote(r, &[("a", 1); 21]), &["lines[1].promotions"]),
    // The sum of two lines that fit each by itself.
    (
        |r| {
            for line in &mut r.lines {
                (line.quantity, line.unit_price) = (1, money("GBP", 9_000_000_000_000, 0));
            }
        },
        &["lines"],
    ),
    // Lists.
    (|r| r.lines.clear(), &["lines"]),
    (|r| r.lines = vec![line("a", 1, 1); 1_001], &["lines"]),
    (|r| r.charges = vec![r.charges[0].clone(); 21], &["charges"]),
    // Texts.
    (|r| r.lines[0].sku.clear(), &["lines[0].sku"]),
    (|r| r.lines[0].sku = "a\0b".into(), &["lines[0].sku"]),
    (|r| r.lines[0].sku = "\u{202E}a".into(), &["lines[0].sku"]),
    (|r| r.lines[0].sku = "a\u{200B}".into(), &["lines[0].sku"]),
    (|r| r.lines[0].sku = " a".into(), &["lines[0].sku"]),
    (|r| r.lines[0].sku = "x".repeat(65), &["lines[0].sku"]),
    (|r| r.lines[0].name = "x".repeat(201), &["lines[0].name"]),
    (|r| r.lines[0].name = "a\r\nb".into(), &["lines[0].name"]),
    (|r| r.channel = "Web".into(), &["channel"]),
    (|r| r.channel.clear(), &["channel"]),
    (|r| r.channel = "x".repeat(33), &["channel"]),
    (|r| r.channel_order_id.clear(), &["channel_order_id"]),
    (|r| r.channel_order_id = "1\0".into(), &["channel_order_id"]),
    (|r| r.channel_order_id = "1".repeat(65), &["channel_order_id"]),
    (|r| r.customer_ref = "\u{2066}c".into(), &["customer_ref"]),
    (|r| r.charges[0].code = String::new(), &["charges[0].code"]),
    (|r| r.charges[0].description = "\u{7}".into(), &["charges[0].description"]),
    // Ids, enums, oneofs.
    (|r| r.request_id.clear(), &["request_id"]),
    (|r| r.request_id = "00000000-0000-0000-0000-000000000000".into(), &["request_id"]),
    (|r| r.request_id = "{0190e0a2-5b1c-7000-8000-000000000000}".into(), &["request_id"]),
    (|r| r.set_payment_terms(pb::PaymentTerms::Unspecified), &["payment_terms"]),
    (|r| r.payment_terms = 99, &["payment_terms"]),
    (|r| r.groups.clear(), &["groups"]),
    (|r| r.groups = vec![r.groups[0].clone(); 21], &["groups"]),
    (|r| r.promise_token = "0190e0a2-5b1c-7000-8000-000000000000".to_owned(), &["promise_token"]),
    (|r| r.promise_token = "ord_0190e0a2-5b1c-7000-8000-000000000000".to_owned(), &["promise_token"]),
    (|r| r.groups[0] = group(Method::Unspecified.into(), "s"), &["groups[0].method"]),
    (|r| r.groups[0] = group(Method::Express.into(), "s"), &["groups[0].method"]),
    (|r| r.groups[0] = group(Method::Pickup.into(), ""), &["groups[0].node_id"]),
    (|r| r.groups[0] = group(Method::Pickup.into(), "s\u{200D}"), &["groups[0].node_id"]),
    // Everything at once.
    (
        |r| {
            r.request_id = "x".into();
            r.channel = "?".into();
            r.lines[0].sku.clear();
            r.lines[0].quantity = 0;
            r.lines[1].discount = gbp(500);
            r.lines[1].tax = money("JPY", 1, 1);
            r.tenders[0].set_state(TenderState::Failed);
            r.groups.clear();
        },
        &[
            "request_id",
            "channel",
            "lines[0].sku",
            "lines[0].quantity",
            "lines[1].tax.currency_code",
            "tenders[0].state",
            "groups",
        ],
    ),
];

fn good() -> pb::PlaceOrderRequest {
    request("1", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Due)
}

#[tokio::test]
async fn every_bad_field_of_an_order_is_named_and_nothing_is_done() {
    for world in worlds().await {
        for (nth, (change, expected)) in TABLE.iter().enumerate() {
            let mut request = good();
            change(&mut request);
            let refused = world.try_place(request).await.expect_err("it should be refused");
            assert_eq!(refused.code(), Code::InvalidArgument, "entry {nth}");
            assert_eq!(fields(&refused), *expected, "entry {nth}: {refused:?}");
        }
        assert_eq!(world.fake.made(), 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 0);
        world.try_place(good()).await.expect("the request that the table changes is good");
    }
}

#[tokio::test]
async fn a_thousand_bad_lines_are_not_all_told() {
    let world = worlds().await.remove(0);
    let mut request = good();
    request.lines = vec![line("", 0, -1); 1_000];
    let refused = world.try_place(request).await.unwrap_err();
    assert!((10..200).contains(&fields(&refused).len()));
    assert_eq!(fields(&refused).last().unwrap(), "..");
}

#[tokio::test]
async fn texts_that_mean_something_elsewhere_are_only_texts_here() {
    for world in worlds().await {
        let odd = [
            "'; DROP TABLE orders; --",
            "=1+1",
            "../../etc",
            "${jndi:ldap://x}",
            "<b>",
            "\u{1F600}",
            "{rows}",
        ];
        for (nth, text) in odd.into_iter().enumerate() {
            let mut request = request(&nth.to_string(), vec![line(text, 1, 100)], TenderState::Due);
            request.customer_ref = text.to_owned();
            let order = world.try_place(request).await.unwrap();
            assert_eq!(world.get(&order).await.lines[0].sku, text);
        }
    }
}

#[tokio::test]
async fn bad_payments_are_named_by_field() {
    let world = worlds().await.remove(0);
    let order = world.unpaid().await;
    let good = pb::PayOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        tender_id: "t1".to_owned(),
        state: TenderState::Captured.into(),
        amount: gbp(760),
        provider_ref: String::new(),
    };
    let table: &[(PaymentChange, &str)] = &[
        (|r| r.request_id.clear(), "request_id"),
        (|r| r.order_id = r.order_id.to_uppercase(), "order_id"),
        (|r| r.order_id.clear(), "order_id"),
        (|r| r.tender_id.clear(), "tender_id"),
        (|r| r.set_state(TenderState::Due), "state"),
        (|r| r.state = 77, "state"),
        (|r| r.amount = None, "amount"),
        (|r| r.amount = money("EUR", 7, 600_000_000), "amount.currency_code"),
        (|r| r.amount = money("GBP", 7, 1), "amount"),
        (|r| r.provider_ref = "x".repeat(129), "provider_ref"),
    ];
    for (change, field) in table {
        let mut request = good.clone();
        change(&mut request);
        let refused = world.client.clone().pay_order(request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![(*field).to_owned()]));
    }
}

#[tokio::test]
async fn every_bad_field_about_money_is_named_at_once() {
    let world = worlds().await.remove(0);
    let order = world.unpaid().await;
    let order_id = order.order_id;
    let mut client = world.client.clone();
    let mut add = pb::AddTenderRequest {
        request_id: "x".to_owned(),
        order_id: "ord_".to_owned(),
        tender: Some(pb::Tender {
            tender_id: String::new(),
            kind: "x".repeat(33),
            amount: money("XXX", 1, 0),
            ..tender("t", 1, TenderState::Failed)
        }),
    };
    let named = fields(&client.add_tender(add.clone()).await.unwrap_err());
    let expected = ["tender.tender_id", "tender.kind", "tender.amount.currency_code", "tender.state"];
    assert_eq!(named, [&["request_id", "order_id"][..], &expected].concat());
    (add.request_id, add.order_id) = (fresh(), order_id.clone());
    add.tender = Some(tender("t2", 0, TenderState::Due));
    assert_eq!(fields(&client.add_tender(add.clone()).await.unwrap_err()), ["tender.amount"]);
    add.tender = Some(tender("handover-1-2", 100, TenderState::Due));
    let ours = client.add_tender(add.clone()).await.unwrap_err();
    assert_eq!(fields(&ours), ["tender.tender_id"]);
    add.tender = None;
    assert_eq!(fields(&client.add_tender(add).await.unwrap_err()), ["tender"]);

    let claim = |line, piece, amount| pb::PriceClaim { line, piece, amount };
    let mut claims = pb::ClaimRefundRequest {
        request_id: fresh(),
        order_id: order_id.clone(),
        claims: vec![claim(0, 0, gbp(0)), claim(1, 1, money("EUR", 1, 0)), claim(1, 1, None)],
        reason: "why not".to_owned(),
    };
    let named = fields(&client.claim_refund(claims.clone()).await.unwrap_err());
    let expected = [
        "reason",
        "claims[0].amount",
        "claims[0].line",
        "claims[0].piece",
        "claims[1].amount.currency_code",
        "claims[2].amount",
        "claims[2].piece",
    ];
    assert_eq!(named, expected);
    claims.reason = "GOODWILL".to_owned();
    for count in [0, 101] {
        claims.claims = (1..=count).map(|piece| claim(1, piece, gbp(1))).collect();
        assert_eq!(fields(&client.claim_refund(claims.clone()).await.unwrap_err()), ["claims"]);
    }

    claims.claims = vec![claim(1, 1, gbp(1)), claim(1, 4, gbp(1))];
    let piece = client.claim_refund(claims.clone()).await.unwrap_err();
    assert_eq!(fields(&piece), ["claims[1].piece"]);
}

#[tokio::test]
async fn every_bad_field_of_a_refund_is_named_at_once() {
    let world = worlds().await.remove(0);
    let order = world.unpaid().await;
    let (order_id, refund_id) = (order.order_id.clone(), format!("rfd_{}", v7()));
    let mut client = world.client.clone();
    let report = pb::ReportRefundRequest {
        request_id: fresh(),
        order_id: order_id.clone(),
        refund_id: "rfd_".to_owned(),
        tender_id: String::new(),
        state: pb::RefundState::Pending.into(),
        report_ref: "x".repeat(129),
        attempt: 0,
        provider_ref: Some("x".repeat(129)),
    };
    let named = fields(&client.report_refund(report).await.unwrap_err());
    assert_eq!(named, ["refund_id", "tender_id", "provider_ref", "attempt", "report_ref", "state"]);

    let redirect = pb::RedirectRefundRequest {
        request_id: fresh(),
        order_id,
        refund_id,
        tender_id: "t1".to_owned(),
        ..Default::default()
    };
    let ours = pb::RedirectRefundRequest {
        to_tender_id: "handover-1-2".to_owned(),
        to_kind: "bank".to_owned(),
        to_ref: "account".to_owned(),
        consent_ref: "c-1".to_owned(),
        ..redirect.clone()
    };
    assert_eq!(fields(&client.redirect_refund(ours).await.unwrap_err()), ["to_tender_id"]);
    let named = fields(&client.redirect_refund(redirect).await.unwrap_err());
    assert_eq!(named, ["to_tender_id", "to_kind", "to_ref", "consent_ref"]);
}

#[tokio::test]
async fn no_method_and_an_unknown_one_have_different_errors() {
    let world = worlds().await.remove(0);
    for (method, why) in
        [(0, "is required"), (99, "99 is not a known Method; the known values are METHOD_PICKUP (1), ")]
    {
        let mut order = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        order.groups = vec![group(method, "store-1")];
        let refused = world.try_place(order).await.unwrap_err();
        let text = refused.message();
        assert!(text.starts_with(&format!("groups[0].method: {why}")), "{text}");
    }
}

#[tokio::test]
async fn bad_cancels_are_named_by_field() {
    let world = worlds().await.remove(0);
    let order = world.unpaid().await;
    let quantity = |line, quantity| LineQuantity { line, quantity };
    let good = pb::CancelOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        lines: vec![quantity(1, 1)],
        reason: "TEST".to_owned(),
    };
    let refused = |change: fn(&mut pb::CancelOrderRequest)| {
        let mut request = good.clone();
        change(&mut request);
        let mut client = world.client.clone();
        async move { fields(&client.cancel_order(request).await.unwrap_err()) }
    };
    assert_eq!(refused(|r| r.request_id = "1".to_owned()).await, ["request_id"]);
    assert_eq!(refused(|r| r.order_id = "ord_".to_owned()).await, ["order_id"]);
    assert_eq!(refused(|r| r.reason = "changed mind".to_owned()).await, ["reason"]);
    assert_eq!(refused(|r| r.reason = "X".repeat(64)).await, ["reason"]);
    assert_eq!(refused(|r| r.lines[0].quantity = 0).await, ["lines[0].quantity"]);
    assert_eq!(refused(|r| r.lines[0].quantity = i64::MIN).await, ["lines[0].quantity"]);
    assert_eq!(refused(|r| r.lines[0].line = 0).await, ["lines[0].line"]);
    assert_eq!(refused(|r| r.lines.push(r.lines[0])).await, ["lines[1].line"]);
    assert_eq!(refused(|r| r.lines = vec![r.lines[0]; 1_001]).await, ["lines"]);
}

async fn list(world: &World, change: fn(&mut pb::ListOrdersRequest)) -> Vec<String> {
    let mut request =
        pb::ListOrdersRequest { filter: Some(pb::OrderFilter::default()), ..Default::default() };
    change(&mut request);
    fields(&world.client.clone().list_orders(request).await.unwrap_err())
}

#[tokio::test]
async fn bad_questions_are_named_by_field() {
    let world = worlds().await.remove(0);
    assert_eq!(list(&world, |r| r.page_size = -1).await, ["page_size"]);
    assert_eq!(list(&world, |r| r.page_token = "abc".to_owned()).await, ["page_token"]);
    assert_eq!(list(&world, |r| r.page_token = "é".repeat(32)).await, ["page_token"]);
    assert_eq!(list(&world, |r| r.page_token = "0".repeat(64)).await, ["page_token"]);
    assert_eq!(
        list(&world, |r| r.filter.as_mut().unwrap().statuses = vec![99]).await,
        ["filter.statuses[0]"]
    );
    assert_eq!(list(&world, |r| r.filter.as_mut().unwrap().statuses = vec![0]).await, ["filter.statuses[0]"]);
    assert_eq!(
        list(&world, |r| r.filter.as_mut().unwrap().statuses = vec![1; 33]).await,
        ["filter.statuses"]
    );
    assert_eq!(
        list(&world, |r| r.filter.as_mut().unwrap().channel = "?".to_owned()).await,
        ["filter.channel"]
    );
    assert_eq!(
        list(&world, |r| r.filter.as_mut().unwrap().node_id = "\0".to_owned()).await,
        ["filter.node_id"]
    );
    assert_eq!(
        list(&world, |r| {
            let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
            let filter = r.filter.as_mut().unwrap();
            filter.placed_from_time = time(0, -1);
            filter.placed_before_time = time(i64::MAX, 0);
        })
        .await,
        ["filter.placed_from_time", "filter.placed_before_time"]
    );
    let missing = pb::GetOrderRequest { order_id: OrderId::new(v7()).to_string() };
    let refused = world.client.clone().get_order(missing.clone()).await.unwrap_err();
    assert_eq!(server::status::facts(&refused)["order_id"], missing.order_id);
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "ORDER_NOT_FOUND"));
}

#[tokio::test]
async fn an_unknown_value_of_an_enum_is_said_to_be_unknown() {
    let world = worlds().await.remove(0);
    let mut order = request("1", vec![line("a", 1, 100)], TenderState::Captured);
    order.payment_terms = 77;
    order.tenders[0].state = 78;
    let refused = world.try_place(order).await.unwrap_err();
    let said = |refused| -> Vec<String> {
        let bad = server::status::violations(refused).into_iter();
        bad.map(|bad| format!("{}: {}", bad.field, bad.description.split(';').next().unwrap_or_default()))
            .collect()
    };
    let unknown =
        ["payment_terms: 77 is not a known PaymentTerms", "tenders[0].state: 78 is not a known TenderState"];
    assert_eq!(said(&refused), unknown);
    let filter = pb::OrderFilter { statuses: vec![79], ..Default::default() };
    let listing = pb::ListOrdersRequest { filter: Some(filter), ..Default::default() };
    let refused = world.client.clone().list_orders(listing).await.unwrap_err();
    assert_eq!(said(&refused), ["filter.statuses[0]: 79 is not a known OrderStatus"]);
}
