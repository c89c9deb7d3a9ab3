//! Cancelling, at every step.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::r#type::v1::LineQuantity;
use ful::FulfillmentState as State;
use ful::fulfillment_event::Body;
use pb::{CancelOutcome, OrderStatus, TenderState};
use test_world::{fields, fresh, reason};
use tonic::Code;

use crate::world::{World, leg, minor, refunds, worlds};

fn moved(to: ful::FulfillmentStage) -> Body {
    Body::Moved(ful::FulfillmentMoved { to: to.into(), ..Default::default() })
}

fn pieces(lines: &[(u32, i64)]) -> Vec<ful::HandedOverLine> {
    lines.iter().map(|(line, quantity)| ful::HandedOverLine { line: *line, quantity: *quantity }).collect()
}

fn granted(number: i64, lines: &[(u32, i64)], refused: &[(u32, i64)]) -> Body {
    Body::Cancelled(ful::FulfillmentCancelled {
        cancel_number: number,
        lines: pieces(lines),
        refused: pieces(refused),
        reason: "CHANGED_MIND".to_owned(),
    })
}

#[tokio::test]
async fn an_order_that_no_node_has_is_cancelled_at_once() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let (cancelled, outcome) = world.try_cancel(&order, &[]).await.unwrap();
        assert_eq!((outcome, cancelled.status()), (CancelOutcome::Cancelled, OrderStatus::Cancelled));
        assert_eq!(refunds(&cancelled), (0, 0), "nothing was paid");
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Cancelled(event)) = &events[1].body else { panic!("{events:?}") };
        assert_eq!(event.fulfillment_ids, [leg(&order).fulfillment_id.clone()], "the claim is given up");
        let late = world.try_pay(&order, TenderState::Captured).await.unwrap();
        assert_eq!(refunds(&late), (760, 760));
        let refused = world.try_cancel(&order, &[]).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "ORDER_OVER"));
    }
}

#[tokio::test]
async fn pieces_of_an_unpaid_order_go_and_the_rest_costs_less() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let (left, outcome) = world.try_cancel(&order, &[(1, 2)]).await.unwrap();
        assert_eq!((outcome, left.status()), (CancelOutcome::Cancelled, OrderStatus::Placed));
        assert_eq!(left.lines[0].buckets.unwrap().cancelled, 2);
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Cancelled(event)) = &events[1].body else { panic!("{events:?}") };
        assert!(event.fulfillment_ids.is_empty(), "the claim is still needed");
        assert_eq!(minor(&left.tenders[0].amount_due), 560, "the postage stays due");
        let paid = world.try_report(&order, "t1", TenderState::Captured, 560, "psp-1").await.unwrap();
        assert_eq!((minor(&paid.paid), refunds(&paid)), (560, (0, 0)));
        let events = world.events(&order).await;
        let Some(pb::order_event::Body::Unblocked(event)) = &events.last().unwrap().body else { panic!() };
        let work: Vec<_> = event.work[0].lines.iter().map(|l| (l.line, l.quantity)).collect();
        assert_eq!(work, [(1, 1), (2, 2)]);
    }
}

#[tokio::test]
async fn a_released_order_is_cancelled_by_the_nodes_answer_and_paid_back_then() {
    for world in worlds().await {
        let order = world.paid().await;
        let (asked, outcome) = world.try_cancel(&order, &[]).await.unwrap();
        assert_eq!((outcome, asked.status()), (CancelOutcome::Pending, OrderStatus::Placed));
        assert_eq!((asked.lines[0].cancel_requested, refunds(&asked)), (3, (0, 0)));
        let twice = world.try_cancel(&order, &[]).await.unwrap_err();
        assert_eq!(reason(&twice), "NOTHING_TO_CANCEL");
        let body = granted(1, &[(1, 3), (2, 2)], &[]);
        let end =
            world.work(&order, State::Cancelled, body, |l| (l.to_pick, l.cancelled) = (0, l.quantity)).await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Cancelled, (760, 760)));
        assert_eq!(world.happened(&order).await, ["placed", "cancel_requested", "cancelled", "refund"]);
        assert_eq!(end.lines[0].cancel_reason, "CHANGED_MIND");
    }
}

