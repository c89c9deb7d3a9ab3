//! When to stop: one flag for the whole process, raised by a signal or by the program.

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

/// Waits for SIGTERM or SIGINT and answers with its name.
pub async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
    }
}
