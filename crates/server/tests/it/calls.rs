//! What becomes of one call: in this process and over the wire alike.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use server::status::{facts, reason};
use server::{Peer, Principal, Shutdown, door::Limits, listen, peer};
use tonic::{Code, Request};

use crate::echo::{self, Echo, LOOK, ask, say, send, until, watch};

/// The same service by each way that a caller can reach it.
fn ways(echo: &Echo, limits: &Limits) -> Vec<(&'static str, Peer)> {
    let shutdown = Shutdown::new();
    let door = echo::door(echo, limits, &shutdown);
    let config = listen::Config { address: ([127, 0, 0, 1], 0).into(), ..listen::Config::default() };
    let listener = listen::Listener::bind(config).unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(listener.run(door.clone(), shutdown));
    vec![
        ("door", door.peer()),
        ("local", peer::local(echo.clone())),
        ("remote", peer::remote(&format!("http://{address}")).unwrap()),
    ]
}

#[tokio::test]
async fn an_answer_comes_back_by_every_way() {
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        assert_eq!(say(&peer, "hello").await.unwrap(), "hello", "{way}");
    }
}

#[tokio::test]
async fn an_error_keeps_its_details_by_every_way() {
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        let status = say(&peer, "refuse").await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{way}");
        assert_eq!(reason(&status).as_deref(), Some("NO_STOCK"), "{way}");
        assert_eq!(facts(&status)["sku"], "A", "{way}");
    }
}

#[tokio::test]
async fn an_error_without_details_gets_a_reason() {
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        let status = say(&peer, "bare").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "nothing here"), "{way}");
        assert!(reason(&status).is_some(), "{way}");
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_next_call_works() {
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        let status = say(&peer, "panic").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"), "{way}");
        assert_eq!(reason(&status).as_deref(), Some("HANDLER_PANICKED"), "{way}");
        assert_eq!(say(&peer, "again").await.unwrap(), "again", "{way}");
    }
}

