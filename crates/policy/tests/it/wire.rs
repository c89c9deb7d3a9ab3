//! Each field of each kind goes to the domain and back.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body;
use contract::r#type::v1::Method;
use policy::wire;
use service::Fields;

use crate::world::accept;

fn length(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn everything_said() -> Vec<(Body, pb::PolicyScope)> {
    let clocks = pb::ClocksPolicy {
        accept: Some(length(600)),
        keep: Some(length(7_200)),
        first_reminder: Some(length(1_200)),
        second_reminder: Some(length(2_400)),
        put_back: Some(length(3_601)),
        resolve: Some(length(3_602)),
        min_open: Some(length(3_603)),
        transit: Some(length(3_604)),
        payment: Some(length(3_605)),
        payment_grace: Some(length(3_606)),
        need_answer: Some(length(3_607)),
        at_risk_percent: Some(70),
    };
    let sourcing = pb::SourcingPolicy {
        per_km: Some(1),
        per_hour: Some(2),
        per_load_percent: Some(3),
        last_unit: Some(4),
        slack: Some(length(5)),
        max_offers: Some(6),
        max_parts: Some(5),
        silent_after: Some(8),
        silent_for: Some(length(900)),
    };
    let limits = pb::LimitsPolicy {
        max_tokens: Some(1),
        max_units: Some(2),
        max_units_per_sku: Some(3),
        max_unpaid_orders: Some(4),
    };
    let scenario = pb::ScenarioPolicy {
        name: "STORM".to_owned(),
        paused_methods: vec![Method::Express.into(), Method::Parcel.into()],
        extra_preparation: Some(length(3_600)),
        max_radius_m: Some(5_000),
    };
    let pools = vec![pb::ChannelPool { channel: "web".to_owned(), units: 3 }];
    let site = pb::PolicyScope {
        node_id: "lon-1".to_owned(),
        node_group: "city".to_owned(),
        node_kind: pb::NodeKind::DarkStore.into(),
        channel: "web".to_owned(),
        tier: 9,
        method: Method::Pickup.into(),
        ..pb::PolicyScope::default()
    };
    let goods = pb::PolicyScope {
        sku: "TEA".to_owned(),
        category: "hot drinks".to_owned(),
        node_kind: pb::NodeKind::Store.into(),
        ..pb::PolicyScope::default()
    };
    let caller = pb::PolicyScope { channel: "web".to_owned(), tier: 1, ..pb::PolicyScope::default() };
    vec![
        (Body::Clocks(clocks), site.clone()),
        (Body::Sourcing(sourcing), caller.clone()),
        (Body::SafetyStock(pb::SafetyStockPolicy { units: Some(0), percent: Some(100) }), goods.clone()),
        (Body::Pools(pb::PoolsPolicy { pools }), goods),
        (Body::Limits(limits), caller),
        (Body::Scenario(scenario), site),
    ]
}

#[test]
fn every_field_reads_back_as_it_was_written() {
    for (body, scope) in everything_said() {
        let policy = pb::Policy { body: Some(body.clone()), ..accept(1, scope.clone(), 1) };
        let version = wire::version(&policy).unwrap();
        assert_eq!(wire::body::shown_body(&version.body), body);
        assert_eq!(wire::scope_of(&version.scope), scope);
        assert_eq!(wire::windows(&version.in_force, 20), policy.in_force);
        // Each field of the body has a name of its own.
        let fields = version.body.fields().len();
        let debug = format!("{body:?}");
        assert_eq!(
            fields,
            if debug.contains("pools") { 1 } else { debug.matches(": ").count() - nested(&debug) }
        );
        assert_eq!(wire::kind_of(wire::kind_number(version.kind())).unwrap(), Some(version.kind()));
    }
}

/// Fields of the durations in a text of a message.
fn nested(debug: &str) -> usize {
    debug.matches("seconds: ").count() + debug.matches("nanos: ").count()
}

#[test]
fn every_bad_field_is_named_at_once() {
    let clocks = pb::ClocksPolicy {
        accept: Some(prost_types::Duration { seconds: 1, nanos: -1 }),
        keep: Some(length(1)),
        at_risk_percent: Some(100),
        ..pb::ClocksPolicy::default()
    };
    let policy = pb::Policy {
        scope: Some(pb::PolicyScope {
            sku: " ".to_owned(),
            category: "drinks".to_owned(),
            node_id: "\n".to_owned(),
            node_kind: 77,
            tier: -1,
            method: 99,
            ..pb::PolicyScope::default()
        }),
        from_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        body: Some(Body::Clocks(clocks)),
        ..pb::Policy::default()
    };
    let mut fields = Fields::default();
    wire::draft(&mut fields, "policy", &policy);
    let found: Vec<String> = fields.into_violations().into_iter().map(|bad| bad.field).collect();
    assert_eq!(
        found,
        [
            "policy.scope.sku",
            "policy.scope.node_id",
            "policy.scope.node_kind",
            "policy.scope.method",
            "policy.from_time",
            "policy.clocks.accept",
            "policy.scope.category",
            "policy.scope.tier",
            "policy.clocks.keep",
            "policy.clocks.at_risk_percent",
        ]
    );
}

#[test]
fn an_id_has_one_text() {
    let id = domain::id::derived("test", "1");
    assert_eq!(wire::policy_id(&wire::shown_id(id)), Ok(id));
    for bad in [id.to_string(), format!("pol_{}", id.simple()), format!("ord_{id}"), "pol_".to_owned()] {
        assert!(wire::policy_id(&bad).is_err(), "{bad}");
    }
}
