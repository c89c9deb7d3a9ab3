//! A small service to stand behind the door, and a client for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
};
use server::{Access, Door, Peer, Principal, Reason, Shutdown, door};
use tokio::sync::{Notify, Semaphore};
use tonic::body::Body;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

pub(crate) const SAY: &str = "/test.v1.EchoService/Say";
pub(crate) const WATCH: &str = "/test.v1.EchoService/Watch";
pub(crate) const SERVICE: &str = "test.v1.EchoService";

const NO_STOCK: Reason =
    Reason { name: "NO_STOCK", code: Code::FailedPrecondition, ..server::reason::CALLER_NOT_ALLOWED };

/// Does what [`SAY`] does, and promises to change nothing.
pub(crate) const LOOK: &str = "/test.v1.EchoService/Look";
pub(crate) const ACCESS: [Access; 3] = [
    Access::to(SAY, &["store", "service"]),
    Access::to(LOOK, &["store", "service"]),
    Access::to(WATCH, &["store", "service"]),
];

/// Answers by the text it is sent.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    /// Asked by `ask:<text>`.
    pub(crate) next: Option<Peer>,
    /// How many calls of `wait` have begun, and finished.
    pub(crate) waits: Arc<(AtomicUsize, AtomicUsize)>,
    /// What they wait for.
    pub(crate) gate: Arc<Gate>,
    /// Notified when a call for `ever` begins, and when its handler is gone.
    pub(crate) ever: Arc<(Notify, Notify)>,
}

/// Tells when it is dropped.
struct Gone(Arc<(Notify, Notify)>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.1.notify_one();
    }
}

pub(crate) struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Echo {
    /// How many calls of `wait` have come.
    pub(crate) fn begun(&self) -> usize {
        self.waits.0.load(Ordering::SeqCst)
    }

    /// How many of them came to their end.
    pub(crate) fn finished(&self) -> usize {
        self.waits.1.load(Ordering::SeqCst)
    }

    /// Lets every call of `wait` go on.
    pub(crate) fn open(&self) {
        self.gate.0.close();
    }

    async fn say(self, request: Request<String>) -> Result<Response<String>, Status> {
        let actor = Principal::of(&request);
        let left = server::Deadline::of(&request).map(|deadline| deadline.left());
        let text = request.into_inner();
        if text == "wait" {
            self.waits.0.fetch_add(1, Ordering::SeqCst);
            // an error says that the gate is open
            let _ = self.gate.0.acquire().await;
            self.waits.1.fetch_add(1, Ordering::SeqCst);
        }
        if let (Some(next), Some(asked)) = (&self.next, text.strip_prefix("ask:")) {
            return Ok(Response::new(say(next, asked).await?));
        }
        match text.as_str() {
            "ever" => {
                let _gone = Gone(Arc::clone(&self.ever));
                self.ever.0.notify_one();
                std::future::pending().await
            }
            "panic" => panic!("a handler that panics"),
            "who" => Ok(Response::new(actor.as_str().to_owned())),
            "trace" => Ok(Response::new(server::trace::current().unwrap_or_default())),
            "left" => Ok(Response::new(left.unwrap().as_millis().to_string())),
            "refuse" => Err(server::status(
                NO_STOCK,
                "test.entrepot",
                "no stock".to_owned(),
                [("sku".to_owned(), "A".to_owned())],
            )),
            "slow" => {
                tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(300)).await;
                Ok(Response::new(text))
            }
            big if big.starts_with("big:") => Ok(Response::new(large(big))),
            "bare" => Err(Status::not_found("nothing here")),
            _ => Ok(Response::new(text)),
        }
    }
}

/// What `big:<bytes>` asks for; anything else is itself.
fn large(text: &str) -> String {
    match text.strip_prefix("big:") {
        Some(bytes) => "x".repeat(bytes.parse().unwrap()),
        None => text.to_owned(),
    }
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(server::MESSAGE_LIMIT);
            Ok(match request.uri().path() {
                SAY | LOOK => grpc.unary(Say(echo), request).await,
                WATCH => grpc.server_streaming(Watch, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

struct Say(Echo);

impl tonic::server::UnaryService<String> for Say {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(self.0.clone().say(request))
    }
}

struct Watch;

impl tonic::server::ServerStreamingService<String> for Watch {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let turns = request.extensions().get::<server::StreamReads>();
        let text = match (request.get_ref().as_str(), turns) {
            ("turns", turns) => format!("{:?}", turns.map(|turns| turns.0.available_permits())),
            ("a turn", Some(turns)) => {
                turns.0.try_acquire().expect("no turn is left").forget();
                String::new()
            }
            (text, _) => large(text),
        };
        let first = futures_util::stream::iter([Ok(text)]);
        let endless = first.chain(futures_util::stream::pending());
        Box::pin(async move { Ok(Response::new(endless.boxed())) })
    }
}

pub(crate) fn descriptors() -> &'static [u8] {
    let changes_nothing = MethodOptions {
        idempotency_level: Some(IdempotencyLevel::NoSideEffects.into()),
        ..MethodOptions::default()
    };
    let method = |name: &str, streams: bool| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".google.protobuf.StringValue".to_owned()),
        output_type: Some(".google.protobuf.StringValue".to_owned()),
        server_streaming: Some(streams),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test/v1/echo.proto".to_owned()),
        package: Some("test.v1".to_owned()),
        service: vec![ServiceDescriptorProto {
            name: Some("EchoService".to_owned()),
            method: vec![
                method("Say", false),
                MethodDescriptorProto { options: Some(changes_nothing), ..method("Look", false) },
                method("Watch", true),
            ],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec().leak()
}

pub(crate) fn door(echo: &Echo, limits: &door::Limits, shutdown: &Shutdown) -> Door {
    let mut routes = tonic::service::RoutesBuilder::default();
    routes.add_service(echo.clone());
    let offer =
        door::Offer { routes, services: &[SERVICE], descriptors: &[descriptors()], access: ACCESS.to_vec() };
    Door::new(offer, limits, shutdown.clone()).unwrap()
}

/// Waits until `ready` says so.
pub(crate) async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready().await {
        assert!(Instant::now() < deadline, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn say(peer: &Peer, text: &str) -> Result<String, Status> {
    send(peer, Request::new(text.to_owned())).await
}

pub(crate) async fn send(peer: &Peer, request: Request<String>) -> Result<String, Status> {
    ask(peer, SAY, request).await
}

pub(crate) async fn ask(peer: &Peer, path: &'static str, request: Request<String>) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(peer.clone());
    client.ready().await?;
    let path = PathAndQuery::from_static(path);
    let answer = client.unary(request, path, ProstCodec::<String, String>::default()).await?;
    Ok(answer.into_inner())
}

pub(crate) async fn watch(peer: &Peer, text: &str) -> Result<Streaming<String>, Status> {
    watch_as(peer, "store/SH-001", text).await
}

pub(crate) async fn watch_as(peer: &Peer, actor: &str, text: &str) -> Result<Streaming<String>, Status> {
    let mut request = Request::new(text.to_owned());
    request.metadata_mut().insert(server::auth::ACTOR, actor.parse().unwrap());
    let mut client = tonic::client::Grpc::new(peer.clone());
    client.ready().await?;
    let path = PathAndQuery::from_static(WATCH);
    let codec = ProstCodec::<String, String>::default();
    let answer = client.server_streaming(request, path, codec).await?;
    Ok(answer.into_inner())
}
