//! Another service: in this process or over the wire, one type.
//!
//! Generated clients are built on it: `OrdersServiceClient::new(peer)`. Both kinds behave alike: the caller is
//! named by metadata, a call has a deadline, an abandoned call still runs to its end, errors keep their details.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::poll;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};

use crate::auth::{ACTOR, Principal};
use crate::body::{boxed, of};
use crate::breaker::{Breaker, PAUSE};
use crate::call::{self, Abandoned, Handlers};
use crate::deadline::{Budgets, Deadline};
use crate::status::unreachable_peer;
use crate::trace;

/// How much longer than the deadline a peer that does not answer is waited for.
const GRACE: Duration = Duration::from_millis(250);

/// Set on the answer to a call that was sent twice, see [`was_resent`].
pub const RESENT: &str = "x-entrepot-resent";

/// Whether a refused call was sent twice because its first connection broke. What became of the first sending is unknown,
/// so the refusal of the second one does not say that nothing happened.
pub fn was_resent(refusal: &Status) -> bool {
    refusal.metadata().contains_key(RESENT)
}

/// A service that generated clients can call. Its error is a named type, not a box: with a boxed one the futures of
/// generated clients cannot be spawned.
pub type Peer = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// How long a call to a peer may take when its caller names no deadline.
const BUDGETS: Budgets = Budgets { default: Duration::from_secs(10), max: Duration::from_mins(1) };

/// A peer in this process: the generated server itself.
pub fn local<S>(server: S) -> Peer
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let handlers = Handlers::default();
    BoxCloneSyncService::new(tower::service_fn(move |mut request: Request<Body>| {
        let server = server.clone();
        let handlers = handlers.clone();
        async move {
            let principal = match Principal::from_headers(request.headers()) {
                Ok(principal) => principal,
                Err(refusal) => return Ok(refusal.into_http()),
            };
            request.extensions_mut().insert(principal);
            trace::pass_on(request.headers_mut());
            let deadline = match Deadline::begin(request.headers(), request.uri().path(), BUDGETS) {
                Ok(deadline) => deadline,
                Err(refusal) => return Ok(refusal.into_http()),
            };
            // nothing to wait for: what a caller in this process sends is there, and may be a stream
            let serve = |request| answer(server, request);
            Ok::<_, Status>(call::unary(&handlers, deadline, Abandoned::GoesOn, request, serve).await)
        }
    }))
}

/// The answer of a server that cannot fail.
pub(crate) async fn answer<S>(server: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match server.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A connection on which nothing came for this long is asked for a sign of life, also while no call waits.
    pub keepalive_interval: Duration,
    /// Without one within this it is given up.
    pub keepalive_timeout: Duration,
    /// How long a new connection may take.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

/// A peer at `uri` (`http://host:port`). It connects on the first call and again after each break. Its answers name
/// it by host and port when it is away.
pub fn remote(uri: &str) -> Result<Peer, InvalidUri> {
    let parsed = parse(uri)?;
    let name = parsed.authority().map(ToString::to_string).unwrap_or_default();
    Ok(connect(parsed, &name, Options::default()))
}

/// The peer `name` at `uri`: a service that callers of ours know by its name, not by where it is.
pub fn remote_named(name: &str, uri: &str, options: Options) -> Result<Peer, InvalidUri> {
    Ok(connect(parse(uri)?, name, options))
}

fn parse(uri: &str) -> Result<Uri, InvalidUri> {
    let parsed = uri.parse().ok();
    let is_peer = |uri: &Uri| uri.scheme_str() == Some("http") && uri.authority().is_some();
    parsed.filter(is_peer).ok_or_else(|| InvalidUri(uri.to_owned()))
}

fn connect(parsed: Uri, name: &str, options: Options) -> Peer {
    let channel = Endpoint::from(parsed)
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .connect_lazy();
    BoxCloneSyncService::new(Remote { channel, name: name.into(), breaker: Breaker::default() })
}

/// Why an address cannot be a peer's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the address of a peer; expected http://host:port")]
pub struct InvalidUri(String);

/// A channel whose calls have a deadline that the other side can see.
///
/// A call whose connection broke (the peer said GOAWAY, or a keep-alive found it silent) is sent once more on a new
/// one: what our services ask of each other has the same effect twice as once. While the peer cannot be reached, calls
/// fail at once.
#[derive(Clone)]
struct Remote {
    channel: Channel,
    /// What the peer is called when it is away.
    name: Arc<str>,
    breaker: Breaker,
}

impl Service<Request<Body>> for Remote {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(cx).map_err(|error| unreachable(&self.name, error))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let deadline = match Deadline::begin(request.headers(), &path, BUDGETS) {
            Ok(deadline) => deadline,
            Err(refusal) => return Box::pin(async move { Ok(refusal.into_http()) }),
        };
        trace::pass_on(request.headers_mut());
        // the clone was not asked whether it is ready: the one that was makes the first call
        let channel = self.channel.clone();
        let ready = std::mem::replace(&mut self.channel, channel.clone());
        let (name, breaker) = (Arc::clone(&self.name), self.breaker.clone());
        Box::pin(async move {
            let Some(leave) = breaker.leave(Instant::now()) else {
                let why = "earlier calls could not connect; one call a second tries again";
                return Err(unreachable_peer(&name, PAUSE, why));
            };
            let (first, copy) = doubled(request).await;
            let outcome = match ask(ready, first, deadline).await {
                Err(Failure::Broken(_)) if let Some(copy) = copy => {
                    ask(channel, copy, deadline).await.map(|mut answer| {
                        answer.headers_mut().insert(RESENT, HeaderValue::from_static("1"));
                        answer
                    })
                }
                outcome => outcome,
            };
            match outcome {
                Ok(answer) => {
                    leave.answered();
                    Ok(answer)
                }
                Err(Failure::Late) => Ok(deadline.passed(&path).into_http()),
                Err(Failure::Broken(error)) => {
                    leave.unreachable(Instant::now());
                    Err(unreachable(&name, error))
                }
            }
        })
    }
}

