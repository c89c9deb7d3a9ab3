//! What the flow tests stand on: a platform in this process or as real processes, and people who use it.
//!
//! Everything goes through the public API. Only [`rest`] looks into the tables, to tell when nothing is on its way.

pub mod broker_path;
pub mod people;
pub mod policies;
pub mod processes;
pub mod proxy;
pub mod rest;
pub mod stage;
pub mod world;