#[tokio::test]
async fn pieces_cancelled_one_by_one_pay_back_the_total_to_the_cent() {
    for world in worlds().await {
        let order = world.paid().await;
        let mut gone = [0_i64; 2];
        let mut back = 0;
        for (nth, line) in [(1, 1_u32), (2, 2), (3, 1), (4, 2), (5, 1)] {
            world.try_cancel(&order, &[(line, 1)]).await.unwrap();
            gone[line as usize - 1] += 1;
            let now = world
                .work(&order, State::Accepted, granted(nth, &[(line, 1)], &[]), |l| {
                    l.cancelled = gone[l.line as usize - 1];
                    l.to_pick = l.quantity - l.cancelled;
                })
                .await;
            back += refunds(&now).0;
            assert_eq!(minor(&now.refund_requested), back);
            assert_eq!(now.refunds.len(), usize::try_from(nth).unwrap());
        }
        let end = world.get(&order).await;
        assert_eq!((end.status(), back), (OrderStatus::Cancelled, 760));
    }
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_refused_in_part_or_whole() {
    for world in worlds().await {
        let order = world.paid().await;
        world.try_cancel(&order, &[]).await.unwrap();
        let body = granted(1, &[(2, 2)], &[(1, 3)]);
        let part = world
            .work(&order, State::PartlyCollected, body, |l| {
                l.to_pick = 0;
                (l.done, l.cancelled) = if l.line == 1 { (3, 0) } else { (0, 2) };
            })
            .await;
        assert_eq!(part.status(), OrderStatus::Completed);
        assert_eq!(part.lines[0].cancel_requested, 0);
        assert_eq!(refunds(&part), (110, 110), "the postage is kept, as goods were delivered");
        let end = world.happened(&order).await;
        assert_eq!(end, ["placed", "cancel_requested", "progressed", "cancelled", "refund", "completed"]);

        let order = world.paid().await;
        world.try_cancel(&order, &[(1, 1)]).await.unwrap();
        let refused = ful::CancelRefused {
            cancel_number: 1,
            lines: pieces(&[(1, 1)]),
            reason: "HANDED_OVER".to_owned(),
        };
        let end = world
            .work(&order, State::Done, Body::CancelRefused(refused), |l| {
                (l.to_pick, l.done) = (0, l.quantity);
            })
            .await;
        assert_eq!((end.status(), refunds(&end)), (OrderStatus::Completed, (0, 0)));
        assert_eq!(end.lines[0].cancel_requested, 0);
    }
}

async fn at(world: &World, step: &str) -> pb::Order {
    let order = world.paid().await;
    let picked = |l: &mut ful::FulfillmentLine| (l.to_pick, l.picked) = (0, l.quantity);
    let ready = |l: &mut ful::FulfillmentLine| (l.to_pick, l.ready) = (0, l.quantity);
    let offered = Body::Offered(ful::FulfillmentOffered::default());
    let accepted = Body::Accepted(ful::FulfillmentAccepted {});
    match step {
        "placed" => order,
        "confirmed" => {
            world.confirm(&order).await;
            order
        }
        "offered" => world.work(&order, State::Offered, offered, |_| ()).await,
        "accepted" => world.work(&order, State::Accepted, accepted, |_| ()).await,
        "picked" => world.work(&order, State::Picking, moved(ful::FulfillmentStage::Picked), picked).await,
        "ready" => {
            world.work(&order, State::ReadyForPickup, moved(ful::FulfillmentStage::Ready), ready).await
        }
        other => panic!("no step {other}"),
    }
}

#[tokio::test]
async fn a_cancel_can_be_asked_at_every_step_before_the_handover() {
    for world in worlds().await {
        for step in ["placed", "confirmed", "offered", "accepted", "picked", "ready"] {
            let order = at(&world, step).await;
            let (asked, outcome) = world.try_cancel(&order, &[(1, 2)]).await.unwrap();
            assert_eq!(outcome, CancelOutcome::Pending, "{step}");
            let left = world.try_cancel(&order, &[(1, 2)]).await.unwrap_err();
            assert_eq!(reason(&left), "NOT_CANCELLABLE", "{step}");
            assert_eq!(server::status::facts(&left)["left"], "1");
            assert_eq!(asked.lines[0].cancel_requested, 2);
            let all = world.try_cancel(&order, &[]).await.unwrap().0;
            assert_eq!((all.lines[0].cancel_requested, all.lines[1].cancel_requested), (3, 2), "{step}");
        }
        let order = world.paid().await;
        let refused = world.try_cancel(&order, &[(1, 1), (9, 1)]).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["lines[1].line".to_owned()])
        );
    }
}

#[tokio::test]
async fn a_cancel_twice_by_its_request_id_is_asked_once() {
    for world in worlds().await {
        let order = world.paid().await;
        let cancel = pb::CancelOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            lines: vec![LineQuantity { line: 1, quantity: 1 }],
            reason: "TEST".to_owned(),
        };
        let calls = (0..8).map(|_| {
            let (mut client, cancel) = (world.client.clone(), cancel.clone());
            async move { client.cancel_order(cancel).await.unwrap().into_inner() }
        });
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        assert_eq!(world.get(&order).await.lines[0].cancel_requested, 1);
    }
}
