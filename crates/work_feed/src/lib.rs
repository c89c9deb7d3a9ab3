//! The feed of a node's work: what is open, then every change, also those made while the store was away.
//!
//! One room per node, in the database of the service that serves the stream. Work of several *kinds* meets there: the
//! host's own, which has tables ([`Kind`]), and that of other services, which comes as events and is kept here
//! ([`Relayed`]). So a store has one stream, with one numbering and one resume token, whatever it works on.
//!
//! Owns, in the database of its host, `work_feeds` (the last number of each node), `work_feed` (the changes) and
//! `relayed_work`. Knows no kind and no message.
//!
//! Always true: the numbers of a node have no gaps and become visible in order, because each appender holds the row of
//! the node's last number ([`Feed`]) until the commit; a number is never used twice; a watcher that asks for numbers that
//! are no longer kept gets all open work again.
//!
//! Another service never writes here: it emits an event, and the host's consumer appends in the transaction that applies
//! it.

pub mod cursor;
mod kind;
mod relayed;
mod room;
pub mod rows;
mod watcher;

pub use cursor::{Cursor, Position};
pub use kind::{Kind, Open, Read};
pub use relayed::{Relayed, close, put};
pub use room::{Limits, Room};
pub use rows::{Entry, Feed};
pub use watcher::{Item, Message};

/// The tables, as step `version` of the migrations of the service that hosts the feed.
pub const fn migration(version: u32) -> db::Migration {
    db::Migration {
        version,
        name: "work_feed",
        postgres: include_str!("../migrations/postgres/0001_work_feed.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_work_feed.sql"),
    }
}
