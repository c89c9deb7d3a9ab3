//! What the flow tests stand on: a platform in this process or as real processes, and people who use it.
//!
//! Everything goes through the public API. Nothing here knows the inside of a service.

pub mod people;
pub mod processes;
pub mod world;
