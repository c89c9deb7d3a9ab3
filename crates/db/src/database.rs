//! Opening a database and beginning work in it: the room that knows the engines.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::watch;

use crate::connection::{Address, Connection, Params, Server, Want};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::Plans;
use crate::pool::Pool;
use crate::remote::Remote;
use crate::text::is_name;
use crate::writer::Writer;

/// A disk counts as full for this long after the last write that failed for it.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Before this, a reset of the write-ahead log could lose commits.
const SQLITE_AT_LEAST: [u32; 3] = [3, 51, 3];
/// Prepared statements kept per connection.
const STATEMENTS: usize = 512;
/// Rows are found by key, many with one prepared statement. A plan made while a table was empty reads all of it, and
/// stays in use after the table has grown until the next ANALYZE: so these plans are not offered, but for surveys.
/// A bitmap scan collects all that an index finds before it sorts it, where a page needs the first rows along the index.
pub(crate) const AVOIDED: [&str; 4] =
    ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"];
/// The server's end of a connection: a statement whose caller closed the connection ends within a second (PostgreSQL
/// 14 and later on Linux), and what a silent network left behind within about 20.
const NOTICES_LOSS: [(&str, &str); 5] = [
    ("client_connection_check_interval", "1s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
];
/// How much longer than the server's own limit an answer may stay out: the server ends the statement first, if it can.
pub(crate) const NETWORK: Duration = Duration::from_secs(5);

/// How a database is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// PostgreSQL: the schema that holds the tables (created by [`Db::migrate`]). `SQLite` has none.
    pub schema: Option<String>,
    /// Connections for writing on PostgreSQL, and as many again for reading on both engines. Opened when needed.
    pub max_connections: u32,
    /// PostgreSQL: the longest wait for a row lock, in ms. Ends in [`Error::Retry`].
    pub lock_timeout_ms: u64,
    /// PostgreSQL: the longest run of one statement, in ms.
    pub statement_timeout_ms: u64,
    /// The longest that a write transaction may do nothing, in ms. Then it is rolled back.
    pub idle_in_tx_timeout_ms: u64,
    /// PostgreSQL: a connection that gives no answer for this long, in ms, is asked about on another one. Unless the
    /// server still works on the statement, it is lost, and those that rest are closed with it.
    pub answer_timeout_ms: u64,
    /// The longest wait for a connection or for the writer's turn, in ms. Ends in [`Error::Unavailable`].
    pub acquire_timeout_ms: u64,
    /// Statements that take longer are logged, in ms.
    pub slow_statement_ms: u64,
    /// PostgreSQL: whether the connection may leave this machine without TLS.
    pub allow_unencrypted: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: None,
            max_connections: 12,
            lock_timeout_ms: 2_000,
            statement_timeout_ms: 10_000,
            idle_in_tx_timeout_ms: 10_000,
            answer_timeout_ms: 2_000,
            acquire_timeout_ms: 5_000,
            slow_statement_ms: 250,
            allow_unencrypted: false,
        }
    }
}

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    options: Options,
    pub(crate) write: Write,
    pub(crate) readers: Pool,
    wakeups: Arc<watch::Sender<u64>>,
    /// Why the last write failed, if the disk was full.
    full: Mutex<Option<(Error, Instant)>>,
    attached: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    plans: OnceLock<Plans>,
}

pub(crate) enum Write {
    Postgres(Pool),
    Sqlite(Writer),
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Db").field(&self.0.engine).finish()
    }
}

