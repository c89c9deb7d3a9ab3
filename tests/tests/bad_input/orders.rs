//! `PayOrder`, `CancelOrder`, `ListOptions` and `ChooseOption` with every bad value.

use contract::orders::v1 as ord;
use contract::r#type::v1::LineQuantity;
use entrepot::clients::money;
use flows::people::unpaid;
use flows::world::fresh;
use tonic::Code;

use super::Said::{Fields, No};
use super::{Census, ORDERS, REQUEST_ID, Row, good_order, nobody, refused, refused_only, shop};

const PAY: &[Row<ord::PayOrderRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
    ("order of another kind", |r| r.order_id = nobody("ful_"), Fields(&["order_id"])),
    ("order without its prefix", |r| r.order_id = r.order_id[4..].to_owned(), Fields(&["order_id"])),
    ("order in upper case", |r| r.order_id = r.order_id.to_uppercase(), Fields(&["order_id"])),
    (
        "order with its prefix in upper case",
        |r| r.order_id = r.order_id.replace("ord", "ORD"),
        Fields(&["order_id"]),
    ),
    ("order without hyphens", |r| r.order_id = r.order_id.replace('-', ""), Fields(&["order_id"])),
    ("order in braces", |r| r.order_id = format!("ord_{{{}}}", &r.order_id[4..]), Fields(&["order_id"])),
    ("order and a newline", |r| r.order_id.push('\n'), Fields(&["order_id"])),
    ("order that is SQL", |r| r.order_id = "ord_' OR 1=1 --".to_owned(), Fields(&["order_id"])),
    ("order of nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
    (
        "nil order",
        |r| r.order_id = "ord_00000000-0000-0000-0000-000000000000".to_owned(),
        No(Code::NotFound, "ORDER_NOT_FOUND"),
    ),
    ("no tender", |r| r.tender_id.clear(), Fields(&["tender_id"])),
    ("tender of 65", |r| r.tender_id = "t".repeat(65), Fields(&["tender_id"])),
    ("tender of another order", |r| r.tender_id = "cash".to_owned(), Fields(&["tender_id"])),
    ("no state", |r| r.state = 0, Fields(&["state"])),
    ("due again", |r| r.state = 1, Fields(&["state"])),
    ("state that nobody knows", |r| r.state = 99, Fields(&["state"])),
    ("no amount", |r| r.amount = None, Fields(&["amount"])),
    ("amount without currency", |r| r.amount = Some(money(600, "")), Fields(&["amount.currency_code"])),
    ("amount in another currency", |r| r.amount = Some(money(600, "EUR")), Fields(&["amount.currency_code"])),
    ("amount finer than a cent", |r| nanos(r, 1), Fields(&["amount"])),
    ("amount of mixed signs", |r| nanos(r, -1), Fields(&["amount"])),
    ("nanos out of range", |r| nanos(r, i32::MAX), Fields(&["amount"])),
    ("too little", |r| r.amount = Some(money(599, "USD")), No(Code::FailedPrecondition, "AMOUNT_DIFFERS")),
    (
        "too much",
        |r| r.amount = Some(money(i64::MAX / 100 * 100, "USD")),
        No(Code::FailedPrecondition, "AMOUNT_DIFFERS"),
    ),
    ("money back", |r| r.amount = Some(money(-600, "USD")), No(Code::FailedPrecondition, "AMOUNT_DIFFERS")),
    ("reference of 129", |r| r.provider_ref = "p".repeat(129), Fields(&["provider_ref"])),
    ("reference with NUL", |r| r.provider_ref = "\0".to_owned(), Fields(&["provider_ref"])),
];

fn nanos(pay: &mut ord::PayOrderRequest, nanos: i32) {
    if let Some(amount) = &mut pay.amount {
        amount.nanos = nanos;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_payment_is_refused_and_the_order_still_waits_for_its_money() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let order = web.place(unpaid(good_order())).await;
    world.settle().await;
    let before = Census::of(&ops).await;
    let good = ord::PayOrderRequest {
        request_id: REQUEST_ID.to_owned(),
        order_id: order.order_id.clone(),
        tender_id: "card".to_owned(),
        state: ord::TenderState::Captured.into(),
        amount: Some(money(600, "USD")),
        provider_ref: "psp-1".to_owned(),
    };
    let call = async |pay| web.clients.orders.clone().pay_order(pay).await;
    refused_only(ORDERS, &good, PAY, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    let paid = refused(ORDERS, good.clone(), &[], call).await.into_inner().order.unwrap_or_default();
    assert_eq!(entrepot::clients::minor(paid.paid.as_ref()), 600);

    let twice: &[Row<ord::PayOrderRequest>] = &[
        ("given up after it was received", |r| r.state = 4, No(Code::FailedPrecondition, "TENDER_STATE")),
        ("failed after it was received", |r| r.state = 5, No(Code::FailedPrecondition, "TENDER_STATE")),
    ];
    refused_only(ORDERS, &ord::PayOrderRequest { request_id: fresh(), ..good }, twice, &call).await;
    world.stop().await;
}

const CANCEL: &[Row<ord::CancelOrderRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("promise for an order", |r| r.order_id = nobody("prm_"), Fields(&["order_id"])),
    ("order of nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
    ("no reason", |r| r.reason.clear(), Fields(&["reason"])),
    ("reason in lower case", |r| r.reason = "changed".to_owned(), Fields(&["reason"])),
    ("reason of 64", |r| r.reason = "R".repeat(64), Fields(&["reason"])),
    ("reason that begins with a digit", |r| r.reason = "1A".to_owned(), Fields(&["reason"])),
    ("reason with a newline", |r| r.reason = "A\nB".to_owned(), Fields(&["reason"])),
    ("line 0", |r| r.lines[0].line = 0, Fields(&["lines[0].line"])),
    ("line that is not there", |r| r.lines[0].line = 3, Fields(&["lines[0].line"])),
    ("greatest line", |r| r.lines[0].line = u32::MAX, Fields(&["lines[0].line"])),
    ("line twice", |r| r.lines.push(r.lines[0]), Fields(&["lines[1].line"])),
    ("nothing of it", |r| r.lines[0].quantity = 0, Fields(&["lines[0].quantity"])),
    ("minus one", |r| r.lines[0].quantity = -1, Fields(&["lines[0].quantity"])),
    ("least quantity", |r| r.lines[0].quantity = i64::MIN, Fields(&["lines[0].quantity"])),
    ("greatest quantity", |r| r.lines[0].quantity = i64::MAX, Fields(&["lines[0].quantity"])),
    ("more than there is", |r| r.lines[0].quantity = 3, No(Code::FailedPrecondition, "NOT_CANCELLABLE")),
    ("1,001 lines", |r| r.lines = vec![r.lines[0]; 1_001], Fields(&["lines"])),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_cancel_is_refused_and_cancels_nothing() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let order = web.place(unpaid(good_order())).await;
    world.settle().await;
    let before = Census::of(&ops).await;
    let good = ord::CancelOrderRequest {
        request_id: REQUEST_ID.to_owned(),
        order_id: order.order_id.clone(),
        lines: vec![LineQuantity { line: 2, quantity: 1 }],
        reason: "CHANGED".to_owned(),
    };
    let call = async |cancel| web.clients.orders.clone().cancel_order(cancel).await;
    refused_only(ORDERS, &good, CANCEL, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(ORDERS, good.clone(), &[], call).await;
    world.settle().await;
    let left = web.order(&order.order_id).await;
    let cancelled: Vec<i64> =
        left.lines.iter().map(|line| line.buckets.unwrap_or_default().cancelled).collect();
    assert_eq!(cancelled, [0, 1]);
    world.stop().await;
}

const OPTIONS: &[Row<ord::ListOptionsRequest>] = &[
    ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
    ("order of another kind", |r| r.order_id = nobody("ful_"), Fields(&["order_id"])),
    ("order in upper case", |r| r.order_id = r.order_id.to_uppercase(), Fields(&["order_id"])),
    ("order of nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
];

const CHOOSE: &[Row<ord::ChooseOptionRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no order", |r| r.order_id.clear(), Fields(&["order_id"])),
    ("promise for an order", |r| r.order_id = nobody("prm_"), Fields(&["order_id"])),
    ("order of nobody", |r| r.order_id = nobody("ord_"), No(Code::NotFound, "ORDER_NOT_FOUND")),
    ("no option", |r| r.option_id.clear(), Fields(&["option_id"])),
    ("need for an option", |r| r.option_id = nobody("ned_"), Fields(&["option_id"])),
    ("option in upper case", |r| r.option_id = r.option_id.to_uppercase(), Fields(&["option_id"])),
    ("option and a newline", |r| r.option_id.push('\n'), Fields(&["option_id"])),
    ("option of nobody", |r| r.option_id = nobody("opt_"), No(Code::NotFound, "OPTION_NOT_FOUND")),
    (
        "nil option",
        |r| r.option_id = "opt_00000000-0000-0000-0000-000000000000".to_owned(),
        No(Code::NotFound, "OPTION_NOT_FOUND"),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_choice_is_refused_and_changes_nothing() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    let order = web.place(unpaid(good_order())).await;
    world.settle().await;
    let before = Census::of(&ops).await;
    let list = ord::ListOptionsRequest { order_id: order.order_id.clone() };
    let call = async |list| web.clients.orders.clone().list_options(list).await;
    refused_only(ORDERS, &list, OPTIONS, &call).await;
    assert_eq!(call(list).await.expect("listed").into_inner().options, [], "no node failed anything");
    let choose = ord::ChooseOptionRequest {
        request_id: REQUEST_ID.to_owned(),
        order_id: order.order_id.clone(),
        option_id: nobody("opt_"),
    };
    let call = async |choose| web.clients.orders.clone().choose_option(choose).await;
    refused_only(ORDERS, &choose, CHOOSE, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}
