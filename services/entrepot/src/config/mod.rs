//! Every setting, with its default and unit; file < environment < flags.
//!
//! `deploy/entrepot.toml` lists them all with their defaults (a test keeps it so). A setting in the environment is
//! `ENTREPOT__SECTION__KEY`, on the command line `--set section.key=value`. An unknown key is an error. Secrets can
//! come from a file (`..._file`), and are never printed.

mod bus;
mod check;
mod layers;
mod network;
mod secret;
mod storage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use service::About;

pub use self::bus::{Bus, BusKind};
pub use layers::{Layers, Setting, Source};
pub use network::{Admin, Peers, Server};
pub use secret::Secret;
pub use storage::{Data, Database};

/// All settings of a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this process runs.
    pub platform: Platform,
    /// Where files are kept.
    pub data: Data,
    /// Where state is kept.
    pub database: Database,
    /// How events travel.
    pub bus: Bus,
    /// The port that callers use.
    pub server: Server,
    /// The port that operators use.
    pub admin: Admin,
    /// Services that run elsewhere.
    pub peers: Peers,
    /// Log lines.
    pub log: Log,
    /// Threads.
    pub runtime: Runtime,
    /// Keys.
    pub secrets: Secrets,
    /// What time ends.
    pub timers: Timers,
    /// Rehearsed crashes.
    pub drill: Drill,
    /// Stock.
    pub inventory: inventory::Config,
    /// Network, promises and store work.
    pub fulfillment: fulfillment::Config,
    /// Orders.
    pub orders: orders::Config,
}

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Stock.
    Inventory,
    /// Network, promises and store work.
    Fulfillment,
    /// Orders.
    Orders,
}

impl Service {
    /// All of them, each after those that it asks.
    pub const ALL: [Self; 3] = [Self::Inventory, Self::Fulfillment, Self::Orders];

    /// What is known of it: the one list of services, beside their settings and [`crate::compose`].
    pub const fn about(self) -> &'static About {
        match self {
            Self::Inventory => &inventory::ABOUT,
            Self::Fulfillment => &fulfillment::ABOUT,
            Self::Orders => &orders::ABOUT,
        }
    }

    /// Its name in settings, schemas and files.
    pub const fn name(self) -> &'static str {
        self.about().name
    }

    /// The topic that it owns.
    pub const fn topic(self) -> ::bus::Topic {
        self.about().topic
    }

    /// The service of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// What this process runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Platform {
    /// Services to run, separated by commas.
    pub services: String,
    /// No setting: lets a bench run one service by itself on the local bus, where nobody hears its events.
    #[serde(skip)]
    pub alone: bool,
}

impl Default for Platform {
    fn default() -> Self {
        Self { services: Service::ALL.map(Service::name).join(","), alone: false }
    }
}

/// Log lines, on stderr.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: server::telemetry::Format,
    /// What is logged, such as `info` or `warn,orders=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: server::telemetry::Format::Text, filter: "info,sqlx=warn".to_owned() }
    }
}

/// Threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads that run calls; 0: as many as there are processors.
    pub worker_threads: usize,
    /// Threads for work that blocks, at most.
    pub blocking_threads: usize,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { worker_threads: 0, blocking_threads: 16 }
    }
}

/// Keys. Empty ones are made and kept in the data directory; services in several processes need them set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// The key under which pickup codes are hashed: at least 16 characters.
    pub pickup_code_key: Secret,
    /// A file that holds the key.
    pub pickup_code_key_file: PathBuf,
}

/// What time ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// The most that a service ends of what was due before its start or before the end of a leap of its clock, or ten times
    /// the busiest minute of the last hour if that is more. When more is due, nothing ends until `entrepot timers resume`;
    /// 0: no limit.
    pub most_at_once: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Self { most_at_once: 1_000 }
    }
}

/// Rehearsed crashes, in debug builds only.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drill {
    /// `place/n`: the process dies at the n-th pass of the place, such as `commit.after/7`; empty: it does not.
    pub crash_at: String,
}

impl Drill {
    /// The place and the pass at which the process is to die.
    pub fn parse(&self) -> Option<(&str, u64)> {
        let (place, nth) = self.crash_at.split_once('/')?;
        Some((place, nth.parse().ok()?))
    }
}

impl Config {
    /// Everything in one process on `SQLite` files in `directory`, on free ports of this machine.
    pub fn embedded(directory: &Path) -> Self {
        let mut config = Self::default();
        directory.clone_into(&mut config.data.directory);
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config
    }

    /// The services that this process runs, each after those that it asks. [`Config::check`] has seen the names.
    pub fn services(&self) -> Vec<Service> {
        let named: Vec<&str> = self.platform.services.split(',').map(str::trim).collect();
        Service::ALL.into_iter().filter(|service| named.contains(&service.name())).collect()
    }

    /// Whether this process runs `service`.
    pub fn runs(&self, service: Service) -> bool {
        self.services().contains(&service)
    }

    /// The url of the database of `service`.
    pub fn database_url(&self, service: Service) -> String {
        let own = self.database.own_url(service);
        let given = if own.is_empty() { &self.database.url } else { own };
        if given.is_empty() { self.sqlite_url(service) } else { given.reveal().to_owned() }
    }

    fn sqlite_url(&self, service: Service) -> String {
        let file = self.sqlite_file(service);
        // only the root of a process that has no working directory cannot be made absolute
        let absolute = std::path::absolute(&file).unwrap_or(file);
        format!("sqlite://{}", absolute.display())
    }

    /// The `SQLite` file of `service`.
    pub fn sqlite_file(&self, service: Service) -> PathBuf {
        self.data.directory.join(format!("{}.db", service.name()))
    }

    /// Whether some service of this process keeps its state in the data directory.
    pub fn uses_files(&self) -> bool {
        self.services().into_iter().any(|service| self.database_url(service).starts_with("sqlite:"))
    }

    /// How the database of `service` is opened.
    pub fn database_options(&self, service: Service) -> db::Options {
        db::Options {
            schema: Some(service.name().to_owned()),
            max_connections: self.database.max_connections,
            lock_timeout_ms: self.database.lock_timeout_ms,
            statement_timeout_ms: self.database.statement_timeout_ms,
            idle_in_tx_timeout_ms: self.database.idle_in_tx_timeout_ms,
            answer_timeout_ms: self.database.answer_timeout_ms,
            acquire_timeout_ms: self.database.acquire_timeout_ms,
            slow_statement_ms: self.database.slow_statement_ms,
            allow_unencrypted: self.database.allow_unencrypted,
        }
    }
}
