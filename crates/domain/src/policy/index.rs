//! The index of one kind: scopes by the most telling thing that they name, each list by falling rank, and in each scope the
//! times in force. So a question looks only at scopes that name its own SKU, category, node, groups, kind or channel first.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::scope::{Asked, Scope};
use super::{Span, Version};
use crate::id::{NodeId, Sku};
use crate::network;

/// The versions of one kind.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By falling rank.
    slots: Vec<Slot>,
    /// The dimensions that the scopes name, all together.
    names: Option<u8>,
    by_sku: HashMap<Sku, Vec<usize>>,
    by_category: HashMap<String, Vec<usize>>,
    by_node: HashMap<NodeId, Vec<usize>>,
    by_group: HashMap<usize, Vec<usize>>,
    by_kind: HashMap<network::Kind, Vec<usize>>,
    by_channel: HashMap<String, Vec<usize>>,
    /// Scopes that name at most a tier and a method.
    rest: Vec<usize>,
}

/// A scope with its versions.
#[derive(Debug)]
struct Slot {
    scope: Scope,
    /// The group that it names.
    group: Option<usize>,
    /// Times in force with their versions, in order of time.
    spans: Vec<(Span, Arc<Version>)>,
}

/// What the book knows of the node that is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// What it is.
    pub(super) kind: network::Kind,
    /// The groups that it is in, in rising order.
    pub(super) groups: &'a [usize],
}

impl Index {
    /// An index of these versions, all of one kind. `group` finds a group by its code.
    pub(super) fn new<'a>(
        versions: impl Iterator<Item = &'a Arc<Version>>,
        group: impl Fn(&str) -> Option<usize>,
    ) -> Self {
        let mut by_scope: HashMap<&Scope, Vec<(Span, Arc<Version>)>> = HashMap::new();
        for version in versions.filter(|version| !version.in_force.is_empty()) {
            let spans = by_scope.entry(&version.scope).or_default();
            spans.extend(version.in_force.iter().map(|span| (*span, Arc::clone(version))));
        }
        let mut slots: Vec<Slot> = Vec::with_capacity(by_scope.len());
        for (scope, mut spans) in by_scope {
            spans.sort_unstable_by_key(|(span, version)| (span.from, version.version));
            let found = scope.group.as_deref().map(&group);
            // Nothing is in a group that is not known.
            if found != Some(None) {
                slots.push(Slot { scope: scope.clone(), group: found.flatten(), spans });
            }
        }
        // Scopes of equal rank are refused beforehand; should tags of nodes make two of them meet, their text decides.
        slots.sort_by_cached_key(|slot| (u8::MAX - slot.scope.rank(), slot.scope.key()));
        let mut index = Self::default();
        for (at, slot) in slots.iter().enumerate() {
            index.file(at, slot);
        }
        let names = slots.iter().map(|slot| slot.scope.rank()).reduce(|all, rank| all | rank);
        Self { slots, names, ..index }
    }

    fn file(&mut self, at: usize, slot: &Slot) {
        let list = match (&slot.scope, slot.group) {
            (Scope { sku: Some(sku), .. }, _) => self.by_sku.entry(sku.clone()).or_default(),
            (Scope { category: Some(category), .. }, _) => {
                self.by_category.entry(category.clone()).or_default()
            }
            (Scope { node: Some(node), .. }, _) => self.by_node.entry(node.clone()).or_default(),
            (_, Some(group)) => self.by_group.entry(group).or_default(),
            (Scope { kind: Some(kind), .. }, None) => self.by_kind.entry(*kind).or_default(),
            (Scope { channel: Some(channel), .. }, None) => {
                self.by_channel.entry(channel.clone()).or_default()
            }
            (_, None) => &mut self.rest,
        };
        list.push(at);
    }

    /// The dimensions that its scopes name; none: it has none.
    pub(super) const fn names(&self) -> Option<u8> {
        self.names
    }

    /// Shows the versions that are in force and fit, by falling rank, until `each` answers that it has seen enough.
    pub(super) fn walk<'a>(
        &'a self,
        asked: &Asked<'_>,
        site: Option<Site<'_>>,
        at: Timestamp,
        mut each: impl FnMut(&'a Arc<Version>) -> bool,
    ) {
        if self.slots.is_empty() {
            return;
        }
        let mut see = |slot: &usize| {
            let winner = self.slots.get(*slot).and_then(|slot| slot.winner(asked, site, at));
            winner.is_some_and(&mut each)
        };
        let by_sku = asked.sku.and_then(|sku| self.by_sku.get(sku));
        let by_category = asked.category.and_then(|category| self.by_category.get(category));
        let by_node = asked.node.and_then(|node| self.by_node.get(node));
        if [by_sku, by_category, by_node].into_iter().flatten().flatten().any(&mut see) {
            return;
        }
        // The lists of several groups, merged by rank.
        let groups = site.filter(|_| !self.by_group.is_empty()).map_or(&[] as &[usize], |site| site.groups);
        let mut after = None;
        while let Some(next) = self.next_of(groups, after) {
            if see(&next) {
                return;
            }
            after = Some(next);
        }
        let by_kind = site.and_then(|site| self.by_kind.get(&site.kind));
        let by_channel = asked.channel.and_then(|channel| self.by_channel.get(channel));
        [by_kind, by_channel, Some(&self.rest)].into_iter().flatten().flatten().any(see);
    }

    /// The first slot of any of these groups after another one.
    fn next_of(&self, groups: &[usize], after: Option<usize>) -> Option<usize> {
        let lists = groups.iter().filter_map(|group| self.by_group.get(group));
        let next = |list: &Vec<usize>| {
            let first = list.partition_point(|slot| after.is_some_and(|after| *slot <= after));
            list.get(first).copied()
        };
        lists.filter_map(next).min()
    }
}

impl Slot {
    /// The version that is in force, if the scope fits.
    fn winner(&self, asked: &Asked<'_>, site: Option<Site<'_>>, at: Timestamp) -> Option<&Arc<Version>> {
        let begun = self.spans.partition_point(|(span, _)| span.from <= at);
        let (span, version) = self.spans.get(begun.checked_sub(1)?)?;
        let is_in = |_: &str| {
            let groups = site.map_or(&[] as &[usize], |site| site.groups);
            self.group.is_some_and(|group| groups.binary_search(&group).is_ok())
        };
        let kind = site.map(|site| site.kind);
        (span.contains(at) && self.scope.fits(asked, kind, is_in)).then_some(version)
    }
}
