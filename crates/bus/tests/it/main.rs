//! The bus as services see it, on every engine and transport that this machine has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

#[cfg(feature = "kafka")]
mod broker;
mod crash;
mod delivery;
mod gaps;
mod housekeeping;
mod measures;
mod outages;
mod parking;
mod requests;
mod world;
mod writers;
