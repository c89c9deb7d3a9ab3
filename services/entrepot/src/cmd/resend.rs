//! `entrepot events resend`: publishes kept events once more, for readers of the bus that lost them.

use std::time::Duration;

use bus::{Topic, outbox};
use clock::Clock;
use jiff::Timestamp;

use super::{Place, say};
use crate::compose;
use crate::config::{Config, Service};
use crate::exit::{Exit, Result};

/// Events made pending at once.
const PORTION: i64 = 500;
/// With more pending events than this, it waits for the relay.
const PENDING: i64 = 5_000;
/// How often it looks whether the relay has taken some.
const POLL: Duration = Duration::from_millis(200);
/// It gives up when the relay took nothing during this number of polls.
const LOOKS: u32 = 150;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) place: Place,
    /// The topic, such as `entrepot.orders.v1`, or `orders`.
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Begin this far back, such as `10m`, `2h` or `7d`, or `all` for all that is kept.
    #[arg(long, value_name = "SPAN")]
    since: String,
}

pub(super) async fn run(args: &Args, config: &Config) -> Result<()> {
    let clock = Clock::system();
    let topic = topic(&args.topic)?;
    let since = super::events::begin(&args.since, clock.wall())?;
    let service = Service::ALL.into_iter().find(|service| service.topic() == topic);
    let service = service.ok_or_else(|| Exit::usage(format!("no service owns {topic}")))?;
    let db = compose::existing_database(config, service).await?;
    let count = resend(&db, &clock, since).await.map_err(|error| Exit::database(service.name(), &error))?;
    match count {
        Ok(count) => say(&format!("{count} events of {topic} are published once more")),
        Err((count, last)) => {
            return Err(Exit::usage(format!(
                "{count} events of {topic} up to {last} are pending, and no relay takes them: start `entrepot serve` for \
                 {}, then resend what happened since",
                service.name()
            )));
        }
    }
    Ok(())
}

/// How many events were made pending; the inner error: this number, up to this time, since no relay takes them.
async fn resend(
    db: &db::Db,
    clock: &Clock,
    since: Timestamp,
) -> std::result::Result<std::result::Result<u64, (u64, Timestamp)>, db::Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let mut tx = db.begin().await?;
        let resent =
            outbox::resend(&mut tx, since, after, PORTION, clock.business()).await.map_err(database)?;
        tx.commit().await?;
        count += resent.count;
        let Some(last) = resent.last else { return Ok(Ok(count)) };
        after = Some(last);
        if !is_taken(db, clock).await? {
            return Ok(Err((count, Timestamp::from_microsecond(last.0).unwrap_or(since))));
        }
    }
}

/// Waits until few events are pending. False: their number does not fall.
async fn is_taken(db: &db::Db, clock: &Clock) -> std::result::Result<bool, db::Error> {
    let (mut least, mut looks) = (i64::MAX, 0);
    loop {
        let mut tx = db.read().await?;
        let pending = outbox::count(&mut tx).await.map_err(database)?;
        drop(tx);
        if pending <= PENDING {
            return Ok(true);
        }
        looks = if pending < least { 0 } else { looks + 1 };
        least = least.min(pending);
        if looks >= LOOKS {
            return Ok(false);
        }
        clock.pause(POLL).await;
    }
}

fn database(error: bus::Error) -> db::Error {
    match error {
        bus::Error::Db(error) => error,
        other => db::Error::Decode(other.to_string()),
    }
}

fn topic(name: &str) -> Result<Topic> {
    let found = Topic::ALL.into_iter().find(|topic| topic.name() == name || topic.owner() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        Exit::usage(format!("--topic {name} is not a topic; one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_in_full_or_by_its_owner() {
        assert_eq!(topic("orders").unwrap(), Topic::Orders);
        assert_eq!(topic("entrepot.inventory.v1").unwrap(), Topic::Inventory);
        assert!(topic("stock").unwrap_err().message.contains("entrepot.fulfillment.v1"));
    }
}
