//! How work ends without a handover: refused, timed out, not collected, cancelled, its claim lost.

use contract::fulfillment::v1::{
    FulfillmentEvent, FulfillmentState as State, RejectReason, fulfillment_event::Body,
};
use jiff::SignedDuration;
use test_world::reason;

use crate::work_world::{Shop, buckets};

#[tokio::test]
async fn a_refusal_gives_every_unit_up_and_tells_its_reason() {
    for shop in Shop::all().await {
        for (reason, name) in [
            (RejectReason::NotFound, "NOT_FOUND"),
            (RejectReason::Damaged, "DAMAGED"),
            (RejectReason::TooBusy, "TOO_BUSY"),
            (RejectReason::NodeClosed, "NODE_CLOSED"),
            (RejectReason::Other, "OTHER"),
        ] {
            let work = shop.placed("N1", &[2]).await;
            let rejected = shop.store("N1").reject(&work.id, reason).await.unwrap();
            assert_eq!((rejected.state(), rejected.end_reason.as_str()), (State::Rejected, name));
            let b = buckets(&rejected, 1);
            assert_eq!((b.to_pick, b.given_up, b.cancelled, b.put_back), (0, 2, 0, 0));
            let events = shop.events(&work.id).await;
            let Some(Body::Rejected(event)) = &events[1].body.body else { panic!("{:?}", events[1].body) };
            assert_eq!(event.reason(), reason);
        }
        let kept = "SELECT COUNT(*) AS n FROM work_notes WHERE note = 'as said' AND actor = 'store/N1'";
        assert_eq!(shop.count(kept).await, 5);
        for event in shop.appended::<FulfillmentEvent>().await {
            assert!(
                !event.payload.windows(7).any(|part| part == b"as said"),
                "the store's own words are in no event"
            );
        }
    }
}

#[tokio::test]
async fn an_offer_that_nobody_answers_times_out_in_opening_time() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[2]).await;
        shop.pass(SignedDuration::from_mins(12));
        shop.run_due().await;
        let order = shop.get(&work.id).await;
        assert!(order.is_at_risk && order.state() == State::Offered);
        shop.pass(SignedDuration::from_mins(2));
        shop.run_due().await;
        assert_eq!(shop.get(&work.id).await.state(), State::Offered);
        shop.pass(SignedDuration::from_mins(1));
        shop.run_due().await;
        let order = shop.get(&work.id).await;
        assert_eq!((order.state(), order.end_reason.as_str()), (State::TimedOut, "TIMED_OUT"));
        assert_eq!(buckets(&order, 1).given_up, 2);
        let refused = shop.store("N1").accept(&work.id).await.unwrap_err();
        assert_eq!(reason(&refused), "WRONG_STATE");
        assert_eq!(shop.run_due().await, 0, "an end is an end");
    }
}

#[tokio::test]
async fn an_offer_to_a_closed_store_waits_until_it_opens() {
    for shop in Shop::all().await {
        // DAY opens at 09:00 UTC; the clock of the tests starts at noon.
        shop.pass(SignedDuration::from_hours(9));
        let work = shop.placed("DAY", &[1]).await;
        shop.pass(SignedDuration::from_hours(11));
        shop.run_due().await;
        assert_eq!(shop.get(&work.id).await.state(), State::Offered, "closed hours do not count");
        shop.pass(SignedDuration::from_mins(76));
        shop.run_due().await;
        assert_eq!(shop.get(&work.id).await.state(), State::TimedOut);
    }
}

#[tokio::test]
async fn what_is_not_collected_is_reminded_expired_and_put_back() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[2]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        for (hours, templates) in [(23, 0), (1, 1), (35, 1), (1, 2), (11, 2)] {
            shop.pass(SignedDuration::from_hours(hours));
            shop.run_due().await;
            assert_eq!(shop.notices(&work.id).await.len(), templates + 1);
        }
        assert!(!shop.get(&work.id).await.is_expired);
        shop.pass(SignedDuration::from_hours(1));
        shop.run_due().await;
        let expired = shop.get(&work.id).await;
        assert!(expired.is_expired && expired.state() == State::ReadyForPickup);
        assert_eq!(buckets(&expired, 1).ready, 2, "the claim lasts until the goods are put back");
        let expected = ["PICKUP_READY", "PICKUP_REMINDER_1", "PICKUP_REMINDER_2", "PICKUP_EXPIRED"];
        assert_eq!(shop.notices(&work.id).await, expected);

        let store = shop.store("N1");
        let late = store.hand_over(&work.id, &code, &[(1, 1)]).await.unwrap();
        assert_eq!(buckets(&late, 1).done, 1, "a late customer may still collect");
        let back = store.put_back(&work.id).await.unwrap();
        let b = buckets(&back, 1);
        assert_eq!((back.state(), b.done, b.cancelled, b.restocked, b.put_back), (State::Done, 1, 1, 1, 0));
        assert_eq!(reason(&store.put_back(&work.id).await.unwrap_err()), "WRONG_STATE");
    }
}

