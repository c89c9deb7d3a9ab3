//! Full snapshots: what they did not name is set to 0, unless that is not believable.

use contract::inventory::v1 as pb;
use pb::Adjustment;
use pb::RowVerdict::Applied;
use test_world::{fresh, reason, stamp};
use tonic::Status;

use crate::world::{World, after, snapshot, worlds};

fn close(second: i64, force: bool) -> pb::CloseSnapshotRequest {
    pb::CloseSnapshotRequest {
        request_id: fresh(),
        source: "erp".to_owned(),
        reference: "full".to_owned(),
        source_time: Some(stamp(after(second))),
        node_id: "n1".to_owned(),
        force,
    }
}

impl World {
    async fn apply(&self, request: pb::ApplySnapshotRequest) {
        let results = self.client().apply_snapshot(request).await.unwrap().into_inner().results;
        assert!(results.iter().all(|result| result.verdict() == Applied), "{results:?}");
    }

    async fn close(&self, request: pb::CloseSnapshotRequest) -> Result<Vec<(String, i64, i64)>, Status> {
        let answer = self.client().close_snapshot(request).await?.into_inner();
        assert!(!answer.more);
        Ok(answer.cleared.into_iter().map(|row| (row.sku, row.on_hand_before, row.on_hand)).collect())
    }
}

#[tokio::test]
async fn what_a_full_snapshot_does_not_name_is_set_to_0() {
    for world in worlds().await {
        world.items(&["A", "B", "C", "D"]).await;
        world.apply(snapshot("full", -100, &[("A", 40), ("B", 40), ("C", 5), ("D", 6)])).await;
        // the picture is older than this sale, and than this figure
        world.apply(snapshot("full", -20, &[("D", 6)])).await;
        world.adjust("n1", "C", Adjustment::Delta, 1).await.unwrap();
        world.apply(snapshot("full", -50, &[("A", 41)])).await;
        world.apply(snapshot("full", -50, &[("B", 40)])).await;
        let request = close(-50, false);
        let cleared = world.close(request.clone()).await.unwrap();
        assert_eq!(cleared, [("C".to_owned(), 6, 1)], "all but what came after the picture");
        assert_eq!(world.close(request).await.unwrap(), cleared, "the same request, the same answer");
        assert_eq!(world.close(close(-50, false)).await.unwrap(), []);
        assert_eq!((world.stands("n1", "A").await, world.stands("n1", "B").await), ((41, 0), (40, 0)));
        assert_eq!(world.stands("n1", "D").await, (6, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn too_much_that_vanishes_needs_force() {
    for world in worlds().await {
        world.items(&["A", "B", "C"]).await;
        world.apply(snapshot("full", -100, &[("A", 1), ("B", 98), ("C", 1)])).await;
        world.apply(snapshot("full", -50, &[("B", 98)])).await;
        // two of a hundred units, and two of three positions
        let refused = world.close(close(-50, false)).await.unwrap_err();
        assert_eq!(reason(&refused), "TOO_MUCH_VANISHES");
        assert!(refused.message().contains("67 % of the stock of n1"), "{}", refused.message());
        assert_eq!(world.stands("n1", "A").await, (1, 0));
        let cleared = world.close(close(-50, true)).await.unwrap();
        assert_eq!(cleared, [("A".to_owned(), 1, 0), ("C".to_owned(), 1, 0)]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_snapshot_that_was_never_sent_closes_nothing() {
    for world in worlds().await {
        world.items(&["A"]).await;
        world.apply(snapshot("full", -100, &[("A", 5)])).await;
        let refused = world.close(close(-10, true)).await.unwrap_err();
        assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
        let store = world.acting("store", "n2").close_snapshot(close(-100, true)).await.unwrap_err();
        assert_eq!(reason(&store), "NOT_YOUR_NODE");
        assert_eq!(world.stands("n1", "A").await, (5, 0));
    }
}

#[tokio::test]
async fn a_large_node_is_closed_in_several_calls() {
    for world in worlds().await {
        let codes: Vec<String> = (0..1_001).map(|n| format!("S{n:04}")).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
        world.items(&codes).await;
        let rows: Vec<(&str, i64)> = codes.iter().map(|code| (*code, 1)).collect();
        world.apply(snapshot("full", -100, &rows[..1_000])).await;
        world.apply(snapshot("full", -100, &rows[1_000..])).await;
        world.apply(snapshot("full", -50, &rows[..1])).await;
        let mut sizes = Vec::new();
        loop {
            let answer = world.client().close_snapshot(close(-50, true)).await.unwrap().into_inner();
            sizes.push(answer.cleared.len());
            if !answer.more {
                break;
            }
        }
        assert_eq!(sizes, [500, 500, 0]);
        assert_eq!(world.audit().await.movements, 2_001);
        world.check().await;
    }
}
