//! Connections to PostgreSQL over a network that may lose them without a word.
//!
//! The driver does not show its sockets, so their options cannot be set; and a limit on the whole statement cannot
//! tell a long statement from a lost connection. So who waits too long for an answer asks the server on a second
//! connection whether it still works on the statement. If it does not, or cannot be asked, the connection is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::error::{Error, Result};
use crate::host::Host;

/// An answer may still be on its way when the server says that it is done: the longest wait for it.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// One PostgreSQL server and how to log in there.
#[derive(Debug)]
pub(crate) struct Remote {
    options: PgConnectOptions,
    host: Arc<Host>,
    /// A connection that gives no answer for so long is asked about.
    answer: Duration,
}

/// The server process at the other end of a connection, and how to ask about it.
#[derive(Debug)]
pub(crate) struct Backend {
    remote: Arc<Remote>,
    pid: i32,
    /// In microseconds; with it a process id is never mistaken for a later one of the same number.
    started: i64,
}

/// What the server says about a statement without an answer.
enum Verdict {
    /// It works on it, or cannot say.
    Wait,
    Lost,
}

impl Remote {
    pub(crate) fn new(options: PgConnectOptions, answer: Duration) -> Self {
        let name = match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Self { options, host: Host::named(&name), answer }
    }

    /// Connects, giving up after `limit`.
    pub(crate) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(PgConnection, Backend)> {
        let known = async {
            let mut wire = PgConnection::connect_with(&self.options).await?;
            let text = "SELECT pid, CAST(EXTRACT(EPOCH FROM backend_start) * 1000000 AS BIGINT) AS started
                          FROM pg_stat_activity WHERE pid = pg_backend_pid()";
            let row = sqlx::query(text).fetch_one(&mut wire).await?;
            let (pid, started) = (row.try_get("pid")?, row.try_get("started")?);
            Ok((wire, Backend { remote: Arc::clone(self), pid, started }))
        };
        self.reach(known, limit).await
    }

    async fn reach<T>(
        &self,
        connect: impl Future<Output = std::result::Result<T, sqlx::Error>>,
        limit: Duration,
    ) -> Result<T> {
        // three halves: with the wait for an answer that is at most what a caller can bear
        let limit = limit.min(self.answer + self.answer / 2);
        let attempt = async {
            match tokio::time::timeout(limit, connect).await {
                Ok(connected) => connected.map_err(Error::from),
                Err(_) => Err(Error::lost("connecting took too long")),
            }
        };
        self.host.attempt(attempt).await
    }
}

impl Backend {
    /// The connection was lost, so those that rest are not to be trusted either.
    pub(crate) fn lost(&self) {
        self.remote.host.doubt(Instant::now());
    }

    /// Whether a connection that answered last at `answered` may be used.
    pub(crate) fn is_trusted(&self, answered: Instant) -> bool {
        self.remote.host.trusts(answered)
    }

    /// The longest wait for a sign of life.
    pub(crate) fn patience(&self) -> Duration {
        self.remote.answer / 2
    }

    /// Waits for an answer for as long as the server works on it, at most `limit`.
    pub(crate) async fn wait<T>(
        &self,
        mut work: Pin<Box<impl Future<Output = Result<T>>>>,
        limit: Option<Duration>,
    ) -> Result<T> {
        let asked = Instant::now();
        loop {
            if let Ok(done) = tokio::time::timeout(self.remote.answer, &mut work).await {
                return done;
            }
            let verdict = tokio::select! {
                biased;
                done = &mut work => return done,
                verdict = Box::pin(self.look()) => verdict,
            };
            match verdict {
                Verdict::Wait if limit.is_none_or(|limit| asked.elapsed() < limit) => {}
                Verdict::Wait | Verdict::Lost => break,
            }
        }
        metrics::counter!("entrepot_db_silent_connections_total").increment(1);
        let unanswered_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(unanswered_ms, "a connection to PostgreSQL went silent; all that rest are closed");
        Err(Error::lost("no answer in time"))
    }

    /// Asks the server what the process of this connection does, and ends that process if it waits for us: it may
    /// hold locks that others need.
    async fn look(&self) -> Verdict {
        let Ok(_turn) = self.remote.host.looks.acquire().await else { return Verdict::Wait };
        let connect = PgConnection::connect_with(&self.remote.options);
        let mut other = match self.remote.reach(connect, self.remote.answer * 2).await {
            Ok(other) => other,
            // the server answers, but has no connection for this question
            Err(error) if error.is_server_full() => return Verdict::Wait,
            Err(_) => return Verdict::Lost,
        };
        let ended = tokio::time::timeout(self.remote.answer, async {
            if self.works(&mut other).await? {
                return Ok(false);
            }
            pause(ON_ITS_WAY).await;
            if self.works(&mut other).await? {
                return Ok(false);
            }
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {}",
                self.is_this_process()
            );
            sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut other).await?;
            Ok::<_, Error>(true)
        });
        match ended.await {
            Ok(Ok(false)) => Verdict::Wait,
            Ok(Err(error)) if !error.is_lost() => Verdict::Wait,
            Ok(Ok(true) | Err(_)) | Err(_) => Verdict::Lost,
        }
    }

    /// Whether the server works on a statement of this connection, and is not waiting for us to take its answer.
    async fn works(&self, other: &mut PgConnection) -> Result<bool> {
        let text = format!(
            "SELECT COALESCE(BOOL_OR(state IS NULL OR state = 'disabled'
                        OR state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'), false) AS works
               FROM pg_stat_activity WHERE {}",
            self.is_this_process()
        );
        Ok(sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(other).await?.try_get("works")?)
    }

    fn is_this_process(&self) -> String {
        format!(
            "pid = {} AND CAST(EXTRACT(EPOCH FROM backend_start) * 1000000 AS BIGINT) = {}",
            self.pid, self.started
        )
    }
}

async fn pause(length: Duration) {
    let until = tokio::time::Instant::now() + length;
    tokio::time::sleep_until(until).await;
}
