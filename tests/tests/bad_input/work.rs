//! The store's work with every bad value: ids, reasons, units, codes.

use contract::fulfillment::v1 as ful;
use contract::google::r#type::Money;
use flows::world::NODE;
use tonic::{Code, Status};

use super::Said::{Fields, No};
use super::{Census, FULFILLMENT, REQUEST_ID, Row, good_order, nobody, refused, refused_only, shop};

const REJECT: &[Row<ful::RejectWorkRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no work", |r| r.fulfillment_id.clear(), Fields(&["fulfillment_id"])),
    ("no reason", |r| r.reason = 0, Fields(&["reason"])),
    ("reason that nobody knows", |r| r.reason = 99, Fields(&["reason"])),
    ("note of 501", |r| r.note = "n".repeat(501), Fields(&["note"])),
    ("note with NUL", |r| r.note = "\0".to_owned(), Fields(&["note"])),
];

const PICK: &[Row<ful::PickLinesRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("order for work", |r| r.fulfillment_id = nobody("ord_"), Fields(&["fulfillment_id"])),
    ("no lines", |r| r.lines.clear(), Fields(&["lines"])),
    ("1,001 lines", |r| r.lines = (1..=1_001).map(|line| pick(line, 1, 0)).collect(), Fields(&["lines"])),
    ("line twice", |r| r.lines.push(r.lines[0].clone()), Fields(&["lines[1].line"])),
    ("line 0", |r| r.lines[0].line = 0, No(Code::FailedPrecondition, "UNKNOWN_LINE")),
    ("line that is not there", |r| r.lines[0].line = 9, No(Code::FailedPrecondition, "UNKNOWN_LINE")),
    ("nothing", |r| r.lines[0] = pick(2, 0, 0), Fields(&["lines[0].picked"])),
    ("minus one picked", |r| r.lines[0] = pick(2, -1, 1), Fields(&["lines[0].picked"])),
    ("minus one short", |r| r.lines[0] = pick(2, 1, -1), Fields(&["lines[0].short"])),
    (
        "least of both",
        |r| r.lines[0] = pick(2, i64::MIN, i64::MIN),
        Fields(&["lines[0].picked", "lines[0].short"]),
    ),
    (
        "greatest of both",
        |r| r.lines[0] = pick(2, i64::MAX, i64::MAX),
        No(Code::FailedPrecondition, "TOO_MANY_UNITS"),
    ),
    ("more than asked", |r| r.lines[0] = pick(2, 2, 1), No(Code::FailedPrecondition, "TOO_MANY_UNITS")),
    ("short without a reason", |r| reason(r, 0), Fields(&["lines[0].short_reason"])),
    ("short for a reason that nobody knows", |r| reason(r, 99), Fields(&["lines[0].short_reason"])),
    ("a part though nothing is short", |r| r.lines[0].sku = "TEA".to_owned(), Fields(&["lines[0].sku"])),
    ("a part that is no SKU", |r| part(r, "\u{7}"), Fields(&["lines[0].sku"])),
    ("a part of something else", |r| part(r, "SOMETHING-ELSE"), Fields(&["lines[0].sku"])),
];

fn pick(line: u32, picked: i64, short: i64) -> ful::PickLine {
    ful::PickLine { line, picked, short, short_reason: i32::from(short > 0), sku: String::new() }
}

fn reason(request: &mut ful::PickLinesRequest, reason: i32) {
    request.lines[0] = ful::PickLine { short_reason: reason, ..pick(2, 1, 1) };
}

fn part(request: &mut ful::PickLinesRequest, sku: &str) {
    request.lines[0] = ful::PickLine { sku: sku.to_owned(), ..pick(2, 1, 1) };
}

const PAYMENT: &[&str] = &["payment.kind", "payment.amount", "payment.provider_ref"];

fn pay(request: &mut ful::HandOverRequest, kind: &str, provider_ref: &str, amount: impl Into<Option<Money>>) {
    let (kind, provider_ref) = (kind.to_owned(), provider_ref.to_owned());
    request.payment = Some(ful::HandOverPayment { kind, amount: amount.into(), provider_ref });
}

fn money(currency_code: &str, units: i64, nanos: i32) -> Money {
    Money { currency_code: currency_code.to_owned(), units, nanos }
}

fn pounds(units: i64) -> Money {
    money("GBP", units, 0)
}

