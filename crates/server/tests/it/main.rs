//! The door and the listener, seen from outside.
#![expect(clippy::disallowed_methods, reason = "a server is raced against real time here")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test does")]

mod calls;
mod door;
mod echo;
mod listening;
mod peers;
mod surroundings;
