//! Reservations with every bad value.

use contract::inventory::v1 as inv;
use flows::world::{NODE, fresh};
use prost_types::Duration;
use tonic::Code;

use super::Said::{Fields, No};
use super::{
    Census, INVENTORY, NOBODY, REQUEST_ID, Row, YEAR_10000, at, is_refused, nobody, refused, refused_only,
    shop,
};

const RESERVE: &[Row<inv::ReserveRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no reservation", |r| one(r).reservation_id.clear(), Fields(&["reservations[0].reservation_id"])),
    (
        "order for a reservation",
        |r| one(r).reservation_id = nobody("ord_"),
        Fields(&["reservations[0].reservation_id"]),
    ),
    (
        "reservation in upper case",
        |r| one(r).reservation_id = nobody("rsv_").to_uppercase(),
        Fields(&["reservations[0].reservation_id"]),
    ),
    (
        "reservation in braces",
        |r| one(r).reservation_id = format!("rsv_{{{NOBODY}}}"),
        Fields(&["reservations[0].reservation_id"]),
    ),
    ("no lines", |r| one(r).lines.clear(), Fields(&["reservations[0].lines"])),
    (
        "1,001 lines",
        |r| one(r).lines = (1..=1_001).map(|line| claim(line, "TEA", 1)).collect(),
        Fields(&["reservations[0].lines"]),
    ),
    ("line 0", |r| one(r).lines[0].line = 0, Fields(&["reservations[0].lines[0].line"])),
    ("line twice", |r| one(r).lines.push(claim(1, "CUP", 1)), Fields(&["reservations[0].lines[1].line"])),
    ("no node", |r| one(r).node_id.clear(), Fields(&["reservations[0].node_id"])),
    ("no SKU", |r| one(r).lines[0].sku.clear(), Fields(&["reservations[0].lines[0].sku"])),
    ("SKU of nobody", |r| one(r).lines.push(claim(2, "NONE", 1)), Fields(&["reservations[0].lines[1].sku"])),
    ("nothing of it", |r| one(r).lines[0].quantity = 0, Fields(&["reservations[0].lines[0].quantity"])),
    (
        "least quantity",
        |r| one(r).lines[0].quantity = i64::MIN,
        Fields(&["reservations[0].lines[0].quantity"]),
    ),
    (
        "greatest quantity",
        |r| one(r).lines[0].quantity = i64::MAX,
        Fields(&["reservations[0].lines[0].quantity"]),
    ),
    (
        "a million and one",
        |r| one(r).lines[0].quantity = 1_000_001,
        Fields(&["reservations[0].lines[0].quantity"]),
    ),
    ("node without stock", |r| one(r).node_id = "n".to_owned(), No(Code::FailedPrecondition, "NO_STOCK")),
    ("more than there is", |r| one(r).lines[0].quantity = 1_001, No(Code::FailedPrecondition, "NO_STOCK")),
    (
        "more than there is, over many lines",
        |r| one(r).lines = (1..=1_000).map(|line| claim(line, "TEA", 1_000_000)).collect(),
        No(Code::FailedPrecondition, "NO_STOCK"),
    ),
    ("no reservations", |r| r.reservations.clear(), Fields(&["reservations"])),
    (
        "51 reservations",
        |r| r.reservations = (0..51).map(|_| reservation(&format!("rsv_{}", fresh()), 1)).collect(),
        Fields(&["reservations"]),
    ),
    (
        "2,001 lines together",
        |r| {
            let lines = |of: u32| (1..=of).map(|line| claim(line, "TEA", 1)).collect();
            let node_id = NODE.to_owned();
            let one = |of| inv::NewReservation {
                reservation_id: format!("rsv_{}", fresh()),
                node_id: node_id.clone(),
                lines: lines(of),
                promised_time: None,
                channel: String::new(),
            };
            r.reservations = vec![one(1_000), one(1_000), one(1)];
        },
        Fields(&["reservations"]),
    ),
    ("channel of 65", |r| one(r).channel = "c".repeat(65), Fields(&["reservations[0].channel"])),
    (
        "promised at no time",
        |r| one(r).promised_time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        Fields(&["reservations[0].promised_time"]),
    ),
    (
        "the same reservation twice",
        |r| r.reservations.push(r.reservations[0].clone()),
        Fields(&["reservations[1].reservation_id"]),
    ),
    (
        "more than there is, over two reservations",
        |r| {
            one(r).lines[0].quantity = 999;
            r.reservations.push(reservation(&format!("rsv_{}", fresh()), 2));
        },
        No(Code::FailedPrecondition, "NO_STOCK"),
    ),
    ("old claim that is no reservation", |r| r.instead_of = vec![nobody("ful_")], Fields(&["instead_of[0]"])),
    ("no time", |r| r.ttl = None, Fields(&["ttl"])),
    ("no time at all", |r| r.ttl = length(0, 0), Fields(&["ttl"])),
    ("less than a second", |r| r.ttl = length(0, 999_999_999), Fields(&["ttl"])),
    ("negative time", |r| r.ttl = length(-60, 0), Fields(&["ttl"])),
    ("more than a week", |r| r.ttl = length(604_800, 1), Fields(&["ttl"])),
    ("greatest time", |r| r.ttl = length(i64::MAX, i32::MAX), Fields(&["ttl"])),
    ("least time", |r| r.ttl = length(i64::MIN, i32::MIN), Fields(&["ttl"])),
    ("mixed signs", |r| r.ttl = length(60, -1), Fields(&["ttl"])),
];

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn length(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn one(request: &mut inv::ReserveRequest) -> &mut inv::NewReservation {
    &mut request.reservations[0]
}

fn reservation(id: &str, tea: i64) -> inv::NewReservation {
    let lines = vec![claim(1, "TEA", tea)];
    inv::NewReservation {
        reservation_id: id.to_owned(),
        node_id: NODE.to_owned(),
        lines,
        promised_time: None,
        channel: String::new(),
    }
}

fn claim(line: u32, sku: &str, quantity: i64) -> inv::ReserveLine {
    inv::ReserveLine { line, sku: sku.to_owned(), quantity }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reservation_is_refused_and_claims_nothing() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let good = inv::ReserveRequest {
        request_id: REQUEST_ID.to_owned(),
        reservations: vec![reservation(&nobody("rsv_"), 3)],
        ttl: length(60, 0),
        instead_of: Vec::new(),
    };
    let reserve = async |request| ops.clients.inventory.clone().reserve(request).await;
    refused_only(INVENTORY, &good, RESERVE, &reserve).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(INVENTORY, good.clone(), &[], &reserve).await;

    let after: &[Row<inv::ReserveRequest>] = &[
        ("another body", |r| one(r).lines[0].quantity = 4, No(Code::InvalidArgument, "REQUEST_ID_REUSED")),
        (
            "other lines under the same name",
            |r| {
                r.request_id = fresh();
                one(r).lines[0].quantity = 4;
            },
            No(Code::AlreadyExists, "RESERVATION_EXISTS"),
        ),
    ];
    refused(INVENTORY, good, after, reserve).await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 3);
    ops.audit().await;
    world.stop().await;
}

