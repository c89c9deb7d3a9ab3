//! Two services on one bus: an owner of events, and its readers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bus::{
    Bus, Consumer, Delivered, Event, HandleError, Owners, Replay, Settings, Topic, heads, outbox, replay,
};
use clock::Clock;
use db::testing::TestDb;
use db::{Db, Migration, Migrations, Tx, params};
use test_world::until;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TABLES: &Migrations = &[Migration {
    version: 1,
    name: "test",
    postgres: "CREATE TABLE aggregates (aggregate UUID PRIMARY KEY, version BIGINT NOT NULL);
               CREATE TABLE effects (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, consumer TEXT NOT NULL,
                                     aggregate UUID NOT NULL, sequence BIGINT NOT NULL);
               CREATE TABLE ballast (bytes BYTEA NOT NULL)",
    sqlite: "CREATE TABLE aggregates (aggregate BLOB PRIMARY KEY, version INTEGER NOT NULL) STRICT;
             CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL,
                                   aggregate BLOB NOT NULL, sequence INTEGER NOT NULL) STRICT;
             CREATE TABLE ballast (bytes BLOB NOT NULL) STRICT",
}];

pub(crate) const SETS: db::testing::Sets<'static> =
    &[(bus::MIGRATION_SET, bus::MIGRATIONS), ("test", TABLES)];

/// Which transport a world uses.
#[derive(Clone)]
pub(crate) enum Wire {
    Local,
    #[cfg(feature = "kafka")]
    Kafka(bus::KafkaConfig),
}

/// One engine and one transport.
pub(crate) struct World {
    pub(crate) label: String,
    pub(crate) owner: Db,
    pub(crate) reader: Db,
    pub(crate) wire: Wire,
    pub(crate) clock: Clock,
    /// Removed with the world.
    _databases: [TestDb; 2],
}

/// A bus at work.
pub(crate) struct Running {
    pub(crate) bus: Bus,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Every engine with every transport that this machine has.
pub(crate) async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for kafka in [false, true] {
        let owners = db::testing::engines(SETS).await;
        let readers = db::testing::engines(SETS).await;
        for (owner, reader) in owners.into_iter().zip(readers) {
            if let Some(wire) = wire(kafka).await {
                worlds.push(World::new(owner, reader, wire));
            }
        }
    }
    worlds
}

async fn wire(kafka: bool) -> Option<Wire> {
    if !kafka {
        return Some(Wire::Local);
    }
    #[cfg(feature = "kafka")]
    let wire = crate::broker::topics().await.map(Wire::Kafka);
    #[cfg(not(feature = "kafka"))]
    let wire = std::future::ready(None).await;
    wire
}

impl World {
    pub(crate) fn new(owner: TestDb, reader: TestDb, wire: Wire) -> Self {
        let transport = match &wire {
            Wire::Local => "local",
            #[cfg(feature = "kafka")]
            Wire::Kafka(_) => "kafka",
        };
        let label = format!("{} over {transport}", owner.engine().name());
        Self {
            label,
            owner: owner.db(),
            reader: reader.db(),
            wire,
            clock: Clock::system(),
            _databases: [owner, reader],
        }
    }

    pub(crate) fn bus(&self) -> Bus {
        match &self.wire {
            Wire::Local => Bus::local(self.clock.clone()),
            #[cfg(feature = "kafka")]
            Wire::Kafka(config) => Bus::kafka(self.clock.clone(), config.clone()).unwrap(),
        }
    }

    /// A replay that asks the owner.
    pub(crate) fn owners(&self) -> Replay {
        replay::from_databases(vec![(Topic::Orders, self.owner.clone())])
    }

    /// Starts a relay, and a consumer in the reader's database for each recorder.
    pub(crate) fn start(&self, recorders: &[Arc<Recorder>]) -> Running {
        self.start_with(recorders, &self.owners(), Settings::default())
    }

    /// The same, and the consumers compare what they have with the owner.
    pub(crate) fn start_compared(&self, recorders: &[Arc<Recorder>]) -> Running {
        let consumers = recorders.iter().map(|recorder| recorder.clone() as Arc<dyn Consumer>);
        let heads = heads::from_databases(vec![(Topic::Orders, self.owner.clone(), self.clock.clone())]);
        let owners = Owners { replay: self.owners(), heads: Some(heads) };
        self.start_all(consumers.collect(), &owners, Settings::default())
    }

