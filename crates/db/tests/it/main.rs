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
#[expect(dead_code, unreachable_pub, reason = "other crates include this file too")]
#[path = "../../../../tests/src/proxy.rs"]
mod proxy;
mod races;
mod shared;
mod silent;
