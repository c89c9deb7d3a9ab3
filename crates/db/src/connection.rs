//! One connection of either engine: the only place where statements meet the drivers.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr, SqlStr, SqliteConnection};

use crate::bind;
use crate::error::{Error, Result};
use crate::row::{Inner, Row};
use crate::value::{Type, Value};

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// A live connection.
#[derive(Debug)]
pub(crate) enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// What is bound to a statement.
pub(crate) enum Params<'a> {
    Plain(Vec<Value>),
    Rows(&'a [(&'static str, Type)], Vec<Vec<Value>>),
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
            Ok::<_, sqlx::Error>(match self {
                Self::Postgres(options) => Connection::Postgres(PgConnection::connect_with(options).await?),
                Self::Sqlite(options) => Connection::Sqlite(SqliteConnection::connect_with(options).await?),
            })
        });
        match connected.await {
            Ok(connected) => connected.map_err(Error::from),
            Err(_) => Err(Error::Unavailable("connecting took too long".into())),
        }
    }
}

macro_rules! run {
    ($connection:expr, $text:expr, $arguments:expr, $want:expr, $wrap:path) => {{
        let query = sqlx::query_with($text, $arguments);
        match $want {
            Want::Count => Got::Count(query.execute($connection).await?.rows_affected()),
            Want::Rows => {
                let rows = query.fetch_all($connection).await?;
                Got::Rows(rows.into_iter().map(|row| Row($wrap(row))).collect())
            }
        }
    }};
}

impl Connection {
    /// Runs one statement with parameters; the driver keeps it prepared.
    pub(crate) async fn run(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        Ok(match self {
            Self::Postgres(connection) => {
                let arguments = match params {
                    Params::Plain(values) => bind::postgres(values)?,
                    Params::Rows(columns, rows) => bind::postgres_rows(columns, rows)?,
                };
                run!(connection, text, arguments, want, Inner::Postgres)
            }
            Self::Sqlite(connection) => {
                let arguments = match params {
                    Params::Plain(values) => bind::sqlite(values)?,
                    Params::Rows(columns, rows) => bind::sqlite_rows(columns, &rows)?,
                };
                run!(connection, text, arguments, want, Inner::Sqlite)
            }
        })
    }

    /// Runs one or more statements without parameters, as they are, in one go.
    pub(crate) async fn script(&mut self, text: impl SqlSafeStr) -> Result<()> {
        let script = sqlx::raw_sql(text.into_sql_str());
        match self {
            Self::Postgres(connection) => script.execute(connection).await.map(|_| ())?,
            Self::Sqlite(connection) => script.execute(connection).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Like [`Self::script`] for a text built here from checked names.
    pub(crate) async fn built(&mut self, text: String) -> Result<()> {
        self.script(AssertSqlSafe(text)).await
    }

    /// Whether the other side still answers.
    pub(crate) async fn answers(&mut self, limit: Duration) -> bool {
        let ping = async {
            match self {
                Self::Postgres(connection) => connection.ping().await,
                Self::Sqlite(connection) => connection.ping().await,
            }
        };
        matches!(tokio::time::timeout(limit, ping).await, Ok(Ok(())))
    }

    /// Says goodbye and waits until it is closed.
    pub(crate) async fn close(self) {
        let closed = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(error = %Error::from(error), "closing a connection failed");
        }
    }
}
