//! Policies and node groups with every bad value.

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::policy::Body;
use flows::policies::{everything, group_of, in_group};
use flows::world::{NODE, fresh};
use prost_types::Duration;
use tonic::Code;

use super::Said::{Fields, No};
use super::{Census, FULFILLMENT, REQUEST_ID, Row, YEAR_10000, at, is_refused, nobody, refused, shop};

type Put = ful::PutPolicyRequest;
type Group = ful::PutNodeGroupRequest;

const POLICIES: &[Row<Put>] = &[
    ("nothing at all", |r| *r = Put::default(), Fields(&["request_id", "policy"])),
    ("no request id", |r| r.request_id.clear(), Fields(&["request_id"])),
    (
        "a policy of nothing",
        |r| r.policy = Some(ful::Policy::default()),
        Fields(&["policy.reason", "policy.body"]),
    ),
    ("no reason", |r| policy(r).reason.clear(), Fields(&["policy.reason"])),
    ("a reason of 501", |r| policy(r).reason = "r".repeat(501), Fields(&["policy.reason"])),
    ("a reason with NUL", |r| policy(r).reason = "a\0".to_owned(), Fields(&["policy.reason"])),
    ("no body", |r| policy(r).body = None, Fields(&["policy.body"])),
    (
        "a body that says nothing",
        |r| clocks(r, |c| *c = ful::ClocksPolicy::default()),
        Fields(&["policy.clocks"]),
    ),
    ("nanos below 0", |r| policy(r).from_time = at(0, -1), Fields(&["policy.from_time"])),
    ("the year 10000", |r| policy(r).until_time = at(YEAR_10000, 0), Fields(&["policy.until_time"])),
    ("long ago", |r| policy(r).from_time = at(1, 0), Fields(&["policy.from_time"])),
    ("over", |r| policy(r).until_time = at(1, 0), Fields(&["policy.until_time"])),
    ("turns back", turned, Fields(&["policy.until_time"])),
    ("SKU of spaces", |r| scope(r).sku = " ".to_owned(), Fields(&["policy.scope.sku"])),
    ("a SKU, which clocks do not know", |r| scope(r).sku = "TEA".to_owned(), Fields(&["policy.scope.sku"])),
    ("a category too", |r| scope(r).category = "hot".to_owned(), Fields(&["policy.scope.category"])),
    ("node of 65", |r| scope(r).node_id = "n".repeat(65), Fields(&["policy.scope.node_id"])),
    ("group of nobody", |r| scope(r).node_group = "none".to_owned(), Fields(&["policy.scope.node_group"])),
    ("group with CRLF", |r| scope(r).node_group = "a\r\nb".to_owned(), Fields(&["policy.scope.node_group"])),
    ("kind of node 99", |r| scope(r).node_kind = 99, Fields(&["policy.scope.node_kind"])),
    ("kind of node below 0", |r| scope(r).node_kind = -1, Fields(&["policy.scope.node_kind"])),
    ("channel of 100 kB", |r| scope(r).channel = "c".repeat(100_000), Fields(&["policy.scope.channel"])),
    ("tier 10", |r| scope(r).tier = 10, Fields(&["policy.scope.tier"])),
    ("tier below 0", |r| scope(r).tier = -1, Fields(&["policy.scope.tier"])),
    ("greatest tier", |r| scope(r).tier = i32::MAX, Fields(&["policy.scope.tier"])),
    ("method 99", |r| scope(r).method = 99, Fields(&["policy.scope.method"])),
    ("accept at once", |r| clocks(r, |c| c.accept = length(0, 0)), Fields(&["policy.clocks.accept"])),
    ("accept of 8 days", |r| clocks(r, |c| c.accept = length(691_200, 0)), Fields(&["policy.clocks.accept"])),
    ("mixed signs", |r| clocks(r, |c| c.accept = length(60, -1)), Fields(&["policy.clocks.accept"])),
    ("the greatest keep", |r| clocks(r, |c| c.keep = length(i64::MAX, 0)), Fields(&["policy.clocks.keep"])),
    (
        "the least keep",
        |r| clocks(r, |c| c.keep = length(i64::MIN, i32::MIN)),
        Fields(&["policy.clocks.keep"]),
    ),
    (
        "a reminder below 0",
        |r| clocks(r, |c| c.first_reminder = length(-1, 0)),
        Fields(&["policy.clocks.first_reminder"]),
    ),
    (
        "100 percent",
        |r| clocks(r, |c| c.at_risk_percent = Some(100)),
        Fields(&["policy.clocks.at_risk_percent"]),
    ),
    ("points below 0", |r| sourcing(r, |s| s.per_km = Some(-1)), Fields(&["policy.sourcing.per_km"])),
    (
        "greatest points",
        |r| sourcing(r, |s| s.last_unit = Some(i64::MAX)),
        Fields(&["policy.sourcing.last_unit"]),
    ),
    ("no offers", |r| sourcing(r, |s| s.max_offers = Some(0)), Fields(&["policy.sourcing.max_offers"])),
    ("six parts", |r| sourcing(r, |s| s.max_parts = Some(6)), Fields(&["policy.sourcing.max_parts"])),
    ("units below 0", |r| stock(r, Some(-1), None), Fields(&["policy.safety_stock.units"])),
    ("101 percent", |r| stock(r, None, Some(101)), Fields(&["policy.safety_stock.percent"])),
    ("no pools", |r| pools(r, &[]), Fields(&["policy.pools"])),
    (
        "a pool of nothing",
        |r| pools(r, &[("", 0)]),
        Fields(&["policy.pools.pools[0].channel", "policy.pools.pools[0].units"]),
    ),
    ("a channel twice", |r| pools(r, &[("web", 1), ("web", 2)]), Fields(&["policy.pools.pools[1].channel"])),
    ("21 pools", |r| pools(r, &CHANNELS.map(|channel| (channel, 1))), Fields(&["policy.pools.pools"])),
    ("no limit at all", |r| limits(r, Some(0)), Fields(&["policy.limits.max_tokens"])),
    ("greatest limit", |r| limits(r, Some(i64::MAX)), Fields(&["policy.limits.max_tokens"])),
    ("a scenario without a name", |r| scenario(r, |s| s.name.clear()), Fields(&["policy.scenario.name"])),
    (
        "a name of small letters",
        |r| scenario(r, |s| s.name = "storm".to_owned()),
        Fields(&["policy.scenario.name"]),
    ),
    (
        "a method twice",
        |r| scenario(r, |s| s.paused_methods = vec![1, 1]),
        Fields(&["policy.scenario.paused_methods[1]"]),
    ),
    (
        "methods of nobody",
        |r| scenario(r, |s| s.paused_methods = vec![0, 99]),
        Fields(&["policy.scenario.paused_methods[0]", "policy.scenario.paused_methods[1]"]),
    ),
    ("no radius", |r| scenario(r, |s| s.max_radius_m = Some(0)), Fields(&["policy.scenario.max_radius_m"])),
];

