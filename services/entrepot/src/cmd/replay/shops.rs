//! The shops in which the file's customers collect, and where each customer lives: a retailer made for the replay,
//! the same in each run.

use std::collections::BTreeMap;

use contract::fulfillment::v1::{Node, NodeKind};
use contract::r#type::v1::Method;
use domain::id;
use domain::place::LatLng;

use super::file::Till;
use crate::cmd::setup::{NodeSpec, node};

/// Zone of all shops.
pub(crate) const ZONE: &str = "Europe/London";

/// A shop: code, name, latitude, longitude.
const SHOPS: [(&str, &str, f64, f64); 16] = [
    ("uk-london-oxford-st", "London Oxford Street", 51.5154, -0.1410),
    ("uk-london-stratford", "London Stratford", 51.5435, -0.0072),
    ("uk-london-croydon", "London Croydon", 51.3727, -0.1002),
    ("uk-birmingham", "Birmingham Bull Ring", 52.4777, -1.8936),
    ("uk-manchester", "Manchester Market Street", 53.4831, -2.2400),
    ("uk-leeds", "Leeds Briggate", 53.7973, -1.5420),
    ("uk-liverpool", "Liverpool ONE", 53.4034, -2.9875),
    ("uk-newcastle", "Newcastle Eldon Square", 54.9752, -1.6153),
    ("uk-sheffield", "Sheffield The Moor", 53.3770, -1.4719),
    ("uk-bristol", "Bristol Cabot Circus", 51.4582, -2.5853),
    ("uk-nottingham", "Nottingham Victoria", 52.9567, -1.1476),
    ("uk-southampton", "Southampton West Quay", 50.9045, -1.4070),
    ("uk-cardiff", "Cardiff St David's", 51.4803, -3.1740),
    ("uk-glasgow", "Glasgow Buchanan Street", 55.8621, -4.2530),
    ("uk-edinburgh", "Edinburgh Princes Street", 55.9521, -3.1965),
    ("uk-belfast", "Belfast Victoria Square", 54.5983, -5.9267),
];

/// Minutes after midnight at which every shop opens and closes, each day.
const OPEN: (i32, i32) = (7 * 60, 21 * 60 + 30);

/// The shops as nodes.
pub(crate) fn nodes() -> Vec<Node> {
    let specs = SHOPS.iter().map(|(id, name, lat, lng)| NodeSpec {
        id,
        name,
        kind: NodeKind::Store,
        at: (*lat, *lng),
        time_zone: ZONE,
        hours: [Some(OPEN); 7],
        method: Method::Pickup,
        preparation_min: 45,
        orders_per_hour: None,
    });
    specs.map(|spec| node(&spec)).collect()
}

/// Where the buyer of an invoice is: near one of the shops, the same place in each run. Guests live by invoice.
pub(crate) fn home(customer: &str, invoice: &str) -> LatLng {
    let who = if customer.is_empty() { format!("guest/{invoice}") } else { format!("customer/{customer}") };
    let bytes = *id::derived("replay-home", &who).as_bytes();
    let shop = SHOPS[usize::from(bytes[0]) % SHOPS.len()];
    // Up to 0.03 degrees away, about 3 km: nearer to this shop than to any other.
    let off = |byte: u8| (f64::from(byte) - 128.0) / 128.0 * 0.03;
    at(shop.2 + off(bytes[1]), shop.3 + off(bytes[2]))
}

fn at(lat: f64, lng: f64) -> LatLng {
    LatLng::new(lat, lng).expect("the table of shops holds degrees")
}

/// The shop nearest to a place.
pub(crate) fn nearest(place: LatLng) -> &'static str {
    let distance = |shop: &(&str, &str, f64, f64)| place.distance_m(at(shop.2, shop.3));
    let nearest = SHOPS.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.map_or(SHOPS[0].0, |shop| shop.0)
}

/// The shop that stood out the goods of a write-off.
pub(crate) fn writes_off(sku: &str) -> &'static str {
    let byte = id::derived("replay-write-off", sku).as_bytes()[0];
    SHOPS[usize::from(byte) % SHOPS.len()].0
}

/// Stock that lets the whole file be sold and written off: pieces per shop and SKU, a tenth and three more than needed.
pub(crate) fn stock(till: &Till) -> BTreeMap<(&'static str, String), i64> {
    let mut need: BTreeMap<(&'static str, String), i64> = BTreeMap::new();
    for sale in &till.sales {
        let shop = nearest(home(&sale.customer, &sale.number));
        for row in &sale.goods {
            *need.entry((shop, row.code.clone())).or_default() += row.quantity;
        }
    }
    for (_, _, row) in &till.write_offs {
        *need.entry((writes_off(&row.code), row.code.clone())).or_default() -= row.quantity;
    }
    for pieces in need.values_mut() {
        *pieces += *pieces / 10 + 3;
    }
    need
}
