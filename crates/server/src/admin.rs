//! The admin port: `/metrics`, `/livez`, `/readyz`, `/version`. Not for the public.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use tokio::net::TcpListener;

use crate::shutdown::Shutdown;
use crate::telemetry;

/// How long one readiness check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
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
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.begun_owned());
    tokio::select! {
        outcome = server => if let Err(error) = outcome {
            tracing::error!(%error, "the admin port failed");
        },
        () = async { stop.begun().await; tokio::time::sleep_until(tokio::time::Instant::now() + CHECK_LIMIT).await } => {}
    }
    upkeep.abort();
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
    async fn readiness_tells_of_each_check_and_fails_with_any() {
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
}
