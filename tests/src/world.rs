//! A platform in this process, with a small retailer on it.

use std::ops::Deref;

use clock::Clock;
use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use db::testing::OwnDatabase;
use db::{Db, Options};
use entrepot::clients::{Caller, Clients, timestamp};
use entrepot::compose::Platform;
use entrepot::config::{BusKind, Config, Service};
use entrepot::exit::Class;
use tempfile::TempDir;
use test_world::wire::place;
pub use test_world::{PATIENCE, fresh};
use test_world::{Staff, eventually, until};

use crate::broker_path::BrokerPath;
use crate::processes::{broker, fresh_prefix};
use crate::proxy::Proxy;
use crate::rest;

/// The node of most tests: open day and night.
pub const NODE: &str = "sha-01";

/// A platform of one test.
pub struct World {
    /// The platform.
    pub platform: Platform,
    _folder: TempDir,
    database: Option<OwnDatabase>,
}

/// Deadlocks of this database, and who else is connected to it.
const DEADLOCKS: &str = "SELECT
    (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS deadlocks,
    (SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND backend_type = 'client backend') AS others";

/// What a platform stands on: SQLite files and the local bus where nothing is named.
#[derive(Default)]
struct Stand {
    database: Option<OwnDatabase>,
    broker: Option<String>,
}

impl World {
    /// On SQLite files and the local bus.
    pub async fn embedded() -> Self {
        Self::with(Clock::system(), Stand::default()).await
    }

    /// The same on a virtual clock that only moves when the test moves it.
    pub async fn virtual_at(start: &str) -> Self {
        let start = start.parse().expect("a test names an instant");
        Self::with(Clock::virtual_at(start), Stand::default()).await
    }

    /// On SQLite files and the local bus, with a clock that the test can make leap, and other settings.
    pub async fn on_clock(clock: Clock, tune: impl FnOnce(&mut Config)) -> Self {
        Self::tuned(clock, Stand::default(), tune).await
    }

    /// On PostgreSQL and the local bus; none, said loudly, where there is no PostgreSQL.
    pub async fn postgres() -> Option<Self> {
        Self::postgres_with(|_| ()).await
    }

    /// The same with other settings.
    pub async fn postgres_with(tune: impl FnOnce(&mut Config)) -> Option<Self> {
        let database = db::testing::own_database().await?;
        let stand = Stand { database: Some(database), broker: None };
        Some(Self::tuned(Clock::system(), stand, tune).await)
    }

    /// On PostgreSQL behind a proxy, with the usual patience for silent connections.
    pub async fn postgres_behind_proxy() -> Option<(Self, Proxy)> {
        let database = db::testing::own_database().await?;
        let url = database.url();
        let (start, rest) = url.split_once('@').expect("the url of the server names a user");
        let (server, name) = rest.split_once('/').expect("the url of a database has a path");
        let proxy = Proxy::to(server).await;
        let url = format!("{start}@{}/{name}", proxy.address());
        let stand = Stand { database: Some(database), broker: None };
        let tune = |config: &mut Config| {
            config.database.url = url.as_str().into();
            config.database.answer_timeout_ms = Options::default().answer_timeout_ms;
        };
        Some((Self::tuned(Clock::system(), stand, tune).await, proxy))
    }

    /// On PostgreSQL and on Kafka behind a proxy; none, said loudly, where either is missing.
    pub async fn kafka_behind_proxy() -> Option<(Self, BrokerPath)> {
        let path = BrokerPath::to(&broker()?).await;
        let database = Some(db::testing::own_database().await?);
        let stand = Stand { database, broker: Some(path.proxy.address().to_string()) };
        Some((Self::with(Clock::system(), stand).await, path))
    }

    /// On PostgreSQL and Kafka, in one process; none, said loudly, where either is missing.
    pub async fn kafka() -> Option<Self> {
        let broker = Some(broker()?);
        let database = Some(db::testing::own_database().await?);
        Some(Self::with(Clock::system(), Stand { database, broker }).await)
    }

    /// The same on a virtual clock. Only the tables know there whether an event is on its way, see [`rest`].
    pub async fn virtual_on_kafka(start: &str) -> Option<Self> {
        let broker = Some(broker()?);
        let database = Some(db::testing::own_database().await?);
        let start = start.parse().expect("a test names an instant");
        Some(Self::with(Clock::virtual_at(start), Stand { database, broker }).await)
    }

    async fn with(clock: Clock, stand: Stand) -> Self {
        Self::tuned(clock, stand, |_| ()).await
    }

    async fn tuned(clock: Clock, stand: Stand, tune: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut config = Config::embedded(folder.path());
        config.admin.enabled = false;
        // A busy test machine is slow: no warnings about that.
        config.server.default_deadline_ms = 60_000;
        config.database.answer_timeout_ms = 30_000;
        config.database.acquire_timeout_ms = 60_000;
        config.database.lock_timeout_ms = 30_000;
        config.database.statement_timeout_ms = 60_000;
        config.database.idle_in_tx_timeout_ms = 60_000;
        if let Some(database) = &stand.database {
            config.database.url = database.url().as_str().into();
        }
        if let Some(broker) = stand.broker {
            config.bus.kind = BusKind::Kafka;
            config.bus.brokers = broker;
            config.bus.prefix = fresh_prefix();
            config.bus.partitions = 3;
        }
        tune(&mut config);
        let platform = Box::pin(start(config, clock)).await;
        let world = Self { platform, _folder: folder, database: stand.database };
        world.clients("ops/test").put_node(NODE).await;
        world.settle().await;
        world
    }

    /// Clients that act as `actor`.
    pub fn clients(&self, actor: &str) -> People {
        People::new(&self.platform.address(), actor)
    }

    /// Waits until no event is on its way.
    pub async fn settle(&self) {
        until("no event is on its way", async || self.is_at_rest().await).await;
    }

    /// The local bus knows by itself what is not applied yet; on Kafka only the tables know.
    async fn is_at_rest(&self) -> bool {
        let idle = self.platform.idle().await.expect("the platform answers");
        match self.platform.bus_kind() {
            BusKind::Local => idle,
            BusKind::Kafka => {
                let db = self.platform.database(Service::Orders).expect("orders runs here");
                idle && rest::on_its_way(db).await.is_none()
            }
        }
    }

    /// Moves a virtual clock on, stopping at everything that falls due.
    pub async fn pass(&self, hours: i64, minutes: i64) {
        let clock = self.platform.clock();
        let until = clock.business() + jiff::SignedDuration::from_mins(hours * 60 + minutes);
        self.settle().await;
        while let Some(due) =
            self.platform.next_due().await.expect("the platform answers").filter(|due| *due <= until)
        {
            clock.advance_to(due.max(clock.business()));
            let done = self.platform.run_due(clock.business()).await.expect("what is due runs");
            self.settle().await;
            assert!(done > 0, "something is due at {due} and nothing was done");
        }
        clock.advance_to(until);
    }

    /// Moves a virtual clock on, and does nothing that falls due in it.
    pub fn skip(&self, minutes: i64) {
        let clock = self.platform.clock();
        clock.advance_to(clock.business() + jiff::SignedDuration::from_mins(minutes));
    }

    /// Stops it.
    pub async fn stop(self) {
        self.platform.shutdown().await;
    }

    /// Stops it; answers how many deadlocks its database has seen, those too that were retried and that nobody noticed.
    pub async fn stop_and_count_deadlocks(self) -> i64 {
        self.platform.shutdown().await;
        let database = self.database.expect("PostgreSQL counts deadlocks, a file has none");
        let alone = Options { max_connections: 1, ..Options::default() };
        let db = Db::open(&database.url(), &alone).await.expect("the database opens");
        eventually(async || {
            let mut tx = db.begin().await.expect("the database can be asked");
            let row = tx.fetch_one(DEADLOCKS, Vec::new()).await.expect("it counts");
            // A connection tells what it counted when it ends.
            let others: i64 = row.get("others").expect("a number");
            let deadlocks = row.get("deadlocks").expect("a number");
            if others == 0 { Ok(deadlocks) } else { Err(format!("the platform keeps {others} connections")) }
        })
        .await
    }
}

/// A broker may be too busy to make topics in time: it is asked again.
async fn start(config: Config, clock: Clock) -> Platform {
    eventually(async || match Platform::start(config.clone(), clock.clone()).await {
        Err(exit) if exit.class == Class::Broker => Err(exit),
        started => Ok(started.expect("the platform starts")),
    })
    .await
}

/// Somebody who calls the platform. The platform says who may do what the staff of a store do.
#[derive(Clone)]
pub struct People {
    /// The services.
    pub clients: Clients,
    staff: Staff<Caller>,
}

impl Deref for People {
    type Target = Staff<Caller>;

    fn deref(&self) -> &Staff<Caller> {
        &self.staff
    }
}

impl People {
    /// Somebody called `actor` at the platform at `address`.
    pub fn new(address: &str, actor: &str) -> Self {
        Self::with(Clients::new(address, actor).expect("a test names an address and an actor"))
    }

    /// Somebody with these clients.
    pub fn with(clients: Clients) -> Self {
        let staff = Staff { client: clients.work.clone(), node: NODE.to_owned() };
        Self { clients, staff }
    }

    /// Makes a store that is open day and night.
    pub async fn put_node(&self, node_id: &str) {
        let request = ful::PutNodesRequest { request_id: fresh(), nodes: vec![always_open(node_id)] };
        self.clients.network.clone().put_nodes(request).await.expect("the node is made");
    }

    /// Makes SKUs with a number of pieces each at a node.
    pub async fn stock(&self, node_id: &str, stock: &[(&str, i64)]) {
        let skus = stock.iter().map(|(sku, _)| inv::Sku {
            sku: (*sku).to_owned(),
            name: format!("Goods {sku}"),
            ..inv::Sku::default()
        });
        let request = inv::PutSkusRequest { request_id: fresh(), skus: skus.collect() };
        self.clients.inventory.clone().put_skus(request).await.expect("the SKUs are made");
        let rows = stock.iter().map(|(sku, pieces)| inv::DeltaRow {
            node_id: node_id.to_owned(),
            sku: (*sku).to_owned(),
            delta: *pieces,
            kind: i32::from(inv::MovementKind::Receipt),
            reference: fresh(),
            source_time: Some(timestamp(jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24))),
        });
        let request =
            inv::ApplyDeltasRequest { request_id: fresh(), source: "test".to_owned(), rows: rows.collect() };
        let answer = self.clients.inventory.clone().apply_deltas(request).await.expect("the stock is booked");
        for result in answer.into_inner().results {
            assert_eq!(result.verdict(), inv::RowVerdict::Applied, "{result:?}");
        }
    }

    /// One position.
    pub async fn position(&self, node_id: &str, sku: &str) -> inv::Position {
        let request = inv::GetAvailabilityRequest { node_id: node_id.to_owned(), sku: sku.to_owned() };
        let answer =
            self.clients.inventory.clone().get_availability(request).await.expect("the position is there");
        answer.into_inner().availability.and_then(|found| found.position).unwrap_or_default()
    }

    /// Checks the stock laws.
    pub async fn audit(&self) {
        let audit = self.clients.inventory.clone().audit(inv::AuditRequest {}).await.expect("the audit runs");
        let audit = audit.into_inner();
        assert!(audit.ok, "{:#?}", audit.laws);
    }
}

/// A store that never closes.
pub fn always_open(node_id: &str) -> ful::Node {
    ful::Node { place: Some(place(31.23, 121.47)), ..test_world::node(node_id, "Asia/Shanghai", 0, 24) }
}
