//! One connection of either engine: the only place where statements meet the drivers.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Execute, Executor as _, PgConnection, SqlSafeStr as _, SqlStr,
    Sqlite, SqliteConnection,
};

use crate::bind;
use crate::error::{Error, Result};
use crate::row::{Inner, Row};
use crate::tx::Part;
use crate::value::{Type, Value};

/// The longest that a `BEGIN`, `COMMIT` or `ROLLBACK` may stay unanswered before the connection counts as lost.
const CONTROL: Duration = Duration::from_secs(30);

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) server: Server,
    /// The longest that a statement may stay unanswered before the connection counts as lost (the server's own limit
    /// is shorter; this one is for a network that swallows the answer).
    pub(crate) patience: Option<Duration>,
}

/// What to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// A live connection. Once lost it refuses everything: what was asked of a dead driver thread is never answered.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    /// What holds now, and what holds for a connection that comes from the shelf.
    patience: Option<Duration>,
    usual: Option<Duration>,
    lost: bool,
}

#[derive(Debug)]
enum Wire {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
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
        let connected = tokio::time::timeout(limit, async {
            Ok::<_, sqlx::Error>(match &self.server {
                Server::Postgres(options) => Wire::Postgres(PgConnection::connect_with(options).await?),
                Server::Sqlite(options) => Wire::Sqlite(SqliteConnection::connect_with(options).await?),
            })
        });
        match connected.await {
            Ok(Ok(wire)) => {
                Ok(Connection { wire, patience: self.patience, usual: self.patience, lost: false })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::lost("connecting took too long")),
        }
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
    async fn run(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        Ok(match self {
            Self::Postgres(connection) => {
                let arguments = match params {
                    Params::Plain(values) => bind::postgres(values)?,
                    Params::Rows(columns, rows) => bind::postgres_rows(columns, rows)?,
                    Params::Parts(parts) => bind::postgres_parts(parts)?,
                };
                let query = sqlx::query_with(text, arguments);
                match want {
                    Want::Count => Got::Count(query.execute(connection).await?.rows_affected()),
                    Want::Rows => {
                        let rows = query.fetch_all(connection).await?;
                        Got::Rows(rows.into_iter().map(|row| Row(Inner::Postgres(row))).collect())
                    }
                }
            }
            Self::Sqlite(connection) => {
                let arguments = match params {
                    Params::Plain(values) => bind::sqlite(values)?,
                    Params::Rows(columns, rows) => bind::sqlite_rows(columns, &rows)?,
                    Params::Parts(_) => return Err(Error::misuse("SQLite runs batches one by one")),
                };
                let (_, changed, rows) = finish(connection, sqlx::query_with(text, arguments)).await?;
                match want {
                    Want::Count => Got::Count(changed),
                    Want::Rows => Got::Rows(rows),
                }
            }
        })
    }

    /// `expected`: how many statements must come to their end (`SQLite` tells).
    async fn script(&mut self, text: SqlStr, expected: usize) -> Result<()> {
        let script = sqlx::raw_sql(text);
        match self {
            Self::Postgres(connection) => script.execute(connection).await.map(|_| ()).map_err(Error::from),
            Self::Sqlite(connection) => {
                let (finished, ..) = finish(connection, script).await?;
                if finished < expected {
                    Err(Error::lost("statement did not come to its end"))
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl Connection {
    /// Runs one statement with parameters; the driver keeps it prepared.
    pub(crate) async fn run(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        self.alive()?;
        let work = self.wire.run(text, params, want);
        let ran = match self.patience {
            Some(patience) => tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(silence())),
            None => work.await,
        };
        self.judge(ran)
    }

    /// Runs `BEGIN`, `COMMIT` and the like, joined by semicolons, in one go.
    pub(crate) async fn control(&mut self, text: &'static str) -> Result<()> {
        self.alive()?;
        let work = self.wire.script(SqlStr::from_static(text), text.split(';').count());
        let ran = tokio::time::timeout(CONTROL, work).await.unwrap_or_else(|_| Err(silence()));
        self.judge(ran)
    }

    /// Runs a text built here from checked names, or a migration, for as long as it takes.
    pub(crate) async fn script(&mut self, text: String) -> Result<()> {
        self.alive()?;
        let ran = self.wire.script(AssertSqlSafe(text).into_sql_str(), 1).await;
        self.judge(ran)
    }

    /// Waits longer than usual for each answer, until [`Connection::be_as_usual`].
    pub(crate) fn be_patient(&mut self, patience: Duration) {
        self.patience = self.usual.map(|usual| usual.max(patience));
    }

    pub(crate) fn be_as_usual(&mut self) {
        self.patience = self.usual;
    }

    /// Whether the other side still answers.
    pub(crate) async fn answers(&mut self, limit: Duration) -> bool {
        let ping = async {
            match &mut self.wire {
                Wire::Postgres(connection) => connection.ping().await,
                Wire::Sqlite(connection) => connection.ping().await,
            }
        };
        matches!(tokio::time::timeout(limit, ping).await, Ok(Ok(())))
    }

    /// Says goodbye and waits until it is closed.
    pub(crate) async fn close(self) {
        if self.lost {
            return;
        }
        let closed = match self.wire {
            Wire::Postgres(connection) => connection.close().await,
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
        self.lost |= ran.as_ref().is_err_and(Error::is_lost);
        ran
    }
}

fn silence() -> Error {
    Error::lost("no answer in time")
}
