//! Claims that lose units, and goods that may not be there: what that does to work, and what its store sees.

use contract::fulfillment::v1 as pb;
use pb::FulfillmentState as State;
use pb::fulfillment_event::Body;

use crate::work_world::{Shop, Stream, Work, buckets};

/// What the store sees next of a leg.
async fn shown(stream: &mut Stream, work: &Work) -> pb::FulfillmentOrder {
    loop {
        let order = stream.next().await.item.and_then(|item| item.fulfillment_order);
        if let Some(order) = order.filter(|order| order.fulfillment_id == work.id) {
            return order;
        }
    }
}

#[tokio::test]
async fn a_claim_that_loses_units_ends_work_that_has_not_begun_and_is_doubtful_where_it_has() {
    for shop in Shop::all().await {
        let (offered, begun) = (shop.placed("N1", &[2]).await, shop.placed("N2", &[1, 1]).await);
        shop.store("N2").accept(&begun.id).await.unwrap();
        shop.store("N2").start(&begun.id).await.unwrap();
        let mut stream = shop.watch("N2", "").await;
        let before = shown(&mut stream, &begun).await;
        assert!(before.doubtful_skus.is_empty());
        shop.batch(&[shop.given_up(&begun, "SKU-1", &[(1, 1)]), shop.given_up(&offered, "SKU-1", &[(1, 2)])])
            .await;
        let ended = shop.get(&offered.id).await;
        assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Cancelled, "STOCK_LOST"));
        let b = buckets(&ended, 1);
        assert_eq!((b.given_up, b.cancelled, b.released), (2, 0, 2));
        let after = shown(&mut stream, &begun).await;
        assert_eq!((after.state(), after.doubtful_skus), (State::Picking, vec!["SKU-1".to_owned()]));
        assert_eq!(after.version, before.version + 1);
        let events = shop.events(&begun.id).await;
        let Some(Body::StockDoubtful(event)) = &events.last().unwrap().body.body else { panic!() };
        assert_eq!(event.sku, "SKU-1");

        let early = shop.plan("N1", &[1]);
        shop.batch(&[shop.given_up(&early, "SKU-1", &[(1, 1)])]).await;
        shop.release(&early).await;
        assert_eq!(shop.get(&early.id).await.end_reason, "STOCK_LOST", "lost before the order came");
    }
}

#[tokio::test]
async fn a_claim_that_loses_a_part_gives_up_those_lines_and_the_rest_goes_on() {
    for shop in Shop::all().await {
        let store = shop.store("N1");
        let (work, early) = (shop.placed("N1", &[3, 2]).await, shop.plan("N1", &[3, 2]));
        shop.batch(&[shop.given_up(&work, "SKU-1", &[(1, 2)])]).await;
        shop.batch(&[shop.given_up(&early, "SKU-1", &[(1, 1)])]).await;
        shop.batch(&[shop.given_up(&early, "SKU-1", &[(1, 1)])]).await;
        shop.release(&early).await;
        for work in [&work, &early] {
            let order = shop.get(&work.id).await;
            assert_eq!(order.state(), State::Offered, "lost after the offer, and before it");
            let (one, two) = (buckets(&order, 1), buckets(&order, 2));
            assert_eq!((one.to_pick, one.given_up, one.held, one.released), (1, 2, 1, 2));
            assert_eq!((two.to_pick, two.given_up), (2, 0));
            let events = shop.events(&work.id).await;
            let Some(Body::StockLost(lost)) = &events.last().unwrap().body.body else { panic!("{events:?}") };
            let lines: Vec<_> = lost.lines.iter().map(|line| (line.line, line.quantity)).collect();
            assert_eq!((lost.sku.as_str(), lines), ("SKU-1", vec![(1, 2)]));
        }
        store.accept(&work.id).await.unwrap();
        let before = shop.get(&work.id).await.version;
        shop.batch(&[shop.given_up(&work, "SKU-9", &[(9, 1)])]).await;
        assert_eq!(shop.get(&work.id).await.version, before, "no such line is wanted");
        shop.batch(&[shop.given_up(&work, "SKU-1", &[(1, 5), (2, 1)])]).await;
        let order = shop.get(&work.id).await;
        assert_eq!((order.state(), buckets(&order, 1).given_up), (State::Accepted, 3));
        shop.batch(&[shop.given_up(&work, "SKU-2", &[(2, 1)])]).await;
        let order = shop.get(&work.id).await;
        assert_eq!((order.state(), order.end_reason.as_str()), (State::Cancelled, "STOCK_LOST"));
        assert_eq!(order.lines.iter().map(|line| line.given_up).sum::<i64>(), 5);

        store.accept(&early.id).await.unwrap();
        store.start(&early.id).await.unwrap();
        store.pick(&early.id, &[(1, 1, 0), (2, 2, 0)]).await.unwrap();
        store.ready(&early.id).await.unwrap();
    }
}

