//! `entrepot bench`: what the platform reaches on this machine, beside the bare work on the same database in the same
//! run. Both sides run in turn, round by round, so that a slower minute of the machine hits both; watch the ratio.

mod bare;
mod leg;
mod load;
mod outcome;
mod overload;
mod place;
mod promise;
mod propagate;
mod reserve;
mod stage;

use std::path::Path;

use clap::ValueEnum;
use clock::Clock;
use tonic::Status;

use self::load::closed;
use self::outcome::{Outcome, Pairs};
use self::stage::Stage;
use crate::cmd::setup;
use crate::compose::Platform;
use crate::config::{BusKind, Config};
use crate::exit;

/// Rounds of each side.
pub(crate) const ROUNDS: u32 = 5;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Reservations, against one transaction per request.
    Reserve,
    /// Orders of two lines, held at placement, against one transaction per request.
    Place,
    /// From an order's placement to a consumer in another process and to the store's stream.
    Propagate,
    /// Options for a cart of five lines over 5,000 nodes.
    Promise,
    /// Orders with a deadline of 3 s, offered at half to ten times of what the platform can do.
    Overload,
    /// The other process of `propagate`.
    #[value(hide = true)]
    Observe,
}

/// Measures through the public API and against bare SQL.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    subject: Subject,
    /// PostgreSQL to use; without it SQLite in a temporary directory. Its schemas get the bench's rows.
    #[arg(long)]
    database_url: Option<String>,
    /// Kafka brokers to use; without it the in-process bus.
    #[arg(long)]
    kafka: Option<String>,
    /// Seconds of measuring, both sides together.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Callers at once.
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// SKUs the load is spread over; 1 = one hot SKU.
    #[arg(long, default_value_t = 1)]
    skus: usize,
    /// Groups of an order of `place`: 1, or 2 of one line each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    groups: u8,
    /// Orders per second of `propagate`.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Without the bare SQL: for a profiler, which should see one side only.
    #[arg(long)]
    no_reference: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// One call of the bare work and one of ours, round by round in turn; each is given its caller and the caller's count.
async fn in_turn<R, Bare, O, Ours>(
    subject: &'static str,
    stage: &Stage<'_>,
    reference: R,
    ours: O,
) -> Result<Outcome, Status>
where
    R: Fn(usize, u64) -> Bare + Clone + Send + Sync + 'static,
    Bare: Future<Output = Result<(), db::Error>> + Send,
    O: Fn(usize, u64) -> Ours + Clone + Send + Sync + 'static,
    Ours: Future<Output = Result<(), Status>> + Send,
{
    let callers = stage.args.clients;
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        if !stage.args.no_reference {
            pairs.reference.push(closed(callers, stage.round(), reference.clone()).await);
        }
        pairs.ours.push(closed(callers, stage.round(), ours.clone()).await);
        stage.drained().await?;
    }
    let mut outcome = Outcome::of(subject, stage.on(), callers, stage.args.skus, &pairs);
    outcome.audit_ok = Some(stage.audit().await?);
    Ok(outcome)
}

/// Measures and tells.
pub(crate) async fn run(args: Args, mut config: Config) -> exit::Result<()> {
    if args.subject == Subject::Observe {
        return propagate::observe(&args).await;
    }
    if args.clients == 0 || args.skus == 0 || args.rate == 0 || !(0.1..=3_600.0).contains(&args.seconds) {
        return Err(exit::Exit::usage(
            "--clients, --skus and --rate must be 1 or more, --seconds between 0.1 and 3600",
        ));
    }
    let _temporary = setup::data_directory(&mut config, None, "entrepot-bench-")?;
    let directory = config.data.directory.clone();
    config.server.listen.set_port(0);
    config.admin.listen.set_port(0);
    // a database that an earlier bench used, with another bus perhaps, serves again
    config.bus.leave_kafka = true;
    config.secrets.pickup_code_key = "the key of every bench run".into();
    if let Some(url) = &args.database_url {
        config.database.url = url.as_str().into();
    }
    if let Some(brokers) = &args.kafka {
        config.bus.kind = BusKind::Kafka;
        config.bus.brokers.clone_from(brokers);
    }
    if args.subject == Subject::Reserve && args.kafka.is_none() {
        // The others only listen here; their work is what `place` measures.
        config.platform.services = "inventory".to_owned();
        config.platform.alone = true;
    }
    let platform = Platform::start(config, Clock::system()).await?;
    let measured =
        measure(&platform, &args, &directory).await.map_err(|status| exit::Exit::from_status(&status));
    platform.shutdown().await;
    tell(&args, &measured?)
}

async fn measure(platform: &Platform, args: &Args, directory: &Path) -> Result<Outcome, Status> {
    let stage = Stage::new(platform, args, directory)?;
    match args.subject {
        Subject::Reserve => reserve::run(&stage).await,
        Subject::Place => place::run(&stage).await,
        Subject::Propagate => propagate::run(&stage).await,
        Subject::Promise => promise::run(&stage).await,
        Subject::Overload => overload::run(&stage).await,
        Subject::Observe => Err(Status::internal("observe measures nothing")),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the command is for")]
fn tell(args: &Args, outcome: &Outcome) -> exit::Result<()> {
    if args.json {
        let text = serde_json::to_string(outcome)
            .map_err(|error| exit::Exit::other("cannot write the figures", &error))?;
        println!("{text}");
    } else {
        println!("{}", outcome.text());
    }
    if outcome.audit_ok == Some(false) {
        return Err(exit::Exit::new(exit::Class::Other, "a stock law is broken; run `entrepot audit`"));
    }
    Ok(())
}
