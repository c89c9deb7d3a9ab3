//! When to stop: one flag for the whole process, raised by a signal or by the program.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal as signal_of};
use tokio_util::sync::CancellationToken;

/// A shutdown that all parts of a process can wait for; clones share it. It begins once and is never taken back.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins it.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it has begun.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Waits as [`Shutdown::begun`] does, without borrowing.
    pub fn begun_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// A later stage of the same shutdown: it begins on its own call, or with this one.
    #[must_use]
    pub fn stage(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// The token itself, for libraries that take one.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// SIGTERM and SIGINT, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Catches them. Before that they end the process at once.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { term: signal_of(SignalKind::terminate())?, int: signal_of(SignalKind::interrupt())? })
    }

    /// Waits for the next one and answers with its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Waits for SIGTERM or SIGINT and answers with its name. It is not caught before this is first polled.
pub async fn signal() -> io::Result<&'static str> {
    Ok(Signals::catch()?.next().await)
}
