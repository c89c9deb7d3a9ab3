//! Paying, in time and too late.

use contract::orders::v1 as pb;
use domain::time::after_ms;
use pb::{NeedState, OrderStatus, TenderState};
use test_world::{fields, fresh, reason, stamp};
use tonic::Code;

use crate::world::{gbp, leg, line, minor, refunds, request, tender, worlds};

#[tokio::test]
async fn a_payment_releases_the_order() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(14).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), paid.version, minor(&paid.paid)), (OrderStatus::Placed, 3, 760));
        assert!(paid.blocks.is_empty() && paid.payment_due_time.is_none());
        assert_eq!(paid.tenders[0].provider_ref, "psp-1");
        assert_eq!(world.happened(&order).await, ["placed", "paid", "unblocked"]);
        world.pass(60).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::Placed);
        assert_eq!(world.steps(&order).await, ["PLACED", "PAID", "RELEASED"]);
    }
}

#[tokio::test]
async fn a_payment_twice_by_its_request_id_counts_once() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let pay = pb::PayOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender_id: "t1".to_owned(),
            state: TenderState::Captured.into(),
            amount: gbp(760),
            provider_ref: String::new(),
        };
        let calls = (0..16).map(|_| {
            let (mut client, pay) = (world.client.clone(), pay.clone());
            async move { client.pay_order(pay).await.unwrap().into_inner() }
        });
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        assert_eq!(world.happened(&order).await, ["placed", "paid", "unblocked"]);
        // Without a reference another payment is no different from this one.
        let again = world.try_report(&order, "t1", TenderState::Captured, 760, "").await.unwrap();
        assert_eq!(Some(again), answers[0].order);
    }
}

#[tokio::test]
async fn an_unpaid_order_lapses_then_expires_for_ever_and_later_money_goes_back() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(15).await;
        let lapsed = world.get(&order).await;
        assert_eq!(lapsed.status(), OrderStatus::PaymentLapsed);
        assert_eq!(lapsed.lines[0].buckets.unwrap().open, 3);
        world.pass(5).await;
        let expired = world.get(&order).await;
        assert_eq!(expired.status(), OrderStatus::Expired);
        assert_eq!(expired.lines[0].cancel_reason, "PAYMENT_EXPIRED");
        let late = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((late.status(), refunds(&late)), (OrderStatus::Expired, (760, 760)));
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "expired", "excess", "refund"]);
        let retry = late.refunds[0].parts[0].next_attempt_time;
        assert_eq!(world.next_due().await.map(stamp), retry, "the refund alone is waited for");
    }
}

#[tokio::test]
async fn a_payment_finds_what_time_has_done_even_where_no_timer_ran() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.clock.advance_to(after_ms(world.now(), 16 * 60_000));
        let late = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(late.status(), OrderStatus::Placed);
        assert_ne!(leg(&late).promise_token, leg(&order).promise_token, "the stock was taken again");
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "paid", "moved", "unblocked"]);
        let order = world.unpaid().await;
        world.clock.advance_to(after_ms(world.now(), 25 * 60_000));
        let too_late = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((too_late.status(), refunds(&too_late)), (OrderStatus::Expired, (760, 760)));
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "expired", "excess", "refund"]);
    }
}

#[tokio::test]
async fn a_leap_of_the_clock_lapses_and_expires_at_once() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(60).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::Expired);
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "expired"]);
    }
}

#[tokio::test]
async fn a_late_payment_takes_the_stock_again_by_a_new_promise() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(16).await;
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(paid.status(), OrderStatus::Placed);
        assert_ne!(leg(&paid).promise_token, leg(&order).promise_token);
        assert_eq!(world.happened(&order).await, ["placed", "lapsed", "paid", "moved", "unblocked"]);
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Unblocked(unblocked)) = &events[4].body else { panic!() };
        assert_eq!(unblocked.work[0].promise_token, leg(&paid).promise_token);
        world.confirm(&paid).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::Confirmed);
    }
}

#[tokio::test]
async fn a_late_payment_without_stock_is_asked_about_and_goes_back_whole_without_an_answer() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.pass(16).await;
        world.fake.refuse(Code::Unavailable, "PEER_UNREACHABLE");
        let unknown = world.try_pay(&order, TenderState::Captured).await.unwrap_err();
        assert_eq!(
            unknown.code(),
            Code::Unavailable,
            "whether there is stock is not known: nothing is decided"
        );
        world.fake.refuse(Code::FailedPrecondition, "NO_STOCK");
        let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), refunds(&paid), paid.blocks.len()), (OrderStatus::Placed, (0, 0), 0));
        assert_eq!(paid.needs[0].reason, "NO_STOCK");
        world.run_due().await;
        let asked = world.get(&order).await;
        assert_eq!(
            (asked.needs[0].state(), &asked.blocks[..]),
            (NeedState::Asked, &[pb::Block::Stock.into()][..])
        );
        world.pass(24 * 60).await;
        let end = world.get(&order).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)));
        assert_eq!(end.refunds[0].reason, "NO_STOCK");
    }
}

