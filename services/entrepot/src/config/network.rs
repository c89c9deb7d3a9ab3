//! Settings of the ports that this process listens on and of the peers that it calls.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Service;

/// The port that callers use: gRPC and gRPC-Web.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether addresses other than this machine's may be listened on. Callers are believed who they say they are, so
    /// a proxy or a closed network must stand before it.
    pub allow_non_loopback: bool,
    /// Whether callers that name nobody may call everything but what reports or moves money or changes policies.
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
    /// Calls of one connection that read at once, and as many of its streams; more of them wait. 0: a quarter of the
    /// connections to the database.
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
    /// Where a service runs; empty: in this process, or nowhere that is known.
    pub fn address(&self, service: Service) -> &str {
        match service {
            Service::Inventory => &self.inventory,
            Service::Fulfillment => &self.fulfillment,
            Service::Orders => &self.orders,
        }
    }

    /// How peers are reached.
    pub fn options(&self) -> server::peer::Options {
        server::peer::Options {
            keepalive_interval: Duration::from_millis(self.keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(self.keepalive_timeout_ms),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
        }
    }
}
