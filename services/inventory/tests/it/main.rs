//! The inventory service through its own doors, on both engines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod audit;
mod close;
mod events;
mod feeds;
mod goods;
mod instead;
mod many;
mod policies;
mod policy_world;
mod pools;
#[expect(dead_code, unreachable_pub, reason = "other crates include this file too")]
#[path = "../../../../tests/src/proxy.rs"]
mod proxy;
mod races;
mod relief;
mod reservations;
mod schema;
mod unread;
mod world;
