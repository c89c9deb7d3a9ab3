//! The events as they lie in Kafka, read by a plain consumer that knows nothing of our bus.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bus::Topic;
use flows::processes::{Processes, StoredEvent};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long the broker may take for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// An event as it lies in a topic.
struct Entry {
    partition: i32,
    key: String,
    stored: StoredEvent,
}

/// Checks the topics against what the owners committed: each committed event is there, as it was committed; nothing else
/// is there; and the first deliveries of each aggregate's events are in one partition, numbered 1, 2, 3 and so on.
/// Answers how many events there are, and how many were delivered more than once.
pub(crate) async fn agrees_with_what_was_committed(processes: &Processes) -> (usize, usize) {
    let (mut events, mut repeats) = (0, 0);
    for topic in Topic::ALL {
        let (broker, name) = (processes.broker().to_owned(), processes.topic(topic));
        let read = tokio::task::spawn_blocking(move || read(&broker, &name));
        let entries = read.await.expect("the topic can be read");
        repeats += first_deliveries_are_in_order(topic, &entries);
        let committed = processes.events(topic).await;
        assert!(!committed.is_empty(), "{topic} has events");
        events += committed.len();
        let mut delivered: HashMap<_, _> =
            entries.iter().map(|entry| (entry.stored.event_id, &entry.stored)).collect();
        for event in committed {
            let there = delivered.remove(&event.event_id);
            assert_eq!(there, Some(&event), "what was committed is in {topic}");
        }
        assert!(delivered.is_empty(), "nobody committed what is in {topic}: {delivered:?}");
    }
    (events, repeats)
}

/// Panics where an event comes before an older one of its aggregate; answers how many came again.
fn first_deliveries_are_in_order(topic: Topic, entries: &[Entry]) -> usize {
    let mut newest: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    let mut repeats = 0;
    for entry in entries {
        let (partition, sequence) = newest.entry(&entry.key).or_insert((entry.partition, 0));
        assert_eq!(*partition, entry.partition, "{} of {topic} is in one partition", entry.key);
        if entry.stored.sequence <= *sequence {
            repeats += 1;
            continue;
        }
        let next = *sequence + 1;
        assert_eq!(entry.stored.sequence, next, "{} of {topic} after {sequence}", entry.key);
        *sequence = next;
    }
    repeats
}

/// Everything in a topic, each partition in its order.
fn read(broker: &str, topic: &str) -> Vec<Entry> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", format!("{topic}.reader"))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer is made");
    let metadata = reader.fetch_metadata(Some(topic), PATIENCE).expect("the broker tells the partitions");
    let mut wanted = 0;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            reader.fetch_watermarks(topic, partition.id(), PATIENCE).expect("the broker tells the ends");
        assert_eq!(low, 0, "nothing was removed yet");
        wanted += high;
        partitions
            .add_partition_offset(topic, partition.id(), Offset::Beginning)
            .expect("from the beginning");
    }
    reader.assign(&partitions).expect("the partitions are assigned");
    let deadline = Instant::now() + PATIENCE;
    let mut entries = Vec::new();
    while i64::try_from(entries.len()).expect("few") < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} messages of {topic} were read", entries.len());
        if let Some(message) = reader.poll(Duration::from_millis(200)) {
            entries.push(entry(&message.expect("a message is read")));
        }
    }
    entries
}

fn entry(message: &BorrowedMessage<'_>) -> Entry {
    let header = |key: &str| {
        let headers = message.headers().expect("an event has headers");
        let value = headers.iter().find(|header| header.key == key).and_then(|header| header.value);
        String::from_utf8(value.unwrap_or_default().to_vec()).expect("headers are texts")
    };
    let key = String::from_utf8(message.key().unwrap_or_default().to_vec()).expect("the key is text");
    assert_eq!(key, header("ce_subject"), "the key is the aggregate");
    let stored = StoredEvent {
        event_id: header("ce_id").parse().expect("the id of an event is a uuid"),
        aggregate: key.parse().expect("the id of an aggregate is a uuid"),
        sequence: header("ce_sequence").parse().expect("a sequence is a number"),
        event_type: header("ce_type"),
        payload: message.payload().unwrap_or_default().to_vec(),
    };
    Entry { partition: message.partition(), key, stored }
}
