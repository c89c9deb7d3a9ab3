//! One row of a result, read by column name.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Error, Result};

/// One row of a result.
#[derive(Debug)]
pub struct Row(pub(crate) Inner);

pub(crate) enum Inner {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "Postgres(..)",
            Self::Sqlite(_) => "Sqlite(..)",
        })
    }
}

impl Row {
    /// The value of a column. A null is an error unless `T` is an `Option`.
    pub fn get<T: Portable>(&self, column: &'static str) -> Result<T> {
        T::read(self, column)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A type that both engines can give: `bool`, `i32`, `i64`, `u32`, `f64`, `String`, `Vec<u8>`, `Uuid` and `Option` of each.
pub trait Portable: Sized + sealed::Sealed {
    /// Reads the column.
    #[doc(hidden)]
    fn read(row: &Row, column: &str) -> Result<Self>;
}

/// Reads a column that may be null.
trait Nullable: Sized {
    fn read_nullable(row: &Row, column: &str) -> Result<Option<Self>>;
}

fn decode(column: &str, error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::ColumnDecode { source, .. } => Error::Decode(format!("column {column}: {source}")),
        sqlx::Error::ColumnNotFound(_) => Error::Decode(format!("column {column} does not exist")),
        _ => Error::Decode(format!("column {column}")),
    }
}

fn required<T>(value: Option<T>, column: &str) -> Result<T> {
    value.ok_or_else(|| Error::Decode(format!("column {column} is null")))
}

macro_rules! native {
    ($($type:ty),*) => { $(
        impl Nullable for $type {
            fn read_nullable(row: &Row, column: &str) -> Result<Option<Self>> {
                match &row.0 {
                    Inner::Postgres(row) => row.try_get::<Option<$type>, _>(column),
                    Inner::Sqlite(row) => row.try_get::<Option<$type>, _>(column),
                }
                .map_err(|error| decode(column, &error))
            }
        }
    )* };
}

native!(bool, f64, String, Vec<u8>, Uuid);

impl Nullable for i64 {
    fn read_nullable(row: &Row, column: &str) -> Result<Option<Self>> {
        let read = match &row.0 {
            // a column or an expression may be INTEGER: widen it, as SQLite does
            Inner::Postgres(row) => row.try_get::<Option<Self>, _>(column).or_else(|error| {
                row.try_get::<Option<i32>, _>(column).map(|n| n.map(Self::from)).or(Err(error))
            }),
            Inner::Sqlite(row) => row.try_get::<Option<Self>, _>(column),
        };
        read.map_err(|error| decode(column, &error))
    }
}

macro_rules! narrowed {
    ($($type:ty),*) => { $(
        impl Nullable for $type {
            fn read_nullable(row: &Row, column: &str) -> Result<Option<Self>> {
                i64::read_nullable(row, column)?
                    .map(Self::try_from)
                    .transpose()
                    .map_err(|_| Error::Decode(format!("column {column} is out of range")))
            }
        }
    )* };
}

narrowed!(i32, u32);

macro_rules! portable {
    ($($type:ty),*) => { $(
        impl sealed::Sealed for $type {}
        impl sealed::Sealed for Option<$type> {}
        impl Portable for $type {
            fn read(row: &Row, column: &str) -> Result<Self> {
                required(<$type>::read_nullable(row, column)?, column)
            }
        }
        impl Portable for Option<$type> {
            fn read(row: &Row, column: &str) -> Result<Self> {
                <$type>::read_nullable(row, column)
            }
        }
    )* };
}

portable!(bool, i32, i64, u32, f64, String, Vec<u8>, Uuid);
