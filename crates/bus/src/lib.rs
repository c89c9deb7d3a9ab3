//! Exactly-once effects over at-least-once delivery.
//!
//! Owns, in the database of each service: `events` (what happened, kept by its owner), `outbox` (pointers to the
//! events not yet acknowledged), `inbox` (requests already answered), `applied` (how far each consumer is),
//! `parked` and `parked_actions` (what could not be applied, and what an operator decided), `leases`.
//!
//! Always true: an event is published if and only if its transaction committed; first deliveries of one aggregate
//! come in the order of its versions; a consumer applies each version once, in the transaction of its effect; no
//! version is stepped over without an operator's word.
//!
//! The rule that callers must keep: *lock or update the aggregate's row before you append its event*. The id in
//! `outbox` is then drawn under that lock, so per aggregate id order is commit order, and one snapshot that shows an
//! event shows all earlier ones of the aggregate. Presence in `outbox`, not a cursor, is the relay's to-do list.
//!
//! Absent on purpose: cursors over `events`, `LISTEN`, `SKIP LOCKED`, advisory locks, transactions of the broker.

pub mod error;
pub mod event;
pub mod heads;
pub mod inbox;
pub mod lease;
pub mod measure;
pub mod missed;
pub mod outbox;
pub mod parked;
pub mod replay;
pub mod topic;
pub mod trace;

mod applied;
mod bus;
mod consumer;
mod fresh;
#[cfg(feature = "kafka")]
pub mod kafka;
mod local;
mod relay;
mod runner;
mod subscription;
mod upkeep;
mod used;

pub use bus::{Bus, idle};
pub use consumer::{Consumer, Consuming, HandleError, HandleErrorKind};
pub use error::Error;
pub use event::{Delivered, Event, MAX_PAYLOAD};
pub use heads::Heads;
#[cfg(feature = "kafka")]
pub use kafka::KafkaConfig;
pub use relay::{Relay, Settings};
pub use replay::{Owners, Replay};
pub use subscription::{Missed, Subscription};
pub use topic::Topic;
pub use upkeep::prune;
pub use used::{Admission, Used, admit};

/// The tables of this crate; each service's database has them under the name [`MIGRATION_SET`].
pub const MIGRATIONS: &db::Migrations = &[db::Migration {
    version: 1,
    name: "bus",
    postgres: include_str!("../migrations/postgres/0001_bus.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_bus.sql"),
}];

/// The name under which [`MIGRATIONS`] are recorded.
pub const MIGRATION_SET: &str = "bus";

/// Brings the tables of this crate up to date.
pub async fn migrate(db: &db::Db) -> Result<u32, Error> {
    Ok(db.migrate(MIGRATION_SET, MIGRATIONS).await?)
}