/// Why there is no answer.
enum Failure {
    Late,
    Broken(tonic::transport::Error),
}

async fn ask(
    channel: Channel,
    mut request: Request<Body>,
    deadline: Deadline,
) -> Result<Response<Body>, Failure> {
    let left = deadline.left();
    let timeout = HeaderValue::from_str(&format!("{}m", left.as_millis()));
    let Some(timeout) = timeout.ok().filter(|_| left.as_millis() > 0) else { return Err(Failure::Late) };
    request.headers_mut().insert("grpc-timeout", timeout);
    // the peer answers at the deadline itself; this is for one that is frozen or cut off
    match tokio::time::timeout_at(deadline.at() + GRACE, channel.oneshot(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        // the channel watches the deadline too
        Ok(Err(_)) | Err(_) if deadline.left().is_zero() => Err(Failure::Late),
        Ok(Err(error)) => Err(Failure::Broken(error)),
        Err(_) => Err(Failure::Late),
    }
}

/// Requests up to this many bytes can be sent twice.
const MOST_DOUBLED: usize = 2 * crate::MESSAGE_LIMIT;

/// The request, and a copy of it if all of it is there: of a stream of requests there is none.
async fn doubled(request: Request<Body>) -> (Request<Body>, Option<Request<Body>>) {
    let (head, mut body) = request.into_parts();
    let mut sent = BytesMut::new();
    while sent.len() <= MOST_DOUBLED {
        match poll!(body.frame()) {
            Poll::Ready(Some(Ok(frame))) => sent.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Poll::Ready(None) => {
                let sent = sent.freeze();
                let copy = Request::from_parts(head.clone(), of(sent.clone()));
                return (Request::from_parts(head, of(sent)), Some(copy));
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => break,
        }
    }
    (Request::from_parts(head, begun(sent.freeze(), body)), None)
}

/// A body of which a part was taken out already.
fn begun(sent: Bytes, rest: Body) -> Body {
    let first = stream::iter([Ok(Frame::data(sent))]);
    boxed(StreamBody::new(first.chain(BodyStream::new(rest))))
}

/// What the transport said of a call to the peer `name`.
fn unreachable(name: &str, error: tonic::transport::Error) -> Status {
    unreachable_peer(name, Duration::from_millis(500), Status::from_error(error.into()).message())
}

/// The same peer, called in the name of `principal` wherever the request names nobody.
pub fn acting(peer: Peer, principal: &Principal) -> Peer {
    let actor = HeaderValue::from_str(principal.as_str()).ok();
    BoxCloneSyncService::new(peer.map_request(move |mut request: Request<Body>| {
        if let Some(actor) = &actor
            && !request.headers().contains_key(ACTOR)
        {
            request.headers_mut().insert(ACTOR, actor.clone());
        }
        request
    }))
}