impl Db {
    /// Opens `sqlite:///absolute/path/orders.db` (made when missing) or `postgres://user@host/database`.
    ///
    /// Fails when the database cannot be reached, or the engine is too old to be trusted.
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let (wakeups, _) = watch::channel(0);
        let wakeups = Arc::new(wakeups);
        let acquire = Duration::from_millis(options.acquire_timeout_ms.max(1));
        let (engine, write, readers) = if let Some(path) = url.strip_prefix("sqlite://") {
            let address = sqlite_address(path, false)?;
            private_file(path)?;
            let mut connection = address.connect(acquire).await?;
            check_sqlite(&mut connection).await?;
            let idle = Duration::from_millis(options.idle_in_tx_timeout_ms.max(1));
            let writer = Writer::start(connection, address, Arc::clone(&wakeups), acquire, idle);
            let readers = Pool::new(sqlite_address(path, true)?, options.max_connections, acquire);
            (Engine::Sqlite, Write::Sqlite(writer), readers)
        } else {
            crate::url::check(url, options.allow_unencrypted)
                .map_err(|error| Error::misuse(format!("the database URL {error}")))?;
            let pool = Pool::new(postgres_address(url, options, false)?, options.max_connections, acquire);
            let lease = pool.lease(pool.permit().await?).await?;
            drop(lease);
            let readers = Pool::new(postgres_address(url, options, true)?, options.max_connections, acquire);
            (Engine::Postgres, Write::Postgres(pool), readers)
        };
        Ok(Self(Arc::new(Shared {
            engine,
            options: options.clone(),
            write,
            readers,
            wakeups,
            full: Mutex::default(),
            attached: Mutex::default(),
            plans: OnceLock::new(),
        })))
    }

    /// The engine behind it.
    pub fn engine(&self) -> Engine {
        self.0.engine
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Signalled after each commit whose transaction asked for it with [`crate::Tx::wake_on_commit`].
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.wakeups.subscribe()
    }

    /// The one `T` of this handle and its clones, made when it is first asked for: what a room above keeps in memory
    /// about this database.
    pub fn attached<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut attached = self.0.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let found = attached.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(found).downcast().unwrap_or_default()
    }

    /// That the disk is full, as a write found it. Forgotten at the first commit that comes 5 s later: small writes may
    /// still find room.
    pub fn out_of_space(&self) -> Option<Error> {
        self.0.full.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(error, _)| error.clone())
    }

    /// Takes note of how a write ended.
    pub(crate) fn wrote<T>(&self, outcome: &Result<T>) {
        let mut full = self.0.full.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) if full.as_ref().is_some_and(|(_, since)| since.elapsed() > FULL_FOR) => *full = None,
            Err(error) if error.is_full() => *full = Some((error.clone(), Instant::now())),
            Ok(_) | Err(_) => {}
        }
    }

    /// Ends all work and closes the files or connections.
    pub async fn close(&self) {
        self.0.readers.close().await;
        match &self.0.write {
            Write::Postgres(pool) => pool.close().await,
            Write::Sqlite(writer) => writer.close().await,
        }
    }

    pub(crate) fn watch_plans(&self) {
        let _ = self.0.plans.set(Plans::default());
    }

    pub(crate) fn watched_plans(&self) -> Option<&Plans> {
        self.0.plans.get()
    }

    pub(crate) fn slow_statement(&self) -> Duration {
        Duration::from_millis(self.0.options.slow_statement_ms)
    }

    pub(crate) fn wake(&self) {
        self.0.wakeups.send_modify(|commits| *commits += 1);
    }
}

fn sqlite_address(path: &str, read_only: bool) -> Result<Address> {
    if !Path::new(path).is_absolute() {
        return Err(Error::misuse("sqlite url needs an absolute path"));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(!read_only)
        .read_only(read_only)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(STATEMENTS)
        .pragma("trusted_schema", "OFF")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16000")
        .disable_statement_logging();
    let options = if read_only {
        options
    } else {
        options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", "67108864")
    };
    Ok(Address { server: Server::Sqlite(Box::new(options)), patience: None })
}

/// A new file is readable by its owner only; its companions inherit that.
pub(crate) fn private_file(path: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path).map(|_| ());
    opened.map_err(|error| Error::Unavailable(format!("database file: {}", error.kind())))
}

async fn check_sqlite(connection: &mut Connection) -> Result<()> {
    let text = crate::text::plain(
        Engine::Sqlite,
        "SELECT sqlite_version() AS version, (SELECT journal_mode FROM pragma_journal_mode) AS journal",
    )?;
    let rows = connection.run(text, Params::Plain(Vec::new()), Want::Rows).await?.rows();
    let row = rows.first().ok_or_else(|| Error::Decode("no row".into()))?;
    let version: String = row.get("version")?;
    let found: Vec<u32> = version.split('.').filter_map(|part| u32::from_str(part).ok()).collect();
    if found.as_slice() < SQLITE_AT_LEAST.as_slice() {
        return Err(Error::misuse(format!("sqlite {version} is too old")));
    }
    match row.get::<String>("journal")?.as_str() {
        "wal" => Ok(()),
        other => Err(Error::misuse(format!("the file system does not allow a write-ahead log ({other})"))),
    }
}

fn postgres_address(url: &str, options: &Options, read_only: bool) -> Result<Address> {
    let ms = |ms: u64| format!("{ms}ms");
    let mut settings = vec![
        ("lock_timeout", ms(options.lock_timeout_ms)),
        ("statement_timeout", ms(options.statement_timeout_ms)),
        ("idle_in_transaction_session_timeout", ms(options.idle_in_tx_timeout_ms)),
        ("default_transaction_isolation", "read committed".to_owned()),
    ];
    if let Some(schema) = &options.schema {
        if !is_name(schema) {
            return Err(Error::misuse("schema name must be lower case letters, digits and underscore"));
        }
        settings.push(("search_path", schema.clone()));
    }
    if read_only {
        settings.push(("default_transaction_read_only", "on".to_owned()));
    }
    settings.extend(NOTICES_LOSS.map(|(name, value)| (name, value.to_owned())));
    for plan in AVOIDED.into_iter().chain(["jit"]) {
        settings.push((plan, "off".to_owned()));
    }
    let parsed = PgConnectOptions::from_str(url).map_err(Error::from)?;
    let role = if read_only { "reader" } else { "writer" };
    let name = format!("entrepot {role} {}", options.schema.as_deref().unwrap_or_default());
    let parsed = parsed
        .application_name(name.trim_end())
        .statement_cache_capacity(STATEMENTS)
        .options(settings)
        .disable_statement_logging();
    let limit = Duration::from_millis(options.statement_timeout_ms) + NETWORK;
    let patience = (options.statement_timeout_ms > 0).then_some(limit);
    let answer = Duration::from_millis(options.answer_timeout_ms.max(1));
    Ok(Address { server: Server::Postgres(Arc::new(Remote::new(parsed, answer))), patience })
}
