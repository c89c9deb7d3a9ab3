//! A share of the readers: what runs in it begins a limited number of reads at once, however many of them there are.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    static SHARE: Arc<Semaphore>;
}

/// Runs `work`; each read that it begins takes one of `turns` until it ends, and waits when there is none. Work must not
/// begin a read while it has one open: two of them could wait for each other.
pub async fn within_share<T>(turns: Arc<Semaphore>, work: impl Future<Output = T>) -> T {
    SHARE.scope(turns, work).await
}

/// The turn of a read that begins now; none where there is no share.
pub(crate) async fn turn() -> Option<OwnedSemaphorePermit> {
    let turns = SHARE.try_with(Arc::clone).ok()?;
    turns.acquire_owned().await.ok()
}
