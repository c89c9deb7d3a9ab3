//! One connection of either engine: the only place where statements meet the drivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Execute, Executor as _, PgConnection, SqlSafeStr as _, SqlStr,
    Sqlite, SqliteConnection,
};

use crate::bind;
use crate::error::{Error, Result};
use crate::remote::{Backend, Remote};
use crate::row::{Inner, Row};
use crate::value::{Part, Type, Value};

/// The longest that a `BEGIN`, `COMMIT` or `ROLLBACK` may take: a commit waits for the disk, and nothing else ends it.
const CONTROL: Duration = Duration::from_secs(30);

/// A connection that answered so recently is used without asking.
const TRUSTED: Duration = Duration::from_secs(1);

/// How far a connection that rested is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Full,
    OnceItAnswers,
    None,
}

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) server: Server,
    /// The longest that a statement may take before the connection counts as lost (the server's own limit is shorter;
    /// this one is for a server that cannot say what it does).
    pub(crate) patience: Option<Duration>,
}

/// What to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    Postgres(Arc<Remote>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// A live connection. Once lost it refuses everything: what was asked of a dead driver thread is never answered.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    /// What holds now, and what holds for a connection that comes from the shelf.
    patience: Option<Duration>,
    usual: Option<Duration>,
    /// When the other side answered last.
    answered: Instant,
    lost: bool,
}

#[derive(Debug)]
enum Wire {
    Postgres(Box<Line>),
    Sqlite(SqliteConnection),
}

/// Both ends of a connection to PostgreSQL.
#[derive(Debug)]
struct Line {
    here: PgConnection,
    there: Backend,
}

/// What is bound to a statement.
#[derive(Clone)]
pub(crate) enum Params<'a> {
    Plain(Vec<Value>),
    Rows(&'a [(&'static str, Type)], Vec<Vec<Value>>),
    Parts(Vec<Part>),
}

/// What is wanted back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Want {
    Count,
    Rows,
}

/// What came back.
pub(crate) enum Got {
    Count(u64),
    Rows(Vec<Row>),
}

impl Got {
    pub(crate) fn count(self) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Rows(rows) => rows.len() as u64,
        }
    }

    pub(crate) fn rows(self) -> Vec<Row> {
        match self {
            Self::Count(_) => Vec::new(),
            Self::Rows(rows) => rows,
        }
    }
}

impl Address {
    /// Connects, giving up after `limit`.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Connection> {
        let wire = match &self.server {
            Server::Postgres(remote) => {
                let (here, there) = remote.connect(limit).await?;
                Wire::Postgres(Box::new(Line { here, there }))
            }
            Server::Sqlite(options) => {
                match tokio::time::timeout(limit, SqliteConnection::connect_with(options)).await {
                    Ok(connected) => Wire::Sqlite(connected?),
                    Err(_) => return Err(Error::lost("connecting took too long")),
                }
            }
        };
        let (patience, usual) = (self.patience, self.patience);
        Ok(Connection { wire, patience, usual, answered: Instant::now(), lost: false })
    }
}

/// Runs on `SQLite`, and makes sure that the statement came to its end.
///
/// The driver's worker thread can die half-way (it panics when another process changed the columns of a prepared
/// `SELECT *`); its stream of rows then just ends, which must not be taken for "no more rows".
async fn finish<'q>(
    connection: &mut SqliteConnection,
    query: impl Execute<'q, Sqlite> + 'q,
) -> Result<(usize, u64, Vec<Row>)> {
    let (mut statements, mut changed, mut rows) = (0, 0, Vec::new());
    let mut results = connection.fetch_many(query);
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Left(done) => {
                statements += 1;
                changed += done.rows_affected();
            }
            Either::Right(row) => rows.push(Row(Inner::Sqlite(row))),
        }
    }
    match statements {
        0 => Err(Error::lost("statement did not come to its end")),
        _ => Ok((statements, changed, rows)),
    }
}

impl Wire {
    /// `limit`: the longest wait for the answer.
    async fn run(
        &mut self,
        text: SqlStr,
        params: Params<'_>,
        want: Want,
        limit: Option<Duration>,
    ) -> Result<Got> {
        match self {
            Self::Postgres(line) => {
                let Line { here, there } = &mut **line;
                // boxed, because every future above would carry it
                there.wait(Box::pin(run_postgres(here, text, params, want)), limit).await
            }
            Self::Sqlite(connection) => run_sqlite(connection, text, params, want).await,
        }
    }

