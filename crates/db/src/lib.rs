//! Storage: one room, two engines. Services write one SQL text; PostgreSQL and `SQLite` both run it.
//!
//! Owns the table `schema_versions` and nothing else. Listens to nothing, emits nothing.
//! Always true: what [`Tx::commit`] confirmed is on disk; a [`Tx`] dropped before that leaves no trace, also when
//! its future was cancelled half-way; no error message holds a bound value.
//! Absent on purpose: a query builder, an ORM, engine names in services. This is the only door to `sqlx`.
//!
//! ```no_run
//! # async fn f() -> db::Result<()> {
//! let db = db::Db::open("sqlite:///var/lib/entrepot/orders.db", &db::Options::default()).await?;
//! let mut tx = db.begin().await?;
//! tx.execute("UPDATE orders SET state = $2 WHERE order_no = $1", db::params![7_i64, "PLACED"]).await?;
//! tx.commit().await
//! # }
//! ```
//!
//! # The portable dialect
//!
//! Placeholders are `$1`, `$2`. Use `INSERT .. ON CONFLICT .. RETURNING`, guarded `UPDATE .. RETURNING`,
//! `UPDATE .. FROM`, row values, `COUNT(*) FILTER`, window functions, read-only CTEs, `IS NOT DISTINCT FROM`,
//! `NULLS LAST`, partial unique indexes, `CAST(SUM(x) AS BIGINT)`. Never `now()`, `::cast`, `GREATEST`, `ILIKE`,
//! `= ANY`, `DISTINCT ON`, `LATERAL`, DML in CTEs, `LIKE`. Three markers stand for what the engines say differently:
//! `{rows}` for many rows in one statement ([`Tx::batch`]), `{lock:t}` for row locks ([`Tx::lock_one`]) and `{now}`
//! for the database's own time in microseconds (of `SQLite`: the machine's), which processes can compare.
//!
//! | column | PostgreSQL | `SQLite` (`STRICT`) | Rust |
//! | --- | --- | --- | --- |
//! | id | `UUID` | `BLOB` | `Uuid` |
//! | time (microseconds), money (minor units), counts | `BIGINT` | `INTEGER` | `i64` |
//! | flag | `BOOLEAN` | `INTEGER` | `bool` |
//! | text (`COLLATE "C"` where order matters) | `TEXT` | `TEXT` | `String` |
//! | payload | `BYTEA` | `BLOB` | `Vec<u8>` |
//! | measure | `DOUBLE PRECISION` | `REAL` | `f64` |

mod begin;
mod bind;
mod connection;
mod database;
mod done;
pub mod drill;
mod engine;
mod error;
mod host;
mod migrate;
mod plan;
mod pool;
mod remote;
mod retry;
mod row;
mod schema;
mod share;
mod statement;
mod statistics;
pub mod testing;
mod text;
mod to_the_end;
mod tx;
pub mod url;
mod value;
mod writer;

pub use database::{Db, Options};
pub use engine::Engine;
pub use error::{Error, Result};
pub use migrate::{Migration, Migrations};
pub use retry::retry;
pub use row::{Portable, Row};
pub use schema::{Column, Kind, Schema, Table};
pub use share::within_share;
pub use tx::Tx;
pub use value::{Part, Type, Value};
