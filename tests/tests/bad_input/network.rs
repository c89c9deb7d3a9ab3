//! Nodes with every bad value: places, zones, hours, capacity, closings.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::node_capacity::Most;
use contract::google::r#type::{Date, DayOfWeek, LatLng, TimeOfDay};
use contract::r#type::v1::{Method, Place};
use flows::world::{NODE, always_open, fresh};
use prost_types::Duration;
use test_world::wire::{offers, picks};
use tonic::Code;

use super::Said::{Fields, No};
use super::{
    Census, FULFILLMENT, Odd, REQUEST_ID, Row, YEAR_10000, at, is_refused, refused, refused_only, shop,
};

type Put = ful::PutNodesRequest;

const NODES: &[Row<Put>] = &[
    ("nothing at all", |r| *r = Put::default(), Fields(&["request_id", "nodes"])),
    (
        "a node of nothing",
        |r| r.nodes[0] = ful::Node::default(),
        Fields(&[
            "nodes[0].node_id",
            "nodes[0].name",
            "nodes[0].kind",
            "nodes[0].place",
            "nodes[0].time_zone",
            "nodes[0].services",
        ]),
    ),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no nodes", |r| r.nodes.clear(), Fields(&["nodes"])),
    (
        "101 nodes",
        |r| r.nodes = (0..101).map(|i| always_open(&format!("n-{i}"))).collect(),
        Fields(&["nodes"]),
    ),
    ("no code", |r| r.nodes[0].node_id.clear(), Fields(&["nodes[0].node_id"])),
    ("code of 65", |r| r.nodes[0].node_id = "n".repeat(65), Fields(&["nodes[0].node_id"])),
    ("code with a direction", |r| r.nodes[0].node_id = "\u{202e}n".to_owned(), Fields(&["nodes[0].node_id"])),
    ("code twice", |r| r.nodes.push(r.nodes[0].clone()), Fields(&["nodes[1].node_id"])),
    ("no name", |r| r.nodes[0].name.clear(), Fields(&["nodes[0].name"])),
    ("name of 201", |r| r.nodes[0].name = "n".repeat(201), Fields(&["nodes[0].name"])),
    ("name with NUL", |r| r.nodes[0].name = "a\0".to_owned(), Fields(&["nodes[0].name"])),
    ("no kind", |r| r.nodes[0].kind = 0, Fields(&["nodes[0].kind"])),
    ("kind that nobody knows", |r| r.nodes[0].kind = 99, Fields(&["nodes[0].kind"])),
    ("no place", |r| r.nodes[0].place = None, Fields(&["nodes[0].place"])),
    (
        "place without a point",
        |r| r.nodes[0].place = Some(Place { point: None }),
        Fields(&["nodes[0].place"]),
    ),
    ("north of the pole", |r| place(r, 90.01, 0.0), Fields(&["nodes[0].place"])),
    ("south of the pole", |r| place(r, -91.0, 0.0), Fields(&["nodes[0].place"])),
    ("around the world", |r| place(r, 0.0, 180.01), Fields(&["nodes[0].place"])),
    ("no number", |r| place(r, f64::NAN, f64::NAN), Fields(&["nodes[0].place"])),
    ("no end", |r| place(r, 0.0, f64::INFINITY), Fields(&["nodes[0].place"])),
    ("no zone", |r| r.nodes[0].time_zone.clear(), Fields(&["nodes[0].time_zone"])),
    ("zone of nobody", |r| r.nodes[0].time_zone = "Mars/Olympus".to_owned(), Fields(&["nodes[0].time_zone"])),
    ("zone as an offset", |r| r.nodes[0].time_zone = "+08:00".to_owned(), Fields(&["nodes[0].time_zone"])),
    (
        "zone that is a path",
        |r| r.nodes[0].time_zone = "../../etc/passwd".to_owned(),
        Fields(&["nodes[0].time_zone"]),
    ),
    (
        "zone with NUL",
        |r| r.nodes[0].time_zone = "Asia/Shanghai\0".to_owned(),
        Fields(&["nodes[0].time_zone"]),
    ),
    ("no services", |r| r.nodes[0].services.clear(), Fields(&["nodes[0].services"])),
    ("no method", |r| service(r).method = 0, Fields(&["nodes[0].services[0].method"])),
    ("method that nobody knows", |r| service(r).method = 99, Fields(&["nodes[0].services[0].method"])),
    (
        "method twice",
        |r| {
            r.nodes[0].services =
                vec![offers(Method::Pickup), offers(Method::Parcel), offers(Method::Pickup)];
        },
        Fields(&["nodes[0].services[2].method"]),
    ),
    ("negative preparation", |r| prepares(r, -1, 0), Fields(&["nodes[0].services[0].preparation"])),
    ("preparation of 8 days", |r| prepares(r, 691_200, 0), Fields(&["nodes[0].services[0].preparation"])),
    ("preparation of mixed signs", |r| prepares(r, 60, -1), Fields(&["nodes[0].services[0].preparation"])),
    ("greatest preparation", |r| prepares(r, i64::MAX, 0), Fields(&["nodes[0].services[0].preparation"])),
    ("least preparation", |r| prepares(r, i64::MIN, i32::MIN), Fields(&["nodes[0].services[0].preparation"])),
    ("negative radius", |r| service(r).radius_m = -1, Fields(&["nodes[0].services[0].radius_m"])),
    ("greatest radius", |r| service(r).radius_m = i64::MAX, Fields(&["nodes[0].services[0].radius_m"])),
    ("cut-off at 25:00", |r| cuts_off(r, &[(0, 25)]), Fields(&["nodes[0].services[0].cut_offs[0].time"])),
    (
        "cut-off without a time",
        |r| service(r).cut_offs = vec![ful::CutOff::default()],
        Fields(&["nodes[0].services[0].cut_offs[0].time"]),
    ),
    (
        "cut-offs of no day of the week",
        |r| cuts_off(r, &[(8, 12), (-1, 12)]),
        Fields(&["nodes[0].services[0].cut_offs[0].day", "nodes[0].services[0].cut_offs[1].day"]),
    ),
    (
        "two cut-offs of Saturday",
        |r| cuts_off(r, &[(6, 12), (0, 17), (6, 13)]),
        Fields(&["nodes[0].services[0].cut_offs[2].day"]),
    ),
    (
        "two cut-offs of all other days",
        |r| cuts_off(r, &[(0, 12), (0, 12)]),
        Fields(&["nodes[0].services[0].cut_offs[1].day"]),
    ),
    (
        "a cut-off more than there are days",
        |r| cuts_off(r, &[(0, 9), (1, 9), (2, 9), (3, 9), (4, 9), (5, 9), (6, 9), (7, 9), (1, 9)]),
        Fields(&["nodes[0].services[0].cut_offs"]),
    ),
    (
        "capacity for nothing",
        |r| r.nodes[0].capacity = vec![ful::NodeCapacity::default()],
        Fields(&["nodes[0].capacity[0].work"]),
    ),
    (
        "capacity for work that nobody knows",
        |r| capacity(r).work = "pick".to_owned(),
        Fields(&["nodes[0].capacity[0].work"]),
    ),
    (
        "work twice",
        |r| r.nodes[0].capacity = [picks(Most::Orders(1)), picks(Most::Units(1))].concat(),
        Fields(&["nodes[0].capacity[1].work"]),
    ),
    (
        "negative orders",
        |r| r.nodes[0].capacity = picks(Most::Orders(-1)),
        Fields(&["nodes[0].capacity[0].orders"]),
    ),
    (
        "least units",
        |r| r.nodes[0].capacity = picks(Most::Units(i64::MIN)),
        Fields(&["nodes[0].capacity[0].units"]),
    ),
    ("slot of 14 minutes", |r| capacity(r).slot = length(840, 0), Fields(&["nodes[0].capacity[0].slot"])),
    ("slot of 25 hours", |r| capacity(r).slot = length(90_000, 0), Fields(&["nodes[0].capacity[0].slot"])),
    ("slot of odd seconds", |r| capacity(r).slot = length(930, 0), Fields(&["nodes[0].capacity[0].slot"])),
    (
        "slot of half a second more",
        |r| capacity(r).slot = length(900, 500_000_000),
        Fields(&["nodes[0].capacity[0].slot"]),
    ),
    ("51 tags", |r| r.nodes[0].tags = (0..51).map(|i| i.to_string()).collect(), Fields(&["nodes[0].tags"])),
    ("tag twice", |r| r.nodes[0].tags = tags(&["a", "b", "a"]), Fields(&["nodes[0].tags[2]"])),
    (
        "tags that are no words",
        |r| r.nodes[0].tags = tags(&["", "Mall", "a b", "\u{e9}", "a\0", &"a".repeat(33)]),
        Fields(&[
            "nodes[0].tags[0]",
            "nodes[0].tags[1]",
            "nodes[0].tags[2]",
            "nodes[0].tags[3]",
            "nodes[0].tags[4]",
            "nodes[0].tags[5]",
        ]),
    ),
    ("no first day", |r| r.nodes[0].first_day = Some(Date::default()), Fields(&["nodes[0].first_day"])),
    (
        "last day on 30 February",
        |r| r.nodes[0].last_day = Some(Date { year: 2027, month: 2, day: 30 }),
        Fields(&["nodes[0].last_day"]),
    ),
    ("last day before the first", |r| days(r, (2027, 1, 2), (2027, 1, 1)), Fields(&["nodes[0].last_day"])),
    ("etag of nobody", |r| r.nodes[0].etag = "v7".to_owned(), No(Code::Aborted, "NODE_CHANGED")),
];

