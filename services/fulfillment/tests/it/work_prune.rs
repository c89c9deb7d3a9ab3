//! What is forgotten in time, and what is not lost by it.

use contract::fulfillment::v1::FulfillmentState as State;
use jiff::SignedDuration;
use test_world::reason;

use crate::work_world::Shop;

#[tokio::test]
async fn the_feed_forgets_however_much_is_old() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        // A busy week: far more than is forgotten in one transaction.
        shop.alter(
            "INSERT INTO work_feed (node_id, seq, kind, item_id, fed_at)
             WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2501)
             SELECT f.node_id, n.i, f.kind, f.item_id, f.fed_at FROM work_feed f CROSS JOIN n",
        )
        .await;
        shop.alter("UPDATE work_feeds SET seq = 2501").await;
        assert_eq!(shop.count("SELECT COUNT(*) AS n FROM work_feed").await, 2_501);
        shop.pass(SignedDuration::from_hours(8 * 24));
        shop.prune().await;
        assert_eq!(shop.count("SELECT COUNT(*) AS n FROM work_feed").await, 0);
        let listed = shop.watch("N1", "").await.next().await.item.unwrap();
        assert_eq!(listed.fulfillment_order.unwrap().fulfillment_id, work.id);
    }
}

#[tokio::test]
async fn notes_on_claims_go_when_their_work_is_there() {
    for shop in Shop::all().await {
        let notes = "SELECT COUNT(*) AS n FROM claim_notes";
        let (work, early) = (shop.placed("N1", &[1]).await, shop.plan("N1", &[1]));
        shop.claim_lost(&early).await;
        assert_eq!(shop.count(notes).await, 2);
        shop.prune().await;
        assert_eq!(shop.count(notes).await, 1, "its order may still come");
        shop.release(&early).await;
        assert_eq!(shop.get(&early.id).await.end_reason, "STOCK_LOST");
        shop.prune().await;
        assert_eq!(shop.count(notes).await, 0);
        // The word of the order comes again, and its claim is lost: as if the notes were still there.
        shop.release(&work).await;
        assert_eq!(shop.get(&work.id).await.version, 1);
        shop.claim_lost(&work).await;
        assert_eq!(shop.get(&work.id).await.state(), State::Cancelled);
    }
}

#[tokio::test]
async fn misses_of_codes_are_counted_no_longer_than_they_matter() {
    for shop in Shop::all().await {
        let misses = "SELECT COUNT(*) AS n FROM code_misses";
        let store = shop.store("N1");
        for _ in 0..10 {
            store.find("ABCD-1234").await.unwrap_err();
        }
        shop.service.join_misses(shop.now()).await.unwrap();
        let elsewhere = shop.another().await;
        let refused = elsewhere.store("N1").find("ABCD-1234").await.unwrap_err();
        assert_eq!(reason(&refused), "TOO_MANY_WRONG_CODES", "another process knows of them");
        shop.prune().await;
        assert_eq!(reason(&store.find("ABCD-1234").await.unwrap_err()), "TOO_MANY_WRONG_CODES");
        assert_eq!(shop.count(misses).await, 2);
        shop.pass(SignedDuration::from_mins(21));
        shop.prune().await;
        assert_eq!(shop.count(misses).await, 0);
        assert_eq!(reason(&store.find("ABCD-1234").await.unwrap_err()), "PICKUP_CODE_NOT_FOUND");
    }
}

#[tokio::test]
async fn work_that_can_not_be_moved_waits_for_its_next_turn() {
    for shop in Shop::all().await {
        shop.placed("N1", &[1]).await;
        shop.alter("UPDATE fulfillment_orders SET method = 'ODD'").await;
        shop.pass(SignedDuration::from_mins(15));
        assert_eq!(shop.run_due().await, 0);
        let soon = shop.now() + SignedDuration::from_mins(1);
        assert_eq!(shop.next_due().await, Some(soon));
        shop.alter("UPDATE fulfillment_orders SET method = 'PICKUP'").await;
        shop.pass(SignedDuration::from_mins(1));
        assert_eq!(shop.run_due().await, 1);
    }
}

#[tokio::test]
async fn codes_that_are_long_void_are_forgotten() {
    for shop in Shop::all().await {
        let void = "SELECT COUNT(*) AS n FROM voided_codes";
        let work = shop.ready("N1", &[1]).await;
        let first = shop.issue_code(&work.id).await.unwrap();
        let second = shop.issue_code(&work.id).await.unwrap();
        shop.pass(SignedDuration::from_hours(6 * 24));
        shop.prune().await;
        assert_eq!(shop.count(void).await, 1);
        shop.pass(SignedDuration::from_hours(2 * 24));
        shop.prune().await;
        assert_eq!(shop.count(void).await, 0);
        let store = shop.store("N1");
        assert_eq!(reason(&store.find(&first).await.unwrap_err()), "PICKUP_CODE_NOT_FOUND");
        assert_eq!(store.find(&second).await.unwrap().fulfillment_id, work.id);
    }
}
