//! The bus as services see it, on every engine and transport that this machine has.

#[cfg(feature = "kafka")]
mod broker;
mod crash;
mod delivery;
mod gaps;
mod housekeeping;
mod parking;
mod requests;
mod world;
mod writers;
