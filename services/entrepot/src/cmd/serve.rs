//! `entrepot serve`: runs until it is stopped.

use std::time::{Duration, Instant};

use clock::Clock;
use server::shutdown::Signals;

use super::{Place, say};
use crate::compose::Platform;
use crate::config::{BusKind, Config, Service};
use crate::exit::{Class, Exit, Result};

/// A shutdown that takes longer is cut off.
const HARD_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Services to run, separated by commas (setting `platform.services`).
    #[arg(long, value_name = "NAMES")]
    services: Option<String>,
    /// Where callers connect, IP:PORT (setting `server.listen`).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where operators look, IP:PORT (setting `admin.listen`).
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

impl Args {
    pub(crate) fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut settings = self.place.settings();
        let flags = [
            ("platform.services", &self.services, "--services"),
            ("server.listen", &self.listen, "--listen"),
            ("admin.listen", &self.admin, "--admin"),
        ];
        for (path, value, flag) in flags {
            settings.extend(value.iter().map(|value| (path, value.clone(), flag)));
        }
        settings
    }
}

pub(crate) async fn run(config: Config) -> Result<()> {
    let began = Instant::now();
    let about = about(&config);
    // before the ready line: its reader may stop us at once
    let mut signals = Signals::catch().map_err(|error| Exit::other("signals cannot be caught", &error))?;
    let platform = tokio::select! {
        started = Box::pin(Platform::start(config, Clock::system())) => started?,
        name = signals.next() => {
            tracing::info!(cause = name, "stopped while starting");
            return Ok(());
        }
    };
    let admin = platform.admin_address().map_or(String::new(), |address| format!(", admin {address}"));
    say(&format!(
        "{} ready: gRPC {}{admin}, {about} (started in {} ms)",
        crate::VERSION,
        platform.address(),
        began.elapsed().as_millis()
    ));
    let name = tokio::select! {
        name = signals.next() => name,
        _ = platform.failed() => "a failed task",
    };
    tracing::info!(cause = name, "shutting down");
    let stopping = Box::pin(tokio::time::timeout(HARD_LIMIT, platform.shutdown()));
    let stopped = tokio::select! {
        stopped = stopping => stopped.map_err(|_| late())?,
        _ = signals.next() => return Err(Exit::new(Class::Other, "stopped at once by a second signal")),
    };
    tracing::info!(
        connections = stopped.dropped.connections,
        handlers = stopped.dropped.handlers,
        late_tasks = stopped.late_tasks.join(","),
        "stopped; what was left undone is counted here"
    );
    match stopped.panics.first() {
        Some(panic) => Err(Exit::new(Class::Other, format!("a background task panicked: {panic}"))),
        None => Ok(()),
    }
}

fn late() -> Exit {
    Exit::new(
        Class::Other,
        format!("the shutdown took longer than {} s and was cut off", HARD_LIMIT.as_secs()),
    )
}

fn about(config: &Config) -> String {
    let services: Vec<&str> = config.services().into_iter().map(Service::name).collect();
    let bus = match config.bus.kind {
        BusKind::Local => "local bus".to_owned(),
        BusKind::Kafka => format!("Kafka {}", config.bus.brokers),
    };
    let store = if config.uses_files() {
        format!("data {}", config.data.directory.display())
    } else {
        "PostgreSQL".to_owned()
    };
    format!("services {}, {store}, {bus}", services.join(","))
}
