//! How the engine finds the rows of each reading statement: for tests that pages are read along an index.

use std::sync::{Mutex, PoisonError};

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::engine::Engine;
use crate::row::Row;

/// A reading statement and how the engine ran it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The text of the statement.
    pub sql: String,
    /// The engine's own words, a line for each step.
    pub steps: Vec<String>,
}

/// The plans of a database that were asked for and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<Vec<Plan>>);

impl Plans {
    /// The statement that asks the engine for the plan of `text`. PostgreSQL runs it and counts the rows.
    pub(crate) fn question(engine: Engine, text: &SqlStr) -> SqlStr {
        let prefix = match engine {
            Engine::Postgres => "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF)",
            Engine::Sqlite => "EXPLAIN QUERY PLAN",
        };
        AssertSqlSafe(format!("{prefix} {}", text.as_str())).into_sql_str()
    }

    pub(crate) fn keep(&self, engine: Engine, text: &SqlStr, rows: &[Row]) {
        let column = match engine {
            Engine::Postgres => "QUERY PLAN",
            Engine::Sqlite => "detail",
        };
        let steps = rows.iter().filter_map(|row| row.get(column).ok()).collect();
        let plan = Plan { sql: text.as_str().to_owned(), steps };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
    }

    pub(crate) fn take(&self) -> Vec<Plan> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plan {
    /// The first step that reads a whole table or a whole index from its beginning, if there is one.
    pub fn whole_read(&self) -> Option<&str> {
        let made_here = |name: &str| {
            let named = |step: &String| {
                step.strip_prefix("CO-ROUTINE ").or(step.strip_prefix("MATERIALIZE ")) == Some(name)
            };
            self.steps.iter().any(named)
        };
        let is_whole = |step: &&String| {
            let scanned = step.strip_prefix("SCAN ").map(|rest| rest.split(' ').next().unwrap_or_default());
            let sqlite = scanned.is_some_and(|name| {
                !step.contains("VIRTUAL TABLE") && !step.starts_with("SCAN CONSTANT ROW") && !made_here(name)
            });
            sqlite || step.contains("Seq Scan")
        };
        self.steps.iter().find(is_whole).map(String::as_str)
    }

    /// The most rows that any step that reads a table read, those passed over too. Only PostgreSQL counts them.
    pub fn rows_read(&self) -> u64 {
        let mut most = 0;
        let mut read = 0;
        for step in &self.steps {
            if let Some(passed) = number_after(step, "Rows Removed by Filter: ") {
                read += passed;
            } else if step.contains("Scan")
                && !step.contains("Function Scan")
                && !step.contains("Subquery Scan")
            {
                let loops = number_after(step, "loops=").unwrap_or(1);
                read = number_after(step, "actual rows=").unwrap_or(0) * loops;
            } else if step.trim_start().starts_with("->") {
                read = 0;
            }
            most = most.max(read);
        }
        most
    }
}

/// The whole number after `label`, decimals left out.
fn number_after(step: &str, label: &str) -> Option<u64> {
    let (_, rest) = step.split_once(label)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
