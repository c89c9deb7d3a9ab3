//! What every call passes on its way in: is the method served, who is calling, may they, is there room, by when.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Body as HttpBody;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Code, Status};
use tonic_health::server::{HealthReporter, health_reporter};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use crate::arrive::Arrivals;
use crate::auth::kind;
use crate::auth::{Access, Principal, Table, TableError};
use crate::body;
use crate::call::{self, Abandoned, Handlers};
use crate::connection::Connection;
use crate::deadline::{Budgets, Deadline};
use crate::gate::{Gate, Pass, SharedPace, hopeful};
use crate::methods::{Method, Methods, OPEN};
use crate::peer::{Peer, answer};
use crate::places::StreamPlaces;
use crate::reason;
use crate::shed::{crowded_response, shed};
use crate::shutdown::Shutdown;
use crate::status::{DOMAIN, status};
use crate::trace;
use crate::weigh::Shapes;

/// Limits of the door.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a unary call may take when its caller names no deadline.
    pub default_deadline: Duration,
    /// Longer deadlines are cut to this.
    pub max_deadline: Duration,
    /// Calls of one class (reads, writes, calls of our own services) that may run and wait at once; more are refused,
    /// to be sent again. How many of them run follows their latency. Of as many more the message may be on its way.
    pub max_in_flight: usize,
    /// Reads of one connection that run at once, and as many of its streams; more of them wait.
    pub max_reads_per_connection: usize,
    /// Streams that may be open at once; half of them are for our own services.
    pub max_open_streams: usize,
    /// A stream that sent nothing for this long sends an empty message.
    pub stream_heartbeat: Duration,
    /// Whether a caller that names nobody may call everything.
    pub anonymous_allowed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_mins(1),
            max_in_flight: 1024,
            max_reads_per_connection: 4,
            max_open_streams: 20_000,
            stream_heartbeat: Duration::from_secs(20),
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

/// All services of this process behind the checks that each call passes.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
    routes: Routes,
}

