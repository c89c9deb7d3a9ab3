//! What the nodes' work keeps in memory.

use std::time::Duration;

use clock::Clock;
use db::Db;
use domain::fulfillment::Clocks;
use work_feed::{Limits, Room};

use super::key::Key;
use super::misses::Book;
use super::watch::FulfillmentOrders;
use crate::Error;
use crate::config::{Config, WorkConfig};
use crate::store::work::Stored;

/// What the nodes' work keeps in memory.
pub(crate) struct WorkState {
    pub(crate) config: WorkConfig,
    pub(crate) clocks: Clocks,
    pub(crate) key: Key,
    pub(crate) room: Room<Stored, Error>,
    pub(crate) misses: Book,
}

impl WorkState {
    pub(crate) fn new(config: &Config, db: &Db, clock: &Clock) -> Self {
        let limits = Limits {
            watchers: config.work.max_watchers,
            keep_alive: Duration::from_secs(config.work.keep_alive_s.max(1)),
        };
        Self {
            config: config.work.clone(),
            clocks: config.clocks.clocks(),
            key: Key::new(config.work.pickup_code_secret.reveal()),
            room: Room::new(db.clone(), clock.clone(), limits, vec![Box::new(FulfillmentOrders)]).measured(
                |count| {
                    metrics::gauge!("entrepot_fulfillment_watchers")
                        .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
                },
            ),
            misses: Book::new(&config.work),
        }
    }

    /// A batch of events was committed: those who watch may look.
    pub(crate) fn committed(&self) {
        self.room.committed();
    }
}
