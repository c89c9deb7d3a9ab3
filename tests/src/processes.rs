//! The platform as it runs at scale: three processes, one PostgreSQL database, one Kafka.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bus::Topic;
use db::testing::OwnDatabase;
use db::{Db, Options, Row};
use entrepot::clients::Clients;
use entrepot::exit::Class;
use tempfile::TempDir;
use test_world::{eventually, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::rest;
use crate::world::People;

/// The services, each in a process of its own.
pub const SERVICES: [&str; 3] = ["inventory", "fulfillment", "orders"];

/// The variable that names a Kafka.
const KAFKA: &str = "ENTREPOT_TEST_KAFKA";

/// The broker of the test run; none where tests are to be skipped for want of one.
pub fn broker() -> Option<String> {
    db::testing::part("Kafka", KAFKA)
}

/// A prefix of topics and groups that nobody else uses.
pub fn fresh_prefix() -> String {
    format!("test-{}.", &Uuid::new_v4().simple().to_string()[..8])
}

/// An event as its owner keeps it.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Identifies it.
    pub event_id: Uuid,
    /// What it happened to.
    pub aggregate: Uuid,
    /// Its number among the events of the aggregate, from 1 on.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The encoded message.
    pub payload: Vec<u8>,
}

impl StoredEvent {
    fn from_row(row: &Row) -> Self {
        Self {
            event_id: row.get("event_id").expect("an id"),
            aggregate: row.get("aggregate").expect("an id"),
            sequence: row.get("sequence").expect("a number"),
            event_type: row.get("event_type").expect("a text"),
            payload: row.get("payload").expect("bytes"),
        }
    }
}

/// Statements are fixed texts, so there is one for each owner.
macro_rules! all_events {
    ($owner:literal) => {
        concat!(
            "SELECT event_id, aggregate, sequence, event_type, payload FROM ",
            $owner,
            ".events WHERE topic = $1"
        )
    };
}

/// Moves what orders and stores did, and what they wait for, into the past.
const EARLIER: [&str; 5] = [
    "UPDATE orders.orders
        SET payment_due_at = payment_due_at - $1, payment_ends_at = payment_ends_at - $1, due_at = due_at - $1",
    "UPDATE orders.order_needs
        SET opened_at = opened_at - $1, seek_at = seek_at - $1, asked_at = asked_at - $1, resolve_by = resolve_by - $1",
    "UPDATE fulfillment.fulfillment_orders SET offered_at = offered_at - $1, expired_at = expired_at - $1",
    "UPDATE fulfillment.fulfillment_clocks
        SET started_at = started_at - $1, due_at = due_at - $1, ends_at = ends_at - $1, warn_at = warn_at - $1,
            first_reminder_at = first_reminder_at - $1, second_reminder_at = second_reminder_at - $1, next_at = next_at - $1",
    // Read again by the process, which keeps it in memory.
    "UPDATE fulfillment.node_silence
        SET silent_until = silent_until - $1, updated_at = (EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000000)::BIGINT",
];

/// What waits for a moment that has come.
const OVERDUE: &str = "SELECT (SELECT COUNT(*) FROM orders.orders WHERE due_at <= $1)
          + (SELECT COUNT(*) FROM fulfillment.fulfillment_clocks WHERE next_at <= $1) AS n";

