//! The program as an operator meets it: its lines, its codes, its files.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test does")]

mod documents;
mod errors;
mod files;
mod metrics;
mod mistakes;
mod platform;
mod program;
mod running;
mod settings;
