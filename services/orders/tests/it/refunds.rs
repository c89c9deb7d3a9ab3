//! Refunds: by which tenders, what providers answer, and how they are asked again.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use domain::time::after_ms;
use ful::FulfillmentState as State;
use ful::fulfillment_event::Body;
use orders::Config;
use pb::order_event::Body as Event;
use pb::{OrderStatus, PaymentTerms, RefundState, TenderState};
use test_world::{by, fields, fresh, reason, stamp};
use tonic::Request;

use crate::world::{World, forty, gbp, line, minor, money, refunds, request, tender, worlds, worlds_with};

/// Pieces of line 1 were not collected: this number is back on the shelf then.
async fn put_back(world: &World, order: &pb::Order, cancelled: i64) -> pb::Order {
    let body = Body::Moved(ful::FulfillmentMoved {
        to: ful::FulfillmentStage::Shelf.into(),
        lines: vec![ful::MovedLine { line: 1, quantity: 1, ..Default::default() }],
        ..Default::default()
    });
    let change = |l: &mut ful::FulfillmentLine| {
        l.cancelled = if l.line == 1 { cancelled } else { 0 };
        (l.to_pick, l.picked) = (0, l.quantity - l.cancelled);
    };
    world.work(order, State::Picking, body, change).await
}

/// An order of 40.00 that was captured and is over: all of it is asked back.
async fn asked_back(world: &World) -> pb::Order {
    let order = forty(&world.number(), PaymentTerms::Prepaid, TenderState::Captured);
    let order = world.try_place(order).await.unwrap();
    let end = put_back(world, &order, 4).await;
    assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (4_000, 4_000)));
    end
}

fn part(order: &pb::Order) -> (RefundState, i64) {
    let part = &order.refunds[0].parts[0];
    (part.state(), part.attempt)
}

/// A refund to another tender, as a named member of staff asks for it.
fn redirect(order: &pb::Order, to: &str) -> pb::RedirectRefundRequest {
    pb::RedirectRefundRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        refund_id: order.refunds[0].refund_id.clone(),
        tender_id: "t1".to_owned(),
        to_tender_id: to.to_owned(),
        to_kind: "bank_transfer".to_owned(),
        to_ref: "account-1".to_owned(),
        consent_ref: "call-77".to_owned(),
        ..Default::default()
    }
}

fn by_staff<T>(request: T) -> Request<T> {
    let mut request = by("ops/desk", request);
    request.metadata_mut().insert(server::auth::STAFF, "st-17".parse().unwrap());
    request
}

#[tokio::test]
async fn a_refund_names_its_tenders_and_what_goes_back_by_each() {
    for world in worlds().await {
        let mut asked = forty("1", PaymentTerms::Prepaid, TenderState::Captured);
        asked.tenders =
            vec![tender("card", 2_500, TenderState::Captured), tender("gift", 1_500, TenderState::Captured)];
        let order = world.try_place(asked).await.unwrap();
        let by_tender = |refund: &pb::Refund| -> Vec<(String, i64)> {
            refund.parts.iter().map(|part| (part.tender_id.clone(), minor(&part.amount))).collect()
        };
        let half = put_back(&world, &order, 2).await;
        assert_eq!(by_tender(&half.refunds[0]), [("card".to_owned(), 2_000)]);
        let end = put_back(&world, &order, 4).await;
        assert_eq!(by_tender(&end.refunds[1]), [("card".to_owned(), 500), ("gift".to_owned(), 1_500)]);
        assert_eq!(refunds(&end), (2_000, 4_000));
        let asked: Vec<_> = end.tenders.iter().map(|t| minor(&t.refund_requested)).collect();
        assert_eq!(asked, [2_500, 1_500]);
        let events = world.events(&order).await;
        let Some(Event::RefundRequested(event)) = &events.last().unwrap().body else { panic!() };
        assert_eq!(event.refund.as_ref(), Some(&end.refunds[1]));
        assert_eq!(event.parts, end.refunds[1].parts, "all of them");
        let done = world.try_refund(&end, (1, "gift"), RefundState::Done, "back-1").await.unwrap();
        let refunded: Vec<_> = done.tenders.iter().map(|t| minor(&t.refunded)).collect();
        assert_eq!(refunded, [0, 1_500]);
        let states: Vec<_> = done.refunds[1].parts.iter().map(pb::RefundPart::state).collect();
        assert_eq!(states, [RefundState::Pending, RefundState::Done]);
    }
}

