//! Places of open streams, of which half are kept for our own services.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{Principal, kind};

/// How many streams may be open at once. Callers from outside get half of them: what our services follow each other by
/// must not be kept out by callers who open many and read none.
#[derive(Debug, Clone)]
pub struct StreamPlaces {
    all: Arc<Semaphore>,
    /// Those that others than our own services may take.
    others: Arc<Semaphore>,
}

/// One open stream; its place is free again when this is dropped.
#[derive(Debug)]
pub struct StreamPlace {
    _all: OwnedSemaphorePermit,
    _others: Option<OwnedSemaphorePermit>,
}

impl StreamPlaces {
    /// Room for `most` streams.
    pub fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), others: Arc::new(Semaphore::new(most.div_ceil(2))) }
    }

    /// A place for a stream of `principal`, if there is one.
    pub fn enter(&self, principal: &Principal) -> Option<StreamPlace> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let others = if principal.kind == kind::SERVICE { None } else { Some(take(&self.others)?) };
        Some(StreamPlace { _all: take(&self.all)?, _others: others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_places_are_for_services() {
        let places = StreamPlaces::new(4);
        let (store, service) = (Principal::new("store", "1"), Principal::service("orders"));
        let first = places.enter(&store).unwrap();
        let _second = places.enter(&store).unwrap();
        assert!(places.enter(&store).is_none());
        let _services = (places.enter(&service).unwrap(), places.enter(&service).unwrap());
        assert!(places.enter(&service).is_none());
        drop(first);
        assert!(places.enter(&store).is_some());
    }
}
