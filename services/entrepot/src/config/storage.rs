//! Settings of files and databases.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Secret, Service};

/// Where files are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// `SQLite` files, the lock of the running process and generated keys. Made when only its last part is missing.
    pub directory: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { directory: PathBuf::from("entrepot-data") }
    }
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/database`, one schema per service in it; empty: an `SQLite` file per
    /// service in the data directory.
    pub url: Secret,
    /// A file that holds the url.
    pub url_file: PathBuf,
    /// Url for inventory alone; empty: `url`.
    pub inventory_url: Secret,
    /// Url for fulfillment alone; empty: `url`.
    pub fulfillment_url: Secret,
    /// Url for orders alone; empty: `url`.
    pub orders_url: Secret,
    /// Connections per service.
    pub max_connections: u32,
    /// PostgreSQL: a connection that gives no answer for this long is asked about on another one and, unless the server
    /// still works on the statement, closed together with all that rest, ms.
    pub answer_timeout_ms: u64,
    /// Wait for a connection, ms.
    pub acquire_timeout_ms: u64,
    /// Wait for a lock, ms.
    pub lock_timeout_ms: u64,
    /// Longest statement, ms.
    pub statement_timeout_ms: u64,
    /// Longest pause inside a transaction, ms.
    pub idle_in_tx_timeout_ms: u64,
    /// Statements slower than this are logged, ms.
    pub slow_statement_ms: u64,
    /// Whether a connection to PostgreSQL may leave this machine. It has no TLS in this version: passwords and data
    /// can be read on the way.
    pub allow_unencrypted: bool,
}

impl Database {
    /// The url of one service alone; empty: `url`.
    pub fn own_url(&self, service: Service) -> &Secret {
        match service {
            Service::Inventory => &self.inventory_url,
            Service::Fulfillment => &self.fulfillment_url,
            Service::Orders => &self.orders_url,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        let options = db::Options::default();
        Self {
            url: Secret::default(),
            url_file: PathBuf::new(),
            inventory_url: Secret::default(),
            fulfillment_url: Secret::default(),
            orders_url: Secret::default(),
            max_connections: 16,
            answer_timeout_ms: options.answer_timeout_ms,
            acquire_timeout_ms: options.acquire_timeout_ms,
            lock_timeout_ms: options.lock_timeout_ms,
            statement_timeout_ms: options.statement_timeout_ms,
            idle_in_tx_timeout_ms: options.idle_in_tx_timeout_ms,
            slow_statement_ms: options.slow_statement_ms,
            allow_unencrypted: options.allow_unencrypted,
        }
    }
}
