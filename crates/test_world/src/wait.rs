//! Waits for what happens beside the test. One limit for all: it only ends tests that would hang.

use std::fmt::Display;
use std::time::{Duration, Instant};

use clock::Clock;

/// How long anything may take before a test gives up. No test asserts on time.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The longest break between two looks.
const BREAK: Duration = Duration::from_millis(50);

/// Looks again and again until there is a value, and fails with what the last look said instead.
pub async fn eventually<T, E: Display>(mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match look().await {
            Ok(value) => return value,
            Err(instead) => assert!(Instant::now() < deadline, "it never happened: {instead}"),
        }
        Clock::system().pause(pause).await;
        pause = (pause * 2).min(BREAK);
    }
}

/// Waits until `what` holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(async || if holds().await { Ok(()) } else { Err(what) }).await;
}

/// The outcome of something that ends without the help of the test.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("it ends")
}
