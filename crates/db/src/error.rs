//! What can go wrong with storage, grouped by what the caller can do about it.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A storage error. Messages never hold bound values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A unique key is taken. Reads `table: constraint` on PostgreSQL, `table: column, column` on `SQLite`.
    #[error("duplicate key in {0}")]
    Duplicate(String),
    /// Others were in the way (serialisation, deadlock, lock time-out, busy): repeat the whole transaction.
    #[error("storage is contended, repeat the transaction: {0}")]
    Retry(String),
    /// The database was written by a newer program.
    #[error("schema set {set} is at version {found}, this program knows up to {known}")]
    NewerSchema {
        /// The migration set.
        set: String,
        /// The version found in the database.
        found: u32,
        /// The newest version that this program has.
        known: u32,
    },
    /// An applied migration is not the one this program has under that number.
    #[error(
        "schema set {set}: applied migration {version} differs from the one of this program; nothing is released yet, so a change of version needs a new directory or database"
    )]
    ChangedMigration {
        /// The migration set.
        set: String,
        /// The version whose text or name differs.
        version: u32,
    },
    /// The database cannot be reached or is out of connections, space or time. Whether a commit took place is unknown.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// A column is not there, is null or has another type than asked for.
    #[error("unexpected result: {0}")]
    Decode(String),
    /// Everything else: a bug in a statement, a broken constraint, a misuse.
    #[error("storage: {0}")]
    Engine(String),
}

/// A statement of a caller that took longer than the server allows.
const TOO_SLOW: &str = "statement time-out";
/// The server has no room for what is written (SQLSTATE 53100).
const DISK_FULL: &str = "disk of the server is full (53100)";
/// The server takes no more connections (SQLSTATE 53300).
const NO_CONNECTION: &str = "server has no free connection (53300)";

/// How the text of an error begins after which the connection is of no more use.
const LOST: &str = "connection lost: ";

impl Error {
    /// True when repeating the whole transaction is the right answer.
    pub fn is_retry(&self) -> bool {
        matches!(self, Self::Retry(_))
    }

    /// True when nothing is wrong with the statements: the database is away, full, read-only, too slow or locked by
    /// others. The same transaction succeeds when that is over.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::Unavailable(_))
    }

    /// True when a unique key of `table` was taken.
    pub fn is_duplicate_in(&self, table: &str) -> bool {
        matches!(self, Self::Duplicate(place)
            if place.strip_prefix(table).is_some_and(|rest| rest.starts_with(':')))
    }

    /// The connection is of no more use.
    pub(crate) fn lost(why: &str) -> Self {
        Self::Unavailable(format!("{LOST}{why}"))
    }

    /// Whether it was made by [`Error::lost`].
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Unavailable(text) if text.starts_with(LOST))
    }

    /// Whether it means that the server cannot be reached, or does not take connections yet.
    pub(crate) fn is_away(&self) -> bool {
        self.is_lost() || matches!(self, Self::Unavailable(text) if text == "server: 57P03")
    }

    /// Whether the disk of the database is full.
    pub(crate) fn is_full(&self) -> bool {
        // the extended codes of SQLITE_FULL end in 13 too: there is only the plain one
        matches!(self, Self::Unavailable(text) if text == DISK_FULL || text.ends_with("(13)"))
    }

    /// Whether the server answered that it has no room for another connection.
    pub(crate) fn is_server_full(&self) -> bool {
        matches!(self, Self::Unavailable(text)
            if text == NO_CONNECTION || text == DISK_FULL || text.starts_with("server: 53"))
    }

    /// Whether the server ended the statement because it took too long.
    pub(crate) fn is_too_slow(&self) -> bool {
        matches!(self, Self::Unavailable(text) if text == TOO_SLOW)
    }

    /// An error for a caller that broke a rule of this crate.
    pub(crate) fn misuse(text: impl Into<String>) -> Self {
        Self::Engine(text.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) => match inner.try_downcast_ref::<PgDatabaseError>() {
                Some(inner) => postgres(inner),
                None => sqlite(inner.as_ref()),
            },
            sqlx::Error::Io(inner) => Self::lost(&of_network(inner)),
            sqlx::Error::Tls(_) => Self::lost("tls"),
            sqlx::Error::Protocol(_) => Self::lost("protocol"),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::lost("driver")
            }
            sqlx::Error::ColumnNotFound(name) => Self::Decode(format!("column {name} does not exist")),
            sqlx::Error::RowNotFound => Self::Decode("no row".into()),
            sqlx::Error::Configuration(_) => Self::Engine(
                "database url is not understood; expected postgres://user:password@host:port/database".into(),
            ),
            _ => Self::Engine("driver error".into()),
        }
    }
}

