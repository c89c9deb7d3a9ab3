//! The network: nodes as stored, and the index of them in memory.
//!
//! The index is a whole that is replaced, never changed: a reader keeps the one it began with. Nodes are numbered
//! (`Key`) in the order in which this process learned of them; the number never changes while the process lives.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use domain::fulfillment::method::Method;
use domain::id::NodeId;
use domain::network::Node;
use domain::network::timetable::{Openings, Timetable};
use domain::place::LatLng;
use jiff::Timestamp;

use super::silence::Silent;

/// The number of a node in this process.
pub(crate) type Key = u32;

/// How many neighbours of a node are looked at when a caller names it.
const NEIGHBOURS: usize = 4;

/// A node in the index.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// Its place as a point on the unit sphere: the nearer two points, the shorter the chord.
    point: [f32; 3],
    /// One bit for each method that it offers.
    offers: u8,
    /// The version stored of it.
    version: i64,
    /// When it is open in the days to come, worked out when it is asked for.
    timetable: Arc<RwLock<Option<Arc<Timetable>>>>,
}

impl Entry {
    /// The timetable for that instant. It moves on with the clock; new hours come with a new entry.
    fn timetable(&self, now: Timestamp) -> Arc<Timetable> {
        let known = self.timetable.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_for(now)) {
            return known;
        }
        let fresh = Arc::new(Timetable::new(&self.node.hours, now));
        *self.timetable.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        fresh
    }
}

/// A node with its timetable.
pub(crate) struct Timed {
    /// The node.
    pub(crate) node: Arc<Node>,
    timetable: Arc<Timetable>,
}

impl Timed {
    /// When it is open.
    pub(crate) fn openings(&self) -> Openings<'_> {
        Openings::new(&self.node.hours, &self.timetable)
    }
}

/// The bit of a method.
fn bit(method: Method) -> u8 {
    Method::ALL.iter().position(|known| *known == method).map_or(0, |at| 1 << at)
}

/// The nodes, by key and by code.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Option<Entry>>,
    /// Keys in the order of codes.
    by_code: Vec<Key>,
    near: Vec<OnceLock<Vec<Key>>>,
}

impl Index {
    fn new(entries: Vec<Option<Entry>>) -> Self {
        let mut by_code: Vec<(&NodeId, Key)> = Vec::with_capacity(entries.len());
        for (key, entry) in (0..).zip(&entries) {
            if let Some(entry) = entry {
                by_code.push((&entry.node.id, key));
            }
        }
        by_code.sort_unstable();
        let by_code = by_code.into_iter().map(|(_, key)| key).collect();
        let near = entries.iter().map(|_| OnceLock::new()).collect();
        Self { entries, by_code, near }
    }

    /// The node of that key, if it is known here.
    pub(crate) fn get(&self, key: Key) -> Option<&Arc<Node>> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The node of that key with its timetable for that instant, if it is known here.
    pub(crate) fn timed(&self, key: Key, now: Timestamp) -> Option<Timed> {
        let entry = self.entry(key)?;
        Some(Timed { node: Arc::clone(&entry.node), timetable: entry.timetable(now) })
    }

    /// The version stored of the node of that key; 0: it is not known here.
    pub(crate) fn version(&self, key: Key) -> i64 {
        self.entry(key).map_or(0, |entry| entry.version)
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries.get(key as usize).and_then(Option::as_ref)
    }

    /// Whether the node is known here and offers the method.
    pub(crate) fn offers(&self, key: Key, method: Method) -> bool {
        self.entry(key).is_some_and(|entry| entry.offers & bit(method) != 0)
    }

    /// Whether any node offers the method.
    pub(crate) fn is_offered(&self, method: Method) -> bool {
        self.by_code.iter().any(|key| self.offers(*key, method))
    }

    /// Every key, in the order of codes.
    pub(crate) fn by_code(&self) -> &[Key] {
        &self.by_code
    }

    /// A measure of the way from a place that sorts as the distance does.
    pub(crate) fn nearness(&self, key: Key, from: [f32; 3]) -> Option<f32> {
        self.entry(key).map(|entry| chord(entry.point, from))
    }

