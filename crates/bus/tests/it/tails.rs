//! The newest events of an aggregate, lost by the transport: no later one shows the gap.

use db::params;
use test_world::until;

use crate::world::{Recorder, World, lose, some_aggregates, worlds, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_tail_is_found_by_comparison_with_the_owner_at_the_start() {
    for world in worlds().await {
        let aggregates = some_aggregates(3);
        write(&world.owner, &aggregates, 3).await;
        lose(&world.owner, aggregates[0], 3).await;
        lose(&world.owner, aggregates[1], 2).await;
        lose(&world.owner, aggregates[1], 3).await;
        for sequence in 1..=3 {
            lose(&world.owner, aggregates[2], sequence).await;
        }
        let running = world.start_compared(&[Recorder::new("compared")]);
        for aggregate in &aggregates {
            world.wait_for_effects("compared", *aggregate, &[1, 2, 3]).await;
        }
        until("the comparison is noted", async || compared_until(&world).await.is_some()).await;
        assert!(world.parked().await.is_empty(), "{}", world.label);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_looks_at_what_changed_since_the_last_one_only() {
    for world in worlds().await {
        let aggregates = some_aggregates(2);
        write(&world.owner, &aggregates, 1).await;
        let running = world.start_compared(&[Recorder::new("compared")]);
        for aggregate in &aggregates {
            world.wait_for_effects("compared", *aggregate, &[1]).await;
        }
        until("the comparison is noted", async || compared_until(&world).await.is_some()).await;
        running.stop().await;
        // forgotten here, and long before the last comparison: not looked at again
        let mut tx = world.owner.begin().await.unwrap();
        let long_ago = world.clock.wall().as_microsecond() - 3_600_000_000;
        tx.execute(
            "UPDATE events SET occurred_at = $1 WHERE aggregate = $2",
            params![long_ago, aggregates[0]],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.reader.begin().await.unwrap();
        tx.execute("DELETE FROM applied", params![]).await.unwrap();
        tx.commit().await.unwrap();
        let running = world.start_compared(&[Recorder::new("compared")]);
        world.wait_for_effects("compared", aggregates[1], &[1, 1]).await;
        assert_eq!(world.effects("compared", aggregates[0]).await, [1], "{}", world.label);
        running.stop().await;
    }
}

async fn compared_until(world: &World) -> Option<i64> {
    let mut tx = world.reader.read().await.unwrap();
    let row = tx.fetch_optional("SELECT compared_until FROM comparisons", params![]).await.unwrap();
    row.map(|row| row.get("compared_until").unwrap())
}

/// What only the log of a broker can do.
#[cfg(feature = "kafka")]
mod log {
    use std::time::Duration;

    use bus::kafka::apply_topics;
    use bus::{KafkaConfig, Topic};
    use rdkafka::ClientConfig;
    use rdkafka::TopicPartitionList;
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::topic_partition_list::Offset;
    use uuid::Uuid;

    use super::*;
    use crate::broker::topics;
    use crate::world::{SETS, Wire};

    fn admin(config: &KafkaConfig) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap()
    }

    /// A reader that has applied two events of each aggregate and is away; the third ones are in the log.
    async fn reader_away(config: &KafkaConfig) -> (World, Vec<Uuid>) {
        let (owner, reader) = (db::testing::sqlite(SETS).await, db::testing::sqlite(SETS).await);
        let world = World::new(owner, reader, Wire::Kafka(config.clone()));
        let aggregates = some_aggregates(4);
        let running = world.start_compared(&[Recorder::new("away")]);
        write(&world.owner, &aggregates, 2).await;
        for aggregate in &aggregates {
            world.wait_for_effects("away", *aggregate, &[1, 2]).await;
        }
        until("its places are noted", async || {
            let mut tx = world.reader.read().await.unwrap();
            let row =
                tx.fetch_one("SELECT SUM(next_offset) AS n FROM log_positions", params![]).await.unwrap();
            row.get::<Option<i64>>("n").unwrap() >= Some(8)
        })
        .await;
        running.stop().await;
        let publishing = world.start_compared(&[]);
        write(&world.owner, &aggregates, 1).await;
        until("it is published", async || bus::idle(&world.owner).await.unwrap()).await;
        publishing.stop().await;
        (world, aggregates)
    }

    /// The reader comes back to a log that is not the one it left. Each aggregate has `events` events by then.
    async fn comes_back(world: &World, aggregates: &[Uuid], events: i64, why: &str) {
        let running = world.start_compared(&[Recorder::new("away")]);
        let wanted: Vec<i64> = (1..=events + 1).collect();
        for aggregate in aggregates {
            world.wait_for_effects("away", *aggregate, &wanted[..wanted.len() - 1]).await;
        }
        until("it alarms", async || !running.bus.offset_resets().is_empty()).await;
        let alarm = running.bus.offset_resets().join("\n");
        assert!(alarm.contains("away on entrepot.orders.v1") && alarm.contains(why), "{alarm}");
        until("it was compared", async || running.bus.offset_resets().join("").contains("were compared"))
            .await;
        // and it goes on
        write(&world.owner, aggregates, 1).await;
        for aggregate in aggregates {
            world.wait_for_effects("away", *aggregate, &wanted).await;
        }
        running.stop().await;
        assert!(world.parked().await.is_empty());
    }

    async fn make_again(config: &KafkaConfig) {
        let topic = config.topic(Topic::Orders);
        for deleted in admin(config).delete_topics(&[&topic], &AdminOptions::new()).await.unwrap() {
            deleted.unwrap();
        }
        until("it is made again", async || {
            let applied = apply_topics(config, &[]).await;
            applied.is_ok_and(|applied| format!("{applied:?}").contains("Created"))
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_that_is_made_again_while_its_reader_is_away_loses_nothing() {
        let Some(config) = topics().await else { return };
        let (world, aggregates) = reader_away(&config).await;
        make_again(&config).await;
        comes_back(&world, &aggregates, 3, "reached").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_that_is_made_again_and_outgrows_the_old_one_is_recognized_and_loses_nothing() {
        let Some(config) = topics().await else { return };
        let (world, aggregates) = reader_away(&config).await;
        make_again(&config).await;
        let publishing = world.start_compared(&[]);
        write(&world.owner, &aggregates, 4).await;
        until("it is published", async || bus::idle(&world.owner).await.unwrap()).await;
        publishing.stop().await;
        comes_back(&world, &aggregates, 7, "younger than all that was read").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_offset_reset_alarms_also_when_the_old_place_cannot_be_forgotten() {
        let Some(config) = topics().await else { return };
        let (world, aggregates) = reader_away(&config).await;
        make_again(&config).await;
        let mut tx = world.reader.begin().await.unwrap();
        let refuses =
            "CREATE TRIGGER stays BEFORE DELETE ON log_positions BEGIN SELECT RAISE(ABORT, 'it stays'); END";
        tx.execute(refuses, params![]).await.unwrap();
        tx.commit().await.unwrap();
        comes_back(&world, &aggregates, 3, "reached").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_cut_before_its_reader_comes_loses_nothing() {
        let Some(config) = topics().await else { return };
        let (world, aggregates) = reader_away(&config).await;
        let admin = admin(&config);
        let mut all = TopicPartitionList::new();
        for partition in 0..config.partitions {
            all.add_partition_offset(&config.topic(Topic::Orders), partition, Offset::End).unwrap();
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        admin.delete_records(&all, &options).await.unwrap();
        comes_back(&world, &aggregates, 3, "cut").await;
    }
}