/// The kind of the error; a name that is not found has none.
fn of_network(error: &std::io::Error) -> String {
    let kind = error.kind().to_string();
    if kind == "uncategorized error" { error.to_string() } else { kind }
}

/// By SQLSTATE. Texts of PostgreSQL may quote values, so only those of harmless classes are passed on.
fn postgres(error: &PgDatabaseError) -> Error {
    let code = error.code();
    let table = error.table().unwrap_or("?");
    match code {
        "23505" => Error::Duplicate(format!("{table}: {}", error.constraint().unwrap_or("?"))),
        "40001" => Error::Retry("serialisation failure".into()),
        "40P01" => Error::Retry("deadlock".into()),
        "55P03" => Error::Retry("lock time-out".into()),
        "57014" => Error::Unavailable(TOO_SLOW.into()),
        // the schema changed under a prepared statement: unavailable drops the connection, the next one is right
        "26000" => Error::Unavailable("prepared statement is gone".into()),
        "0A000" if error.message().starts_with("cached plan") => {
            Error::Unavailable("schema changed, statement must be prepared again".into())
        }
        "25P03" => Error::Unavailable("transaction was idle for too long".into()),
        "25006" => Error::Unavailable("server is read-only".into()),
        "53100" => Error::Unavailable(DISK_FULL.into()),
        "53300" => Error::Unavailable(NO_CONNECTION.into()),
        // connection, resources, operator intervention, input and output
        _ if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
            Error::Unavailable(format!("server: {code}"))
        }
        _ if code.starts_with("23") => {
            let what = error.constraint().or(error.column()).unwrap_or("?");
            Error::Engine(format!("constraint broken ({code}) in {table}: {what}"))
        }
        _ if code.starts_with("3D") => {
            Error::Engine(format!("{} ({code}); make it, or name another one in the url", error.message()))
        }
        _ if code.starts_with("28") => {
            Error::Engine(format!("{} ({code}); correct user and password in the url", error.message()))
        }
        _ if ["42", "25", "0A", "3F"].iter().any(|class| code.starts_with(class)) => {
            Error::Engine(format!("{} ({code})", error.message()))
        }
        _ => Error::Engine(format!("statement refused ({code})")),
    }
}

/// By result code. The texts of `SQLite` name tables and columns, never values.
fn sqlite(error: &dyn DatabaseError) -> Error {
    let extended: u32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    let text = error.message();
    match (extended, extended & 0xff) {
        (2067 | 1555 | 2579, _) => Error::Duplicate(unique_columns(text)),
        (_, 5) => Error::Retry("database is busy".into()),
        (_, 6) => Error::Retry("table is locked".into()),
        // out of memory, read-only, interrupted, input or output, disk full, cannot open, locking protocol
        (_, 7 | 8 | 9 | 10 | 13 | 14 | 15) => Error::Unavailable(format!("{text} ({extended})")),
        (_, 19) => Error::Engine(format!("constraint broken ({extended}): {text}")),
        _ => Error::Engine(format!("{text} ({extended})")),
    }
}

/// `UNIQUE constraint failed: orders.channel, orders.ref` becomes `orders: channel, ref`.
fn unique_columns(text: &str) -> String {
    let list = text.split_once(": ").map_or(text, |(_, list)| list);
    let Some((table, _)) = list.split_once('.') else { return list.to_owned() };
    let columns: Vec<&str> =
        list.split(", ").map(|item| item.split_once('.').map_or(item, |(_, column)| column)).collect();
    format!("{table}: {}", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_violation_of_sqlite_reads_table_and_columns() {
        assert_eq!(unique_columns("UNIQUE constraint failed: orders.a, orders.b"), "orders: a, b");
        assert_eq!(unique_columns("UNIQUE constraint failed: index 'orders_low'"), "index 'orders_low'");
    }

    #[test]
    fn a_duplicate_knows_its_table_and_not_a_namesake() {
        let error = Error::Duplicate("orders: orders_pkey".into());
        assert!(error.is_duplicate_in("orders"));
        assert!(!error.is_duplicate_in("order"));
        assert!(!Error::Retry("orders: x".into()).is_duplicate_in("orders"));
    }
}
