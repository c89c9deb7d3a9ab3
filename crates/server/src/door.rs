//! What every call passes on its way in: is the method served, who is calling, may they, is there room, by when.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Code, Status};
use tonic_health::server::{HealthReporter, health_reporter};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use crate::arrive::Arrivals;
use crate::auth::{Access, Principal, Table, TableError};
use crate::body;
use crate::call::{self, Abandoned, Budgets, Deadline, Handlers};
use crate::methods::Methods;
use crate::peer::{Peer, answer};
use crate::shutdown::Shutdown;
use crate::status::{DOMAIN, exhausted, status};
use crate::trace;

/// Limits of the door.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a unary call may take when its caller names no deadline.
    pub default_deadline: Duration,
    /// Longer deadlines are cut to this.
    pub max_deadline: Duration,
    /// Calls that may run at once; more are refused at once, to be retried. Of as many more the message may be on
    /// its way.
    pub max_in_flight: usize,
    /// Streams that may be open at once.
    pub max_open_streams: usize,
    /// Whether a caller that names nobody may call everything.
    pub anonymous_allowed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_mins(1),
            max_in_flight: 1024,
            max_open_streams: 20_000,
            anonymous_allowed: true,
        }
    }
}

/// What a process serves.
pub struct Offer<'a> {
    /// The generated servers.
    pub routes: RoutesBuilder,
    /// Their full names, `entrepot.orders.v1.OrdersService`.
    pub services: &'a [&'a str],
    /// The encoded descriptor sets that declare them.
    pub descriptors: &'a [&'static [u8]],
    /// The rows of the role table, one for each of their methods.
    pub access: Vec<Access>,
}

/// Why a door cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The role table does not fit the methods.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A descriptor set cannot be read.
    #[error("a descriptor set cannot be read: {0}")]
    Descriptors(#[from] prost::DecodeError),
    /// Reflection refuses the descriptors.
    #[error("reflection cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A service is named that no descriptor declares.
    #[error("no descriptor declares the service {0}")]
    Service(String),
}

/// Open to everyone, with no row in the role table.
const OPEN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// All services of this process behind the checks that each call passes.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
    routes: Routes,
}

struct Inner {
    methods: Methods,
    table: Table,
    budgets: Budgets,
    handlers: Handlers,
    arrivals: Arrivals,
    in_flight: Arc<Semaphore>,
    open_streams: Arc<Semaphore>,
    health: HealthReporter,
    services: Vec<String>,
    shutdown: Shutdown,
}