    /// The nearest nodes to a node, nearest first.
    pub(crate) fn near(&self, key: Key) -> &[Key] {
        let (Some(cell), Some(centre)) = (self.near.get(key as usize), self.entry(key)) else { return &[] };
        cell.get_or_init(|| {
            let mut ways: Vec<(f32, Key)> = self
                .by_code
                .iter()
                .filter(|other| **other != key)
                .filter_map(|other| Some((self.nearness(*other, centre.point)?, *other)))
                .collect();
            nearest_first(&mut ways, NEIGHBOURS);
            ways.into_iter().map(|(_, key)| key).collect()
        })
    }
}

/// Keeps the `count` nearest, nearest first.
pub(crate) fn nearest_first(ways: &mut Vec<(f32, Key)>, count: usize) {
    let order = |a: &(f32, Key), b: &(f32, Key)| -> Ordering { a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)) };
    if count > 0 && count < ways.len() {
        ways.select_nth_unstable_by(count - 1, order);
    }
    ways.truncate(count);
    ways.sort_unstable_by(order);
}

/// The place as a point on the unit sphere.
#[expect(clippy::cast_possible_truncation, reason = "half a metre is near enough to rank nodes by")]
pub(crate) fn point(place: LatLng) -> [f32; 3] {
    let (lat, lng) = (place.lat().to_radians(), place.lng().to_radians());
    [(lat.cos() * lng.cos()) as f32, (lat.cos() * lng.sin()) as f32, lat.sin() as f32]
}

/// The square of the length of the chord between two points.
fn chord(one: [f32; 3], other: [f32; 3]) -> f32 {
    one.iter().zip(other).map(|(from, to)| (from - to) * (from - to)).sum()
}

/// The numbers of the nodes.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_id: RwLock<HashMap<NodeId, Key>>,
}

impl Keys {
    /// The number of a node, if it has one.
    pub(crate) fn find(&self, node: &str) -> Option<Key> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    /// The number of a node; a new one gets the next.
    pub(crate) fn of(&self, node: &NodeId) -> Key {
        if let Some(key) = self.find(node.as_str()) {
            return key;
        }
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let next = Key::try_from(by_id.len()).unwrap_or(Key::MAX);
        *by_id.entry(node.clone()).or_insert(next)
    }
}

/// The network as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Numbers of the nodes, shared with the view of the stock.
    pub(crate) keys: Keys,
    index: RwLock<Arc<Index>>,
    /// Nodes that let offers run out.
    pub(crate) silence: Silent,
}

impl Network {
    /// The index as it is now.
    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The node of that code.
    pub(crate) fn node(&self, node: &NodeId) -> Option<Arc<Node>> {
        let key = self.keys.find(node.as_str())?;
        self.index().get(key).cloned()
    }

    /// The node of that code with its timetable for that instant.
    pub(crate) fn timed(&self, node: &NodeId, now: Timestamp) -> Option<Timed> {
        let key = self.keys.find(node.as_str())?;
        self.index().timed(key, now)
    }

    /// Whether this version of a node is newer than the one known here.
    pub(crate) fn is_news(&self, node: &str, version: i64) -> bool {
        let known = self.keys.find(node).and_then(|key| self.index().entry(key).map(|entry| entry.version));
        known.is_none_or(|known| known < version)
    }

    /// Adds or replaces nodes, each with its version; an older version than the one known changes nothing.
    pub(crate) fn put(&self, nodes: Vec<(Node, i64)>) {
        if nodes.is_empty() {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut entries = index.entries.clone();
        for (node, version) in nodes {
            let key = self.keys.of(&node.id) as usize;
            if entries.len() <= key {
                entries.resize(key + 1, None);
            }
            if entries[key].as_ref().is_some_and(|known| known.version >= version) {
                continue;
            }
            let point = point(node.position);
            let offers = node.services.iter().fold(0, |bits, service| bits | bit(service.method));
            entries[key] =
                Some(Entry { node: Arc::new(node), point, offers, version, timetable: Arc::default() });
        }
        *index = Arc::new(Index::new(entries));
    }
}
