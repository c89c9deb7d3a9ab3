//! Streams of answers, each worked on in a task of its own, and the share of the readers that those of one connection have.

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use http::Extensions;
use server::{Driven, StreamReads, driven};
use tonic::Status;

/// The answers to a request for a stream; see [`server::driven`]. Those of one connection read the database no more
/// often at once than its calls do, so that many of them leave the readers to others.
pub fn streamed<T, S>(request: &Extensions, stream: S) -> Driven<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    let Some(StreamReads(turns)) = request.get::<StreamReads>().cloned() else { return driven(stream) };
    driven(unfold((Box::pin(stream), turns), async |(mut stream, turns)| {
        let item = db::within_share(turns.clone(), stream.next()).await?;
        Some((item, (stream, turns)))
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::{Barrier, Semaphore};

    use super::*;

    /// A stream that reads once, until others read beside it; says how many did.
    fn reading(
        db: db::Db,
        reading: Arc<AtomicUsize>,
        together: Arc<Barrier>,
    ) -> impl Stream<Item = Result<usize, Status>> + Send {
        futures_util::stream::once(async move {
            let tx = db.read().await.map_err(|error| Status::unknown(error.to_string()))?;
            let at_once = reading.fetch_add(1, Ordering::SeqCst) + 1;
            together.wait().await;
            reading.fetch_sub(1, Ordering::SeqCst);
            drop(tx);
            Ok(at_once)
        })
    }

    /// The most of 12 streams that read at once, each of them beside `beside - 1` others.
    async fn most_at_once(request: &Extensions, beside: usize) -> usize {
        let kept = db::testing::sqlite(&[]).await;
        let db = kept.db();
        let count = Arc::new(AtomicUsize::new(0));
        let together = Arc::new(Barrier::new(beside));
        let read = || reading(db.clone(), Arc::clone(&count), Arc::clone(&together));
        let streams = (0..12).map(|_| streamed(request, read()));
        let at_once = join_all(streams.map(async |mut stream| stream.next().await.unwrap().unwrap())).await;
        at_once.into_iter().max().unwrap_or_default()
    }

    #[tokio::test]
    async fn streams_of_one_connection_share_its_turns() {
        let mut request = Extensions::new();
        assert!(most_at_once(&request, 3).await > 2, "streams without a connection have no share");
        request.insert(StreamReads(Arc::new(Semaphore::new(2))));
        assert_eq!(most_at_once(&request, 2).await, 2);
    }
}
