//! Connections: limits, browsers, raw bytes, and the end of them all.

use std::net::SocketAddr;
use std::time::Duration;

use server::listen::{Config, Dropped, Listener};
use server::status::reason;
use server::{Shutdown, door::Limits, peer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::echo::{self, Echo, PATIENCE, say, until, watch};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    ended: JoinHandle<Dropped>,
}

pub(crate) fn start(echo: &Echo, config: Config) -> Running {
    start_with(echo, config, &Limits::default())
}

pub(crate) fn start_with(echo: &Echo, config: Config, limits: &Limits) -> Running {
    let shutdown = Shutdown::new();
    let door = echo::door(echo, limits, &shutdown);
    let config = Config { address: ([127, 0, 0, 1], 0).into(), ..config };
    let listener = Listener::bind(config).unwrap();
    let address = listener.address().unwrap();
    Running { address, shutdown: shutdown.clone(), ended: tokio::spawn(listener.run(door, shutdown)) }
}

pub(crate) fn client(running: &Running) -> server::Peer {
    peer::remote(&format!("http://{}", running.address)).unwrap()
}

/// Sends raw HTTP/1.1 and reads to the end of the answer.
pub(crate) async fn http1(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).to_lowercase()
}

pub(crate) fn web_call(text: &str, headers: &str) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(text.len()).unwrap()];
    message.extend_from_slice(text.as_bytes());
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/grpc-web+proto\r\n\
         {headers}content-length: {}\r\n\r\n",
        echo::SAY,
        message.len() + 5
    )
    .into_bytes();
    request.push(0);
    request.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    request.extend_from_slice(&message);
    request
}

