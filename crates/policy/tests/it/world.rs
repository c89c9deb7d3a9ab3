//! A service that has the tables, and events as it gets them.

use bus::Delivered;
use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body;
use db::testing::Sets;
use db::{Db, Migrations};
use domain::id::{NodeId, derived};
use domain::network::Kind;
use domain::policy::{NodeFacts, Span};
use domain::time::{Timestamp, from_micros};
use jiff::SignedDuration;
use policy::{View, event, groups, nodes, policies, wire};
use test_world::heard;

const MIGRATIONS: &Migrations = &[policy::migration(1)];
pub(crate) const SETS: Sets<'_> = &[("test", MIGRATIONS)];

/// The instant at which the tests happen.
pub(crate) fn now() -> Timestamp {
    from_micros(1_800_000_000_000_000)
}

pub(crate) fn clock() -> Clock {
    Clock::virtual_at(now())
}

pub(crate) fn node_id(code: &str) -> NodeId {
    NodeId::new(code).unwrap()
}

/// Version `number` for a scope, in force for minutes from now on.
pub(crate) fn accept(number: i64, scope: pb::PolicyScope, minutes: i64) -> pb::Policy {
    let seconds = minutes * 60;
    let accept = Some(prost_types::Duration { seconds, nanos: 0 });
    pb::Policy {
        policy_id: wire::shown_id(derived("test", &number.to_string())),
        version: number,
        scope: Some(scope),
        reason: "test".to_owned(),
        in_force: wire::windows(&[Span { from: now() - SignedDuration::from_hours(9), until: None }], 20),
        body: Some(Body::Clocks(pb::ClocksPolicy { accept, ..pb::ClocksPolicy::default() })),
        ..pb::Policy::default()
    }
}

pub(crate) fn in_group(code: &str) -> pb::PolicyScope {
    pb::PolicyScope { node_group: code.to_owned(), ..pb::PolicyScope::default() }
}

pub(crate) fn group(code: &str, nodes: &[&str], tags: &[&str]) -> pb::NodeGroup {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    pb::NodeGroup {
        node_group: code.to_owned(),
        name: code.to_owned(),
        node_ids: texts(nodes),
        tags: texts(tags),
        ..pb::NodeGroup::default()
    }
}

pub(crate) fn policy_event(policy: pb::Policy, sequence: i64) -> Delivered {
    heard(event::policy_changed(&policies::Stored { policy, sequence }, "ops/a", now()).unwrap())
}

pub(crate) fn group_event(code: &str, group: Option<pb::NodeGroup>, sequence: i64) -> Delivered {
    heard(event::group_changed(&groups::Stored { code: code.to_owned(), group, sequence }, "ops/a", now()))
}

pub(crate) fn node_event(code: &str, kind: Kind, tags: &[&str], sequence: i64) -> Delivered {
    let facts = NodeFacts { kind, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() };
    heard(event::node_changed(&nodes::Stored { node: node_id(code), facts, sequence }, "ops/a", now()))
}

/// Applies events in one transaction. Answers which of them changed something.
pub(crate) async fn apply(db: &Db, events: &[Delivered]) -> Vec<bool> {
    let mut tx = db.begin().await.unwrap();
    let mut changed = Vec::new();
    for event in events {
        changed.push(policy::apply(&mut tx, event).await.unwrap());
    }
    tx.commit().await.unwrap();
    changed
}

/// In how many minutes offers of a node are accepted, and which version says so.
pub(crate) fn minutes_at(view: &View, node: &str) -> Option<(i64, i64)> {
    let node = node_id(node);
    let asked = domain::policy::Asked { node: Some(&node), ..domain::policy::Asked::default() };
    let accept = view.book().clocks(&asked, now()).accept?;
    Some((accept.value.as_mins(), accept.version))
}