#[tokio::test]
async fn a_deadline_is_answered_and_the_handler_still_finishes() {
    for way in 0..3 {
        let echo = Echo::default();
        let (way, peer) = ways(&echo, &Limits::default()).swap_remove(way);
        let mut request = Request::new("wait".to_owned());
        // the header alone: the client itself must not give up first
        request.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
        let status = send(&peer, request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        assert_eq!(reason(&status).as_deref(), Some("DEADLINE_EXCEEDED"), "{way}");
        assert_eq!(facts(&status)["deadline_ms"], "400", "{way}");
        assert_eq!((echo.begun(), echo.finished()), (1, 0), "{way}");
        echo.open();
        until("the end of the handler", async || echo.finished() == 1).await;
    }
}

#[tokio::test]
async fn a_call_without_a_deadline_gets_the_default_one() {
    let limits = Limits { default_deadline: Duration::from_millis(30), ..Limits::default() };
    let peer = ways(&Echo::default(), &limits).swap_remove(0).1;
    assert_eq!(say(&peer, "wait").await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn odd_deadlines_are_met_with_a_clear_answer() {
    let peer = ways(&Echo::default(), &Limits::default()).swap_remove(0).1;
    for (timeout, expected) in [
        ("1n", Code::DeadlineExceeded),
        ("0S", Code::DeadlineExceeded),
        ("99999999H", Code::Ok),
        ("soon", Code::InvalidArgument),
        ("-1S", Code::InvalidArgument),
    ] {
        let mut request = Request::new("hello".to_owned());
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        let code = send(&peer, request).await.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code, expected, "{timeout}");
    }
    let mut request = Request::new("left".to_owned());
    request.metadata_mut().insert("grpc-timeout", "99999999H".parse().unwrap());
    let left: u128 = send(&peer, request).await.unwrap().parse().unwrap();
    assert!(left <= Limits::default().max_deadline.as_millis());
}

#[tokio::test]
async fn a_caller_that_vanishes_cuts_nothing_in_half() {
    for way in 0..3 {
        let echo = Echo::default();
        let (way, peer) = ways(&echo, &Limits::default()).swap_remove(way);
        let call = tokio::spawn(async move { say(&peer, "wait").await });
        until("the call", async || echo.begun() == 1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled(), "{way}");
        echo.open();
        until("the end of the handler", async || echo.finished() == 1).await;
    }
}

#[tokio::test]
async fn what_only_reads_ends_with_its_caller() {
    for way in [0, 2] {
        let echo = Echo::default();
        let (way, peer) = ways(&echo, &Limits::default()).swap_remove(way);
        let mut request = Request::new("ever".to_owned());
        request.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
        let status = ask(&peer, LOOK, request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        echo.ever.0.notified().await;
        echo.ever.1.notified().await;

        let call = tokio::spawn(async move { ask(&peer, LOOK, Request::new("ever".to_owned())).await });
        echo.ever.0.notified().await;
        call.abort();
        echo.ever.1.notified().await;
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once_and_may_be_retried() {
    let limits = Limits { max_in_flight: 2, ..Limits::default() };
    for way in [0, 2] {
        let echo = Echo::default();
        let (way, peer) = ways(&echo, &limits).swap_remove(way);
        let mut calls: FuturesUnordered<_> = (0..8).map(|_| say(&peer, "wait")).collect();
        for _ in 0..6 {
            let status = calls.next().await.unwrap().expect_err("two calls at once are enough");
            assert_eq!(status.code(), Code::ResourceExhausted, "{way}");
            assert_eq!(reason(&status).as_deref(), Some("OVERLOADED"), "{way}");
            let retry = tonic_types::StatusExt::get_details_retry_info(&status);
            assert!(retry.unwrap().retry_delay.is_some(), "{way}");
        }
        echo.open();
        while let Some(answer) = calls.next().await {
            assert_eq!(answer.unwrap(), "wait", "{way}");
        }
        assert!(say(&peer, "hello").await.is_ok(), "{way}");
    }
}

#[tokio::test]
async fn an_abandoned_call_keeps_its_place_until_it_ends() {
    let limits = Limits { max_in_flight: 1, ..Limits::default() };
    let echo = Echo::default();
    let peer = ways(&echo, &limits).swap_remove(0).1;
    let mut request = Request::new("wait".to_owned());
    request.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
    assert_eq!(send(&peer, request).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(say(&peer, "hello").await.unwrap_err().code(), Code::ResourceExhausted);
    echo.open();
    until("a free place", async || say(&peer, "hello").await.is_ok()).await;
}

#[tokio::test]
async fn open_streams_have_a_limit_and_give_their_place_back() {
    let limits = Limits { max_open_streams: 1, ..Limits::default() };
    for way in [0, 2] {
        let (way, peer) = ways(&Echo::default(), &limits).swap_remove(way);
        let mut first = watch(&peer, "one").await.unwrap();
        assert_eq!(first.message().await.unwrap().as_deref(), Some("one"), "{way}");
        assert_eq!(watch(&peer, "two").await.unwrap_err().code(), Code::ResourceExhausted, "{way}");
        drop(first);
        until("a free place", async || watch(&peer, "three").await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_a_reason() {
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        let status = say(&peer, &"x".repeat(server::MESSAGE_LIMIT + 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{way}: {status}");
        assert_eq!(reason(&status).as_deref(), Some("MESSAGE_TOO_LARGE"), "{way}");
    }
}

#[tokio::test]
async fn callers_are_known_by_their_metadata_and_checked_against_the_table() {
    let strict = Limits { anonymous_allowed: false, ..Limits::default() };
    for way in [0, 2] {
        let (way, peer) = ways(&Echo::default(), &strict).swap_remove(way);
        let cases = [
            (Some("store/SH-001"), Code::Ok),
            (Some("customer/1"), Code::PermissionDenied),
            (None, Code::PermissionDenied),
            (Some("king/1"), Code::Unauthenticated),
            (Some("store"), Code::Unauthenticated),
        ];
        for (actor, expected) in cases {
            let mut request = Request::new("who".to_owned());
            if let Some(actor) = actor {
                request.metadata_mut().insert(server::auth::ACTOR, actor.parse().unwrap());
            }
            let answer = send(&peer, request).await;
            match answer {
                Ok(who) => assert_eq!((Some(who.as_str()), Code::Ok), (actor, expected), "{way}"),
                Err(status) => {
                    assert_eq!(status.code(), expected, "{way} {actor:?}");
                    assert!(reason(&status).is_some(), "{way} {actor:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_peer_acts_in_its_own_name_unless_the_call_names_another() {
    let peer = peer::acting(peer::local(Echo::default()), &Principal::service("orders"));
    assert_eq!(say(&peer, "who").await.unwrap(), "service/orders");
    let mut request = Request::new("who".to_owned());
    request.metadata_mut().insert(server::auth::ACTOR, "store/1".parse().unwrap());
    assert_eq!(send(&peer, request).await.unwrap(), "store/1");
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let peer = peer::remote(&format!("http://{address}")).unwrap();
    let named =
        peer::remote_named("fulfillment", &format!("http://{address}"), peer::Options::default()).unwrap();
    for (peer, name) in [(peer, address.to_string()), (named, "fulfillment".to_owned())] {
        let away = say(&peer, "hello").await.unwrap_err();
        assert_eq!(away.code(), Code::Unavailable);
        assert_eq!(server::status::reason(&away).as_deref(), Some("PEER_UNREACHABLE"));
        assert_eq!(server::status::facts(&away)["peer"], name);
        assert!(away.message().starts_with(&format!("{name} does not answer: ")), "{}", away.message());
    }
    assert!(peer::remote_named("orders", "orders:7400", peer::Options::default()).is_err());
    assert!(peer::remote("orders:7400").is_err());
    assert!(peer::remote("ftp://orders:7400").is_err());
}

#[tokio::test]
async fn a_handler_knows_the_trace_of_its_caller_by_every_way() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (way, peer) in ways(&Echo::default(), &Limits::default()) {
        let mut request = Request::new("trace".to_owned());
        request.metadata_mut().insert(server::trace::TRACEPARENT, trace.parse().unwrap());
        assert_eq!(send(&peer, request).await.unwrap(), trace, "{way}");
        let new = say(&peer, "trace").await.unwrap();
        assert!(new.starts_with("00-") && new != trace, "{way}: {new}");
    }
}

#[tokio::test]
async fn deadlines_and_traces_go_on_from_hop_to_hop() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (way, next) in ways(&Echo::default(), &Limits::default()) {
        let first = peer::local(Echo { next: Some(next), ..Echo::default() });
        let mut request = Request::new("ask:left".to_owned());
        request.metadata_mut().insert("grpc-timeout", "5S".parse().unwrap());
        let left: u64 = send(&first, request).await.unwrap().parse().unwrap();
        // without it the next hop would have the default of ten seconds
        assert!(left <= 5_000, "{way}: {left}");
        let mut request = Request::new("ask:trace".to_owned());
        request.metadata_mut().insert(server::trace::TRACEPARENT, trace.parse().unwrap());
        assert_eq!(send(&first, request).await.unwrap(), trace, "{way}");
    }
}
