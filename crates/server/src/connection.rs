//! The connection that a call came by: what it holds decides who makes room when there is too little.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::Extensions;
use tokio::sync::Semaphore;

use crate::room::Place;
use crate::unread::Unread;

/// One connection of a caller; in the extensions of each request that came by one.
#[derive(Debug)]
pub(crate) struct Connection {
    /// No two connections of a listener have the same.
    pub(crate) number: u64,
    /// Where it comes from.
    pub(crate) address: IpAddr,
    /// Its answers that were not read yet.
    pub(crate) unread: Arc<Unread>,
    place: Place,
    reads: OnceLock<StreamReads>,
}

/// The turns at which the streams of one connection read; in the extensions of a request for a stream, unless it came from
/// within this process.
#[derive(Debug, Clone)]
pub struct StreamReads(pub Arc<Semaphore>);

impl Connection {
    pub(crate) fn new(address: IpAddr, place: Place, unread: Arc<Unread>) -> Self {
        Self { number: place.number(), address, unread, place, reads: OnceLock::new() }
    }

    /// The turns of its streams, `most` at once.
    pub(crate) fn reads(&self, most: usize) -> StreamReads {
        self.reads.get_or_init(|| StreamReads(Arc::new(Semaphore::new(most)))).clone()
    }

    /// The connection of a request; a call within this process has none.
    pub(crate) fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned()
    }

    /// Notes that a call of it was served: one without such a call makes room for others.
    pub(crate) fn served(&self) {
        self.place.called();
    }

    /// Comes back when the place is needed for another.
    pub(crate) async fn needed(&self) {
        self.place.needed().await;
    }
}
