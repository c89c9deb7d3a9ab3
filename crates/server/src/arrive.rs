//! Messages on their way in: a call takes a place among those that run only when its message is there.
//!
//! Otherwise a few connections that announce calls and never send them would take all places.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http_body_util::{BodyExt as _, Full};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::MESSAGE_LIMIT;
use crate::body::boxed;
use crate::call::Deadline;
use crate::status::{DOMAIN, exhausted, status};

/// What precedes a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The most bytes of messages that are not yet whole.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The messages that are on their way. When there are too many or they are too large together, the one that is longest
/// on its way makes room: those of honest callers are the youngest.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    most: usize,
    most_bytes: usize,
    bytes: Arc<AtomicUsize>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

impl Arrivals {
    /// At most `most` messages, each no larger than [`MESSAGE_LIMIT`], are waited for at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), most_bytes: MOST_BYTES, bytes: Arc::default(), waiting: Arc::default() }
    }

    /// The whole body of a request with one message, read by `deadline` at the latest.
    pub(crate) async fn whole(&self, body: Body, deadline: Deadline) -> Result<Body, Status> {
        let mut reading = std::pin::pin!(self.read(body));
        // most messages come together with their headers
        if let Poll::Ready(read) = poll!(reading.as_mut()) {
            return read;
        }
        let seat = self.sit();
        tokio::select! {
            biased;
            read = reading => read,
            () = seat.called.cancelled() => Err(crowded()),
            () = tokio::time::sleep_until(deadline.at()) => Err(late()),
        }
    }

    async fn read(&self, mut body: Body) -> Result<Body, Status> {
        let mut held = Held { arrivals: self, bytes: 0 };
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            held.add(piece.len());
            if held.bytes > HEAD + MESSAGE_LIMIT {
                return Err(too_large());
            }
            if first.is_empty() && all.is_empty() {
                first = piece;
                continue;
            }
            // copied: a message that comes byte by byte must not keep a buffer of the connection for each
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&piece);
        }
        let whole = if all.is_empty() { first } else { all.freeze() };
        Ok(if whole.is_empty() { Body::empty() } else { boxed(Full::new(whole)) })
    }

    fn sit(&self) -> Seat<'_> {
        let mut waiting = self.waiting();
        if waiting.by_age.len() >= self.most {
            waiting.call_oldest();
        }
        let number = waiting.next;
        waiting.next += 1;
        let called = CancellationToken::new();
        waiting.by_age.insert(number, called.clone());
        Seat { arrivals: self, number, called }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn call_oldest(&mut self) {
        if let Some((_, oldest)) = self.by_age.pop_first() {
            oldest.cancel();
        }
    }
}

/// What has arrived of one message.
struct Held<'a> {
    arrivals: &'a Arrivals,
    bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        let before = self.arrivals.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.arrivals.most_bytes {
            self.arrivals.waiting().call_oldest();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.arrivals.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// One message that is waited for.
struct Seat<'a> {
    arrivals: &'a Arrivals,
    number: u64,
    called: CancellationToken,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.arrivals.waiting().by_age.remove(&self.number);
    }
}

fn too_large() -> Status {
    let text = format!("the message is larger than {MESSAGE_LIMIT} bytes");
    status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", DOMAIN, text, [])
}

fn crowded() -> Status {
    metrics::counter!("grpc_server_shed_total", "limit" => "ARRIVALS").increment(1);
    let text = "the request was too long on its way while others came";
    exhausted(DOMAIN, "OVERLOADED", Duration::from_millis(200), text)
}

fn late() -> Status {
    let text = "the request did not arrive in time".to_owned();
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", DOMAIN, text, [])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;
    use crate::status::reason;

    fn body(pieces: Vec<&'static [u8]>, ends: bool) -> Body {
        let sent =
            stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece))));
        if ends {
            boxed(StreamBody::new(sent))
        } else {
            boxed(StreamBody::new(sent.chain(stream::pending())))
        }
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(30))
    }

    #[tokio::test]
    async fn a_message_in_pieces_is_put_together() {
        let arrivals = Arrivals::new(1);
        for (pieces, whole) in
            [(vec![], ""), (vec![&b"abc"[..]], "abc"), (vec![b"a", b"b", b"", b"c"], "abc")]
        {
            let body = arrivals.whole(body(pieces, true), soon()).await.unwrap();
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        }
    }

    #[tokio::test]
    async fn a_message_that_does_not_arrive_by_its_deadline_is_given_up() {
        let arrivals = Arrivals::new(1);
        let refusal = arrivals.whole(body(vec![b"a"], false), soon()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::DeadlineExceeded);
        assert!(arrivals.waiting().by_age.is_empty());
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_refused_before_it_is_there() {
        let piece: &'static [u8] = vec![0; MESSAGE_LIMIT].leak();
        let endless = body(vec![piece, &[0; 6]], false);
        let refusal =
            Arrivals::new(1).whole(endless, Deadline::after(Duration::from_mins(10))).await.unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("MESSAGE_TOO_LARGE"));
    }

    #[tokio::test]
    async fn the_one_longest_on_its_way_makes_room() {
        let arrivals = Arrivals::new(2);
        let far = Deadline::after(Duration::from_mins(10));
        let mut stalled: Vec<_> =
            (0..3).map(|_| Box::pin(arrivals.whole(body(vec![b"a"], false), far))).collect();
        assert!(poll!(&mut stalled[0]).is_pending());
        assert!(poll!(&mut stalled[1]).is_pending());
        assert!(poll!(&mut stalled[0]).is_pending());
        assert!(poll!(&mut stalled[2]).is_pending());
        assert!(poll!(&mut stalled[1]).is_pending());
        let Poll::Ready(Err(refusal)) = poll!(&mut stalled[0]) else { unreachable!("the oldest is called") };
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"));
    }

    #[tokio::test]
    async fn large_ones_that_stall_make_room_too() {
        let arrivals = Arrivals { most_bytes: 10, ..Arrivals::new(100) };
        let far = Deadline::after(Duration::from_mins(10));
        let mut stalled: Vec<_> =
            (0..3).map(|_| Box::pin(arrivals.whole(body(vec![b"12345"], false), far))).collect();
        assert!(poll!(&mut stalled[0]).is_pending());
        assert!(poll!(&mut stalled[1]).is_pending());
        assert!(poll!(&mut stalled[0]).is_pending());
        assert!(poll!(&mut stalled[2]).is_pending());
        assert!(poll!(&mut stalled[1]).is_pending());
        let Poll::Ready(Err(refusal)) = poll!(&mut stalled[0]) else { unreachable!("the oldest is called") };
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        drop(stalled);
        assert_eq!(arrivals.bytes.load(Ordering::Relaxed), 0);
    }
}