struct Inner {
    methods: Methods,
    paces: HashMap<String, Arc<SharedPace>>,
    shapes: Shapes,
    table: Table,
    budgets: Budgets,
    handlers: Handlers,
    arrivals: Arrivals,
    reads: Arc<Gate>,
    writes: Arc<Gate>,
    /// Calls of our own services: a call from outside that was let in must be able to end.
    services: Arc<Gate>,
    streams: StreamPlaces,
    heartbeat: Duration,
    reads_per_connection: usize,
    health: HealthReporter,
    served: Vec<String>,
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
        let methods = declared.only(&served);
        let inner = Inner {
            paces: methods.all().map(|(path, _)| (path.to_owned(), Arc::default())).collect(),
            methods,
            shapes: Shapes::read(offer.descriptors)?,
            table,
            budgets: Budgets { default: limits.default_deadline, max: limits.max_deadline },
            handlers: Handlers::default(),
            arrivals: Arrivals::new(limits.max_in_flight),
            reads: Gate::adaptive(
                "reads",
                limits.max_in_flight,
                Some(limits.max_reads_per_connection.max(1)),
            ),
            writes: Gate::adaptive("writes", limits.max_in_flight, None),
            services: Gate::fixed("services", limits.max_in_flight),
            streams: StreamPlaces::new(limits.max_open_streams),
            heartbeat: limits.stream_heartbeat,
            reads_per_connection: limits.max_reads_per_connection.max(1),
            health,
            served: offer.services.iter().map(|name| (*name).to_owned()).collect(),
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
        for name in self.inner.served.iter().map(String::as_str).chain([""]) {
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

    /// The refusal of a call that would only take the place of another one: before anything is done for it.
    fn crowded(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let path = request.uri().path();
        let method = self.inner.methods.get(path).filter(|method| method.is_unary)?;
        let connection = Connection::of(request.extensions())?;
        let principal = Principal::from_headers(request.headers()).ok()?;
        let gate = self.gate(method, &principal.kind)?;
        gate.is_crowded_by(Some(connection.number)).then(|| {
            count(path, reason::OVERLOADED.code);
            crowded_response()
        })
    }

    async fn pass(self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Some(method) = self.inner.methods.get(&path) else {
            return refused("unknown", &not_served(&path));
        };
        let principal = match self.admit(&path, method, &request) {
            Ok(principal) => principal,
            Err(refusal) => return refused(&path, &refusal),
        };
        trace::pass_on(request.headers_mut());
        let trace = trace::of(request.headers());
        let span = tracing::info_span!("call", method = path, actor = principal.as_str(), trace);
        if let Ok(value) = http::HeaderValue::from_str(&trace) {
            request.headers_mut().insert(trace::TRACEPARENT, value);
        }
        request.extensions_mut().insert(principal.clone());
        let started = Instant::now();
        let call = Call { path: &path, method, principal: &principal };
        let outcome = async {
            if method.is_unary { self.unary(call, request).await } else { self.stream(call, request).await }
        }
        .instrument(span.clone())
        .await;
        let response = match outcome {
            Ok(response) => response,
            Err(refusal) => return refused(&path, &refusal),
        };
        let took = started.elapsed();
        let code = code_of(&response);
        span.in_scope(|| tracing::debug!(?code, took_us = took.as_micros(), "answered"));
        metrics::histogram!("grpc_server_handling_seconds", "method" => path.clone())
            .record(took.as_secs_f64());
        count(&path, code);
        response
    }

    fn admit(&self, path: &str, method: &Method, request: &Request<Body>) -> Result<Principal, Status> {
        let principal = Principal::from_headers(request.headers())?;
        if !method.is_open() {
            self.inner.table.check(path, &principal)?;
        }
        Ok(principal)
    }

    async fn unary(&self, call: Call<'_>, request: Request<Body>) -> Result<Response<Body>, Status> {
        let inner = &self.inner;
        let connection = Connection::of(request.extensions());
        let deadline = Deadline::begin(request.headers(), call.path, inner.budgets)?;
        let Some(pace) = inner.paces.get(call.path) else { return Err(not_served(call.path)) };
        hopeful(pace, deadline)?;
        let request = self.whole(&call, request, connection.as_deref(), deadline).await?;
        let size = HttpBody::size_hint(request.body()).exact().unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        // a call of our own services belongs to one from outside that was let in already
        let outside = connection.as_ref().filter(|_| call.principal.kind != kind::SERVICE);
        let queued = outside.map(|connection| inner.arrivals.queue(size, connection.number)).transpose()?;
        let pass = self.enter(&call, pace, connection.as_deref(), deadline).await?;
        drop(queued);
        served(&call, connection.as_deref());
        let abandoned = if call.method.is_read { Abandoned::Ends } else { Abandoned::GoesOn };
        let (routes, pace) = (self.routes.clone(), Arc::clone(pace));
        let serve = |request| holding(pass, (pace, deadline), answer(routes, request));
        Ok(call::unary(&inner.handlers, deadline, abandoned, request, serve).await)
    }

    /// Where the call gets its place; none is needed for those that must answer when nothing else does.
    fn gate(&self, method: &Method, caller: &str) -> Option<&Arc<Gate>> {
        let inner = &self.inner;
        if method.is_open() {
            None
        } else if caller == kind::SERVICE {
            Some(&inner.services)
        } else if method.is_read {
            Some(&inner.reads)
        } else {
            Some(&inner.writes)
        }
    }

    /// A place for the call.
    async fn enter(
        &self,
        call: &Call<'_>,
        pace: &SharedPace,
        connection: Option<&Connection>,
        deadline: Deadline,
    ) -> Result<Option<Pass>, Status> {
        let Some(gate) = self.gate(call.method, &call.principal.kind) else { return Ok(None) };
        let connection = connection.filter(|_| call.principal.kind != kind::SERVICE);
        let Some(connection) = connection else { return gate.enter(pace, None, deadline).await.map(Some) };
        loop {
            if tokio::time::timeout_at(deadline.at(), connection.unread.has_room()).await.is_err() {
                return Err(shed(
                    "UNREAD",
                    "too many answers of this connection are unread; read them first",
                ));
            }
            let pass = gate.enter(pace, Some(connection.number), deadline).await?;
            if !connection.unread.is_full() {
                return Ok(Some(pass));
            }
        }
    }

    async fn stream(&self, call: Call<'_>, request: Request<Body>) -> Result<Response<Body>, Status> {
        let inner = &self.inner;
        let connection = Connection::of(request.extensions());
        let mut request = if call.method.is_asked_once {
            let deadline = Deadline::after(inner.budgets.default);
            self.whole(&call, request, connection.as_deref(), deadline).await?
        } else {
            request.map(|body| inner.shapes.each_weighed(&call.method.input, body))
        };
        let Some(place) = inner.streams.enter(call.principal) else {
            return Err(shed("STREAMS", "too many open streams; close some, or open this one later"));
        };
        served(&call, connection.as_deref());
        let routes = self.routes.clone();
        if let Some(connection) = connection {
            request.extensions_mut().insert(connection.reads(inner.reads_per_connection));
        }
        let response = call::streaming(&inner.handlers, request, |request| answer(routes, request)).await;
        // an empty message of health or reflection would mean something
        let heartbeat = (!call.method.is_open()).then_some(inner.heartbeat);
        Ok(response.map(|source| body::stream(source, &inner.shutdown, heartbeat, place)))
    }

    /// The request once its one message is there, weighed.
    async fn whole(
        &self,
        call: &Call<'_>,
        request: Request<Body>,
        connection: Option<&Connection>,
        deadline: Deadline,
    ) -> Result<Request<Body>, Status> {
        let (head, body) = request.into_parts();
        let message = self.inner.arrivals.whole(body, connection, deadline).await?;
        let message = self.inner.shapes.weighed(&call.method.input, message)?;
        Ok(Request::from_parts(head, body::of(message)))
    }
}

/// What is known of a call before its message.
#[derive(Clone, Copy)]
struct Call<'a> {
    path: &'a str,
    method: &'a Method,
    principal: &'a Principal,
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(refusal) = self.crowded(&request) {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
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

/// Keeps the place until the handler ends, which may be after its caller left.
async fn holding(
    mut place: Option<Pass>,
    (pace, deadline): (Arc<SharedPace>, Deadline),
    work: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let _running = Running::begin();
    if let Some(place) = &mut place {
        place.begin(pace, deadline);
    }
    work.await
}

/// The connection is used. Health and reflection do not count: they cost nothing and would keep a place among the
/// connections for long.
fn served(call: &Call<'_>, connection: Option<&Connection>) {
    if let Some(connection) = connection.filter(|_| !call.method.is_open()) {
        connection.served();
    }
}

/// One call that runs; it stops counting also when its handler panics or is ended.
struct Running(metrics::Gauge);

impl Running {
    fn begin() -> Self {
        let gauge = metrics::gauge!("grpc_server_in_flight");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn not_served(path: &str) -> Status {
    let facts = [("method".to_owned(), path.chars().take(200).collect())];
    status(reason::METHOD_NOT_SERVED, DOMAIN, "this server does not serve that method".to_owned(), facts)
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
