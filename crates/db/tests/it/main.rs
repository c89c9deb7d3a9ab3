//! The room on both engines: dialect, batches, shared commits, cancellation, races, migrations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod batch;
mod cancel;
mod dialect;
mod durable;
mod engines;
mod errors;
mod fixture;
mod migrations;
mod parity;
mod races;
mod shared;
