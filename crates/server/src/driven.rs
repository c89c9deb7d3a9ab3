//! Streams of answers that are worked on whether or not their caller reads.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

use crate::reason;
use crate::status::{DOMAIN, status};

/// The stream in a task of its own, at most one item ahead of its reader; dropped, it ends.
///
/// The transport asks for answers only while their caller has room for them. Asked like that, a stream would stop in
/// the middle of its work, with a connection of the database in its hands, for as long as the caller likes: a few
/// callers that never read would then stop everybody. Here it stops only between two items.
pub fn driven<T, S>(stream: S) -> Driven<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    // boxed: a channel has room for 32 items, however few it may hold
    let (sender, items) = mpsc::channel(1);
    let work = async move {
        let mut stream = std::pin::pin!(stream);
        // room first: no item is made before the last one was taken
        while let Ok(room) = sender.reserve().await {
            let Some(item) = stream.next().await else { return };
            room.send(Box::new(item));
        }
    };
    let task = tokio::spawn(work.in_current_span());
    Driven { items, task: Some(AbortOnDropHandle::new(task)) }
}

/// See [`driven`].
#[derive(Debug)]
pub struct Driven<T> {
    items: mpsc::Receiver<Box<Result<T, Status>>>,
    /// None once its end was reported.
    task: Option<AbortOnDropHandle<()>>,
}

impl<T> Stream for Driven<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = ready!(self.items.poll_recv(cx)) {
            return Poll::Ready(Some(*item));
        }
        let Some(task) = self.task.as_mut() else {
            return Poll::Ready(None);
        };
        let ended = ready!(Pin::new(task).poll(cx));
        self.task = None;
        // a stream that panicked must not look like one that came to its end
        let panic = ended.err().and_then(|failed| failed.try_into_panic().ok());
        Poll::Ready(panic.map(|payload| {
            let text = format!("a stream panicked: {}", crate::task::panic_text(payload.as_ref()));
            Err(status(reason::HANDLER_PANICKED, DOMAIN, text, []))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;
    use tokio::sync::{Notify, Semaphore};

    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_then_the_end() {
        let mut driven = driven(stream::iter([Ok(1), Err(Status::not_found("2")), Ok(3)]));
        assert_eq!(driven.next().await.unwrap().unwrap(), 1);
        assert_eq!(driven.next().await.unwrap().unwrap_err().code(), Code::NotFound);
        assert_eq!(driven.next().await.unwrap().unwrap(), 3);
        assert!(driven.next().await.is_none());
        assert!(driven.next().await.is_none());
    }

    /// A stream that holds the only place while it makes an item.
    fn working(place: Arc<Semaphore>) -> impl Stream<Item = Result<u8, Status>> + Send {
        stream::unfold(place, |place| async move {
            let held = place.acquire().await.ok()?;
            tokio::task::yield_now().await;
            drop(held);
            Some((Ok(1), place))
        })
    }

    #[tokio::test]
    async fn one_that_nobody_reads_holds_nothing() {
        let place = Arc::new(Semaphore::new(1));
        let unread: Vec<Driven<u8>> = (0..10).map(|_| driven(working(Arc::clone(&place)))).collect();
        let held = place.acquire_many(1).await.unwrap();
        drop(held);
        let mut last = driven(working(Arc::clone(&place)));
        assert_eq!(last.next().await.unwrap().unwrap(), 1);
        drop(unread);
    }

    #[tokio::test]
    async fn no_more_than_one_item_is_made_ahead() {
        let made = Arc::new(Semaphore::new(0));
        let maker = Arc::clone(&made);
        let mut driven = driven(stream::repeat_with(move || {
            maker.add_permits(1);
            Ok(1)
        }));
        drop(made.acquire().await.unwrap());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(made.available_permits(), 1);
        assert_eq!(driven.next().await.unwrap().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let mut driven = driven(stream::once(async { Err::<u8, Status>(panic()) }));
        assert_eq!(driven.next().await.unwrap().unwrap_err().code(), Code::Internal);
        assert!(driven.next().await.is_none());
    }

    fn panic() -> Status {
        panic!("in the middle of a stream")
    }

    struct Tells(Arc<Notify>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    #[tokio::test]
    async fn one_whose_caller_left_ends() {
        let (began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tells, begins) = (Tells(Arc::clone(&ended)), Arc::clone(&began));
        let driven = driven(stream::once(async move {
            let _tells = tells;
            begins.notify_one();
            std::future::pending::<Result<u8, Status>>().await
        }));
        began.notified().await;
        drop(driven);
        ended.notified().await;
    }
}
