//! Pages of a node's work end before they read too much, and read along an index.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::FulfillmentState as State;
use db::{Type, params};
use domain::id::FulfillmentId;
use test_world::by;

use crate::work_world::Shop;

/// The most rows that any statement for a page may read.
const MOST: u64 = 5_000;

/// Open work with as many lines as an order may have.
async fn large_orders(shop: &Shop, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(shop.placed("N1", &[1]).await.id);
    }
    let mut tx = shop.db.db().begin().await.unwrap();
    for id in &ids {
        let uuid = id.parse::<FulfillmentId>().unwrap().uuid();
        tx.batch(
            "INSERT INTO fulfillment_lines (fulfillment_id, line_no, sku, name, quantity, to_pick, picked, packed, ready,
                                            in_custody, done, short, given_up, cancelled, returned, lost, put_back,
                                            restocked, kept, due_minor)
             SELECT r.id, r.line_no, 'SKU', 'Item', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM {rows}",
            &[("id", Type::Uuid), ("line_no", Type::BigInt)],
            (2..=1_000_i64).map(|line_no| params![uuid, line_no]).collect(),
        )
        .await
        .unwrap();
    }
    tx.execute("UPDATE fulfillment_orders SET line_count = 1000", params![]).await.unwrap();
    tx.commit().await.unwrap();
    ids
}

fn reads_little(shop: &Shop) {
    let plans = shop.db.plans();
    assert!(!plans.is_empty());
    for plan in plans {
        assert_eq!(plan.whole_read(), None, "{plan:?}");
        assert!(plan.rows_read() <= MOST, "{plan:?}");
    }
}

#[tokio::test]
async fn a_page_of_large_orders_is_short_and_the_next_one_goes_on() {
    for shop in Shop::all().await {
        let wanted = large_orders(&shop, 12).await;
        shop.db.watch_plans();
        for states in [&[][..], &[State::Offered, State::Accepted]] {
            let (mut seen, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
            loop {
                let page = shop.store("N1").page("N1", states, 200, &token).await.unwrap();
                pages += 1;
                for order in page.fulfillment_orders {
                    assert_eq!(order.lines.len(), 1_000);
                    assert!(seen.insert(order.fulfillment_id), "each comes once");
                }
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, wanted.iter().cloned().collect());
            assert!(pages >= 3, "{pages} pages for 12,000 lines");
        }
        reads_little(&shop);
    }
}

#[tokio::test]
async fn a_stream_of_large_orders_reads_a_few_at_once() {
    for shop in Shop::all().await {
        let wanted = large_orders(&shop, 7).await;
        shop.db.watch_plans();
        let mut stream = shop.watch("N1", "").await;
        let mut seen = BTreeSet::new();
        let token = loop {
            let answer = stream.next().await;
            match answer.item {
                Some(item) => assert!(seen.insert(item.fulfillment_order.unwrap().fulfillment_id)),
                None => break answer.resume_token,
            }
        };
        assert_eq!(seen, wanted.iter().cloned().collect());
        drop(stream);
        for id in &wanted {
            shop.store("N1").accept(id).await.unwrap();
        }
        let mut stream = shop.watch("N1", &token).await;
        for id in &wanted {
            let order = stream.next().await.item.unwrap().fulfillment_order.unwrap();
            assert_eq!((&order.fulfillment_id, order.lines.len()), (id, 1_000));
        }
        reads_little(&shop);
    }
}

#[tokio::test]
async fn no_list_of_nodes_or_work_reads_a_whole_table() {
    for shop in Shop::all().await {
        for _ in 0..30 {
            shop.placed("N1", &[1, 2]).await;
        }
        let network = shop.network();
        shop.db.watch_plans();
        let request = pb::ListNodesRequest { page_size: 2, page_token: String::new() };
        let first = network.clone().list_nodes(by("ops/1", request)).await.unwrap().into_inner();
        let request = pb::ListNodesRequest { page_size: 2, page_token: first.next_page_token };
        network.clone().list_nodes(by("ops/1", request)).await.unwrap();
        for states in [&[][..], &[State::Offered], &[State::Done, State::Offered, State::Rejected]] {
            let first = shop.store("N1").page("N1", states, 10, "").await.unwrap();
            shop.store("N1").page("N1", states, 10, &first.next_page_token).await.unwrap();
        }
        reads_little(&shop);
    }
}
