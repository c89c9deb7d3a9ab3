//! A closed loop: a number of callers, each with one call in flight, for a time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// What one round of load gave.
#[derive(Debug, Default, Clone)]
pub(crate) struct Round {
    /// Microseconds of each call that succeeded.
    pub(crate) micros: Vec<u32>,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Text of the first failure.
    pub(crate) first_failure: Option<String>,
    /// Seconds from the first call to the last answer.
    pub(crate) elapsed_s: f64,
    /// Processor seconds that this process used meanwhile: servers, callers and all that goes on behind them, but not
    /// a database server.
    pub(crate) cpu_s: f64,
}

impl Round {
    /// Successful calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls() / self.elapsed_s.max(1e-9)
    }

    /// Successful calls.
    pub(crate) fn calls(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let calls = self.micros.len() as f64;
        calls
    }
}

/// Runs `call(caller, number)` from `callers` tasks at once until `lasting` has passed.
pub(crate) async fn closed<F, Fut, E>(callers: usize, lasting: Duration, call: F) -> Round
where
    F: Fn(usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: std::fmt::Display,
{
    let call = Arc::new(call);
    let (begun, cpu) = (Instant::now(), cpu_s());
    let until = begun + lasting;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let call = Arc::clone(&call);
        tasks.spawn(async move {
            let mut round = Round::default();
            let mut number = 0;
            while Instant::now() < until {
                let started = Instant::now();
                match call(caller, number).await {
                    Ok(()) => {
                        round.micros.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                    Err(error) => {
                        round.failed += 1;
                        round.first_failure.get_or_insert_with(|| error.to_string());
                    }
                }
                number += 1;
            }
            round
        });
    }
    let mut all = Round::default();
    while let Some(done) = tasks.join_next().await {
        let Ok(round) = done else { continue };
        all.micros.extend(round.micros);
        all.failed += round.failed;
        all.first_failure = all.first_failure.or(round.first_failure);
    }
    all.elapsed_s = begun.elapsed().as_secs_f64();
    all.cpu_s = cpu_s() - cpu;
    all
}

/// Processor seconds of this process so far.
fn cpu_s() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_call_is_counted_once() {
        let round = closed(4, Duration::from_millis(20), |_, number| async move {
            tokio::task::yield_now().await;
            if number % 2 == 0 { Ok(()) } else { Err("odd") }
        })
        .await;
        assert!(!round.micros.is_empty() && round.failed > 0);
        assert_eq!(round.first_failure.as_deref(), Some("odd"));
        assert!(round.rate() > 0.0 && round.cpu_s > 0.0);
    }
}
