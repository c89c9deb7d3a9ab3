//! `entrepot events`; `tail`: what happens, one line each, read from the owners' databases.

use std::collections::HashSet;
use std::time::Duration;

use bus::Delivered;
use clock::Clock;
use jiff::{SignedDuration, Timestamp};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use uuid::Uuid;

use super::{Place, resend, say};
use crate::compose;
use crate::config::{Config, Service};
use crate::exit::{Exit, Result};

/// Events read at once.
const PAGE: i64 = 1_000;
/// How often new ones are looked for.
const POLL: Duration = Duration::from_millis(250);
/// A transaction that began this much earlier may still commit.
const LATE: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print events, oldest first, then wait for more.
    Tail(Args),
    /// Publish kept events once more, for readers that lost them; readers that have them skip them.
    Resend(resend::Args),
}

impl Command {
    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Tail(args) => &args.place,
            Self::Resend(args) => &args.place,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Begin this far back, such as `10m`, `2h` or `7d`; `all` for all that is kept.
    #[arg(long, default_value = "10m", value_name = "SPAN")]
    since: String,
    /// Print what is there and end.
    #[arg(long)]
    no_follow: bool,
    /// Only events of this aggregate, such as `ord_<uuid>`.
    #[arg(long, value_name = "ID", value_parser = super::ids::aggregate)]
    aggregate: Option<Uuid>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// With what happened in full, as JSON.
    #[arg(long)]
    body: bool,
}

struct Tail {
    service: Service,
    db: db::Db,
    /// Everything that happened before was printed.
    from: Timestamp,
    seen: HashSet<Uuid>,
}

pub(crate) async fn run(command: Command, config: &Config) -> Result<()> {
    let args = match command {
        Command::Tail(args) => args,
        Command::Resend(args) => return resend::run(&args, config).await,
    };
    let clock = Clock::system();
    let from = begin(&args.since, clock.wall())?;
    let bodies = if args.body { Some(Bodies::new()?) } else { None };
    let mut tails = Vec::new();
    for service in config.services() {
        let db = compose::existing_database(config, service).await?;
        tails.push(Tail { service, db, from, seen: HashSet::new() });
    }
    loop {
        let mut fresh = Vec::new();
        for tail in &mut tails {
            let read = tail.read().await;
            fresh.extend(
                read.map_err(|error| Exit::bus(&format!("events of {}", tail.service.name()), &error))?,
            );
        }
        fresh.sort_by_key(|event| (event.occurred_at, event.aggregate, event.sequence));
        for event in
            fresh.iter().filter(|event| args.aggregate.is_none_or(|wanted| wanted == event.aggregate))
        {
            say(&line(event, args.json, bodies.as_ref()));
        }
        if args.no_follow && fresh.is_empty() {
            return Ok(());
        }
        if fresh.is_empty() {
            clock.pause(POLL).await;
        }
    }
}

impl Tail {
    async fn read(&mut self) -> std::result::Result<Vec<Delivered>, bus::Error> {
        let mut tx = self.db.read().await?;
        let events = bus::replay::since(&mut tx, self.from, PAGE).await?;
        let page_is_full = i64::try_from(events.len()).is_ok_and(|count| count == PAGE);
        let last = events.last().map(|event| event.occurred_at);
        let fresh: Vec<Delivered> = events.into_iter().filter(|event| self.seen.insert(event.id)).collect();
        if let Some(last) = last {
            // a full page of one instant would never end, so that instant is left behind
            let back = if page_is_full && fresh.is_empty() {
                last.checked_add(SignedDuration::from_micros(1))
            } else if page_is_full {
                Ok(last)
            } else {
                last.checked_sub(LATE)
            };
            self.from = back.unwrap_or(last).max(self.from);
        }
        Ok(fresh)
    }
}

