//! Ambiguity: two scopes of equal rank that fit one thing. Equal ranks name the same dimensions, so scopes with the same
//! values are one scope, whose activations lie over each other; only two node groups that share a node make others meet.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Book, Group, Kind, Scope, Valid, Version};
use crate::id::NodeId;

/// Whether two different scopes of equal rank fit one thing. `share` tells whether two groups have a node in common that
/// both scopes fit.
pub fn meets(a: &Scope, b: &Scope, share: impl FnOnce(&str, &str) -> bool) -> bool {
    let (Some(ours), Some(theirs)) = (&a.group, &b.group) else { return false };
    let rest = |scope: &Scope| Scope { group: None, ..scope.clone() };
    ours != theirs && rest(a) == rest(b) && share(ours, theirs)
}

impl Book {
    /// A version of the same kind and rank, other scope, that could apply to the same thing at the same time as a version
    /// with this scope; of several the newest. What can no longer be in force at `now` does not count.
    pub fn ambiguous_with(
        &self,
        kind: Kind,
        scope: &Scope,
        valid: Valid,
        now: Timestamp,
    ) -> Option<&Arc<Version>> {
        self.left(kind, valid, now).find(|other| meets(scope, &other.scope, |a, b| self.share(a, b, scope)))
    }

    /// Two versions that could apply to the same thing at the same time if the group had these members. A group whose
    /// members do not change is given as it is.
    pub fn ambiguous_after(&self, group: &Group, now: Timestamp) -> Option<(&Arc<Version>, &Arc<Version>)> {
        let members: Vec<&NodeId> = self.nodes_of(group);
        let shares = |other: &str, scope: &Scope| {
            members.iter().any(|node| self.is_member(node, other) && self.suits(node, scope))
        };
        let naming = |version: &&Arc<Version>| version.scope.group.as_ref() == Some(&group.code);
        let ours = self.versions().iter().filter(naming).filter(|version| version.valid.is_left(now));
        ours.into_iter().find_map(|ours| {
            let mut others = self.left(ours.kind(), ours.valid, now);
            let other = others
                .find(|other| meets(&ours.scope, &other.scope, |_, theirs| shares(theirs, &ours.scope)))?;
            Some((ours, other))
        })
    }

    /// The versions of a kind, newest first, that can still be in force at an instant at which one that is valid then can.
    fn left(&self, kind: Kind, valid: Valid, now: Timestamp) -> impl Iterator<Item = &Arc<Version>> {
        // What is over is no reason, also where both were valid together once.
        let valid = Valid { from: Some(valid.from.map_or(now, |from| from.max(now))), ..valid };
        let versions = self.versions().iter().filter(move |other| other.kind() == kind);
        versions.filter(move |other| other.valid.is_left(now) && other.valid.overlaps(&valid))
    }

    /// Whether two groups have a node in common that fits what else the scope names.
    fn share(&self, a: &str, b: &str, scope: &Scope) -> bool {
        let members = self.group(a).map(|group| self.nodes_of(group)).unwrap_or_default();
        members.into_iter().any(|node| self.is_member(node, b) && self.suits(node, scope))
    }

    /// Whether a node fits the node and the kind that a scope names.
    fn suits(&self, node: &NodeId, scope: &Scope) -> bool {
        let is_kind = scope.kind.is_none() || scope.kind == self.node_kind(node);
        is_kind && scope.node.as_ref().is_none_or(|named| named == node)
    }
}
