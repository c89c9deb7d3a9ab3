//! What can be bound: a short, visible list. A new type is a decision taken here.

use uuid::Uuid;

use crate::error::{Error, Result};

/// A bound value. Each carries its type, so that a null is typed on both engines.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `BIGINT`: counts, microseconds, minor units.
    I64(Option<i64>),
    /// `TEXT`. The character NUL is refused (PostgreSQL cannot store it).
    Text(Option<String>),
    /// `BYTEA` / `BLOB`.
    Bytes(Option<Vec<u8>>),
    /// `BOOLEAN` / `INTEGER`.
    Bool(Option<bool>),
    /// `UUID` / 16-byte `BLOB`.
    Uuid(Option<Uuid>),
    /// `DOUBLE PRECISION` / `REAL`. Only finite numbers (`SQLite` would store NaN as null).
    F64(Option<f64>),
}

/// The type of a column of [`crate::Tx::batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `i64`
    BigInt,
    /// `String`
    Text,
    /// `Vec<u8>`
    Bytes,
    /// `bool`
    Bool,
    /// `Uuid`
    Uuid,
    /// `f64`
    Double,
}

impl Value {
    /// The column type that this value fits.
    pub fn kind(&self) -> Type {
        match self {
            Self::I64(_) => Type::BigInt,
            Self::Text(_) => Type::Text,
            Self::Bytes(_) => Type::Bytes,
            Self::Bool(_) => Type::Bool,
            Self::Uuid(_) => Type::Uuid,
            Self::F64(_) => Type::Double,
        }
    }

    /// Refuses what the two engines would store differently.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Text(Some(text)) if text.contains('\0') => Err(Error::misuse("text with a NUL character")),
            Self::F64(Some(number)) if !number.is_finite() => Err(Error::misuse("number that is not finite")),
            Self::I64(_) | Self::Text(_) | Self::Bytes(_) | Self::Bool(_) | Self::Uuid(_) | Self::F64(_) => {
                Ok(())
            }
        }
    }
}

macro_rules! values {
    ($($from:ty => $variant:ident, |$it:ident| $made:expr;)*) => { $(
        impl From<$from> for Value {
            fn from($it: $from) -> Self { Self::$variant(Some($made)) }
        }
        impl From<Option<$from>> for Value {
            fn from(it: Option<$from>) -> Self { Self::$variant(it.map(|$it| $made)) }
        }
    )* };
}

values! {
    i64 => I64, |it| it;
    i32 => I64, |it| i64::from(it);
    u32 => I64, |it| i64::from(it);
    &str => Text, |it| it.to_owned();
    &String => Text, |it| it.clone();
    String => Text, |it| it;
    &[u8] => Bytes, |it| it.to_vec();
    &Vec<u8> => Bytes, |it| it.clone();
    Vec<u8> => Bytes, |it| it;
    bool => Bool, |it| it;
    Uuid => Uuid, |it| it;
    &Uuid => Uuid, |it| *it;
    f64 => F64, |it| it;
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

/// Bound values in the order of `$1`, `$2`: `params![id, "PLACED", due]`.
#[macro_export]
macro_rules! params {
    () => { ::std::vec::Vec::<$crate::Value>::new() };
    ($($value:expr),+ $(,)?) => { ::std::vec![$($crate::Value::from($value)),+] };
}

/// One batch of [`Tx::together`](crate::Tx::together): text, columns and rows as [`Tx::batch`](crate::Tx::batch) takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub(crate) sql: &'static str,
    pub(crate) columns: &'static [(&'static str, Type)],
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Part {
    /// A batch that is not run yet.
    pub fn new(sql: &'static str, columns: &'static [(&'static str, Type)], rows: Vec<Vec<Value>>) -> Self {
        Self { sql, columns, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_when_null() {
        assert_eq!(Value::from(None::<&str>), Value::Text(None));
        assert_eq!(Value::from(Some(7_u32)), Value::I64(Some(7)));
        assert_eq!(Value::from(None::<Uuid>).kind(), Type::Uuid);
        assert_eq!(params![1_i64, "a", [1_u8; 2]].len(), 3);
        assert!(params![].is_empty());
    }

    #[test]
    fn what_the_engines_would_store_differently_is_refused() {
        assert!(Value::from("a\0b").check().is_err());
        assert!(Value::from(f64::NAN).check().is_err());
        assert!(Value::from(f64::INFINITY).check().is_err());
        assert!(Value::from("").check().is_ok());
    }
}
