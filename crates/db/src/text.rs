//! The markers in statement texts, and a cache of the texts built from them.
//!
//! Statement caches of both drivers are keyed by the text, so each marked text is built once per engine.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::value::{Part, Type};

/// Texts kept. Marked texts are `'static`, so a program has a fixed number of them; the limit guards against generated columns.
const CACHE_LIMIT: usize = 4_096;

struct Built {
    engine: Engine,
    sql: &'static str,
    columns: Vec<(&'static str, Type)>,
    text: Arc<str>,
}

#[derive(Default)]
struct Cache {
    hasher: RandomState,
    texts: Mutex<HashMap<u64, Vec<Built>>>,
}

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::default);

/// The text of a statement without `{rows}`.
pub(crate) fn plain(engine: Engine, sql: &'static str) -> Result<SqlStr> {
    if sql.contains('{') { cached(engine, sql, &[]) } else { Ok(SqlStr::from_static(sql)) }
}

/// The text of a statement with `{rows}` of these columns.
pub(crate) fn rows(engine: Engine, sql: &'static str, columns: &[(&'static str, Type)]) -> Result<SqlStr> {
    if columns.is_empty() {
        return Err(Error::misuse("a batch needs columns"));
    }
    cached(engine, sql, columns)
}

fn cached(engine: Engine, sql: &'static str, columns: &[(&'static str, Type)]) -> Result<SqlStr> {
    let key = CACHE.hasher.hash_one((engine, sql, columns));
    let mut texts = CACHE.texts.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |built: &&Built| built.engine == engine && built.sql == sql && built.columns == columns;
    if let Some(built) = texts.get(&key).and_then(|list| list.iter().find(same)) {
        return Ok(AssertSqlSafe(Arc::clone(&built.text)).into_sql_str());
    }
    let text: Arc<str> = expand(engine, sql, columns, 1)?.into();
    if texts.len() >= CACHE_LIMIT {
        texts.clear();
    }
    let built = Built { engine, sql, columns: columns.to_vec(), text: Arc::clone(&text) };
    texts.entry(key).or_default().push(built);
    Ok(AssertSqlSafe(text).into_sql_str())
}

/// The text of several batches as one statement of PostgreSQL, which answers the number of rows each has changed.
pub(crate) fn together(parts: &[Part]) -> Result<SqlStr> {
    let mut text = String::with_capacity(parts.len() * 512);
    let mut counts = String::with_capacity(parts.len() * 40);
    let mut first = 1;
    for (part, name) in parts.iter().zip(COUNTS) {
        let separator = if first == 1 { "WITH " } else { ", " };
        let sql = expand(Engine::Postgres, part.sql, part.columns, first)?;
        write!(text, "{separator}{name} AS ({sql} RETURNING 1)").map_err(|_| Error::misuse("text"))?;
        let separator = if first == 1 { "SELECT " } else { ", " };
        write!(counts, "{separator}(SELECT COUNT(*) FROM {name}) AS {name}")
            .map_err(|_| Error::misuse("text"))?;
        first += part.columns.len();
    }
    text.push(' ');
    text.push_str(&counts);
    Ok(AssertSqlSafe(text).into_sql_str())
}

/// The names of the counts that [`together`] answers, and with them the most parts it takes.
pub(crate) const COUNTS: [&str; 24] = [
    "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10", "n11", "n12", "n13", "n14", "n15",
    "n16", "n17", "n18", "n19", "n20", "n21", "n22", "n23",
];

