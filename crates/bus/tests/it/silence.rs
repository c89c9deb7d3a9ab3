//! Connections to the broker that go silent, as when a firewall on the way forgets them: nobody sees a close.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bus::{KafkaConfig, Topic};
use clock::Clock;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use test_world::until;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, span};

use crate::broker::topics;
use crate::broker_path::BrokerPath;
use crate::proxy::Proxy;
use crate::world::{Recorder, SETS, Wire, World, some_aggregates, write};

/// A way to the broker that can lose connections, and the settings that go over it.
struct Path {
    proxy: Proxy,
    config: KafkaConfig,
}

impl Path {
    async fn to(config: &KafkaConfig) -> Self {
        let proxy = BrokerPath::to(&config.brokers).await.proxy;
        let config = KafkaConfig { brokers: proxy.address().to_string(), ..config.clone() };
        Self { proxy, config }
    }
}

/// A producer with other settings than ours and a connection over this path, and what it sends.
struct Sender(FutureProducer, String);

impl Sender {
    async fn connected(path: &Path, socket_timeout: &str) -> Self {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &path.config.brokers).set("socket.timeout.ms", socket_timeout);
        let sender = Self(client.create().unwrap(), path.config.topic(Topic::Fulfillment));
        sender.send().await;
        sender
    }

    async fn send(&self) {
        let record = FutureRecord::to(&self.1).key("x").payload("x");
        self.0.send(record, Duration::from_secs(30)).await.unwrap();
    }

    /// Sends once more, for as long as it takes.
    fn sending(self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { self.send().await })
    }
}

async fn world(config: KafkaConfig) -> World {
    World::new(db::testing::sqlite(SETS).await, db::testing::sqlite(SETS).await, Wire::Kafka(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_flow_again_soon_after_all_connections_went_silent() {
    let Some(config) = topics().await else { return };
    let path = Path::to(&config).await;
    let world = world(path.config.clone()).await;
    let aggregates = some_aggregates(3);
    let running = world.start(&[Recorder::new("silenced")]);
    write(&world.owner, &aggregates, 1).await;
    for aggregate in &aggregates {
        world.wait_for_effects("silenced", *aggregate, &[1]).await;
    }
    let mut wanted = vec![1];
    for round in 2..4 {
        // the usual 60 s
        let patient = Sender::connected(&path, "60000").await;
        let before = path.proxy.accepted();
        path.proxy.forget();
        let slow = patient.sending();
        write(&world.owner, &aggregates, 1).await;
        wanted.push(round);
        for aggregate in &aggregates {
            world.wait_for_effects("silenced", *aggregate, &wanted).await;
        }
        assert!(!slow.is_finished(), "a client with the usual settings still waits");
        slow.abort();
        assert!(path.proxy.accepted() > before, "over new connections");
    }
    running.stop().await;
    assert!(world.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_takes_over_uses_no_connection_from_before() {
    let Some(config) = topics().await else { return };
    let path = Path::to(&config).await;
    // a connection from before would be waited for far longer than anything here takes
    let patience = ("socket.timeout.ms".to_owned(), "100000".to_owned());
    let first = world(KafkaConfig { properties: [patience].into(), ..path.config.clone() }).await;
    let Some(owner) = db::testing::postgres(SETS).await else { return };
    let world = World::new(owner, db::testing::sqlite(SETS).await, Wire::Kafka(config));
    let aggregates = some_aggregates(1);
    let leading = world.start(&[Recorder::new("successor")]);
    write(&world.owner, &aggregates, 1).await;
    world.wait_for_effects("successor", aggregates[0], &[1]).await;
    // a second process waits for its turn, connected
    let standby = first.bus();
    let stop = tokio_util::sync::CancellationToken::new();
    let relay = standby.relay(&world.owner, "orders");
    let mut ready = relay.ready();
    let waiting = tokio::spawn(relay.run(stop.clone()));
    ready.wait_for(|ready| *ready).await.unwrap();
    Clock::system().pause(Duration::from_secs(4)).await;
    let other = Sender::connected(&path, "100000").await;
    path.proxy.forget();
    let slow = other.sending();
    leading.stop().await;
    let reading = world.start_without_relay(Recorder::new("successor"));
    write(&world.owner, &aggregates, 1).await;
    world.wait_for_effects("successor", aggregates[0], &[1, 2]).await;
    assert!(!slow.is_finished(), "over a new connection at once");
    slow.abort();
    reading.stop().await;
    stop.cancel();
    waiting.await.unwrap();
}

/// Lines of the log about Kafka, from warnings up, of all tests of this process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Instant, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("bus::kafka")
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((Instant::now(), text.0));
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        tracing::subscriber::set_global_default(lines.clone()).unwrap();
        lines
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_fills_no_log() {
    let lines = lines();
    let (cluster, config) = crate::broker::mock();
    let world = world(config).await;
    let aggregates = some_aggregates(3);
    let recorders: Vec<Arc<Recorder>> = ["loud", "louder", "loudest"].map(Recorder::new).into();
    let running = world.start(&recorders);
    let mut view = running.bus.subscribe(&[Topic::Orders]);
    view.ready().await.unwrap();
    let viewing = tokio::spawn(async move { while view.next().await.is_ok() {} });
    write(&world.owner, &aggregates, 1).await;
    for aggregate in &aggregates {
        world.wait_for_effects("loud", *aggregate, &[1]).await;
    }
    cluster.broker_down(1).unwrap();
    write(&world.owner, &aggregates, 1).await;
    let since = Instant::now();
    until("it complained often", async || {
        let said = lines.0.lock().unwrap();
        said.iter().filter(|(at, text)| *at > since && text.contains("suppressed")).count() >= 4
    })
    .await;
    let said: Vec<String> = {
        let said = lines.0.lock().unwrap();
        said.iter().filter(|(at, _)| *at > since).map(|(_, text)| text.clone()).collect()
    };
    // other tests of this process may have a letter that is dead, or a log that was cut
    let complaints = said.iter().filter(|text| text.contains("suppressed")).count();
    let seconds = usize::try_from(since.elapsed().as_secs()).unwrap();
    assert!(complaints <= seconds + 2, "{complaints} in {seconds} s: {said:#?}");
    cluster.broker_up(1).unwrap();
    for aggregate in &aggregates {
        world.wait_for_effects("loudest", *aggregate, &[1, 2]).await;
    }
    viewing.abort();
    running.stop().await;
}
