//! Whether two versions of equal rank fit one thing. Only node groups that share a node can make two scopes meet, so what is
//! read is the versions that name groups, these groups, and the nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use db::Tx;
use domain::id::NodeId;
use domain::policy::{Book, Group, Kind, NodeFacts, Scope, Valid, Version};
use domain::time::Timestamp;
use policy::{groups, nodes, policies, wire};

use super::refusal::{Ambiguous, Refusal};
use crate::error::Error;

/// Nodes read at once.
const PAGE: i64 = 1_000;

/// The versions that name groups and may still apply, with these groups.
pub(crate) struct Named {
    versions: Vec<Arc<Version>>,
    groups: Vec<Group>,
}

impl Named {
    /// As they are, under the lock. `also`: a group that is read though none of them names it.
    pub(crate) async fn read(tx: &mut Tx, also: Option<&str>, now: Timestamp) -> Result<Self, Error> {
        let stored = policies::of_groups(tx, now).await?;
        let versions: Vec<Arc<Version>> =
            stored.iter().map(|stored| Ok(Arc::new(stored.version()?))).collect::<Result<_, Error>>()?;
        let named = versions.iter().filter_map(|version| version.scope.group.as_deref());
        let codes: BTreeSet<&str> = named.chain(also).collect();
        let stored = groups::many(tx, codes).await?;
        let groups = stored.iter().filter_map(|stored| stored.group.as_ref()).map(wire::group);
        let groups = groups.collect::<Result<_, _>>()?;
        Ok(Self { versions, groups })
    }

    /// Whether versions name at least two groups: else nothing can be ambiguous.
    pub(crate) fn may_meet(&self) -> bool {
        let mut named = self.versions.iter().filter_map(|version| version.scope.group.as_ref());
        let first = named.next();
        named.any(|other| Some(other) != first)
    }

    /// Whether versions that may still apply name this group.
    pub(crate) fn names(&self, group: &str) -> bool {
        self.versions.iter().any(|version| version.scope.group.as_deref() == Some(group))
    }

    /// Replaces a group, or adds it.
    pub(crate) fn set(&mut self, group: Group) {
        self.groups.retain(|known| known.code != group.code);
        self.groups.push(group);
    }

    /// A book of them with these nodes.
    pub(crate) fn book(&self, nodes: impl IntoIterator<Item = (NodeId, NodeFacts)>) -> Book {
        Book::new(self.versions.iter().map(Arc::clone), self.groups.iter().cloned(), nodes)
    }

    /// Two versions that would meet at a node with these facts.
    pub(crate) fn meet_at(&self, node: &NodeId, facts: &NodeFacts, now: Timestamp) -> Option<Ambiguous> {
        let its: Vec<&Group> = self.groups.iter().filter(|group| group.has(node, &facts.tags)).collect();
        if its.len() < 2 {
            return None;
        }
        // Without other nodes in the book every common node of two groups is this one.
        let of_them = its.iter().map(|group| (*group).clone());
        let versions = self.versions.iter().map(Arc::clone);
        let book = Book::new(versions, of_them, [(node.clone(), facts.clone())]);
        let met = its.into_iter().find_map(|group| pair(&book, group, now))?;
        Some(Ambiguous { node: Some(node.clone()), ..met })
    }
}

/// Two versions that meet because of a group.
pub(crate) fn pair(book: &Book, group: &Group, now: Timestamp) -> Option<Ambiguous> {
    let (ours, other) = book.ambiguous_after(group, now)?;
    Some(Ambiguous { other_group: ours.scope.group.clone(), ..Ambiguous::with(other) })
}

/// What policies know of all nodes.
pub(crate) async fn all_nodes(tx: &mut Tx) -> Result<Vec<(NodeId, NodeFacts)>, Error> {
    let mut all: Vec<(NodeId, NodeFacts)> = Vec::new();
    loop {
        let after = all.last().map_or_else(String::new, |(node, _)| node.to_string());
        let page = nodes::page(tx, &after, PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.into_iter().map(|stored| (stored.node, stored.facts)));
    }
}

/// Refuses a version of this kind and scope that another one could meet while it is valid, under the lock. The group that it
/// names must exist.
pub(super) async fn must_be_clear(
    tx: &mut Tx,
    kind: Kind,
    scope: &Scope,
    valid: Valid,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(group) = &scope.group else { return Ok(()) };
    let named = Named::read(tx, Some(group), now).await?;
    if !named.groups.iter().any(|known| known.code == *group) {
        return Err(Refusal::GroupNotFound(group.clone()).into());
    }
    let is_other =
        |version: &Arc<Version>| version.kind() == kind && version.scope.group.as_ref() != Some(group);
    if !named.versions.iter().any(is_other) {
        return Ok(());
    }
    let book = named.book(all_nodes(tx).await?);
    match book.ambiguous_with(kind, scope, valid, now) {
        Some(other) => Err(Refusal::Ambiguous(Box::new(Ambiguous::with(other))).into()),
        None => Ok(()),
    }
}