/// Replaces the markers; parameters are numbered from `first`.
fn expand(engine: Engine, sql: &str, columns: &[(&'static str, Type)], first: usize) -> Result<String> {
    let mut out = String::with_capacity(sql.len() + 128);
    let mut rest = sql;
    let mut has_rows = false;
    while let Some((before, after)) = rest.split_once('{') {
        let (marker, after) = after.split_once('}').ok_or_else(|| Error::misuse("marker without end"))?;
        out.push_str(before);
        match marker.split_once(':') {
            None if marker == "rows" && !columns.is_empty() => {
                has_rows = true;
                out.push_str(&source(engine, columns, first)?);
            }
            None if marker == "now" => out.push_str(match engine {
                Engine::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
                Engine::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            }),
            // no stronger than an UPDATE that leaves the key alone: foreign key checks of others pass
            Some(("lock", table)) if is_name(table) => {
                if engine == Engine::Postgres {
                    write!(out, "FOR NO KEY UPDATE OF {table}").map_err(|_| Error::misuse("text"))?;
                }
            }
            _ => return Err(Error::misuse(format!("unknown marker {{{marker}}}"))),
        }
        rest = after;
    }
    if !columns.is_empty() && !has_rows {
        return Err(Error::misuse("a batch needs the marker {rows}"));
    }
    out.push_str(rest);
    Ok(out)
}

/// What `{rows}` stands for.
fn source(engine: Engine, columns: &[(&'static str, Type)], first: usize) -> Result<String> {
    if let Some((name, _)) = columns.iter().find(|(name, _)| !is_name(name)) {
        return Err(Error::misuse(format!("column name {name:?} is not allowed")));
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let items: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| match engine {
            Engine::Postgres => format!("${}::{}[]", first + index, postgres_name(*kind)),
            Engine::Sqlite => match kind {
                Type::Bytes | Type::Uuid => format!("unhex(value->>{index}) AS {name}"),
                Type::Double => format!("CAST(value->>{index} AS REAL) AS {name}"),
                Type::BigInt | Type::Text | Type::Bool => format!("value->>{index} AS {name}"),
            },
        })
        .collect();
    Ok(match engine {
        Engine::Postgres => format!("UNNEST({}) AS r({})", items.join(", "), names.join(", ")),
        Engine::Sqlite => format!("(SELECT {} FROM json_each($1)) AS r", items.join(", ")),
    })
}

fn postgres_name(kind: Type) -> &'static str {
    match kind {
        Type::BigInt => "bigint",
        Type::Text => "text",
        Type::Bytes => "bytea",
        Type::Bool => "boolean",
        Type::Uuid => "uuid",
        Type::Double => "double precision",
    }
}

/// Lower case, digits and underscore, not starting with a digit: needs no quoting anywhere.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.len() <= 63
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[(&str, Type)] = &[("node", Type::Text), ("id", Type::Uuid), ("x", Type::Double)];

    #[test]
    fn rows_become_what_the_engine_knows() {
        let sql = "SELECT 1 FROM {rows} WHERE true";
        assert_eq!(
            expand(Engine::Postgres, sql, COLUMNS, 1).unwrap(),
            "SELECT 1 FROM UNNEST($1::text[], $2::uuid[], $3::double precision[]) AS r(node, id, x) WHERE true"
        );
        assert_eq!(
            expand(Engine::Sqlite, sql, COLUMNS, 1).unwrap(),
            "SELECT 1 FROM (SELECT value->>0 AS node, unhex(value->>1) AS id, CAST(value->>2 AS REAL) AS x \
             FROM json_each($1)) AS r WHERE true"
        );
    }

    #[test]
    fn a_lock_is_said_on_postgresql_only() {
        let sql = "SELECT a FROM t {lock:t}";
        assert_eq!(expand(Engine::Postgres, sql, &[], 1).unwrap(), "SELECT a FROM t FOR NO KEY UPDATE OF t");
        assert_eq!(expand(Engine::Sqlite, sql, &[], 1).unwrap(), "SELECT a FROM t ");
    }

    #[test]
    fn the_time_is_that_of_the_engine() {
        let sql = "SELECT {now} AS now";
        assert!(expand(Engine::Postgres, sql, &[], 1).unwrap().contains("clock_timestamp()"));
        assert!(expand(Engine::Sqlite, sql, &[], 1).unwrap().contains("unixepoch('subsec')"));
    }

    #[test]
    fn wrong_markers_and_names_are_refused() {
        for sql in ["{row}", "{rows}", "{lock:a b}", "{lock:", "{}"] {
            assert!(expand(Engine::Sqlite, sql, &[], 1).is_err(), "{sql}");
        }
        assert!(expand(Engine::Sqlite, "SELECT 1", COLUMNS, 1).is_err());
        for name in ["", "1a", "a;b", "a\"", "A", "é"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn batches_become_one_statement_with_their_parameters_in_a_row() {
        const IDS: &[(&str, Type)] = &[("id", Type::Uuid)];
        let insert = Part::new(
            "INSERT INTO t (node, id, x) SELECT r.node, r.id, r.x FROM {rows}",
            COLUMNS,
            Vec::new(),
        );
        let delete = Part::new("DELETE FROM u WHERE id IN (SELECT r.id FROM {rows})", IDS, Vec::new());
        assert_eq!(
            together(&[insert, delete]).unwrap().as_str(),
            "WITH n0 AS (INSERT INTO t (node, id, x) SELECT r.node, r.id, r.x FROM UNNEST($1::text[], $2::uuid[], \
             $3::double precision[]) AS r(node, id, x) RETURNING 1), n1 AS (DELETE FROM u WHERE id IN (SELECT r.id \
             FROM UNNEST($4::uuid[]) AS r(id)) RETURNING 1) SELECT (SELECT COUNT(*) FROM n0) AS n0, \
             (SELECT COUNT(*) FROM n1) AS n1"
        );
    }

    #[test]
    fn one_text_is_built_once() {
        let first = rows(Engine::Postgres, "SELECT r.node FROM {rows}", COLUMNS).unwrap();
        let elsewhere = COLUMNS.to_vec();
        let again = rows(Engine::Postgres, "SELECT r.node FROM {rows}", &elsewhere).unwrap();
        assert_eq!(first.as_str().as_ptr(), again.as_str().as_ptr());
        assert_ne!(
            first.as_str(),
            rows(Engine::Sqlite, "SELECT r.node FROM {rows}", COLUMNS).unwrap().as_str()
        );
    }
}
