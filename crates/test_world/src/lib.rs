//! What tests stand on: a service on a fresh database with a clock that only the test moves, callers and refusals, waits,
//! events, and peers that are played.
//!
//! Only tests depend on it. It knows no service: the tests of each one add the shapes of its requests and its seeds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub mod call;
pub mod event;
pub mod fake;
pub mod policy;
pub mod process;
pub mod staff;
pub mod wait;
pub mod wire;

pub use call::{by, fields, fresh, reason, refusal, v7};
pub use event::{Appended, delivered, heard};
pub use fake::Fake;
pub use process::{Ground, Process};
pub use staff::Staff;
pub use wait::{PATIENCE, eventually, soon, until};
pub use wire::{at, minutes, node, seconds, stamp};
