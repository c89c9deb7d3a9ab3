//! Feeds: who is a row, what a bad row does to the others, and whose clock counts.

use std::time::Duration;

use clock::Clock;
use contract::inventory::v1 as pb;
use futures_util::{StreamExt as _, stream};
use pb::MovementKind;
use pb::RowVerdict::{Applied, Duplicate, Refused, Stale};
use test_world::{fields, fresh, stamp};

use crate::world::{Client, after, worlds};

fn receipt(node: &str, sku: &str, reference: &str, delta: i64) -> pb::DeltaRow {
    pb::DeltaRow {
        node_id: node.to_owned(),
        sku: sku.to_owned(),
        delta,
        kind: MovementKind::Receipt.into(),
        reference: reference.to_owned(),
        source_time: Some(stamp(after(-60))),
    }
}

fn deltas(rows: Vec<pb::DeltaRow>) -> pb::ApplyDeltasRequest {
    pb::ApplyDeltasRequest { request_id: fresh(), source: "till".to_owned(), rows }
}

fn figure(node: &str, sku: &str, reference: &str, second: i64, on_hand: i64) -> pb::ImportStockRequest {
    pb::ImportStockRequest {
        source: "erp".to_owned(),
        reference: reference.to_owned(),
        source_time: Some(stamp(after(second))),
        node_id: node.to_owned(),
        sku: sku.to_owned(),
        on_hand,
        name: String::new(),
    }
}

fn verdicts(results: &[pb::RowResult]) -> Vec<(pb::RowVerdict, &str)> {
    results.iter().map(|result| (result.verdict(), result.reason.as_str())).collect()
}

async fn import(client: &mut Client, rows: Vec<pb::ImportStockRequest>) -> Vec<pb::RowResult> {
    let answers = client.import_stock(stream::iter(rows)).await.unwrap().into_inner();
    answers.map(|answer| answer.unwrap().result.unwrap()).collect().await
}

async fn apply(client: &mut Client, request: pb::ApplyDeltasRequest) -> Vec<pb::RowResult> {
    client.apply_deltas(request).await.unwrap().into_inner().results
}

#[tokio::test]
async fn two_feeders_may_use_the_same_reference() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let (mut first, mut second) = (world.acting("store", "n1"), world.acting("store", "n2"));
        let rows = |node| deltas(vec![receipt(node, "A", "GRN-1", 5)]);
        assert_eq!(verdicts(&apply(&mut first, rows("n1")).await), [(Applied, "")]);
        assert_eq!(verdicts(&apply(&mut second, rows("n2")).await), [(Applied, "")]);
        assert_eq!(verdicts(&apply(&mut second, rows("n2")).await), [(Duplicate, "")]);
        // one feeder of several nodes, each with receipts of its own
        let both = deltas(vec![receipt("n1", "A", "GRN-1", 5), receipt("n2", "A", "GRN-1", 5)]);
        let mut erp = world.client();
        assert_eq!(verdicts(&apply(&mut erp, both).await), [(Applied, ""), (Applied, "")]);
        assert_eq!((world.stands("n1", "A").await, world.stands("n2", "A").await), ((10, 0), (10, 0)));

        // figures too
        let row = |node| vec![figure(node, "A", "count-1", -10, 7)];
        assert_eq!(verdicts(&import(&mut first, row("n1")).await), [(Applied, "")]);
        assert_eq!(verdicts(&import(&mut second, row("n2")).await), [(Applied, "")]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_reference_used_again_for_something_else_is_no_silent_duplicate() {
    for world in worlds().await {
        world.items(&["A", "B"]).await;
        let mut client = world.client();
        // two lines of one receipt that carry the number of the receipt
        let rows = deltas(vec![receipt("n1", "A", "GRN-1", 5), receipt("n1", "B", "GRN-1", 3)]);
        let results = apply(&mut client, rows).await;
        assert_eq!(verdicts(&results), [(Applied, ""), (Refused, "REFERENCE_REUSED")]);
        assert_eq!(results[1].field, "reference");
        assert!(results[1].message.contains("RECEIPT +5 of A"), "{}", results[1].message);
        let more = deltas(vec![receipt("n1", "A", "GRN-1", 6)]);
        assert_eq!(verdicts(&apply(&mut client, more).await), [(Refused, "REFERENCE_REUSED")]);

        let figures = vec![figure("n1", "B", "s1", -10, 7), figure("n1", "B", "s1", -10, 8)];
        assert_eq!(
            verdicts(&import(&mut client, figures).await),
            [(Applied, ""), (Refused, "REFERENCE_REUSED")]
        );
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((5, 0), (7, 0)));
        world.check().await;
    }
}

