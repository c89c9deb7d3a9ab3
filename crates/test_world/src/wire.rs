//! Small messages that most requests are made of.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::node_capacity::Most;
use contract::google::r#type::{LatLng, TimeOfDay};
use contract::r#type::v1::{Method, Place};
use jiff::Timestamp;

pub use service::wire::timestamp as stamp;

/// The instant of that text.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A duration.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A duration.
pub fn minutes(minutes: i64) -> prost_types::Duration {
    seconds(minutes * 60)
}

/// A point on the earth.
pub fn place(latitude: f64, longitude: f64) -> Place {
    Place { point: Some(LatLng { latitude, longitude }) }
}

/// A time of day.
pub fn time(hours: i32, minutes: i32) -> TimeOfDay {
    TimeOfDay { hours, minutes, ..Default::default() }
}

/// A store for pickup in London's city, open every day between two full hours of its zone.
pub fn node(node_id: &str, time_zone: &str, open: i32, close: i32) -> pb::Node {
    let day =
        |day| pb::OpeningHours { day, open_time: Some(time(open, 0)), close_time: Some(time(close, 0)) };
    pb::Node {
        node_id: node_id.to_owned(),
        name: format!("Store {node_id}"),
        kind: pb::NodeKind::Store.into(),
        place: Some(place(51.5, -0.1)),
        time_zone: time_zone.to_owned(),
        services: vec![offers(Method::Pickup)],
        hours: (1..=7).map(day).collect(),
        ..Default::default()
    }
}

/// A method that a node offers, with half an hour of preparation.
pub fn offers(method: Method) -> pb::NodeService {
    pb::NodeService { method: method.into(), ..Default::default() }
}

/// The same cut-off on every day.
pub fn cut_off(time: TimeOfDay) -> Vec<pb::CutOff> {
    vec![pb::CutOff { day: 0, time: Some(time) }]
}

/// A node that picks at most that much an hour.
pub fn picks(most: Most) -> Vec<pb::NodeCapacity> {
    vec![pb::NodeCapacity { work: "PICK".to_owned(), slot: None, most: Some(most) }]
}
