//! The feed on both engines, with a kind of the host and one of another service.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stream;
mod world;
mod writers;