/// One more channel than a version may name.
const CHANNELS: [&str; 21] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u"];

fn policy(put: &mut Put) -> &mut ful::Policy {
    put.policy.get_or_insert_default()
}

fn scope(put: &mut Put) -> &mut ful::PolicyScope {
    policy(put).scope.get_or_insert_default()
}

#[expect(clippy::unnecessary_wraps, reason = "the fields it goes into are optional")]
fn length(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn turned(put: &mut Put) {
    let policy = policy(put);
    (policy.from_time, policy.until_time) = (at(4_000_000_002, 0), at(4_000_000_001, 0));
}

fn clocks(put: &mut Put, change: fn(&mut ful::ClocksPolicy)) {
    let mut clocks = ful::ClocksPolicy::default();
    change(&mut clocks);
    policy(put).body = Some(Body::Clocks(clocks));
}

fn sourcing(put: &mut Put, change: fn(&mut ful::SourcingPolicy)) {
    let mut sourcing = ful::SourcingPolicy::default();
    change(&mut sourcing);
    policy(put).body = Some(Body::Sourcing(sourcing));
}

fn stock(put: &mut Put, units: Option<i64>, percent: Option<i32>) {
    policy(put).body = Some(Body::SafetyStock(ful::SafetyStockPolicy { units, percent }));
}

fn pools(put: &mut Put, pools: &[(&str, i64)]) {
    let pool =
        |(channel, units): &(&str, i64)| ful::ChannelPool { channel: (*channel).to_owned(), units: *units };
    policy(put).body = Some(Body::Pools(ful::PoolsPolicy { pools: pools.iter().map(pool).collect() }));
}

fn limits(put: &mut Put, max_tokens: Option<i64>) {
    policy(put).body = Some(Body::Limits(ful::LimitsPolicy { max_tokens, ..Default::default() }));
}

fn scenario(put: &mut Put, change: fn(&mut ful::ScenarioPolicy)) {
    let mut scenario = ful::ScenarioPolicy {
        name: "STORM".to_owned(),
        paused_methods: vec![1],
        ..ful::ScenarioPolicy::default()
    };
    change(&mut scenario);
    policy(put).body = Some(Body::Scenario(scenario));
}

const ACTIVATIONS: &[Row<ful::ActivatePolicyRequest>] = &[
    ("nothing at all", |r| *r = ful::ActivatePolicyRequest::default(), Fields(&["request_id", "policy_id"])),
    ("another kind of id", |r| r.policy_id = nobody("ord_"), Fields(&["policy_id"])),
    ("a bare UUID", |r| r.policy_id = nobody(""), Fields(&["policy_id"])),
    ("upper case", |r| r.policy_id = nobody("pol_").to_uppercase(), Fields(&["policy_id"])),
    ("nobody", |r| r.policy_id = nobody("pol_"), No(Code::NotFound, "POLICY_NOT_FOUND")),
    ("long ago", |r| r.from_time = at(1, 0), Fields(&["from_time"])),
    ("a second of nanos", |r| r.from_time = at(0, 1_000_000_000), Fields(&["from_time"])),
    ("over", |r| r.until_time = at(1, 0), Fields(&["until_time"])),
    (
        "turns back",
        |r| (r.from_time, r.until_time) = (at(4_000_000_000, 0), at(4_000_000_000, 0)),
        Fields(&["until_time"]),
    ),
];

const ROLL_BACKS: &[Row<ful::RollBackPolicyRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::RollBackPolicyRequest::default(),
        Fields(&["request_id", "kind", "reason"]),
    ),
    ("no kind", |r| r.kind = 0, Fields(&["kind"])),
    ("kind 99", |r| r.kind = 99, Fields(&["kind"])),
    ("no reason", |r| r.reason.clear(), Fields(&["reason"])),
    (
        "a SKU",
        |r| r.scope = Some(ful::PolicyScope { sku: "TEA".to_owned(), ..everything() }),
        Fields(&["scope.sku"]),
    ),
    (
        "another scope",
        |r| r.scope = Some(in_group("none")),
        No(Code::FailedPrecondition, "POLICY_NOT_IN_FORCE"),
    ),
];

