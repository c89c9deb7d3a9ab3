//! A peer whose connection breaks, goes silent or is not there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use server::listen::Config;
use server::peer::{self, Options};
use server::status::reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::{Code, Request};

use crate::echo::{Echo, PATIENCE, say, send, until};
use crate::listening::start;

/// Finds out soon that nobody is there.
const HASTY: Options = Options {
    keepalive_interval: Duration::from_millis(100),
    keepalive_timeout: Duration::from_millis(100),
    connect_timeout: Duration::from_millis(500),
};

/// SETTINGS, and GOAWAY that nothing was looked at: the sender resets too much (`ENHANCE_YOUR_CALM`).
const GO_AWAY: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

#[tokio::test]
async fn a_call_that_met_a_goaway_is_sent_once_more_on_a_new_connection() {
    let running = start(&Echo::default(), Config::default());
    let (address, connections) = every_other_one_breaks(running.address).await;
    let peer = peer::remote_named("orders", &format!("http://{address}"), Options::default()).unwrap();
    let answer = tokio::time::timeout(PATIENCE, say(&peer, "hello")).await.expect("it ends");
    assert_eq!(answer.unwrap(), "hello");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refusal_says_whether_the_call_was_sent_twice() {
    let running = start(&Echo::default(), Config::default());
    let (address, connections) = every_other_one_breaks(running.address).await;
    let peer = peer::remote_named("orders", &format!("http://{address}"), Options::default()).unwrap();
    let refused = tokio::time::timeout(PATIENCE, say(&peer, "refuse")).await.expect("it ends").unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("NO_STOCK"));
    assert!(peer::was_resent(&refused), "the first sending may have had its effect: {refused:?}");
    let refused = tokio::time::timeout(PATIENCE, say(&peer, "refuse")).await.expect("it ends").unwrap_err();
    assert!(!peer::was_resent(&refused), "{refused:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// A proxy whose first, third and so on connection breaks with its first call.
async fn every_other_one_breaks(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = proxy.accept().await {
            if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                // with the preface and the settings comes the first call
                let mut bytes = vec![0; 16 * 1024];
                let mut read = 0;
                while read < 150 {
                    read += stream.read(&mut bytes).await.unwrap();
                }
                stream.write_all(GO_AWAY).await.unwrap();
                stream.shutdown().await.unwrap();
                continue;
            }
            let mut server = TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_goaway_on_every_connection_is_unavailable() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = proxy.accept().await {
            let mut bytes = vec![0; 16 * 1024];
            let mut read = 0;
            while read < 150 {
                match stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => read += more,
                }
            }
            let _ = stream.write_all(GO_AWAY).await;
        }
    });
    let peer = peer::remote_named("orders", &format!("http://{address}"), Options::default()).unwrap();
    let away = tokio::time::timeout(PATIENCE, say(&peer, "hello")).await.expect("it ends").unwrap_err();
    assert_eq!((away.code(), reason(&away).as_deref()), (Code::Unavailable, Some("PEER_UNREACHABLE")));
}

#[tokio::test]
async fn while_a_peer_is_silent_callers_fail_at_once_and_go_on_when_it_is_back() {
    let running = start(&Echo::default(), Config::default());
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let (silence, is_silent) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((stream, _)) = proxy.accept().await {
            tokio::spawn(frozen_while(is_silent.clone(), stream, running.address));
        }
    });
    let peer = peer::remote_named("orders", &format!("http://{address}"), HASTY).unwrap();
    assert_eq!(say(&peer, "hello").await.unwrap(), "hello");
    silence.send_replace(true);
    let patient = || {
        let mut request = Request::new("hello".to_owned());
        request.set_timeout(Duration::from_mins(1));
        request
    };
    // the first finds out by keep-alive, long before their deadlines
    let found_out = async { futures_util::future::join_all((0..5).map(|_| send(&peer, patient()))).await };
    for away in tokio::time::timeout(PATIENCE, found_out).await.expect("nobody waits for the deadline") {
        let away = away.unwrap_err();
        assert_eq!((away.code(), reason(&away).as_deref()), (Code::Unavailable, Some("PEER_UNREACHABLE")));
    }
    // and while one at a time asks again, the others are not kept waiting
    let refused = futures_util::future::join_all((0..50).map(|_| send(&peer, patient())));
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("at once");
    assert!(refused.iter().all(Result::is_err));
    silence.send_replace(false);
    until("the peer is back", async || say(&peer, "hello").await.is_ok()).await;
}

/// Passes bytes on, except while it is silent; connections of a silent time stay silent.
async fn frozen_while(mut is_silent: watch::Receiver<bool>, mut stream: TcpStream, to: SocketAddr) {
    if *is_silent.borrow() {
        return std::future::pending().await;
    }
    let mut server = TcpStream::connect(to).await.unwrap();
    let became_silent = async { is_silent.wait_for(|silent| *silent).await.map(drop) };
    let is_over = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut server) => true,
        _ = became_silent => false,
    };
    if !is_over {
        std::future::pending::<()>().await;
    }
}
