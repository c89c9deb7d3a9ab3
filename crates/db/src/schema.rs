//! The shape of a schema, in words that both engines share: what parity tests compare.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::Db;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::params;
use crate::tx::Tx;

/// Tables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// All tables but those of the engine itself.
    pub tables: BTreeMap<String, Table>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Columns by name.
    pub columns: BTreeMap<String, Column>,
    /// Each unique key (the primary key too) as its columns in order. A partial one ends in `(partial)`.
    pub unique: BTreeSet<Vec<String>>,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What a column holds, as `SQLite` tells it: flags are integers, ids are blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers and flags.
    Integer,
    /// Text.
    Text,
    /// Bytes and ids.
    Blob,
    /// Floating point.
    Real,
}

impl Schema {
    /// Reads the schema of a database.
    pub async fn of(db: &Db) -> Result<Self> {
        let mut tx = db.snapshot().await?;
        match db.engine() {
            Engine::Postgres => postgres(&mut tx).await,
            Engine::Sqlite => sqlite(&mut tx).await,
        }
    }

    fn column(&mut self, table: String, name: String, column: Column) {
        self.tables.entry(table).or_default().columns.insert(name, column);
    }
}

fn kind(name: &str) -> Result<Kind> {
    match name.to_ascii_lowercase().as_str() {
        "integer" | "int" | "bigint" | "smallint" | "boolean" => Ok(Kind::Integer),
        "text" | "character varying" => Ok(Kind::Text),
        "blob" | "bytea" | "uuid" => Ok(Kind::Blob),
        "real" | "double precision" => Ok(Kind::Real),
        other => Err(Error::misuse(format!("column type {other} is not portable"))),
    }
}

async fn postgres(tx: &mut Tx) -> Result<Schema> {
    let mut schema = Schema::default();
    let columns = tx
        .fetch_all(
            "SELECT CAST(c.relname AS TEXT) AS tab, CAST(a.attname AS TEXT) AS col, a.attnotnull AS strict,
                    format_type(a.atttypid, NULL) AS kind
               FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
               JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relkind IN ('r', 'p')",
            params![],
        )
        .await?;
    for row in columns {
        let column =
            Column { kind: kind(&row.get::<String>("kind")?)?, nullable: !row.get::<bool>("strict")? };
        schema.column(row.get("tab")?, row.get("col")?, column);
    }
    let keys = tx
        .fetch_all(
            "SELECT CAST(c.relname AS TEXT) AS tab, i.indpred IS NOT NULL AS partial,
                    (SELECT STRING_AGG(CASE WHEN k.attnum = 0 THEN '(expression)' ELSE CAST(a.attname AS TEXT) END,
                                       ',' ORDER BY k.place)
                       FROM UNNEST(i.indkey) WITH ORDINALITY AS k(attnum, place)
                       LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                      WHERE k.place <= i.indnkeyatts) AS cols
               FROM pg_catalog.pg_index i
               JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
              WHERE i.indisunique AND c.relkind IN ('r', 'p')",
            params![],
        )
        .await?;
    for row in keys {
        let columns: String = row.get("cols")?;
        let mut columns: Vec<String> = columns.split(',').map(str::to_owned).collect();
        if row.get("partial")? {
            columns.push("(partial)".to_owned());
        }
        schema.tables.entry(row.get("tab")?).or_default().unique.insert(columns);
    }
    Ok(schema)
}

async fn sqlite(tx: &mut Tx) -> Result<Schema> {
    let mut schema = Schema::default();
    let columns = tx
        .fetch_all(
            "SELECT t.name AS tab, c.name AS col, c.type AS kind, c.\"notnull\" <> 0 OR c.pk <> 0 AS strict,
                    c.pk AS pk, t.strict AS typed
               FROM pragma_table_list AS t JOIN pragma_table_info(t.name) AS c
              WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT GLOB 'sqlite_*'
              ORDER BY t.name, c.pk",
            params![],
        )
        .await?;
    let mut primary: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in columns {
        let (table, name): (String, String) = (row.get("tab")?, row.get("col")?);
        if !row.get::<bool>("typed")? {
            return Err(Error::misuse(format!("table {table} is not STRICT")));
        }
        if row.get::<i64>("pk")? > 0 {
            primary.entry(table.clone()).or_default().push(name.clone());
        }
        let column =
            Column { kind: kind(&row.get::<String>("kind")?)?, nullable: !row.get::<bool>("strict")? };
        schema.column(table, name, column);
    }
    for (table, columns) in primary {
        schema.tables.entry(table).or_default().unique.insert(columns);
    }
    let keys = tx
        .fetch_all(
            "SELECT t.name AS tab, i.name AS idx, i.partial AS partial, COALESCE(c.name, '(expression)') AS col
               FROM pragma_table_list AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_info(i.name) AS c
              WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT GLOB 'sqlite_*' AND i.\"unique\" = 1
              ORDER BY t.name, i.name, c.seqno",
            params![],
        )
        .await?;
    let mut unique: BTreeMap<(String, String), (bool, Vec<String>)> = BTreeMap::new();
    for row in keys {
        let key = unique.entry((row.get("tab")?, row.get("idx")?)).or_default();
        key.0 = row.get("partial")?;
        key.1.push(row.get("col")?);
    }
    for ((table, _), (partial, mut columns)) in unique {
        if partial {
            columns.push("(partial)".to_owned());
        }
        schema.tables.entry(table).or_default().unique.insert(columns);
    }
    Ok(schema)
}
