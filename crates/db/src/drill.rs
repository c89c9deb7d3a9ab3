//! Fire drills: a debug build can be set to die at the n-th pass of a named place, as a `kill -9` there would.
//!
//! Places: `commit.before`, `commit.after` (every write transaction), `relay.published` (the transport has the events,
//! the outbox still points at them), `consumer.committed` (the effect is durable, the transport does not know).
//! Release builds have none of this.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(debug_assertions)]
static ARMED: OnceLock<(String, AtomicU64)> = OnceLock::new();

/// The process dies at the `nth` pass (from 1) of `place`. Only the first call of a process counts. False in release
/// builds, where nothing is armed.
pub fn arm(place: &str, nth: u64) -> bool {
    #[cfg(debug_assertions)]
    {
        ARMED.set((place.to_owned(), AtomicU64::new(nth))).is_ok()
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = (place, nth);
        false
    }
}

/// Passes a place: returns, unless the drill says that the process dies here.
#[inline]
pub fn pass(place: &str) {
    #[cfg(debug_assertions)]
    if let Some((armed, left)) = ARMED.get()
        && armed == place
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}