const HAND_OVER: &[Row<ful::HandOverRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no work", |r| r.fulfillment_id.clear(), Fields(&["fulfillment_id"])),
    ("no code", |r| r.code.clear(), Fields(&["code"])),
    ("code of seven", |r| r.code = "0000000".to_owned(), Fields(&["code"])),
    ("code of 33", |r| r.code = "0".repeat(33), Fields(&["code"])),
    ("code of 100 kB", |r| r.code = "-".repeat(100_000), Fields(&["code"])),
    ("code in full width", |r| r.code = "００００００００".to_owned(), Fields(&["code"])),
    ("code of other digits", |r| r.code = "٠٠٠٠٠٠٠٠".to_owned(), Fields(&["code"])),
    ("code of pictures", |r| r.code = "🛒".repeat(8), Fields(&["code"])),
    ("code with NUL", |r| r.code = "0000\u{0}0000".to_owned(), Fields(&["code"])),
    ("nobody collects", |r| r.collector = 0, Fields(&["collector"])),
    ("a collector that nobody knows", |r| r.collector = 99, Fields(&["collector"])),
    ("collector of 65", |r| r.collector_ref = "c".repeat(65), Fields(&["collector_ref"])),
    ("payment of nothing", |r| pay(r, "", "till-1", None), Fields(&["payment.kind", "payment.amount"])),
    ("payment in words", |r| pay(r, "Cash!", "", pounds(0)), Fields(PAYMENT)),
    ("kind of 33", |r| pay(r, &"k".repeat(33), "till-1", pounds(1)), Fields(&["payment.kind"])),
    ("reference of 129", |r| pay(r, "cash", &"r".repeat(129), pounds(1)), Fields(&["payment.provider_ref"])),
    ("payment below 0", |r| pay(r, "cash", "till-1", pounds(-1)), Fields(&["payment.amount"])),
    ("half a penny", |r| pay(r, "cash", "till-1", money("GBP", 1, 5_000_000)), Fields(&["payment.amount"])),
    ("two signs", |r| pay(r, "cash", "till-1", money("GBP", 1, -10_000_000)), Fields(&["payment.amount"])),
    ("more money than there is", |r| pay(r, "cash", "till-1", pounds(i64::MAX)), Fields(&["payment.amount"])),
    (
        "payment in no currency",
        |r| pay(r, "cash", "till-1", money("", 1, 0)),
        Fields(&["payment.amount.currency_code"]),
    ),
    (
        "payment where nothing is due",
        |r| pay(r, "cash", "till-1", pounds(1)),
        No(Code::FailedPrecondition, "AMOUNT_DIFFERS"),
    ),
    ("line twice", |r| r.lines.push(r.lines[0]), Fields(&["lines[1].line"])),
    ("nothing of it", |r| r.lines[0].quantity = 0, Fields(&["lines[0].quantity"])),
    ("least quantity", |r| r.lines[0].quantity = i64::MIN, Fields(&["lines[0].quantity"])),
    ("greatest quantity", |r| r.lines[0].quantity = i64::MAX, No(Code::FailedPrecondition, "TOO_MANY_UNITS")),
    ("line that is not there", |r| r.lines[0].line = 9, No(Code::FailedPrecondition, "UNKNOWN_LINE")),
    (
        "1,001 lines",
        |r| r.lines = (1..=1_001).map(|line| ful::HandOverLine { line, quantity: 1 }).collect(),
        Fields(&["lines"]),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_reports_of_a_store_are_refused_and_the_work_stays_as_it_was() {
    let (world, ops) = shop().await;
    let (web, store) = (world.clients("channel/web"), world.clients("store/sha-01"));
    let order_id = web.place(good_order()).await.order_id;
    let id = web.work_of(&order_id).await.fulfillment_id;
    world.settle().await;
    let work = &store.clients.work;
    let (request_id, fulfillment_id) = (REQUEST_ID.to_owned(), id.clone());

    let before = Census::of(&ops).await;
    let no = ful::RejectWorkRequest { request_id, fulfillment_id, reason: 3, ..Default::default() };
    refused_only(FULFILLMENT, &no, REJECT, &async |request| work.clone().reject_work(request).await).await;
    assert_eq!(Census::of(&ops).await, before);

    store.accept(&id).await.expect("accepted");
    store.start(&id).await.expect("started");
    world.settle().await;
    let before = Census::of(&ops).await;
    let report = ful::PickLinesRequest {
        request_id: REQUEST_ID.to_owned(),
        fulfillment_id: id.clone(),
        lines: vec![pick(2, 2, 0)],
    };
    let report_to = async |request| work.clone().pick_lines(request).await;
    refused_only(FULFILLMENT, &report, PICK, &report_to).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(FULFILLMENT, report, &[], report_to).await;
    store.pick(&id, &[(1, 1, 0)]).await.expect("picked");
    store.ready(&id).await.expect("made ready");

    let code = web.code(&order_id).await;
    world.settle().await;
    let before = Census::of(&ops).await;
    let handed = ful::HandOverRequest {
        request_id: REQUEST_ID.to_owned(),
        fulfillment_id: id,
        code: code.clone(),
        lines: vec![ful::HandOverLine { line: 2, quantity: 1 }],
        collector: ful::CollectorKind::Buyer.into(),
        collector_ref: String::new(),
        payment: None,
    };
    let hand_over = async |request| work.clone().hand_over(request).await;
    refused_only(FULFILLMENT, &handed, HAND_OVER, &hand_over).await;
    assert_eq!(Census::of(&ops).await, before);

    // As people type it: lower case, spaces for hyphens.
    let typed = ful::HandOverRequest { code: code.to_lowercase().replace('-', " "), ..handed };
    let done = refused(FULFILLMENT, typed, &[], hand_over).await.into_inner();
    let done = done.fulfillment_order.unwrap_or_default();
    assert_eq!(done.state(), ful::FulfillmentState::PartlyCollected);
    world.settle().await;
    ops.audit().await;
    world.stop().await;
}

type Work = ful::work_service_client::WorkServiceClient<entrepot::clients::Caller>;

/// The verbs that need no more than the fulfillment order.
async fn verb(work: &Work, name: &str, request_id: String, fulfillment_id: String) -> Result<(), Status> {
    let mut work = work.clone();
    match name {
        "accept" => work.accept_work(ful::AcceptWorkRequest { request_id, fulfillment_id }).await.map(drop),
        "start" => {
            work.start_picking(ful::StartPickingRequest { request_id, fulfillment_id }).await.map(drop)
        }
        "ready" => work.mark_ready(ful::MarkReadyRequest { request_id, fulfillment_id }).await.map(drop),
        _ => work.confirm_put_back(ful::ConfirmPutBackRequest { request_id, fulfillment_id }).await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_on_work_name_the_bad_id() {
    let (world, _) = shop().await;
    let store = world.clients("store/sha-01");
    let work = &store.clients.work;
    for name in ["accept", "start", "ready", "put back"] {
        let rows: &[Row<(String, String)>] = &[
            ("no request id", |r| r.0.clear(), Fields(&["request_id"])),
            ("request id in braces", |r| r.0 = format!("{{{REQUEST_ID}}}"), Fields(&["request_id"])),
            ("no work", |r| r.1.clear(), Fields(&["fulfillment_id"])),
            ("an order for work", |r| r.1 = nobody("ord_"), Fields(&["fulfillment_id"])),
            ("work in upper case", |r| r.1 = r.1.to_uppercase(), Fields(&["fulfillment_id"])),
            (
                "nothing at all",
                |r| *r = (String::new(), String::new()),
                Fields(&["request_id", "fulfillment_id"]),
            ),
            ("nobody", |_| (), No(Code::NotFound, "FULFILLMENT_NOT_FOUND")),
        ];
        let good = (REQUEST_ID.to_owned(), nobody("ful_"));
        refused_only(FULFILLMENT, &good, rows, &async |(request_id, id)| {
            verb(work, name, request_id, id).await
        })
        .await;
    }
    let mut web = world.clients("channel/web").clients.work;
    for (what, request_id, fulfillment_id, said) in [
        ("no request id", "", nobody("ful_"), Fields(&["request_id"])),
        ("an order for work", REQUEST_ID, nobody("ord_"), Fields(&["fulfillment_id"])),
        ("nobody", REQUEST_ID, nobody("ful_"), No(Code::NotFound, "FULFILLMENT_NOT_FOUND")),
    ] {
        let request = ful::IssuePickupCodeRequest { request_id: request_id.to_owned(), fulfillment_id };
        super::is_refused(what, FULFILLMENT, said, web.issue_pickup_code(request).await);
    }
    for (what, node_id, code, said) in [
        ("no node", "", "00000000", Fields(&["node_id"])),
        ("no code", NODE, "", Fields(&["code"])),
        ("code in full width", NODE, "００００００００", Fields(&["code"])),
        ("code of SQL", NODE, "' OR 1=1 --", Fields(&["code"])),
        ("code of nobody", NODE, "0000-0000", No(Code::NotFound, "PICKUP_CODE_NOT_FOUND")),
        ("another store's", "sha-02", "0000-0000", No(Code::NotFound, "PICKUP_CODE_NOT_FOUND")),
    ] {
        let request = ful::FindByPickupCodeRequest { node_id: node_id.to_owned(), code: code.to_owned() };
        super::is_refused(what, FULFILLMENT, said, work.clone().find_by_pickup_code(request).await);
    }
    world.stop().await;
}
