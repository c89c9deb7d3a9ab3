//! Policies as every service has them, on both engines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apply;
mod view;
mod wire;
mod world;
