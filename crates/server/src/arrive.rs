//! Messages on their way in: a call takes a place among those that run only when its message is there.
//!
//! Otherwise a few connections that announce calls and never send them would take all places.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use crate::MESSAGE_LIMIT;
use crate::connection::Connection;
use crate::deadline::{Deadline, not_arrived};
use crate::reason;
use crate::shed::shed;
use crate::status::{DOMAIN, explained, retry_later, too_large};

/// What precedes a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The most bytes of messages that are not yet whole, and again of large ones that are and wait for their turn.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A message of no more bytes may wait for its turn whatever others hold: places in the queue are limited.
const SMALL: usize = 32 * 1024;

/// The messages that are on their way. When there are too many or they are too large together, one of those makes room
/// whose address, and of its connections whose connection, holds most: never that of a caller with few.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    most: usize,
    most_bytes: usize,
    bytes: Arc<AtomicUsize>,
    waiting: Arc<Mutex<Waiting>>,
    /// Bytes of large messages whose calls wait for a place, by connection.
    queued: Arc<Mutex<HashMap<u64, usize>>>,
}

/// Bytes of a message that waits for its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    of: Arc<Mutex<HashMap<u64, usize>>>,
    connection: u64,
    bytes: usize,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut queued = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = queued.get_mut(&self.connection) {
            *own -= self.bytes;
            if *own == 0 {
                queued.remove(&self.connection);
            }
        }
    }
}

/// Where a message comes from: address and connection; none for a call within this process.
type Source = Option<(IpAddr, u64)>;

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, Half>,
}

/// A message of which only a part is there.
#[derive(Debug)]
struct Half {
    source: Source,
    bytes: Arc<AtomicUsize>,
    give_up: CancellationToken,
}

impl Arrivals {
    /// At most `most` messages, each no larger than [`MESSAGE_LIMIT`], are waited for at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            most_bytes: MOST_BYTES,
            bytes: Arc::default(),
            waiting: Arc::default(),
            queued: Arc::default(),
        }
    }

    /// Counts a whole message of a connection while its call waits for a place; small ones need no count. A large one is
    /// refused when its connection has a quarter of all there is for such messages, or when all is taken and its
    /// connection has no less than others.
    pub(crate) fn queue(&self, bytes: usize, connection: u64) -> Result<Option<Queued>, Status> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let own = queued.get(&connection).copied().unwrap_or_default();
        let total = queued.values().sum::<usize>() + bytes;
        let is_greedy = own > 0 && own + bytes > self.most_bytes / 4;
        let has_most = own > 0 && own >= total / (queued.len() + 1);
        if is_greedy || (total > self.most_bytes && has_most) || total > 4 * self.most_bytes {
            let text =
                "too many large messages wait for their turn; the call had no effect, send it again later";
            return Err(shed("MESSAGES", text));
        }
        queued.insert(connection, own + bytes);
        Ok(Some(Queued { of: Arc::clone(&self.queued), connection, bytes }))
    }

    /// The whole body of a request with one message, read by `deadline` at the latest.
    pub(crate) async fn whole(
        &self,
        body: Body,
        connection: Option<&Connection>,
        deadline: Deadline,
    ) -> Result<Bytes, Status> {
        let source = connection.map(|connection| (connection.address, connection.number));
        self.whole_of(body, source, deadline).await
    }

    async fn whole_of(&self, body: Body, source: Source, deadline: Deadline) -> Result<Bytes, Status> {
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut reading = std::pin::pin!(self.read(body, Arc::clone(&bytes)));
        // most messages come together with their headers
        if let Poll::Ready(read) = poll!(reading.as_mut()) {
            return read;
        }
        let seat = self.sit(source, bytes);
        tokio::select! {
            biased;
            read = reading => read,
            () = seat.give_up.cancelled() => Err(crowded()),
            () = tokio::time::sleep_until(deadline.at()) => Err(not_arrived()),
        }
    }

    async fn read(&self, mut body: Body, count: Arc<AtomicUsize>) -> Result<Bytes, Status> {
        let held = Held { arrivals: self, bytes: count };
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // what the transport says of a message that broke off has no details
            let Ok(piece) = frame.map_err(|broken| explained(&broken))?.into_data() else { continue };
            if held.add(piece.len()) > HEAD + MESSAGE_LIMIT {
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
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    fn sit(&self, source: Source, bytes: Arc<AtomicUsize>) -> Seat<'_> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        let give_up = CancellationToken::new();
        waiting.by_age.insert(number, Half { source, bytes, give_up: give_up.clone() });
        if waiting.by_age.len() > self.most {
            waiting.make_room(|_| 1);
        }
        Seat { arrivals: self, number, give_up }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Gives up the oldest message of the connection that holds most by `weight`, of the address that holds most.
    fn make_room(&mut self, weight: impl Fn(&Half) -> usize) {
        let mut addresses: HashMap<Option<IpAddr>, usize> = HashMap::new();
        let mut connections: HashMap<Source, usize> = HashMap::new();
        for half in self.by_age.values() {
            let weight = weight(half);
            *addresses.entry(half.source.map(|(address, _)| address)).or_default() += weight;
            *connections.entry(half.source).or_default() += weight;
        }
        let held = |half: &Half| {
            let of_address = addresses.get(&half.source.map(|(address, _)| address));
            (of_address.copied().unwrap_or(0), connections.get(&half.source).copied().unwrap_or(0))
        };
        // of equals the first is the oldest
        let most = self.by_age.iter().map(|(number, half)| (held(half), std::cmp::Reverse(*number))).max();
        let given_up = most.and_then(|(_, number)| self.by_age.remove(&number.0));
        if let Some(half) = given_up {
            half.give_up.cancel();
        }
    }
}

/// What has arrived of one message.
struct Held<'a> {
    arrivals: &'a Arrivals,
    bytes: Arc<AtomicUsize>,
}

