//! Following what other services tell.

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as pb;
use domain::id::OrderId;
use ful::fulfillment_event::Body;
use ful::{FulfillmentStage as Stage, FulfillmentState as State};
use inv::inventory_event::Body as Stock;
use pb::OrderStatus;
use test_world::v7;

use crate::world::{World, leg, refunds, worlds};

fn short(line: u32, picked: i64, short: i64) -> Body {
    let reason = ful::ShortReason::NotFound.into();
    Body::Moved(ful::FulfillmentMoved {
        to: Stage::Picked.into(),
        lines: vec![ful::MovedLine {
            line,
            quantity: picked,
            short,
            short_reason: reason,
            sku: String::new(),
        }],
        ..Default::default()
    })
}

fn moved(to: Stage) -> Body {
    Body::Moved(ful::FulfillmentMoved { to: to.into(), ..Default::default() })
}

/// One piece of the first line is handed over to the buyer.
fn collected() -> Body {
    Body::Moved(ful::FulfillmentMoved {
        to: Stage::Done.into(),
        lines: vec![ful::MovedLine { line: 1, quantity: 1, ..Default::default() }],
        collector: ful::CollectorKind::Buyer.into(),
        ..Default::default()
    })
}

/// The words of a step in the timeline of an order.
async fn said(world: &World, order: &pb::Order, step: &str) -> String {
    let timeline = world.timeline(order).await;
    timeline.into_iter().find(|entry| entry.step == step).unwrap().text
}

#[tokio::test]
async fn an_order_is_followed_from_the_offer_to_the_handover() {
    for world in worlds().await {
        let order = world.paid().await;
        world.confirm(&order).await;
        assert_eq!(world.get(&order).await.status(), OrderStatus::Confirmed);
        let offered = Body::Offered(ful::FulfillmentOffered::default());
        let now = world.work(&order, State::Offered, offered, |_| ()).await;
        assert_eq!((now.status(), leg(&now).work_version), (OrderStatus::Confirmed, 1));
        let accepted = Body::Accepted(ful::FulfillmentAccepted {});
        let now = world.work(&order, State::Accepted, accepted, |_| ()).await;
        assert_eq!((now.status(), now.lines[0].buckets.unwrap().allocated), (OrderStatus::InFulfillment, 3));
        let now = world
            .work(&order, State::Picking, short(1, 2, 1), |l| {
                (l.to_pick, l.picked, l.short) = (0, 2, l.quantity - 2);
            })
            .await;
        assert!(said(&world, &order, "PICKED").await.ends_with("2 pieces picked, 1 short"));
        assert_eq!((now.needs.len(), refunds(&now)), (1, (0, 0)), "it is looked for elsewhere");
        let now = world.drop_pieces(&order).await;
        // A third of 3.00. The postage stays: it goes back with the last piece.
        assert_eq!(refunds(&now), (100, 100));
        assert_eq!(now.lines[0].cancel_reason, "SHORT_NOT_FOUND");
        let ready = moved(Stage::Ready);
        let ready = world
            .work(&order, State::ReadyForPickup, ready, |l| {
                (l.to_pick, l.ready, l.short) = (0, 2, l.quantity - 2);
            })
            .await;
        assert_eq!(ready.lines[0].buckets.unwrap().ready, 2);
        let end = world
            .work(&order, State::Done, collected(), |l| (l.to_pick, l.done, l.short) = (0, 2, l.quantity - 2))
            .await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Completed, (100, 100)));
        assert_eq!(said(&world, &order, "HANDED_OVER").await, "1 piece handed over to the buyer");
        assert_eq!(
            world.steps(&order).await,
            [
                "PLACED",
                "CONFIRMED",
                "OFFERED",
                "ACCEPTED",
                "PICKED",
                "NEED_OPENED",
                "OPTIONS_OFFERED",
                "OPTION_CHOSEN",
                "NEED_DROPPED",
                "CANCELLED",
                "REFUND_REQUESTED",
                "READY",
                "HANDED_OVER",
                "COMPLETED"
            ]
        );
        assert_eq!(
            world.happened(&order).await,
            [
                "placed",
                "confirmed",
                "progressed",
                "progressed",
                "need_opened",
                "options_offered",
                "need_closed",
                "cancelled",
                "refund",
                "progressed",
                "progressed",
                "completed"
            ]
        );
    }
}

#[tokio::test]
async fn what_is_not_collected_is_paid_back_whole() {
    for world in worlds().await {
        let order = world.paid().await;
        let gone = |l: &mut ful::FulfillmentLine| (l.to_pick, l.cancelled) = (0, l.quantity);
        let end = world.work(&order, State::Restocked, moved(Stage::Shelf), gone).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)));
        assert_eq!((end.refunds[0].reason.as_str(), end.needs.len()), ("NOT_COLLECTED", 0));
    }
}

