//! Calls as no client of ours would make them: any path, any header, any bytes.

use std::io::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use flows::world::World;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A connection to a world, for clients.
pub(super) fn channel(world: &World) -> Channel {
    Endpoint::from_shared(world.platform.address()).expect("an address").connect_lazy()
}

/// Where a platform listens.
#[derive(Clone)]
pub(super) struct Port {
    address: String,
}

impl Port {
    /// That of a world.
    pub(super) fn of(world: &World) -> Self {
        Self::at(&world.platform.address())
    }

    /// That of an address.
    pub(super) fn at(address: &str) -> Self {
        Self { address: address.trim_start_matches("http://").to_owned() }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("connected")
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP; none when the stream or the connection was ended instead.
    pub(super) http: Option<StatusCode>,
    /// gRPC; none when the answer was none of gRPC.
    pub(super) status: Option<Status>,
}

impl Answer {
    const BROKEN: Self = Self { http: None, status: None };

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
pub(super) async fn send(port: &Port, path: &str, message: &[u8]) -> Answer {
    call(port, path, headers(&[]), frame(message)).await
}

/// Sends a request on a connection of its own, without any help of a gRPC library, and reads the answer.
pub(super) async fn call(port: &Port, path: &str, headers: HeaderMap, body: Bytes) -> Answer {
    let io = TokioIo::new(port.connect().await);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2 is spoken");
    let connection = tokio::spawn(connection);
    let address = format!("http://{}{path}", port.address);
    let mut request = Request::post(address).body(Full::new(body)).expect("a path");
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await;
    let answer = match response {
        Ok(response) => read(response).await,
        Err(_) => Answer::BROKEN,
    };
    connection.abort();
    answer
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Answer {
    let http = Some(response.status());
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

/// Packed as small as can be.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

/// A field of bytes.
pub(super) fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// Empty messages in a field: two bytes each.
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

/// What every connection of HTTP/2 begins with: the preface and our settings.
pub(super) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), http2_frame(4, 0, 0, &[])].concat()
}

/// A frame of HTTP/2.
pub(super) fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test sends less").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as HTTP/2 packs them at its simplest.
pub(super) fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A connection by hand with one request of these headers and this body.
pub(super) fn request_by_hand(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    [preface(), http2_frame(1, 4, 1, &header_block(headers)), http2_frame(0, 1, 1, body)].concat()
}
