//! The owner of background work: named tasks, their panics, and their end.

use std::any::Any;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::shutdown::Shutdown;

/// The background tasks of a process. A relay or timer that panics must not be missed in silence, so a panic
/// begins the shutdown: the process ends with an error and is started again by its supervisor.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    tracker: TaskTracker,
    shutdown: Shutdown,
    running: Mutex<Vec<(String, AbortHandle)>>,
    panics: Mutex<Vec<String>>,
}

impl Tasks {
    /// No tasks yet; a panic begins `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        let inner = Inner {
            tracker: TaskTracker::new(),
            shutdown,
            running: Mutex::new(Vec::new()),
            panics: Mutex::new(Vec::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs `future` under `name` until it ends by itself.
    pub fn spawn<F>(&self, name: &str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::info_span!("task", name);
        let task = tokio::spawn(future.instrument(span));
        let handle = task.abort_handle();
        let inner = Arc::clone(&self.inner);
        let owned = name.to_owned();
        self.inner.tracker.spawn(async move {
            if let Err(failed) = task.await {
                inner.failed(&owned, failed);
            }
        });
        let mut running = lock(&self.inner.running);
        running.retain(|(_, handle)| !handle.is_finished());
        running.push((name.to_owned(), handle));
    }

    /// Waits for all tasks, at most `limit`; then ends the rest and answers with their names.
    pub async fn finish(&self, limit: Duration) -> Vec<String> {
        self.inner.tracker.close();
        if tokio::time::timeout(limit, self.inner.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let mut late = Vec::new();
        for (name, handle) in lock(&self.inner.running).drain(..) {
            if !handle.is_finished() {
                handle.abort();
                late.push(name);
            }
        }
        late
    }

    /// The tasks that panicked, with what they said.
    pub fn panics(&self) -> Vec<String> {
        lock(&self.inner.panics).clone()
    }
}

impl Inner {
    fn failed(&self, name: &str, failed: JoinError) {
        let Ok(payload) = failed.try_into_panic() else {
            return;
        };
        let text = panic_text(payload.as_ref());
        metrics::counter!("entrepot_task_panics_total", "task" => name.to_owned()).increment(1);
        tracing::error!(task = name, panic = text, "a background task panicked; shutting down");
        lock(&self.panics).push(format!("{name}: {text}"));
        self.shutdown.begin();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_end_are_waited_for() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let until = shutdown.begun_owned();
        tasks.spawn("relay", until);
        shutdown.begin();
        assert!(tasks.finish(Duration::from_secs(5)).await.is_empty());
        assert!(tasks.panics().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named_and_ended() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("stuck", std::future::pending());
        assert_eq!(tasks.finish(Duration::from_millis(20)).await, ["stuck"]);
    }

    #[tokio::test]
    async fn a_panic_begins_the_shutdown_and_is_kept() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("timers", async { panic!("row without a due time") });
        shutdown.begun().await;
        tasks.finish(Duration::from_secs(5)).await;
        assert_eq!(tasks.panics(), ["timers: row without a due time"]);
    }
}
