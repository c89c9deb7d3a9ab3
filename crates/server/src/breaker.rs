//! Whether a peer is worth a call: one that could not be reached is not asked by everybody again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls in a row that found nobody, until nobody else is sent.
const FAILURES: u32 = 3;
/// How long nobody is sent; then one call finds out, while the others are still refused at once.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Opens when a peer is away, so that callers fail at once instead of waiting for their deadlines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    is_probed: bool,
}

/// Permission to call, which takes the outcome of the call.
#[derive(Debug)]
pub(crate) struct Leave {
    breaker: Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Leave to call the peer now, unless it is known to be away.
    pub(crate) fn leave(&self, now: Instant) -> Option<Leave> {
        let mut state = self.state();
        let is_probe = match state.open_until {
            None => false,
            Some(until) if now < until || state.is_probed => return None,
            Some(_) => {
                state.is_probed = true;
                true
            }
        };
        drop(state);
        Some(Leave { breaker: self.clone(), is_probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// The peer answered, whatever it said.
    pub(crate) fn answered(&self) {
        let mut state = self.breaker.state();
        state.failures = 0;
        state.open_until = None;
    }

    /// The peer could not be reached.
    pub(crate) fn unreachable(&self, now: Instant) {
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES || self.is_probe {
            state.open_until = Some(now + PAUSE);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.state().is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_away_is_asked_by_one_call_at_a_time() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            breaker.leave(start).unwrap().unreachable(start);
        }
        assert!(breaker.leave(start).is_none());
        let later = start + PAUSE;
        let probe = breaker.leave(later).unwrap();
        assert!(breaker.leave(later).is_none(), "one call finds out");
        probe.unreachable(later);
        drop(probe);
        assert!(breaker.leave(later).is_none());
        let again = later + PAUSE;
        drop(breaker.leave(again).unwrap());
        breaker.leave(again).unwrap().answered();
        assert!(breaker.leave(again).is_some() && breaker.leave(again).is_some());
    }

    #[test]
    fn single_failures_open_nothing() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.leave(now).unwrap().unreachable(now);
            breaker.leave(now).unwrap().unreachable(now);
            breaker.leave(now).unwrap().answered();
        }
        assert!(breaker.leave(now).is_some());
    }
}
