//! The listener: it owns its connections, so that it can end them.
//!
//! One port speaks gRPC (HTTP/2) and gRPC-Web (HTTP/1.1 or 2, with CORS). A shutdown stops accepting, says GOAWAY,
//! lets calls finish, and at its limit drops what is left: connections, their streams and their handlers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer as _;
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use crate::connection::Connection;
use crate::door::Door;
use crate::front::{self, Hosts};
use crate::room::{Place, Room, affordable};
use crate::shutdown::Shutdown;
use crate::unread::{AllUnread, StreamEnd, UnreadLimits};

/// A connection must send its first byte, and an HTTP/1 request its headers, within this.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// Largest header list of a request, in bytes.
const HEADER_LIST: u32 = 16 * 1024;
/// A connection that is asked to close and has no calls is closed after this.
const QUIET: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted: the usual 128 turn a rush of callers into connection resets. The system
/// cuts this to its own limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;
/// The log mentions connections that cannot be accepted no more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// How long connections and handlers that were aborted may take to end.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Connections at once, if the limit of open files allows as many. Then the oldest that never made a call makes room
    /// for the next; if all of them did, the next is closed as it comes.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_streams_per_connection: u32,
    /// A quiet HTTP/2 connection is asked for a sign of life this often.
    pub keepalive_interval: Duration,
    /// Without one within this it is closed.
    pub keepalive_timeout: Duration,
    /// Connections are asked to reconnect after this (give or take a tenth), so that load spreads.
    pub max_connection_age: Duration,
    /// And closed this much later.
    pub max_connection_age_grace: Duration,
    /// How long a shutdown waits for calls before it drops them.
    pub drain_limit: Duration,
    /// Browser origins that may call: full origins, `loopback` for any port of this machine, `*` for all.
    pub cors_origins: Vec<String>,
    /// The hosts that callers may name.
    pub hosts: Hosts,
    /// How much of our answers callers may leave unread.
    pub unread: UnreadLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7400)),
            max_connections: 10_000,
            max_streams_per_connection: 128,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(20),
            max_connection_age: Duration::from_mins(30),
            max_connection_age_grace: Duration::from_mins(5),
            drain_limit: Duration::from_secs(20),
            cors_origins: vec!["loopback".to_owned()],
            hosts: Hosts::default(),
            unread: UnreadLimits::default(),
        }
    }
}

/// What a shutdown had to drop at its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Connections that did not close.
    pub connections: usize,
    /// Handlers that did not end.
    pub handlers: usize,
}

/// A bound port that does not answer yet.
pub struct Listener {
    tcp: TcpListener,
    config: Config,
}

impl Listener {
    /// Takes the port. Must be called within the runtime.
    pub fn bind(config: Config) -> io::Result<Self> {
        let socket = match config.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // a restart must get its port back while connections of the run before linger
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(config.address)?;
        Ok(Self { tcp: socket.listen(BACKLOG)?, config })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves `door` until `shutdown` begins, then drains.
    pub async fn run(self, door: Door, shutdown: Shutdown) -> Dropped {
        let drain_limit = self.config.drain_limit;
        let tracker = TaskTracker::new();
        let kill = CancellationToken::new();
        let service = TowerToHyperService::new(
            cors(&self.config.cors_origins).layer(GrpcWebLayer::new().layer(door.clone())),
        );
        let unread = AllUnread::new(self.config.unread);
        let rules = Arc::new(Rules { config: self.config, service, shutdown, kill: kill.clone(), unread });
        accept(self.tcp, &rules, &tracker).await;
        tracker.close();
        let drained = async {
            tracker.wait().await;
            door.drained().await;
        };
        if tokio::time::timeout(drain_limit, drained).await.is_ok() {
            return Dropped::default();
        }
        let dropped = Dropped { connections: tracker.len(), handlers: door.running() };
        tracing::warn!(
            dropped.connections,
            dropped.handlers,
            "the drain limit is over; dropping what is left"
        );
        kill.cancel();
        door.abort();
        let gone = async {
            tracker.wait().await;
            door.drained().await;
        };
        if tokio::time::timeout(ABORT_GRACE, gone).await.is_err() {
            tracing::error!("some handlers do not yield and could not be ended");
        }
        dropped
    }
}

type Served = TowerToHyperService<Cors<GrpcWebService<Door>>>;

struct Rules {
    config: Config,
    service: Served,
    shutdown: Shutdown,
    kill: CancellationToken,
    unread: Arc<AllUnread>,
}

async fn accept(tcp: TcpListener, rules: &Arc<Rules>, tracker: &TaskTracker) {
    let room = Room::new(affordable(rules.config.max_connections));
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = rules.shutdown.begun() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of file handles, or a caller that left at once: neither may end the listener or fill the log
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::warn!(%error, "a connection could not be accepted");
                    complained = Some(Instant::now());
                }
                metrics::counter!("grpc_server_accept_errors_total").increment(1);
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(20)).await;
                continue;
            }
        };
        let Some(place) = room.enter() else {
            metrics::counter!("grpc_server_shed_total", "limit" => "CONNECTIONS").increment(1);
            continue;
        };
        let rules = Arc::clone(rules);
        tracker.spawn(async move {
            let gauge = metrics::gauge!("grpc_server_connections");
            gauge.increment(1.0);
            connection(stream, from, &rules, place).await;
            gauge.decrement(1.0);
        });
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, rules: &Rules, place: Place) {
    if stream.set_nodelay(true).is_err() || !speaks(&stream, rules, &place).await {
        return;
    }
    let Ok(local) = stream.local_addr() else { return };
    let kill = rules.kill.child_token();
    let _streams_end_with_us = kill.clone().drop_guard();
    let builder = protocol(&rules.config, &kill);
    let calls = Calls::default();
    let unread = rules.unread.open(place.number());
    let held = Arc::new(Connection::new(from.ip().to_canonical(), place, unread));
    let service = {
        let (calls, inner, held) = (calls.clone(), rules.service.clone(), Arc::clone(&held));
        let hosts = rules.config.hosts.clone();
        service_fn(move |request| {
            let refusal = front::refusal(&request, &hosts, local.ip());
            // boxed: a stream would keep the room that its call needed
            calls.hold(Box::pin(call(refusal, request, inner.clone(), Arc::clone(&held))))
        })
    };
    let resets = held.unread.reset_stalled();
    tokio::pin!(resets);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let age =
        tokio::time::sleep_until(Instant::now() + jittered(rules.config.max_connection_age, from.port()));
    tokio::pin!(age);
    let mut is_closing = false;
    let mut is_old = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%from, error, "a connection broke");
                }
                return;
            }
            () = rules.shutdown.begun(), if !is_closing => {
                connection.as_mut().graceful_shutdown();
                is_closing = true;
            }
            () = age.as_mut() => {
                if is_old {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                is_old = true;
                age.as_mut().reset(Instant::now() + rules.config.max_connection_age_grace);
            }
            () = calls.quiet(), if is_closing => return,
            () = held.needed() => return,
            () = held.unread.must_close() => return,
            () = resets.as_mut() => {}
            () = kill.cancelled() => return,
        }
    }
}

