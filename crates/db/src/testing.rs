//! Databases for tests: `SQLite`, and PostgreSQL on the server that `ENTREPOT_TEST_POSTGRES` names.
//!
//! Each is empty but for the given migrations, and gone after the test.

use std::io::Write as _;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::connection::{Address, Server};
use crate::database::{Db, Options};
use crate::migrate::Migrations;
pub use crate::plan::Plan;
use crate::remote::Remote;
pub use crate::schema::Schema;

/// The variable that names a PostgreSQL server where schemas may be made.
pub const POSTGRES: &str = "ENTREPOT_TEST_POSTGRES";

/// Named migration sets.
pub type Sets<'a> = &'a [(&'a str, &'a Migrations)];

/// A database of one test. Use it like a [`Db`].
pub struct TestDb {
    db: Db,
    url: String,
    options: Options,
    _place: Place,
}

/// What is removed after the test.
enum Place {
    Folder(PathBuf),
    Schema { url: String, schema: String },
}

impl Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl TestDb {
    /// An owned handle.
    pub fn db(&self) -> Db {
        self.db.clone()
    }

    /// The same data through new connections, as another process would see it.
    ///
    /// # Panics
    /// When the database cannot be opened.
    pub async fn reopen(&self) -> Db {
        Db::open(&self.url, &self.options).await.expect("the test database opens again")
    }

    /// From now on the plan of every reading statement is kept for [`Self::plans`].
    pub fn watch_plans(&self) {
        self.db.watch_plans();
    }

    /// The plans of the statements that ran since they were asked for last.
    pub fn plans(&self) -> Vec<Plan> {
        self.db.watched_plans().map(crate::plan::Plans::take).unwrap_or_default()
    }

    /// The url it was opened with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }
}

/// How tests use a database: on a machine that runs many of them, callers wait long for their turn.
fn usual() -> Options {
    Options { acquire_timeout_ms: 60_000, ..Options::default() }
}

/// A database on each engine.
pub async fn engines(sets: Sets<'_>) -> Vec<TestDb> {
    let mut all = vec![sqlite(sets).await];
    all.extend(postgres(sets).await);
    all
}

/// The same, whose transactions wait for locks as long as it takes: one that fails was in a circle of others.
pub async fn patient_engines(sets: Sets<'_>) -> Vec<TestDb> {
    let patient = Options { lock_timeout_ms: 120_000, statement_timeout_ms: 120_000, ..usual() };
    let mut all = vec![sqlite(sets).await];
    all.extend(postgres_with(patient, sets).await);
    all
}

/// A `SQLite` database.
///
/// # Panics
/// When it cannot be made or migrated.
pub async fn sqlite(sets: Sets<'_>) -> TestDb {
    let folder = std::env::temp_dir().join(format!("entrepot-test-{}", Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let url = format!("sqlite://{}/test.db", folder.display());
    make(url, usual(), Place::Folder(folder), sets).await
}

/// A PostgreSQL database; none where [`part`] says that the test is skipped there.
///
/// # Panics
/// When no server is named, or the one that is cannot be used.
pub async fn postgres(sets: Sets<'_>) -> Option<TestDb> {
    postgres_with(usual(), sets).await
}

async fn postgres_with(options: Options, sets: Sets<'_>) -> Option<TestDb> {
    let url = server()?;
    let schema = format!("test_{}", Uuid::new_v4().simple());
    let options = Options { schema: Some(schema.clone()), ..options };
    Some(make(url.clone(), options, Place::Schema { url, schema }, sets).await)
}

fn server() -> Option<String> {
    part("PostgreSQL", POSTGRES)
}

/// The variable that lets tests be skipped for want of a part, if it is `yes`.
const SKIP: &str = "ENTREPOT_TEST_SKIP";

/// Where a part of the test suite is, from the variable that names it. None where tests without it are to be skipped:
/// then a line says so past the capturing of the test harness.
///
/// # Panics
/// When it is not named and tests are not to be skipped: a test that did nothing must not look like one that passed.
#[expect(clippy::disallowed_methods, reason = "a switch of the test suite, not a setting of the product")]
pub fn part(name: &str, variable: &str) -> Option<String> {
    let place = std::env::var(variable).ok();
    if place.is_none() {
        let skips = std::env::var(SKIP).is_ok_and(|skips| skips == "yes");
        assert!(
            skips,
            "this test needs {name}: set {variable} (tests/parts starts one), or {SKIP}=yes to skip such tests"
        );
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test} on {name}: {variable} not set");
    }
    place
}

/// A whole PostgreSQL database of one test, for a platform with a schema per service. Gone after the test.
pub struct OwnDatabase {
    server: String,
    name: String,
}

impl OwnDatabase {
    /// Its url, for platforms and processes.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let text = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(on_server(&server, text)).ok()
        });
        if !matches!(cleaner.join(), Ok(Some(()))) {
            let _ = writeln!(std::io::stderr(), "test database {} was not dropped", self.name);
        }
    }
}

/// A new database on the PostgreSQL server; none where [`part`] says that the test is skipped.
///
/// # Panics
/// When no server is named, or the one that is named by the variable cannot be used.
pub async fn own_database() -> Option<OwnDatabase> {
    let server = server()?;
    let name = format!("test_{}", Uuid::new_v4().simple());
    on_server(&server, format!("CREATE DATABASE {name}")).await.expect("the server makes a database");
    Some(OwnDatabase { server, name })
}

async fn on_server(url: &str, text: String) -> crate::Result<()> {
    let limit = std::time::Duration::from_secs(10);
    let remote = Remote::new(url.parse().map_err(crate::Error::from)?, limit);
    let address = Address { server: Server::Postgres(Arc::new(remote)), patience: None };
    let mut connection = address.connect(limit).await?;
    let ran = connection.script(text).await;
    connection.close().await;
    ran
}

/// `url` with another database.
fn with_database(url: &str, name: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, String::new()), |(rest, q)| (rest, format!("?{q}")));
    let after_scheme = rest.find("://").map_or(0, |at| at + 3);
    let end = rest[after_scheme..].find('/').map_or(rest.len(), |at| after_scheme + at);
    format!("{}/{name}{query}", &rest[..end])
}

/// The shape of the schema, comparable between engines.
///
/// # Panics
/// When it cannot be read, or has a type that is not portable.
pub async fn schema(db: &Db) -> Schema {
    Schema::of(db).await.expect("the schema can be read")
}

async fn make(url: String, options: Options, place: Place, sets: Sets<'_>) -> TestDb {
    let db = Db::open(&url, &options).await.expect("the test database opens");
    let test = TestDb { db, url, options, _place: place };
    for (set, migrations) in sets {
        test.migrate(set, migrations).await.expect("the migrations apply");
    }
    test
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Folder(folder) => drop(std::fs::remove_dir_all(folder)),
            Self::Schema { url, schema } => {
                let (url, schema) = (url.clone(), schema.clone());
                // a drop cannot wait, and the runtime of the test may be ending
                let cleaner = std::thread::spawn(move || drop_schema(&url, &schema));
                let _ = cleaner.join();
            }
        }
    }
}

fn drop_schema(url: &str, schema: &str) {
    // a transaction that the test left open would be in the way
    let text = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name IN ('entrepot writer {schema}', 'entrepot reader {schema}');
         SET lock_timeout = '2s'; DROP SCHEMA IF EXISTS {schema} CASCADE"
    );
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    if let Err(error) = runtime.block_on(on_server(url, text)) {
        let _ = writeln!(std::io::stderr(), "test schema {schema} was not dropped: {error}");
    }
}
