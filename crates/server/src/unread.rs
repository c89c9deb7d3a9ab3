//! Answers that were made and not read yet: how much they may hold of our memory, and how long.
//!
//! What a caller does not read stays here. So a connection with too much unread begins no further call, an answer that
//! makes no progress is reset, and when all connections together hold too much the one that holds most is closed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

/// Large answers are handed to the transport in pieces of this many bytes, so that progress can be seen.
const PIECE: usize = 32 * 1024;

/// How much may be unread.
#[derive(Debug, Clone, Copy)]
pub struct UnreadLimits {
    /// Bytes of answers of one connection; with more it begins no further call.
    pub per_connection: usize,
    /// Bytes of answers of all connections; with more the connection that holds most is closed.
    pub in_all: usize,
    /// An answer of which nothing was read for this long is reset.
    pub stalled_after: Duration,
}

impl Default for UnreadLimits {
    fn default() -> Self {
        Self {
            per_connection: 4 * 1024 * 1024,
            in_all: 64 * 1024 * 1024,
            stalled_after: Duration::from_secs(30),
        }
    }
}

/// The unread answers of all connections of a listener.
#[derive(Debug)]
pub(crate) struct AllUnread {
    limits: UnreadLimits,
    bytes: AtomicUsize,
    connections: Mutex<HashMap<u64, Weak<Unread>>>,
}

impl AllUnread {
    pub(crate) fn new(limits: UnreadLimits) -> Arc<Self> {
        Arc::new(Self { limits, bytes: AtomicUsize::new(0), connections: Mutex::default() })
    }

    /// The account of a new connection.
    pub(crate) fn open(self: &Arc<Self>, number: u64) -> Arc<Unread> {
        let unread = Arc::new(Unread {
            number,
            all: Arc::clone(self),
            bytes: AtomicUsize::new(0),
            read: Notify::new(),
            next: AtomicUsize::new(0),
            answers: Mutex::default(),
            close: CancellationToken::new(),
        });
        lock(&self.connections).insert(number, Arc::downgrade(&unread));
        unread
    }

    /// Closes the connection that holds most, unless those that are being closed already will make the room.
    fn make_room(&self) {
        let mut open: Vec<Arc<Unread>> = lock(&self.connections).values().filter_map(Weak::upgrade).collect();
        open.retain(|unread| !unread.close.is_cancelled());
        let held = |unread: &Arc<Unread>| unread.bytes.load(Ordering::Relaxed);
        if open.iter().map(held).sum::<usize>() <= self.limits.in_all {
            return;
        }
        if let Some(most) = open.iter().max_by_key(|unread| held(unread)) {
            metrics::counter!("grpc_server_shed_total", "limit" => "UNREAD").increment(1);
            most.close.cancel();
        }
    }
}

/// The unread answers of one connection.
#[derive(Debug)]
pub(crate) struct Unread {
    number: u64,
    all: Arc<AllUnread>,
    bytes: AtomicUsize,
    read: Notify,
    next: AtomicUsize,
    answers: Mutex<HashMap<usize, Arc<Answer>>>,
    close: CancellationToken,
}

impl Unread {
    /// Comes back when the connection must be closed.
    pub(crate) async fn must_close(&self) {
        self.close.cancelled().await;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.all.limits.per_connection
    }

    /// Comes back when there is room for further answers.
    pub(crate) async fn has_room(&self) {
        loop {
            let read = self.read.notified();
            if !self.is_full() {
                return;
            }
            read.await;
        }
    }

    /// Resets answers without progress, again and again.
    pub(crate) async fn reset_stalled(&self) {
        let patience = self.all.limits.stalled_after;
        loop {
            tokio::time::sleep_until(Instant::now() + patience / 4).await;
            for answer in lock(&self.answers).values().filter(|answer| answer.is_stalled(patience)) {
                metrics::counter!("grpc_server_shed_total", "limit" => "STALLED").increment(1);
                answer.end(&self.close);
            }
        }
    }

    /// The body of an answer, counted until it is read. `stream` is that of HTTP/2 on which it goes out.
    pub(crate) fn counted(self: &Arc<Self>, body: Body, stream: Option<Arc<StreamEnd>>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let progress = Mutex::new(Instant::now());
        let answer =
            Arc::new(Answer { connection: Arc::clone(self), bytes: AtomicUsize::new(0), progress, stream });
        lock(&self.answers).insert(number, Arc::clone(&answer));
        Body::new(Counted { body, number, answer, rest: Bytes::new() })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        lock(&self.all.connections).remove(&self.number);
    }
}

