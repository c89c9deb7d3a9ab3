//! Every setting, with its default and unit; file < environment < flags.
//!
//! `deploy/entrepot.toml` lists them all with their defaults (a test keeps it so). A setting in the environment is
//! `ENTREPOT__SECTION__KEY`, on the command line `--set section.key=value`. An unknown key is an error. Secrets can
//! come from a file (`..._file`), and are never printed.

mod check;
mod layers;
mod secret;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::About;

pub use layers::{Layers, Setting, Source};
pub use secret::Secret;

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
    pub const fn topic(self) -> bus::Topic {
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
        Self { services: "inventory,fulfillment,orders".to_owned(), alone: false }
    }
}

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

/// Which transport carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Within this process.
    Local,
    /// Over Kafka.
    Kafka,
}

/// How events travel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// `local` (all services in this process) or `kafka`.
    pub kind: BusKind,
    /// Whether databases that were used with Kafka may be used with the local bus. No other process may use them then.
    pub leave_kafka: bool,
    /// Kafka brokers, `host:port` separated by commas.
    pub brokers: String,
    /// Put before the names of topics and consumer groups, so that several platforms can share a broker.
    pub prefix: String,
    /// SASL user; empty: no SASL.
    pub username: String,
    /// SASL password.
    pub password: Secret,
    /// A file that holds the password.
    pub password_file: PathBuf,
    /// SASL mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// Whether to speak TLS with the broker (a build with the feature `ssl`).
    pub tls: bool,
    /// File of certificate authorities for TLS; empty: the system's.
    pub ca_file: PathBuf,
    /// How members of a group share partitions: `classic`, or `consumer` (brokers from 4.0 on).
    pub group_protocol: String,
    /// Name of this process among the members of its groups, the same after a restart, so that a quick one moves no
    /// partitions; empty: none. Two processes of one name push each other out.
    pub instance: String,
    /// A member silent for so long is taken for dead, ms.
    pub session_timeout_ms: u32,
    /// Whether `serve` makes missing topics.
    pub create_topics: bool,
    /// Partitions of topics that are made; never change it later.
    pub partitions: u32,
    /// Copies of each partition of topics that are made.
    pub replication: u32,
    /// Copies that must have an event before it counts as published.
    pub min_insync: u32,
    /// How long the broker keeps events in topics that are made, h.
    pub retention_hours: u32,
    /// Events stay this many days with their owner, for replays and late joiners.
    pub events_days: u32,
    /// Replies to request ids stay this many hours.
    pub inbox_hours: u32,
    /// Term of the leases of relays and timers, ms; a successor takes over this much after a crash.
    pub lease_ms: u32,
}

impl Default for Bus {
    fn default() -> Self {
        let kept = bus::Settings::default();
        Self {
            kind: BusKind::Local,
            leave_kafka: false,
            brokers: "127.0.0.1:9092".to_owned(),
            prefix: String::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: PathBuf::new(),
            sasl_mechanism: "PLAIN".to_owned(),
            tls: false,
            ca_file: PathBuf::new(),
            group_protocol: "classic".to_owned(),
            instance: String::new(),
            session_timeout_ms: 10_000,
            create_topics: true,
            partitions: 12,
            replication: 1,
            min_insync: 1,
            retention_hours: 168,
            events_days: kept.events_days,
            inbox_hours: kept.inbox_hours,
            lease_ms: kept.lease_ms,
        }
    }
}

