//! A transaction: statements in the portable dialect, then `commit`, or nothing happened.

use std::time::{Duration, Instant};

use sqlx::SqlStr;

use crate::connection::{Got, Params, Want};
use crate::database::Db;
use crate::done::Done;
use crate::drill;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::Plans;
use crate::pool::Lease;
use crate::row::Row;
use crate::text::{self, COUNTS};
use crate::to_the_end::to_the_end;
use crate::value::{Part, Type, Value};
use crate::writer::Turn;

/// An open transaction. Dropped without [`Tx::commit`] it is rolled back.
///
/// After a failed statement it is *aborted*, on both engines: every further statement and the commit are refused,
/// unless [`Tx::rollback_to`] goes back to a savepoint. What was read in a write transaction may be answered
/// to callers only after its commit.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Tx {
    db: Db,
    link: Link,
    mode: Mode,
    state: State,
    /// For each open savepoint, how much of `done.after` there was before it.
    savepoints: Vec<usize>,
    done: Done,
    /// The server ended a statement because it took too long.
    is_too_slow: bool,
}

pub(crate) enum Link {
    Pooled(Lease),
    Writer(Turn),
}

/// What the transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Writes; rolled back unless committed.
    Write,
    /// Reads, each statement seeing the newest commits.
    Read,
    /// Reads, all statements seeing one moment.
    Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A statement is under way. Seen by the next call only if that statement's future was dropped.
    Running,
    Aborted,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("mode", &self.mode).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Tx {
    pub(crate) fn new(db: Db, link: Link, mode: Mode) -> Self {
        let (state, savepoints, done) = (State::Open, Vec::new(), Done::default());
        Self { db, link, mode, state, savepoints, done, is_too_slow: false }
    }

    /// The engine that runs the statements.
    pub fn engine(&self) -> Engine {
        self.db.engine()
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> Result<u64> {
        let text = text::plain(self.engine(), sql)?;
        Ok(self.run(text, Params::Plain(params), Want::Count).await?.count())
    }

    /// All rows of the result. Bound it with a `LIMIT`.
    pub async fn fetch_all(&mut self, sql: &'static str, params: Vec<Value>) -> Result<Vec<Row>> {
        let text = text::plain(self.engine(), sql)?;
        Ok(self.run(text, Params::Plain(params), Want::Rows).await?.rows())
    }

    /// The first row, if there is one.
    pub async fn fetch_optional(&mut self, sql: &'static str, params: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.fetch_all(sql, params).await?.into_iter().next())
    }

    /// The first row; that there is none is an error.
    pub async fn fetch_one(&mut self, sql: &'static str, params: Vec<Value>) -> Result<Row> {
        self.fetch_optional(sql, params).await?.ok_or_else(|| Error::Decode("no row".into()))
    }

    /// The database's time, in microseconds since the epoch (of `SQLite`: the machine's).
    pub async fn now(&mut self) -> Result<i64> {
        self.fetch_one("SELECT {now} AS now", Vec::new()).await?.get("now")
    }

    /// One row, locked until the end of the transaction: the text ends in `{lock:t}`, `t` being the table's alias.
    pub async fn lock_one(&mut self, sql: &'static str, params: Vec<Value>) -> Result<Option<Row>> {
        if !sql.contains("{lock:") {
            return Err(Error::misuse("lock_one needs the marker {lock:table}"));
        }
        self.fetch_optional(sql, params).await
    }

    /// Many rows in one statement: `{rows}` in the text is a table `r` with these columns.
    ///
    /// `INSERT INTO t (a, b) SELECT r.a, r.b FROM {rows} WHERE true ON CONFLICT DO NOTHING` (`SQLite` needs the
    /// `WHERE true` before `ON CONFLICT`). No rows, no statement. Gives the number of rows changed.
    pub async fn batch(
        &mut self,
        sql: &'static str,
        columns: &[(&'static str, Type)],
        rows: Vec<Vec<Value>>,
    ) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let text = text::rows(self.engine(), sql, columns)?;
        Ok(self.run(text, Params::Rows(columns, rows), Want::Count).await?.count())
    }

    /// Like [`Tx::batch`], for a statement with a result. Rows to be locked are ordered and end in `{lock:p}`:
    /// `SELECT p.* FROM positions p JOIN {rows} ON p.sku = r.sku ORDER BY p.sku {lock:p}`.
    pub async fn batch_fetch(
        &mut self,
        sql: &'static str,
        columns: &[(&'static str, Type)],
        rows: Vec<Vec<Value>>,
    ) -> Result<Vec<Row>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let text = text::rows(self.engine(), sql, columns)?;
        Ok(self.run(text, Params::Rows(columns, rows), Want::Rows).await?.rows())
    }

    /// Several batches at once: one round trip on PostgreSQL, one statement after another on `SQLite`. Each text is an
    /// `INSERT`, `UPDATE` or `DELETE` without a result; none may depend on what another of them writes, and no two
    /// may write the same row. At most 24 of them may have rows. Gives the number of rows that each has changed, 0 for those without rows.
    pub async fn together(&mut self, parts: Vec<Part>) -> Result<Vec<u64>> {
        let (mut counts, mut filled) = (vec![0; parts.len()], Vec::with_capacity(parts.len()));
        let mut kept = Vec::with_capacity(parts.len());
        for (place, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.rows.is_empty()) {
            filled.push(place);
            kept.push(part);
        }
        if kept.len() > COUNTS.len() {
            return Err(Error::misuse(format!("more than {} batches at once", COUNTS.len())));
        }
        if self.engine() == Engine::Sqlite || kept.len() < 2 {
            for (place, part) in filled.into_iter().zip(kept) {
                counts[place] = self.batch(part.sql, part.columns, part.rows).await?;
            }
            return Ok(counts);
        }
        let text = text::together(&kept)?;
        let rows = self.run(text, Params::Parts(kept), Want::Rows).await?.rows();
        let row = rows.first().ok_or_else(|| Error::Decode("no row".into()))?;
        for (place, name) in filled.into_iter().zip(COUNTS) {
            let count: i64 = row.get(name)?;
            counts[place] = u64::try_from(count).unwrap_or(0);
        }
        Ok(counts)
    }

    /// Marks a place to go back to. Savepoints nest; the calls below mean the innermost.
    pub async fn savepoint(&mut self) -> Result<()> {
        self.needs_transaction()?;
        let name = self.savepoints.len() + 1;
        self.control(format!("SAVEPOINT s{name}")).await?;
        self.savepoints.push(self.done.after.len());
        Ok(())
    }

    /// Undoes everything since the innermost savepoint and removes it. An aborted transaction is usable again.
    pub async fn rollback_to(&mut self) -> Result<()> {
        let name = self.innermost()?;
        if self.state == State::Aborted {
            self.state = State::Open;
        }
        self.control(format!("ROLLBACK TO SAVEPOINT s{name}; RELEASE SAVEPOINT s{name}")).await?;
        if let Some(kept) = self.savepoints.pop() {
            self.done.after.truncate(kept);
        }
        Ok(())
    }

    /// Keeps what was done since the innermost savepoint and removes it.
    pub async fn release(&mut self) -> Result<()> {
        let name = self.innermost()?;
        self.control(format!("RELEASE SAVEPOINT s{name}")).await?;
        self.savepoints.pop();
        Ok(())
    }

    /// After the commit of this transaction, [`Db::committed`] is signalled.
    pub fn wake_on_commit(&mut self) {
        self.done.wake = true;
    }

    /// Runs `after` once the commit is durable, before [`Db::committed`] is signalled. Never when the transaction, or
    /// the savepoint it was asked for in, is rolled back, nor when the outcome of the commit is unknown. It runs where
    /// other commits wait: keep it short.
    pub fn after_commit(&mut self, after: impl FnOnce() + Send + Sync + 'static) {
        self.done.after.push(Box::new(after));
    }

    /// Whether a statement was under way when its future was dropped: the caller that gave up waited for the database.
    pub fn is_interrupted(&self) -> bool {
        self.state == State::Running
    }

    /// Whether a statement took longer than the server allows.
    pub fn is_too_slow(&self) -> bool {
        self.is_too_slow
    }

    /// The database of this transaction.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Makes it durable. Returns when it is on disk, which on `SQLite` may be shared with others.
    ///
    /// Once called, the commit goes on even when the caller goes away. An [`Error::Unavailable`] from here means that
    /// the outcome is unknown. Of a reading transaction it is just the end.
    pub async fn commit(self) -> Result<()> {
        if self.mode != Mode::Write {
            return Ok(());
        }
        self.usable()?;
        drill::pass("commit.before");
        let db = self.db.clone();
        let committed = self.end().await;
        db.wrote(&committed);
        drill::pass("commit.after");
        committed
    }

    async fn end(self) -> Result<()> {
        match self.link {
            Link::Writer(turn) => turn.commit(self.done).await,
            Link::Pooled(lease) => {
                let (db, done) = (self.db, self.done);
                to_the_end(async move {
                    let committed = commit_pooled(lease).await;
                    if committed.is_ok() && done.follow() {
                        db.wake();
                    }
                    committed
                })
                .await
            }
        }
    }

    /// Runs migration or control text: several statements, no parameters.
    pub(crate) async fn control(&mut self, text: String) -> Result<()> {
        self.enter()?;
        let ran = match &mut self.link {
            Link::Pooled(lease) => {
                lease.busy = true;
                let ran = match lease.connection() {
                    Ok(connection) => connection.script(text).await,
                    Err(error) => Err(error),
                };
                lease.busy = false;
                ran
            }
            Link::Writer(turn) => {
                let ran = match turn.connection().await {
                    Ok(mut connection) => connection.script(text).await,
                    Err(error) => Err(error),
                };
                turn.used();
                ran
            }
        };
        self.leave(ran)
    }

    /// Waits longer than usual for the answers of this transaction.
    pub(crate) fn be_patient(&mut self, patience: Duration) -> Result<()> {
        if let Link::Pooled(lease) = &mut self.link {
            lease.connection()?.be_patient(patience);
        }
        Ok(())
    }

    async fn run(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        if self.mode != Mode::Write && self.db.watched_plans().is_some() {
            self.explain(&text, params.clone()).await?;
        }
        self.run_one(text, params, want).await
    }

    /// Keeps the plan of a statement for the test that watches them.
    async fn explain(&mut self, text: &SqlStr, params: Params<'_>) -> Result<()> {
        let engine = self.engine();
        let rows = self.run_one(Plans::question(engine, text), params, Want::Rows).await?.rows();
        if let Some(plans) = self.db.watched_plans() {
            plans.keep(engine, text, &rows);
        }
        Ok(())
    }

    async fn run_one(&mut self, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
        self.enter()?;
        let started = Instant::now();
        let named = text.clone();
        let ran = match &mut self.link {
            Link::Pooled(lease) => {
                // each statement of a plain read stands for itself, so it can be asked again elsewhere
                let again = (self.mode == Mode::Read).then(|| params.clone());
                match (ask(lease, text.clone(), params, want).await, again) {
                    (Err(error), Some(params)) if error.is_lost() => {
                        Box::pin(ask_elsewhere(lease, text, params, want)).await
                    }
                    (ran, _) => ran,
                }
            }
            Link::Writer(turn) => {
                let ran = match turn.connection().await {
                    Ok(mut connection) => connection.run(text, params, want).await,
                    Err(error) => Err(error),
                };
                turn.used();
                ran
            }
        };
        self.notice(&named, started.elapsed());
        self.leave(ran)
    }

    fn notice(&self, text: &SqlStr, took: Duration) {
        if took >= self.db.slow_statement() {
            metrics::counter!("entrepot_db_slow_statements_total").increment(1);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(took_ms, statement = text.as_str(), "slow statement");
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.usable()?;
        self.state = State::Running;
        Ok(())
    }

    fn leave<T>(&mut self, ran: Result<T>) -> Result<T> {
        let aborts = ran.is_err() && self.mode != Mode::Read;
        self.is_too_slow |= ran.as_ref().is_err_and(Error::is_too_slow);
        if aborts {
            self.db.wrote(&ran);
        }
        self.state = if aborts { State::Aborted } else { State::Open };
        if let (Err(Error::Unavailable(_)), Link::Pooled(lease)) = (&ran, &mut self.link) {
            lease.broken = true;
        }
        ran
    }

    fn usable(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Running => Err(Error::misuse("transaction has an abandoned statement")),
            State::Aborted => Err(Error::misuse("transaction is aborted by an earlier error")),
        }
    }

    fn needs_transaction(&self) -> Result<()> {
        if self.mode == Mode::Write { Ok(()) } else { Err(Error::misuse("only a write has savepoints")) }
    }

    fn innermost(&self) -> Result<usize> {
        match self.savepoints.len() {
            0 => Err(Error::misuse("there is no savepoint")),
            name => Ok(name),
        }
    }
}

/// Busy until the answer is there: a lease that is dropped meanwhile is closed.
async fn ask(lease: &mut Lease, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
    lease.busy = true;
    let ran = match lease.connection() {
        Ok(connection) => connection.run(text, params, want).await,
        Err(error) => Err(error),
    };
    lease.busy = false;
    ran
}

async fn ask_elsewhere(lease: &mut Lease, text: SqlStr, params: Params<'_>, want: Want) -> Result<Got> {
    lease.replace().await?;
    ask(lease, text, params, want).await
}

async fn commit_pooled(mut lease: Lease) -> Result<()> {
    lease.busy = true;
    let committed = lease.connection()?.control("COMMIT").await;
    lease.busy = false;
    lease.in_tx = false;
    lease.broken = committed.is_err();
    if committed.is_ok() {
        metrics::counter!("entrepot_db_commits_total", "engine" => "postgres").increment(1);
        metrics::counter!("entrepot_db_transactions_total", "engine" => "postgres").increment(1);
    }
    committed
}