#[tokio::test]
async fn every_failure_of_a_node_is_paid_back_whole_only_once_the_customer_drops_the_pieces() {
    for world in worlds().await {
        let rejected =
            ful::FulfillmentRejected { reason: ful::RejectReason::TooBusy.into(), ..Default::default() };
        let ends = [
            (State::Rejected, Body::Rejected(rejected), "REJECTED_TOO_BUSY"),
            (State::TimedOut, Body::TimedOut(ful::FulfillmentTimedOut {}), "STORE_TIMED_OUT"),
            (
                State::Cancelled,
                Body::StockLost(ful::StockLost { sku: "a".to_owned(), ..Default::default() }),
                "STOCK_LOST",
            ),
        ];
        for (state, body, why) in ends {
            let order = world.paid().await;
            let failed = world.work(&order, state, body, |l| (l.to_pick, l.given_up) = (0, l.quantity)).await;
            assert_eq!((failed.needs.len(), refunds(&failed)), (1, (0, 0)), "{why}");
            let end = world.drop_pieces(&order).await;
            assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)), "{why}");
            if why == "REJECTED_TOO_BUSY" {
                assert_eq!(said(&world, &order, "REJECTED").await, "the node refused: too busy");
            }
            assert_eq!((end.refunds[0].reason.as_str(), end.lines[1].cancel_reason.as_str()), (why, why));
        }
    }
}

#[tokio::test]
async fn an_expired_pickup_is_paid_back_when_the_goods_are_back_and_not_before() {
    for world in worlds().await {
        let order = world.paid().await;
        let expired = Body::PickupExpired(ful::PickupExpired {});
        let kept = world
            .work(&order, State::ReadyForPickup, expired, |l| (l.to_pick, l.ready) = (0, l.quantity))
            .await;
        assert_eq!((kept.status(), refunds(&kept)), (OrderStatus::InFulfillment, (0, 0)));
        let late = moved(Stage::Done);
        let end = world.work(&order, State::Done, late, |l| (l.to_pick, l.done) = (0, l.quantity)).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Completed, (0, 0)));
    }
}

#[tokio::test]
async fn a_report_that_changes_nothing_is_a_step_and_no_event() {
    for world in worlds().await {
        let order = world.paid().await;
        let accepted = || Body::Accepted(ful::FulfillmentAccepted {});
        let before = world.work(&order, State::Accepted, accepted(), |_| ()).await;
        let notice = Body::CustomerNoticeDue(ful::CustomerNoticeDue { template: "PICKUP_READY".to_owned() });
        let after = world.work(&order, State::Accepted, notice, |_| ()).await;
        assert_eq!(before, after);
        assert_eq!(world.steps(&order).await, ["PLACED", "ACCEPTED", "NOTICE_DUE"]);
    }
}

#[tokio::test]
async fn lost_stock_is_a_step_until_fulfillment_ends_its_work() {
    for world in worlds().await {
        let order = world.paid().await;
        let refused = inv::ReservationRefused {
            reservation: None,
            order_id: order.order_id.clone(),
            reason: "NO_STOCK".to_owned(),
            sku: "a".to_owned(),
        };
        world.hear(&world.stock_event(&order, Stock::ReservationRefused(refused))).await.unwrap();
        assert_eq!(world.get(&order).await.version, 1);
        assert_eq!(world.steps(&order).await, ["PLACED", "STOCK_LOST"]);
    }
}

