//! The trace context that travels with events.
//!
//! A request or an event is handled inside [`scope`]; whatever is appended there carries the same `traceparent`.

use std::future::Future;

tokio::task_local! {
    static TRACEPARENT: Option<String>;
}

/// Runs `work` under a W3C `traceparent`; events appended meanwhile carry it.
pub async fn scope<F: Future>(traceparent: Option<String>, work: F) -> F::Output {
    TRACEPARENT.scope(traceparent, work).await
}

/// The same as [`scope`] for work that does not wait.
pub fn scope_sync<T>(traceparent: Option<String>, work: impl FnOnce() -> T) -> T {
    TRACEPARENT.sync_scope(traceparent, work)
}

/// The `traceparent` in force, if any.
pub fn current() -> Option<String> {
    TRACEPARENT.try_with(Clone::clone).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_context_is_seen_inside_its_scope_only() {
        assert_eq!(current(), None);
        let seen = scope(Some("00-aa-bb-01".to_owned()), async { current() }).await;
        assert_eq!(seen.as_deref(), Some("00-aa-bb-01"));
        let seen = scope_sync(Some("00-aa-cc-01".to_owned()), current);
        assert_eq!(seen.as_deref(), Some("00-aa-cc-01"));
        assert_eq!(current(), None);
    }
}
