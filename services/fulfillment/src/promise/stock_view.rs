//! The view of the stock: what each node can promise of each SKU, in memory.
//!
//! It begins with a snapshot of inventory and follows its events; the newest version of a position wins. It may be a
//! few milliseconds old: it proposes, inventory disposes. Per SKU it is a list sorted by node, so a cart is answered
//! by walking a few lists side by side. What is kept for single channels is taken into account when a question says through which
//! channel it is: by the same function as in inventory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use domain::id::Sku;
use domain::stock::pool::{self, Pool};
use jiff::Timestamp;

use crate::network::index::Key;

/// Most SKUs remembered as unknown.
const MAX_UNKNOWN: usize = 10_000;

/// A quantity of one SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// The item; never a kit.
    pub(crate) sku: Sku,
    /// Units.
    pub(crate) quantity: i64,
}

/// What is known of one SKU at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figure {
    /// Units that can be promised.
    pub(crate) atp: i64,
    /// When it last changed, in microseconds.
    pub(crate) changed: i64,
}

/// One position as inventory tells it.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    /// Where.
    pub(crate) node: Key,
    /// What.
    pub(crate) sku: Sku,
    /// Units that can be promised.
    pub(crate) atp: i64,
    /// What is kept for single channels.
    pub(crate) pools: Vec<Pool>,
    /// Version of the position.
    pub(crate) version: i64,
    /// When it changed, in microseconds.
    pub(crate) changed: i64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    version: i64,
    changed: i64,
}

/// One SKU at all nodes; three lists of the same length, sorted by node.
#[derive(Debug, Default)]
struct Row {
    nodes: Vec<Key>,
    atp: Vec<i64>,
    seen: Vec<Seen>,
    /// Of the nodes that have any.
    pools: BTreeMap<Key, Box<[Pool]>>,
}

impl Row {
    fn put(&mut self, position: &Position) {
        let seen = Seen { version: position.version, changed: position.changed };
        match self.nodes.binary_search(&position.node) {
            Ok(at) if self.seen[at].version >= position.version => return,
            Ok(at) => {
                self.atp[at] = position.atp;
                self.seen[at] = seen;
            }
            Err(at) => {
                self.nodes.insert(at, position.node);
                self.atp.insert(at, position.atp);
                self.seen.insert(at, seen);
            }
        }
        if position.pools.is_empty() {
            self.pools.remove(&position.node);
        } else {
            self.pools.insert(position.node, position.pools.as_slice().into());
        }
    }

    /// Units that a channel may claim at the node with this index.
    fn atp(&self, at: usize, channel: Option<&str>) -> i64 {
        let pools = if self.pools.is_empty() { None } else { self.pools.get(&self.nodes[at]) };
        pools.map_or(self.atp[at], |pools| pool::available(self.atp[at], pools, channel))
    }

    fn figure(&self, node: Key, channel: Option<&str>) -> Option<Figure> {
        let at = self.nodes.binary_search(&node).ok()?;
        Some(Figure { atp: self.atp(at, channel), changed: self.seen[at].changed })
    }

    /// The nodes at which a channel may claim that many units, by key.
    fn nodes_with(&self, units: i64, channel: Option<&str>) -> impl Iterator<Item = Key> {
        let has = move |(at, atp): (usize, &i64)| *atp >= units && self.atp(at, channel) >= units;
        let places = self.atp.iter().enumerate().filter(move |place| has(*place));
        places.map(|(at, _)| self.nodes[at])
    }
}

/// The view. Locked for a moment only.
#[derive(Debug, Default)]
pub(crate) struct View {
    stock: RwLock<Stock>,
}

/// What the view holds.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    rows: HashMap<Sku, Row>,
    kits: HashMap<Sku, Vec<Need>>,
    /// SKUs that inventory did not know, with the instant until which it is not asked again.
    unknown: HashMap<Sku, i64>,
    /// When the reading of the last whole snapshot began.
    loaded: Option<Timestamp>,
}

