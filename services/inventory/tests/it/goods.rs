//! Goods: the SKU master, feeds, imports, corrections, and how they read back.

use contract::inventory::v1 as pb;
use futures_util::{StreamExt as _, stream};
use pb::RowVerdict::{Applied, Duplicate, Refused, Stale};
use pb::{Adjustment, MovementKind};
use test_world::{fields, fresh, reason, stamp};
use tonic::Code;

use crate::world::{World, after, item, kit, line, snapshot, worlds};

fn delta(reference: &str, second: i64, delta: i64) -> pb::DeltaRow {
    pb::DeltaRow {
        node_id: "n1".to_owned(),
        sku: "A".to_owned(),
        delta,
        kind: if delta > 0 { MovementKind::Receipt } else { MovementKind::Sale }.into(),
        reference: reference.to_owned(),
        source_time: Some(stamp(after(second))),
    }
}

fn verdicts(results: &[pb::RowResult]) -> Vec<pb::RowVerdict> {
    results.iter().map(pb::RowResult::verdict).collect()
}

impl World {
    async fn snapshot(&self, request: pb::ApplySnapshotRequest) -> Vec<pb::RowResult> {
        self.client().apply_snapshot(request).await.unwrap().into_inner().results
    }

    async fn deltas(&self, rows: Vec<pb::DeltaRow>) -> Vec<pb::RowResult> {
        let request = pb::ApplyDeltasRequest { request_id: fresh(), source: "till".to_owned(), rows };
        self.client().apply_deltas(request).await.unwrap().into_inner().results
    }
}

#[tokio::test]
async fn a_snapshot_sets_what_is_there_and_an_older_one_does_nothing() {
    for world in worlds().await {
        world.items(&["A", "B"]).await;
        let first = snapshot("s1", -100, &[("A", 10), ("B", 0), ("X", 3)]);
        let results = world.snapshot(first.clone()).await;
        assert_eq!(verdicts(&results), [Applied, Applied, Refused]);
        assert_eq!((results[2].row, results[2].reason.as_str()), (2, "UNKNOWN_SKU"));
        assert_eq!(world.snapshot(first.clone()).await, results, "the same request, the same answer");
        let again = pb::ApplySnapshotRequest { request_id: fresh(), ..first };
        assert_eq!(verdicts(&world.snapshot(again).await), [Duplicate, Duplicate, Refused]);
        assert_eq!(verdicts(&world.snapshot(snapshot("s0", -200, &[("A", 99)])).await), [Stale]);
        assert_eq!(verdicts(&world.snapshot(snapshot("s2", -50, &[("A", 7)])).await), [Applied]);
        assert_eq!(world.stands("n1", "A").await, (7, 0));
        let version = world.availability("n1", "B").await.position.unwrap().version;
        assert_eq!(version, 1, "a first snapshot makes the position, even an empty one");
        world.check().await;
    }
}

#[tokio::test]
async fn a_snapshot_that_changes_nothing_makes_no_new_version() {
    for world in worlds().await {
        world.items(&["A"]).await;
        world.snapshot(snapshot("s1", -100, &[("A", 10)])).await;
        world.snapshot(snapshot("s2", -90, &[("A", 10)])).await;
        assert_eq!(world.availability("n1", "A").await.position.unwrap().version, 1);
        // but it counts as applied: what is older is stale
        assert_eq!(verdicts(&world.snapshot(snapshot("s3", -95, &[("A", 3)])).await), [Stale]);
        world.check().await;
    }
}

