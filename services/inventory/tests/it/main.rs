//! The inventory service through its own doors, on both engines.

mod audit;
mod events;
mod goods;
mod races;
mod reservations;
mod schema;
mod world;