impl View {
    /// The stock, to be read and let go.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Stock> {
        self.stock.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in positions; older versions than those known change nothing.
    pub(crate) fn put(&self, positions: &[Position]) {
        let mut stock = self.stock.write().unwrap_or_else(PoisonError::into_inner);
        for position in positions {
            match stock.rows.get_mut(position.sku.as_str()) {
                Some(row) => row.put(position),
                None => stock.rows.entry(position.sku.clone()).or_default().put(position),
            }
        }
    }

    /// Takes in what kits are made of.
    pub(crate) fn put_kits(&self, kits: impl IntoIterator<Item = (Sku, Vec<Need>)>) {
        let mut stock = self.stock.write().unwrap_or_else(PoisonError::into_inner);
        for (sku, parts) in kits {
            stock.unknown.remove(sku.as_str());
            stock.kits.insert(sku, parts);
        }
    }

    /// The snapshot that began at that time is complete.
    pub(crate) fn set_loaded(&self, begun: Timestamp) {
        self.stock.write().unwrap_or_else(PoisonError::into_inner).loaded = Some(begun);
    }

    /// When the reading of the last whole snapshot began.
    pub(crate) fn loaded(&self) -> Option<Timestamp> {
        self.read().loaded
    }

    /// Inventory knows the SKU, though no node has a position of it.
    pub(crate) fn put_known(&self, sku: Sku) {
        let mut stock = self.stock.write().unwrap_or_else(PoisonError::into_inner);
        stock.unknown.remove(sku.as_str());
        stock.rows.entry(sku).or_default();
    }

    /// Inventory does not know the SKU; that holds for a while.
    pub(crate) fn put_unknown(&self, sku: Sku, until: i64) {
        let mut stock = self.stock.write().unwrap_or_else(PoisonError::into_inner);
        if stock.unknown.len() >= MAX_UNKNOWN {
            stock.unknown.clear();
        }
        stock.unknown.insert(sku, until);
    }
}

impl Stock {
    /// Whether the snapshot has been read.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// Whether the SKU is known, as an item or as a kit.
    pub(crate) fn knows(&self, sku: &str) -> bool {
        self.rows.contains_key(sku) || self.kits.contains_key(sku)
    }

    /// Whether inventory said of late that it does not know the SKU.
    pub(crate) fn is_unknown(&self, sku: &str, now: i64) -> bool {
        self.unknown.get(sku).is_some_and(|until| now < *until)
    }

    /// The parts of a kit; none: it is not known as one.
    pub(crate) fn parts_of(&self, sku: &str) -> Option<impl Iterator<Item = &Sku>> {
        Some(self.kits.get(sku)?.iter().map(|need| &need.sku))
    }

    /// A cart in items, by their codes: kits are taken apart, equal SKUs added up.
    pub(crate) fn needs<'a>(&'a self, lines: impl IntoIterator<Item = (&'a Sku, i64)>) -> Vec<Need> {
        let mut items: Vec<(&Sku, i64)> = Vec::new();
        for (sku, quantity) in lines {
            match self.kits.get(sku.as_str()) {
                Some(parts) => {
                    items.extend(parts.iter().map(|p| (&p.sku, p.quantity.saturating_mul(quantity))));
                }
                None => items.push((sku, quantity)),
            }
        }
        items.sort_unstable();
        let mut needs: Vec<Need> = Vec::with_capacity(items.len());
        for (sku, quantity) in items {
            match needs.last_mut() {
                Some(last) if last.sku == *sku => last.quantity = last.quantity.saturating_add(quantity),
                Some(_) | None => needs.push(Need { sku: sku.clone(), quantity }),
            }
        }
        needs
    }

    /// The stock as a channel sees it; none: as one without a channel does.
    pub(crate) fn through<'a>(&'a self, channel: Option<&'a str>) -> Through<'a> {
        Through { stock: self, channel }
    }
}

/// The stock as a channel sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Through<'a> {
    stock: &'a Stock,
    channel: Option<&'a str>,
}

impl Deref for Through<'_> {
    type Target = Stock;

    fn deref(&self) -> &Stock {
        self.stock
    }
}

