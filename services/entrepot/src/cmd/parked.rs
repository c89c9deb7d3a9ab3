//! `entrepot parked`: events that a consumer could not apply, and what an operator decides about them.

use bus::parked::{self, Decision, Filter, Parked};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Place, say};
use crate::compose;
use crate::config::{Config, Service};
use crate::exit::{Class, Exit, Result};

/// Rows read at once.
const PAGE: i64 = 500;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print what is parked; without --all only the first event of each aggregate, which holds up the rest.
    List {
        #[command(flatten)]
        place: Place,
        /// Only this consumer (the name of a service).
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// Also the events that wait behind the first.
        #[arg(long)]
        all: bool,
    },
    /// Try the parked events of an aggregate again, from the first one on.
    Retry(Choice),
    /// Give up the first parked event of an aggregate: its effect never happens here.
    Skip {
        #[command(flatten)]
        choice: Choice,
        /// Its sequence, as `parked list` shows it.
        #[arg(long, value_name = "N")]
        sequence: i64,
    },
    /// Give up events that are missing before the first parked one, which is then tried again.
    AcceptGap {
        #[command(flatten)]
        choice: Choice,
        /// The sequence of the parked one.
        #[arg(long, value_name = "N")]
        sequence: i64,
    },
}

/// Which aggregate, who decides, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    #[command(flatten)]
    place: Place,
    /// The consumer: the name of a service.
    consumer: String,
    /// The aggregate, as `parked list` shows it.
    #[arg(value_parser = super::ids::aggregate)]
    aggregate: Uuid,
    /// Why; kept with the decision.
    #[arg(long)]
    note: String,
    /// Who decides; kept with the decision.
    #[arg(long, default_value = "ops/cli")]
    actor: String,
}

impl Command {
    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::List { place, .. } => place,
            Self::Retry(choice) | Self::Skip { choice, .. } | Self::AcceptGap { choice, .. } => &choice.place,
        }
    }
}

pub(crate) async fn run(command: Command, config: &Config) -> Result<()> {
    match command {
        Command::List { consumer, all, .. } => list(config, consumer.as_deref(), all).await,
        Command::Retry(choice) => decide(config, &choice, Verdict::Retry).await,
        Command::Skip { choice, sequence } => decide(config, &choice, Verdict::Skip(sequence)).await,
        Command::AcceptGap { choice, sequence } => {
            decide(config, &choice, Verdict::AcceptGap(sequence)).await
        }
    }
}

async fn list(config: &Config, consumer: Option<&str>, all: bool) -> Result<()> {
    let services = match consumer {
        Some(name) => vec![named(name)?],
        None => config.services(),
    };
    let mut count = 0;
    for service in services {
        let db = compose::existing_database(config, service).await?;
        let mut filter = Filter { consumer: service.name(), heads_only: !all, after: 0, limit: PAGE };
        loop {
            let mut tx = db.read().await.map_err(|error| Exit::database(service.name(), &error))?;
            let page = parked::list(&mut tx, &filter).await.map_err(|error| failed(service, &error))?;
            for row in &page {
                say(&line(row));
            }
            count += page.len();
            match page.last() {
                Some(last) if page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX) => {
                    filter.after = last.id;
                }
                Some(_) | None => break,
            }
        }
    }
    say(&format!("{count} parked"));
    Ok(())
}

fn line(row: &Parked) -> String {
    let event = &row.event;
    let retry = row.retry_at.map_or("when an operator asks".to_owned(), |at| at.to_string());
    format!(
        "{} {} {} sequence {} {}: {} - {} ({} tries, parked {}, tried again {retry})",
        row.consumer,
        event.aggregate_type,
        event.aggregate_id(),
        event.sequence,
        event.event_type,
        row.reason.name(),
        row.error,
        row.attempts,
        row.parked_at,
    )
}

#[derive(Clone, Copy)]
enum Verdict {
    Retry,
    Skip(i64),
    AcceptGap(i64),
}

async fn decide(config: &Config, choice: &Choice, verdict: Verdict) -> Result<()> {
    let service = named(&choice.consumer)?;
    let actor = server::Principal::parse(&choice.actor)
        .map_err(|why| Exit::usage(format!("--actor {}: {why}", choice.actor)))?;
    let db = compose::existing_database(config, service).await?;
    let mut tx = db.begin().await.map_err(|error| Exit::database(service.name(), &error))?;
    // the running platform compares it with the database's time
    let at = tx.now().await.map_err(|error| Exit::database(service.name(), &error))?;
    let at = Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let decision = Decision {
        consumer: service.name(),
        aggregate: choice.aggregate,
        actor: actor.as_str(),
        note: &choice.note,
        at,
    };
    let outcome = match verdict {
        Verdict::Retry => parked::retry(&mut tx, &decision).await,
        Verdict::Skip(sequence) => parked::skip(&mut tx, &decision, sequence).await,
        Verdict::AcceptGap(sequence) => parked::accept_gap(&mut tx, &decision, sequence).await,
    };
    outcome.map_err(|error| failed(service, &error))?;
    tx.commit().await.map_err(|error| Exit::database(service.name(), &error))?;
    say(match verdict {
        Verdict::Retry => "it is tried again at once by the running platform, or when one starts",
        Verdict::Skip(_) => "given up; what waited behind it is tried again",
        Verdict::AcceptGap(_) => "the missing events are given up; the parked one is tried again",
    });
    Ok(())
}

fn named(name: &str) -> Result<Service> {
    let known = Service::ALL.map(Service::name).join(", ");
    Service::parse(name)
        .ok_or_else(|| Exit::usage(format!("there is no consumer `{name}`; known are {known}")))
}

fn failed(service: Service, error: &bus::Error) -> Exit {
    Exit::new(Class::Other, format!("parked events of {}: {error}", service.name()))
}
