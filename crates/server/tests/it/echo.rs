//! A small service to stand behind the door, and a client for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use server::{Access, Door, Peer, Principal, Shutdown, door};
use tonic::body::Body;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

pub(crate) const SAY: &str = "/test.v1.EchoService/Say";
pub(crate) const WATCH: &str = "/test.v1.EchoService/Watch";
pub(crate) const SERVICE: &str = "test.v1.EchoService";
pub(crate) const ACCESS: [Access; 2] =
    [Access::to(SAY, &["store", "service"]), Access::to(WATCH, &["store"])];

/// Answers by the text it is sent.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    /// Asked by `ask:<text>`.
    pub(crate) next: Option<Peer>,
    pub(crate) finished: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }

    async fn say(self, request: Request<String>) -> Result<Response<String>, Status> {
        let actor = Principal::of(&request);
        let left = server::Deadline::of(&request).map(|deadline| deadline.left());
        let text = request.into_inner();
        if let Some(ms) = text.strip_prefix("sleep:") {
            tokio::time::sleep(Duration::from_millis(ms.parse().unwrap())).await;
            self.finished.fetch_add(1, Ordering::SeqCst);
        }
        if let (Some(next), Some(asked)) = (&self.next, text.strip_prefix("ask:")) {
            return Ok(Response::new(say(next, asked).await?));
        }
        match text.as_str() {
            "panic" => panic!("a handler that panics"),
            "who" => Ok(Response::new(actor.as_str().to_owned())),
            "trace" => Ok(Response::new(server::trace::current().unwrap_or_default())),
            "left" => Ok(Response::new(left.unwrap().as_millis().to_string())),
            "refuse" => Err(server::status(
                Code::FailedPrecondition,
                "NO_STOCK",
                "test.entrepot",
                "no stock".to_owned(),
                [("sku".to_owned(), "A".to_owned())],
            )),
            "bare" => Err(Status::not_found("nothing here")),
            _ => Ok(Response::new(text)),
        }
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
                SAY => grpc.unary(Say(echo), request).await,
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
        let first = futures_util::stream::iter([Ok(request.into_inner())]);
        let endless = first.chain(futures_util::stream::pending());
        Box::pin(async move { Ok(Response::new(endless.boxed())) })
    }
}

pub(crate) fn descriptors() -> &'static [u8] {
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
            method: vec![method("Say", false), method("Watch", true)],
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

pub(crate) async fn say(peer: &Peer, text: &str) -> Result<String, Status> {
    send(peer, Request::new(text.to_owned())).await
}

pub(crate) async fn send(peer: &Peer, request: Request<String>) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(peer.clone());
    client.ready().await?;
    let path = PathAndQuery::from_static(SAY);
    let answer = client.unary(request, path, ProstCodec::<String, String>::default()).await?;
    Ok(answer.into_inner())
}

pub(crate) async fn watch(peer: &Peer, text: &str) -> Result<Streaming<String>, Status> {
    let mut client = tonic::client::Grpc::new(peer.clone());
    client.ready().await?;
    let path = PathAndQuery::from_static(WATCH);
    let codec = ProstCodec::<String, String>::default();
    let answer = client.server_streaming(Request::new(text.to_owned()), path, codec).await?;
    Ok(answer.into_inner())
}