    /// `expected`: how many statements must come to their end (`SQLite` tells).
    async fn script(&mut self, text: SqlStr, expected: usize, limit: Option<Duration>) -> Result<()> {
        let script = sqlx::raw_sql(text);
        match self {
            Self::Postgres(line) => {
                let Line { here, there } = &mut **line;
                let work = async { script.execute(here).await.map(|_| ()).map_err(Error::from) };
                there.wait(Box::pin(work), limit).await
            }
            Self::Sqlite(connection) => {
                let work = finish(connection, script);
                let (finished, ..) = match limit {
                    Some(limit) => {
                        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silence()))?
                    }
                    None => work.await?,
                };
                if finished < expected {
                    Err(Error::lost("statement did not come to its end"))
                } else {
                    Ok(())
                }
            }
        }
    }
}

async fn run_postgres(
    connection: &mut PgConnection,
    text: SqlStr,
    params: Params<'_>,
    want: Want,
) -> Result<Got> {
    let arguments = match params {
        Params::Plain(values) => bind::postgres(values)?,
        Params::Rows(columns, rows) => bind::postgres_rows(columns, rows)?,
        Params::Parts(parts) => bind::postgres_parts(parts)?,
    };
    let query = sqlx::query_with(text, arguments);
    Ok(match want {
        Want::Count => Got::Count(query.execute(connection).await?.rows_affected()),
        Want::Rows => {
            let rows = query.fetch_all(connection).await?;
            Got::Rows(rows.into_iter().map(|row| Row(Inner::Postgres(row))).collect())
        }
    })
}

async fn run_sqlite(
    connection: &mut SqliteConnection,
    text: SqlStr,
    params: Params<'_>,
    want: Want,
) -> Result<Got> {
    let arguments = match params {
        Params::Plain(values) => bind::sqlite(values)?,
        Params::Rows(columns, rows) => bind::sqlite_rows(columns, &rows)?,
        Params::Parts(_) => return Err(Error::misuse("SQLite runs batches one by one")),
    };
    let (_, changed, rows) = finish(connection, sqlx::query_with(text, arguments)).await?;
    Ok(match want {
        Want::Count => Got::Count(changed),
        Want::Rows => Got::Rows(rows),
    })
}

impl Connection {
    /// Runs one statement with parameters; the driver keeps it prepared.
    pub(crate) async fn run(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        self.alive()?;
        let ran = self.wire.run(text, params, want, self.patience).await;
        self.judge(ran)
    }

    /// Runs `BEGIN`, `COMMIT` and the like, joined by semicolons, in one go.
    pub(crate) async fn control(&mut self, text: &'static str) -> Result<()> {
        self.alive()?;
        let expected = text.split(';').count();
        let ran = self.wire.script(SqlStr::from_static(text), expected, Some(CONTROL)).await;
        self.judge(ran)
    }

    /// Runs a text built here from checked names, or a migration, for as long as it takes.
    pub(crate) async fn script(&mut self, text: String) -> Result<()> {
        self.alive()?;
        let ran = self.wire.script(AssertSqlSafe(text).into_sql_str(), 1, None).await;
        self.judge(ran)
    }

    /// Waits longer than usual for each answer, until [`Connection::be_as_usual`].
    pub(crate) fn be_patient(&mut self, patience: Duration) {
        self.patience = self.usual.map(|usual| usual.max(patience));
    }

    pub(crate) fn be_as_usual(&mut self) {
        self.patience = self.usual;
    }

    /// Whether it may be used without asking whether the other side still answers.
    pub(crate) fn is_trusted(&self) -> Trust {
        match &self.wire {
            Wire::Postgres(line) if !line.there.is_trusted(self.answered) => Trust::None,
            _ if self.answered.elapsed() < TRUSTED => Trust::Full,
            _ => Trust::OnceItAnswers,
        }
    }

    /// Whether the other side still answers.
    pub(crate) async fn answers(&mut self, limit: Duration) -> bool {
        let answered = match &mut self.wire {
            Wire::Postgres(line) => {
                let limit = limit.min(line.there.patience());
                let answered = tokio::time::timeout(limit, line.here.ping()).await;
                if !matches!(answered, Ok(Ok(()))) {
                    line.there.lost();
                }
                answered
            }
            Wire::Sqlite(connection) => tokio::time::timeout(limit, connection.ping()).await,
        };
        matches!(answered, Ok(Ok(())))
    }

    /// Says goodbye and waits until it is closed.
    pub(crate) async fn close(self) {
        if self.lost {
            return;
        }
        let closed = match self.wire {
            Wire::Postgres(line) => line.here.close().await,
            Wire::Sqlite(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(error = %Error::from(error), "closing a connection failed");
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    fn alive(&self) -> Result<()> {
        if self.lost { Err(Error::lost("earlier")) } else { Ok(()) }
    }

    fn judge<T>(&mut self, ran: Result<T>) -> Result<T> {
        match &ran {
            Ok(_) => self.answered = Instant::now(),
            Err(error) if error.is_lost() => {
                self.lost = true;
                if let Wire::Postgres(line) = &self.wire {
                    line.there.lost();
                }
            }
            Err(_) => {}
        }
        ran
    }
}

fn silence() -> Error {
    Error::lost("no answer in time")
}