#[tokio::test]
async fn a_payment_goes_by_the_clock_and_not_by_whether_a_timer_has_run() {
    for world in worlds().await {
        let (lapsed, expired) = (world.unpaid().await, world.unpaid().await);
        world.clock.advance_to(domain::time::after_ms(world.now(), 16 * 60_000));
        let paid = world.try_pay(&lapsed, TenderState::Captured).await.unwrap();
        assert_ne!(leg(&paid).promise_token, leg(&lapsed).promise_token, "the old claim is not counted on");
        assert_eq!(world.happened(&lapsed).await, ["placed", "lapsed", "paid", "moved", "unblocked"]);
        world.clock.advance_to(domain::time::after_ms(world.now(), 9 * 60_000));
        let paid = world.try_pay(&expired, TenderState::Captured).await.unwrap();
        assert_eq!((paid.status(), refunds(&paid)), (OrderStatus::Expired, (760, 760)));
    }
}

#[tokio::test]
async fn an_order_paid_in_part_gets_that_part_back_when_it_expires() {
    for world in worlds().await {
        let mut halves = request("h", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Due);
        halves.tenders = vec![tender("t1", 300, TenderState::Due), tender("t2", 460, TenderState::Due)];
        let order = world.try_place(halves).await.unwrap();
        let half = world.try_pay(&order, TenderState::Authorized).await.unwrap();
        assert_eq!((half.status(), minor(&half.paid)), (OrderStatus::Placed, 300));
        assert!(!half.blocks.is_empty());
        world.pass(20).await;
        let expired = world.get(&order).await;
        // It was authorized only: nothing is to be paid back, and nothing to be captured.
        assert_eq!((expired.status(), refunds(&expired)), (OrderStatus::Expired, (0, 0)));
        assert_eq!((minor(&expired.paid), minor(&expired.tenders[0].voided)), (0, 300));
        assert_eq!(world.happened(&order).await, ["placed", "paid", "lapsed", "expired", "void_requested"]);

        let mut halves = request("i", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Due);
        halves.tenders = vec![tender("t1", 300, TenderState::Captured), tender("t2", 460, TenderState::Due)];
        let order = world.try_place(halves).await.unwrap();
        world.pass(20).await;
        let expired = world.get(&order).await;
        assert_eq!((expired.status(), refunds(&expired)), (OrderStatus::Expired, (300, 300)));
    }
}

#[tokio::test]
async fn a_failed_payment_may_be_tried_again() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let failed = world.try_pay(&order, TenderState::Failed).await.unwrap();
        assert_eq!((failed.version, minor(&failed.paid)), (2, 0));
        assert!(world.try_pay(&order, TenderState::Authorized).await.unwrap().blocks.is_empty());
        let lost = world.try_pay(&order, TenderState::Voided).await.unwrap();
        assert_eq!((lost.blocks.as_slice(), minor(&lost.paid)), (&[pb::Block::Payment.into()][..], 0));
        assert_eq!(
            world.steps(&order).await,
            ["PLACED", "PAYMENT_FAILED", "AUTHORIZED", "RELEASED", "PAYMENT_VOIDED", "PAYMENT_LOST"]
        );
    }
}

#[tokio::test]
async fn what_does_not_fit_the_tender_is_refused() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let pay = |tender: &str, amount| pb::PayOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender_id: tender.to_owned(),
            state: TenderState::Captured.into(),
            amount: gbp(amount),
            provider_ref: String::new(),
        };
        let refused = world.client.clone().pay_order(pay("t1", 759)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "AMOUNT_DIFFERS"));
        assert_eq!(refused.message(), "tender t1 is 7.60 GBP, not 7.59 GBP");
        assert_eq!(server::status::facts(&refused)["due_minor"], "760");
        let refused = world.client.clone().pay_order(pay("t9", 760)).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["tender_id".to_owned()]));
        assert_eq!(world.happened(&order).await, ["placed"]);
    }
}

#[tokio::test]
async fn money_that_meets_the_expiry_is_never_kept_for_nothing() {
    for world in worlds().await {
        for _ in 0..8 {
            let order = world.unpaid().await;
            world.clock.advance_to(domain::time::after_ms(world.now(), 20 * 60_000));
            let (paid, ran) = tokio::join!(
                world.try_pay(&order, TenderState::Captured),
                world.service.run_due(world.now())
            );
            ran.unwrap();
            paid.unwrap();
            world.run_due().await;
            let end = world.get(&order).await;
            let released = end.status() == OrderStatus::Placed && end.blocks.is_empty();
            let returned = end.status() == OrderStatus::Expired && refunds(&end).1 == 760;
            assert!(released || returned, "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_says_the_same_again_is_answered_and_changes_nothing() {
    for world in worlds().await {
        let order = world.unpaid().await;
        for state in [TenderState::Failed, TenderState::Authorized, TenderState::Captured] {
            let first = world.try_pay(&order, state).await.unwrap();
            let (steps, events) = (world.steps(&order).await, world.happened(&order).await);
            assert_eq!(world.try_pay(&order, state).await.unwrap(), first, "{state:?}");
            assert_eq!(world.get(&order).await, first);
            assert_eq!((world.steps(&order).await, world.happened(&order).await), (steps, events));
        }
    }
}
