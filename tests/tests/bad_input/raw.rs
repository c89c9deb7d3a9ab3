//! Calls as no client of ours would make them: any path, any header, any bytes.

use std::future::poll_fn;

use bytes::{BufMut as _, Bytes, BytesMut};
use flows::world::World;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A connection to a world.
pub(super) fn channel(world: &World) -> Channel {
    Endpoint::from_shared(world.platform.address()).expect("an address").connect_lazy()
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP.
    pub(super) http: StatusCode,
    /// gRPC; none when the answer was none of gRPC.
    pub(super) status: Option<Status>,
}

impl Answer {
    /// The code, and the reason in its `ErrorInfo`.
    pub(super) fn code(&self) -> (Code, String) {
        let Some(status) = &self.status else { panic!("no gRPC status: {self:?}") };
        (status.code(), server::status::reason(status).unwrap_or_default())
    }
}

/// A message in a gRPC frame.
pub(super) fn frame(message: &[u8]) -> Bytes {
    framed(0, message)
}

/// A message in a gRPC frame with such a flag.
pub(super) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).expect("a test sends less"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// The headers of an ordinary call of an operator, with some others instead.
pub(super) fn headers(others: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let ordinary =
        [("content-type", "application/grpc"), ("te", "trailers"), ("x-entrepot-actor", "ops/test")];
    for (name, value) in ordinary.iter().chain(others) {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header");
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

/// One ordinary message to a method.
pub(super) async fn send(channel: &Channel, path: &str, message: &[u8]) -> Answer {
    call(channel, path, headers(&[]), frame(message)).await
}

/// Sends a request and reads the first frames of the answer, until its status if it has one.
pub(super) async fn call(channel: &Channel, path: &str, headers: HeaderMap, body: Bytes) -> Answer {
    let mut request = Request::post(path).body(Body::new(Full::new(body))).expect("a path");
    *request.headers_mut() = headers;
    let mut channel = channel.clone();
    poll_fn(|cx| channel.poll_ready(cx)).await.expect("connected");
    let response = channel.call(request).await.expect("an answer");
    let http = response.status();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Answer { http, status: Some(status) };
    }
    let mut body = response.into_body();
    let mut status = None;
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(trailers) = frame.trailers_ref() {
            status = Status::from_header_map(trailers);
        }
    }
    Answer { http, status }
}

/// A field of bytes.
pub(super) fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// So many empty messages in a field: two bytes each.
pub(super) fn empties(number: u32, count: usize) -> Vec<u8> {
    field(number, &[]).repeat(count)
}

/// Messages inside messages, so deep.
pub(super) fn nested(number: u32, depth: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..depth {
        inner = field(number, &inner);
    }
    inner
}