pub(super) fn begin(since: &str, now: Timestamp) -> Result<Timestamp> {
    if since == "all" {
        return Ok(Timestamp::UNIX_EPOCH);
    }
    let wrong = || Exit::usage(format!("--since {since}: expected such as 10m, 2h, 7d or all"));
    let (last, unit) = since.char_indices().next_back().ok_or_else(wrong)?;
    let count: i64 = since[..last].parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let span = count.checked_mul(seconds).filter(|seconds| *seconds >= 0).ok_or_else(wrong)?;
    Ok(now.checked_sub(SignedDuration::from_secs(span)).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn line(event: &Delivered, is_json: bool, bodies: Option<&Bodies>) -> String {
    let what = event.event_type.rsplit('.').next().unwrap_or(&event.event_type);
    let body = bodies.map(|bodies| bodies.of(event));
    if is_json {
        let mut object = serde_json::json!({
            "id": event.id,
            "topic": event.topic.name(),
            "type": event.event_type,
            "aggregate_type": event.aggregate_type,
            "aggregate": event.aggregate_id(),
            "sequence": event.sequence,
            "time": event.occurred_at.to_string(),
            "actor": event.actor,
        });
        if let Some(body) = body {
            object["body"] = body;
        }
        return object.to_string();
    }
    let body = body.map_or(String::new(), |body| format!("\n    {body}"));
    format!(
        "{} {what:<28} {} {} v{} by {}{body}",
        event.occurred_at,
        event.aggregate_type,
        event.aggregate_id(),
        event.sequence,
        event.actor
    )
}

/// What happened in full, as the protobuf JSON of its message.
struct Bodies(DescriptorPool);

impl Bodies {
    fn new() -> Result<Self> {
        let pool = DescriptorPool::decode(contract::DESCRIPTORS);
        pool.map(Self).map_err(|error| Exit::other("the contract cannot be read", &error))
    }

    fn of(&self, event: &Delivered) -> Value {
        self.read(event).unwrap_or_else(|error| format!("cannot be read: {error}").into())
    }

    fn read(&self, event: &Delivered) -> std::result::Result<Value, Box<dyn std::error::Error>> {
        let message = self.0.get_message_by_name(event.topic.message()).ok_or("no such message")?;
        Ok(serde_json::to_value(DynamicMessage::decode(message, event.payload.clone())?)?)
    }
}

#[cfg(test)]
mod tests {
    use bus::Topic;

    use super::*;

    #[test]
    fn a_body_is_the_json_of_its_message() {
        let body = contract::orders::v1::order_event::Body::Paid(contract::orders::v1::OrderPaid {
            tender_id: "t1".to_owned(),
            amount: Some(crate::clients::money(250, "CNY")),
            ..Default::default()
        });
        let message = contract::orders::v1::OrderEvent {
            order_id: "ord_1".to_owned(),
            body: Some(body),
            ..Default::default()
        };
        let event = Delivered {
            id: Uuid::nil(),
            topic: Topic::Orders,
            aggregate_type: "order".to_owned(),
            aggregate: Uuid::nil(),
            sequence: 2,
            event_type: "entrepot.orders.v1.OrderPaid".to_owned(),
            payload: prost::Message::encode_to_vec(&message).into(),
            occurred_at: Timestamp::UNIX_EPOCH,
            actor: "channel/web".to_owned(),
            traceparent: None,
        };
        let bodies = Bodies::new().unwrap();
        let shown: Value = serde_json::from_str(&line(&event, true, Some(&bodies))).unwrap();
        assert_eq!(shown["body"]["orderId"], "ord_1");
        assert_eq!(shown["body"]["paid"]["amount"]["currencyCode"], "CNY");
        assert!(line(&event, false, Some(&bodies)).contains("OrderPaid"));
        let broken = Delivered { payload: vec![255].into(), ..event };
        assert!(bodies.of(&broken).as_str().unwrap().starts_with("cannot be read"));
    }

    #[test]
    fn a_span_counts_back_from_now() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        assert_eq!(begin("90m", now).unwrap().to_string(), "2026-03-01T08:30:00Z");
        assert_eq!(begin("1d", now).unwrap().to_string(), "2026-02-28T10:00:00Z");
        assert_eq!(begin("all", now).unwrap(), Timestamp::UNIX_EPOCH);
        for bad in ["", "m", "10", "10y", "-5m", "9999999999999999d", "10\u{5206}"] {
            assert!(begin(bad, now).is_err(), "{bad:?}");
        }
    }
}
