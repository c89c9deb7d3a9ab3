//! The admin port: `/metrics`, `/livez`, `/readyz`, `/version`. Not for the public.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::front::{Hosts, misdirected_text};
use crate::room::{Place, Room};
use crate::shutdown::Shutdown;
use crate::telemetry;

/// How long one readiness check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// A request must send its headers within this, and a quiet connection the next request.
const HEADERS: Duration = Duration::from_secs(10);
/// Connections at once; then the oldest that asked nothing yet makes room for the next.
const CONNECTIONS: usize = 64;
/// A connection ends after this, so that callers who ask and do not read cannot have all of them for ever. A scraper or
/// probe connects again.
const AGE: Duration = Duration::from_mins(1);
/// How often histograms are folded, so that an unscraped process does not grow.
const UPKEEP: Duration = Duration::from_secs(5);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// What must hold for the process to take traffic.
#[derive(Clone)]
pub struct Readiness {
    checks: Vec<(String, Check)>,
    limit: Duration,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { checks: Vec::new(), limit: CHECK_LIMIT }
    }
}

impl Readiness {
    /// Nothing to check: always ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. `Ok` and `Err` both say what was seen; a check that takes longer than 2 s counts as failed.
    #[must_use]
    pub fn check<F, Fut>(mut self, name: &str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, String>> + Send + 'static,
    {
        self.checks.push((name.to_owned(), Arc::new(move || Box::pin(check()))));
        self
    }

    /// Runs all checks at once: whether all hold, and a line for each.
    pub async fn report(&self) -> (bool, String) {
        let seen = join_all(self.checks.iter().map(|(name, check)| async move {
            let outcome = tokio::time::timeout(self.limit, check()).await;
            (name, outcome.unwrap_or_else(|_| Err(format!("no answer within {} ms", self.limit.as_millis()))))
        }))
        .await;
        let mut lines = String::new();
        let mut is_ready = true;
        for (name, outcome) in seen {
            let (mark, text) = match outcome {
                Ok(text) => ("ok", text),
                Err(text) => {
                    is_ready = false;
                    ("FAILED", text)
                }
            };
            // writing to a string cannot fail
            let _ = writeln!(lines, "{name}: {mark} {text}");
        }
        (is_ready, lines)
    }
}

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    version: Arc<str>,
    shutdown: Shutdown,
}

/// Serves the admin port until `stop` begins; `/readyz` fails from the moment that `shutdown` begins.
pub async fn run(
    listener: TcpListener,
    hosts: Hosts,
    readiness: Readiness,
    version: &str,
    shutdown: Shutdown,
    stop: Shutdown,
) {
    let admin = Admin { readiness, version: version.into(), shutdown };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/version", get(version_line))
        .with_state(admin);
    let upkeep = tokio::spawn(upkeep(stop.clone()));
    let connections = TaskTracker::new();
    tokio::select! {
        () = accept(listener, &router, &hosts, &stop, &connections) => {}
        () = stop.begun() => {}
    }
    connections.close();
    let _ = tokio::time::timeout(CHECK_LIMIT, connections.wait()).await;
    upkeep.abort();
}

async fn accept(
    listener: TcpListener,
    router: &Router,
    hosts: &Hosts,
    stop: &Shutdown,
    connections: &TaskTracker,
) {
    let room = Room::new(CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // out of file handles, or a caller that left at once: neither may end the port
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(20)).await;
            continue;
        };
        let Some(place) = room.enter() else { continue };
        connections.spawn(connection(stream, place, router.clone(), hosts.clone(), stop.clone(), AGE));
    }
}

async fn connection(
    stream: TcpStream,
    place: Place,
    router: Router,
    hosts: Hosts,
    stop: Shutdown,
    age: Duration,
) {
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(|request: Request<Incoming>| {
        let foreign = hosts.foreign(&request, local.ip());
        let router = router.clone();
        if foreign.is_none() {
            place.called();
        }
        async move {
            match foreign {
                Some(host) => Ok((StatusCode::MISDIRECTED_REQUEST, misdirected_text(&host)).into_response()),
                None => router.oneshot(request.map(Body::new)).await,
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.needed() => return,
        () = stop.begun() => {}
        () = tokio::time::sleep_until(Instant::now() + age) => {}
    }
    connection.as_mut().graceful_shutdown();
    // a caller that asks and does not read would keep its place for ever
    let _ = tokio::time::timeout(CHECK_LIMIT, connection).await;
}

async fn upkeep(stop: Shutdown) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while !stop.has_begun() {
        ticks.tick().await;
        if let Some(handle) = telemetry::metrics() {
            handle.run_upkeep();
        }
    }
}

async fn metrics() -> Response {
    let Some(handle) = telemetry::metrics() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no metrics recorder\n").into_response();
    };
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], handle.render()).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.shutdown.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutdown: FAILED this server is shutting down\n")
            .into_response();
    }
    let (is_ready, lines) = admin.readiness.report().await;
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, lines).into_response()
}

async fn version_line(State(admin): State<Admin>) -> String {
    format!("{}\n", admin.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_reports_each_check_and_fails_with_any() {
        let readiness = Readiness::new()
            .check("database orders", || async { Ok("2 ms".to_owned()) })
            .check("broker", || async { Err("connection refused".to_owned()) });
        let (is_ready, lines) = readiness.report().await;
        assert!(!is_ready);
        assert_eq!(lines, "database orders: ok 2 ms\nbroker: FAILED connection refused\n");
    }

    #[tokio::test]
    async fn a_check_that_hangs_counts_as_failed() {
        let mut readiness = Readiness::new().check("database", std::future::pending);
        readiness.limit = Duration::from_millis(20);
        let (is_ready, lines) = readiness.report().await;
        assert!(!is_ready);
        assert_eq!(lines, "database: FAILED no answer within 20 ms\n");
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_age_though_its_caller_does_not_read() {
        use tokio::io::AsyncWriteExt as _;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let router = Router::new().route("/large", get(|| async { "x".repeat(4_000_000) }));
        let place = Room::new(1).enter().unwrap();
        let hosts = Hosts::new(Vec::<String>::new());
        let age = Duration::from_millis(50);
        let served = tokio::spawn(connection(stream, place, router, hosts, Shutdown::new(), age));
        caller.write_all(&b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10)).await.unwrap();
        tokio::time::timeout(Duration::from_mins(1), served).await.unwrap().unwrap();
    }
}
