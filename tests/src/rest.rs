//! Whether anything is still on its way, read from the tables of all services in one PostgreSQL database.

use db::Db;

/// Aggregates of `$owner` whose newest event `$consumer` has not applied.
macro_rules! behind {
    ($consumer:literal, $owner:literal, $aggregate_type:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM (SELECT aggregate, MAX(sequence) AS newest FROM ",
            $owner,
            ".events WHERE aggregate_type = '",
            $aggregate_type,
            "' GROUP BY aggregate) e WHERE NOT EXISTS (SELECT 1 FROM ",
            $consumer,
            ".applied a WHERE a.consumer = '",
            $consumer,
            "' AND a.topic = 'entrepot.",
            $owner,
            ".v1' AND a.aggregate = e.aggregate AND a.sequence >= e.newest))"
        )
    };
}

/// One statement sees one moment, so nothing can slip from one part to another while it counts. What each consumer
/// follows is what `Consumer::follows` says in the three services.
const ON_ITS_WAY: &str = concat!(
    "SELECT (SELECT COUNT(*) FROM orders.outbox) + (SELECT COUNT(*) FROM inventory.outbox)
          + (SELECT COUNT(*) FROM fulfillment.outbox) AS unsent,
        (SELECT COUNT(*) FROM fulfillment.tasks) AS tasks, ",
    behind!("fulfillment", "orders", "order"),
    " + ",
    behind!("fulfillment", "inventory", "reservation"),
    " AS fulfillment, ",
    behind!("inventory", "orders", "order"),
    " + ",
    behind!("inventory", "fulfillment", "fulfillment_order"),
    " AS inventory, ",
    behind!("orders", "inventory", "reservation"),
    " + ",
    behind!("orders", "fulfillment", "fulfillment_order"),
    " AS orders"
);

/// What is still on its way, in words; none when all is at rest.
///
/// # Panics
/// When the tables cannot be read.
pub async fn on_its_way(db: &Db) -> Option<String> {
    let mut tx = db.read().await.expect("the database can be read");
    let row = tx.fetch_one(ON_ITS_WAY, Vec::new()).await.expect("it counts");
    let parts = ["unsent", "tasks", "orders", "inventory", "fulfillment"];
    let parts = parts.map(|part| (part, row.get::<i64>(part).expect("a number")));
    let rest = parts.iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = rest.map(|(part, count)| format!("{part} {count}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