/// A busy test machine is slow: no warnings about that.
const PATIENT: [(&str, &str); 5] = [
    ("ENTREPOT__SERVER__DEFAULT_DEADLINE_MS", "60000"),
    ("ENTREPOT__DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
    ("ENTREPOT__DATABASE__LOCK_TIMEOUT_MS", "30000"),
    ("ENTREPOT__DATABASE__STATEMENT_TIMEOUT_MS", "60000"),
    ("ENTREPOT__DATABASE__IDLE_IN_TX_TIMEOUT_MS", "60000"),
];

/// Three processes and what they stand on. All is gone after the test.
pub struct Processes {
    tables: Db,
    database: OwnDatabase,
    broker: String,
    prefix: String,
    folder: TempDir,
    ports: BTreeMap<&'static str, (u16, u16)>,
    /// Where services reach each other, if not at their own ports.
    peers: BTreeMap<&'static str, String>,
    running: BTreeMap<&'static str, Child>,
}

impl Processes {
    /// Starts them on the broker of the test run; none, said loudly, where a part is missing.
    pub async fn start() -> Option<Self> {
        Self::on(broker()?).await
    }

    /// Starts them on a broker of one's own.
    pub async fn on(broker: String) -> Option<Self> {
        let mut all = Self::at_rest(broker).await?;
        all.begin().await;
        Some(all)
    }

    /// Starts them so that they call each other through proxies, one in front of each service.
    pub async fn behind_proxies() -> Option<(Self, BTreeMap<&'static str, Proxy>)> {
        let mut all = Self::at_rest(broker()?).await?;
        let mut proxies = BTreeMap::new();
        for (service, (port, _)) in &all.ports {
            let proxy = Proxy::to(&format!("127.0.0.1:{port}")).await;
            all.peers.insert(service, format!("http://{}", proxy.address()));
            proxies.insert(*service, proxy);
        }
        all.begin().await;
        Some((all, proxies))
    }

    async fn begin(&mut self) {
        for service in SERVICES {
            self.spawn(service, None);
        }
        for service in SERVICES {
            self.until_ready(service).await;
        }
    }

    async fn at_rest(broker: String) -> Option<Self> {
        let database = db::testing::own_database().await?;
        let tables = Db::open(&database.url(), &Options { max_connections: 2, ..Options::default() }).await;
        let tables = tables.expect("the database opens");
        let prefix = fresh_prefix();
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let ports = SERVICES.map(|service| (service, (free_port(), free_port())));
        let ports = BTreeMap::from(ports);
        let (peers, running) = (BTreeMap::new(), BTreeMap::new());
        Some(Self { tables, database, broker, prefix, folder, ports, peers, running })
    }

    /// Starts one process. With a drill, such as `commit.after/7`, it dies there by itself.
    pub fn spawn(&mut self, service: &'static str, drill: Option<&str>) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(service))
            .expect("the log can be written");
        let (port, admin) = self.ports[service];
        let own = |of: &str| format!("http://127.0.0.1:{}", self.ports[of].0);
        let address = |of: &str| self.peers.get(of).cloned().unwrap_or_else(|| own(of));
        let mut command = self.command(&["serve", "--services", service]);
        command
            .env("ENTREPOT__DATABASE__MAX_CONNECTIONS", "8")
            .envs(PATIENT)
            .env("ENTREPOT__BUS__PARTITIONS", "3")
            .env("ENTREPOT__BUS__LEASE_MS", "1500")
            .env("ENTREPOT__BUS__INSTANCE", service)
            .env("ENTREPOT__DATA__DIRECTORY", self.folder.path().join(service))
            .env("ENTREPOT__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("ENTREPOT__ADMIN__LISTEN", format!("127.0.0.1:{admin}"))
            .env("ENTREPOT__PEERS__INVENTORY", address("inventory"))
            .env("ENTREPOT__PEERS__FULFILLMENT", address("fulfillment"))
            .env("ENTREPOT__PEERS__ORDERS", address("orders"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log);
        if let Some(drill) = drill {
            command.env("ENTREPOT__DRILL__CRASH_AT", drill);
        }
        let child = command.spawn().expect("target/debug/entrepot runs");
        self.running.insert(service, child);
    }

    /// The program on the database and the broker of these processes.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("ENTREPOT__DATABASE__URL", self.database.url())
            .env("ENTREPOT__BUS__KIND", "kafka")
            .env("ENTREPOT__BUS__BROKERS", &self.broker)
            .env("ENTREPOT__BUS__PREFIX", &self.prefix)
            .env("ENTREPOT__SECRETS__PICKUP_CODE_KEY", "a key for tests only");
        command
    }

    /// Runs a command of an operator beside them, to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let command = command.env("ENTREPOT__DATA__DIRECTORY", self.folder.path().join("command"));
        command.output().expect("target/debug/entrepot runs")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self, service: &'static str) {
        if let Some(mut child) = self.running.remove(service) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the process has ended by itself.
    pub fn has_died(&mut self, service: &'static str) -> bool {
        self.running
            .get_mut(service)
            .is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    fn exit_code(&mut self, service: &'static str) -> Option<i32> {
        self.running.get_mut(service)?.try_wait().ok()??.code()
    }

    /// Waits until the process takes calls.
    pub async fn until_ready(&mut self, service: &'static str) {
        eventually(async || {
            if self.is_ready(service).await {
                return Ok(());
            }
            if self.exit_code(service) == Some(i32::from(Class::Broker.code())) {
                // The broker was too busy to make topics in time; its supervisor starts it again.
                self.spawn(service, None);
            }
            let instead = format!("{service} is not ready: {}", self.last_words(service));
            assert!(!self.has_died(service), "{instead}");
            Err(instead)
        })
        .await;
    }

    async fn is_ready(&self, service: &str) -> bool {
        self.ask(service, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What a process answers on its operators' port; none while it does not.
    pub async fn ask(&self, service: &str, path: &str) -> Option<String> {
        fetch(&format!("127.0.0.1:{}", self.ports[service].1), path).await
    }

    /// A metric of a process, summed over its labels; none while it has never been set.
    pub async fn metric(&self, service: &str, name: &str) -> Option<f64> {
        let answer = self.ask(service, "/metrics").await.unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200"), "{service} tells its metrics: {answer}");
        let values = answer.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())??;
            Some(value.parse::<f64>().expect("a metric is a number"))
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Waits until a metric of a process is there and as wanted.
    pub async fn metric_when(&self, service: &str, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        eventually(async || {
            let value = self.metric(service, name).await;
            value.filter(|value| wanted(*value)).ok_or(format!("{name} of {service} stays {value:?}"))
        })
        .await
    }

    /// Somebody who calls each service at its own process.
    pub fn people(&self, actor: &str) -> People {
        let at = |service: &str| {
            Clients::new(&format!("http://127.0.0.1:{}", self.ports[service].0), actor).expect("an address")
        };
        let mut clients = at("fulfillment");
        clients.orders = at("orders").orders;
        clients.inventory = at("inventory").inventory;
        People::with(clients)
    }

    /// Waits until every event is published and applied by every consumer, and no task is left.
    pub async fn settle(&self) {
        eventually(async || match rest::on_its_way(&self.tables).await {
            Some(rest) => Err(format!("still on its way: {rest}; {} events are parked", self.parked().await)),
            None => Ok(()),
        })
        .await;
    }

    /// Lets time pass, and everything that falls due in it happen: whatever waits for a moment was begun so much earlier.
    pub async fn pass(&self, hours: i64, minutes: i64) {
        self.settle().await;
        self.skip(hours * 60 + minutes).await;
        until("what is due is done", async || self.overdue().await == 0).await;
        self.settle().await;
    }

    /// Lets time pass, and waits for nothing that falls due in it.
    pub async fn skip(&self, minutes: i64) {
        let micros = minutes * 60 * 1_000_000;
        let mut tx = self.tables.begin().await.expect("the database can be written");
        for sql in EARLIER {
            tx.execute(sql, db::params![micros]).await.expect("it is written");
        }
        tx.commit().await.expect("it is written");
    }

    async fn overdue(&self) -> i64 {
        let now = clock::Clock::system().business().as_microsecond();
        let mut tx = self.tables.read().await.expect("the database can be read");
        let row = tx.fetch_one(OVERDUE, db::params![now]).await.expect("it counts");
        row.get("n").expect("a number")
    }

    /// Events that a consumer gave up, over all services.
    pub async fn parked(&self) -> i64 {
        self.count(
            "SELECT (SELECT COUNT(*) FROM orders.parked) + (SELECT COUNT(*) FROM inventory.parked)
                  + (SELECT COUNT(*) FROM fulfillment.parked) AS n",
        )
        .await
    }

    /// What a statement counts, as `n`. Each service's tables are in the schema of its name.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.tables.read().await.expect("the database can be read");
        let row = tx.fetch_one(sql, Vec::new()).await.expect("it counts");
        row.get("n").expect("a number")
    }

    /// Where the broker is.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// The name of a topic at the broker.
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// Every event that the owner of a topic committed.
    pub async fn events(&self, topic: Topic) -> Vec<StoredEvent> {
        let mut tx = self.tables.read().await.expect("the database can be read");
        let sql = match topic {
            Topic::Orders => all_events!("orders"),
            Topic::Inventory => all_events!("inventory"),
            Topic::Fulfillment => all_events!("fulfillment"),
        };
        let rows = tx.fetch_all(sql, db::params![topic.name()]).await.expect("the events are there");
        rows.iter().map(StoredEvent::from_row).collect()
    }

    /// The payloads that orders stored of all events of one type.
    pub async fn order_events(&self, event_type: &str) -> Vec<contract::orders::v1::OrderEvent> {
        let mut tx = self.tables.read().await.expect("the database can be read");
        let sql = "SELECT payload FROM orders.events WHERE event_type = $1";
        let rows = tx.fetch_all(sql, db::params![event_type]).await.expect("the events are there");
        let payloads = rows.iter().map(|row| row.get::<Vec<u8>>("payload").expect("bytes"));
        payloads.map(|payload| prost::Message::decode(payload.as_slice()).expect("an order event")).collect()
    }

    fn log(&self, service: &str) -> PathBuf {
        self.folder.path().join(format!("{service}.log"))
    }

    /// The end of a process's log.
    pub fn last_words(&self, service: &str) -> String {
        let text = std::fs::read_to_string(self.log(service)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in SERVICES {
                let _ = writeln!(std::io::stderr(), "--- {service}\n{}", self.last_words(service));
            }
        }
        for service in SERVICES {
            self.kill(service);
        }
    }
}

/// What a platform answers on its operators' port, at `host:port`; none while it does not.
pub async fn fetch(admin: &str, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    tokio::time::timeout(Duration::from_secs(10), ask).await.ok()?.ok()
}

/// A port below those that the kernel gives to outgoing connections: nobody takes it while its process is dead.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    const RANGE: u32 = 12_000;
    let first = std::process::id().wrapping_mul(31) % RANGE;
    loop {
        let next = (first + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % RANGE;
        let port = 20_000 + u16::try_from(next).expect("a small number");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The program beside this test's.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(std::path::Path::parent).expect("tests live in target/debug/deps");
    let program = folder.join("entrepot");
    assert!(program.exists(), "{} is missing: cargo build first", program.display());
    program
}