/// One request of a connection; its answer counts as unread until the caller has it.
async fn call(
    refusal: Option<Response<Body>>,
    mut request: Request<Incoming>,
    service: Served,
    held: Arc<Connection>,
) -> Result<Response<Body>, Infallible> {
    if let Some(refusal) = refusal {
        return Ok(refusal);
    }
    let stream = StreamEnd::current();
    request.extensions_mut().insert(Arc::clone(&held));
    let response = service.call(request).await?;
    Ok(response.map(|body| held.unread.counted(body, stream)))
}

/// The calls that run on one connection.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn hold<F: Future>(&self, call: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let held = Held(Arc::clone(&self.0));
        async move {
            let answer = call.await;
            drop(held);
            answer
        }
    }

    /// Comes back when no call has run for a while: a connection with half a request on it never closes by itself.
    async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            tokio::time::sleep_until(Instant::now() + QUIET / 10).await;
            if self.0.load(Ordering::SeqCst) > 0 {
                since = Instant::now();
            }
        }
    }
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the first byte comes in time: connections that say nothing are not kept.
async fn speaks(stream: &TcpStream, rules: &Rules, place: &Place) -> bool {
    let mut byte = [0_u8];
    tokio::select! {
        peeked = tokio::time::timeout(FIRST_BYTE, stream.peek(&mut byte)) => matches!(peeked, Ok(Ok(1))),
        () = rules.shutdown.begun() => false,
        () = place.needed() => false,
    }
}

fn protocol(config: &Config, kill: &CancellationToken) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(Executor { kill: kill.clone() });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_BYTE).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection)
        // all calls of an honest connection may expire at once, before we came to read them
        .max_pending_accept_reset_streams(config.max_streams_per_connection as usize)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_header_list_size(HEADER_LIST);
    builder
}

/// Spreads the ages of connections that were made at once, by nine tenths to eleven tenths.
fn jittered(age: Duration, port: u16) -> Duration {
    age * (90 + u32::from(port % 21)) / 100
}

/// Runs the streams of one connection, and ends them with it.
#[derive(Clone)]
struct Executor {
    kill: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let kill = self.kill.clone();
        // boxed: each of the layers below would keep room for it, and a stream may be open for hours
        let stream = Box::pin(stream);
        tokio::spawn(async move {
            kill.run_until_cancelled(StreamEnd::run(stream)).await;
        });
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(HeaderName::from_static);
    let origins = origins.to_vec();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            origins.iter().any(|known| is_origin(known, origin))
        }))
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(Duration::from_hours(24))
}

fn is_origin(known: &str, origin: &HeaderValue) -> bool {
    match known {
        "*" => true,
        "loopback" => origin.to_str().is_ok_and(is_loopback),
        exact => origin.as_bytes() == exact.as_bytes(),
    }
}

fn is_loopback(origin: &str) -> bool {
    let Some((_, rest)) = origin.split_once("://") else {
        return false;
    };
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .filter_map(|host| rest.strip_prefix(host))
        .any(|port| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for good in ["http://localhost:5173", "https://localhost", "http://127.0.0.1:80", "http://[::1]:3000"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for bad in
            ["http://localhost.evil.example", "http://127.0.0.1.evil.example", "null", "http://localhost:x"]
        {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn ages_spread_around_the_limit() {
        let age = Duration::from_secs(100);
        for port in 0..200 {
            let jittered = jittered(age, port);
            assert!(jittered >= Duration::from_secs(90) && jittered <= Duration::from_secs(110));
        }
    }
}
