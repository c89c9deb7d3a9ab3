//! What comes in: by which tender, how much is due, and what is not needed or too much.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::r#type::v1::LineQuantity;
use ful::FulfillmentState as State;
use ful::fulfillment_event::Body;
use pb::order_event::Body as Event;
use pb::{OrderStatus, PaymentTerms, TenderState};
use test_world::{fields, reason};

use crate::world::{World, forty, gbp, leg, line, minor, money, refunds, request, tender, worlds};

/// The node accepts the work.
async fn accept(world: &World, order: &pb::Order) -> pb::Order {
    world.work(order, State::Accepted, Body::Accepted(ful::FulfillmentAccepted {}), |_| ()).await
}

/// The node gives up pieces of line 1 that a cancel asked for, up to this number in all.
async fn grant(world: &World, order: &pb::Order, number: i64, pieces: i64, cancelled: i64) -> pb::Order {
    let body = Body::Cancelled(ful::FulfillmentCancelled {
        cancel_number: number,
        lines: vec![ful::HandedOverLine { line: 1, quantity: pieces }],
        refused: Vec::new(),
        reason: "CHANGED_MIND".to_owned(),
    });
    let change =
        |l: &mut ful::FulfillmentLine| (l.to_pick, l.cancelled) = (l.quantity - cancelled, cancelled);
    world.work(order, State::Accepted, body, change).await
}

/// All but the cancelled pieces are handed over, against a payment.
fn handed_over(amount: Option<ful::HandOverPayment>) -> Body {
    Body::Moved(ful::FulfillmentMoved {
        to: ful::FulfillmentStage::Done.into(),
        payment: amount,
        ..Default::default()
    })
}

fn cash(amount: i64) -> Option<ful::HandOverPayment> {
    Some(ful::HandOverPayment {
        kind: "cash".to_owned(),
        amount: gbp(amount),
        provider_ref: "till-7".to_owned(),
    })
}

async fn last(world: &World, order: &pb::Order) -> Event {
    world.events(order).await.pop().unwrap().body.unwrap()
}

#[tokio::test]
async fn an_authorization_that_fails_after_the_release_stops_the_work_until_it_is_paid_again() {
    for world in worlds().await {
        let order = forty("1", PaymentTerms::Prepaid, TenderState::Authorized);
        let order = world.try_place(order).await.unwrap();
        accept(&world, &order).await;
        let lost = world.try_report(&order, "t1", TenderState::Failed, 4_000, "psp-9").await.unwrap();
        assert_eq!((lost.blocks.as_slice(), minor(&lost.paid)), (&[pb::Block::Payment.into()][..], 0));
        assert_eq!((minor(&lost.tenders[0].amount_due), minor(&lost.tenders[0].authorized)), (4_000, 0));
        let Event::PaymentLost(event) = last(&world, &order).await else { panic!() };
        assert_eq!((minor(&event.amount), event.state()), (4_000, TenderState::Failed));
        assert_eq!(event.fulfillment_ids, [leg(&order).fulfillment_id.clone()]);
        assert_eq!(event.payment_due_time, lost.payment_due_time);
        assert!(event.payment_due_time.is_some());
        let added = world.try_add(&order, tender("t2", 4_000, TenderState::Due)).await.unwrap();
        assert_eq!(added.blocks, lost.blocks, "nothing is paid yet");
        let dues: Vec<_> = added.tenders.iter().map(|t| minor(&t.amount_due)).collect();
        assert_eq!(dues, [0, 4_000]);
        let paid = world.try_report(&order, "t2", TenderState::Captured, 4_000, "psp-10").await.unwrap();
        assert_eq!((paid.blocks.len(), minor(&paid.paid)), (0, 4_000));
        let Event::Unblocked(event) = last(&world, &order).await else { panic!() };
        assert_eq!(event.work[0].fulfillment_id, leg(&order).fulfillment_id, "the leg is free again");
        let happened = world.happened(&order).await;
        assert_eq!(happened, ["placed", "progressed", "payment_lost", "tender_added", "paid", "unblocked"]);
        assert_eq!(
            world.steps(&order).await,
            ["PLACED", "ACCEPTED", "PAYMENT_FAILED", "PAYMENT_LOST", "TENDER_ADDED", "PAID", "RELEASED"]
        );
        // Work goes on, and nothing lapses.
        world.pass(60).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::InFulfillment);
    }
}