    /// The same for a consumer of any kind.
    pub(crate) fn start_any(&self, consumer: Arc<dyn Consumer>) -> Running {
        self.start_all(vec![consumer], &self.owners().into(), Settings::default())
    }

    /// The same without a relay: another process has it.
    #[cfg(feature = "kafka")]
    pub(crate) fn start_without_relay(&self, consumer: Arc<dyn Consumer>) -> Running {
        let bus = self.bus();
        let stop = CancellationToken::new();
        let tasks = vec![tokio::spawn(bus.consume(&self.reader, consumer, self.owners()).run(stop.clone()))];
        Running { bus, stop, tasks }
    }

    pub(crate) fn start_with(
        &self,
        recorders: &[Arc<Recorder>],
        replay: &Replay,
        settings: Settings,
    ) -> Running {
        let consumers = recorders.iter().map(|recorder| recorder.clone() as Arc<dyn Consumer>);
        self.start_all(consumers.collect(), &replay.clone().into(), settings)
    }

    fn start_all(&self, consumers: Vec<Arc<dyn Consumer>>, owners: &Owners, settings: Settings) -> Running {
        let bus = self.bus();
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        for consumer in consumers {
            tasks.push(tokio::spawn(bus.consume(&self.reader, consumer, owners.clone()).run(stop.clone())));
        }
        tasks.push(tokio::spawn(bus.relay(&self.owner, "orders").with(settings).run(stop.clone())));
        Running { bus, stop, tasks }
    }

    /// The effects of a consumer, by aggregate, in the order they happened.
    pub(crate) async fn effects(&self, consumer: &str, aggregate: Uuid) -> Vec<i64> {
        let mut tx = self.reader.read().await.unwrap();
        let rows = tx
            .fetch_all(
                "SELECT sequence FROM effects WHERE consumer = $1 AND aggregate = $2 ORDER BY id",
                params![consumer, aggregate],
            )
            .await
            .unwrap();
        rows.iter().map(|row| row.get("sequence").unwrap()).collect()
    }

    pub(crate) async fn wait_for_effects(&self, consumer: &str, aggregate: Uuid, wanted: &[i64]) {
        until(&format!("{}: effects of {consumer} on {aggregate}", self.label), async || {
            let effects = self.effects(consumer, aggregate).await;
            assert!(effects.len() <= wanted.len(), "{}: {effects:?} instead of {wanted:?}", self.label);
            effects == wanted
        })
        .await;
    }

    pub(crate) async fn parked(&self) -> Vec<bus::parked::Parked> {
        let mut tx = self.reader.read().await.unwrap();
        let consumers = "SELECT consumer FROM parked GROUP BY consumer";
        let consumers = tx.fetch_all(consumers, db::params![]).await.unwrap();
        let mut all = Vec::new();
        for row in &consumers {
            let consumer: String = row.get("consumer").unwrap();
            let filter = bus::parked::Filter { consumer: &consumer, limit: 10_000, ..Default::default() };
            all.extend(bus::parked::list(&mut tx, &filter).await.unwrap());
        }
        all.sort_by_key(|parked| parked.id);
        all
    }

    pub(crate) async fn wait_until_idle(&self, running: &Running) {
        until(&format!("{}: idle", self.label), async || {
            running.bus.idle(&[self.owner.clone(), self.reader.clone()]).await.unwrap()
        })
        .await;
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    /// As a kill would: nothing is finished.
    pub(crate) async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _cancelled = task.await;
        }
    }
}

/// Writes one row per event, and fails where the test says so.
pub(crate) struct Recorder {
    group: &'static str,
    follows: &'static [(Topic, &'static [&'static str])],
    pub(crate) fails: Mutex<HashSet<(Uuid, i64)>>,
    /// Failures are transient ones.
    pub(crate) retry: bool,
    /// The database does not work for this consumer.
    pub(crate) outage: AtomicBool,
    pub(crate) handled: AtomicUsize,
    pub(crate) commits: AtomicUsize,
    pub(crate) traces: Mutex<Vec<Option<String>>>,
}

impl Recorder {
    pub(crate) fn new(group: &'static str) -> Arc<Self> {
        Arc::new(Self::following(group, &[(Topic::Orders, &["order"])]))
    }

