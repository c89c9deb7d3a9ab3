//! The headline flows, races and crash points, through the public API.

mod architecture;
mod bad_input;
mod commands;
mod crash;
mod kafka;
mod log;
mod oversell;
mod pickup;