#[tokio::test]
async fn goods_that_are_not_put_back_in_time_are_given_up() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[2]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        shop.pass(SignedDuration::from_hours(72));
        shop.run_due().await;
        shop.pass(SignedDuration::from_hours(24));
        shop.run_due().await;
        let order = shop.get(&work.id).await;
        let b = buckets(&order, 1);
        assert_eq!((order.state(), order.end_reason.as_str()), (State::Restocked, "EXPIRED"));
        assert_eq!((b.cancelled, b.restocked, b.put_back), (2, 0, 0));
        let store = shop.store("N1");
        assert_eq!(reason(&store.hand_over(&work.id, &code, &[]).await.unwrap_err()), "WRONG_STATE");
        assert_eq!(reason(&store.find(&code).await.unwrap_err()), "PICKUP_CODE_VOID");
        assert_eq!(shop.next_due().await, None);
    }
}

#[tokio::test]
async fn a_cancel_is_decided_by_where_the_units_are() {
    for shop in Shop::all().await {
        let offered = shop.placed("N1", &[2]).await;
        shop.cancel(&offered, 1, &[(1, 2)]).await;
        let order = shop.get(&offered.id).await;
        assert_eq!(
            (order.state(), buckets(&order, 1).cancelled, buckets(&order, 1).put_back),
            (State::Cancelled, 2, 0)
        );
        assert_eq!(reason(&shop.store("N1").accept(&offered.id).await.unwrap_err()), "WRONG_STATE");

        let picking = shop.placed("N1", &[3]).await;
        let store = shop.store("N1");
        store.accept(&picking.id).await.unwrap();
        store.start(&picking.id).await.unwrap();
        store.pick(&picking.id, &[(1, 2, 0)]).await.unwrap();
        shop.cancel(&picking, 1, &[(1, 2)]).await;
        let b = buckets(&shop.get(&picking.id).await, 1);
        assert_eq!((b.to_pick, b.picked, b.cancelled, b.put_back), (0, 1, 2, 1));
        let b = buckets(&store.put_back(&picking.id).await.unwrap(), 1);
        assert_eq!((b.picked, b.put_back, b.restocked), (1, 0, 1));

        let ready = shop.ready("N1", &[2]).await;
        let code = shop.issue_code(&ready.id).await.unwrap();
        store.hand_over(&ready.id, &code, &[(1, 1)]).await.unwrap();
        shop.cancel(&ready, 7, &[(1, 2)]).await;
        let events = shop.events(&ready.id).await;
        let Some(Body::Cancelled(event)) = &events.last().unwrap().body.body else {
            panic!("{:?}", events.last())
        };
        assert_eq!((event.cancel_number, event.lines[0].quantity, event.refused[0].quantity), (7, 1, 1));
        let order = shop.get(&ready.id).await;
        assert_eq!((order.state(), buckets(&order, 1).put_back), (State::Done, 1));
        assert_eq!(
            store.list("N1", &[]).await.unwrap().fulfillment_orders.len(),
            2,
            "a put-back is still work"
        );
        shop.cancel(&ready, 8, &[(1, 1)]).await;
        let events = shop.events(&ready.id).await;
        let Some(Body::CancelRefused(event)) = &events.last().unwrap().body.body else { panic!() };
        assert_eq!((event.cancel_number, event.lines[0].quantity, event.reason.as_str()), (8, 1, "DONE"));
    }
}

#[tokio::test]
async fn a_lost_claim_ends_work_that_has_not_begun() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        shop.claim_lost(&work).await;
        let order = shop.get(&work.id).await;
        assert_eq!((order.state(), order.end_reason.as_str()), (State::Cancelled, "STOCK_LOST"));

        let early = shop.plan("N1", &[1]);
        shop.claim_lost(&early).await;
        shop.release(&early).await;
        let order = shop.get(&early.id).await;
        assert_eq!(order.end_reason, "STOCK_LOST", "lost before the order came");
        assert_eq!(shop.events(&early.id).await.len(), 2);

        let begun = shop.ready("N1", &[1]).await;
        shop.claim_lost(&begun).await;
        assert_eq!(shop.get(&begun.id).await.state(), State::ReadyForPickup, "the goods are in hand");
    }
}
