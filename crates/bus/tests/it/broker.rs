//! What only Kafka has: topics, headers, dead letters, a broker that goes away.

use std::collections::HashMap;
use std::time::Duration;

use bus::kafka::{Applied, GroupProtocol, apply_topics};
use bus::{KafkaConfig, Topic};
use clock::Clock;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use test_world::until;
use uuid::Uuid;

use crate::world::{Recorder, SETS, Wire, World, change, some_aggregates, write};

/// The variable that names a broker.
const KAFKA: &str = "ENTREPOT_TEST_KAFKA";

/// A configuration with names of its own; none where tests are to be skipped for want of a broker.
pub(crate) fn config() -> Option<KafkaConfig> {
    let brokers = db::testing::part("Kafka", KAFKA)?;
    let prefix = format!("t{}.", Uuid::new_v4().simple());
    Some(KafkaConfig { brokers, prefix, partitions: 3, ..KafkaConfig::default() })
}

/// The same, with its topics made.
pub(crate) async fn topics() -> Option<KafkaConfig> {
    let config = config()?;
    apply_topics(&config, &[]).await.unwrap();
    Some(config)
}

async fn world(wire: KafkaConfig) -> World {
    World::new(db::testing::sqlite(SETS).await, db::testing::sqlite(SETS).await, Wire::Kafka(wire))
}

/// The first messages of a topic, from its beginning.
async fn read(config: &KafkaConfig, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let reader: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", Uuid::new_v4().to_string())
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    reader.subscribe(&[topic]).unwrap();
    let mut all = Vec::new();
    while all.len() < count {
        let next = tokio::time::timeout(Duration::from_mins(1), reader.recv()).await;
        match next.expect("a message comes") {
            Ok(message) => all.push(message.detach()),
            Err(error) => assert!(error.to_string().contains("nknown topic"), "{error}"),
        }
    }
    all
}

