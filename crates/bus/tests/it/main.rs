//! The bus as services see it, on every engine and transport that this machine has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

#[cfg(feature = "kafka")]
mod broker;
#[cfg(feature = "kafka")]
#[path = "../../../../tests/src/broker_path.rs"]
#[expect(unreachable_pub, reason = "it is a public module of another crate")]
mod broker_path;
mod crash;
mod delivery;
mod gaps;
mod housekeeping;
mod measures;
mod outages;
mod parking;
#[cfg(feature = "kafka")]
#[path = "../../../../tests/src/proxy.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is a public module of another crate, and not all of it is used here"
)]
mod proxy;
mod requests;
#[cfg(feature = "kafka")]
mod silence;
mod tails;
mod world;
mod writers;