/// One answer on its way.
#[derive(Debug)]
struct Answer {
    connection: Arc<Unread>,
    bytes: AtomicUsize,
    progress: Mutex<Instant>,
    stream: Option<Arc<StreamEnd>>,
}

impl Answer {
    fn add(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            *lock(&self.progress) = Instant::now();
        }
        self.connection.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = &self.connection.all;
        if all.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > all.limits.in_all {
            all.make_room();
        }
    }

    fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        *lock(&self.progress) = Instant::now();
        self.connection.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let before = self.connection.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.connection.all.limits.per_connection {
            self.connection.read.notify_waiters();
        }
    }

    fn is_stalled(&self, patience: Duration) -> bool {
        self.bytes.load(Ordering::Relaxed) > 0 && lock(&self.progress).elapsed() >= patience
    }

    fn end(&self, connection: &CancellationToken) {
        match &self.stream {
            Some(stream) => stream.end(),
            // HTTP/1 has one answer at a time: it is the connection
            None => connection.cancel(),
        }
    }
}

struct Counted {
    body: Body,
    number: usize,
    answer: Arc<Answer>,
    /// What the transport was not given yet.
    rest: Bytes,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
            match frame.into_data() {
                Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => {
                    self.answer.add(data.len());
                    self.rest = data;
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let size = self.rest.len().min(PIECE);
        let bytes = self.rest.split_to(size);
        let piece = Piece { bytes, answer: Arc::clone(&self.answer) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.answer.take(self.rest.len());
        lock(&self.answer.connection.answers).remove(&self.number);
    }
}

/// A piece that the transport holds until it is written.
struct Piece {
    bytes: Bytes,
    answer: Arc<Answer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.answer.take(self.bytes.len());
    }
}

tokio::task_local! {
    static STREAM: Arc<StreamEnd>;
}

/// Ends a stream of HTTP/2 from outside.
#[derive(Debug, Default)]
pub(crate) struct StreamEnd {
    is_over: AtomicBool,
    waker: AtomicWaker,
}

impl StreamEnd {
    /// That of the stream at hand; HTTP/1 has none.
    pub(crate) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Runs a stream until it ends or is ended.
    pub(crate) async fn run<F: Future>(stream: F) -> Option<F::Output> {
        let end = Arc::new(Self::default());
        let ended = Arc::clone(&end);
        let mut stream = std::pin::pin!(STREAM.scope(end, stream));
        std::future::poll_fn(move |cx| {
            ended.waker.register(cx.waker());
            if ended.is_over.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            stream.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::body::boxed;

    fn limits(per_connection: usize, in_all: usize) -> UnreadLimits {
        UnreadLimits { per_connection, in_all, stalled_after: Duration::from_millis(40) }
    }

    fn answer(bytes: usize) -> Body {
        boxed(Full::new(Bytes::from(vec![7; bytes])))
    }

    #[tokio::test]
    async fn what_is_read_is_no_longer_counted() {
        let all = AllUnread::new(limits(100_000, 1_000_000));
        let unread = all.open(1);
        let mut body = unread.counted(answer(100_000), None);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        assert!(unread.is_full());
        drop(first);
        unread.has_room().await;
        let mut length = PIECE;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, 100_000);
        drop(body);
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        let mut unfinished = unread.counted(answer(100_000), None);
        drop(unfinished.frame().await);
        drop(unfinished);
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        assert!(lock(&unread.answers).is_empty());
    }

    #[tokio::test]
    async fn the_connection_that_holds_most_is_closed() {
        let all = AllUnread::new(limits(1_000_000, 100_000));
        let (few, many) = (all.open(1), all.open(2));
        let mut held = Vec::new();
        for (unread, bytes) in [(&few, 30_000), (&many, 60_000), (&few, 20_000)] {
            let mut body = unread.counted(answer(bytes), None);
            held.push((body.frame().await, body));
        }
        assert!(many.close.is_cancelled() && !few.close.is_cancelled());
        // what the closed one holds is as good as free
        let mut body = few.counted(answer(40_000), None);
        held.push((body.frame().await, body));
        assert!(!few.close.is_cancelled());
    }

    #[tokio::test]
    async fn an_answer_without_progress_is_ended() {
        let all = AllUnread::new(limits(1_000_000, 1_000_000));
        let unread = all.open(1);
        let stream = Arc::clone(&unread);
        let running = tokio::spawn(StreamEnd::run(async move {
            let mut body = stream.counted(answer(100), StreamEnd::current());
            let _held = body.frame().await;
            std::future::pending::<()>().await;
        }));
        let resets = tokio::spawn(async move { unread.reset_stalled().await });
        assert_eq!(running.await.unwrap(), None);
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        resets.abort();
    }
}