fn headers(message: &OwnedMessage) -> HashMap<String, String> {
    let headers = message.headers().expect("headers");
    headers
        .iter()
        .map(|header| {
            let value = String::from_utf8(header.value.unwrap_or_default().to_vec()).unwrap();
            (header.key.to_owned(), value)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_once_and_never_get_other_partitions() {
    let Some(config) = config() else { return };
    let first = apply_topics(&config, &["orders", "fulfillment"]).await.unwrap();
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|applied| matches!(applied, Applied::Created { .. })), "{first:?}");
    until("the broker knows them", async || {
        let again = apply_topics(&config, &["orders", "fulfillment"]).await.unwrap();
        again.iter().all(|applied| matches!(applied, Applied::Present { .. }))
    })
    .await;
    let more = KafkaConfig { partitions: 6, ..config.clone() };
    let other = apply_topics(&more, &[]).await.unwrap();
    let refused = |applied: &Applied| matches!(applied, Applied::OtherPartitions { found: 3, wanted: 6, .. });
    assert!(other.iter().all(refused), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_a_cloudevent_with_its_aggregate_as_key() {
    let Some(config) = topics().await else { return };
    let world = world(config.clone()).await;
    let aggregate = some_aggregates(1)[0];
    let running = world.start(&[]);
    bus::trace::scope(Some("00-aa-bb-01".to_owned()), write(&world.owner, &[aggregate], 2)).await;
    let messages = read(&config, &config.topic(Topic::Orders), 2).await;
    running.stop().await;
    let mut tx = world.owner.read().await.unwrap();
    let events = bus::replay::read(&mut tx, aggregate, 1, 10).await.unwrap();
    for (message, event) in messages.iter().zip(&events) {
        let aggregate = aggregate.to_string();
        assert_eq!(message.key(), Some(aggregate.as_bytes()));
        assert_eq!(message.payload(), Some(event.payload.as_ref()));
        let mut headers = headers(message);
        let mut take = |key: &str| headers.remove(key).unwrap_or_else(|| panic!("no header {key}"));
        assert_eq!(take("ce_specversion"), "1.0");
        assert_eq!(take("ce_id"), event.id.to_string());
        assert_eq!(take("ce_source"), "/entrepot/orders");
        assert_eq!(take("ce_type"), "entrepot.orders.v1.OrderPlaced");
        assert_eq!(take("ce_subject"), aggregate);
        assert_eq!(take("ce_partitionkey"), aggregate);
        assert_eq!(take("ce_sequence"), format!("{:020}", event.sequence));
        assert_eq!(take("ce_aggregatetype"), "order");
        assert_eq!(take("ce_actor"), "test/1");
        assert_eq!(take("ce_time").parse::<jiff::Timestamp>().unwrap(), event.occurred_at);
        assert_eq!(take("ce_dataschema"), "type.googleapis.com/entrepot.orders.v1.OrderEvent");
        assert_eq!(take("content-type"), "application/protobuf");
        assert_eq!(take("traceparent"), "00-aa-bb-01");
        assert!(headers.is_empty(), "{headers:?}");
    }
    assert_eq!(messages[0].partition(), messages[1].partition());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_no_event_goes_to_the_dead_letters_and_events_flow_on() {
    let Some(config) = topics().await else { return };
    apply_topics(&config, &["reader"]).await.unwrap();
    let world = world(config.clone()).await;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let topic = config.topic(Topic::Orders);
    let garbage = FutureRecord::to(&topic).key("who").payload(b"what".as_slice()).partition(0);
    producer.send(garbage, Duration::from_secs(30)).await.unwrap();
    let tombstone: FutureRecord<'_, str, [u8]> = FutureRecord::to(&topic).key("gone").partition(1);
    producer.send(tombstone, Duration::from_secs(30)).await.unwrap();
    let nul = FutureRecord::to(&topic).key("zero").payload(b"".as_slice()).partition(1).headers(with_nul());
    producer.send(nul, Duration::from_secs(30)).await.unwrap();
    let running = world.start(&[Recorder::new("reader")]);
    let aggregates = some_aggregates(6);
    write(&world.owner, &aggregates, 2).await;
    for aggregate in &aggregates {
        world.wait_for_effects("reader", *aggregate, &[1, 2]).await;
    }
    let mut dead = read(&config, &config.dead_letters("reader"), 3).await;
    running.stop().await;
    dead.sort_by_key(|message| message.key().unwrap_or_default().to_vec());
    assert_eq!(dead[0].key(), Some(b"gone".as_slice()));
    assert_eq!(headers(&dead[0])["entrepot-error"], "no payload");
    assert_eq!(dead[1].payload(), Some(b"what".as_slice()));
    assert_eq!(headers(&dead[1])["entrepot-error"], "no headers");
    assert_eq!(headers(&dead[1])["entrepot-topic"], topic);
    assert_eq!(headers(&dead[1])["entrepot-partition"], "0");
    assert_eq!(headers(&dead[2])["entrepot-error"], "header ce_actor holds a NUL");
}

/// The headers of an event whose actor no database can keep.
fn with_nul() -> OwnedHeaders {
    let id = Uuid::new_v4().to_string();
    [
        ("ce_specversion", "1.0"),
        ("ce_id", id.as_str()),
        ("ce_type", "entrepot.orders.v1.OrderPlaced"),
        ("ce_subject", id.as_str()),
        ("ce_time", "2030-01-01T00:00:00Z"),
        // a gap, so that it is parked
        ("ce_sequence", "7"),
        ("ce_aggregatetype", "order"),
        ("ce_actor", "foreign\0actor"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_of_a_group_share_the_work_and_one_may_leave() {
    let Some(config) = topics().await else { return };
    let world = world(config).await;
    let aggregates = some_aggregates(9);
    let one = world.start(&[Recorder::new("shared")]);
    let two = world.start(&[Recorder::new("shared")]);
    write(&world.owner, &aggregates, 10).await;
    one.stop().await;
    write(&world.owner, &aggregates, 10).await;
    let wanted: Vec<i64> = (1..=20).collect();
    for aggregate in &aggregates {
        world.wait_for_effects("shared", *aggregate, &wanted).await;
    }
    two.stop().await;
}

/// A broker of this process, with topics.
pub(crate) fn mock() -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let config = KafkaConfig { brokers, prefix: "mock.".to_owned(), ..KafkaConfig::default() };
    for topic in Topic::ALL {
        cluster.create_topic(&config.topic(topic), 2, 1).unwrap();
    }
    (cluster, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_the_broker_refuses_are_sent_again_in_order() {
    let (cluster, config) = mock();
    let world = world(config).await;
    let aggregates = some_aggregates(3);
    let running = world.start(&[Recorder::new("stubborn")]);
    write(&world.owner, &aggregates, 2).await;
    for aggregate in &aggregates {
        world.wait_for_effects("stubborn", *aggregate, &[1, 2]).await;
    }
    let refusals = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    write(&world.owner, &aggregates, 20).await;
    let wanted: Vec<i64> = (1..=22).collect();
    for aggregate in &aggregates {
        world.wait_for_effects("stubborn", *aggregate, &wanted).await;
    }
    until("acknowledged", async || bus::idle(&world.owner).await.unwrap()).await;
    running.stop().await;
    assert!(world.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_in_the_outbox_while_the_broker_is_away() {
    let (cluster, config) = mock();
    let world = world(config).await;
    let aggregates = some_aggregates(3);
    let running = world.start(&[Recorder::new("waiting")]);
    write(&world.owner, &aggregates, 1).await;
    for aggregate in &aggregates {
        world.wait_for_effects("waiting", *aggregate, &[1]).await;
    }
    cluster.broker_down(1).unwrap();
    for _ in 0..20 {
        let mut tx = world.owner.begin().await.unwrap();
        change(&mut tx, &aggregates).await.unwrap();
        tx.commit().await.unwrap();
    }
    Clock::system().pause(Duration::from_millis(1_500)).await;
    assert!(!bus::idle(&world.owner).await.unwrap());
    cluster.broker_up(1).unwrap();
    let wanted: Vec<i64> = (1..=21).collect();
    for aggregate in &aggregates {
        world.wait_for_effects("waiting", *aggregate, &wanted).await;
    }
    until("acknowledged", async || bus::idle(&world.owner).await.unwrap()).await;
    running.stop().await;
    assert!(world.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_may_be_static_or_leave_the_sharing_to_the_broker() {
    for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let Some(config) = topics().await else { return };
        let world = world(KafkaConfig { instance: Some("one".to_owned()), group_protocol, ..config }).await;
        let aggregates = some_aggregates(4);
        for round in 1..=2_i64 {
            let running = world.start(&[Recorder::new("protocol")]);
            write(&world.owner, &aggregates, 3).await;
            let wanted: Vec<i64> = (1..=round * 3).collect();
            for aggregate in &aggregates {
                world.wait_for_effects("protocol", *aggregate, &wanted).await;
            }
            running.stop().await;
        }
    }
}
