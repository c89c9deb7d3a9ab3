//! The sample retailer: six cities, 48 nodes, 2,400 SKUs and uneven stock, the same in each run.

use contract::fulfillment::v1::{Node, NodeKind};
use contract::inventory::v1::{DeltaRow, MovementKind};
use contract::r#type::v1::Method;
use domain::id;
use jiff::Timestamp;

use crate::clients::timestamp;
use crate::cmd::setup::{NodeSpec, node};

/// Currency of all prices.
pub(crate) const CURRENCY: &str = "CNY";

/// SKUs of the range.
pub(crate) const SKUS: usize = 2_400;

/// A city: code, name, latitude, longitude, zone, nodes.
const CITIES: [(&str, &str, f64, f64, &str, usize); 6] = [
    ("sha", "Shanghai", 31.2304, 121.4737, "Asia/Shanghai", 10),
    ("bjs", "Beijing", 39.9042, 116.4074, "Asia/Shanghai", 8),
    ("szx", "Shenzhen", 22.5431, 114.0579, "Asia/Shanghai", 8),
    ("hgh", "Hangzhou", 30.2741, 120.1551, "Asia/Shanghai", 8),
    ("ctu", "Chengdu", 30.5728, 104.0668, "Asia/Shanghai", 7),
    ("sin", "Singapore", 1.3521, 103.8198, "Asia/Singapore", 7),
];

const GOODS: [&str; 20] = [
    "T-shirt", "Shirt", "Jeans", "Jacket", "Dress", "Skirt", "Sweater", "Coat", "Socks", "Scarf", "Cap",
    "Belt", "Trainers", "Boots", "Sandals", "Backpack", "Tote bag", "Umbrella", "Towel", "Mug",
];
const COLOURS: [&str; 12] =
    ["black", "white", "navy", "red", "olive", "sand", "grey", "rust", "sky", "rose", "mint", "plum"];
const SIZES: [&str; 10] = ["XXS", "XS", "S", "M", "L", "XL", "2XL", "3XL", "one size", "kids"];

/// A number that always belongs to a name: the source of all that looks random here.
fn luck(name: &str) -> u64 {
    let bytes = *id::derived("demo", name).as_bytes();
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], 0, bytes[7]])
}

/// Shares a city's nodes among the kinds: one warehouse, one dark store, one locker, one partner point, else stores.
fn kind(index: usize) -> (NodeKind, &'static str) {
    match index {
        0 => (NodeKind::Warehouse, "warehouse"),
        1 => (NodeKind::DarkStore, "dark store"),
        2 => (NodeKind::Locker, "locker"),
        3 => (NodeKind::PartnerPoint, "partner point"),
        _ => (NodeKind::Store, "store"),
    }
}

/// The node of each city that is left to the person who tries the demo: no simulated store works there once the table is out.
pub(crate) fn left_alone() -> Vec<String> {
    CITIES.iter().map(|(code, ..)| format!("{code}-05")).collect()
}

/// The nodes.
pub(crate) fn nodes() -> Vec<Node> {
    let mut nodes = Vec::new();
    for (code, city, lat, lng, zone, count) in CITIES {
        for index in 0..count {
            let (kind, word) = kind(index);
            let id = format!("{code}-{:02}", index + 1);
            let around = |what: &str| {
                let part = u32::try_from(luck(&format!("{id}/{what}")) % 2_000).unwrap_or_default();
                (f64::from(part) - 1_000.0) / 1_000.0 * 0.12
            };
            let always = matches!(kind, NodeKind::DarkStore | NodeKind::Locker);
            let week = if always { (0, 24 * 60) } else { (10 * 60, 22 * 60) };
            nodes.push(node(&NodeSpec {
                id: &id,
                name: &format!("{city} {word} {}", index + 1),
                kind,
                at: (lat + around("lat"), lng + around("lng")),
                time_zone: zone,
                hours: [Some(week); 7],
                method: if kind == NodeKind::Warehouse { Method::Parcel } else { Method::Pickup },
                preparation_min: if always { 15 } else { 30 },
                orders_per_hour: (kind != NodeKind::Warehouse).then_some(if always { 240 } else { 90 }),
            }));
        }
    }
    nodes
}

/// Code and name of SKU `index`, below [`SKUS`].
pub(crate) fn sku(index: usize) -> (String, String) {
    let goods = GOODS[index % GOODS.len()];
    let colour = COLOURS[index / GOODS.len() % COLOURS.len()];
    let size = SIZES[index / GOODS.len() / COLOURS.len() % SIZES.len()];
    (format!("DEMO-{index:04}"), format!("{goods}, {colour}, {size}"))
}

/// Price of a piece in fen.
pub(crate) fn price(index: usize) -> i64 {
    let step = i64::try_from(luck(&format!("price/{index}")) % 60).unwrap_or_default();
    1_900 + step * 1_000
}

/// First stock: each node carries about a sixth of the range, best sellers deeper, some shelves nearly empty.
pub(crate) fn stock(nodes: &[Node], at: Timestamp) -> Vec<DeltaRow> {
    let mut rows = Vec::new();
    for node in nodes {
        for index in 0..SKUS {
            let luck = luck(&format!("{}/{index}", node.node_id));
            let best_seller = index < SKUS / 12;
            let carried = luck.is_multiple_of(6) || best_seller && luck % 8 != 1;
            if !carried {
                continue;
            }
            let depth = if best_seller { 40 } else { 6 };
            let pieces = 1 + i64::try_from(luck / 1_000 % depth).unwrap_or_default();
            rows.push(DeltaRow {
                node_id: node.node_id.clone(),
                sku: sku(index).0,
                delta: pieces,
                kind: i32::from(MovementKind::Receipt),
                reference: format!("first/{}/{index}", node.node_id),
                source_time: Some(timestamp(at)),
            });
        }
    }
    rows
}

/// A place in one of the cities.
pub(crate) fn place(rng: &mut fastrand::Rng) -> (f64, f64) {
    let city = CITIES[rng.usize(..CITIES.len())];
    (city.2 + (rng.f64() - 0.5) * 0.2, city.3 + (rng.f64() - 0.5) * 0.2)
}

/// A SKU that people buy: nine purchases in ten are of the best sellers.
pub(crate) fn wanted(rng: &mut fastrand::Rng) -> usize {
    if rng.u8(..10) > 0 { rng.usize(..SKUS / 12) } else { rng.usize(..SKUS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retailer_has_enough_of_everything_and_is_the_same_each_time() {
        let nodes = nodes();
        assert!(nodes.len() >= 40, "{}", nodes.len());
        let kinds: std::collections::BTreeSet<i32> = nodes.iter().map(|node| node.kind).collect();
        assert_eq!(kinds.len(), 5);
        let names: std::collections::BTreeSet<String> = (0..SKUS).map(|index| sku(index).1).collect();
        assert_eq!(names.len(), SKUS);
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(stock(&nodes, at), stock(&nodes, at));
        assert!(stock(&nodes, at).len() > 10_000);
    }
}