const WITHDRAWALS: &[Row<ful::WithdrawPolicyRequest>] = &[
    (
        "nothing at all",
        |r| *r = ful::WithdrawPolicyRequest::default(),
        Fields(&["request_id", "policy_id", "reason"]),
    ),
    ("another kind of id", |r| r.policy_id = nobody("ord_"), Fields(&["policy_id"])),
    ("nobody", |r| r.policy_id = nobody("pol_"), No(Code::NotFound, "POLICY_NOT_FOUND")),
    ("no reason", |r| r.reason.clear(), Fields(&["reason"])),
    ("501 characters", |r| r.reason = "x".repeat(501), Fields(&["reason"])),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_is_refused_and_changes_none() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let clients = &ops.clients.policies;
    let mut good = Put { request_id: REQUEST_ID.to_owned(), policy: Some(ful::Policy::default()) };
    "a sale".clone_into(&mut policy(&mut good).reason);
    clocks(&mut good, |clocks| clocks.accept = length(60, 0));
    let put = async |request| clients.clone().put_policy(request).await;
    super::refused_only(FULFILLMENT, &good, POLICIES, &put).await;
    assert_eq!(Census::of(&ops).await, before);
    let kept = refused(FULFILLMENT, good, &[], put).await.into_inner().policy.unwrap_or_default();

    let good = ful::ActivatePolicyRequest {
        request_id: REQUEST_ID.to_owned(),
        policy_id: kept.policy_id.clone(),
        ..Default::default()
    };
    let activate = async |request| clients.clone().activate_policy(request).await;
    refused(FULFILLMENT, good, ACTIVATIONS, activate).await;
    let good = ful::RollBackPolicyRequest {
        request_id: REQUEST_ID.to_owned(),
        kind: ful::PolicyKind::Clocks.into(),
        scope: None,
        reason: "over".to_owned(),
    };
    refused(FULFILLMENT, good, ROLL_BACKS, async |request| clients.clone().roll_back_policy(request).await)
        .await;
    let good = ful::WithdrawPolicyRequest {
        request_id: REQUEST_ID.to_owned(),
        policy_id: kept.policy_id,
        reason: "over".to_owned(),
    };
    let withdraw = async |request| clients.clone().withdraw_policy(request).await;
    refused(FULFILLMENT, good, WITHDRAWALS, withdraw).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_policies_name_what_is_wrong_with_them() {
    let (world, ops) = shop().await;
    let clients = &ops.clients.policies;
    let lists: &[Row<ful::ListPoliciesRequest>] = &[
        ("kind 99", |r| r.kind = 99, Fields(&["kind"])),
        ("negative page", |r| r.page_size = -1, Fields(&["page_size"])),
        ("a token of nobody", |r| r.page_token = "00".to_owned(), Fields(&["page_token"])),
        (
            "two at once",
            |r| (r.page_size, r.page_token) = (i32::MIN, "zz".repeat(600)),
            Fields(&["page_size", "page_token"]),
        ),
    ];
    let good = ful::ListPoliciesRequest { page_size: i32::MAX, ..Default::default() };
    refused(FULFILLMENT, good, lists, async |request| clients.clone().list_policies(request).await).await;
    let questions: &[Row<ful::ExplainPolicyRequest>] = &[
        ("nothing at all", |r| *r = ful::ExplainPolicyRequest::default(), Fields(&["kind"])),
        ("kind 99", |r| r.kind = 99, Fields(&["kind"])),
        ("a pattern", |r| r.target = Some(in_group("coast")), Fields(&["target.node_group"])),
        ("a kind of node", |r| target(r).node_kind = 1, Fields(&["target.node_kind"])),
        ("method 99", |r| target(r).method = 99, Fields(&["target.method"])),
        ("tier 10", |r| target(r).tier = 10, Fields(&["target.tier"])),
        (
            "a channel that cannot be seen",
            |r| target(r).channel = "\u{200b}".to_owned(),
            Fields(&["target.channel"]),
        ),
        ("nanos below 0", |r| r.at_time = at(0, -1), Fields(&["at_time"])),
        ("nowhere", |r| target(r).node_id = "nowhere".to_owned(), No(Code::NotFound, "NODE_NOT_FOUND")),
    ];
    let mut good = ful::ExplainPolicyRequest { kind: ful::PolicyKind::Limits.into(), ..Default::default() };
    NODE.clone_into(&mut target(&mut good).node_id);
    refused(FULFILLMENT, good, questions, async |request| clients.clone().explain_policy(request).await)
        .await;
    world.stop().await;
}

fn target(question: &mut ful::ExplainPolicyRequest) -> &mut ful::PolicyScope {
    question.target.get_or_insert_default()
}

fn group(put: &mut Group) -> &mut ful::NodeGroup {
    put.group.get_or_insert_default()
}

/// A number of codes of nodes, each of a length.
fn codes(put: &mut Group, count: usize, length: usize) {
    group(put).node_ids = (0..count).map(|i| format!("{i:0>length$}")).collect();
}

const GROUPS: &[Row<Group>] = &[
    ("nothing at all", |r| *r = Group::default(), Fields(&["request_id", "group"])),
    (
        "a group of nothing",
        |r| r.group = Some(ful::NodeGroup::default()),
        Fields(&["group.node_group", "group.name"]),
    ),
    ("code of 65", |r| group(r).node_group = "g".repeat(65), Fields(&["group.node_group"])),
    ("name of 201", |r| group(r).name = "n".repeat(201), Fields(&["group.name"])),
    (
        "node with a direction",
        |r| group(r).node_ids = vec!["\u{202e}n".to_owned()],
        Fields(&["group.node_ids[0]"]),
    ),
    (
        "node twice",
        |r| group(r).node_ids = ["n", "n"].map(str::to_owned).to_vec(),
        Fields(&["group.node_ids[1]"]),
    ),
    ("2,001 nodes", |r| codes(r, 2_001, 4), Fields(&["group.node_ids"])),
    (
        "nodes of 256 bytes each",
        |r| group(r).node_ids = (0..1_000).map(|i| format!("{i:0>4}{}", "\u{10348}".repeat(60))).collect(),
        Fields(&["group.node_ids"]),
    ),
    ("tag in upper case", |r| group(r).tags = vec!["City".to_owned()], Fields(&["group.tags[0]"])),
    ("tag of 33", |r| group(r).tags = vec!["t".repeat(33)], Fields(&["group.tags[0]"])),
    ("no tag", |r| group(r).tags = vec![String::new()], Fields(&["group.tags[0]"])),
    ("tag twice", |r| group(r).tags = ["t", "t"].map(str::to_owned).to_vec(), Fields(&["group.tags[1]"])),
    ("11 tags", |r| group(r).tags = (0..11).map(|i| format!("t{i}")).collect(), Fields(&["group.tags"])),
    ("etag of nobody", |r| group(r).etag = "v7".to_owned(), No(Code::Aborted, "GROUP_CHANGED")),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_group_is_refused_and_changes_none() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let network = &ops.clients.network;
    let mut good = Group { request_id: REQUEST_ID.to_owned(), group: Some(group_of("coast", &[NODE])) };
    let put = async |request| network.clone().put_node_group(request).await;
    super::refused_only(FULFILLMENT, &good, GROUPS, &put).await;
    assert_eq!(Census::of(&ops).await, before);
    // The largest: its event, and a page of fifty of them, fit.
    codes(&mut good, 2_000, 64);
    refused(FULFILLMENT, good.clone(), &[], &put).await;
    for i in 0..20 {
        let mut more = Group { request_id: fresh(), ..good.clone() };
        group(&mut more).node_group = format!("g-{i}");
        put(more).await.expect("it is a group");
    }
    let list = ful::ListNodeGroupsRequest { page_size: 50, page_token: String::new() };
    let first = network.clone().list_node_groups(list).await.expect("a page fits").into_inner();
    assert!((1..21).contains(&first.groups.len()), "{}", first.groups.len());
    let bad: &[Row<ful::ListNodeGroupsRequest>] = &[
        ("a cut token", |r| r.page_token.truncate(9), Fields(&["page_token"])),
        ("negative page", |r| r.page_size = -1, Fields(&["page_size"])),
    ];
    let next = ful::ListNodeGroupsRequest { page_size: 1, page_token: first.next_page_token };
    refused(FULFILLMENT, next, bad, async |request| network.clone().list_node_groups(request).await).await;

    let missing = No(Code::NotFound, "GROUP_NOT_FOUND");
    for (what, code, said) in [("no code", "", Fields(&["node_group"])), ("nobody", "nothing", missing)] {
        let node_group = code.to_owned();
        let get = ful::GetNodeGroupRequest { node_group: node_group.clone() };
        is_refused(what, FULFILLMENT, said, network.clone().get_node_group(get).await);
        let delete = ful::DeleteNodeGroupRequest { request_id: fresh(), node_group };
        is_refused(what, FULFILLMENT, said, network.clone().delete_node_group(delete).await);
    }
    world.stop().await;
}
