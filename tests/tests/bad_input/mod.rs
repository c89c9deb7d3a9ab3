//! Bad input through the public API: each bad value gets a clear status, and nothing is half done.
//!
//! The table of what is covered where is `tests/BAD_INPUT.md`.

mod enums;
mod every_method;
mod grpc;
mod inventory;
mod inventory_reservations;
mod largest;
mod memory;
mod network;
mod orders;
mod orders_place;
mod pages;
mod policies;
mod promises;
mod raw;
mod reads;
mod resets;
mod texts;
mod work;
mod workflow;

use std::collections::BTreeSet;

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::world::{NODE, People, World};
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The domains of the three services.
const ORDERS: &str = "orders.entrepot";
const INVENTORY: &str = "inventory.entrepot";
const FULFILLMENT: &str = "fulfillment.entrepot";

/// A request id that refused calls share with the good one at the end: they must not use it up.
const REQUEST_ID: &str = "5f0c5d4e-1f0b-4f43-9d0a-6a1de5b2a001";

/// An id that nothing has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Details of a status must fit into the headers that every client takes: 8 KiB in gRPC for C++, Python and Java.
const MOST_DETAILS: usize = 5 * 1024;

/// What a call must be answered with.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// A request of a wrong shape: these fields, and no others, are named.
    Fields(&'static [&'static str]),
    /// A rule says no.
    No(Code, &'static str),
}

