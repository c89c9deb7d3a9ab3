//! The room that every service shares: what each would otherwise write again in other words.
//!
//! A verb reads its fields ([`Fields`]), does its work once per request id ([`Call`]), and fails with its own error or
//! with a [`Fault`], which becomes one status everywhere. Beside that: batches of what is asked at the same time
//! ([`Batcher`]), watchers of a row ([`Hub`]), sealed tokens of pages and streams ([`token`]), the answer to a consumer
//! that misses events ([`replay`]), and messages of the wire that all packages use ([`wire`]).
//!
//! A process runs every service by its [`shape`], without knowing which one it is.
//!
//! Owns no table. Knows no service and no rule of one. Always true: an answer that was read in a writing transaction is
//! given after its commit; one condition has one reason.

pub mod batch;
pub mod fault;
pub mod fields;
pub mod hub;
pub mod once;
pub mod outage;
pub mod reason;
pub mod replay;
pub mod rights;
pub mod shape;
pub mod streams;
pub mod token;
pub mod wire;

pub use batch::{Batcher, Limits, together};
pub use fault::Fault;
pub use fields::Fields;
pub use hub::{Hub, Watcher};
pub use once::{Call, Turn};
pub use outage::Outage;
pub use rights::speaks_for;
pub use shape::{About, Service};
pub use streams::streamed;
