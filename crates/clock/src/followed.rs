//! Business time on a machine: a monotonic clock, set by a reference.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::{from_micros, micros_of};

/// A reference that differs by more has leapt; it is not followed.
pub(crate) const LEAP: Duration = Duration::from_secs(5);
/// A difference below this is noise of the measurement.
const NOISE: Duration = Duration::from_millis(20);

/// What became of a reading of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Business time agrees with it.
    Followed,
    /// The reference is ahead of business time by this many microseconds (behind: negative). It is not followed.
    Leapt(i64),
}

#[derive(Debug)]
pub(crate) struct Followed {
    /// When it began, since the machine was started.
    anchor: Duration,
    /// Business time at the anchor, in microseconds since the epoch.
    base: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// A reference was read before.
    is_set: bool,
    /// How far the reference was ahead when it was read last; 0 while it is followed.
    leap: i64,
}

impl Followed {
    pub(crate) fn from(start: Timestamp) -> Self {
        Self { anchor: since_start(), base: AtomicI64::new(start.as_microsecond()), state: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let base = self.base.load(Ordering::SeqCst);
        from_micros(base.saturating_add(micros_of(since_start().saturating_sub(self.anchor))))
    }

    /// The reference said `at`; the answer took `took`.
    pub(crate) fn follow(&self, at: Timestamp, took: Duration) -> Follow {
        let mut state = self.state();
        let ahead = at.as_microsecond() + micros_of(took / 2) - self.now().as_microsecond();
        let off = Duration::from_micros(ahead.unsigned_abs());
        if state.is_set && off > LEAP + took {
            state.leap = ahead;
            return Follow::Leapt(ahead);
        }
        // an answer that took long says little about a small difference
        if !state.is_set || off > NOISE + took {
            self.base.fetch_add(ahead, Ordering::SeqCst);
        }
        *state = State { is_set: true, leap: 0 };
        Follow::Followed
    }

    /// From now on the reference is right, however far it is off.
    pub(crate) fn adopt(&self) {
        let mut state = self.state();
        self.base.fetch_add(state.leap, Ordering::SeqCst);
        state.leap = 0;
    }

    pub(crate) fn leap(&self) -> Option<i64> {
        Some(self.state().leap).filter(|leap| *leap != 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the machine runs, the time in which it was suspended included. `Instant` stands still meanwhile, so that
/// the reference would seem to leap when the machine wakes up.
fn since_start() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = ClockId::Monotonic;
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    fn off(clock: &Followed, from: i64) -> i64 {
        (clock.now().as_microsecond() - from).abs()
    }

    #[test]
    fn the_first_reading_sets_it_however_far_the_machine_is_off() {
        let clock = Followed::from(at(START));
        let reference = START + 3_600 * SECOND;
        assert_eq!(clock.follow(at(reference), Duration::ZERO), Follow::Followed);
        assert!(off(&clock, reference) < 60 * SECOND);
    }

    #[test]
    fn small_steps_are_followed_and_a_leap_is_not_until_it_is_adopted_or_over() {
        let clock = Followed::from(at(START));
        clock.follow(at(START), Duration::ZERO);
        let now = clock.now().as_microsecond();
        assert_eq!(clock.follow(at(now + 3 * SECOND), Duration::ZERO), Follow::Followed);
        let now = clock.now().as_microsecond();
        let leapt = clock.follow(at(now + 3_600 * SECOND), Duration::ZERO);
        assert!(matches!(leapt, Follow::Leapt(ahead) if ahead > 3_500 * SECOND), "{leapt:?}");
        assert!(off(&clock, now) < 60 * SECOND, "business time did not move with it");
        assert!(clock.leap().is_some());
        assert_eq!(clock.follow(clock.now(), Duration::ZERO), Follow::Followed, "the reference is back");
        assert_eq!(clock.leap(), None);
        let now = clock.now().as_microsecond();
        assert!(
            matches!(clock.follow(at(now - 3_600 * SECOND), Duration::ZERO), Follow::Leapt(ahead) if ahead < 0)
        );
        clock.adopt();
        assert!(off(&clock, now - 3_600 * SECOND) < 60 * SECOND);
        assert_eq!(clock.leap(), None);
    }

    #[test]
    fn a_slow_answer_moves_nothing_that_it_cannot_prove() {
        let clock = Followed::from(at(START));
        clock.follow(at(START), Duration::ZERO);
        let base = clock.base.load(Ordering::SeqCst);
        let said = clock.now().as_microsecond() - 2 * SECOND;
        assert_eq!(clock.follow(at(said), Duration::from_secs(4)), Follow::Followed);
        assert_eq!(clock.base.load(Ordering::SeqCst), base);
    }
}