/// One bad request: what is bad, how a good request becomes it, and the answer.
type Row<R> = (&'static str, fn(&mut R), Said);

/// A request that is odd: what is odd, and how a good one becomes it.
type Odd<R> = (&'static str, fn(&mut R));

/// Sends each bad request and then the good one, which must pass: so it was the bad value that was refused.
async fn refused<R: Clone, A>(
    domain: &str,
    good: R,
    rows: &[Row<R>],
    call: impl AsyncFn(R) -> Result<A, Status>,
) -> A {
    refused_only(domain, &good, rows, &call).await;
    match call(good).await {
        Ok(answer) => answer,
        Err(status) => panic!("the good request was refused after the bad ones: {status:?}"),
    }
}

/// The same where the good request would wait or may not be sent.
async fn refused_only<R: Clone, A>(
    domain: &str,
    good: &R,
    rows: &[Row<R>],
    call: &impl AsyncFn(R) -> Result<A, Status>,
) {
    let mut wrong = Vec::new();
    for (what, change, said) in rows {
        let mut bad = good.clone();
        change(&mut bad);
        match call(bad).await {
            Ok(_) => wrong.push(format!("{what}: taken")),
            Err(status) => wrong.extend(flaw(domain, *said, &status).map(|flaw| format!("{what}: {flaw}"))),
        }
    }
    assert!(wrong.is_empty(), "{domain}\n{}", wrong.join("\n"));
}

/// What is wrong with the answer to a bad request.
fn flaw(domain: &str, said: Said, status: &Status) -> Option<String> {
    let (code, reason) = match said {
        Said::Fields(_) => (Code::InvalidArgument, "INVALID_REQUEST"),
        Said::No(code, reason) => (code, reason),
    };
    let Some(info) = status.get_details_error_info() else {
        return Some(format!("no ErrorInfo: {status:?}"));
    };
    if (status.code(), info.reason.as_str(), info.domain.as_str()) != (code, reason, domain) {
        return Some(format!("{:?} {} of {}: {}", status.code(), info.reason, info.domain, status.message()));
    }
    if status.message().is_empty() || status.details().len() > MOST_DETAILS {
        return Some(format!("{} bytes of details, text {:?}", status.details().len(), status.message()));
    }
    let Said::Fields(wanted) = said else { return None };
    let named = server::status::violations(status);
    let unique: BTreeSet<(&str, &str)> =
        named.iter().map(|bad| (bad.field.as_str(), bad.description.as_str())).collect();
    let fields: BTreeSet<&str> = unique.iter().map(|(field, _)| *field).collect();
    if unique.len() != named.len() || unique.iter().any(|(_, text)| text.is_empty()) {
        return Some(format!("named twice or without a text: {named:?}"));
    }
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    (fields != wanted).then(|| format!("named {fields:?}, not {wanted:?}"))
}

/// The status of a call that must be refused, checked.
fn is_refused<A>(what: &str, domain: &str, said: Said, answer: Result<A, Status>) -> Status {
    match answer {
        Ok(_) => panic!("{what}: taken"),
        Err(status) => {
            assert_eq!(flaw(domain, said, &status), None, "{what}");
            status
        }
    }
}

/// All that a refused call must leave as it was.
#[derive(Debug, PartialEq)]
struct Census {
    orders: Vec<ord::Order>,
    skus: Vec<inv::Sku>,
    positions: Vec<inv::Position>,
    nodes: Vec<ful::Node>,
    policies: Vec<ful::Policy>,
    groups: Vec<ful::NodeGroup>,
    work: Vec<ful::FulfillmentOrder>,
    /// Reservations and ledger rows.
    ledger: (i64, i64),
}

impl Census {
    /// Counts everything; the stock laws must hold.
    async fn of(people: &People) -> Self {
        let clients = people.clients.clone();
        let orders = clients.orders.clone().list_orders(ord::ListOrdersRequest::default()).await;
        let skus = clients.inventory.clone().list_skus(inv::ListSkusRequest::default()).await;
        let nodes = clients.network.clone().list_nodes(ful::ListNodesRequest::default()).await;
        let policies = clients.policies.clone().list_policies(ful::ListPoliciesRequest::default()).await;
        let groups = clients.network.clone().list_node_groups(ful::ListNodeGroupsRequest::default()).await;
        let list =
            ful::ListWorkRequest { node_id: NODE.to_owned(), states: STATES.to_vec(), ..Default::default() };
        let work = clients.work.clone().list_work(list).await;
        let mut chunks = clients
            .inventory
            .clone()
            .stream_positions(inv::StreamPositionsRequest {})
            .await
            .expect("positions stream")
            .into_inner();
        let mut positions = Vec::new();
        while let Some(chunk) = chunks.message().await.expect("the stream is whole") {
            positions.extend(chunk.positions);
        }
        let audit =
            clients.inventory.clone().audit(inv::AuditRequest {}).await.expect("audited").into_inner();
        assert!(audit.ok, "{:#?}", audit.laws);
        Self {
            orders: orders.expect("orders").into_inner().orders,
            skus: skus.expect("SKUs").into_inner().skus,
            positions,
            nodes: nodes.expect("nodes").into_inner().nodes,
            policies: policies.expect("policies").into_inner().policies,
            groups: groups.expect("groups").into_inner().groups,
            work: work.expect("work").into_inner().fulfillment_orders,
            ledger: (audit.reservations, audit.movements),
        }
    }
}

/// The states that a node's fulfillment order can be in.
const STATES: [i32; 12] = [1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15];

/// A world with tea and cups in it.
async fn shop() -> (World, People) {
    stocked(World::embedded().await).await
}

/// The same in a world of one's own.
async fn stocked(world: World) -> (World, People) {
    let ops = world.clients("ops/test");
    ops.stock(NODE, &[("TEA", 1_000), ("CUP", 1_000)]).await;
    world.settle().await;
    (world, ops)
}

/// A good order of two lines: 1 x 1.00 and 2 x 2.50 USD.
fn good_order() -> ord::PlaceOrderRequest {
    ord::PlaceOrderRequest {
        request_id: REQUEST_ID.to_owned(),
        ..order_at(NODE, &[("TEA", 1, 100), ("CUP", 2, 250)])
    }
}

/// An id of nobody, with a prefix.
fn nobody(prefix: &str) -> String {
    format!("{prefix}{NOBODY}")
}

/// An instant on the wire.
#[expect(clippy::unnecessary_wraps, reason = "the fields it goes into are optional")]
fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

/// The first second of the year 10000, which the calendar of the wire does not have.
const YEAR_10000: i64 = 253_402_300_800;
