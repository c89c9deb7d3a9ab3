//! The book: all versions that a process knows, and what they say about a thing at an instant.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::index::{Index, Site};
use super::scope::Asked;
use super::{AppliedPool, Body, Clocks, Kind, Limits, SafetyStock, Scenario, Sourcing, Version};
use crate::id::NodeId;
use crate::network;

/// A group of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Its code.
    pub code: String,
    /// These nodes are in it.
    pub nodes: BTreeSet<NodeId>,
    /// And those that have all of these tags; none: no others.
    pub tags: BTreeSet<String>,
}

impl Group {
    /// Whether a node with these tags is in it.
    pub fn has(&self, node: &NodeId, tags: &BTreeSet<String>) -> bool {
        self.nodes.contains(node) || (!self.tags.is_empty() && self.tags.is_subset(tags))
    }
}

/// What policies know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// What it is.
    pub kind: network::Kind,
    /// Its tags.
    pub tags: BTreeSet<String>,
}

/// All versions, with what is needed of nodes and their groups to tell which of them fit.
#[derive(Debug, Default)]
pub struct Book {
    /// Newest first.
    versions: Vec<Arc<Version>>,
    /// By kind, as in [`Kind::ALL`].
    indexes: [Index; Kind::ALL.len()],
    nodes: HashMap<NodeId, Known>,
    groups: HashMap<String, Group>,
}

/// A node with the groups that it is in.
#[derive(Debug)]
struct Known {
    facts: NodeFacts,
    groups: Vec<usize>,
}

/// Merges the bodies of one kind in the order of their ranks.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident: $kind:ident -> $answer:ty;)+) => {
        impl Book {
            $(
                $(#[$doc])*
                pub fn $name(&self, asked: &Asked<'_>, at: Timestamp) -> $answer {
                    let mut answer = <$answer>::default();
                    self.walk(Kind::$kind, asked, at, |version| match &version.body {
                        Body::$kind(body) => answer.fill(body, version.version),
                        _ => false,
                    });
                    answer
                }
            )+
        }
    };
}

answers! {
    /// The clocks that apply to a thing.
    clocks: Clocks -> Clocks;
    /// The sourcing that applies to a thing.
    sourcing: Sourcing -> Sourcing;
    /// The safety stock that applies to a position.
    safety_stock: SafetyStock -> SafetyStock;
    /// The limits that apply to a caller.
    limits: Limits -> Limits;
    /// The scenario that applies to a promise.
    scenario: Scenario -> Scenario<'_>;
}