impl Door {
    /// Builds the door, with health and reflection (v1 and v1alpha) beside the services. Streams end when
    /// `shutdown` begins. Health says `NOT_SERVING` until [`Door::set_serving`].
    pub fn new(offer: Offer<'_>, limits: &Limits, shutdown: Shutdown) -> Result<Self, Error> {
        let mut known = offer.descriptors.to_vec();
        known.push(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let mut sets = known.clone();
        sets.push(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET);
        sets.push(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        let declared = Methods::read(&sets)?;
        if let Some(name) =
            offer.services.iter().find(|name| !declared.all().any(|(_, m)| m.service == **name))
        {
            return Err(Error::Service((*name).to_owned()));
        }
        let served: Vec<&str> = offer.services.iter().copied().chain(OPEN).collect();
        let table = Table::new(offer.access, &declared, offer.services, limits.anonymous_allowed)?;
        let (health, health_service) = health_reporter();
        let mut routes = offer.routes;
        routes.add_service(crate::limited!(health_service));
        add_reflection(&mut routes, &known, &served)?;
        let inner = Inner {
            methods: declared.only(&served),
            table,
            budgets: Budgets { default: limits.default_deadline, max: limits.max_deadline },
            handlers: Handlers::default(),
            arrivals: Arrivals::new(limits.max_in_flight),
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            open_streams: Arc::new(Semaphore::new(limits.max_open_streams)),
            health,
            services: offer.services.iter().map(|name| (*name).to_owned()).collect(),
            shutdown,
        };
        Ok(Self { inner: Arc::new(inner), routes: routes.routes().prepare() })
    }

    /// All services as a peer in this process, with the same checks as over the network.
    pub fn peer(&self) -> Peer {
        BoxCloneSyncService::new(self.clone().map_err(|never: Infallible| -> Status { match never {} }))
    }

    /// What the health service says of the process (the empty name) and of each service.
    pub async fn set_serving(&self, is_serving: bool) {
        use tonic_health::ServingStatus::{NotServing, Serving};
        let status = if is_serving { Serving } else { NotServing };
        for name in self.inner.services.iter().map(String::as_str).chain([""]) {
            self.inner.health.set_service_status(name, status).await;
        }
    }

    /// How many handlers run now.
    pub fn running(&self) -> usize {
        self.inner.handlers.running()
    }

    /// Waits until no handler runs.
    pub async fn drained(&self) {
        self.inner.handlers.drained().await;
    }

    /// Ends the handlers that still run: the hard limit of a shutdown.
    pub fn abort(&self) {
        self.inner.handlers.abort();
    }

    async fn pass(self, mut request: Request<Body>) -> Response<Body> {
        if !is_grpc(&request) {
            return not_grpc();
        }
        let path = request.uri().path().to_owned();
        let Some(method) = self.inner.methods.get(&path) else {
            return refused("unknown", &not_served(&path));
        };
        let (is_unary, is_asked_once, is_read) = (method.is_unary, method.is_asked_once, method.is_read);
        let principal = match self.admit(&path, &method.service, &request) {
            Ok(principal) => principal,
            Err(refusal) => return refused(&path, &refusal),
        };
        trace::pass_on(request.headers_mut());
        let trace = trace::of(request.headers());
        let span = tracing::info_span!("call", method = path, actor = principal.as_str(), trace);
        if let Ok(value) = http::HeaderValue::from_str(&trace) {
            request.headers_mut().insert(trace::TRACEPARENT, value);
        }
        request.extensions_mut().insert(principal);
        let started = Instant::now();
        let response = async {
            if is_unary {
                self.unary(request, is_read).await
            } else {
                self.stream(request, is_asked_once).await
            }
        }
        .instrument(span.clone())
        .await;
        let took = started.elapsed();
        let code = code_of(&response);
        span.in_scope(|| tracing::debug!(?code, took_us = took.as_micros(), "answered"));
        metrics::histogram!("grpc_server_handling_seconds", "method" => path.clone())
            .record(took.as_secs_f64());
        count(&path, code);
        response
    }

    fn admit(&self, path: &str, service: &str, request: &Request<Body>) -> Result<Principal, Status> {
        let principal = Principal::from_headers(request.headers())?;
        if !OPEN.contains(&service) {
            self.inner.table.check(path, &principal)?;
        }
        Ok(principal)
    }

    async fn unary(self, request: Request<Body>, is_read: bool) -> Response<Body> {
        let Self { inner, routes } = self;
        let abandoned = if is_read { Abandoned::Ends } else { Abandoned::GoesOn };
        let places = Arc::clone(&inner.in_flight);
        let serve = |request| async move {
            match place(&places) {
                Some(place) => holding(place, answer(routes, request)).await,
                None => full("CALLS", "too many calls at once").into_http(),
            }
        };
        let care = (&inner.handlers, Some(&inner.arrivals));
        call::unary(care, inner.budgets, abandoned, request, serve).await
    }

    async fn stream(self, request: Request<Body>, is_asked_once: bool) -> Response<Body> {
        let Self { inner, routes } = self;
        let request = if is_asked_once {
            match call::arrived(&inner.arrivals, request, Deadline::after(inner.budgets.default)).await {
                Ok(request) => request,
                Err(refusal) => return refusal.into_http(),
            }
        } else {
            request
        };
        let Some(place) = place(&inner.open_streams) else {
            return full("STREAMS", "too many open streams").into_http();
        };
        let response = call::streaming(&inner.handlers, request, |request| answer(routes, request)).await;
        response.map(|source| body::stream(source, &inner.shutdown, place))
    }
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.pass(request).await) })
    }
}

fn add_reflection(routes: &mut RoutesBuilder, known: &[&'static [u8]], served: &[&str]) -> Result<(), Error> {
    let configured = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        for set in known {
            builder = builder.register_encoded_file_descriptor_set(set);
        }
        served.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    routes.add_service(crate::limited!(configured().build_v1()?));
    routes.add_service(crate::limited!(configured().build_v1alpha()?));
    Ok(())
}

fn place(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).try_acquire_owned().ok()
}

/// Keeps the place until the handler ends, which may be after its caller left.
async fn holding(place: OwnedSemaphorePermit, work: impl Future<Output = Response<Body>>) -> Response<Body> {
    let _running = Running::begin(place);
    work.await
}

/// One call that runs; it stops counting also when its handler panics or is ended.
struct Running {
    gauge: metrics::Gauge,
    _place: OwnedSemaphorePermit,
}

impl Running {
    fn begin(place: OwnedSemaphorePermit) -> Self {
        let gauge = metrics::gauge!("grpc_server_in_flight");
        gauge.increment(1.0);
        Self { gauge, _place: place }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    request.method() == http::Method::POST && kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn not_grpc() -> Response<Body> {
    let text = "this port speaks gRPC and gRPC-Web: POST with content-type application/grpc or application/grpc-web\n";
    let mut response = Response::new(body::boxed(http_body_util::Full::from(text)));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn not_served(path: &str) -> Status {
    let facts = [("method".to_owned(), path.chars().take(200).collect())];
    status(
        Code::Unimplemented,
        "METHOD_NOT_SERVED",
        DOMAIN,
        "this server does not serve that method".to_owned(),
        facts,
    )
}

fn full(what: &'static str, text: &str) -> Status {
    metrics::counter!("grpc_server_shed_total", "limit" => what).increment(1);
    exhausted(DOMAIN, "OVERLOADED", Duration::from_millis(200), text)
}

fn refused(path: &str, refusal: &Status) -> Response<Body> {
    count(path, refusal.code());
    refusal.clone().into_http()
}

fn count(path: &str, code: Code) {
    let code = format!("{code:?}");
    metrics::counter!("grpc_server_handled_total", "method" => path.to_owned(), "code" => code).increment(1);
}

/// Errors of a handler come in the headers; an answer without a status there is one with a body.
fn code_of(response: &Response<Body>) -> Code {
    let status = response.headers().get("grpc-status");
    status.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}