#[tokio::test]
async fn goods_that_another_order_missed_are_shown_once_while_they_are_to_be_picked() {
    for shop in Shop::all().await {
        let (work, store) = (shop.placed("N1", &[1, 1]).await, shop.store("N1"));
        let doubtful = async |sku: &str| {
            shop.batch(&[shop.doubtful(&work, sku)]).await;
            shop.get(&work.id).await.doubtful_skus
        };
        assert!(doubtful("SKU-1").await.is_empty(), "nobody has begun");
        store.accept(&work.id).await.unwrap();
        store.start(&work.id).await.unwrap();
        assert_eq!(doubtful("SKU-1").await, ["SKU-1"]);
        let version = shop.get(&work.id).await.version;
        assert_eq!(doubtful("SKU-1").await, ["SKU-1"]);
        assert_eq!(shop.get(&work.id).await.version, version, "it is known");
        store.pick(&work.id, &[(2, 1, 0)]).await.unwrap();
        assert_eq!(doubtful("SKU-2").await, ["SKU-1"], "it is in somebody's hands");
        assert_eq!(doubtful("PART").await, ["SKU-1", "PART"], "a part of a kit");
        store.pick(&work.id, &[(1, 1, 0)]).await.unwrap();
        assert_eq!(doubtful("OTHER").await.len(), 2, "all is picked");
        store.ready(&work.id).await.unwrap();
    }
}

#[tokio::test]
async fn goods_that_were_counted_are_no_longer_shown_as_doubtful() {
    for shop in Shop::all().await {
        let (work, store) = (shop.placed("N1", &[1, 1]).await, shop.store("N1"));
        store.accept(&work.id).await.unwrap();
        store.start(&work.id).await.unwrap();
        shop.batch(&[shop.doubtful(&work, "SKU-1"), shop.doubtful(&work, "SKU-2")]).await;
        let mut stream = shop.watch("N1", "").await;
        let before = shown(&mut stream, &work).await;
        assert_eq!(before.doubtful_skus, ["SKU-1", "SKU-2"]);
        shop.batch(&[shop.counted(&work, "SKU-1")]).await;
        let after = shown(&mut stream, &work).await;
        assert_eq!((after.doubtful_skus, after.version), (vec!["SKU-2".to_owned()], before.version + 1));
        let events = shop.events(&work.id).await;
        let Some(Body::StockDoubtful(event)) = &events.last().unwrap().body.body else { panic!() };
        assert!(event.is_over && event.sku == "SKU-1");
        shop.batch(&[shop.counted(&work, "SKU-1")]).await;
        assert_eq!(shop.get(&work.id).await.version, before.version + 1, "it is known");
        shop.batch(&[shop.doubtful(&work, "SKU-1")]).await;
        assert_eq!(shop.get(&work.id).await.doubtful_skus, ["SKU-2", "SKU-1"], "missed again");
    }
}

#[tokio::test]
async fn goods_worn_from_display_and_other_goods_than_expected_are_reasons_to_refuse() {
    for shop in Shop::all().await {
        for (reason, name) in
            [(pb::RejectReason::DisplayWorn, "DISPLAY_WORN"), (pb::RejectReason::Mismatch, "MISMATCH")]
        {
            let work = shop.placed("N1", &[1]).await;
            let rejected = shop.store("N1").reject(&work.id, reason).await.unwrap();
            assert_eq!(rejected.end_reason, name);
            let events = shop.events(&work.id).await;
            let Some(Body::Rejected(event)) = &events.last().unwrap().body.body else { panic!() };
            assert_eq!(event.reason(), reason);
        }
    }
}
