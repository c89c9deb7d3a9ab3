//! What one node can do for a cart by one method: asked of many nodes, each from what this process knows of it.

use std::collections::HashMap;
use std::sync::Arc;

use domain::fulfillment::method::Method;
use domain::id::{NodeId, Sku};
use domain::network::silence::Silence;
use domain::place::LatLng;
use domain::policy::{Asked, Body, Book, Scenario};
use domain::promise::plan::Taken;
use domain::promise::{self, Ask, Reason, Refused};
use domain::sourcing::cost::Facts;
use jiff::{SignedDuration, Timestamp};

use crate::network::index::{Index, Key, nearest_first, point};
use crate::network::load::Used;
use crate::promise::answer::Able;
use crate::promise::stock_view::{Need, Through};

/// The most SKUs named in a refusal.
pub(super) const MOST_NAMED: usize = 10;

/// Which nodes may serve, by the keys of this process.
pub(super) struct Reach {
    pub(super) without: Vec<Key>,
    /// The place of the node that others are to be near to.
    pub(super) centre: Option<LatLng>,
    pub(super) radius_m: Option<f64>,
    /// Nodes that let offers run out.
    pub(super) silent: Arc<HashMap<NodeId, Silence>>,
}

/// What is asked of every node for one method.
#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) index: &'a Index,
    pub(super) stock: Through<'a>,
    pub(super) used: &'a Used<'a>,
    pub(super) needs: &'a [Need],
    /// Pieces of the goods.
    pub(super) units: i64,
    pub(super) method: Method,
    pub(super) place: Option<LatLng>,
    pub(super) reach: &'a Reach,
    pub(super) wanted: Option<(Timestamp, Timestamp)>,
    /// What earlier groups of the same cart take.
    pub(super) taken: &'a Taken,
    /// What policies say, and the channel that the cart is sold through.
    pub(super) book: &'a Book,
    pub(super) channel: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl<'a> Round<'a> {
    /// Keeps of the nodes those that offer the method and that the question lets serve; true: some are only too far away.
    pub(super) fn choose_from(&self, keys: &mut Vec<Key>, without: &[Key]) -> bool {
        let is_out = |key: &Key| without.contains(key) || self.reach.without.contains(key);
        keys.retain(|key| !is_out(key) && self.index.offers(*key, self.method));
        let there = keys.len();
        keys.retain(|key| self.is_near(*key));
        keys.len() < there
    }

    /// Near enough to the node that it is to be near to.
    pub(super) fn is_near(&self, key: Key) -> bool {
        let (Some(centre), Some(radius_m)) = (self.reach.centre, self.reach.radius_m) else { return true };
        self.index.get(key).is_some_and(|node| centre.distance_m(node.position) <= radius_m)
    }

    /// What goes on at a node, unless it pauses the method there.
    fn scenario(&self, node: &NodeId) -> Result<Scenario<'a>, Refused> {
        let scenario = self.book.scenario(&self.asked(node), self.now);
        let paused = scenario.paused_methods.filter(|paused| paused.value.contains(&self.method));
        paused.map_or(Ok(scenario), |paused| {
            Err(Refused::paused_by(name_of(self.book, paused.version).unwrap_or_default()))
        })
    }

    /// For how long goods are kept at a node, by the clocks that the work there would go by.
    fn kept(&self, node: &NodeId, policy: promise::Policy) -> promise::Policy {
        let clocks = self.book.clocks(&self.asked(node), self.now);
        promise::Policy {
            keep: clocks.keep.map_or(policy.keep, |said| said.value),
            min_open: clocks.min_open.map_or(policy.min_open, |said| said.value),
            ..policy
        }
    }

    fn asked<'n>(&self, node: &'n NodeId) -> Asked<'n>
    where
        'a: 'n,
    {
        Asked { node: Some(node), channel: self.channel, method: Some(self.method), ..Asked::default() }
    }

    /// What the node can do, if it has the goods.
    pub(super) fn ask(&self, key: Key, policy: promise::Policy) -> Result<Able, Refused> {
        let Some(timed) = self.index.timed(key, self.now) else {
            return Err(Refused::because(Reason::UnknownNode));
        };
        let node = &timed.node;
        let scenario = self.scenario(&node.id)?;
        if self.reach.silent.get(&node.id).is_some_and(|silence| silence.is_silent(self.now)) {
            return Err(Refused::because(Reason::NodeSilent));
        }
        let distance_m = self.place.map(|place| place.distance_m(node.position));
        let ask = Ask {
            method: self.method,
            units: self.units,
            now: self.now,
            distance_m,
            wanted: self.wanted,
            extra_preparation: scenario.extra_preparation.map_or(SignedDuration::ZERO, |said| said.value),
            max_radius_m: scenario.max_radius_m.map(|said| said.value),
        };
        let activity = self.method.rules().activity;
        let used = |start| {
            let taken = self.taken.at_node(node.id.as_str(), activity.name(), start);
            self.used.of(key, activity, start).saturating_add(taken)
        };
        let offer = promise::offer(node, timed.openings(), ask, self.kept(&node.id, policy), used)?;
        Ok(Able { method: self.method, node: timed.node, offer, distance_m })
    }

    /// What the node can do, also as far as stock goes.
    pub(super) fn ask_with_stock(&self, key: Key, policy: promise::Policy) -> Result<Able, Refused> {
        let able = self.ask(key, policy);
        let has_stock = self.stock.depth(key, self.needs) > 0;
        match able {
            Ok(able) if has_stock => Ok(able),
            Ok(_) => Err(Refused::because(Reason::NoStock)),
            Err(refused) if has_stock => Err(refused),
            Err(refused) => Err(refused.and(Reason::NoStock)),
        }
    }

    pub(super) fn facts(&self, key: Key, able: &Able) -> Facts {
        let activity = self.method.rules().activity;
        let load_percent = able.offer.slot.zip(able.node.rule(activity)).map_or(0, |(slot, rule)| {
            let used = self.used.of(key, activity, slot.start);
            u32::try_from(used.saturating_mul(100) / rule.most().limit().max(1)).unwrap_or(u32::MAX)
        });
        let depth = self.stock.depth(key, self.needs);
        Facts { distance_m: able.distance_m, ready: able.offer.ready, load_percent, depth }
    }

    pub(super) fn lacking(&self, key: Key) -> Vec<Sku> {
        self.stock.lacking(key, self.needs).into_iter().take(MOST_NAMED).cloned().collect()
    }

    /// At most `most` of the nodes: the nearest first, or in the order of their codes when no place is known.
    pub(super) fn ordered(&self, keys: Vec<Key>, most: usize) -> Vec<Key> {
        let Some(place) = self.place else { return self.by_code(&keys, most) };
        let from = point(place);
        let mut ways: Vec<(f32, Key)> =
            keys.into_iter().filter_map(|key| Some((self.index.nearness(key, from)?, key))).collect();
        nearest_first(&mut ways, most);
        ways.into_iter().map(|(_, key)| key).collect()
    }

    /// Walks the codes and picks those that are among `keys`, which are sorted.
    fn by_code(&self, keys: &[Key], most: usize) -> Vec<Key> {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let among = |key: &&Key| sorted.binary_search(key).is_ok();
        self.index.by_code().iter().filter(among).take(most).copied().collect()
    }
}

/// The name of the scenario that a version is for.
fn name_of(book: &Book, version: i64) -> Option<&str> {
    match &book.version(version)?.body {
        Body::Scenario(scenario) => Some(&scenario.name),
        Body::Clocks(_) | Body::Sourcing(_) | Body::SafetyStock(_) | Body::Pools(_) | Body::Limits(_) => None,
    }
}
