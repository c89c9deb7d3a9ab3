//! Promises ask the policies: scenarios, weights and limits. What is quoted is what is held.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::get_sourcing_decision_request::Key;
use contract::fulfillment::v1::policy::Body;
use contract::r#type::v1::{Method, Window};
use domain::id::{OrderId, derived};
use domain::network::Kind;
use domain::policy::NodeFacts;
use fulfillment::Config;
use jiff::{SignedDuration, Timestamp};
use policy::{groups, nodes, policies, wire};
use test_world::wire::place;
use test_world::{by, fresh, minutes, reason, stamp, v7};
use tonic::{Code, Status};

use crate::node_groups::in_group;
use crate::policies::{everything, of_channel};
use crate::quota::{ask, quota};
use crate::react::{deliver, placed};
use crate::support::{World, cart, hold, option, store, worlds};

const SHOPPER: &str = "customer/1";
const ORDERS: &str = "service/orders";

/// Three stores that have the goods: two in the group `city`, and one outside.
async fn shops() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        let stores = [("lon-1", 51.5), ("lon-2", 51.52), ("out-1", 51.6)];
        world.put(stores.iter().map(|(node, lat)| store(node, *lat, -0.1)).collect()).await;
        world.stock(&stores.map(|(node, _)| (node, "A", 500))).await;
        let mut tx = world.db.begin().await.unwrap();
        let facts = |kind, tags: &[&str]| NodeFacts {
            kind,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let known = [
            ("lon-1", facts(Kind::Store, &["city"])),
            ("lon-2", facts(Kind::Store, &["city"])),
            ("out-1", facts(Kind::Warehouse, &[])),
        ];
        let known =
            known.map(|(node, facts)| nodes::Stored { node: node.parse().unwrap(), facts, sequence: 1_000 });
        nodes::put(&mut tx, &known).await.unwrap();
        let group = pb::NodeGroup {
            node_group: "city".to_owned(),
            name: "the city".to_owned(),
            tags: vec!["city".to_owned()],
            ..Default::default()
        };
        let city = groups::Stored { code: "city".to_owned(), group: Some(group), sequence: 1_000 };
        groups::put(&mut tx, &city).await.unwrap();
        tx.commit().await.unwrap();
    }
    worlds
}

/// A version that is in force from now on, until then.
pub(crate) async fn put(
    world: &World,
    version: i64,
    scope: pb::PolicyScope,
    body: Body,
    until: Option<Timestamp>,
) {
    let in_force = vec![Window { start_time: Some(stamp(world.now())), end_time: until.map(stamp) }];
    let policy = pb::Policy {
        policy_id: wire::shown_id(derived("test", &version.to_string())),
        version,
        scope: Some(scope),
        reason: "test".to_owned(),
        in_force,
        body: Some(body),
        ..Default::default()
    };
    let mut tx = world.db.begin().await.unwrap();
    // Put again, it has other times in force.
    let sequence = if until.is_some_and(|until| until <= world.now()) { 2 } else { 1 };
    assert!(policies::put(&mut tx, &policies::Stored { policy, sequence }).await.unwrap());
    tx.commit().await.unwrap();
    world.service.policies().refresh().await.unwrap();
}

fn storm() -> Body {
    Body::Scenario(pb::ScenarioPolicy {
        name: "STORM".to_owned(),
        paused_methods: vec![Method::Pickup.into()],
        ..Default::default()
    })
}

/// What can be promised at a node, or anywhere, through a channel to a customer at the first store.
async fn quote(world: &World, node: &str, channel: &str) -> pb::GetPromiseResponse {
    let request = pb::GetPromiseRequest {
        lines: cart(&[("A", 1)]),
        methods: vec![Method::Pickup.into()],
        place: Some(place(51.5, -0.1)),
        node_id: node.to_owned(),
        channel: channel.to_owned(),
        ..Default::default()
    };
    world.promises().get_promise(by(SHOPPER, request)).await.unwrap().into_inner()
}