impl Through<'_> {
    /// The nodes that have some of it, by key.
    pub(crate) fn nodes_with_any(&self, needs: &[Need]) -> Vec<Key> {
        let rows = needs.iter().filter_map(|need| self.rows.get(need.sku.as_str()));
        let mut found: Vec<Key> = rows.flat_map(|row| row.nodes_with(1, self.channel)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// How many pieces of each line a node has. Lines are what one piece of each needs, and how many are wanted. Where lines
    /// need the same item, those that come first have it first.
    pub(crate) fn share(&self, node: Key, lines: &[(Vec<Need>, i64)]) -> Vec<i64> {
        let mut left: HashMap<&Sku, i64> = HashMap::new();
        let mut share = Vec::with_capacity(lines.len());
        for (needs, wanted) in lines {
            let mut pieces = *wanted;
            for need in needs {
                let there = || self.figure(node, need.sku.as_str()).map_or(0, |figure| figure.atp.max(0));
                let left = left.entry(&need.sku).or_insert_with(there);
                pieces = pieces.min(*left / need.quantity.max(1));
            }
            for need in needs {
                left.entry(&need.sku).and_modify(|left| *left -= pieces * need.quantity);
            }
            share.push(pieces);
        }
        share
    }

    /// The nodes that have all of it, by key.
    pub(crate) fn nodes_with(&self, needs: &[Need]) -> Vec<Key> {
        let mut rows: Vec<(&Row, i64)> = Vec::with_capacity(needs.len());
        for need in needs {
            match self.rows.get(need.sku.as_str()) {
                Some(row) => rows.push((row, need.quantity)),
                None => return Vec::new(),
            }
        }
        rows.sort_unstable_by_key(|(row, _)| row.nodes.len());
        let Some(((first, wanted), others)) = rows.split_first() else { return Vec::new() };
        let mut found: Vec<Key> = first.nodes_with(*wanted, self.channel).collect();
        for (row, wanted) in others {
            let mut at = 0;
            found.retain(|key| {
                while row.nodes.get(at).is_some_and(|node| node < key) {
                    at += 1;
                }
                row.nodes.get(at) == Some(key) && row.atp(at, self.channel) >= *wanted
            });
        }
        found
    }

    /// How many such carts a node could serve.
    pub(crate) fn depth(&self, node: Key, needs: &[Need]) -> i64 {
        let carts =
            |need: &Need| self.figure(node, need.sku.as_str()).map_or(0, |f| f.atp / need.quantity.max(1));
        needs.iter().map(carts).min().unwrap_or(0)
    }

    /// The SKUs of which a node has too little.
    pub(crate) fn lacking<'a>(&self, node: Key, needs: &'a [Need]) -> Vec<&'a Sku> {
        let is_short =
            |need: &&Need| self.figure(node, need.sku.as_str()).is_none_or(|f| f.atp < need.quantity);
        needs.iter().filter(is_short).map(|need| &need.sku).collect()
    }

    /// What is known of an item at a node.
    pub(crate) fn figure(&self, node: Key, sku: &str) -> Option<Figure> {
        self.rows.get(sku)?.figure(node, self.channel)
    }

    /// What is known of an item or a kit at a node; a kit is as available as its scarcest part.
    pub(crate) fn available(&self, node: Key, sku: &str) -> Option<Figure> {
        let Some(parts) = self.kits.get(sku) else { return self.figure(node, sku) };
        let mut kit: Option<Figure> = None;
        for part in parts {
            let figure = self.figure(node, part.sku.as_str())?;
            let atp = figure.atp / part.quantity.max(1);
            kit = Some(match kit {
                None => Figure { atp, changed: figure.changed },
                Some(so_far) => {
                    Figure { atp: so_far.atp.min(atp), changed: so_far.changed.max(figure.changed) }
                }
            });
        }
        kit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(code: &str) -> Sku {
        Sku::new(code).unwrap()
    }

    fn position(node: Key, code: &str, atp: i64, version: i64) -> Position {
        Position { node, sku: sku(code), atp, pools: Vec::new(), version, changed: version }
    }

    fn need(code: &str, quantity: i64) -> Need {
        Need { sku: sku(code), quantity }
    }

    #[test]
    fn the_newest_version_of_a_position_wins() {
        let view = View::default();
        view.put(&[position(7, "A", 5, 3)]);
        view.put(&[position(7, "A", 9, 2)]);
        assert_eq!(view.read().through(None).figure(7, "A"), Some(Figure { atp: 5, changed: 3 }));
        view.put(&[position(7, "A", 1, 4)]);
        assert_eq!(view.read().through(None).figure(7, "A").unwrap().atp, 1);
    }

    #[test]
    fn a_cart_is_found_where_all_of_it_is() {
        let view = View::default();
        view.put(&[position(3, "A", 5, 1), position(1, "A", 2, 1), position(2, "A", 9, 1)]);
        view.put(&[position(2, "B", 1, 1), position(3, "B", 1, 1), position(9, "B", 1, 1)]);
        let stock = view.read();
        let stock = stock.through(None);
        assert_eq!(stock.nodes_with(&[need("A", 2)]), [1, 2, 3]);
        assert_eq!(stock.nodes_with(&[need("A", 3), need("B", 1)]), [2, 3]);
        assert_eq!(stock.nodes_with(&[need("A", 6), need("B", 1)]), [2]);
        assert_eq!(stock.nodes_with(&[need("A", 1), need("C", 1)]), Vec::<Key>::new());
        assert_eq!(stock.depth(3, &[need("A", 2), need("B", 1)]), 1);
        assert_eq!(stock.lacking(1, &[need("A", 2), need("B", 1)]), [&sku("B")]);
    }

    #[test]
    fn a_kit_is_as_available_as_its_scarcest_part() {
        let view = View::default();
        view.put(&[position(1, "A", 7, 1), position(1, "B", 3, 1)]);
        view.put_kits([(sku("K"), vec![need("A", 2), need("B", 1)])]);
        let stock = view.read();
        let stock = stock.through(None);
        assert_eq!(stock.available(1, "K").unwrap().atp, 3);
        assert_eq!(stock.available(2, "K"), None);
        let (kit, part) = (sku("K"), sku("A"));
        assert_eq!(stock.needs([(&kit, 2), (&part, 1)]), [need("A", 5), need("B", 2)]);
    }

    #[test]
    fn each_channel_sees_what_it_may_claim() {
        let view = View::default();
        let pool = |channel: &str, kept, claimed| Pool { channel: channel.into(), kept, claimed };
        let kept = |version, pools| Position { pools, ..position(1, "A", 4, version) };
        view.put(&[kept(1, vec![pool("app", 3, 1)]), position(2, "A", 3, 1), position(1, "B", 9, 1)]);
        view.put_kits([(sku("K"), vec![need("A", 2), need("B", 1)])]);
        let seen = |channel| {
            let stock = view.read();
            let stock = stock.through(channel);
            let atp = (stock.figure(1, "A").unwrap().atp, stock.available(1, "K").unwrap().atp);
            (atp, stock.nodes_with(&[need("A", 3)]), stock.nodes_with(&[need("B", 1), need("A", 3)]))
        };
        assert_eq!(seen(Some("app")), ((4, 2), vec![1, 2], vec![1]));
        assert_eq!(seen(Some("web")), ((2, 1), vec![2], vec![]));
        assert_eq!(seen(None), seen(Some("web")));
        let (stock, wanted) = (view.read(), [need("A", 3)]);
        let web = stock.through(Some("web"));
        assert_eq!((web.depth(1, &wanted), web.lacking(1, &wanted)), (0, vec![&sku("A")]));
        assert_eq!(web.nodes_with_any(&wanted), [1, 2]);
        assert_eq!(web.share(1, &[(vec![need("A", 1)], 9)]), [2]);
        drop(stock);
        // the pool has ended
        view.put(&[kept(2, Vec::new())]);
        assert_eq!(seen(Some("web")), seen(Some("app")));
    }
}
