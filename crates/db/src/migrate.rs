//! Numbered migrations per set (one set per service or crate), applied in order, each in its own transaction.

use sha2::{Digest as _, Sha256};

use crate::database::Db;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::params;
use crate::tx::Tx;

/// One numbered step. Both texts say the same thing.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Dense from 1 within its set.
    pub version: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
    /// The statements for `SQLite`.
    pub sqlite: &'static str,
}

/// All steps of a set, in order.
pub type Migrations = [Migration];

const TABLE_POSTGRES: &str = "CREATE TABLE IF NOT EXISTS schema_versions (
    set_name TEXT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    PRIMARY KEY (set_name, version))";
const TABLE_SQLITE: &str = "CREATE TABLE IF NOT EXISTS schema_versions (
    set_name TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    PRIMARY KEY (set_name, version)) STRICT";

impl Migration {
    fn text(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Postgres => self.postgres,
            Engine::Sqlite => self.sqlite,
        }
    }

    /// Line ends do not count.
    fn checksum(&self, engine: Engine) -> String {
        let text = self.text(engine).replace("\r\n", "\n");
        Sha256::digest(text.as_bytes()).iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"))
    }
}

impl Db {
    /// Brings a set up to date and returns how many steps were applied. Any number of processes may do so at once.
    ///
    /// Refuses a schema written by a newer program and one whose applied steps differ from ours.
    pub async fn migrate(&self, set: &str, migrations: &Migrations) -> Result<u32> {
        for (index, migration) in migrations.iter().enumerate() {
            if usize::try_from(migration.version).ok() != Some(index + 1) {
                return Err(Error::misuse(format!("migrations of set {set} are not numbered 1, 2, 3 ..")));
            }
        }
        self.prepare().await?;
        let mut applied = 0;
        loop {
            let mut tx = self.locked().await?;
            let done = verify(&mut tx, set, migrations).await?;
            let Some(next) = migrations.get(done) else { return Ok(applied) };
            tx.control(next.text(self.engine()).to_owned()).await?;
            tx.execute(
                "INSERT INTO schema_versions (set_name, version, name, checksum) VALUES ($1, $2, $3, $4)",
                params![set, next.version, next.name, next.checksum(self.engine())],
            )
            .await?;
            tx.commit().await?;
            tracing::info!(set, version = next.version, name = next.name, "schema migrated");
            applied += 1;
        }
    }

    /// The schema and the table of versions.
    async fn prepare(&self) -> Result<()> {
        let mut tx = self.locked().await?;
        if let (Engine::Postgres, Some(schema)) = (self.engine(), &self.options().schema) {
            let there = tx
                .fetch_optional(
                    "SELECT 1 AS there FROM pg_catalog.pg_namespace WHERE nspname = $1",
                    params![schema],
                )
                .await?;
            if there.is_none() {
                tx.control(format!("CREATE SCHEMA {schema}")).await?;
            }
        }
        let table = match self.engine() {
            Engine::Postgres => TABLE_POSTGRES,
            Engine::Sqlite => TABLE_SQLITE,
        };
        tx.control(table.to_owned()).await?;
        tx.commit().await
    }

    /// A write transaction that only one process at a time has: the writer's on `SQLite`, under an advisory lock on
    /// PostgreSQL. Steps may take long, so the usual time limits are off.
    async fn locked(&self) -> Result<Tx> {
        let mut tx = self.begin().await?;
        if self.engine() == Engine::Postgres {
            tx.control("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0".to_owned()).await?;
            let key = self.options().schema.as_deref().unwrap_or("public");
            tx.fetch_one(
                "SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 7160923))) AS l",
                params![format!("entrepot schema {key}")],
            )
            .await?;
        }
        Ok(tx)
    }
}

/// How many steps are applied, all of them being ours.
async fn verify(tx: &mut Tx, set: &str, migrations: &Migrations) -> Result<usize> {
    let rows = tx
        .fetch_all(
            "SELECT version, checksum FROM schema_versions WHERE set_name = $1 ORDER BY version",
            params![set],
        )
        .await?;
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    for (index, row) in rows.iter().enumerate() {
        let version: u32 = row.get("version")?;
        let Some(migration) = migrations.get(index) else {
            let found = rows.last().map_or(Ok(version), |row| row.get("version"))?;
            return Err(Error::NewerSchema { set: set.to_owned(), found, known });
        };
        if version != migration.version || row.get::<String>("checksum")? != migration.checksum(tx.engine()) {
            return Err(Error::ChangedMigration { set: set.to_owned(), version });
        }
    }
    Ok(rows.len())
}