/// A hold of the same.
fn wanted(node: &str, channel: &str) -> pb::HoldPromiseRequest {
    let mut request = hold(node, &[("A", 1)]);
    request.groups[0].place = Some(place(51.5, -0.1));
    request.channel = channel.to_owned();
    request
}

/// What is quoted at a node is held there, and what is refused is refused for the same reasons. Answers when the goods are
/// ready, or why not.
async fn promised(world: &World, node: &str, channel: &str) -> Result<Timestamp, String> {
    let quoted = quote(world, node, channel).await;
    match ask(world, ORDERS, &wanted(node, channel)).await {
        Ok(held) => {
            assert_eq!(quoted.refusals, []);
            assert_eq!(quoted.options[0].window, option(&held).window);
            assert_eq!(quoted.options[0].node_id, option(&held).node_id);
            let ready = option(&held).window.unwrap().start_time.unwrap();
            Ok(Timestamp::new(ready.seconds, ready.nanos).unwrap())
        }
        Err(no) => {
            assert_eq!(quoted.options, []);
            let [refusal] = quoted.refusals.try_into().unwrap();
            let reasons: Vec<&str> = refusal.reasons().map(|reason| reason.as_str_name()).collect();
            let facts = server::status::facts(&no);
            let held: Vec<String> =
                facts["reasons"].split(',').map(|reason| format!("REASON_CODE_{reason}")).collect();
            assert_eq!(reasons, held);
            assert_eq!(refusal.scenario, facts.get("scenario").cloned().unwrap_or_default());
            let others: Vec<&str> =
                refusal.alternatives.iter().map(|option| option.node_id.as_str()).collect();
            assert_eq!(others.join(","), facts["alternatives"]);
            Err(reason(&no))
        }
    }
}

async fn at(world: &World, node: &str) -> Result<Timestamp, String> {
    promised(world, node, "").await
}

/// That number of minutes from now.
fn after(world: &World, minutes: i64) -> Timestamp {
    world.now() + SignedDuration::from_mins(minutes)
}

fn paused() -> Result<Timestamp, String> {
    Err("METHOD_PAUSED".to_owned())
}

#[tokio::test]
async fn a_storm_over_a_group_of_nodes_pauses_a_method_there_and_nowhere_else() {
    for world in shops().await {
        let end = world.now() + SignedDuration::from_hours(2);
        put(&world, 5, in_group("city"), storm(), Some(end)).await;
        for node in ["lon-1", "lon-2"] {
            assert_eq!(at(&world, node).await, paused());
        }
        assert_eq!(
            (at(&world, "out-1").await, at(&world, "").await),
            (Ok(after(&world, 30)), Ok(after(&world, 30)))
        );
        let anywhere = quote(&world, "", "").await;
        let nodes: Vec<&str> = anywhere.options.iter().map(|option| option.node_id.as_str()).collect();
        assert_eq!(nodes, ["out-1"]);
        let no = ask(&world, ORDERS, &wanted("lon-1", "")).await.unwrap_err();
        assert_eq!((no.code(), reason(&no).as_str()), (Code::FailedPrecondition, "METHOD_PAUSED"));
        assert!(no.message().ends_with("by pickup: method paused (STORM)"), "{}", no.message());
        let facts = server::status::facts(&no);
        assert_eq!((facts["scenario"].as_str(), facts["alternatives"].as_str()), ("STORM", "out-1"));
        world.pass(SignedDuration::from_hours(2));
        assert_eq!(at(&world, "lon-1").await, Ok(after(&world, 30)), "it is over");
    }
}

