//! The binary: settings, composition and commands.
//!
//! Owns the data directory, the process and its exit codes. [`compose::Platform`] is the whole platform as one value,
//! for commands, tests and the demo alike. No rule of business lives here.

pub mod clients;
mod cmd;
pub mod compose;
pub mod config;
pub mod data;
pub mod exit;
mod guard;
pub mod metrics;
mod timers;

pub use cmd::run;

/// Name and version, as shown by `--version`, `/version` and the ready line.
pub const VERSION: &str = concat!("entrepot ", env!("CARGO_PKG_VERSION"));