/// The port that callers use: gRPC and gRPC-Web.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether addresses other than this machine's may be listened on. Callers are believed who they say they are, so
    /// a proxy or a closed network must stand before it.
    pub allow_non_loopback: bool,
    /// Whether callers that name nobody may call everything.
    pub allow_anonymous: bool,
    /// Browser origins that may call, separated by commas: full origins, `loopback`, `*`.
    pub cors_origins: String,
    /// Names by which callers reach this server, also on the admin port, separated by commas: `orders.example.com`,
    /// `*.example.com`, `*`. Loopback and the address that is called need no name.
    pub hosts: String,
    /// Deadline of a call that names none, ms.
    pub default_deadline_ms: u64,
    /// Longer deadlines are cut to this, ms.
    pub max_deadline_ms: u64,
    /// Calls of one class (reads, writes, calls of our own services) that run and wait at once. How many of them run
    /// follows their latency.
    pub max_in_flight: usize,
    /// Reads of one connection that run at once; more of them wait. 0: a quarter of the connections to the database.
    pub max_reads_per_connection: usize,
    /// Open streams at once; half of them are for our own services.
    pub max_open_streams: usize,
    /// A stream that sent nothing for this long sends an empty message, so that nobody between takes it for dead, s.
    pub stream_heartbeat_s: u64,
    /// Unread answers of one connection, KiB; with more it begins no further call.
    pub max_unread_per_connection_kib: usize,
    /// Unread answers of all connections, KiB; with more the connection that holds most is closed.
    pub max_unread_kib: usize,
    /// An answer of which nothing was read for this long is reset, s.
    pub stalled_answer_s: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_streams_per_connection: u32,
    /// A quiet connection is asked for a sign of life this often, s.
    pub keepalive_interval_s: u64,
    /// And closed without one within this, s.
    pub keepalive_timeout_s: u64,
    /// Connections are asked to reconnect after this, s.
    pub max_connection_age_s: u64,
    /// And closed this much later, s.
    pub max_connection_age_grace_s: u64,
    /// From "not ready" to "no new calls" at a shutdown, ms: time for a load balancer to look away.
    pub shutdown_grace_ms: u64,
    /// How long a shutdown waits for calls, s.
    pub drain_limit_s: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            allow_non_loopback: false,
            allow_anonymous: true,
            cors_origins: "loopback".to_owned(),
            hosts: String::new(),
            default_deadline_ms: 10_000,
            max_deadline_ms: 60_000,
            max_in_flight: 1_024,
            max_reads_per_connection: 0,
            max_open_streams: 20_000,
            stream_heartbeat_s: 20,
            max_unread_per_connection_kib: 4_096,
            max_unread_kib: 65_536,
            stalled_answer_s: 30,
            max_connections: 10_000,
            max_streams_per_connection: 128,
            keepalive_interval_s: 20,
            keepalive_timeout_s: 20,
            max_connection_age_s: 1_800,
            max_connection_age_grace_s: 300,
            shutdown_grace_ms: 0,
            drain_limit_s: 8,
        }
    }
}

/// The port that operators use: `/metrics`, `/livez`, `/readyz`, `/version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `/readyz` fails when the oldest unpublished event is older than this, s; 0: it only tells, since orders can be
    /// taken while the broker is away.
    pub max_outbox_age_s: u64,
}

impl Default for Admin {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], 7401)), max_outbox_age_s: 0 }
    }
}

/// Services that run in other processes, `http://host:port`; empty: in this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peers {
    /// Inventory, which fulfillment asks.
    pub inventory: String,
    /// Fulfillment, which orders asks.
    pub fulfillment: String,
    /// Orders, which nobody asks but for events that a consumer misses.
    pub orders: String,
    /// A connection on which nothing came for this long is asked for a sign of life, ms.
    pub keepalive_interval_ms: u64,
    /// Without one within this it is given up, ms.
    pub keepalive_timeout_ms: u64,
    /// Longest making of a connection, ms.
    pub connect_timeout_ms: u64,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            inventory: String::new(),
            fulfillment: String::new(),
            orders: String::new(),
            keepalive_interval_ms: 2_000,
            keepalive_timeout_ms: 2_000,
            connect_timeout_ms: 2_000,
        }
    }
}

impl Peers {
    /// How peers are reached.
    pub fn options(&self) -> server::peer::Options {
        server::peer::Options {
            keepalive_interval: Duration::from_millis(self.keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(self.keepalive_timeout_ms),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
        }
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
    /// The most that a service ends at once, or ten times the busiest minute of the last hour if that is more. When more
    /// is due, nothing ends until `entrepot timers resume`; 0: no limit.
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
        let own = match service {
            Service::Inventory => &self.database.inventory_url,
            Service::Fulfillment => &self.database.fulfillment_url,
            Service::Orders => &self.database.orders_url,
        };
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