#[tokio::test]
async fn a_snapshot_does_not_undo_what_happened_after_it_was_taken() {
    for world in worlds().await {
        world.items(&["A"]).await;
        world.snapshot(snapshot("s1", -100, &[("A", 10)])).await;
        let id = world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap().reservation_id;
        world.hand_over(&id, &[(1, 2, 2)]).await;
        // the shop counted 10 before those two left
        assert_eq!(verdicts(&world.snapshot(snapshot("s2", -10, &[("A", 10)])).await), [Applied]);
        assert_eq!(world.stands("n1", "A").await, (8, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn a_delta_counts_once_per_source_and_reference() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let rows = vec![delta("r1", -90, 5), delta("r2", -80, -2), delta("r1", -90, 5)];
        assert_eq!(verdicts(&world.deltas(rows.clone()).await), [Applied, Applied, Duplicate]);
        assert_eq!(verdicts(&world.deltas(rows).await), [Duplicate; 3]);
        assert_eq!(world.stands("n1", "A").await, (3, 0));
        // a snapshot taken before a sale that is known would undo the sale
        assert_eq!(verdicts(&world.snapshot(snapshot("s1", -85, &[("A", 9)])).await), [Stale]);
        assert_eq!(verdicts(&world.snapshot(snapshot("s2", -70, &[("A", 9)])).await), [Applied]);
        assert_eq!(verdicts(&world.deltas(vec![delta("r3", -75, 1)]).await), [Stale]);
        assert_eq!(world.stands("n1", "A").await, (9, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn a_late_sale_is_a_fact_and_costs_the_claims_on_what_was_sold() {
    for world in worlds().await {
        world.stock("n1", &[("A", 2)]).await;
        world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap();
        assert_eq!(verdicts(&world.deltas(vec![delta("r1", 1, -3)]).await), [Applied]);
        assert_eq!((world.stands("n1", "A").await, world.atp("n1", "A").await), ((-1, 0), 0));
        assert_eq!(world.audit().await.overclaimed, 0);
        assert_eq!(reason(&world.hold(vec![line(1, "n1", "A", 1)]).await.unwrap_err()), "NO_STOCK");
        world.check().await;
    }
}

#[tokio::test]
async fn a_feed_that_cannot_be_read_names_its_fields() {
    for world in worlds().await {
        let mut bad = snapshot("s1", -1, &[("A", 1)]);
        bad.source.clear();
        bad.source_time = Some(stamp(after(86_400)));
        let refused = fields(&world.client().apply_snapshot(bad).await.unwrap_err());
        assert_eq!(refused, ["source", "source_time"]);
        let bad = pb::ApplyDeltasRequest { request_id: fresh(), source: String::new(), rows: Vec::new() };
        assert_eq!(fields(&world.client().apply_deltas(bad).await.unwrap_err()), ["source", "rows"]);
    }
}

#[tokio::test]
async fn an_import_answers_each_row_in_order() {
    for world in worlds().await {
        world.items(&["A"]).await;
        let row = |n: i64, sku: &str, name: &str, on_hand: i64| pb::ImportStockRequest {
            source: "file".to_owned(),
            reference: format!("row-{n}"),
            source_time: Some(stamp(after(-60))),
            node_id: "n1".to_owned(),
            sku: sku.to_owned(),
            on_hand,
            name: name.to_owned(),
        };
        let mut rows = vec![
            row(0, "A", "", 5),
            row(1, "NEW", "a new item", 6),
            row(2, "UNKNOWN", "", 7),
            row(3, "A", "", -1),
            row(4, "A\n", "", 1),
            row(0, "A", "", 5),
        ];
        rows.extend((10..1_500).map(|n| row(n, &format!("I{n}"), "many", n)));
        let answers = world.client().import_stock(stream::iter(rows.clone())).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(|answer| answer.unwrap().result.unwrap()).collect().await;
        assert_eq!(answers.len(), rows.len());
        assert!(answers.iter().enumerate().all(|(n, answer)| answer.row == i64::try_from(n).unwrap()));
        assert_eq!(verdicts(&answers[..6]), [Applied, Applied, Refused, Refused, Refused, Duplicate]);
        assert_eq!(answers[2].reason, "UNKNOWN_SKU");
        assert!(answers[4].message.starts_with("sku"));
        assert!(answers[6..].iter().all(|answer| answer.verdict() == Applied));
        assert_eq!(world.stands("n1", "I1499").await, (1_499, 0));
        let again = world.client().import_stock(stream::iter(rows)).await.unwrap().into_inner();
        let again: Vec<_> = again.map(|answer| answer.unwrap().result.unwrap().verdict()).collect().await;
        assert!(again.iter().all(|verdict| [Duplicate, Refused].contains(verdict)));

        // and all of it streams out again
        let chunks =
            world.client().stream_positions(pb::StreamPositionsRequest {}).await.unwrap().into_inner();
        let chunks: Vec<_> = chunks.map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().map(|chunk| chunk.positions.len()).collect::<Vec<_>>(), [1_000, 492]);
        world.check().await;
    }
}

#[tokio::test]
async fn staff_correct_and_the_ledger_tells_it_newest_first() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        world.adjust("n1", "A", Adjustment::Delta, -1).await.unwrap();
        world.adjust("n1", "A", Adjustment::Quarantine, 3).await.unwrap();
        world.adjust("n1", "A", Adjustment::ReleaseQuarantine, 1).await.unwrap();
        let position = world.adjust("n1", "A", Adjustment::WriteOff, 2).await.unwrap();
        assert_eq!((position.on_hand, position.quarantine, position.version), (5, 2, 5));
        let refused = world.adjust("n1", "A", Adjustment::WriteOff, 6).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TOO_FEW_UNITS"));
        assert_eq!(fields(&world.adjust("n1", "A", Adjustment::Count, -1).await.unwrap_err()), ["quantity"]);
        assert_eq!(fields(&world.adjust("n1", "X", Adjustment::Count, 1).await.unwrap_err()), ["sku"]);
        assert_eq!(
            fields(&world.adjust("n1", "A", Adjustment::Unspecified, 1).await.unwrap_err()),
            ["adjustment"]
        );

        let mut request = pb::ListMovementsRequest {
            node_id: "n1".to_owned(),
            sku: "A".to_owned(),
            page_size: 2,
            page_token: String::new(),
        };
        let mut rows = Vec::new();
        loop {
            let page = world.client().list_movements(request.clone()).await.unwrap().into_inner();
            rows.extend(page.movements);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let events: Vec<_> =
            rows.iter().map(|row| (row.kind(), row.delta_on_hand, row.on_hand_after)).collect();
        let expected = [
            (MovementKind::WriteOff, -2, 5),
            (MovementKind::ReleaseQuarantine, 1, 7),
            (MovementKind::Quarantine, -3, 6),
            (MovementKind::Adjustment, -1, 9),
            (MovementKind::Count, 10, 10),
        ];
        assert_eq!(events, expected);
        assert_eq!((rows[0].actor.as_str(), rows[0].reason.as_str()), ("service/fulfillment", "test"));
        request.sku = "B".to_owned();
        request.page_token = "00".to_owned();
        assert_eq!(fields(&world.client().list_movements(request).await.unwrap_err()), ["page_token"]);
        world.check().await;
    }
}

#[tokio::test]
async fn safety_stock_is_kept_back_from_promises() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5)]).await;
        let setting = |sku: &str, units| pb::SafetyStock {
            node_id: "n1".to_owned(),
            sku: sku.to_owned(),
            safety_stock: Some(units),
        };
        let set = |settings| pb::SetSafetyStockRequest { request_id: fresh(), settings };
        let answer = world.client().set_safety_stock(set(vec![setting("A", 2)])).await.unwrap().into_inner();
        assert_eq!((answer.positions[0].safety_stock, answer.positions[0].atp), (2, 3));
        assert_eq!(reason(&world.hold(vec![line(1, "n1", "A", 4)]).await.unwrap_err()), "NO_STOCK");
        world.hold(vec![line(1, "n1", "A", 3)]).await.unwrap();
        let bad = set(vec![setting("A", 9), setting("X", 1)]);
        assert_eq!(fields(&world.client().set_safety_stock(bad).await.unwrap_err()), ["settings[1].sku"]);
        assert_eq!(world.availability("n1", "A").await.position.unwrap().safety_stock, 2, "all or nothing");
        let none = set(vec![pb::SafetyStock { safety_stock: None, ..setting("A", 0) }]);
        let answer = world.client().set_safety_stock(none).await.unwrap().into_inner();
        assert_eq!((answer.positions[0].safety_stock, answer.positions[0].atp), (0, 2), "taken away");
        world.check().await;
    }
}

