//! A TCP proxy in this process that can lose connections in the ways a network does.
//!
//! Put it between a client and a server, then [`Proxy::forget`], [`Proxy::freeze`], [`Proxy::cut`] or [`Proxy::refuse`].
//! It needs only tokio, so tests of other crates include this file by its path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of one server. Dropped, it closes all its connections.
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    accepted: Arc<AtomicUsize>,
}

/// What happens to connections, which are numbered from 0 as they are accepted.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// Connections with a lower number never carry another byte; their sockets stay open.
    forgotten: usize,
    /// Connections with a lower number are closed.
    cut: usize,
    /// No connection carries a byte until this is over. New ones are accepted.
    frozen: bool,
    /// New connections are closed at once.
    refusing: bool,
}

impl Faults {
    fn silences(self, number: usize) -> bool {
        self.frozen || number < self.forgotten
    }
}

impl Proxy {
    /// Starts on a free port of the loopback interface and forwards to `server` (`host:port`).
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (faults, seen) = watch::channel(Faults::default());
        let accepted = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, server.to_owned(), seen, Arc::clone(&accepted)));
        Self { address, faults, accepted }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Established connections go silent for good, in both directions, as when a firewall loses its table. Neither
    /// side sees a close. New connections work.
    pub fn forget(&self) {
        let now = self.accepted();
        self.faults.send_modify(|faults| faults.forgotten = now);
    }

    /// All connections go silent, new ones too, until [`Proxy::heal`]. What was sent meanwhile arrives then.
    pub fn freeze(&self) {
        self.faults.send_modify(|faults| faults.frozen = true);
    }

    /// Established connections are closed on both sides, also those that were forgotten.
    pub fn cut(&self) {
        let now = self.accepted();
        self.faults.send_modify(|faults| faults.cut = now);
    }

    /// New connections are closed at once, until [`Proxy::heal`].
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| faults.refusing = true);
    }

    /// Ends [`Proxy::freeze`] and [`Proxy::refuse`]. Forgotten connections stay silent.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| {
            faults.frozen = false;
            faults.refusing = false;
        });
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    mut faults: watch::Receiver<Faults>,
    accepted: Arc<AtomicUsize>,
) {
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            gone = gone(&mut faults) => return gone,
        };
        let Ok((client, _)) = client else { continue };
        let number = accepted.fetch_add(1, Ordering::SeqCst);
        if !faults.borrow().refusing {
            tokio::spawn(carry(client, server.clone(), number, faults.clone()));
        }
    }
}

/// Comes back when the proxy is dropped.
async fn gone(faults: &mut watch::Receiver<Faults>) {
    while faults.changed().await.is_ok() {}
}

/// One connection, until either side closes it or a fault does.
async fn carry(client: TcpStream, server: String, number: usize, faults: watch::Receiver<Faults>) {
    let mut ended = faults.clone();
    let carried = async {
        silence_over(&mut faults.clone(), number).await;
        let Ok(server) = TcpStream::connect(&server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, number, faults.clone()),
            pump(from_server, to_client, number, faults.clone()),
        );
    };
    tokio::select! {
        () = carried => {}
        _ = ended.wait_for(|faults| number < faults.cut) => {}
    }
}

/// Carries bytes one way. Bytes that were read before a silence wait with it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut faults: watch::Receiver<Faults>,
) {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let read = from.read(&mut buffer).await;
        silence_over(&mut faults, number).await;
        match read {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}

async fn silence_over(faults: &mut watch::Receiver<Faults>, number: usize) {
    let _ = faults.wait_for(|faults| !faults.silences(number)).await;
}