#[tokio::test]
async fn a_scenario_applies_to_what_its_scope_names() {
    for world in shops().await {
        let scopes = [
            (pb::PolicyScope { node_id: "lon-2".to_owned(), ..Default::default() }, "lon-1 paused out-1"),
            (
                pb::PolicyScope { node_kind: pb::NodeKind::Warehouse.into(), ..Default::default() },
                "lon-1 lon-2 paused",
            ),
            (pb::PolicyScope { channel: "app".to_owned(), ..Default::default() }, "lon-1 lon-2 out-1"),
            (pb::PolicyScope { method: Method::Express.into(), ..Default::default() }, "lon-1 lon-2 out-1"),
            (pb::PolicyScope { method: Method::Pickup.into(), ..Default::default() }, "paused paused paused"),
            (everything(), "paused paused paused"),
        ];
        for (version, (scope, expected)) in (10..).zip(scopes) {
            put(&world, version, scope.clone(), storm(), None).await;
            let mut said = Vec::new();
            for node in ["lon-1", "lon-2", "out-1"] {
                said.push(at(&world, node).await.map_or("paused", |_| node));
            }
            assert_eq!(said.join(" "), expected, "{scope:?}");
            let through_app = promised(&world, "lon-1", "app").await;
            assert_eq!(through_app == paused(), scope.channel == "app" || said[0] == "paused", "{scope:?}");
            put(&world, version, scope, storm(), Some(world.now())).await;
        }
    }
}

#[tokio::test]
async fn a_method_that_is_paused_everywhere_is_refused_as_that() {
    for world in shops().await {
        put(&world, 5, everything(), storm(), None).await;
        assert_eq!(at(&world, "").await, paused());
    }
}

#[tokio::test]
async fn what_was_promised_before_goes_on() {
    for world in shops().await {
        let request = wanted("lon-1", "");
        let before = ask(&world, ORDERS, &request).await.unwrap();
        put(&world, 5, everything(), storm(), None).await;
        let again = ask(&world, ORDERS, &request).await.unwrap();
        assert_eq!(again.promise_token, before.promise_token, "the same request finds what it holds");
        let extend = pb::ExtendPromiseRequest {
            request_id: fresh(),
            promise_token: before.promise_token.clone(),
            expire_time: Some(stamp(world.now() + SignedDuration::from_mins(20))),
        };
        world.promises().extend_promise(by(ORDERS, extend)).await.unwrap();
        let order = OrderId::new(v7());
        deliver(&world, order, placed(&before, false)).await;
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM fulfillment_orders").await, 1);
    }
}

#[tokio::test]
async fn more_preparation_moves_the_promise_at_the_nodes_of_a_scenario() {
    for world in shops().await {
        let scenario = pb::ScenarioPolicy {
            name: "PEAK".to_owned(),
            extra_preparation: Some(minutes(45)),
            ..Default::default()
        };
        put(&world, 5, in_group("city"), Body::Scenario(scenario), None).await;
        assert_eq!(at(&world, "lon-1").await, Ok(after(&world, 75)));
        assert_eq!(at(&world, "out-1").await, Ok(after(&world, 30)));
    }
}

#[tokio::test]
async fn goods_are_promised_to_be_kept_as_long_as_the_clocks_of_the_node_say() {
    for world in shops().await {
        let clocks = pb::ClocksPolicy { keep: Some(minutes(120)), ..Default::default() };
        put(&world, 5, in_group("city"), Body::Clocks(clocks), None).await;
        for (node, minutes) in [("lon-1", 120), ("out-1", 72 * 60)] {
            let ready = at(&world, node).await.unwrap();
            let window = quote(&world, node, "").await.options[0].window.unwrap();
            assert_eq!(window.end_time, Some(stamp(ready + SignedDuration::from_mins(minutes))), "{node}");
        }
    }
}

#[tokio::test]
async fn no_node_farther_than_a_scenario_says_is_promised() {
    for world in shops().await {
        let scenario =
            pb::ScenarioPolicy { name: "SNOW".to_owned(), max_radius_m: Some(3_000), ..Default::default() };
        put(&world, 5, everything(), Body::Scenario(scenario), None).await;
        assert_eq!(at(&world, "lon-2").await, Ok(after(&world, 30)), "2.2 km away");
        assert_eq!(at(&world, "out-1").await, Err("OUT_OF_RADIUS".to_owned()), "11 km away");
    }
}

