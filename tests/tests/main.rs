//! The headline flows, races and crash points, through the public API.

mod architecture;