#[tokio::test]
async fn an_answer_counts_once_and_a_refund_that_is_done_stays_so() {
    for world in worlds().await {
        let order = asked_back(&world).await;
        let done = world.try_refund(&order, (0, "t1"), RefundState::Done, "back-1").await.unwrap();
        assert_eq!((part(&done), minor(&done.tenders[0].refunded)), ((RefundState::Done, 1), 4_000));
        assert_eq!(done.refunds[0].parts[0].report_ref, "back-1");
        let again = world.try_refund(&order, (0, "t1"), RefundState::Done, "back-1").await.unwrap();
        assert_eq!((&again, &world.get(&order).await), (&done, &done));
        let refused = world.try_refund(&order, (0, "t1"), RefundState::Failed, "x").await.unwrap_err();
        assert_eq!(reason(&refused), "REFUND_STATE");
        assert_eq!(server::status::facts(&refused)["from"], "DONE");
        let other = world.try_refund(&order, (0, "t9"), RefundState::Done, "x").await.unwrap_err();
        assert_eq!(fields(&other), ["tender_id"]);
        let mut unknown = order.clone();
        unknown.refunds[0].refund_id = format!("rfd_{}", fresh());
        let other = world.try_refund(&unknown, (0, "t1"), RefundState::Done, "x").await.unwrap_err();
        assert_eq!(fields(&other), ["refund_id"]);
        assert_eq!(world.steps(&order).await[2..], ["CANCELLED", "REFUND_REQUESTED", "REFUND_DONE"]);
        assert_eq!(world.happened(&order).await.last(), Some(&"refund_reported"));
        assert_eq!(world.next_due().await, None, "nothing is waited for");
    }
}

#[tokio::test]
async fn a_refund_that_fails_is_asked_again_five_times_and_then_fails_for_good() {
    for world in worlds().await {
        let order = asked_back(&world).await;
        for (attempt, minutes) in (1..).zip([1, 10, 60, 6 * 60, 24 * 60]) {
            let reference = format!("declined-{attempt}");
            let failed = world.try_refund(&order, (0, "t1"), RefundState::Failed, &reference).await.unwrap();
            assert_eq!(part(&failed), (RefundState::Failed, attempt));
            let next = after_ms(world.now(), minutes * 60_000);
            assert_eq!(failed.refunds[0].parts[0].next_attempt_time, Some(stamp(next)));
            assert_eq!(world.next_due().await, Some(next));
            let again = world.try_refund(&order, (0, "t1"), RefundState::Failed, &reference).await.unwrap();
            assert_eq!(again, failed, "it is late, and the wait is not longer");
            world.pass(minutes).await;
            let now = world.get(&order).await;
            assert_eq!(part(&now), (RefundState::Pending, attempt + 1));
            let events = world.events(&order).await;
            let Some(Event::RefundRequested(event)) = &events.last().unwrap().body else { panic!() };
            assert_eq!(event.parts, now.refunds[0].parts);
        }
        let failed = world.try_refund(&order, (0, "t1"), RefundState::Failed, "declined").await.unwrap();
        assert_eq!(part(&failed), (RefundState::FailedPermanent, 6));
        assert_eq!((minor(&failed.refund_requested), minor(&failed.tenders[0].refunded)), (4_000, 0));
        assert_eq!(world.next_due().await, None);
        let steps = world.steps(&order).await;
        assert_eq!(steps.iter().filter(|step| *step == "REFUND_FAILED").count(), 5);
        assert_eq!(steps.iter().filter(|step| *step == "REFUND_REQUESTED").count(), 6);
        assert_eq!(steps.last().unwrap(), "REFUND_FAILED_PERMANENT");
        // The provider found it after all.
        let done = world.try_refund(&order, (0, "t1"), RefundState::Done, "back-1").await.unwrap();
        assert_eq!(part(&done), (RefundState::Done, 6));
    }
}

