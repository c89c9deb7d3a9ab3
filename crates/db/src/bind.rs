//! Values become arguments of the drivers, and rows of values become arrays or one JSON text.

use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

use crate::error::{Error, Result};
use crate::value::{Part, Type, Value};

fn refused<T>(_: T) -> Error {
    Error::misuse("value cannot be bound")
}

macro_rules! bind {
    ($arguments:ty, $values:expr) => {{
        let mut arguments = <$arguments>::default();
        for value in $values {
            value.check()?;
            match value {
                Value::I64(it) => arguments.add(it),
                Value::Text(it) => arguments.add(it),
                Value::Bytes(it) => arguments.add(it),
                Value::Bool(it) => arguments.add(it),
                Value::Uuid(it) => arguments.add(it),
                Value::F64(it) => arguments.add(it),
            }
            .map_err(refused)?;
        }
        Ok(arguments)
    }};
}

/// Plain parameters for PostgreSQL.
pub(crate) fn postgres(values: Vec<Value>) -> Result<PgArguments> {
    bind!(PgArguments, values)
}

/// Plain parameters for `SQLite`.
pub(crate) fn sqlite(values: Vec<Value>) -> Result<SqliteArguments> {
    bind!(SqliteArguments, values)
}

/// Each row has each column, in its type.
fn check(columns: &[(&'static str, Type)], rows: &[Vec<Value>]) -> Result<()> {
    for row in rows {
        if row.len() != columns.len() {
            return Err(Error::misuse("a batch row has another number of values than columns"));
        }
        for ((name, kind), value) in columns.iter().zip(row) {
            if value.kind() != *kind {
                return Err(Error::misuse(format!("batch column {name} has a value of another type")));
            }
            value.check()?;
        }
    }
    Ok(())
}

/// One array per column.
pub(crate) fn postgres_rows(columns: &[(&'static str, Type)], rows: Vec<Vec<Value>>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    add_arrays(&mut arguments, columns, rows)?;
    Ok(arguments)
}

/// The arrays of several batches, one after another.
pub(crate) fn postgres_parts(parts: Vec<Part>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for part in parts {
        add_arrays(&mut arguments, part.columns, part.rows)?;
    }
    Ok(arguments)
}

fn add_arrays(
    arguments: &mut PgArguments,
    columns: &[(&'static str, Type)],
    mut rows: Vec<Vec<Value>>,
) -> Result<()> {
    check(columns, &rows)?;
    // column by column, taken out of the rows as they are: hot batches have thousands of values
    for (index, (_, kind)) in columns.iter().enumerate() {
        macro_rules! array {
            ($variant:ident) => {{
                let taken = rows.iter_mut().map(|row| std::mem::replace(&mut row[index], Value::I64(None)));
                let values = taken.map(|value| if let Value::$variant(it) = value { it } else { None });
                arguments.add(values.collect::<Vec<_>>())
            }};
        }
        match kind {
            Type::BigInt => array!(I64),
            Type::Text => array!(Text),
            Type::Bytes => array!(Bytes),
            Type::Bool => array!(Bool),
            Type::Uuid => array!(Uuid),
            Type::Double => array!(F64),
        }
        .map_err(refused)?;
    }
    Ok(())
}

/// One JSON text `[[..], ..]`; bytes and uuids as hex.
pub(crate) fn sqlite_rows(columns: &[(&'static str, Type)], rows: &[Vec<Value>]) -> Result<SqliteArguments> {
    check(columns, rows)?;
    let mut json = Vec::with_capacity(rows.len() * columns.len() * 24 + 2);
    json.push(b'[');
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.push(b'[');
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            cell(&mut json, value)?;
        }
        json.push(b']');
    }
    json.push(b']');
    let text = String::from_utf8(json).map_err(refused)?;
    let mut arguments = SqliteArguments::default();
    arguments.add(text).map_err(refused)?;
    Ok(arguments)
}

fn cell(json: &mut Vec<u8>, value: &Value) -> Result<()> {
    match value {
        Value::I64(Some(it)) => serde_json::to_writer(json, it).map_err(refused)?,
        Value::Text(Some(it)) => serde_json::to_writer(json, it).map_err(refused)?,
        Value::Bool(Some(it)) => json.push(if *it { b'1' } else { b'0' }),
        Value::F64(Some(it)) => serde_json::to_writer(json, it).map_err(refused)?,
        Value::Bytes(Some(it)) => hex(json, it),
        Value::Uuid(Some(it)) => hex(json, it.as_bytes()),
        Value::I64(None)
        | Value::Text(None)
        | Value::Bool(None)
        | Value::F64(None)
        | Value::Bytes(None)
        | Value::Uuid(None) => json.extend_from_slice(b"null"),
    }
    Ok(())
}

fn hex(json: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    json.push(b'"');
    for byte in bytes {
        json.push(DIGITS[usize::from(byte >> 4)]);
        json.push(DIGITS[usize::from(byte & 15)]);
    }
    json.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_shape_is_refused() {
        let columns = [("a", Type::BigInt), ("b", Type::Text)];
        assert!(check(&columns, &[vec![Value::from(1_i64)]]).is_err());
        assert!(check(&columns, &[vec![Value::from(1_i64), Value::from(true)]]).is_err());
        assert!(check(&columns, &[vec![Value::I64(None), Value::Text(None)]]).is_ok());
    }

    #[test]
    fn cells_are_json() {
        let mut json = Vec::new();
        for value in [Value::from("a\"\n"), Value::from([0_u8, 255]), Value::from(1.0), Value::Uuid(None)] {
            cell(&mut json, &value).unwrap();
        }
        assert_eq!(String::from_utf8(json).unwrap(), r#""a\"\n""00ff"1.0null"#);
    }
}