#[tokio::test]
async fn the_master_of_skus_reads_back_in_pages() {
    for world in worlds().await {
        let codes: Vec<String> = (0..7).map(|n| format!("S{n}")).collect();
        world.items(&codes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut request = pb::ListSkusRequest { page_size: 3, page_token: String::new() };
        let mut read = Vec::new();
        loop {
            let page = world.client().list_skus(request.clone()).await.unwrap().into_inner();
            read.extend(page.skus.into_iter().map(|sku| sku.sku));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(read, codes);
        let get = pb::GetSkuRequest { sku: "S3".to_owned() };
        let known = world.client().get_sku(get.clone()).await.unwrap().into_inner().sku.unwrap();
        assert_eq!(
            (known.name.as_str(), known.handling_class.as_str(), known.etag.as_str()),
            ("item S3", "ambient", "1")
        );

        let put = |sku| pb::PutSkusRequest { request_id: fresh(), skus: vec![sku] };
        let (name, category) = ("renamed".to_owned(), "tea".to_owned());
        let renamed = pb::Sku { name, category, ..known.clone() };
        let answer = world.client().put_skus(put(renamed.clone())).await.unwrap().into_inner();
        assert_eq!((answer.skus[0].name.as_str(), answer.skus[0].etag.as_str()), ("renamed", "2"));
        let known = world.client().get_sku(get).await.unwrap().into_inner().sku.unwrap();
        assert_eq!(known, answer.skus[0]);
        let all = pb::ListSkusRequest { page_size: 100, page_token: String::new() };
        let listed = world.client().list_skus(all).await.unwrap().into_inner().skus;
        let categories: Vec<&str> = listed.iter().map(|sku| sku.category.as_str()).collect();
        assert_eq!(categories, ["", "", "", "tea", "", "", ""]);
        let lost = world.client().put_skus(put(renamed)).await.unwrap_err();
        assert_eq!((lost.code(), reason(&lost).as_str()), (Code::Aborted, "SKU_CHANGED"));
    }
}

#[tokio::test]
async fn a_kit_needs_parts_that_are_items() {
    for world in worlds().await {
        let put = |skus| pb::PutSkusRequest { request_id: fresh(), skus };
        let together = vec![kit("K", &[("A", 2), ("B", 1)]), item("A"), item("B")];
        world.client().put_skus(put(together)).await.unwrap();
        let get = pb::GetSkuRequest { sku: "K".to_owned() };
        let known = world.client().get_sku(get).await.unwrap().into_inner().sku.unwrap();
        assert_eq!(known.kit_parts, kit("K", &[("A", 2), ("B", 1)]).kit_parts);
        for (bad, field) in [
            (kit("L", &[("X", 1)]), "skus[0].kit_parts[0].sku"),
            (kit("L", &[("K", 1)]), "skus[0].kit_parts[0].sku"),
            (kit("L", &[("L", 1)]), "skus[0].kit_parts"),
            (kit("L", &[("A", 0)]), "skus[0].kit_parts"),
            (item("K"), "skus[0].kit_parts"),
            (kit("A", &[("B", 1)]), "skus[0].kit_parts"),
        ] {
            assert_eq!(fields(&world.client().put_skus(put(vec![bad])).await.unwrap_err()), [field]);
        }
        let twice = fields(&world.client().put_skus(put(vec![item("C"), item("C")])).await.unwrap_err());
        assert_eq!(twice, ["skus[1].sku"]);
        assert_eq!(fields(&world.adjust("n1", "K", Adjustment::Count, 3).await.unwrap_err()), ["sku"]);
    }
}

#[tokio::test]
async fn availability_is_told_for_many_and_by_node() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5), ("B", 9)]).await;
        world.stock("n2", &[("A", 7)]).await;
        let skus = vec![kit("K", &[("A", 2), ("B", 1)])];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        let pair = |node: &str, sku: &str| pb::NodeSku { node_id: node.to_owned(), sku: sku.to_owned() };
        let pairs = vec![
            pair("n2", "A"),
            pair("n1", "K"),
            pair("n1", "A"),
            pair("n3", "A"),
            pair("n1", "X"),
            pair("n2", "K"),
        ];
        let answer =
            world.client().batch_get_availability(pb::BatchGetAvailabilityRequest { pairs }).await.unwrap();
        let atps: Vec<i64> = answer.get_ref().availabilities.iter().map(|a| a.atp).collect();
        assert_eq!(atps, [7, 2, 5, 0, 0, 0]);
        let list = |sku: &str, token: &str| pb::ListAvailabilityRequest {
            sku: sku.to_owned(),
            page_size: 1,
            page_token: token.to_owned(),
        };
        for (sku, expected) in [("A", [("n1", 5), ("n2", 7)]), ("K", [("n1", 2), ("n2", 0)])] {
            let first = world.client().list_availability(list(sku, "")).await.unwrap().into_inner();
            let second = world
                .client()
                .list_availability(list(sku, &first.next_page_token))
                .await
                .unwrap()
                .into_inner();
            let both: Vec<_> = first.availabilities.iter().chain(&second.availabilities).collect();
            assert_eq!(both.iter().map(|a| (a.node_id.as_str(), a.atp)).collect::<Vec<_>>(), expected);
            assert!(second.next_page_token.is_empty());
        }
    }
}

