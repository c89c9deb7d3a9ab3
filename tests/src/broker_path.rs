//! A way to a Kafka broker that can lose connections as a network does.
//!
//! A broker names its own address in its answers, and clients go there; so between the proxy and the broker those answers
//! are changed to name the proxy. Tests of other crates include this file by its path, beside `proxy.rs`.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::proxy::Proxy;

/// The broker behind a proxy.
pub struct BrokerPath {
    /// Where clients connect to, and what makes connections go silent.
    pub proxy: Proxy,
}

impl BrokerPath {
    /// Starts a way to the broker at `broker` (`127.0.0.1:port`).
    ///
    /// # Panics
    /// When no port can be bound, or the broker does not answer.
    pub async fn to(broker: &str) -> Self {
        let broker = broker.to_owned();
        let named = advertised(&broker).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port can be bound");
        let translator = listener.local_addr().expect("a bound socket has an address");
        let proxy = Proxy::to(&translator.to_string()).await;
        let shown = address("127.0.0.1", proxy.address().port());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&broker).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                let (named, shown) = (named.clone(), shown.clone());
                tokio::spawn(async move {
                    let asking = tokio::io::copy(&mut from_client, &mut to_server);
                    let answering = translate(from_server, to_client, &named, &shown);
                    tokio::select! {
                        _ = asking => {}
                        _ = answering => {}
                    }
                });
            }
        });
        Self { proxy }
    }
}

/// Host and port as they stand in answers of the broker, whatever the version of the answer.
fn address(host: &str, port: u16) -> Vec<u8> {
    [host.as_bytes(), &i32::from(port).to_be_bytes()].concat()
}

/// How the broker names itself. The host must have the length of `127.0.0.1`.
async fn advertised(broker: &str) -> Vec<u8> {
    let broker = broker.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &broker).create().expect("a client is made");
        let metadata =
            client.fetch_metadata(Some("none"), Duration::from_secs(30)).expect("the broker answers");
        let broker = &metadata.brokers()[0];
        (broker.host().to_owned(), u16::try_from(broker.port()).expect("a port"))
    });
    let (host, port) = asked.await.expect("the broker was asked");
    assert_eq!(host, "127.0.0.1");
    address(&host, port)
}

/// Carries answers, with the address in them replaced.
async fn translate(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    named: &[u8],
    shown: &[u8],
) -> std::io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut answer = vec![0; usize::try_from(length).unwrap_or_default()];
        from.read_exact(&mut answer).await?;
        let places: Vec<usize> = answer
            .windows(named.len())
            .enumerate()
            .filter(|(_, at)| at == &named)
            .map(|(at, _)| at)
            .collect();
        for at in places {
            answer[at..at + shown.len()].copy_from_slice(shown);
        }
        to.write_u32(length).await?;
        to.write_all(&answer).await?;
    }
}