    pub(crate) fn following(
        group: &'static str,
        follows: &'static [(Topic, &'static [&'static str])],
    ) -> Self {
        Self {
            group,
            follows,
            fails: Mutex::default(),
            retry: false,
            outage: AtomicBool::new(false),
            handled: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            traces: Mutex::default(),
        }
    }

    pub(crate) fn failing(group: &'static str, at: &[(Uuid, i64)]) -> Arc<Self> {
        let recorder = Self::new(group);
        recorder.fails.lock().unwrap().extend(at);
        recorder
    }

    pub(crate) fn heal(&self) {
        self.fails.lock().unwrap().clear();
    }
}

#[async_trait]
impl Consumer for Recorder {
    fn group(&self) -> &'static str {
        self.group
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        self.follows
    }

    async fn handle(&self, tx: &mut Tx, event: &Delivered) -> Result<(), HandleError> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        self.traces.lock().unwrap().push(bus::trace::current());
        // the effect first, so that a failure has something to undo
        tx.execute(
            "INSERT INTO effects (consumer, aggregate, sequence) VALUES ($1, $2, $3)",
            params![self.group, event.aggregate, event.sequence],
        )
        .await?;
        if self.outage.load(Ordering::SeqCst) {
            return Err(db::Error::Unavailable("made to be away".to_owned()).into());
        }
        if self.fails.lock().unwrap().contains(&(event.aggregate, event.sequence)) {
            return Err(if self.retry {
                HandleError::retry("made to fail")
            } else {
                HandleError::poison("made to fail")
            });
        }
        Ok(())
    }

    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }
}

/// An event of an order.
pub(crate) fn event(aggregate: Uuid, sequence: i64) -> Event {
    Event {
        topic: Topic::Orders,
        aggregate_type: "order",
        aggregate,
        sequence,
        event_type: "entrepot.orders.v1.OrderPlaced",
        payload: sequence.to_be_bytes().to_vec(),
        occurred_at: Clock::system().business(),
        actor: "test/1".to_owned(),
    }
}

/// Changes aggregates as a service does: the row first, under its lock, then the event.
pub(crate) async fn change(tx: &mut Tx, aggregates: &[Uuid]) -> Result<(), bus::Error> {
    let mut events = Vec::with_capacity(aggregates.len());
    for aggregate in aggregates {
        let row = tx
            .fetch_one(
                "INSERT INTO aggregates (aggregate, version) VALUES ($1, 1)
                 ON CONFLICT (aggregate) DO UPDATE SET version = aggregates.version + 1 RETURNING version",
                params![*aggregate],
            )
            .await?;
        events.push(event(*aggregate, row.get("version")?));
    }
    outbox::append(tx, &events).await
}

/// Commits `count` events of each aggregate, round by round.
pub(crate) async fn write(db: &Db, aggregates: &[Uuid], count: usize) {
    for _ in 0..count {
        let mut tx = db.begin().await.unwrap();
        change(&mut tx, aggregates).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub(crate) fn some_aggregates(count: usize) -> Vec<Uuid> {
    let mut all: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    all.sort_unstable();
    all
}

/// Makes every event pending again, as if no acknowledgement had been noted.
pub(crate) async fn send_all_again(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    tx.execute(
        "INSERT INTO outbox (aggregate, sequence, queued_at)
         SELECT aggregate, sequence, occurred_at FROM events ORDER BY sequence",
        params![],
    )
    .await
    .unwrap();
    tx.wake_on_commit();
    tx.commit().await.unwrap();
}

/// Loses the pointer to an event: the transport never gets it.
pub(crate) async fn lose(db: &Db, aggregate: Uuid, sequence: i64) {
    let mut tx = db.begin().await.unwrap();
    let lost = tx
        .execute("DELETE FROM outbox WHERE aggregate = $1 AND sequence = $2", params![aggregate, sequence])
        .await
        .unwrap();
    assert_eq!(lost, 1);
    tx.commit().await.unwrap();
}
