//! Gives a platform its nodes, goods and stock through the public API, once: each call's request id comes from what
//! it says, so that a second set-up with the same words changes nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use contract::fulfillment::v1 as ful;
use contract::fulfillment::v1::node_capacity::Most;
use contract::google::r#type::{DayOfWeek, LatLng, TimeOfDay};
use contract::inventory::v1 as inv;
use contract::r#type::v1::{Method, Place};
use domain::id;
use domain::network::capacity::Activity;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::Status;

use crate::clients::Clients;
use crate::compose::Platform;
use crate::config::Config;
use crate::exit;

/// Puts the data where it was asked for, or in a fresh temporary directory that lives as long as the answer.
pub(crate) fn data_directory(
    config: &mut Config,
    asked: Option<&Path>,
    prefix: &str,
) -> exit::Result<Option<TempDir>> {
    if let Some(directory) = asked {
        directory.clone_into(&mut config.data.directory);
        return Ok(None);
    }
    let fresh = tempfile::Builder::new().prefix(prefix).tempdir();
    let fresh = fresh.map_err(|error| exit::Exit::other("cannot make a temporary directory", &error))?;
    fresh.path().clone_into(&mut config.data.directory);
    Ok(Some(fresh))
}

/// Waits until no event is on its way, looking again `every` so often, for `limit` at most.
pub(crate) async fn events_arrive(
    platform: &Platform,
    every: Duration,
    limit: Duration,
) -> Result<(), Status> {
    let deadline = Instant::now() + limit;
    while !platform.idle().await.map_err(internal)? {
        if Instant::now() > deadline {
            let text = format!("events were still on their way after {} s", limit.as_secs());
            return Err(Status::deadline_exceeded(text));
        }
        platform.clock().pause(every).await;
    }
    Ok(())
}

/// Somebody had enough before the end: the platform is stopped in order, and a directory of its own is removed.
pub(crate) fn interrupted() -> exit::Exit {
    exit::Exit::new(exit::Class::Other, "interrupted before the end")
}

/// Something that should not happen, as a status.
pub(crate) fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// A node of a sample retailer in few words.
pub(crate) struct NodeSpec<'a> {
    /// Code.
    pub(crate) id: &'a str,
    /// Name for people.
    pub(crate) name: &'a str,
    /// What it is.
    pub(crate) kind: ful::NodeKind,
    /// Latitude and longitude, degrees.
    pub(crate) at: (f64, f64),
    /// IANA name.
    pub(crate) time_zone: &'a str,
    /// Opening and closing, local minutes after midnight, Monday to Sunday; `None` = closed that day.
    pub(crate) hours: [Option<(i32, i32)>; 7],
    /// How goods leave it.
    pub(crate) method: Method,
    /// Minutes from accept to ready.
    pub(crate) preparation_min: i64,
    /// Orders that it prepares per hour; `None` = no limit.
    pub(crate) orders_per_hour: Option<i64>,
}

/// The node as the wire has it.
pub(crate) fn node(spec: &NodeSpec<'_>) -> ful::Node {
    const DAYS: [DayOfWeek; 7] = [
        DayOfWeek::Monday,
        DayOfWeek::Tuesday,
        DayOfWeek::Wednesday,
        DayOfWeek::Thursday,
        DayOfWeek::Friday,
        DayOfWeek::Saturday,
        DayOfWeek::Sunday,
    ];
    let local =
        |minutes: i32| Some(TimeOfDay { hours: minutes / 60, minutes: minutes % 60, ..TimeOfDay::default() });
    let hours = DAYS.iter().zip(spec.hours).filter_map(|(day, span)| {
        let (open, close) = span?;
        Some(ful::OpeningHours { day: i32::from(*day), open_time: local(open), close_time: local(close) })
    });
    let service = ful::NodeService {
        method: i32::from(spec.method),
        preparation: Some(prost_types::Duration { seconds: spec.preparation_min * 60, nanos: 0 }),
        ..ful::NodeService::default()
    };
    let picks = |orders| ful::NodeCapacity {
        work: Activity::Pick.name().to_owned(),
        slot: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        most: Some(Most::Orders(orders)),
    };
    ful::Node {
        node_id: spec.id.to_owned(),
        name: spec.name.to_owned(),
        kind: i32::from(spec.kind),
        place: Some(Place { point: Some(LatLng { latitude: spec.at.0, longitude: spec.at.1 }) }),
        time_zone: spec.time_zone.to_owned(),
        hours: hours.collect(),
        services: vec![service],
        capacity: spec.orders_per_hour.map(picks).into_iter().collect(),
        ..ful::Node::default()
    }
}

/// The request id that belongs to these words and no others.
pub(crate) fn request_id(what: &str, body: &[u8]) -> String {
    id::derived("setup", &format!("{what}/{:x}", Sha256::digest(body))).to_string()
}

/// Creates or replaces the nodes.
pub(crate) async fn put_nodes(clients: &Clients, nodes: &[ful::Node]) -> Result<(), Status> {
    for chunk in nodes.chunks(100) {
        let mut request = ful::PutNodesRequest { request_id: String::new(), nodes: chunk.to_vec() };
        request.request_id = request_id("nodes", &request.encode_to_vec());
        clients.network.clone().put_nodes(request).await?;
    }
    Ok(())
}

/// Creates or replaces the SKUs, each `(code, name)`.
pub(crate) async fn put_skus(clients: &Clients, skus: &[(String, String)]) -> Result<(), Status> {
    for chunk in skus.chunks(500) {
        let skus = chunk.iter().map(|(sku, name)| inv::Sku {
            sku: sku.clone(),
            name: name.clone(),
            unit: i32::from(inv::Unit::Piece),
            ..inv::Sku::default()
        });
        let mut request = inv::PutSkusRequest { request_id: String::new(), skus: skus.collect() };
        request.request_id = request_id("skus", &request.encode_to_vec());
        clients.inventory.clone().put_skus(request).await?;
    }
    Ok(())
}

/// Books changes of stock of `source`, each once by its reference.
pub(crate) async fn book(clients: &Clients, source: &str, rows: &[inv::DeltaRow]) -> Result<(), Status> {
    for chunk in rows.chunks(1_000) {
        let mut request = inv::ApplyDeltasRequest {
            request_id: String::new(),
            source: source.to_owned(),
            rows: chunk.to_vec(),
        };
        request.request_id = request_id("deltas", &request.encode_to_vec());
        let answer = clients.inventory.clone().apply_deltas(request).await?.into_inner();
        for result in answer.results {
            match result.verdict() {
                inv::RowVerdict::Applied | inv::RowVerdict::Duplicate => {}
                inv::RowVerdict::Unspecified | inv::RowVerdict::Stale | inv::RowVerdict::Refused => {
                    return Err(Status::failed_precondition(format!(
                        "stock row {} was refused: {} {}",
                        result.row, result.reason, result.message
                    )));
                }
            }
        }
    }
    Ok(())
}
