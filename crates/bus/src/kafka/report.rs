//! What the clients complain about, one line a second of it at most: while the broker is away each of them would fill
//! the log with the same words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// All clients of this process share it.
static LIMIT: Limit = Limit::new();

/// Logs a complaint of a client, unless there was one a moment ago. `who` names the client by what it serves.
pub(super) fn complain(who: &str, what: &str, error: &dyn std::fmt::Display) {
    if let Some(suppressed) = LIMIT.admit(Instant::now()) {
        tracing::warn!(who, %error, suppressed, "kafka: {what}");
    }
}

struct Limit {
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Limit {
    const fn new() -> Self {
        Self { state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Some: it may be logged; the number is how many were suppressed since the last one.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_suppressed() {
        let limit = Limit::new();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let admitted = [0, 10, 999, 1_000, 1_500, 9_000].map(|millis| limit.admit(after(millis)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