#[tokio::test]
async fn a_browser_on_this_machine_may_call_and_read_the_status() {
    let running = start(&Echo::default(), Config::default());
    let answer = http1(running.address, &web_call("hello", "origin: http://localhost:5173\r\n")).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: http://localhost:5173"), "{answer}");
    for exposed in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        let line = answer.lines().find(|line| line.starts_with("access-control-expose-headers")).unwrap();
        assert!(line.contains(exposed), "{line}");
    }
    assert!(answer.contains("hello") && answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn a_browser_gets_the_details_of_an_error() {
    let running = start(&Echo::default(), Config::default());
    let answer = http1(running.address, &web_call("refuse", "")).await;
    assert!(answer.contains("grpc-status: 9") || answer.contains("grpc-status:9"), "{answer}");
    assert!(answer.contains("grpc-status-details-bin"), "{answer}");
}

#[tokio::test]
async fn a_preflight_of_a_stranger_allows_nothing() {
    let running = start(&Echo::default(), Config::default());
    let preflight = |origin: &str| {
        format!(
            "OPTIONS {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: content-type,x-grpc-web,x-entrepot-actor\r\n\r\n",
            echo::SAY
        )
    };
    let friend = http1(running.address, preflight("http://127.0.0.1:8080").as_bytes()).await;
    assert!(friend.contains("access-control-allow-origin: http://127.0.0.1:8080"), "{friend}");
    assert!(friend.contains("access-control-allow-methods: post"), "{friend}");
    assert!(friend.contains("x-entrepot-actor"), "{friend}");
    let stranger = http1(running.address, preflight("https://evil.example").as_bytes()).await;
    assert!(!stranger.contains("access-control-allow-origin"), "{stranger}");
}

#[tokio::test]
async fn bytes_that_are_no_call_do_not_hurt() {
    let running = start(&Echo::default(), Config::default());
    for junk in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST test.v1.EchoService/Say HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
    }
    let wrong_body = [&web_call("hello", "")[..web_call("hello", "").len() - 7], &[0xff; 7]].concat();
    let answer = http1(running.address, &wrong_body).await;
    assert!(answer.contains("grpc-status: 3") || answer.contains("grpc-status:3"), "{answer}");
    assert_eq!(say(&client(&running), "hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_the_others_go_on() {
    let running = start(&Echo::default(), Config { max_connections: 1, ..Config::default() });
    let first = client(&running);
    assert!(say(&first, "hello").await.is_ok());
    let mut second = TcpStream::connect(running.address).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(PATIENCE, second.read(&mut byte)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    assert!(say(&first, "hello").await.is_ok());
}

#[tokio::test]
async fn connections_that_never_call_make_room_for_those_that_do() {
    let running = start(&Echo::default(), Config { max_connections: 2, ..Config::default() });
    let first = client(&running);
    assert!(say(&first, "hello").await.is_ok());
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    silent.read_u8().await.unwrap();
    let late = client(&running);
    assert!(say(&late, "hello").await.is_ok());
    assert!(say(&first, "hello").await.is_ok());
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_rush_of_callers_waits_to_be_accepted() {
    // more than any queue that nobody asked for, and few enough for a shell that allows 1,024 open files
    const CALLERS: usize = 300;
    let config = Config { address: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    let listener = Listener::bind(config).unwrap();
    let address = listener.address().unwrap();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let mut caller = connected.expect("there is room to wait").unwrap();
        caller.write_all(&web_call("hello", "")).await.unwrap();
        callers.push(caller);
    }
    let shutdown = Shutdown::new();
    tokio::spawn(listener.run(echo::door(&Echo::default(), &Limits::default(), &shutdown), shutdown));
    for (index, mut caller) in callers.into_iter().enumerate() {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, caller.read_to_end(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "caller {index}");
        assert!(String::from_utf8_lossy(&answer).contains("hello"), "caller {index}");
    }
}

#[tokio::test]
async fn an_old_connection_is_left_for_a_new_one_without_a_failed_call() {
    let config = Config { max_connection_age: Duration::from_millis(100), ..Config::default() };
    let running = start(&Echo::default(), config);
    let client = client(&running);
    for call in 0..20 {
        assert_eq!(say(&client, "hello").await.unwrap(), "hello", "call {call}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_shutdown_lets_calls_finish_and_tells_streams() {
    let echo = Echo::default();
    let running = start(&echo, Config::default());
    let client = client(&running);
    let mut stream = watch(&client, "one").await.unwrap();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some("one"));
    let call = tokio::spawn({
        let client = client.clone();
        async move { say(&client, "wait").await }
    });
    until("the call", async || echo.begun() == 1).await;
    running.shutdown.begin();
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(reason(&ended).as_deref(), Some("SHUTTING_DOWN"));
    echo.open();
    assert_eq!(call.await.unwrap().unwrap(), "wait");
    assert_eq!(running.ended.await.unwrap(), Dropped::default());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_a_shutdown() {
    let running = start(&Echo::default(), Config::default());
    let _silent = TcpStream::connect(running.address).await.unwrap();
    let mut half = TcpStream::connect(running.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut http1 = TcpStream::connect(running.address).await.unwrap();
    http1.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.shutdown.begin();
    // what the drain limit had to end would be counted
    assert_eq!(running.ended.await.unwrap(), Dropped::default());
}

#[tokio::test]
async fn the_drain_limit_really_ends_what_is_left() {
    let echo = Echo::default();
    let config = Config { drain_limit: Duration::from_millis(100), ..Config::default() };
    let running = start(&echo, config);
    let client = client(&running);
    let call = tokio::spawn(async move { say(&client, "wait").await });
    until("the call", async || echo.begun() == 1).await;
    running.shutdown.begin();
    let dropped = tokio::time::timeout(PATIENCE, running.ended).await.expect("it ends").unwrap();
    assert_eq!(dropped, Dropped { connections: 1, handlers: 1 });
    assert!(call.await.unwrap().is_err());
    assert_eq!(echo.finished(), 0);
}

#[tokio::test]
async fn a_request_that_stalls_does_not_keep_its_handler() {
    let running = start(&Echo::default(), Config::default());
    let call = web_call("hello", "grpc-timeout: 100m\r\n");
    let answer = http1(running.address, &call[..call.len() - 3]).await;
    assert!(answer.contains("grpc-status: 4") || answer.contains("grpc-status:4"), "{answer}");
    running.shutdown.begin();
    assert_eq!(running.ended.await.unwrap(), Dropped::default());
}

/// All of a call but its last bytes.
async fn stalled(running: &Running, call: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&call[..call.len() - 3]).await.unwrap();
    stream
}

#[tokio::test]
async fn callers_that_never_send_their_message_take_no_places() {
    let limits = Limits { max_in_flight: 2, ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    let call = web_call("hello", "grpc-timeout: 60S\r\n");
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(stalled(&running, &call).await);
    }
    // all but two are refused: there is no room to wait
    for _ in 0..4 {
        let answered =
            futures_util::future::select_all(waiting.iter().map(|stream| Box::pin(stream.readable())));
        let (_, index, _) = answered.await;
        let mut answer = Vec::new();
        waiting.swap_remove(index).read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.contains("grpc-status: 8") || answer.contains("grpc-status:8"), "{answer}");
    }
    assert_eq!(say(&client(&running), "hello").await.unwrap(), "hello");
    for mut stream in waiting {
        stream.write_all(&call[call.len() - 3..]).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("hello"));
    }
}

#[tokio::test]
async fn streams_that_are_never_asked_for_take_no_places() {
    let limits = Limits { max_open_streams: 1, ..Limits::default() };
    let running = start_with(&Echo::default(), Config::default(), &limits);
    let call = String::from_utf8(web_call("hello", "")).unwrap().replace(echo::SAY, echo::WATCH);
    let _waiting = stalled(&running, call.as_bytes()).await;
    let client = client(&running);
    assert!(say(&client, "hello").await.is_ok());
    let mut stream = watch(&client, "one").await.unwrap();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some("one"));
}
