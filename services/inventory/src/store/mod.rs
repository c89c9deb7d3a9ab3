//! All SQL of the service, one file per table.

pub(crate) mod audit;
pub(crate) mod channel_claims;
pub(crate) mod feeds;
pub(crate) mod movements;
pub(crate) mod positions;
pub(crate) mod relief;
pub(crate) mod reservations;
pub(crate) mod restate;
pub(crate) mod skus;

use db::Row;
use domain::id::{NodeId, Sku};
use domain::stock::Key;
use domain::time::from_micros;
use jiff::Timestamp;
use service::Fault;

use crate::error::Error;

fn unreadable(error: impl std::fmt::Display) -> Error {
    Fault::unreadable(error).into()
}

fn sku(row: &Row, column: &'static str) -> Result<Sku, Error> {
    Sku::new(row.get::<String>(column)?).map_err(unreadable)
}

fn node(row: &Row, column: &'static str) -> Result<NodeId, Error> {
    NodeId::new(row.get::<String>(column)?).map_err(unreadable)
}

fn key(row: &Row) -> Result<Key, Error> {
    Ok(Key { node: node(row, "node_id")?, sku: sku(row, "sku")? })
}

fn time(row: &Row, column: &'static str) -> Result<Timestamp, Error> {
    Ok(from_micros(row.get(column)?))
}

fn maybe_time(row: &Row, column: &'static str) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<Option<i64>>(column)?.map(from_micros))
}
