//! Nobody takes what others need: hosts, half messages, shares of a connection, unread answers, idle streams.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use server::admin::{self, Readiness};
use server::door::Limits;
use server::listen::Config;
use server::status::reason;
use server::{Hosts, Shutdown, UnreadLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::echo::{self, Echo, LOOK, PATIENCE, SAY, SERVICE, WATCH, ask, say, send, until, watch, watch_as};
use crate::listening::{Running, client, http1, start, start_with, web_call};

/// A connection of HTTP/2 whose answers are read only when somebody asks for them.
struct Plain {
    address: SocketAddr,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Plain {
    async fn to(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1_024).initial_connection_window_size(64 * 1_024);
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { address, sender }
    }

    fn call(
        &self,
        path: &str,
        text: &str,
        host: &str,
    ) -> impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>> + use<> {
        let mut message = vec![0x0a, u8::try_from(text.len()).unwrap()];
        message.extend_from_slice(text.as_bytes());
        let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        body.extend_from_slice(&message);
        let host = if host.is_empty() { self.address.to_string() } else { host.to_owned() };
        let request = Request::post(format!("http://{host}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)));
        let mut sender = self.sender.clone();
        async move { sender.send_request(request.unwrap()).await }
    }
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_misdirected() {
    let config = Config { hosts: Hosts::new(["orders", "*.shop.example"]), ..Config::default() };
    let running = start(&Echo::default(), config);
    let plain = Plain::to(running.address).await;
    for (host, expected) in [
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("evil.example:7400", StatusCode::MISDIRECTED_REQUEST),
        ("localhost", StatusCode::OK),
        ("orders:7400", StatusCode::OK),
        ("a.shop.example", StatusCode::OK),
        ("", StatusCode::OK),
    ] {
        let answer = plain.call(SAY, "hello", host).await.unwrap();
        assert_eq!(answer.status(), expected, "{host}");
    }
    let call = String::from_utf8(web_call("hello", "")).unwrap().replace("localhost", "evil.example");
    let answer = http1(running.address, call.as_bytes()).await;
    assert!(answer.starts_with("http/1.1 421") && !answer.contains("grpc-status:0"), "{answer}");
}

/// What the admin port at `address` says to a request by this host.
async fn admin_get(address: SocketAddr, host: &str) -> String {
    let request = format!("GET /livez HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    http1(address, request.as_bytes()).await
}

#[tokio::test]
async fn the_admin_port_keeps_its_door_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Shutdown::new();
    let hosts = Hosts::new(["probe"]);
    let served =
        tokio::spawn(admin::run(listener, hosts, Readiness::new(), "v", Shutdown::new(), stop.clone()));
    assert!(admin_get(address, "host: localhost\r\n").await.starts_with("http/1.1 200"));
    assert!(admin_get(address, "host: probe:7401\r\n").await.starts_with("http/1.1 200"));
    let stranger = admin_get(address, "host: evil.example\r\n").await;
    assert!(stranger.starts_with("http/1.1 421") && stranger.contains("server.hosts"), "{stranger}");
    let bare = http1(address, b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(bare.starts_with("http/1.0 200"), "{bare}");
    // connections that ask nothing do not keep others out
    let mut silent = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HT").await.unwrap();
        silent.push(stream);
    }
    assert!(admin_get(address, "host: localhost\r\n").await.starts_with("http/1.1 200"));
    let mut byte = [0];
    let closed =
        tokio::time::timeout(PATIENCE, silent[0].read(&mut byte)).await.expect("the oldest makes room");
    assert!(matches!(closed, Ok(0) | Err(_)));
    stop.begin();
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_speaks_json_learns_how_to_call() {
    let running = start(&Echo::default(), Config::default());
    let json = format!(
        "POST {SAY} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    for request in [json.as_str(), "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"] {
        let answer = http1(running.address, request.as_bytes()).await;
        assert!(answer.starts_with("http/1.1 415"), "{answer}");
        assert!(answer.contains("grpcurl") && answer.contains("application/grpc-web"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_whose_calls_are_all_refused_makes_room() {
    let running = start(&Echo::default(), Config { max_connections: 2, ..Config::default() });
    let served = client(&running);
    assert!(say(&served, "hello").await.is_ok());
    let unserved = Plain::to(running.address).await;
    let unknown = unserved.call(&format!("/{SERVICE}/Sing"), "hello", "").await.unwrap();
    assert_eq!(unknown.headers()["grpc-status"], "12");
    assert!(say(&client(&running), "hello").await.is_ok());
    assert!(say(&served, "hello").await.is_ok());
    until("the end of the connection", async || unserved.call(SAY, "hello", "").await.is_err()).await;
}

#[tokio::test]
async fn a_connection_of_half_messages_costs_no_other_its_call() {
    let limits = Limits { max_in_flight: 4, ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    // an honest caller that needs a while to send
    let call = web_call("hello", "");
    let mut honest = TcpStream::connect(running.address).await.unwrap();
    honest.write_all(&call[..call.len() - 3]).await.unwrap();
    let mut greedy = half_messages(&running, 50).await;
    let answered = async { greedy.read_u8().await.is_ok() };
    assert!(tokio::time::timeout(PATIENCE, answered).await.unwrap());
    honest.write_all(&call[call.len() - 3..]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, honest.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("hello"));
}

/// A connection of HTTP/2 with calls whose messages never come.
async fn half_messages(running: &Running, count: u32) -> TcpStream {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let header = |name: &str, value: &str| [vec![0], text(name), text(value)].concat();
    let headers = [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", SAY),
        header(":authority", "localhost"),
        header("content-type", "application/grpc"),
    ]
    .concat();
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    for stream in 0..count {
        bytes.extend(frame(1, 4, 2 * stream + 1, &headers));
    }
    let mut connection = TcpStream::connect(running.address).await.unwrap();
    connection.write_all(&bytes).await.unwrap();
    connection
}

#[tokio::test]
async fn the_reads_of_one_connection_leave_room_for_others() {
    let limits = Limits { max_reads_per_connection: 2, ..Limits::default() };
    let echo = Echo::default();
    let running = start_with(&echo, Config::default(), &limits);
    let (greedy, other) = (client(&running), client(&running));
    let mut reads: FuturesUnordered<_> =
        (0..8).map(|_| ask(&greedy, LOOK, tonic::Request::new("wait".to_owned())).boxed()).collect();
    until("two reads", async || {
        assert!(futures_util::poll!(reads.next()).is_pending());
        echo.begun() == 2
    })
    .await;
    for _ in 0..3 {
        let answer = ask(&other, LOOK, tonic::Request::new("hello".to_owned())).await;
        assert_eq!(answer.unwrap(), "hello");
        assert!(futures_util::poll!(reads.next()).is_pending());
    }
    assert_eq!(echo.begun(), 2, "the others wait");
    echo.open();
    while let Some(answer) = reads.next().await {
        assert_eq!(answer.unwrap(), "wait");
    }
}

#[tokio::test]
async fn half_of_the_streams_are_for_our_own_services() {
    let limits = Limits { max_open_streams: 4, ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    let peer = client(&running);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(watch(&peer, "store").await.unwrap());
    }
    let refused = watch(&peer, "store").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::ResourceExhausted, Some("OVERLOADED")));
    for _ in 0..2 {
        open.push(watch_as(&peer, "service/fulfillment", "service").await.unwrap());
    }
    assert!(watch_as(&peer, "service/fulfillment", "service").await.is_err());
}

#[tokio::test]
async fn a_silent_stream_sends_empty_messages() {
    let limits = Limits { stream_heartbeat: Duration::from_millis(30), ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    let mut stream = watch(&client(&running), "one").await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..3 {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a sign of life");
        messages.push(next.unwrap().unwrap());
    }
    assert_eq!(messages, ["one", "", ""]);
}

fn small(per_connection: usize, stalled_after: Duration) -> Config {
    Config { unread: UnreadLimits { per_connection, in_all: 1 << 20, stalled_after }, ..Config::default() }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_reset() {
    let running = start(&Echo::default(), small(1 << 20, Duration::from_millis(200)));
    let plain = Plain::to(running.address).await;
    let unread = plain.call(SAY, "big:100000", "").await.unwrap();
    let mut stream = plain.call(WATCH, "big:100000", "").await.unwrap();
    let other = plain.call(SAY, "hello", "").await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes().len(), 12);
    let reset = tokio::time::timeout(PATIENCE, async {
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(600)).await;
        unread.into_body().collect().await
    });
    assert!(reset.await.unwrap().is_err(), "it was reset");
    // what is read slowly makes progress
    let mut length = 0;
    while let Some(Ok(frame)) = stream.body_mut().frame().now_or_never().flatten() {
        length += frame.into_data().unwrap_or_default().len();
    }
    assert!(length <= 2_048, "the stream was as stalled as the call: {length}");
    assert!(plain.call(SAY, "hello", "").await.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_connection_with_much_unread_begins_no_further_call() {
    let running = start(&Echo::default(), small(150_000, PATIENCE));
    let plain = Plain::to(running.address).await;
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(plain.call(SAY, "big:100000", "").await.unwrap());
    }
    assert!(say(&client(&running), "hello").await.is_ok(), "others do not feel it");
    let mut blocked = Box::pin(plain.call(SAY, "hello", ""));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut blocked).await.is_err(), "it waits");
    for answer in unread {
        let _ = answer.into_body().collect().await;
    }
    let answer = tokio::time::timeout(PATIENCE, blocked).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_leaves_most_unread_is_closed_when_all_is_too_much() {
    let running = start(&Echo::default(), small(1 << 30, PATIENCE));
    let (few, many) = (Plain::to(running.address).await, Plain::to(running.address).await);
    let _one = few.call(SAY, "big:100000", "").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..12 {
        match many.call(SAY, "big:100000", "").await {
            Ok(answer) => held.push(answer),
            Err(_) => break,
        }
    }
    until("the end of the connection", async || many.call(SAY, "hello", "").await.is_err()).await;
    assert!(few.call(SAY, "hello", "").await.is_ok());
}

#[tokio::test]
async fn work_that_cannot_be_done_by_its_deadline_is_refused_unread() {
    let echo = Echo::default();
    let running = start(&echo, Config::default());
    let peer = client(&running);
    assert_eq!(say(&peer, "slow").await.unwrap(), "slow");
    let begun = echo.begun();
    let mut hasty = tonic::Request::new("wait".to_owned());
    hasty.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let refused = send(&peer, hasty).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::ResourceExhausted, Some("OVERLOADED")));
    let retry = tonic_types::StatusExt::get_details_retry_info(&refused);
    assert!(retry.unwrap().retry_delay.is_some());
    assert_eq!(echo.begun(), begun);
}

#[tokio::test]
async fn the_streams_of_one_connection_share_turns_at_reading() {
    let limits = Limits { max_reads_per_connection: 3, ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    let (one, other) = (client(&running), client(&running));
    let turns = async |peer| watch(peer, "turns").await.unwrap().message().await.unwrap().unwrap();
    watch(&one, "a turn").await.unwrap();
    assert_eq!(turns(&one).await, "Some(2)");
    assert_eq!(turns(&other).await, "Some(3)", "another connection has turns of its own");
    let door = echo::door(&Echo::default(), &limits, &Shutdown::new());
    assert_eq!(turns(&door.peer()).await, "None", "a call of this process has no share");
}