#[tokio::test]
async fn the_same_figure_of_a_later_time_is_news() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let mut client = world.client();
        let first = figure("n1", "A", "stock.csv", -50, 20);
        assert_eq!(verdicts(&import(&mut client, vec![first.clone()]).await), [(Applied, "")]);
        let sale = pb::DeltaRow {
            kind: MovementKind::Sale.into(),
            source_time: Some(stamp(after(-40))),
            ..receipt("n1", "A", "till-1", -15)
        };
        assert_eq!(verdicts(&apply(&mut client, deltas(vec![sale])).await), [(Applied, "")]);
        // restocked to 20: the file of the evening equals that of the morning
        let again = figure("n1", "A", "stock.csv", -30, 20);
        assert_eq!(verdicts(&import(&mut client, vec![again.clone()]).await), [(Applied, "")]);
        assert_eq!(world.stands("n1", "A").await, (20, 0));
        assert_eq!(verdicts(&import(&mut client, vec![again, first]).await), [(Duplicate, ""); 2]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_bad_row_of_deltas_refuses_no_other() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let mut rows: Vec<_> = (0..6).map(|n| receipt("n1", "A", &format!("r{n}"), 2)).collect();
        rows[0].source_time = Some(stamp(after(8 * 3_600)));
        rows[2].delta = 0;
        rows[4].kind = 99;
        rows[5].sku = "A\0".to_owned();
        let request = deltas(rows);
        let results = apply(&mut world.client(), request.clone()).await;
        let refused = (Refused, "MALFORMED");
        let wanted = [refused, (Applied, ""), refused, (Applied, ""), refused, refused];
        assert_eq!(verdicts(&results), wanted);
        let fields: Vec<&str> = results.iter().map(|result| result.field.as_str()).collect();
        assert_eq!(fields, ["source_time", "", "delta", "", "kind", "sku"]);
        let text = &results[4].message;
        assert!(
            text.contains("99 is not a known MovementKind") && text.contains("MOVEMENT_KIND_SALE"),
            "{text}"
        );
        assert_eq!(apply(&mut world.client(), request).await, results, "the same request, the same answer");
        assert_eq!(world.stands("n1", "A").await, (4, 0));

        // a store with a row for another node keeps its own rows
        let mut store = world.acting("store", "n1");
        let rows = deltas(vec![receipt("n2", "A", "x", 1), receipt("n1", "A", "y", 1)]);
        assert_eq!(verdicts(&apply(&mut store, rows).await), [(Refused, "NOT_YOUR_NODE"), (Applied, "")]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_bad_row_of_a_snapshot_refuses_no_other() {
    for world in worlds().await {
        world.items(&["A", "B", "C"]).await;
        let row =
            |sku: &str, on_hand| pb::SnapshotRow { node_id: "n1".to_owned(), sku: sku.to_owned(), on_hand };
        let request = pb::ApplySnapshotRequest {
            request_id: fresh(),
            source: "erp".to_owned(),
            reference: "s1".to_owned(),
            source_time: Some(stamp(after(-10))),
            rows: vec![row("A", -1), row("B", 4), row("C", 1), row("C", 2)],
        };
        let results = world.client().apply_snapshot(request).await.unwrap().into_inner().results;
        let refused = (Refused, "MALFORMED");
        assert_eq!(verdicts(&results), [refused, (Applied, ""), refused, refused]);
        assert!(results[3].message.contains("duplicate"), "{}", results[3].message);
        assert_eq!(world.availability("n1", "C").await.position, None, "neither of the two figures");
        world.check().await;
    }
}

#[tokio::test]
async fn a_source_time_ahead_of_our_clock_is_refused_and_makes_nothing_stale() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let mut client = world.client();
        let snapshot = |second| pb::ApplySnapshotRequest {
            request_id: fresh(),
            source: "erp".to_owned(),
            reference: format!("s{second}"),
            source_time: Some(stamp(after(second))),
            rows: vec![pb::SnapshotRow { node_id: "n1".to_owned(), sku: "A".to_owned(), on_hand: 9 }],
        };
        assert_eq!(fields(&client.apply_snapshot(snapshot(290)).await.unwrap_err()), ["source_time"]);
        let refused = &import(&mut client, vec![figure("n1", "A", "f", 31, 9)]).await[0];
        assert_eq!((refused.verdict(), refused.field.as_str()), (Refused, "source_time"));
        assert!(refused.message.contains("ahead of the platform's clock"), "{}", refused.message);

        let counted = import(&mut client, vec![figure("n1", "A", "count", 0, 5)]).await;
        assert_eq!(verdicts(&counted), [(Applied, "")], "the shop's own count");
        // two clocks may differ by a little
        assert_eq!(
            verdicts(&import(&mut client, vec![figure("n1", "A", "g", 30, 6)]).await),
            [(Applied, "")]
        );
        assert_eq!(
            verdicts(&import(&mut client, vec![figure("n1", "A", "h", 29, 7)]).await),
            [(Stale, "STALE")]
        );
        world.check().await;
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_when_the_first_answer_is_durable() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let request = deltas(vec![receipt("n1", "A", "r1", 5)]);
        let db = world.db.db();
        let machine = Clock::system();
        let pause = || machine.pause(Duration::from_millis(20));
        // on SQLite those who wait for this transaction share one commit: the request, its duplicate and an open end
        let before = db.begin().await.unwrap();
        let send = || {
            let (mut client, request) = (world.client(), request.clone());
            tokio::spawn(async move { apply(&mut client, request).await })
        };
        let first = send();
        pause().await;
        let duplicate = send();
        pause().await;
        let end = tokio::spawn({
            let db = db.clone();
            async move { db.begin().await }
        });
        pause().await;
        before.commit().await.unwrap();
        let end = end.await.unwrap().unwrap();
        pause().await;
        if duplicate.is_finished() {
            assert_eq!(world.stands("n1", "A").await, (5, 0), "the answer came before its commit");
        }
        end.commit().await.unwrap();
        assert_eq!(duplicate.await.unwrap(), first.await.unwrap());
        assert_eq!(world.stands("n1", "A").await, (5, 0));
    }
}

#[tokio::test]
async fn a_code_that_a_spreadsheet_broke_makes_no_new_item() {
    for world in worlds().await {
        world.items(&["5E+10"]).await;
        let named = |sku: &str, name: &str| pb::ImportStockRequest {
            name: name.to_owned(),
            ..figure("n1", sku, sku, -10, 3)
        };
        let rows = vec![
            named("1.23457E+12", "Tea"),
            named("1-Mar", "Tea"),
            named("4711.0", ""),
            named("NEW", "T\u{fffd}e"),
            named("5E+10", "A code that exists"),
            named("4006381333931", "Tea \u{1F469}\u{200D}\u{1F373}"),
        ];
        let results = import(&mut world.client(), rows).await;
        let damaged = (Refused, "DAMAGED_CODE");
        let wanted = [damaged, damaged, damaged, (Refused, "MALFORMED"), (Applied, ""), (Applied, "")];
        assert_eq!(verdicts(&results), wanted);
        assert!(results[0].message.contains("export the column as text"), "{}", results[0].message);
        assert!(results[3].message.contains("export the file as UTF-8"), "{}", results[3].message);
        world.check().await;
    }
}
