//! Policies as each service has them: tables, the wire, and a book in memory that follows the tables.
//!
//! Fulfillment owns them and writes them here ([`policies`], [`groups`], [`nodes`]); each change is an event on its topic.
//! The other services keep copies in their own databases with [`apply`], in the transaction that marks the event as
//! applied. Who asks what applies to a thing asks the book of the [`View`].
//!
//! Owns, in the database of its host, `policies`, `policy_nodes` and `node_groups`. Knows no verb: what may be put in force
//! is decided by `domain::policy`, and asked for by fulfillment.
//!
//! Always true: a row has the sequence of the last event that changed it, and an older event changes nothing; a book is
//! replaced as a whole, so a reader sees one state of versions, groups and nodes.

mod apply;
pub mod event;
pub mod groups;
pub mod nodes;
pub mod policies;
mod view;
pub mod wire;

pub use apply::{apply, is_of};
pub use event::{AGGREGATES, NODE, NODE_GROUP, POLICY};
pub use view::View;

/// The tables, as step `version` of the migrations of the service that has them.
pub const fn migration(version: u32) -> db::Migration {
    db::Migration {
        version,
        name: "policy",
        postgres: include_str!("../migrations/postgres/0001_policy.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_policy.sql"),
    }
}