impl Book {
    /// A book of these versions, at most one of a scope in force at an instant.
    pub fn new(
        versions: impl IntoIterator<Item = Arc<Version>>,
        groups: impl IntoIterator<Item = Group>,
        nodes: impl IntoIterator<Item = (NodeId, NodeFacts)>,
    ) -> Self {
        let mut versions: Vec<Arc<Version>> = versions.into_iter().collect();
        versions.sort_unstable_by_key(|version| std::cmp::Reverse((version.version, version.id)));
        let groups: HashMap<String, Group> =
            groups.into_iter().map(|group| (group.code.clone(), group)).collect();
        let mut codes: Vec<&str> = groups.keys().map(String::as_str).collect();
        codes.sort_unstable();
        let place = |code: &str| codes.binary_search(&code).ok();
        let in_order = || codes.iter().filter_map(|code| groups.get(*code)).enumerate();
        let mut by_node: HashMap<&NodeId, Vec<usize>> = HashMap::new();
        let mut by_tag: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, group) in in_order() {
            group.nodes.iter().for_each(|node| by_node.entry(node).or_default().push(at));
            // One of its tags is enough to find the nodes that may be in it.
            group.tags.first().into_iter().for_each(|tag| by_tag.entry(tag).or_default().push(at));
        }
        let known = |(node, facts): (NodeId, NodeFacts)| {
            let tagged = facts.tags.iter().filter_map(|tag| by_tag.get(tag.as_str())).flatten();
            let listed = by_node.get(&node).into_iter().flatten();
            let is_in = |at: &usize| {
                let group = codes.get(*at).and_then(|code| groups.get(*code));
                group.is_some_and(|group| group.has(&node, &facts.tags))
            };
            let groups: BTreeSet<usize> = tagged.chain(listed).copied().filter(is_in).collect();
            (node, Known { facts, groups: groups.into_iter().collect() })
        };
        let nodes = nodes.into_iter().map(known).collect();
        let indexes = Kind::ALL.map(|kind| {
            let of_kind = versions.iter().filter(|version| version.kind() == kind);
            Index::new(of_kind, place)
        });
        Self { versions, indexes, nodes, groups }
    }

    /// The pools that apply to a position, by the names of their channels: for each channel what the most specific version
    /// says that names it.
    pub fn pools(&self, asked: &Asked<'_>, at: Timestamp) -> Vec<AppliedPool<'_>> {
        let mut pools: Vec<AppliedPool<'_>> = Vec::new();
        self.walk(Kind::Pools, asked, at, |version| {
            let Body::Pools(body) = &version.body else { return false };
            for pool in &body.pools {
                if let Err(place) = pools.binary_search_by(|known| known.channel.cmp(pool.channel.as_str())) {
                    let (channel, units) = (pool.channel.as_str(), pool.units);
                    pools.insert(place, AppliedPool { channel, units, version: version.version });
                }
            }
            false
        });
        pools
    }

    /// The dimensions that versions of a kind name, all together, as in [`Scope::rank`](super::Scope::rank); none: no version of
    /// the kind says anything at any time.
    pub fn names(&self, kind: Kind) -> Option<u8> {
        self.indexes[kind as usize].names()
    }

    /// The nodes that are known, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeFacts)> {
        self.nodes.iter().map(|(node, known)| (node, &known.facts))
    }

    /// All versions, newest first.
    pub fn versions(&self) -> &[Arc<Version>] {
        &self.versions
    }

    /// A version by its number.
    pub fn version(&self, number: i64) -> Option<&Arc<Version>> {
        let number = std::cmp::Reverse(number);
        let at = self.versions.binary_search_by_key(&number, |known| std::cmp::Reverse(known.version));
        self.versions.get(at.ok()?)
    }

    /// A group by its code.
    pub fn group(&self, code: &str) -> Option<&Group> {
        self.groups.get(code)
    }

    /// The kind of a node; none: the node is not known.
    pub fn node_kind(&self, node: &NodeId) -> Option<network::Kind> {
        self.nodes.get(node).map(|known| known.facts.kind)
    }

    /// The nodes that are in a group with these members, of those that are known.
    pub fn nodes_of(&self, group: &Group) -> Vec<&NodeId> {
        let is_in = |(node, known): &(&NodeId, &Known)| group.has(node, &known.facts.tags);
        self.nodes.iter().filter(is_in).map(|(node, _)| node).collect()
    }

    /// Whether a node is in a group.
    pub(super) fn is_member(&self, node: &NodeId, code: &str) -> bool {
        let known = self.nodes.get(node).zip(self.groups.get(code));
        known.is_some_and(|(known, group)| group.has(node, &known.facts.tags))
    }

    /// Shows the versions of a kind that are in force and fit, by falling rank, until `each` answers that it has seen
    /// enough.
    pub(super) fn walk<'a>(
        &'a self,
        kind: Kind,
        asked: &Asked<'_>,
        at: Timestamp,
        each: impl FnMut(&'a Arc<Version>) -> bool,
    ) {
        let known = asked.node.and_then(|node| self.nodes.get(node));
        let site = known.map(|known| Site { kind: known.facts.kind, groups: &known.groups });
        self.indexes[kind as usize].walk(asked, site, at, each);
    }
}
