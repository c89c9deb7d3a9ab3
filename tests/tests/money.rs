//! The money of an order, from the channel to the store's till and back.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use entrepot::clients::{minor, money};
use flows::people::order_at;
use flows::stage::Stage;
use flows::world::{NODE, People, fresh};
use test_world::{eventually, reason};
use tonic::Code;

everywhere! {
    (embedded, kafka, three_processes)
    what_is_due_at_the_till_follows_cancels_and_is_paid_with_the_handover,
    what_is_due_at_the_till_follows_prices_and_lost_authorizations,
    nothing_is_handed_over_while_a_payment_is_lost_and_another_tender_frees_it,
    authorized_money_is_voided_and_captured_money_is_refunded_by_tender,
}

fn usd(minor: i64) -> contract::google::r#type::Money {
    money(minor, "USD")
}

/// Four pieces of ten, of which nothing is paid yet.
fn forty(terms: ord::PaymentTerms, state: ord::TenderState) -> ord::PlaceOrderRequest {
    let mut order = order_at(NODE, &[("TEA", 4, 1_000)]);
    order.payment_terms = i32::from(terms);
    order.tenders[0].state = i32::from(state);
    order
}

async fn cancel(people: &People, order: &str, pieces: i64) {
    let request = ord::CancelOrderRequest {
        request_id: fresh(),
        order_id: order.to_owned(),
        lines: vec![contract::r#type::v1::LineQuantity { line: 1, quantity: pieces }],
        reason: "CHANGED_MIND".to_owned(),
    };
    people.clients.orders.clone().cancel_order(request).await.expect("the cancel is taken");
}

async fn report(people: &People, order: &str, state: ord::TenderState, cents: i64, provider_ref: &str) {
    let request = ord::PayOrderRequest {
        request_id: fresh(),
        order_id: order.to_owned(),
        tender_id: "card".to_owned(),
        state: i32::from(state),
        amount: Some(usd(cents)),
        provider_ref: provider_ref.to_owned(),
    };
    people.clients.orders.clone().pay_order(request).await.expect("the report is taken");
}

fn cash(cents: i64) -> ful::HandOverPayment {
    ful::HandOverPayment {
        kind: "cash".to_owned(),
        amount: Some(usd(cents)),
        provider_ref: "till-7/1".to_owned(),
    }
}

async fn what_is_due_at_the_till_follows_cancels_and_is_paid_with_the_handover(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(forty(ord::PaymentTerms::PayAtHandover, ord::TenderState::Due)).await;
    let work = web.work_of(&order.order_id).await;
    assert_eq!(minor(work.due.as_ref()), 4_000);
    cancel(&web, &order.order_id, 1).await;
    let is_cancelled = |order: &ord::Order| order.lines[0].buckets.unwrap_or_default().cancelled == 1;
    let order = web.order_when(&order.order_id, is_cancelled).await;
    assert_eq!(minor(order.tenders[0].amount_due.as_ref()), 3_000);
    let work = store.prepare(&web.work_of(&order.order_id).await).await;
    let (id, code) = (work.fulfillment_id, web.code(&order.order_id).await);
    let unpaid = store.hand_over(&id, &code, &[]).await.expect_err("nothing is paid");
    assert_eq!((unpaid.code(), reason(&unpaid).as_str()), (Code::FailedPrecondition, "PAYMENT_DUE"));
    assert_eq!(server::status::facts(&unpaid)["due_minor"], "3000");
    let first = store.hand_over_for(&id, &code, &[(1, 1)], cash(1_000)).await.expect("one is paid");
    assert_eq!((minor(first.collected.as_ref()), minor(first.due.as_ref())), (1_000, 2_000));
    let code = web.code(&order.order_id).await;
    store.hand_over_for(&id, &code, &[], cash(2_000)).await.expect("the others are paid");
    let is_completed = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    let order = web.order_when(&order.order_id, is_completed).await;
    let tender = &order.tenders[0];
    assert_eq!((minor(order.paid.as_ref()), minor(tender.amount_due.as_ref())), (3_000, 0));
    assert_eq!((tender.state(), minor(order.refund_requested.as_ref())), (ord::TenderState::Captured, 0));
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn what_is_due_at_the_till_follows_prices_and_lost_authorizations(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(forty(ord::PaymentTerms::PayAtHandover, ord::TenderState::Authorized)).await;
    let work = store.prepare(&web.work_of(&order.order_id).await).await;
    assert_eq!(work.due, None, "the card pays");
    let due = async |cents| {
        eventually(async || {
            let due = minor(web.work_of(&order.order_id).await.due.as_ref());
            if due == cents { Ok(()) } else { Err(format!("{due} is due, not {cents}")) }
        })
        .await;
    };
    report(&web, &order.order_id, ord::TenderState::Failed, 4_000, "declined").await;
    due(4_000).await;
    let request = ord::ClaimRefundRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        claims: vec![ord::PriceClaim { line: 1, piece: 1, amount: Some(usd(500)) }],
        reason: "GOODWILL".to_owned(),
    };
    ops.clients.orders.clone().claim_refund(request).await.expect("the price is lowered");
    due(3_500).await;
    let (id, code) = (work.fulfillment_id, web.code(&order.order_id).await);
    store.hand_over_for(&id, &code, &[], cash(3_500)).await.expect("it is paid");
    // The till's provider reports the same payment.
    let is_completed = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    let order = web.order_when(&order.order_id, is_completed).await;
    assert_eq!((minor(order.paid.as_ref()), minor(order.refund_requested.as_ref())), (3_500, 0));
    report(&web, &order.order_id, ord::TenderState::Captured, 3_500, "till-7/1").await;
    let again = web.order(&order.order_id).await;
    assert_eq!((again.version, minor(again.paid.as_ref())), (order.version, 3_500), "it is the same payment");
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn nothing_is_handed_over_while_a_payment_is_lost_and_another_tender_frees_it(stage: Stage) {
    let (ops, web, store) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("store/sha-01"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let order = web.place(forty(ord::PaymentTerms::Prepaid, ord::TenderState::Authorized)).await;
    let work = store.prepare(&web.work_of(&order.order_id).await).await;
    let (id, code) = (work.fulfillment_id, web.code(&order.order_id).await);
    report(&web, &order.order_id, ord::TenderState::Failed, 4_000, "declined").await;
    eventually(async || {
        let work = web.work_of(&order.order_id).await;
        if work.is_payment_lost { Ok(()) } else { Err("the store does not know that the payment is lost") }
    })
    .await;
    let refused = store.hand_over(&id, &code, &[]).await.expect_err("the payment is lost");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_DUE"));
    let lost = web.order(&order.order_id).await;
    assert_eq!(
        (lost.blocks().collect::<Vec<_>>(), minor(lost.paid.as_ref())),
        (vec![ord::Block::Payment], 0)
    );
    let add = |id: &str, cents| ord::AddTenderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        tender: Some(ord::Tender {
            tender_id: id.to_owned(),
            kind: "wechat".to_owned(),
            amount: Some(usd(cents)),
            state: i32::from(ord::TenderState::Captured),
            provider_ref: format!("wx-{id}"),
            ..ord::Tender::default()
        }),
    };
    let orders = web.clients.orders.clone();
    orders.clone().add_tender(add("second", 2_500)).await.expect("a part is paid");
    let too_much = orders.clone().add_tender(add("third", 1_501)).await.expect_err("more than is due");
    assert_eq!(reason(&too_much), "NOTHING_TO_REPLACE");
    orders.clone().add_tender(add("third", 1_500)).await.expect("the rest is paid");
    eventually(async || {
        let work = web.work_of(&order.order_id).await;
        if work.is_payment_lost { Err("the store does not know that it is paid again") } else { Ok(()) }
    })
    .await;
    store.hand_over(&id, &code, &[]).await.expect("it is paid");
    let is_completed = |order: &ord::Order| order.status() == ord::OrderStatus::Completed;
    let order = web.order_when(&order.order_id, is_completed).await;
    assert_eq!((minor(order.paid.as_ref()), minor(order.refund_requested.as_ref())), (4_000, 0));
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}

async fn authorized_money_is_voided_and_captured_money_is_refunded_by_tender(stage: Stage) {
    let (ops, web, psp) =
        (stage.clients("ops/test"), stage.clients("channel/web"), stage.clients("payment/psp"));
    ops.stock(NODE, &[("TEA", 10)]).await;
    let authorized = web.place(forty(ord::PaymentTerms::Prepaid, ord::TenderState::Authorized)).await;
    let captured = web.place(forty(ord::PaymentTerms::Prepaid, ord::TenderState::Captured)).await;
    let is_cancelled = |order: &ord::Order| order.status() == ord::OrderStatus::Cancelled;
    for order in [&authorized, &captured] {
        cancel(&web, &order.order_id, 4).await;
        web.order_when(&order.order_id, is_cancelled).await;
    }
    report(&psp, &authorized.order_id, ord::TenderState::Voided, 4_000, "void-1").await;
    let authorized = web.order(&authorized.order_id).await;
    assert_eq!((minor(authorized.paid.as_ref()), authorized.refunds.len()), (0, 0));
    assert_eq!(authorized.tenders[0].state(), ord::TenderState::Voided);

    let refund = web.order(&captured.order_id).await.refunds[0].clone();
    let part = &refund.parts[0];
    assert_eq!((part.tender_id.as_str(), minor(part.amount.as_ref())), ("card", 4_000));
    assert_eq!((part.state(), part.provider_ref.as_str()), (ord::RefundState::Pending, "paid"));
    let done = || ord::ReportRefundRequest {
        request_id: fresh(),
        order_id: captured.order_id.clone(),
        refund_id: refund.refund_id.clone(),
        tender_id: "card".to_owned(),
        state: i32::from(ord::RefundState::Done),
        report_ref: "rf-9".to_owned(),
        attempt: part.attempt,
        provider_ref: Some(part.provider_ref.clone()),
    };
    let mut orders = psp.clients.orders.clone();
    let first =
        orders.report_refund(done()).await.expect("it is done").into_inner().order.unwrap_or_default();
    assert_eq!(first.refunds[0].parts[0].state(), ord::RefundState::Done);
    assert_eq!(minor(first.tenders[0].refunded.as_ref()), 4_000);
    let again = orders.report_refund(done()).await.expect("the same again").into_inner().order;
    assert_eq!(again.unwrap_or_default().version, first.version, "the same report changes nothing");
    stage.settle().await;
    ops.audit().await;
    stage.stop().await;
}
