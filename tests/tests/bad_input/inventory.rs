//! Items, feeds, adjustments and safety stock with every bad value.

use contract::inventory::v1 as inv;
use flows::world::{NODE, fresh};
use futures_util::stream;
use tonic::Code;

use super::Said::{Fields, No};
use super::{Census, INVENTORY, Odd, REQUEST_ID, Row, YEAR_10000, at, refused, refused_only, shop};

const SKUS: &[Row<inv::PutSkusRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no SKUs", |r| r.skus.clear(), Fields(&["skus"])),
    ("501 SKUs", |r| r.skus = (0..501).map(|i| item(&format!("S{i}"))).collect(), Fields(&["skus"])),
    ("no code", |r| r.skus[0].sku.clear(), Fields(&["skus[0].sku"])),
    ("code of 65", |r| r.skus[0].sku = "s".repeat(65), Fields(&["skus[0].sku"])),
    ("code with NUL", |r| r.skus[0].sku = "a\0".to_owned(), Fields(&["skus[0].sku"])),
    ("code twice", |r| r.skus.push(r.skus[0].clone()), Fields(&["skus[1].sku"])),
    ("no name", |r| r.skus[0].name.clear(), Fields(&["skus[0].name"])),
    ("name of 201", |r| r.skus[0].name = "n".repeat(201), Fields(&["skus[0].name"])),
    ("name with a newline", |r| r.skus[0].name = "a\nb".to_owned(), Fields(&["skus[0].name"])),
    ("unit that nobody knows", |r| r.skus[0].unit = 99, Fields(&["skus[0].unit"])),
    ("class of 65", |r| r.skus[0].handling_class = "c".repeat(65), Fields(&["skus[0].handling_class"])),
    ("category of 65", |r| r.skus[0].category = "c".repeat(65), Fields(&["skus[0].category"])),
    ("padded category", |r| r.skus[0].category = " tea".to_owned(), Fields(&["skus[0].category"])),
    ("negative weight", |r| r.skus[0].weight_g = -1, Fields(&["skus[0].weight_g"])),
    ("greatest weight", |r| r.skus[0].weight_g = i64::MAX, Fields(&["skus[0].weight_g"])),
    ("etag that is no version", |r| r.skus[0].etag = "x".to_owned(), Fields(&["skus[0].etag"])),
    ("etag of another version", |r| r.skus[0].etag = "7".to_owned(), No(Code::Aborted, "SKU_CHANGED")),
    ("a kit of itself", |r| parts(r, &[("NEW", 1)]), Fields(&["skus[0].kit_parts"])),
    ("a kit of nobody", |r| parts(r, &[("NONE", 1)]), Fields(&["skus[0].kit_parts[0].sku"])),
    ("a kit of a part without a code", |r| parts(r, &[("", 1)]), Fields(&["skus[0].kit_parts[0].sku"])),
    ("a kit of nothing", |r| parts(r, &[("TEA", 0)]), Fields(&["skus[0].kit_parts"])),
    ("a kit of less than nothing", |r| parts(r, &[("TEA", i64::MIN)]), Fields(&["skus[0].kit_parts"])),
    ("a kit of too many", |r| parts(r, &[("TEA", 1_001)]), Fields(&["skus[0].kit_parts"])),
    ("a part twice", |r| parts(r, &[("TEA", 1), ("TEA", 2)]), Fields(&["skus[0].kit_parts"])),
    ("21 parts", |r| parts(r, &[("TEA", 1); 21]), Fields(&["skus[0].kit_parts"])),
    ("a kit of kits", |r| parts(r, &[("SET", 1)]), Fields(&["skus[0].kit_parts[0].sku"])),
    (
        "an item that becomes a kit",
        |r| {
            parts(r, &[("CUP", 1)]);
            r.skus[0].sku = "TEA".to_owned();
        },
        Fields(&["skus[0].kit_parts"]),
    ),
];

fn item(sku: &str) -> inv::Sku {
    inv::Sku { sku: sku.to_owned(), name: "Goods".to_owned(), ..inv::Sku::default() }
}