fn service(request: &mut Put) -> &mut ful::NodeService {
    &mut request.nodes[0].services[0]
}

fn prepares(request: &mut Put, seconds: i64, nanos: i32) {
    service(request).preparation = length(seconds, nanos);
}

/// Cut-offs by the number of a day and a full hour.
fn cuts_off(request: &mut Put, cut_offs: &[(i32, i32)]) {
    let cut_off = |(day, hours): &(i32, i32)| ful::CutOff { day: *day, time: time(*hours, 0) };
    service(request).cut_offs = cut_offs.iter().map(cut_off).collect();
}

/// The capacity of the first node, with a limit.
fn capacity(request: &mut Put) -> &mut ful::NodeCapacity {
    request.nodes[0].capacity = picks(Most::Orders(9));
    &mut request.nodes[0].capacity[0]
}

fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

/// First and last day.
fn days(request: &mut Put, first: (i32, i32, i32), last: (i32, i32, i32)) {
    let day = |(year, month, day)| Some(Date { year, month, day });
    (request.nodes[0].first_day, request.nodes[0].last_day) = (day(first), day(last));
}

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn length(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

#[expect(clippy::unnecessary_wraps, reason = "the field it goes into is optional")]
fn time(hours: i32, minutes: i32) -> Option<TimeOfDay> {
    Some(TimeOfDay { hours, minutes, ..TimeOfDay::default() })
}

fn place(put: &mut Put, latitude: f64, longitude: f64) {
    put.nodes[0].place = Some(Place { point: Some(LatLng { latitude, longitude }) });
}

const HOURS: &[Row<Put>] = &[
    ("no day", |r| r.nodes[0].hours[0].day = 0, Fields(&["nodes[0].hours[0].day"])),
    ("an eighth day", |r| r.nodes[0].hours[0].day = 8, Fields(&["nodes[0].hours[0].day"])),
    ("least day", |r| r.nodes[0].hours[6].day = i32::MIN, Fields(&["nodes[0].hours[6].day"])),
    ("never opens", |r| r.nodes[0].hours[0].open_time = None, Fields(&["nodes[0].hours[0].open_time"])),
    ("never closes", |r| r.nodes[0].hours[0].close_time = None, Fields(&["nodes[0].hours[0].close_time"])),
    ("opens at 24:00", |r| r.nodes[0].hours[0].open_time = time(24, 0), Fields(&["nodes[0].hours[0]"])),
    (
        "closes at 24:01",
        |r| r.nodes[0].hours[0].close_time = time(24, 1),
        Fields(&["nodes[0].hours[0].close_time"]),
    ),
    (
        "opens at -1",
        |r| r.nodes[0].hours[0].open_time = time(-1, 0),
        Fields(&["nodes[0].hours[0].open_time"]),
    ),
    ("minute 60", |r| r.nodes[0].hours[0].open_time = time(0, 60), Fields(&["nodes[0].hours[0].open_time"])),
    ("a leap second", |r| seconds(r, 60), Fields(&["nodes[0].hours[0].open_time"])),
    ("half a minute", |r| seconds(r, 30), Fields(&["nodes[0].hours[0].open_time"])),
    (
        "greatest hour",
        |r| r.nodes[0].hours[0].open_time = time(i32::MAX, i32::MAX),
        Fields(&["nodes[0].hours[0].open_time"]),
    ),
    (
        "a span inside another",
        |r| r.nodes[0].hours.push(hours(DayOfWeek::Monday, 9, 10)),
        Fields(&["nodes[0].hours"]),
    ),
    ("nine spans a day", nine, Fields(&["nodes[0].hours"])),
    ("30 February", |r| date(r, 2026, 2, 30), Fields(&["nodes[0].exceptions[0].date"])),
    ("29 February of no leap year", |r| date(r, 2027, 2, 29), Fields(&["nodes[0].exceptions[0].date"])),
    ("a date without a year", |r| date(r, 0, 12, 25), Fields(&["nodes[0].exceptions[0].date"])),
    ("month 13", |r| date(r, 2026, 13, 1), Fields(&["nodes[0].exceptions[0].date"])),
    ("year 10000", |r| date(r, 10_000, 1, 1), Fields(&["nodes[0].exceptions[0].date"])),
    ("greatest date", |r| date(r, i32::MAX, i32::MAX, i32::MAX), Fields(&["nodes[0].exceptions[0].date"])),
    (
        "no date",
        |r| r.nodes[0].exceptions = vec![ful::HoursException::default()],
        Fields(&["nodes[0].exceptions[0].date"]),
    ),
    ("a date twice", twice, Fields(&["nodes[0].exceptions[1].date"])),
    (
        "a date with a bad span",
        bad_span,
        Fields(&["nodes[0].exceptions[0].spans[0].open_time", "nodes[0].exceptions[0].spans[0].close_time"]),
    ),
    ("a date with a long name", |r| named(r, &"n".repeat(201)), Fields(&["nodes[0].exceptions[0].name"])),
    ("a date with NUL in its name", |r| named(r, "\0"), Fields(&["nodes[0].exceptions[0].name"])),
    ("401 dates", many_dates, Fields(&["nodes[0].exceptions"])),
    ("closing without a beginning", |r| shut(r, None, None), Fields(&["nodes[0].closing.from_time"])),
    ("closing that turns back", |r| shut(r, at(2, 0), at(1, 0)), Fields(&["nodes[0].closing.until_time"])),
    ("closing of nothing", |r| shut(r, at(2, 0), at(2, 0)), Fields(&["nodes[0].closing.until_time"])),
    ("closing with nanos -1", |r| shut(r, at(2, -1), None), Fields(&["nodes[0].closing.from_time"])),
    (
        "closing until the year 10000",
        |r| shut(r, at(2, 0), at(YEAR_10000, 0)),
        Fields(&["nodes[0].closing.until_time"]),
    ),
];

fn seconds(put: &mut Put, seconds: i32) {
    put.nodes[0].hours[0].open_time = Some(TimeOfDay { seconds, ..TimeOfDay::default() });
}

fn hours(day: DayOfWeek, open: i32, close: i32) -> ful::OpeningHours {
    ful::OpeningHours { day: day.into(), open_time: time(open, 0), close_time: time(close, 0) }
}

fn nine(put: &mut Put) {
    put.nodes[0].hours = (0..9).map(|i| hours(DayOfWeek::Monday, 2 * i, 2 * i + 1)).collect();
}

fn date(put: &mut Put, year: i32, month: i32, day: i32) {
    let date = Some(Date { year, month, day });
    put.nodes[0].exceptions = vec![ful::HoursException { date, ..Default::default() }];
}

fn twice(put: &mut Put) {
    date(put, 2026, 12, 25);
    put.nodes[0].exceptions = vec![put.nodes[0].exceptions[0].clone(); 2];
}

fn bad_span(put: &mut Put) {
    date(put, 2026, 12, 25);
    put.nodes[0].exceptions[0].spans = vec![ful::TimeSpan { open_time: time(25, 0), close_time: None }];
}

fn named(put: &mut Put, name: &str) {
    date(put, 2026, 12, 25);
    name.clone_into(&mut put.nodes[0].exceptions[0].name);
}

fn many_dates(put: &mut Put) {
    let day = |i: i32| Some(Date { year: 2027 + i / 336, month: 1 + i / 28 % 12, day: 1 + i % 28 });
    put.nodes[0].exceptions =
        (0..401).map(|i| ful::HoursException { date: day(i), ..Default::default() }).collect();
}

fn shut(
    put: &mut Put,
    from_time: Option<prost_types::Timestamp>,
    until_time: Option<prost_types::Timestamp>,
) {
    put.nodes[0].closing = Some(ful::TemporaryClosing { from_time, until_time, reason: String::new() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_node_is_refused_and_changes_none() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let good = Put { request_id: REQUEST_ID.to_owned(), nodes: vec![always_open("new-1")] };
    let put = async |request| ops.clients.network.clone().put_nodes(request).await;
    refused_only(FULFILLMENT, &good, NODES, &put).await;
    refused_only(FULFILLMENT, &good, HOURS, &put).await;
    assert_eq!(Census::of(&ops).await, before);
    refused(FULFILLMENT, good, &[], put).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_hours_that_mean_something_are_taken_as_they_are() {
    let (world, ops) = shop().await;
    let odd: &[Odd<Put>] = &[
        ("opens and closes at once: open all day", |r| {
            r.nodes[0].hours = vec![hours(DayOfWeek::Monday, 9, 9)];
        }),
        ("past midnight", |r| r.nodes[0].hours = vec![hours(DayOfWeek::Sunday, 22, 2)]),
        ("never open", |r| r.nodes[0].hours.clear()),
        ("29 February of a leap year", |r| date(r, 2028, 2, 29)),
        ("a zone with gaps and overlaps", |r| r.nodes[0].time_zone = "Europe/London".to_owned()),
        ("a zone of a quarter of an hour", |r| r.nodes[0].time_zone = "Asia/Kathmandu".to_owned()),
        ("the pole", |r| place(r, -90.0, -180.0)),
        ("minus nothing", |r| place(r, -0.0, -0.0)),
        ("no time to prepare", |r| prepares(r, 0, 0)),
        ("a cut-off for each day and one for none", |r| {
            cuts_off(r, &[(0, 9), (1, 9), (2, 9), (3, 9), (4, 9), (5, 24), (6, 0), (7, 9)]);
        }),
        ("no orders", |r| r.nodes[0].capacity = picks(Most::Orders(0))),
        ("no units", |r| r.nodes[0].capacity = picks(Most::Units(0))),
        ("capacity without a limit", |r| capacity(r).most = None),
        ("greatest number of orders", |r| r.nodes[0].capacity = picks(Most::Orders(i64::MAX))),
        ("greatest number of units", |r| r.nodes[0].capacity = picks(Most::Units(i64::MAX))),
        ("50 tags of 32", |r| r.nodes[0].tags = (0..50).map(|i| format!("{i:->32}")).collect()),
        ("a day that is over", |r| days(r, (1, 1, 1), (1, 1, 1))),
        ("the last day of all", |r| days(r, (9_999, 12, 31), (9_999, 12, 31))),
        ("all days", |r| days(r, (1, 1, 1), (9_999, 12, 31))),
        ("a closing before the epoch", |r| shut(r, at(-1, 0), at(1, 0))),
        ("a closing of all time", |r| shut(r, at(-377_705_023_201, 0), at(253_402_207_200, 0))),
        ("a closing at the end of time", |r| shut(r, at(253_402_207_200, 0), None)),
        ("the first day", |r| date(r, 1, 1, 1)),
        ("the last day", |r| date(r, 9_999, 12, 31)),
    ];
    for (what, change) in odd {
        let mut request = Put { request_id: fresh(), nodes: vec![always_open("odd-1")] };
        change(&mut request);
        let sent = request.nodes[0].clone();
        let stored = ops.clients.network.clone().put_nodes(request).await;
        let stored =
            stored.unwrap_or_else(|status| panic!("{what}: {status:?}")).into_inner().nodes.remove(0);
        assert_eq!(ful::Node { etag: String::new(), update_time: None, ..stored }, sent, "{what}");
        let cart = ful::GetPromiseRequest {
            lines: vec![ful::CartLine { line: 1, sku: "TEA".to_owned(), quantity: 1 }],
            node_id: "odd-1".to_owned(),
            ..Default::default()
        };
        let answer = ops.clients.promise.clone().get_promise(cart).await.expect("a promise or a reason");
        let answer = answer.into_inner();
        assert!(!answer.options.is_empty() || !answer.refusals.is_empty(), "{what}");
    }
    world.stop().await;
}

const CLOSINGS: &[Row<ful::CloseNodeRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::CloseNodeRequest::default(),
        Fields(&["request_id", "node_id", "closing"]),
    ),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    ("no node", |r| r.node_id.clear(), Fields(&["node_id"])),
    ("nobody", |r| r.node_id = "nowhere".to_owned(), No(Code::NotFound, "NODE_NOT_FOUND")),
    ("no closing", |r| r.closing = None, Fields(&["closing"])),
    ("no beginning", |r| r.closing = Some(ful::TemporaryClosing::default()), Fields(&["closing.from_time"])),
    ("turns back", |r| until(r, 1), Fields(&["closing.until_time"])),
    ("a reason of 201", |r| reason(r, &"r".repeat(201)), Fields(&["closing.reason"])),
    ("a reason with CRLF", |r| reason(r, "flood\r\nOPEN"), Fields(&["closing.reason"])),
];

fn until(close: &mut ful::CloseNodeRequest, seconds: i64) {
    close.closing.get_or_insert_default().until_time = at(seconds, 0);
}

fn reason(close: &mut ful::CloseNodeRequest, reason: &str) {
    reason.clone_into(&mut close.closing.get_or_insert_default().reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_closing_is_refused_and_a_store_closes_itself_alone() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let closing = ful::TemporaryClosing { from_time: at(2, 0), ..Default::default() };
    let good = ful::CloseNodeRequest {
        request_id: REQUEST_ID.to_owned(),
        node_id: NODE.to_owned(),
        closing: Some(closing),
    };
    let close = async |request| ops.clients.network.clone().close_node(request).await;
    refused_only(FULFILLMENT, &good, CLOSINGS, &close).await;
    let mut other = world.clients("store/sha-02").clients.network;
    let said = No(Code::PermissionDenied, "NOT_YOUR_NODE");
    is_refused("another store closes", FULFILLMENT, said, other.close_node(good.clone()).await);
    let reopen = ful::ReopenNodeRequest { request_id: fresh(), node_id: NODE.to_owned() };
    is_refused("another store opens", FULFILLMENT, said, other.reopen_node(reopen.clone()).await);
    for (what, node_id, said) in
        [("no node", "", Fields(&["node_id"])), ("nobody", "nowhere", No(Code::NotFound, "NODE_NOT_FOUND"))]
    {
        let request = ful::ReopenNodeRequest { node_id: node_id.to_owned(), ..reopen.clone() };
        is_refused(what, FULFILLMENT, said, ops.clients.network.clone().reopen_node(request).await);
    }
    assert_eq!(Census::of(&ops).await, before);
    refused(FULFILLMENT, good, &[], close).await;
    world.stop().await;
}
