//! Repeating a whole transaction that lost a race.

use std::time::Duration;

use uuid::Uuid;

/// Runs `work`, again after a short random pause while `is_retry` says so, at most `attempts` times in all.
///
/// `work` must hold the whole transaction, from `begin` to `commit`:
/// `db::retry(3, db::Error::is_retry, || async { .. }).await`.
pub async fn retry<T, E, Work, Running>(
    attempts: u32,
    is_retry: impl Fn(&E) -> bool,
    mut work: Work,
) -> Result<T, E>
where
    Work: FnMut() -> Running,
    Running: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error) if attempt < attempts && is_retry(&error) => {
                metrics::counter!("entrepot_db_retries_total").increment(1);
                pause(attempt).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Up to 10, 20, 40 .. ms, random, so that those who collided do not meet again.
async fn pause(attempt: u32) {
    let most = 10_000_u64 << attempt.min(6).saturating_sub(1);
    let (random, _) = Uuid::new_v4().as_u64_pair();
    let until = tokio::time::Instant::now() + Duration::from_micros(random % most);
    tokio::time::sleep_until(until).await;
}
