//! Runs what is due: one loop per service, in one process at a time.
//!
//! Each service keeps its due times in rows; the loop holds a lease, so that of several processes one acts, and looks
//! again after each commit of its own process, at the next due time, and at a slow poll that sees the commits of
//! others. On a virtual clock there are no loops: the command that moves the clock runs what is due.

use std::time::Duration;

use bus::lease::Keeper;
use clock::Clock;
use jiff::Timestamp;
use service::Service;
use service::shape::Failure;
use tokio_util::sync::CancellationToken;

use crate::guard::Guard;

/// Commits of other processes are seen this late.
const POLL: Duration = Duration::from_millis(250);
/// What is due but could not be run is tried again after this.
const STUCK: Duration = Duration::from_millis(50);
/// Paused timers look again this often.
const PAUSED: Duration = Duration::from_secs(1);
/// Commits of this process that come thick are looked after together.
const GATHER: Duration = Duration::from_millis(10);

/// Runs what is due in `service` until `stop`.
pub(crate) async fn run(
    service: std::sync::Arc<dyn Service>,
    db: db::Db,
    clock: Clock,
    mut lease: Keeper,
    mut guard: Guard,
    stop: CancellationToken,
) {
    let mut committed = db.committed();
    let mut errors = 0_u32;
    if db.engine() == db::Engine::Sqlite
        && let Err(error) = lease.seize().await
    {
        tracing::warn!(service = service.name(), %error, "the lease of the timers could not be taken yet");
    }
    while !stop.is_cancelled() {
        committed.borrow_and_update();
        let pause = match turn(&*service, &clock, &mut lease, &mut guard).await {
            Ok(pause) => {
                errors = 0;
                pause
            }
            Err(error) => {
                errors += 1;
                metrics::counter!("entrepot_timer_errors_total", "service" => service.name()).increment(1);
                tracing::warn!(service = service.name(), %error, errors, "what is due is tried again");
                Duration::from_millis(50 * 2_u64.pow(errors.min(6)))
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.pause(pause) => {}
            Ok(()) = committed.changed(), if errors == 0 && !guard.is_paused() => clock.pause(GATHER).await,
        }
    }
    if let Err(error) = lease.release().await {
        tracing::debug!(service = service.name(), %error, "the lease runs out by itself");
    }
}

/// One look; answers how long nothing can be due.
async fn turn(
    service: &dyn Service,
    clock: &Clock,
    lease: &mut Keeper,
    guard: &mut Guard,
) -> Result<Duration, Failure> {
    if let Some(ahead) = clock.leap() {
        // this process does not know the time; another one may
        guard.leapt(service, ahead);
        lease.release().await?;
        service.run_upkeep(clock.business()).await?;
        return Ok(PAUSED);
    }
    if lease.hold().await?.is_none() {
        guard.rest(service, "another process runs what is due");
        return Ok(POLL);
    }
    match service.next_due().await? {
        Some(due) if due <= clock.business() => {
            if !guard.admits(service).await? {
                service.run_upkeep(clock.business()).await?;
                return Ok(PAUSED);
            }
            // the guard may have set the clock
            let now = clock.business();
            let done = service.run_due(now).await?;
            guard.ended(done);
            metrics::counter!("entrepot_timers_run_total", "service" => service.name())
                .increment(done as u64);
            // what is due but was not run (locked by another, or its peer is away) must not spin the loop
            Ok(if done > 0 { Duration::ZERO } else { STUCK })
        }
        later => {
            guard.rest(service, "nothing is due any more");
            Ok(later.map_or(POLL, |due| until(clock.business(), due).min(POLL)))
        }
    }
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_ends_at_the_next_due_time() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-03-01T10:00:03Z".parse().unwrap();
        assert_eq!(until(now, later), Duration::from_secs(3));
        assert_eq!(until(later, now), Duration::ZERO);
    }
}
