//! The end of a platform, in this order: not ready, no new calls, calls done, nothing due any more, events out,
//! consumers done, databases closed.

use std::time::Duration;

use server::Shutdown;
use server::listen::Dropped;
use tokio::time::Instant;

use super::Platform;

/// How long events get to be published and applied.
const FLUSH: Duration = Duration::from_secs(3);
/// How long background tasks get to end.
const FINISH: Duration = Duration::from_secs(5);

/// The stages of a shutdown, each begun after the one before is done.
pub(super) struct Stages {
    /// It has begun: not ready.
    pub(super) shutdown: Shutdown,
    /// No new calls.
    pub(super) intake: Shutdown,
    /// Nothing due is run any more.
    pub(super) timers: Shutdown,
    /// No events are sent or taken any more.
    pub(super) bus: Shutdown,
    /// Operators are no longer answered.
    pub(super) admin: Shutdown,
}

impl Stages {
    pub(super) fn new() -> Self {
        Self {
            shutdown: Shutdown::new(),
            intake: Shutdown::new(),
            timers: Shutdown::new(),
            bus: Shutdown::new(),
            admin: Shutdown::new(),
        }
    }
}

/// What a shutdown had to leave undone; what is left is safe in the databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Connections and handlers that did not end in time.
    pub dropped: Dropped,
    /// Background tasks that did not end in time.
    pub late_tasks: Vec<String>,
    /// Background tasks that had panicked.
    pub panics: Vec<String>,
}

impl Stopped {
    /// Whether nothing was left undone.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Platform {
    /// Stops it in order.
    pub async fn shutdown(self) -> Stopped {
        let clock = self.clock.clone();
        self.stages.shutdown.begin();
        self.door.set_serving(false).await;
        clock.pause(self.grace).await;
        self.stages.intake.begin();
        let dropped = self.listening.await.unwrap_or_default();
        self.stages.timers.begin();
        let databases: Vec<db::Db> = self.members.iter().map(|member| member.db.clone()).collect();
        let until = Instant::now() + FLUSH;
        while Instant::now() < until && !self.bus.idle(&databases).await.unwrap_or(true) {
            clock.pause(Duration::from_millis(10)).await;
        }
        self.stages.bus.begin();
        self.stages.admin.begin();
        let late_tasks = self.tasks.finish(FINISH).await;
        let panics = self.tasks.panics();
        drop(self.members);
        for db in databases {
            db.close().await;
        }
        if let Some(directory) = self.directory {
            let mode = if clock.is_virtual() {
                crate::data::ClockMode::Virtual { now: clock.business() }
            } else {
                crate::data::ClockMode::System
            };
            if let Err(error) = directory.record_clock(mode) {
                tracing::warn!(%error, "the clock could not be written down");
            }
        }
        Stopped { dropped, late_tasks, panics }
    }
}