#[tokio::test]
async fn a_provider_that_is_silent_is_asked_again_each_day_until_it_failed_for_good() {
    for world in worlds().await {
        let order = asked_back(&world).await;
        world.pass(24 * 60 - 1).await;
        assert_eq!(part(&world.get(&order).await), (RefundState::Pending, 1));
        world.pass(1).await;
        assert_eq!(part(&world.get(&order).await), (RefundState::Pending, 2));
        for _ in 3..=6 {
            world.pass(24 * 60).await;
        }
        assert_eq!(part(&world.get(&order).await), (RefundState::Pending, 6));
        world.pass(24 * 60).await;
        assert_eq!(part(&world.get(&order).await), (RefundState::FailedPermanent, 6));
        assert_eq!(world.happened(&order).await.last(), Some(&"refund_reported"));
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn a_refund_that_failed_for_good_goes_elsewhere_on_the_word_of_named_staff() {
    for world in worlds().await {
        let order = asked_back(&world).await;
        let mut client = world.client.clone();
        let nobody = client.redirect_refund(by("ops/desk", redirect(&order, "bank"))).await.unwrap_err();
        assert_eq!(reason(&nobody), "STAFF_NOT_NAMED");
        let early = client.redirect_refund(by_staff(redirect(&order, "bank"))).await.unwrap_err();
        assert_eq!(reason(&early), "REFUND_STATE");
        world.pass(6 * 24 * 60).await;
        for _ in 0..5 {
            world.pass(24 * 60).await;
        }
        assert_eq!(part(&world.get(&order).await).0, RefundState::FailedPermanent);
        let taken = client.redirect_refund(by_staff(redirect(&order, "t1"))).await.unwrap_err();
        assert_eq!(fields(&taken), ["to_tender_id"]);
        let asked = redirect(&order, "bank");
        let there =
            client.redirect_refund(by_staff(asked.clone())).await.unwrap().into_inner().order.unwrap();
        let again = client.redirect_refund(by_staff(asked)).await.unwrap().into_inner().order.unwrap();
        assert_eq!((&again, &world.get(&order).await), (&there, &there));
        let refund = &there.refunds[0];
        let parts: Vec<_> = refund.parts.iter().map(|p| (p.tender_id.as_str(), p.state())).collect();
        assert_eq!(parts, [("t1", RefundState::Redirected), ("bank", RefundState::Pending)]);
        assert_eq!((minor(&refund.amount), minor(&there.refund_requested)), (4_000, 4_000));
        assert_eq!(
            (refund.parts[1].kind.as_str(), refund.parts[1].provider_ref.as_str()),
            ("bank_transfer", "account-1")
        );
        let happened = world.happened(&order).await;
        assert_eq!(happened[happened.len() - 2..], ["refund_reported", "refund"]);
        let timeline = world.timeline(&order).await;
        let step = timeline.iter().find(|entry| entry.step == "REFUND_REDIRECTED").unwrap();
        assert_eq!(step.text, "40.00 GBP goes to bank (bank_transfer) instead of t1, consent call-77");
        assert_eq!(step.actor, "ops/desk#st-17");
        let done = world.try_refund(&there, (0, "bank"), RefundState::Done, "iban").await.unwrap();
        assert_eq!(done.refunds[0].parts[1].state(), RefundState::Done);
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn the_retry_of_a_refund_ends_nothing_and_is_upkeep() {
    for world in worlds().await {
        // Paid in part, so that it is still blocked when it is over.
        let mut halves = forty("1", PaymentTerms::Prepaid, TenderState::Due);
        halves.tenders =
            vec![tender("t1", 1_000, TenderState::Captured), tender("t2", 3_000, TenderState::Due)];
        let order = world.try_place(halves).await.unwrap();
        let (over, _) = world.try_cancel(&order, &[]).await.unwrap();
        assert_eq!((over.status(), refunds(&over)), (OrderStatus::Cancelled, (1_000, 1_000)));
        let day = after_ms(world.now(), 24 * 3_600_000);
        assert_eq!(world.service.overdue(day, 9).await.unwrap(), 0);
        world.clock.advance_to(day);
        assert_eq!(world.service.run_upkeep(day).await.unwrap(), 1);
        assert_eq!(part(&world.get(&order).await), (RefundState::Pending, 2));
        let events = world.happened(&order).await;
        assert_eq!(events, ["placed", "cancelled", "refund", "refund"]);
    }
}

#[tokio::test]
async fn a_price_that_is_lowered_gives_back_that_and_no_other_piece_changes() {
    for world in worlds().await {
        let order =
            world.try_place(request("1", vec![line("a", 3, 100)], TenderState::Captured)).await.unwrap();
        let less = world.try_claim(&order, &[(1, 2, 40)]).await.unwrap();
        assert_eq!((refunds(&less), less.refunds[0].reason.as_str()), ((40, 40), "PRICE_PROTECTION"));
        assert_eq!((less.status(), world.get(&order).await), (OrderStatus::Placed, less.clone()));
        let much = world.try_claim(&order, &[(1, 1, 100), (1, 2, 61)]).await.unwrap_err();
        let facts = server::status::facts(&much);
        assert_eq!(reason(&much), "CLAIM_TOO_LARGE");
        assert_eq!([&*facts["left_minor"], &*facts["line"], &*facts["piece"]], ["60", "1", "2"]);
        let no_line = world.try_claim(&order, &[(1, 1, 1), (7, 1, 1)]).await.unwrap_err();
        assert_eq!(fields(&no_line), ["claims[1].line"]);
        assert_eq!(world.get(&order).await, less, "all or none");
        // The third costs what it did, the second 40 less, and the postage goes with the last one.
        for (cancelled, back) in [(1, 100), (2, 60), (3, 450)] {
            let now = put_back(&world, &order, cancelled).await;
            assert_eq!(refunds(&now).0, back);
        }
        let end = world.get(&order).await;
        assert_eq!((end.status(), refunds(&end).1), (OrderStatus::Cancelled, 650));
        let gone = world.try_claim(&order, &[(1, 3, 1)]).await.unwrap_err();
        assert_eq!(
            (reason(&gone).as_str(), &*server::status::facts(&gone)["left_minor"]),
            ("CLAIM_TOO_LARGE", "0")
        );
    }
}

#[tokio::test]
async fn what_is_delivered_may_still_cost_less() {
    for world in worlds().await {
        let order = world.try_place(forty("1", PaymentTerms::Prepaid, TenderState::Captured)).await.unwrap();
        let done = Body::Moved(ful::FulfillmentMoved {
            to: ful::FulfillmentStage::Done.into(),
            ..Default::default()
        });
        let all = |l: &mut ful::FulfillmentLine| (l.to_pick, l.done) = (0, 4);
        assert_eq!(world.work(&order, State::Done, done, all).await.status(), OrderStatus::Completed);
        let less = world.try_claim(&order, &[(1, 1, 250), (1, 4, 1_000)]).await.unwrap();
        assert_eq!((less.status(), refunds(&less)), (OrderStatus::Completed, (1_250, 1_250)));
        let euro = pb::ClaimRefundRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            claims: vec![pb::PriceClaim { line: 1, piece: 1, amount: money("EUR", 1, 0) }],
            reason: "GOODWILL".to_owned(),
        };
        let euro = world.client.clone().claim_refund(euro).await.unwrap_err();
        assert_eq!(fields(&euro), ["claims[0].amount.currency_code"]);
    }
}

/// Everything of an order reads back as it was answered, also by another process, and goes on from there.
#[tokio::test]
async fn money_reads_back_as_it_was_answered_after_every_step() {
    for world in
        worlds_with(Config { work_check_s: 315_360_000, progress_check_s: 315_360_000, ..Config::default() })
            .await
    {
        let mut asked = request("1", vec![line("a", 5, 333), line("b", 2, 55)], TenderState::Due);
        asked.charges[0].set_return_rule(pb::ReturnRule::ProRata);
        asked.lines[0].discount = gbp(101);
        asked.lines[0].promotions = vec![pb::Promotion { promotion_id: "p.1".to_owned(), amount: gbp(37) }];
        let total = 5 * 333 + 110 + 350 - 101;
        asked.total = gbp(total);
        asked.tenders = vec![
            tender("t1", 700, TenderState::Due),
            tender("t2", 600, TenderState::Captured),
            tender("t3", total - 1_300, TenderState::Authorized),
        ];
        let order = world.try_place(asked).await.unwrap();
        let mut answers = vec![world.get(&order).await];
        let is_read_back = async |answer: pb::Order| assert_eq!(world.get(&order).await, answer);
        is_read_back(world.try_report(&order, "t1", TenderState::Failed, 700, "f").await.unwrap()).await;
        is_read_back(world.try_claim(&order, &[(1, 5, 17)]).await.unwrap()).await;
        let add = pb::Tender { provider_ref: "x".to_owned(), ..tender("t4", 683, TenderState::Captured) };
        is_read_back(world.try_add(&order, add).await.unwrap()).await;
        is_read_back(world.try_report(&order, "t3", TenderState::Captured, 200, "c1").await.unwrap()).await;
        is_read_back(world.try_report(&order, "t2", TenderState::Captured, 600, "again").await.unwrap())
            .await;
        let now = put_back(&world, &order, 1).await;
        is_read_back(world.try_refund(&now, (0, "t2"), RefundState::Failed, "no").await.unwrap()).await;
        is_read_back(put_back(&world, &order, 2).await).await;
        is_read_back(world.try_claim(&order, &[(1, 1, 3), (2, 1, 5)]).await.unwrap()).await;
        world.pass(1).await;
        answers.push(world.get(&order).await);
        let end = put_back(&world, &order, 5).await;
        is_read_back(end.clone()).await;
        // The same rows in another process, which asks for what is due.
        let other = world.another_process().await;
        let mut client = pb::order_service_client::OrderServiceClient::new(other.peer());
        let get = pb::GetOrderRequest { order_id: order.order_id.clone() };
        assert_eq!(client.get_order(get.clone()).await.unwrap().into_inner().order.unwrap(), end);
        world.clock.advance_to(after_ms(world.now(), 24 * 3_600_000));
        other.run_due(world.now()).await.unwrap();
        let asked = client.get_order(get).await.unwrap().into_inner().order.unwrap();
        assert_eq!(world.get(&order).await, asked);
        assert!(asked.refunds.iter().flat_map(|refund| &refund.parts).all(|part| part.attempt > 1));
        // What came in and was not given back is what is kept: nothing, but for line 2.
        let sums = |f: fn(&pb::Tender) -> i64| end.tenders.iter().map(f).sum::<i64>();
        assert_eq!(sums(|t| minor(&t.refund_requested)), minor(&end.refund_requested));
        let kept = minor(&end.paid) - minor(&end.refund_requested);
        assert!(kept > 0 && kept < minor(&end.total), "{kept}");
    }
}

#[tokio::test]
async fn each_capture_is_paid_back_under_its_own_reference() {
    for world in worlds().await {
        let order = forty(&world.number(), PaymentTerms::Prepaid, TenderState::Authorized);
        let order = world.try_place(order).await.unwrap();
        for (amount, reference) in [(1_500, "cap-1"), (2_500, "cap-2")] {
            world.try_report(&order, "t1", TenderState::Captured, amount, reference).await.unwrap();
        }
        let end = put_back(&world, &order, 3).await;
        let parts: Vec<_> =
            end.refunds[0].parts.iter().map(|p| (p.provider_ref.as_str(), minor(&p.amount))).collect();
        assert_eq!(parts, [("cap-2", 2_500), ("cap-1", 500)]);
        let events = world.events(&order).await;
        let Some(Event::RefundRequested(event)) = &events.last().unwrap().body else { panic!() };
        assert_eq!(event.parts, end.refunds[0].parts);
        let unnamed = world.try_refund(&end, (0, "t1"), RefundState::Done, "back").await.unwrap_err();
        assert_eq!(fields(&unnamed), ["provider_ref"]);
        let report = |reference: &str, attempt| pb::ReportRefundRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            refund_id: end.refunds[0].refund_id.clone(),
            tender_id: "t1".to_owned(),
            state: RefundState::Done.into(),
            report_ref: "back".to_owned(),
            attempt,
            provider_ref: Some(reference.to_owned()),
        };
        let mut client = world.client.clone();
        let other = client.report_refund(report("cap-3", 1)).await.unwrap_err();
        assert_eq!(fields(&other), ["provider_ref"]);
        let early = client.report_refund(report("cap-1", 2)).await.unwrap_err();
        assert_eq!(fields(&early), ["attempt"]);
        let done = client.report_refund(report("cap-1", 1)).await.unwrap().into_inner().order.unwrap();
        let states: Vec<_> = done.refunds[0].parts.iter().map(pb::RefundPart::state).collect();
        assert_eq!(states, [RefundState::Pending, RefundState::Done]);
        assert_eq!(minor(&done.tenders[0].refunded), 500);
    }
}

#[tokio::test]
async fn a_late_report_of_an_earlier_attempt_is_no_answer_to_the_last_one() {
    for world in worlds().await {
        let order = asked_back(&world).await;
        let report = |state: RefundState, reference: &str| pb::ReportRefundRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            refund_id: order.refunds[0].refund_id.clone(),
            tender_id: "t1".to_owned(),
            state: state.into(),
            report_ref: reference.to_owned(),
            attempt: 1,
            provider_ref: None,
        };
        let mut client = world.client.clone();
        client.report_refund(report(RefundState::Failed, "declined")).await.unwrap();
        world.pass(1).await;
        let again = world.get(&order).await;
        assert_eq!(part(&again), (RefundState::Pending, 2));
        for reference in ["declined", "other"] {
            let late = client.report_refund(report(RefundState::Failed, reference)).await.unwrap();
            assert_eq!(late.into_inner().order.unwrap(), again);
        }
        let done = client.report_refund(report(RefundState::Done, "back")).await.unwrap();
        assert_eq!(part(&done.into_inner().order.unwrap()), (RefundState::Done, 2), "money has moved");
    }
}