#[tokio::test]
async fn a_question_about_too_many_parts_of_kits_is_refused() {
    for world in worlds().await {
        let parts: Vec<String> = (0..20).map(|n| format!("part-{n:02}")).collect();
        let parts: Vec<(&str, i64)> = parts.iter().map(|part| (part.as_str(), 1)).collect();
        world.items(&parts.iter().map(|(part, _)| *part).collect::<Vec<_>>()).await;
        let kits: Vec<pb::Sku> = (0..251).map(|n| kit(&format!("kit-{n:03}"), &parts)).collect();
        for some in kits.chunks(50) {
            let request = pb::PutSkusRequest { request_id: fresh(), skus: some.to_vec() };
            world.client().put_skus(request).await.unwrap();
        }
        let ask = async |pairs: Vec<pb::NodeSku>| {
            world.client().batch_get_availability(pb::BatchGetAvailabilityRequest { pairs }).await
        };
        let at_nodes = |count| (0..count).map(|n| pair(&format!("n-{n:03}"), "kit-000")).collect();
        let many = |count| kits.iter().take(count).map(|kit| pair("n1", &kit.sku)).collect();
        // the parts of all kits are the same 20 positions, yet each kit's list of parts is read
        assert_eq!(ask(many(250)).await.unwrap().get_ref().availabilities.len(), 250);
        assert_eq!(ask(at_nodes(250)).await.unwrap().get_ref().availabilities.len(), 250);
        for pairs in [many(251), at_nodes(251)] {
            let refused = ask(pairs).await.unwrap_err();
            assert_eq!(fields(&refused), ["pairs"]);
        }
        let plain = (0..1_000).map(|n| pair(&format!("n-{n:03}"), "part-00")).collect();
        assert_eq!(ask(plain).await.unwrap().get_ref().availabilities.len(), 1_000, "no kits, no parts");
    }
}