fn parts(put: &mut inv::PutSkusRequest, parts: &[(&str, i64)]) {
    let part = |(sku, quantity): &(&str, i64)| inv::KitPart { sku: (*sku).to_owned(), quantity: *quantity };
    put.skus[0].kit_parts = parts.iter().map(part).collect();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_is_refused_and_changes_none() {
    let (world, ops) = shop().await;
    let call = async |put| ops.clients.inventory.clone().put_skus(put).await;
    let mut set = inv::PutSkusRequest { request_id: fresh(), skus: vec![item("SET")] };
    parts(&mut set, &[("TEA", 1), ("CUP", 2)]);
    call(set).await.expect("a kit is made");
    let before = Census::of(&ops).await;
    let good = inv::PutSkusRequest { request_id: REQUEST_ID.to_owned(), skus: vec![item("NEW")] };
    refused_only(INVENTORY, &good, SKUS, &call).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(INVENTORY, good, &[], call).await;
    world.stop().await;
}

const SNAPSHOTS: &[Row<inv::ApplySnapshotRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no source", |r| r.source.clear(), Fields(&["source"])),
    ("source of 65", |r| r.source = "s".repeat(65), Fields(&["source"])),
    ("no reference", |r| r.reference.clear(), Fields(&["reference"])),
    ("reference with NUL", |r| r.reference = "\0".to_owned(), Fields(&["reference"])),
    ("no time", |r| r.source_time = None, Fields(&["source_time"])),
    ("nanos -1", |r| r.source_time = at(1, -1), Fields(&["source_time"])),
    ("a second of nanos", |r| r.source_time = at(1, 1_000_000_000), Fields(&["source_time"])),
    ("before the epoch", |r| r.source_time = at(-1, 0), Fields(&["source_time"])),
    ("in the future", |r| r.source_time = at(32_503_680_000, 0), Fields(&["source_time"])),
    ("year 10000", |r| r.source_time = at(YEAR_10000, 0), Fields(&["source_time"])),
    ("greatest second", |r| r.source_time = at(i64::MAX, i32::MAX), Fields(&["source_time"])),
    ("least second", |r| r.source_time = at(i64::MIN, i32::MIN), Fields(&["source_time"])),
    ("no rows", |r| r.rows.clear(), Fields(&["rows"])),
    ("1,001 rows", |r| r.rows = (0..1_001).map(|i| counted(&format!("S{i}"))).collect(), Fields(&["rows"])),
];

/// Bad rows of a snapshot, each with the field that its verdict names.
const FIGURES: &[Odd<inv::SnapshotRow>] = &[
    ("node_id", |r| r.node_id.clear()),
    ("sku", |r| r.sku.clear()),
    ("sku", |r| r.sku = "S\u{200d}".to_owned()),
    ("on_hand", |r| r.on_hand = -1),
    ("on_hand", |r| r.on_hand = i64::MAX),
    ("on_hand", |r| r.on_hand = i64::MIN),
];

fn counted(sku: &str) -> inv::SnapshotRow {
    inv::SnapshotRow { node_id: NODE.to_owned(), sku: sku.to_owned(), on_hand: 5 }
}

const DELTAS: &[Row<inv::ApplyDeltasRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no source", |r| r.source.clear(), Fields(&["source"])),
    ("no rows", |r| r.rows.clear(), Fields(&["rows"])),
    ("1,001 rows", |r| r.rows = vec![r.rows[0].clone(); 1_001], Fields(&["rows"])),
];

/// Bad rows of deltas, each with the field that its verdict names.
const CHANGES: &[Odd<inv::DeltaRow>] = &[
    ("node_id", |r| r.node_id.clear()),
    ("sku", |r| r.sku.clear()),
    ("delta", |r| r.delta = 0),
    ("delta", |r| r.delta = i64::MIN),
    ("delta", |r| r.delta = i64::MAX),
    ("delta", |r| r.delta = -1),
    ("delta", |r| r.kind = inv::MovementKind::Sale.into()),
    ("delta", |r| r.kind = inv::MovementKind::WriteOff.into()),
    ("kind", |r| r.kind = 0),
    ("kind", |r| r.kind = 99),
    ("kind", |r| r.kind = inv::MovementKind::Reserve.into()),
    ("reference", |r| r.reference.clear()),
    ("reference", |r| r.reference = "r".repeat(201)),
    ("source_time", |r| r.source_time = None),
    ("source_time", |r| r.source_time = at(1, -1)),
    ("source_time", |r| r.source_time = at(-1, 0)),
    ("source_time", |r| r.source_time = at(32_503_680_000, 0)),
    ("source_time", |r| r.source_time = at(YEAR_10000, 0)),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_feed_is_refused_whole_and_a_bad_row_alone() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let stock = &ops.clients.inventory;
    let picture = inv::ApplySnapshotRequest {
        request_id: REQUEST_ID.to_owned(),
        source: "erp".to_owned(),
        reference: "picture-1".to_owned(),
        source_time: at(86_401, 0),
        rows: vec![counted("TEA")],
    };
    let apply = async |feed| stock.clone().apply_snapshot(feed).await;
    refused_only(INVENTORY, &picture, SNAPSHOTS, &apply).await;
    let receipt = inv::DeltaRow {
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        delta: 1,
        kind: inv::MovementKind::Receipt.into(),
        reference: "receipt-1".to_owned(),
        source_time: at(86_400, 0),
    };
    let receipts = inv::ApplyDeltasRequest {
        request_id: REQUEST_ID.to_owned(),
        source: "till".to_owned(),
        rows: vec![receipt.clone()],
    };
    let change = async |feed| stock.clone().apply_deltas(feed).await;
    refused_only(INVENTORY, &receipts, DELTAS, &change).await;
    assert_eq!(Census::of(&ops).await, before);

    let unknown =
        inv::DeltaRow { sku: "NONE".to_owned(), reference: "receipt-2".to_owned(), ..receipt.clone() };
    let mut rows = vec![receipt.clone(), unknown, receipt.clone()];
    rows.extend(bad_rows(CHANGES, &receipt));
    let feed = inv::ApplyDeltasRequest { rows, ..receipts };
    let results = refused(INVENTORY, feed, &[], change).await.into_inner().results;
    let verdicts: Vec<_> =
        results[..3].iter().map(|row| (row.row, row.verdict(), row.reason.as_str())).collect();
    let wanted = [
        (0, inv::RowVerdict::Applied, ""),
        (1, inv::RowVerdict::Refused, "UNKNOWN_SKU"),
        (2, inv::RowVerdict::Duplicate, ""),
    ];
    assert_eq!(verdicts, wanted);
    name_their_fields(CHANGES, &results[3..]);
    assert_eq!(ops.position(NODE, "TEA").await.on_hand, 1_001);

    let rows = std::iter::once(counted("CUP")).chain(bad_rows(FIGURES, &counted("TEA"))).collect();
    let feed = inv::ApplySnapshotRequest { rows, ..picture };
    let results = refused(INVENTORY, feed, &[], apply).await.into_inner().results;
    assert_eq!(results[0].verdict(), inv::RowVerdict::Applied);
    name_their_fields(FIGURES, &results[1..]);
    assert_eq!(ops.position(NODE, "CUP").await.on_hand, 5);
    assert_eq!(ops.position(NODE, "TEA").await.on_hand, 1_001);
    ops.audit().await;
    world.stop().await;
}

/// A good row made bad in each way.
fn bad_rows<R: Clone>(ways: &[Odd<R>], good: &R) -> impl Iterator<Item = R> {
    ways.iter().map(|(_, change)| {
        let mut row = good.clone();
        change(&mut row);
        row
    })
}

/// Each bad row was refused with the name of its field and a text.
fn name_their_fields<R>(ways: &[Odd<R>], results: &[inv::RowResult]) {
    assert_eq!(results.len(), ways.len());
    for (result, (field, _)) in results.iter().zip(ways) {
        assert_eq!(result.verdict(), inv::RowVerdict::Refused, "{result:?}");
        assert_eq!((result.field.as_str(), result.reason.as_str()), (*field, "MALFORMED"), "{result:?}");
        assert!(result.message.starts_with(field), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_row_of_an_import_gets_its_verdict_and_the_good_ones_go_in() {
    let (world, ops) = shop().await;
    let good = inv::ImportStockRequest {
        source: "sheet".to_owned(),
        reference: "1".to_owned(),
        source_time: at(86_401, 0),
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        on_hand: 7,
        name: String::new(),
    };
    let bad: &[Odd<inv::ImportStockRequest>] = &[
        ("source", |r| r.source.clear()),
        ("reference", |r| r.reference = "\0".to_owned()),
        ("source_time", |r| r.source_time = None),
        ("source_time", |r| r.source_time = at(1, -1)),
        ("source_time", |r| r.source_time = at(-1, 0)),
        ("source_time", |r| r.source_time = at(YEAR_10000, 0)),
        ("node_id", |r| r.node_id.clear()),
        ("sku", |r| r.sku = "\u{feff}TEA".to_owned()),
        ("on_hand", |r| r.on_hand = -1),
        ("on_hand", |r| r.on_hand = i64::MAX),
        ("name", |r| r.name = "n".repeat(201)),
        ("sku: does not exist", |r| r.sku = "NONE".to_owned()),
    ];
    let mut rows = Vec::new();
    for (index, (_, change)) in bad.iter().enumerate() {
        let mut row = inv::ImportStockRequest { reference: format!("bad-{index}"), ..good.clone() };
        change(&mut row);
        rows.push(row);
    }
    rows.push(good);
    let answer = ops.clients.inventory.clone().import_stock(stream::iter(rows)).await.expect("it streams");
    let mut answer = answer.into_inner();
    let mut results = Vec::new();
    while let Some(row) = answer.message().await.expect("the stream is whole") {
        results.push(row.result.unwrap_or_default());
    }
    assert_eq!(results.len(), bad.len() + 1);
    for (index, (result, (begins, _))) in results.iter().zip(bad).enumerate() {
        assert_eq!(result.row, i64::try_from(index).unwrap(), "{result:?}");
        assert_eq!(result.verdict(), inv::RowVerdict::Refused, "{result:?}");
        assert!(!result.reason.is_empty() && result.message.starts_with(begins), "{result:?}, not {begins}");
    }
    assert_eq!(results[bad.len()].verdict(), inv::RowVerdict::Applied);
    ops.audit().await;
    world.stop().await;
}

const ADJUSTMENTS: &[Row<inv::AdjustStockRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no node", |r| r.node_id.clear(), Fields(&["node_id"])),
    ("no SKU", |r| r.sku.clear(), Fields(&["sku"])),
    ("SKU of nobody", |r| r.sku = "NONE".to_owned(), Fields(&["sku"])),
    ("no reason", |r| r.reason.clear(), Fields(&["reason"])),
    ("reason of 201", |r| r.reason = "r".repeat(201), Fields(&["reason"])),
    ("reason with CRLF", |r| r.reason = "ok\r\nlevel=error".to_owned(), Fields(&["reason"])),
    ("no adjustment", |r| r.adjustment = 0, Fields(&["adjustment"])),
    ("adjustment that nobody knows", |r| r.adjustment = 99, Fields(&["adjustment"])),
    ("no change", |r| r.quantity = 0, Fields(&["quantity"])),
    ("least change", |r| r.quantity = i64::MIN, Fields(&["quantity"])),
    ("greatest change", |r| r.quantity = i64::MAX, Fields(&["quantity"])),
    ("over the top", |r| r.quantity = 1_000_000_000_000, No(Code::OutOfRange, "QUANTITY_OVERFLOW")),
    ("less than there is", |r| r.quantity = -1_001, No(Code::FailedPrecondition, "TOO_FEW_UNITS")),
    ("a count of less than nothing", |r| adjust(r, inv::Adjustment::Count, -1), Fields(&["quantity"])),
    ("greatest count", |r| adjust(r, inv::Adjustment::Count, i64::MAX), Fields(&["quantity"])),
    ("quarantine of less", |r| adjust(r, inv::Adjustment::Quarantine, -1), Fields(&["quantity"])),
    (
        "quarantine of more than there is",
        |r| adjust(r, inv::Adjustment::Quarantine, 1_001),
        No(Code::FailedPrecondition, "TOO_FEW_UNITS"),
    ),
    (
        "out of an empty quarantine",
        |r| adjust(r, inv::Adjustment::ReleaseQuarantine, 1),
        No(Code::FailedPrecondition, "TOO_FEW_UNITS"),
    ),
    ("write-off of nothing", |r| adjust(r, inv::Adjustment::WriteOff, 0), Fields(&["quantity"])),
    ("least write-off", |r| adjust(r, inv::Adjustment::WriteOff, i64::MIN), Fields(&["quantity"])),
];

fn adjust(request: &mut inv::AdjustStockRequest, adjustment: inv::Adjustment, quantity: i64) {
    request.adjustment = adjustment.into();
    request.quantity = quantity;
}

const SETTINGS: &[Row<inv::SetSafetyStockRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no settings", |r| r.settings.clear(), Fields(&["settings"])),
    ("501 settings", |r| r.settings = vec![r.settings[0].clone(); 501], Fields(&["settings"])),
    ("less than nothing", |r| r.settings[0].safety_stock = Some(-1), Fields(&["settings[0].safety_stock"])),
    ("greatest", |r| r.settings[0].safety_stock = Some(i64::MAX), Fields(&["settings[0].safety_stock"])),
    ("no node", |r| r.settings[0].node_id.clear(), Fields(&["settings[0].node_id"])),
    ("SKU of nobody", |r| r.settings[1].sku = "NONE".to_owned(), Fields(&["settings[1].sku"])),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_adjustment_is_refused_and_moves_nothing() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let stock = &ops.clients.inventory;
    let good = inv::AdjustStockRequest {
        request_id: REQUEST_ID.to_owned(),
        node_id: NODE.to_owned(),
        sku: "TEA".to_owned(),
        adjustment: inv::Adjustment::Delta.into(),
        quantity: 1,
        reason: "found".to_owned(),
    };
    let adjust = async |request| stock.clone().adjust_stock(request).await;
    refused_only(INVENTORY, &good, ADJUSTMENTS, &adjust).await;
    let setting =
        |sku: &str| inv::SafetyStock { node_id: NODE.to_owned(), sku: sku.to_owned(), safety_stock: Some(2) };
    let settings = inv::SetSafetyStockRequest {
        request_id: REQUEST_ID.to_owned(),
        settings: vec![setting("TEA"), setting("CUP")],
    };
    let set = async |request| stock.clone().set_safety_stock(request).await;
    refused_only(INVENTORY, &settings, SETTINGS, &set).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(INVENTORY, good, &[], adjust).await;
    refused(INVENTORY, settings, &[], set).await;
    ops.audit().await;
    world.stop().await;
}
