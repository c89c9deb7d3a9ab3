//! Another service: in this process or over the wire, one type.
//!
//! Generated clients are built on it: `OrdersServiceClient::new(peer)`. Both kinds behave alike: the caller is
//! named by metadata, a call has a deadline, an abandoned call still runs to its end, errors keep their details.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};

use crate::auth::{ACTOR, Principal};
use crate::call::{self, Abandoned, Budgets, Handlers};
use crate::status::{DOMAIN, status, unreachable_peer};
use crate::trace;

/// How much longer than the deadline a peer that does not answer is waited for.
const GRACE: Duration = Duration::from_millis(250);

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
            // nothing to wait for: what a caller in this process sends is there, and may be a stream
            let serve = |request| answer(server, request);
            let answer = call::unary((&handlers, None), BUDGETS, Abandoned::GoesOn, request, serve).await;
            Ok::<_, Status>(answer)
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

/// A peer at `uri` (`http://host:port`). It connects on the first call and again after each break. Its answers name
/// it by host and port when it is away.
pub fn remote(uri: &str) -> Result<Peer, InvalidUri> {
    let parsed = parse(uri)?;
    let name = parsed.authority().map(ToString::to_string).unwrap_or_default();
    Ok(connect(parsed, &name))
}

/// The peer `name` at `uri`: a service that callers of ours know by its name, not by where it is.
pub fn remote_named(name: &str, uri: &str) -> Result<Peer, InvalidUri> {
    Ok(connect(parse(uri)?, name))
}

fn parse(uri: &str) -> Result<Uri, InvalidUri> {
    let parsed = uri.parse().ok();
    let is_peer = |uri: &Uri| uri.scheme_str() == Some("http") && uri.authority().is_some();
    parsed.filter(is_peer).ok_or_else(|| InvalidUri(uri.to_owned()))
}

fn connect(parsed: Uri, name: &str) -> Peer {
    let channel = Endpoint::from(parsed)
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .connect_lazy();
    BoxCloneSyncService::new(Remote { channel, name: name.into() })
}

/// Why an address cannot be a peer's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the address of a peer; expected http://host:port")]
pub struct InvalidUri(String);

/// A channel whose calls have a deadline that the other side can see.
#[derive(Clone)]
struct Remote {
    channel: Channel,
    /// What the peer is called when it is away.
    name: Arc<str>,
}

impl Service<Request<Body>> for Remote {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(cx).map_err(|error| failed(&self.name, error))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let budget = match call::timeout(request.headers()) {
            Ok(named) => call::within(named.unwrap_or(BUDGETS.default).min(BUDGETS.max)),
            Err(refusal) => return Box::pin(async move { Ok(refusal.into_http()) }),
        };
        let method = request.uri().path().to_owned();
        let millis = HeaderValue::from_str(&format!("{}m", budget.as_millis()));
        let Some(timeout) = millis.ok().filter(|_| !budget.is_zero()) else {
            return Box::pin(async move { Ok(call::too_late(&method, budget).into_http()) });
        };
        request.headers_mut().insert("grpc-timeout", timeout);
        trace::pass_on(request.headers_mut());
        let name = Arc::clone(&self.name);
        let answer = self.channel.call(request);
        Box::pin(async move {
            // the peer answers at the deadline itself; this is for one that is frozen or cut off
            match tokio::time::timeout(budget + GRACE, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => match failed(&name, error) {
                    // the channel watches the deadline too, and calls its passing a cancellation
                    late if late.code() == Code::Cancelled => Ok(call::too_late(&method, budget).into_http()),
                    other => Err(other),
                },
                Err(_) => Ok(call::too_late(&method, budget).into_http()),
            }
        })
    }
}

/// What the transport said of a call to the peer `name`.
fn failed(name: &str, error: tonic::transport::Error) -> Status {
    let bare = Status::from_error(error.into());
    match bare.code() {
        Code::Unavailable | Code::Unknown => {
            unreachable_peer(name, Duration::from_millis(500), bare.message())
        }
        code => {
            let facts = [("peer".to_owned(), name.to_owned())];
            status(code, "PEER_FAILED", DOMAIN, format!("{name}: {}", bare.message()), facts)
        }
    }
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