impl Held<'_> {
    /// Counts what came; answers how much has come of this message.
    fn add(&self, bytes: usize) -> usize {
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let before = self.arrivals.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.arrivals.most_bytes {
            self.arrivals.waiting().make_room(|half| half.bytes.load(Ordering::Relaxed));
        }
        own
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.arrivals.bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// One message that is waited for.
struct Seat<'a> {
    arrivals: &'a Arrivals,
    number: u64,
    give_up: CancellationToken,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.arrivals.waiting().by_age.remove(&self.number);
    }
}

fn crowded() -> Status {
    metrics::counter!("grpc_server_shed_total", "limit" => "ARRIVALS").increment(1);
    let text = "too many requests have not arrived in full, and most of them on this connection; send each request at once";
    retry_later(reason::OVERLOADED, DOMAIN, Duration::from_millis(200), text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tonic::Code;

    use super::*;
    use crate::body::boxed;
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

    fn far() -> Deadline {
        Deadline::after(Duration::from_mins(10))
    }

    /// Connection `number` of an address.
    fn from(address: u8, number: u64) -> (IpAddr, u64) {
        ([10, 0, 0, address].into(), number)
    }

    #[tokio::test]
    async fn a_message_in_pieces_is_put_together() {
        let arrivals = Arrivals::new(1);
        for (pieces, whole) in
            [(vec![], ""), (vec![&b"abc"[..]], "abc"), (vec![b"a", b"b", b"", b"c"], "abc")]
        {
            assert_eq!(arrivals.whole(body(pieces, true), None, soon()).await.unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn large_messages_wait_for_their_turn_up_to_a_limit_and_small_ones_whatever_they_hold() {
        let large = 2 * SMALL;
        let arrivals = Arrivals { most_bytes: 6 * large, ..Arrivals::new(1) };
        let first = arrivals.queue(large, 1).unwrap();
        let refusal = arrivals.queue(large, 1).unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"), "a connection has a quarter");
        assert!(arrivals.queue(SMALL, 1).unwrap().is_none());
        let others: Vec<_> = (2..8).map(|number| arrivals.queue(large, number).unwrap()).collect();
        assert!(arrivals.queue(large, 2).is_err(), "it is not one with less");
        drop((first, others));
        assert!(arrivals.queued.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_message_that_does_not_arrive_by_its_deadline_is_given_up() {
        let arrivals = Arrivals::new(1);
        let refusal = arrivals.whole(body(vec![b"a"], false), None, soon()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::DeadlineExceeded);
        assert!(arrivals.waiting().by_age.is_empty());
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_refused_before_it_is_there() {
        let piece: &'static [u8] = vec![0; MESSAGE_LIMIT].leak();
        let endless = body(vec![piece, &[0; 6]], false);
        let refusal = Arrivals::new(1).whole(endless, None, far()).await.unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("MESSAGE_TOO_LARGE"));
    }

    #[tokio::test]
    async fn room_is_made_by_the_connection_that_holds_most() {
        let arrivals = Arrivals::new(4);
        let half = |source| Box::pin(arrivals.whole_of(body(vec![b"a"], false), Some(source), far()));
        let mut honest = half(from(1, 1));
        assert!(poll!(&mut honest).is_pending());
        let mut greedy: Vec<_> = (0..3).map(|_| half(from(1, 2))).collect();
        for message in &mut greedy {
            assert!(poll!(message).is_pending());
        }
        let mut others = Vec::new();
        for number in 3..5 {
            let mut late = half(from(1, number));
            assert!(poll!(&mut late).is_pending());
            let Poll::Ready(Err(refusal)) = poll!(&mut greedy.remove(0)) else { panic!("it holds most") };
            assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"));
            others.push(late);
            assert!(poll!(&mut honest).is_pending(), "the oldest, but the only one of its connection");
        }
    }

    #[tokio::test]
    async fn an_address_with_many_connections_makes_room_for_one_with_a_single() {
        let arrivals = Arrivals::new(4);
        let half = |source| Box::pin(arrivals.whole_of(body(vec![b"a"], false), Some(source), far()));
        let mut honest: Vec<_> = (0..2).map(|_| half(from(1, 1))).collect();
        let mut greedy: Vec<_> = (2..5).map(|number| half(from(2, number))).collect();
        for message in honest.iter_mut().chain(&mut greedy) {
            assert!(poll!(message).is_pending());
        }
        assert!(poll!(&mut greedy[0]).is_ready());
        for message in &mut honest {
            assert!(poll!(message).is_pending());
        }
    }

    #[tokio::test]
    async fn large_ones_that_stall_make_room_too() {
        let arrivals = Arrivals { most_bytes: 10, ..Arrivals::new(100) };
        let small = Box::pin(arrivals.whole_of(body(vec![b"1"], false), Some(from(1, 1)), far()));
        let mut stalled = vec![small];
        for _ in 0..2 {
            stalled.push(Box::pin(arrivals.whole_of(body(vec![b"12345"], false), Some(from(1, 2)), far())));
        }
        for message in &mut stalled[..2] {
            assert!(poll!(message).is_pending());
        }
        assert!(poll!(&mut stalled[2]).is_pending());
        let Poll::Ready(Err(refusal)) = poll!(&mut stalled[1]) else { panic!("the largest is given up") };
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        assert!(poll!(&mut stalled[0]).is_pending());
        drop(stalled);
        assert_eq!(arrivals.bytes.load(Ordering::Relaxed), 0);
    }
}