fn pair(node: &str, sku: &str) -> pb::NodeSku {
    pb::NodeSku { node_id: node.to_owned(), sku: sku.to_owned() }
}

#[tokio::test]
async fn no_page_reads_a_whole_table_and_a_kit_of_many_parts_has_shorter_pages() {
    for world in worlds().await {
        let parts: Vec<String> = (0..20).map(|n| format!("part-{n:02}")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        world.items(&parts).await;
        let of_kit: Vec<(&str, i64)> = parts.iter().map(|part| (*part, 1)).collect();
        let request = pb::PutSkusRequest { request_id: fresh(), skus: vec![kit("kit", &of_kit)] };
        world.client().put_skus(request).await.unwrap();
        // Every node has one part of the kit.
        for some in (0..600).collect::<Vec<usize>>().chunks(200) {
            let row = |n: &usize| pb::SnapshotRow {
                node_id: format!("n-{n:04}"),
                sku: parts[n % 20].to_owned(),
                on_hand: 5,
            };
            let rows = some.iter().map(row).collect();
            let request = snapshot(&format!("from {}", some[0]), -100, &[]);
            world.snapshot(pb::ApplySnapshotRequest { rows, ..request }).await;
        }
        world.db.watch_plans();
        let list = |page_token: String| pb::ListAvailabilityRequest {
            sku: "kit".to_owned(),
            page_size: 500,
            page_token,
        };
        let (mut pages, mut nodes, mut token) = (0, Vec::new(), String::new());
        loop {
            let page = world.client().list_availability(list(token)).await.unwrap().into_inner();
            pages += 1;
            nodes.extend(page.availabilities.into_iter().map(|availability| availability.node_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(nodes, (0..600).map(|n| format!("n-{n:04}")).collect::<Vec<_>>());
        assert!(pages > 5, "{pages} pages for 600 nodes of 20 parts");
        world.client().list_skus(pb::ListSkusRequest::default()).await.unwrap();
        let part = pb::ListAvailabilityRequest { sku: "part-01".to_owned(), ..Default::default() };
        world.client().list_availability(part).await.unwrap();
        let ledger = pb::ListMovementsRequest {
            node_id: "n-0001".to_owned(),
            sku: "part-01".to_owned(),
            ..Default::default()
        };
        world.client().list_movements(ledger).await.unwrap();
        let mut all = world
            .client()
            .stream_positions(pb::StreamPositionsRequest::default())
            .await
            .unwrap()
            .into_inner();
        while all.message().await.unwrap().is_some() {}
        for plan in world.db.plans() {
            assert_eq!(plan.whole_read(), None, "{plan:?}");
            assert!(plan.rows_read() <= 5_000, "{plan:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_many_kits_is_short_and_the_next_one_goes_on() {
    for world in worlds().await {
        let parts: Vec<String> = (0..20).map(|n| format!("part-{n:02}")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        world.items(&parts).await;
        let of_kit: Vec<(&str, i64)> = parts.iter().map(|part| (*part, 1)).collect();
        let kits: Vec<pb::Sku> = (0..300).map(|n| kit(&format!("kit-{n:03}"), &of_kit)).collect();
        let wanted: Vec<String> = kits
            .iter()
            .map(|kit| kit.sku.clone())
            .chain(parts.iter().map(|part| (*part).to_owned()))
            .collect();
        let request = pb::PutSkusRequest { request_id: fresh(), skus: kits };
        world.client().put_skus(request).await.unwrap();
        world.db.watch_plans();
        let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request = pb::ListSkusRequest { page_size: 500, page_token };
            let page = world.client().list_skus(request).await.unwrap().into_inner();
            pages += 1;
            seen.extend(page.skus.into_iter().map(|sku| sku.sku));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, wanted);
        assert_eq!(pages, 2, "6,000 parts are read in two pages");
        for plan in world.db.plans() {
            assert_eq!(plan.whole_read(), None, "{plan:?}");
            assert!(plan.rows_read() <= 5_000, "{plan:?}");
        }
    }
}
