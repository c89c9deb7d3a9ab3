//! What PostgreSQL knows of new tables. Of a table that was never analyzed it knows nothing, and of two indexes that
//! begin with the same column it may take the one that finds every row of a channel where one order is asked for. The
//! plan of a prepared statement stays until somebody analyzes the table: autovacuum, a minute after it began to grow.
//! Until then each lookup reads all that came before it, so a new deployment looks earlier.

use crate::database::Db;
use crate::error::Result;
use crate::params;

/// From this size on, in bytes, a table has enough rows to tell its indexes apart.
const ENOUGH: i64 = 64 * 1024;
/// PostgreSQL: the longest that the analysis of new tables may take. It samples, so it takes well under a second each.
const LIMIT: &str = "60s";

impl Db {
    /// Has the tables of this schema analyzed that have grown and never were, and answers their names. Tables that
    /// another process analyzes at the moment are left to it. `SQLite` plans by its indexes alone: it has none.
    pub async fn analyze_new_tables(&self) -> Result<Vec<String>> {
        if !self.engine().has_statistics() {
            return Ok(Vec::new());
        }
        let new = self.never_analyzed().await?;
        if !new.is_empty() {
            let quoted: Vec<String> =
                new.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
            let mut tx = self.begin().await?;
            tx.control(format!(
                "SET LOCAL statement_timeout = '{LIMIT}'; ANALYZE (SKIP_LOCKED) {}",
                quoted.join(", ")
            ))
            .await?;
            tx.commit().await?;
        }
        Ok(new)
    }

    async fn never_analyzed(&self) -> Result<Vec<String>> {
        let mut tx = self.snapshot().await?;
        let rows = tx
            .fetch_all(
                "SELECT CAST(c.relname AS TEXT) AS name FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
                  WHERE c.relkind = 'r' AND (c.reltuples < 0 OR c.relpages = 0)
                    AND pg_catalog.pg_relation_size(c.oid) >= $1
                  ORDER BY c.relname",
                params![ENOUGH],
            )
            .await?;
        rows.iter().map(|row| row.get("name")).collect()
    }
}