#[tokio::test]
async fn a_confirmation_that_comes_twice_or_too_late_is_passed_over() {
    for world in worlds().await {
        let order = world.paid().await;
        world.confirm(&order).await;
        world.confirm(&order).await;
        assert_eq!(world.happened(&order).await, ["placed", "confirmed"]);
        let over = world.unpaid().await;
        world.try_cancel(&over, &[]).await.unwrap();
        world.confirm(&over).await;
        assert_eq!(world.get(&over).await.status(), OrderStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_hold_that_ran_out_is_held_anew_by_the_payment() {
    for world in worlds().await {
        let order = world.unpaid().await;
        // A promise that ends gives its stock back before the reservation runs out.
        let reason = "PROMISE_ENDED".to_owned();
        let gone = Stock::ReservationReleased(inv::ReservationReleased { reservation: None, reason });
        world.hear(&world.stock_event(&order, gone)).await.unwrap();
        assert_eq!(world.get(&order).await.lines[0].buckets.unwrap().open, 3);
        let paid = world.try_pay(&order, pb::TenderState::Captured).await.unwrap();
        assert_ne!(leg(&paid).promise_token, leg(&order).promise_token);
        assert_eq!(paid.lines[0].buckets.unwrap().reserved, 3);
        // That of a released order is inventory's affair: it takes the stock again when it confirms.
        let gone = Stock::ReservationExpired(inv::ReservationExpired { reservation: None });
        world.hear(&world.stock_event(&paid, gone)).await.unwrap();
        assert_eq!(world.get(&order).await.lines[0].buckets.unwrap().reserved, 3);
    }
}

#[tokio::test]
async fn a_hold_that_was_given_back_is_held_anew_by_the_payment() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let back = Stock::ReservationReleased(inv::ReservationReleased {
            reservation: None,
            reason: "PROMISE_ENDED".to_owned(),
        });
        world.hear(&world.stock_event(&order, back)).await.unwrap();
        let paid = world.try_pay(&order, pb::TenderState::Captured).await.unwrap();
        assert_ne!(leg(&paid).promise_token, leg(&order).promise_token);
        assert_eq!(world.steps(&order).await, ["PLACED", "HOLD_LOST", "PAID", "RELEASED"]);
    }
}

#[tokio::test]
async fn a_hold_that_lost_units_is_held_again_by_the_payment_and_one_of_a_released_order_is_left_to_its_work()
{
    for world in worlds().await {
        let order = world.unpaid().await;
        let lost = || Stock::ReservationGivenUp(inv::ReservationGivenUp::default());
        world.hear(&world.stock_event(&order, lost())).await.unwrap();
        assert_eq!(world.get(&order).await.lines[0].buckets.unwrap().open, 3);
        let paid = world.try_pay(&order, pb::TenderState::Captured).await.unwrap();
        assert_ne!(leg(&paid).promise_token, leg(&order).promise_token);
        world.hear(&world.stock_event(&paid, lost())).await.unwrap();
        assert_eq!(world.get(&order).await.lines[0].buckets.unwrap().reserved, 3);
        assert_eq!(world.steps(&order).await, ["PLACED", "HOLD_LOST", "PAID", "RELEASED"]);
    }
}

#[tokio::test]
async fn what_can_not_be_is_poison() {
    for world in worlds().await {
        let order = world.paid().await;
        let ready = || moved(Stage::Ready);
        let wrong = world.work_event(&order, State::ReadyForPickup, ready(), |l| l.ready = 1);
        assert_eq!(world.hear(&wrong).await.unwrap_err().kind, bus::HandleErrorKind::Poison);
        let mut unknown = order.clone();
        unknown.order_id = OrderId::new(v7()).to_string();
        let wrong = world.work_event(&unknown, State::ReadyForPickup, ready(), |_| ());
        assert_eq!(world.hear(&wrong).await.unwrap_err().kind, bus::HandleErrorKind::Poison);
        world.confirm(&unknown).await; // anyone may confirm a promise for an order that never was
        let garbage = world.delivered(Topic::Fulfillment, "fulfillment_order", v7(), vec![0xff; 9]);
        assert_eq!(world.hear(&garbage).await.unwrap_err().kind, bus::HandleErrorKind::Poison);
        assert_eq!(world.get(&order).await, order);
    }
}

#[tokio::test]
async fn orders_written_together_keep_the_traces_of_their_own_causes() {
    server::trace::carry_with(|trace, work| Box::pin(bus::trace::scope(Some(trace), work)));
    for world in worlds().await {
        let (one, two) = tokio::join!(world.paid(), world.paid());
        let heard = |order: &pb::Order, trace: &str| {
            let confirmed = inv::ReservationConfirmed { reservation: None, order_id: order.order_id.clone() };
            let event = world.stock_event(order, Stock::ReservationConfirmed(confirmed));
            Delivered { traceparent: Some(trace.to_owned()), ..event }
        };
        let batch = [heard(&one, "00-aa-bb-01"), heard(&two, "00-cc-dd-01")];
        world.hear_all(&batch).await.unwrap();
        let mut placed = Vec::new();
        for (order, heard) in [&one, &two].into_iter().zip(batch) {
            let id: OrderId = order.order_id.parse().unwrap();
            let mut tx = world.db.read().await.unwrap();
            let events = bus::replay::read(&mut tx, id.uuid(), 1, 10).await.unwrap();
            assert_eq!(events.last().unwrap().traceparent, heard.traceparent);
            placed.push(events[0].traceparent.clone().expect("the trace of the call"));
        }
        assert_ne!(placed[0], placed[1]);
    }
}