#[tokio::test]
async fn a_lost_payment_that_is_not_made_good_in_time_cancels_what_is_not_handed_over() {
    for world in worlds().await {
        let order = forty("1", PaymentTerms::Prepaid, TenderState::Authorized);
        let order = world.try_place(order).await.unwrap();
        world.try_report(&order, "t1", TenderState::Voided, 4_000, "").await.unwrap();
        world.pass(14).await;
        assert_eq!(world.happened(&order).await, ["placed", "payment_lost"]);
        world.pass(1).await;
        let Event::CancelRequested(event) = last(&world, &order).await else { panic!() };
        assert_eq!(event.reason, "PAYMENT_FAILED");
        assert_eq!(event.legs[0].lines, [LineQuantity { line: 1, quantity: 4 }]);
        let end = grant(&world, &order, 1, 4, 4).await;
        assert_eq!((end.status(), refunds(&end), minor(&end.paid)), (OrderStatus::Cancelled, (0, 0), 0));
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn what_is_due_at_the_handover_follows_cancels_and_the_till_pays_no_more() {
    for world in worlds().await {
        let order = forty("1", PaymentTerms::PayAtHandover, TenderState::Due);
        let order = world.try_place(order).await.unwrap();
        let Event::Placed(placed) = last(&world, &order).await else { panic!() };
        assert_eq!((minor(&placed.work[0].due), minor(&placed.work[0].lines[0].due)), (4_000, 4_000));
        accept(&world, &order).await;
        world.try_cancel(&order, &[(1, 1)]).await.unwrap();
        let less = grant(&world, &order, 1, 1, 1).await;
        assert_eq!((minor(&less.tenders[0].amount_due), refunds(&less)), (3_000, (0, 0)));
        let done = |l: &mut ful::FulfillmentLine| (l.to_pick, l.done, l.cancelled) = (0, 3, 1);
        let end = world.work(&order, State::Done, handed_over(cash(3_000)), done).await;
        assert_eq!((end.status(), minor(&end.paid)), (OrderStatus::Completed, 3_000));
        assert_eq!((refunds(&end), minor(&end.tenders[0].amount_due)), ((0, 0), 0));
        assert_eq!(world.get(&end).await, end);
        let happened = world.happened(&order).await;
        assert_eq!(
            happened,
            ["placed", "progressed", "cancel_requested", "cancelled", "progressed", "paid", "completed"]
        );
        let events = world.events(&order).await;
        let Some(Event::Paid(paid)) = &events[5].body else { panic!() };
        assert_eq!((paid.tender_id.as_str(), minor(&paid.amount), paid.in_full), ("t1", 3_000, true));
    }
}

#[tokio::test]
async fn a_payment_before_the_handover_lowers_what_is_due_there() {
    for world in worlds().await {
        let mut asked = forty("1", PaymentTerms::PayAtHandover, TenderState::Due);
        asked.tenders = vec![tender("t1", 1_000, TenderState::Due), tender("t2", 3_000, TenderState::Due)];
        let order = world.try_place(asked).await.unwrap();
        let paid = world.try_report(&order, "t1", TenderState::Captured, 400, "psp-1").await.unwrap();
        assert_eq!((minor(&paid.paid), minor(&paid.tenders[0].amount_due)), (400, 600));
        let Event::Paid(event) = last(&world, &order).await else { panic!() };
        assert_eq!((event.in_full, event.work.len()), (false, 1));
        assert_eq!(event.work[0].fulfillment_id, leg(&order).fulfillment_id);
        assert_eq!(minor(&event.work[0].due), 3_600);
        // In another currency it is not the order's money.
        let other = ful::HandOverPayment { amount: money("EUR", 36, 0), ..cash(1).unwrap() };
        let event = world.work_event(&order, State::Done, handed_over(Some(other)), |_| ());
        assert_eq!(world.hear(&event).await.unwrap_err().kind, bus::HandleErrorKind::Poison);
        let done = |l: &mut ful::FulfillmentLine| (l.to_pick, l.done) = (0, 4);
        let end = world.work(&order, State::Done, handed_over(cash(3_600)), done).await;
        assert_eq!((end.status(), minor(&end.paid), refunds(&end)), (OrderStatus::Completed, 4_000, (0, 0)));
        assert_eq!(world.get(&order).await, end);
    }
}

#[tokio::test]
async fn money_that_no_tender_was_named_for_makes_one_at_the_handover() {
    for world in worlds().await {
        let mut asked = forty("1", PaymentTerms::PayAtHandover, TenderState::Due);
        asked.tenders.clear();
        let order = world.try_place(asked).await.unwrap();
        let done = |l: &mut ful::FulfillmentLine| (l.to_pick, l.done) = (0, 4);
        let end = world.work(&order, State::Done, handed_over(cash(4_000)), done).await;
        assert_eq!((end.status(), minor(&end.paid)), (OrderStatus::Completed, 4_000));
        let [made] = end.tenders.as_slice() else { panic!("{end:?}") };
        assert_eq!(
            (made.kind.as_str(), made.state(), minor(&made.captured)),
            ("cash", TenderState::Captured, 4_000)
        );
        assert_eq!(world.get(&order).await, end);
    }
}

#[tokio::test]
async fn authorized_money_that_is_not_needed_is_voided_and_never_refunded() {
    for world in worlds().await {
        let order = forty("1", PaymentTerms::Prepaid, TenderState::Authorized);
        let order = world.try_place(order).await.unwrap();
        world.try_cancel(&order, &[]).await.unwrap();
        let end = grant(&world, &order, 1, 4, 4).await;
        assert_eq!((end.status(), refunds(&end), minor(&end.paid)), (OrderStatus::Cancelled, (0, 0), 0));
        assert_eq!(
            world.happened(&order).await,
            ["placed", "cancel_requested", "cancelled", "void_requested"]
        );
        let Event::VoidRequested(asked) = last(&world, &order).await else { panic!() };
        assert_eq!((asked.tender_id.as_str(), minor(&asked.amount), minor(&asked.left)), ("t1", 4_000, 0));
        assert_eq!((asked.reason.as_str(), asked.lines[0].quantity), ("CHANGED_MIND", 4));
        assert_eq!(world.steps(&order).await.last().unwrap(), "VOID_REQUESTED");
        let voided = world.try_report(&order, "t1", TenderState::Voided, 4_000, "psp-2").await.unwrap();
        assert_eq!((minor(&voided.paid), refunds(&voided)), (0, (0, 0)));
        assert_eq!(voided.tenders[0].state(), TenderState::Voided);
        let again = world.try_report(&order, "t1", TenderState::Voided, 4_000, "psp-2").await.unwrap();
        assert_eq!(again, voided);
        assert_eq!(world.next_due().await, None);
    }
}

#[tokio::test]
async fn what_is_authorized_is_captured_for_less_and_in_parts() {
    for world in worlds().await {
        let order = forty("1", PaymentTerms::Prepaid, TenderState::Authorized);
        let order = world.try_place(order).await.unwrap();
        world.try_cancel(&order, &[(1, 1)]).await.unwrap();
        grant(&world, &order, 1, 1, 1).await;
        let Event::VoidRequested(asked) = last(&world, &order).await else { panic!() };
        assert_eq!((minor(&asked.amount), minor(&asked.left)), (1_000, 3_000));
        let part = world.try_report(&order, "t1", TenderState::Captured, 1_000, "psp-1").await.unwrap();
        let sums = |order: &pb::Order| {
            let t = &order.tenders[0];
            [&t.authorized, &t.captured, &t.voided, &t.amount_due].map(minor)
        };
        assert_eq!(
            (sums(&part), part.tenders[0].state()),
            ([2_000, 1_000, 1_000, 0], TenderState::Authorized)
        );
        let whole = world.try_report(&order, "t1", TenderState::Captured, 2_000, "psp-2").await.unwrap();
        assert_eq!((sums(&whole), whole.tenders[0].state()), ([0, 3_000, 1_000, 0], TenderState::Captured));
        assert_eq!((minor(&whole.paid), refunds(&whole)), (3_000, (0, 0)));
        assert_eq!(world.get(&order).await, whole);
        // What is not authorized is prepaid whole.
        let due = world.try_place(forty("2", PaymentTerms::Prepaid, TenderState::Due)).await.unwrap();
        let part = world.try_report(&due, "t1", TenderState::Captured, 1_000, "psp-1").await.unwrap_err();
        assert_eq!(reason(&part), "AMOUNT_DIFFERS");
    }
}

#[tokio::test]
async fn a_failed_tender_is_replaced_by_any_mix_of_others() {
    for world in worlds().await {
        let order = world.try_place(forty("1", PaymentTerms::Prepaid, TenderState::Due)).await.unwrap();
        let early = world.try_add(&order, tender("t2", 2_500, TenderState::Captured)).await.unwrap_err();
        assert_eq!(reason(&early), "NOTHING_TO_REPLACE");
        world.try_report(&order, "t1", TenderState::Failed, 4_000, "psp-1").await.unwrap();
        let taken = world.try_add(&order, tender("t1", 2_500, TenderState::Due)).await.unwrap_err();
        assert_eq!(fields(&taken), ["tender.tender_id"]);
        let euro = pb::Tender { amount: money("EUR", 25, 0), ..tender("t2", 1, TenderState::Due) };
        let euro = world.try_add(&order, euro).await.unwrap_err();
        assert_eq!(fields(&euro), ["tender.amount.currency_code"]);
        let card =
            pb::Tender { provider_ref: "psp-2".to_owned(), ..tender("t2", 2_500, TenderState::Authorized) };
        let part = world.try_add(&order, card).await.unwrap();
        assert_eq!((part.blocks.len(), minor(&part.paid)), (1, 2_500));
        assert_eq!(minor(&part.tenders[0].amount_due), 1_500);
        let cash = pb::Tender { kind: "cash".to_owned(), ..tender("t3", 1_500, TenderState::Captured) };
        let whole = world.try_add(&order, cash).await.unwrap();
        assert_eq!((whole.blocks.len(), minor(&whole.paid)), (0, 4_000));
        assert_eq!(world.get(&order).await, whole);
        let happened = world.happened(&order).await;
        let expected =
            ["placed", "money_changed", "tender_added", "paid", "tender_added", "paid", "unblocked"];
        assert_eq!(happened, expected);
        let events = world.events(&order).await;
        let Some(Event::TenderAdded(added)) = &events[4].body else { panic!() };
        assert_eq!(added.tender.as_ref(), Some(&whole.tenders[2]));
        let more = world.try_add(&order, tender("t4", 1, TenderState::Due)).await.unwrap_err();
        assert_eq!(reason(&more), "NOTHING_TO_REPLACE");
        // The provider of the added one calls again.
        let again = world.try_report(&order, "t2", TenderState::Authorized, 2_500, "psp-2").await.unwrap();
        assert_eq!(again, whole);
        // What goes back is refunded by the cash and not captured by the card.
        world.try_cancel(&order, &[]).await.unwrap();
        let end = grant(&world, &order, 1, 4, 4).await;
        assert_eq!((refunds(&end), minor(&end.tenders[1].voided)), ((1_500, 1_500), 2_500));
        let over = world.try_add(&order, tender("t4", 1, TenderState::Due)).await.unwrap_err();
        assert_eq!(reason(&over), "ORDER_OVER");
    }
}

#[tokio::test]
async fn a_tender_that_pays_too_late_takes_the_stock_again() {
    for world in worlds().await {
        let order = world.unpaid().await;
        world.try_pay(&order, TenderState::Failed).await.unwrap();
        world.pass(16).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::PaymentLapsed);
        let paid = world.try_add(&order, tender("t2", 760, TenderState::Captured)).await.unwrap();
        assert_eq!((paid.status(), paid.blocks.len()), (OrderStatus::Placed, 0));
        assert_ne!(leg(&paid).promise_token, leg(&order).promise_token);
        assert_eq!(world.fake.live(), 2, "the first hold runs out by itself");
    }
}

#[tokio::test]
async fn a_second_payment_is_kept_as_too_much_and_goes_back_once() {
    for world in worlds().await {
        let order = world.try_place(forty("1", PaymentTerms::Prepaid, TenderState::Due)).await.unwrap();
        world.try_report(&order, "t1", TenderState::Captured, 4_000, "txA").await.unwrap();
        let twice = world.try_report(&order, "t1", TenderState::Captured, 4_000, "txB").await.unwrap();
        assert_eq!((twice.status(), refunds(&twice)), (OrderStatus::Placed, (4_000, 4_000)));
        assert_eq!((minor(&twice.paid), twice.tenders[0].provider_ref.as_str()), (8_000, "txA"));
        let part = &twice.refunds[0].parts[0];
        assert_eq!(
            (part.tender_id.as_str(), part.provider_ref.as_str()),
            ("t1", "txB"),
            "that one goes back"
        );
        assert_eq!(twice.refunds[0].reason, "EXCESS_PAYMENT");
        let happened = ["placed", "paid", "unblocked", "excess", "refund"];
        assert_eq!(world.happened(&order).await, happened);
        let events = world.events(&order).await;
        let Some(Event::ExcessPaid(excess)) = &events[3].body else { panic!() };
        assert_eq!((minor(&excess.amount), excess.provider_ref.as_str()), (4_000, "txB"));
        assert_eq!(excess.refund_id, twice.refunds[0].refund_id);
        for reference in ["txB", "txA"] {
            let again =
                world.try_report(&order, "t1", TenderState::Captured, 4_000, reference).await.unwrap();
            assert_eq!(again, twice, "{reference}");
        }
        assert_eq!(world.happened(&order).await, happened);
        let steps = world.steps(&order).await;
        assert_eq!(steps, ["PLACED", "PAID", "RELEASED", "EXCESS_PAID", "REFUND_REQUESTED"]);
        // It is no payment of the order: what pieces give back is what they cost.
        world.try_cancel(&order, &[]).await.unwrap();
        let end = grant(&world, &order, 1, 4, 4).await;
        assert_eq!(refunds(&end), (4_000, 8_000));
        assert_eq!(end.refunds[1].parts[0].provider_ref, "txA");
    }
}

#[tokio::test]
async fn money_for_a_cancelled_order_goes_back_once() {
    for world in worlds().await {
        let order = world.try_place(forty("1", PaymentTerms::Prepaid, TenderState::Due)).await.unwrap();
        world.try_cancel(&order, &[]).await.unwrap();
        for _ in 0..2 {
            let late = world.try_report(&order, "t1", TenderState::Captured, 4_000, "txA").await.unwrap();
            assert_eq!((late.status(), refunds(&late)), (OrderStatus::Cancelled, (4_000, 4_000)));
            assert_eq!(late.refunds[0].reason, "PAID_TOO_LATE");
            assert_eq!(world.happened(&order).await, ["placed", "cancelled", "excess", "refund"]);
            assert_eq!(world.steps(&order).await, ["PLACED", "CANCELLED", "EXCESS_PAID", "REFUND_REQUESTED"]);
        }
    }
}

#[tokio::test]
async fn charges_go_back_by_their_rules() {
    use pb::ReturnRule::{Kept, ProRata, Unspecified, WithLastPiece};
    for world in worlds().await {
        // What comes back with the first of three pieces at 1.00, and what in all.
        for (rule, known, first, all) in [
            (Unspecified, WithLastPiece, 100, 650),
            (WithLastPiece, WithLastPiece, 100, 650),
            (ProRata, ProRata, 216, 650),
            (Kept, Kept, 100, 300),
        ] {
            let mut asked = request(&world.number(), vec![line("a", 3, 100)], TenderState::Captured);
            asked.charges[0].set_return_rule(rule);
            let order = world.try_place(asked).await.unwrap();
            assert_eq!(order.charges[0].return_rule(), known);
            world.try_cancel(&order, &[(1, 1)]).await.unwrap();
            let less = grant(&world, &order, 1, 1, 1).await;
            assert_eq!(refunds(&less), (first, first), "{rule:?}");
            world.try_cancel(&order, &[(1, 2)]).await.unwrap();
            let end = grant(&world, &order, 2, 2, 3).await;
            assert_eq!((end.status(), refunds(&end).1), (OrderStatus::Cancelled, all), "{rule:?}");
        }
        let mut at_till = request("x", vec![line("a", 3, 100)], TenderState::Due);
        at_till.set_payment_terms(PaymentTerms::PayAtHandover);
        let order = world.try_place(at_till).await.unwrap();
        assert_eq!(order.charges[0].return_rule(), ProRata, "it is paid piece by piece");
    }
}

#[tokio::test]
async fn a_discount_keeps_its_promotions_and_each_piece_its_part_of_them() {
    for world in worlds().await {
        let mut asked = request("1", vec![line("a", 3, 100)], TenderState::Captured);
        let promotion = |id: &str, amount| pb::Promotion { promotion_id: id.to_owned(), amount: gbp(amount) };
        asked.lines[0].discount = gbp(50);
        asked.lines[0].promotions = vec![promotion("SUMMER-11", 20), promotion("club.3", 10)];
        (asked.total, asked.tenders[0].amount) = (gbp(600), gbp(600));
        let order = world.try_place(asked.clone()).await.unwrap();
        assert_eq!(order.lines[0].promotions, asked.lines[0].promotions);
        assert_eq!(world.get(&order).await, order);
        world.try_cancel(&order, &[]).await.unwrap();
        let end = grant(&world, &order, 1, 3, 3).await;
        assert_eq!(refunds(&end), (600, 600));
        for (component, back) in [
            ("DISCOUNT:SUMMER-11", -20),
            ("DISCOUNT:club.3", -10),
            ("DISCOUNT:", -20),
            ("GOODS", 300),
            ("CHARGE:POSTAGE", 350),
        ] {
            let rows = world.rows("SELECT component, amount FROM order_money WHERE cause = 'CLAIMED'").await;
            let of = rows.iter().filter(|row| row.get::<String>("component").unwrap() == component);
            let claimed: i64 = of.map(|row| row.get::<i64>("amount").unwrap()).sum();
            assert_eq!(claimed, back, "{component}");
        }
    }
}

#[tokio::test]
async fn a_report_that_repeats_without_its_reference_changes_nothing() {
    for world in worlds().await {
        let order = forty(&world.number(), PaymentTerms::Prepaid, TenderState::Due);
        let order = world.try_place(order).await.unwrap();
        for (state, reference) in [(TenderState::Authorized, ""), (TenderState::Captured, "cap-1")] {
            let first = world.try_report(&order, "t1", state, 4_000, reference).await.unwrap();
            let again = world.try_report(&order, "t1", state, 4_000, "").await.unwrap();
            assert_eq!(again, first, "{state:?}");
        }
        assert_eq!(world.happened(&order).await, ["placed", "paid", "unblocked", "paid"]);
    }
}

#[tokio::test]
async fn what_another_tab_pays_goes_back_and_leaves_a_trace() {
    for world in worlds().await {
        let order = forty(&world.number(), PaymentTerms::Prepaid, TenderState::Due);
        let order = world.try_place(order).await.unwrap();
        world.try_report(&order, "t1", TenderState::Authorized, 4_000, "tab-1").await.unwrap();
        let second = world.try_report(&order, "t1", TenderState::Authorized, 4_000, "tab-2").await.unwrap();
        let tender = &second.tenders[0];
        assert_eq!((minor(&tender.authorized), minor(&tender.voided)), (4_000, 4_000));
        let Event::VoidRequested(asked) = last(&world, &order).await else { panic!() };
        assert_eq!((asked.provider_ref.as_str(), asked.reason.as_str()), ("tab-2", "EXCESS_PAYMENT"));
        assert_eq!((minor(&asked.amount), minor(&asked.left)), (4_000, 0));
        assert_eq!(world.steps(&order).await.last().unwrap(), "VOID_REQUESTED");
        let more = world.try_report(&order, "t1", TenderState::Captured, 4_500, "tab-1").await.unwrap();
        assert_eq!((minor(&more.paid), minor(&more.refund_requested)), (4_500, 500));
        let part = &more.refunds[0].parts[0];
        assert_eq!((part.provider_ref.as_str(), minor(&part.amount)), ("tab-1", 500));
        assert!(world.steps(&order).await.contains(&"EXCESS_PAID".to_owned()));
    }
}