async fn decision(world: &World, held: &pb::Promise) -> pb::SourcingDecision {
    let key = Some(Key::FulfillmentId(held.legs[0].fulfillment_id.clone()));
    let request = pb::GetSourcingDecisionRequest { key };
    world.promises().get_sourcing_decision(by("ops/1", request)).await.unwrap().into_inner().decision.unwrap()
}

#[tokio::test]
async fn weights_of_a_channel_change_its_choices_and_decisions_name_the_versions() {
    for world in shops().await {
        // The nearest has the last unit.
        world.stock(&[("lon-1", "A", 1)]).await;
        let far = pb::SourcingPolicy { per_km: Some(1), last_unit: Some(100_000), ..Default::default() };
        put(&world, 7, of_channel("app"), Body::Sourcing(far), None).await;
        let hours = pb::SourcingPolicy { per_hour: Some(40), per_km: Some(9_000), ..Default::default() };
        put(&world, 8, everything(), Body::Sourcing(hours), None).await;
        for (channel, node, version) in
            [("app", "lon-2", "2026-1+policy 7+policy 8"), ("web", "lon-1", "2026-1+policy 8")]
        {
            assert_eq!(quote(&world, "", channel).await.options[0].node_id, node, "{channel}");
            let held = ask(&world, ORDERS, &wanted("", channel)).await.unwrap();
            assert_eq!(option(&held).node_id, node, "{channel}");
            let decision = decision(&world, &held).await;
            assert_eq!((decision.chosen_node_id.as_str(), decision.rule_version.as_str()), (node, version));
        }
        let of_node = pb::SourcingPolicy { silent_after: Some(2), ..Default::default() };
        let scope = pb::PolicyScope { node_id: "lon-2".to_owned(), ..Default::default() };
        put(&world, 9, scope, Body::Sourcing(of_node), None).await;
        let held = ask(&world, ORDERS, &wanted("lon-2", "")).await.unwrap();
        assert_eq!(
            decision(&world, &held).await.rule_version,
            "2026-1+policy 8",
            "one decision compares nodes"
        );
    }
}

async fn hold_as(world: &World, actor: &str, channel: &str) -> Result<pb::Promise, Status> {
    ask(world, actor, &wanted("lon-1", channel)).await
}

fn version(no: &Status) -> Option<String> {
    server::status::facts(no).remove("policy_version")
}

#[tokio::test]
async fn customers_of_a_channel_have_the_limits_that_policies_say() {
    for world in shops().await {
        let mut config = Config::default();
        (config.limits.customer_tokens, config.limits.customer_units) = (2, 0);
        let world = world.with(config).await;
        let limits = pb::LimitsPolicy { max_tokens: Some(3), max_units: Some(5), ..Default::default() };
        put(&world, 5, of_channel("app"), Body::Limits(limits), None).await;
        hold_as(&world, SHOPPER, "web").await.unwrap();
        hold_as(&world, SHOPPER, "").await.unwrap();
        let no = hold_as(&world, SHOPPER, "web").await.unwrap_err();
        assert_eq!((quota(&no), version(&no)), (["TOKENS", "2", "1", "2", ""].map(str::to_owned), None));
        hold_as(&world, SHOPPER, "app").await.expect("the limit of its channel is higher");
        let no = hold_as(&world, SHOPPER, "app").await.unwrap_err();
        let expected = ["TOKENS", "3", "1", "3", ""].map(str::to_owned);
        assert_eq!((quota(&no), version(&no)), (expected, Some("5".to_owned())));
        let many = pb::HoldPromiseRequest { channel: "app".to_owned(), ..hold("lon-1", &[("A", 6)]) };
        let no = ask(&world, "customer/2", &many).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS", "0", "6", "5", ""], "the settings have no such limit");
        let on_behalf = pb::HoldPromiseRequest { on_behalf_of: "customer/2".to_owned(), ..many };
        assert_eq!(quota(&ask(&world, ORDERS, &on_behalf).await.unwrap_err())[0], "UNITS");
        for _ in 0..4 {
            hold_as(&world, "channel/app", "").await.expect("what a channel may hold, the settings say");
        }
    }
}
