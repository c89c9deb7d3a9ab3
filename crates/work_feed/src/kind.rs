//! What the feed must know about a kind of work.

use std::collections::HashMap;

use async_trait::async_trait;
use db::Tx;
use domain::id::NodeId;
use domain::time::Timestamp;

use crate::{Entry, Position};

/// Open work of a node, in a list.
#[derive(Debug)]
pub struct Open<W> {
    /// Its place in the list.
    pub position: Position,
    /// When it changed last.
    pub updated: Timestamp,
    /// As its watchers get it.
    pub work: W,
}

/// Work of the first entries that were asked for.
#[derive(Debug)]
pub struct Read<W> {
    /// The work by the number of its entry. It may be newer than the entry; work that is gone is left out.
    pub work: HashMap<i64, W>,
    /// How many of the entries were read, at least one: a page must not grow with the size of the work.
    pub entries: usize,
}

/// A kind of work: `W` is what watchers get, `E` the error of the host.
#[async_trait]
pub trait Kind<W, E>: Send + Sync {
    /// Its name in the rows of the feed; at most 32 bytes, never changed.
    fn name(&self) -> &'static str;

    /// A page of a node's open work after a position.
    async fn open(&self, tx: &mut Tx, node: &NodeId, after: Position, limit: i64) -> Result<Vec<Open<W>>, E>;

    /// The work of entries of this kind, as many of the first as one page may read.
    async fn read(&self, tx: &mut Tx, entries: &[Entry]) -> Result<Read<W>, E>;
}
