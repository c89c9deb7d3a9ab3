//! Policies as inventory hears of them.

use bus::Event;
use contract::fulfillment::v1 as ff;
use contract::inventory::v1 as pb;
use domain::id::{NodeId, derived};
use domain::network::Kind;
use domain::policy::{NodeFacts, Span};
use ff::policy::Body;
use pb::inventory_event::Body as Said;
use policy::{event, groups, nodes, policies, wire};
use test_world::heard;

use crate::world::{World, after};

/// What a version applies to.
pub(crate) use ff::PolicyScope as Scope;

pub(crate) fn everything() -> Scope {
    Scope::default()
}

pub(crate) fn of_sku(sku: &str) -> Scope {
    Scope { sku: sku.to_owned(), ..Scope::default() }
}

pub(crate) fn of_group(group: &str) -> Scope {
    Scope { node_group: group.to_owned(), ..Scope::default() }
}

/// Units that are kept back.
pub(crate) fn units(units: i64) -> Body {
    Body::SafetyStock(ff::SafetyStockPolicy { units: Some(units), percent: None })
}

/// Percent that is kept back.
pub(crate) fn percent(percent: i32) -> Body {
    Body::SafetyStock(ff::SafetyStockPolicy { units: None, percent: Some(percent) })
}

/// Units that are kept for channels.
pub(crate) fn pools(pools: &[(&str, i64)]) -> Body {
    let pool =
        |(channel, units): &(&str, i64)| ff::ChannelPool { channel: (*channel).to_owned(), units: *units };
    Body::Pools(ff::PoolsPolicy { pools: pools.iter().map(pool).collect() })
}

/// Version `number`, in force from and until that number of seconds after the start.
pub(crate) fn version(number: i64, scope: Scope, body: Body, spans: &[(i64, Option<i64>)]) -> ff::Policy {
    let span = |(from, until): &(i64, Option<i64>)| Span { from: after(*from), until: until.map(after) };
    let spans: Vec<Span> = spans.iter().map(span).collect();
    ff::Policy {
        policy_id: wire::shown_id(derived("test", &number.to_string())),
        version: number,
        scope: Some(scope),
        reason: "test".to_owned(),
        in_force: wire::windows(&spans, 20),
        body: Some(body),
        ..ff::Policy::default()
    }
}

impl World {
    /// A version is put, or is in force at another time. Known to this process at once.
    pub(crate) async fn says(&self, policy: ff::Policy, sequence: i64) {
        let event = event::policy_changed(&policies::Stored { policy, sequence }, "ops/a", after(0)).unwrap();
        self.learn(event).await;
    }

    /// A version is in force from the start on.
    pub(crate) async fn in_force(&self, number: i64, scope: Scope, body: Body) {
        self.says(version(number, scope, body, &[(0, None)]), 1).await;
    }

    /// A node has a kind and tags.
    pub(crate) async fn node(&self, node: &str, kind: Kind, tags: &[&str], sequence: i64) {
        let facts = NodeFacts { kind, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() };
        let stored = nodes::Stored { node: NodeId::new(node).unwrap(), facts, sequence };
        self.learn(event::node_changed(&stored, "ops/a", after(0))).await;
    }

    /// The group of the nodes with this tag.
    pub(crate) async fn group(&self, code: &str, tag: &str) {
        let (code, tags) = (code.to_owned(), vec![tag.to_owned()]);
        let group =
            ff::NodeGroup { node_group: code.clone(), name: code.clone(), tags, ..Default::default() };
        let stored = groups::Stored { code, group: Some(group), sequence: 1 };
        self.learn(event::group_changed(&stored, "ops/a", after(0))).await;
    }

    async fn learn(&self, event: Event) {
        self.tell(&[heard(event)]).await;
        // on a virtual clock a process follows its tables when it asks what is due
        self.next_due().await;
    }

    /// The position as its last event has it.
    pub(crate) async fn announced(&self, node: &str, sku: &str) -> pb::Position {
        let events = self.appended::<pb::InventoryEvent>().await;
        let mut positions = events.into_iter().filter_map(|event| match event.body.body {
            Some(Said::PositionChanged(changed)) => changed.position,
            _ => None,
        });
        positions.rfind(|position| position.node_id == node && position.sku == sku).unwrap()
    }

    /// What was announced last is what is read now.
    pub(crate) async fn is_announced(&self, node: &str, sku: &str) -> bool {
        self.announced(node, sku).await == self.availability(node, sku).await.position.unwrap()
    }
}
