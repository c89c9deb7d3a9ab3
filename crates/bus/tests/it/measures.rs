//! Metrics of an outbox whose transport acknowledges nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bus::{Bus, Consumer, Delivered, HandleError, Topic, measure, replay};
use clock::Clock;
use db::{Db, Tx};
use jiff::SignedDuration;
use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use test_world::until;
use tokio_util::sync::CancellationToken;

use crate::world::{SETS, some_aggregates, write};

/// The last value of each gauge, by name and outbox.
#[derive(Clone, Default)]
struct Gauges(Arc<Mutex<HashMap<(String, String), f64>>>);

impl Gauges {
    fn of(&self, name: &str, outbox: &str) -> Option<f64> {
        self.0.lock().unwrap().get(&(name.to_owned(), outbox.to_owned())).copied()
    }
}

struct One {
    gauges: Gauges,
    key: (String, String),
}

impl GaugeFn for One {
    fn increment(&self, _by: f64) {}

    fn decrement(&self, _by: f64) {}

    fn set(&self, value: f64) {
        self.gauges.0.lock().unwrap().insert(self.key.clone(), value);
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let outbox = key.labels().find(|label| label.key() == "outbox").map(|label| label.value().to_owned());
        let key = (key.name().to_owned(), outbox.unwrap_or_default());
        Gauge::from_arc(Arc::new(One { gauges: self.clone(), key }))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Never done with an event.
struct Stuck;

#[async_trait]
impl Consumer for Stuck {
    fn group(&self) -> &'static str {
        "stuck"
    }

    fn follows(&self) -> &'static [(Topic, &'static [&'static str])] {
        &[(Topic::Orders, &["order"])]
    }

    async fn handle(&self, _: &mut Tx, _: &Delivered) -> Result<(), HandleError> {
        std::future::pending().await
    }
}

/// A relay named `outbox` leads, its transport ends, and then two events happen.
async fn grows_old(
    gauges: &Gauges,
    bus: Bus,
    clock: &Clock,
    owner: &Db,
    outbox: &'static str,
    end: impl FnOnce(),
) {
    let relay = tokio::spawn(bus.relay(owner, outbox).run(CancellationToken::new()));
    until(outbox, async || gauges.of(measure::RELAY_LEADER, outbox) == Some(1.0)).await;
    end();
    write(owner, &some_aggregates(2), 1).await;
    until(outbox, async || gauges.of(measure::OUTBOX_PENDING, outbox) == Some(2.0)).await;
    assert!(gauges.of(measure::OUTBOX_AGE, outbox).unwrap() < 3_000.0);
    for hours in 1..=2_i32 {
        assert!(clock.advance_to(clock.business() + SignedDuration::from_hours(1)));
        let age = f64::from(hours) * 3_600.0;
        let old = async || gauges.of(measure::OUTBOX_AGE, outbox).is_some_and(|seen| seen >= age - 60.0);
        until(outbox, old).await;
    }
    assert!(!bus::idle(owner).await.unwrap());
    relay.abort();
}

fn virtual_now() -> Clock {
    Clock::virtual_at(Clock::system().business())
}

// one thread, whose recorder sees everything
#[tokio::test]
async fn an_outbox_is_seen_to_grow_old_while_a_consumer_takes_nothing() {
    let gauges = Gauges::default();
    let _recording = metrics::set_default_local_recorder(&gauges);
    let work = db::testing::engines(SETS).await.into_iter().map(async |owner| {
        let clock = virtual_now();
        let reader = db::testing::sqlite(SETS).await;
        let bus = Bus::local(clock.clone());
        let consuming = bus.consume(&reader, Arc::new(Stuck), replay::nobody());
        grows_old(&gauges, bus, &clock, &owner, owner.engine().name(), || ()).await;
        drop(consuming);
    });
    let done = futures_util::future::join_all(work);
    // its events would be parked after three tries of 30 s
    tokio::time::timeout(Duration::from_secs(85), done).await.expect("before the events are parked");
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn an_outbox_is_seen_to_grow_old_while_the_broker_is_away() {
    let (cluster, config) = crate::broker::mock();
    let gauges = Gauges::default();
    let _recording = metrics::set_default_local_recorder(&gauges);
    let owner = db::testing::sqlite(SETS).await;
    let clock = virtual_now();
    let bus = Bus::kafka(clock.clone(), config).unwrap();
    grows_old(&gauges, bus, &clock, &owner, "broker", || cluster.broker_down(1).unwrap()).await;
}