const RELEASE: &[Row<inv::ReleaseReservationRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no reservations", |r| r.reservation_ids.clear(), Fields(&["reservation_ids"])),
    (
        "51 reservations",
        |r| r.reservation_ids = (0..51).map(|_| format!("rsv_{}", fresh())).collect(),
        Fields(&["reservation_ids"]),
    ),
    (
        "the same reservation twice",
        |r| r.reservation_ids.push(r.reservation_ids[0].clone()),
        Fields(&["reservation_ids[1]"]),
    ),
    ("another kind", |r| r.reservation_ids = vec![nobody("prm_")], Fields(&["reservation_ids[0]"])),
    ("no reason", |r| r.reason.clear(), Fields(&["reason"])),
    ("reason in lower case", |r| r.reason = "why".to_owned(), Fields(&["reason"])),
    ("reason of 64", |r| r.reason = "R".repeat(64), Fields(&["reason"])),
];

const EXTEND: &[Row<inv::ExtendReservationRequest>] = &[
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no reservations", |r| r.reservation_ids.clear(), Fields(&["reservation_ids"])),
    (
        "51 reservations",
        |r| r.reservation_ids = (0..51).map(|_| format!("rsv_{}", fresh())).collect(),
        Fields(&["reservation_ids"]),
    ),
    (
        "the same reservation twice",
        |r| r.reservation_ids.push(r.reservation_ids[0].clone()),
        Fields(&["reservation_ids[1]"]),
    ),
    ("another kind", |r| r.reservation_ids = vec![nobody("prm_")], Fields(&["reservation_ids[0]"])),
    ("nobody", |r| r.reservation_ids.push(nobody("rsv_")), No(Code::NotFound, "RESERVATION_NOT_FOUND")),
    ("no time", |r| r.expire_time = None, Fields(&["expire_time"])),
    ("nanos -1", |r| r.expire_time = at(1, -1), Fields(&["expire_time"])),
    ("year 10000", |r| r.expire_time = at(YEAR_10000, 0), Fields(&["expire_time"])),
    ("in a thousand years", |r| r.expire_time = at(32_503_680_000, 0), Fields(&["expire_time"])),
    ("greatest second", |r| r.expire_time = at(i64::MAX, 0), Fields(&["expire_time"])),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_steps_of_a_reservation_are_refused_and_it_stays_as_it_was() {
    let (world, ops) = shop().await;
    let stock = &ops.clients.inventory;
    let reservation_id = format!("rsv_{}", fresh());
    let claimed = inv::ReserveRequest {
        request_id: fresh(),
        reservations: vec![reservation(&reservation_id, 3)],
        ttl: length(600, 0),
        instead_of: Vec::new(),
    };
    let now = stock.clone().reserve(claimed).await.expect("reserved").into_inner().reservations;
    let until = now[0].expire_time;
    let before = Census::of(&ops).await;

    let request_id = REQUEST_ID.to_owned();
    let good = inv::ExtendReservationRequest {
        request_id: request_id.clone(),
        reservation_ids: vec![reservation_id.clone()],
        expire_time: until,
    };
    let extend = async |request| stock.clone().extend_reservation(request).await;
    refused_only(INVENTORY, &good, EXTEND, &extend).await;
    let past = inv::ExtendReservationRequest { request_id: fresh(), expire_time: at(-1, 0), ..good };
    let held = extend(past).await.expect("an earlier end changes nothing").into_inner().reservations;
    assert_eq!(held, now);

    let good = inv::ReleaseReservationRequest {
        request_id: request_id.clone(),
        reservation_ids: vec![reservation_id.clone()],
        reason: "TEST".to_owned(),
    };
    let release = async |request| stock.clone().release_reservation(request).await;
    refused_only(INVENTORY, &good, RELEASE, &release).await;
    assert_eq!(Census::of(&ops).await, before);

    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_is_over_takes_no_more_commands() {
    let (world, ops) = shop().await;
    let stock = &ops.clients.inventory;
    let reservation_id = nobody("rsv_");
    let release = inv::ReleaseReservationRequest {
        request_id: fresh(),
        reservation_ids: vec![reservation_id.clone()],
        reason: "TEST".to_owned(),
    };
    stock.clone().release_reservation(release.clone()).await.expect("a release may come before its reserve");
    let reserve = inv::ReserveRequest {
        request_id: fresh(),
        reservations: vec![reservation(&reservation_id, 3)],
        ttl: length(600, 0),
        instead_of: Vec::new(),
    };
    let over = No(Code::FailedPrecondition, "RESERVATION_RELEASED");
    is_refused("reserve", INVENTORY, over, stock.clone().reserve(reserve).await);
    let extend = inv::ExtendReservationRequest {
        request_id: fresh(),
        reservation_ids: vec![reservation_id],
        expire_time: at(86_400, 0),
    };
    is_refused("extend", INVENTORY, over, stock.clone().extend_reservation(extend).await);
    let again = inv::ReleaseReservationRequest { request_id: fresh(), ..release };
    stock.clone().release_reservation(again).await.expect("what is released stays so");
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 0);
    ops.audit().await;
    world.stop().await;
}
