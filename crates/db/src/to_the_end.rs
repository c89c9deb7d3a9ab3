//! Work that its caller cannot cut in half.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Runs `work` where it is awaited. Only when the caller goes away before its end does a task of its own go on with
/// it: a task for each begin and commit would cost two switches between threads, for callers that nearly always stay.
pub(crate) fn to_the_end<F>(work: F) -> ToTheEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    ToTheEnd { work: Some(Box::pin(work)) }
}

/// See [`to_the_end`].
pub(crate) struct ToTheEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// `None`: it came to its end, or panicked.
    work: Option<Pin<Box<F>>>,
}

impl<F> Future for ToTheEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<F> Drop for ToTheEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        // Without a runtime nobody can go on: what the work holds is dropped, and knows what that means.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_stays_has_the_answer() {
        assert_eq!(to_the_end(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn work_goes_on_without_its_caller() {
        let (go, wait) = oneshot::channel::<()>();
        let (done, seen) = oneshot::channel();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let mut work = to_the_end(async move {
            count.fetch_add(1, Ordering::SeqCst);
            wait.await.unwrap();
            done.send("done").unwrap();
        });
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut work).poll(cx).is_pending()));
        assert!(polled.await);
        drop(work);
        go.send(()).unwrap();
        assert_eq!(seen.await, Ok("done"));
        assert_eq!(begun.load(Ordering::SeqCst), 1, "it went on, and did not begin again");
    }
}
