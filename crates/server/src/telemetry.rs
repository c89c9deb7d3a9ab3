//! Logs and metrics of the process.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter has no meaning.
    #[error("`{filter}` is not a log filter ({why}); expected such as `info` or `info,orders=debug`")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser says.
        why: String,
    },
}

/// What `filter` need not name: a line for each caller that breaks the rules of HTTP/2 lets callers fill the log.
const QUIET: &str = "h2=error";

/// Sends log lines to stderr. A second call keeps the first settings, so that tests may start many platforms.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|why| Error::Filter { filter: filter.to_owned(), why: why.to_string() })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let first = match format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init().is_ok(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init().is_ok(),
    };
    if first {
        log_panics();
    }
    Ok(())
}

/// A panic is a log line like any other, with its place.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = crate::task::panic_text(info.payload());
        tracing::error!(place, panic = text, "panicked");
    }));
}

/// Seconds; calls take from under a millisecond to the longest deadline.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The metrics of this process; installs the recorder on the first call. None if another recorder was there first.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(BUCKETS).ok()?;
            let handle = builder.install_recorder().ok()?;
            describe(METRICS);
            Some(handle)
        })
        .as_ref()
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Kind, name and meaning of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric(pub Kind, pub &'static str, pub &'static str);

/// The metrics of this crate.
pub const METRICS: &[Metric] = &[
    Metric(Kind::Counter, "entrepot_task_panics_total", "Background tasks that panicked, by task."),
    Metric(Kind::Counter, "grpc_server_accept_errors_total", "Connections that could not be accepted."),
    Metric(Kind::Gauge, "grpc_server_connections", "Connections that are open now."),
    Metric(Kind::Counter, "grpc_server_handled_total", "Calls answered, by method and code."),
    Metric(Kind::Histogram, "grpc_server_handling_seconds", "Time to the answer, by method."),
    Metric(Kind::Gauge, "grpc_server_in_flight", "Calls that run now."),
    Metric(Kind::Counter, "grpc_server_panics_total", "Handlers that panicked, by method."),
    Metric(
        Kind::Gauge,
        "grpc_server_places",
        "Calls that may run at once, by class; it follows their latency.",
    ),
    Metric(
        Kind::Counter,
        "grpc_server_shed_total",
        "Calls refused and connections closed, by the limit that was reached.",
    ),
];

/// Says on `/metrics` what metrics mean.
pub fn describe(all: &[Metric]) {
    for Metric(kind, name, help) in all {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_meaning_is_named() {
        let error = init(Format::Text, "info,orders=loud").unwrap_err();
        assert!(error.to_string().starts_with("`info,orders=loud` is not a log filter"), "{error}");
    }

    #[test]
    fn what_is_counted_is_rendered() {
        let handle = metrics().unwrap();
        metrics::counter!("grpc_server_panics_total", "method" => "/a.B/C").increment(2);
        let text = handle.render();
        assert!(text.contains("grpc_server_panics_total{method=\"/a.B/C\"} 2"), "{text}");
        assert!(text.contains("# HELP grpc_server_panics_total"), "{text}");
    }
}
